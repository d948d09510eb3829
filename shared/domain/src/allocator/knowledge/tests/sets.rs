//! Sets of ports, alone and in crowds.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::*;

/// A process that wants one set.
struct Caller {
    knowledge: Knowledge,
    set: SetSearch,
    tries: u32,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Searching,
    Served,
    Refused,
}

impl Caller {
    fn new(range: PortRange, strategy: Strategy, number: usize, size: usize, contiguous: bool) -> Self {
        Self {
            knowledge: Knowledge::new(range),
            set: SetSearch::new(strategy, name(&format!("web-{number}-0")), size, contiguous),
            tries: 0,
            outcome: Outcome::Searching,
        }
    }

    /// Asks for candidates and reads what is asked for. None if a read of the whole range has shown that there is no
    /// room.
    fn candidates(&mut self, table: &Table, random: &mut SmallRng, now: Timestamp) -> Option<Vec<(usize, Port)>> {
        for _ in 0..20 {
            match self.knowledge.propose_set(&mut self.set, random, now) {
                Proposal::Candidate(candidates) => return Some(candidates),
                Proposal::Look(part, other) => {
                    for part in std::iter::once(part).chain(other) {
                        let (covered, found) = table.window(part);
                        self.knowledge.observe(covered, &found, now, now);
                    }
                }
                Proposal::LookAll => self.look_at_all(table, now),
                Proposal::Full => {
                    self.look_at_all(table, now);
                    if !self.set.fits(self.knowledge.range(), &table.taken(), &PortSet::default()) {
                        return None;
                    }
                    self.set.ignore_reservations();
                }
            }
        }
        panic!("a search must end");
    }

    fn look_at_all(&mut self, table: &Table, now: Timestamp) {
        let found: Vec<_> = table.0.values().copied().collect();
        self.knowledge.observe(self.knowledge.range(), &found, now, now);
    }

    /// Claims the candidates if all of them are free, and otherwise learns which are not.
    fn claim(&mut self, candidates: &[(usize, Port)], table: &mut Table, now: Timestamp) {
        self.tries += 1;
        let lost: Vec<_> = candidates.iter().filter_map(|(_, port)| table.0.get(port).copied()).collect();
        let claimed = |port| Holder { port, created: now, expires_at: Some(Expiry::after(now, 1800)) };
        for (_, port) in candidates {
            self.knowledge.unreserve(*port);
        }
        if lost.is_empty() {
            table.0.extend(candidates.iter().map(|(_, port)| (*port, claimed(*port))));
            self.outcome = Outcome::Served;
            return;
        }
        lost.iter().for_each(|holder| self.knowledge.observe_holder(*holder, now));
        self.set.record_lost_race(&lost.iter().map(|holder| holder.port).collect::<Vec<_>>());
    }
}

impl Table {
    fn taken(&self) -> PortSet {
        let mut taken = PortSet::default();
        self.0.keys().for_each(|port| taken.insert(*port));
        taken
    }
}

/// So many callers who want sets of this size and share nothing.
fn callers(count: usize, range: PortRange, strategy: Strategy, size: usize, contiguous: bool) -> Vec<Caller> {
    (0..count).map(|number| Caller::new(range, strategy, number, size, contiguous)).collect()
}

/// A table in which so many ports of the range, here and there, are held.
fn fragmented(range: PortRange, held: usize, random: &mut SmallRng) -> Table {
    let mut ports: Vec<_> = (range.start().get()..=range.end().get()).collect();
    ports.shuffle(random);
    ports.truncate(held);
    Table::holding(ports)
}

/// How many times the unluckiest of the callers tried, and how many times they tried on average.
fn tries(callers: &[Caller]) -> (u32, f64) {
    let tries = callers.iter().map(|caller| caller.tries);
    (tries.clone().max().unwrap(), f64::from(tries.sum::<u32>()) / callers.len() as f64)
}

/// Processes that share nothing but the table all propose at the same moment, then claim one after the other, and the
/// losers look and propose again.
fn crowd(callers: &mut [Caller], table: &mut Table, random: &mut SmallRng) {
    for round in 0..200 {
        let now = later(20 * round);
        let mut proposed = Vec::new();
        for (number, caller) in
            callers.iter_mut().enumerate().filter(|(_, caller)| caller.outcome == Outcome::Searching)
        {
            match caller.candidates(table, random, now) {
                Some(candidates) => proposed.push((number, candidates)),
                None => caller.outcome = Outcome::Refused,
            }
        }
        if proposed.is_empty() {
            return;
        }
        proposed.shuffle(random);
        for (number, candidates) in proposed {
            callers[number].claim(&candidates, table, now);
        }
    }
    panic!("a crowd must disperse");
}

#[test]
fn crowds_of_equal_sets_are_served_from_exactly_as_many_ports_as_they_need() {
    for strategy in Strategy::ALL {
        for (contiguous, size, seed) in [true, false].into_iter().flat_map(|contiguous| {
            [2, 3, 4, 5, 32].into_iter().flat_map(move |size| (0..4).map(move |seed| (contiguous, size, seed)))
        }) {
            let mut random = SmallRng::seed_from_u64(seed);
            let range = range(5000, 5000 + 64 * size as u16 - 1);
            let (mut table, mut callers) = (Table::default(), callers(64, range, strategy, size, contiguous));
            crowd(&mut callers, &mut table, &mut random);
            let which = format!("{strategy:?}, sets of {size}, contiguous: {contiguous}, seed {seed}");
            assert!(callers.iter().all(|caller| caller.outcome == Outcome::Served), "{which}");
            assert_eq!(table.0.len(), range.size(), "{which}");
            let (most, mean) = tries(&callers);
            assert!(most <= 12 && mean < 4.0, "{which}: {most} tries at most, {mean} on average");
        }
    }
}

#[test]
fn crowds_of_equal_sets_are_served_from_the_last_scattered_ports() {
    for strategy in Strategy::ALL {
        for (size, seed) in [2, 3, 4, 5, 32].into_iter().flat_map(|size| (0..4).map(move |seed| (size, seed))) {
            let mut random = SmallRng::seed_from_u64(seed);
            let range = range(5000, 5000 + 2 * 64 * size as u16 - 1);
            let mut table = fragmented(range, 64 * size, &mut random);
            let mut callers = callers(64, range, strategy, size, false);
            crowd(&mut callers, &mut table, &mut random);
            let which = format!("{strategy:?}, sets of {size}, seed {seed}");
            assert!(callers.iter().all(|caller| caller.outcome == Outcome::Served), "{which}");
            assert_eq!(table.0.len(), range.size(), "{which}");
            let (most, mean) = tries(&callers);
            assert!(most <= 12 && mean < 4.0, "{which}: {most} tries at most, {mean} on average");
        }
    }
}

#[test]
fn a_crowd_of_contiguous_sets_uses_every_run_of_a_fragmented_range() {
    for (strategy, seed) in Strategy::ALL.into_iter().flat_map(|strategy| (0..8).map(move |seed| (strategy, seed))) {
        let mut random = SmallRng::seed_from_u64(seed);
        let range = range(5000, 5511);
        let mut table = fragmented(range, 256, &mut random);
        let mut callers = callers(64, range, strategy, 4, true);
        crowd(&mut callers, &mut table, &mut random);
        let served = callers.iter().filter(|caller| caller.outcome == Outcome::Served).count();
        assert_eq!(table.0.len(), 256 + 4 * served);
        // There were runs, more callers than runs, and now there is no run left.
        assert!((1..64).contains(&served), "{strategy:?}, seed {seed}: {served}");
        assert!(!callers[0].set.fits(range, &table.taken(), &PortSet::default()), "{strategy:?}, seed {seed}");
        let (most, mean) = tries(&callers);
        assert!(most <= 12 && mean < 4.0, "{strategy:?}, seed {seed}: {most} tries at most, {mean} on average");
    }
}

/// Sets of different sizes, and not in step: between what one of them sees and what it claims, any of the others may
/// claim.
#[test]
fn a_mixed_crowd_is_served_in_any_order_of_steps() {
    let sizes = [2, 3, 4, 5, 7, 16, 32];
    let needed: u16 = (0..70).map(|number| sizes[number % sizes.len()] as u16).sum();
    for (strategy, seed) in Strategy::ALL.into_iter().flat_map(|strategy| (0..8).map(move |seed| (strategy, seed))) {
        let mut random = SmallRng::seed_from_u64(seed);
        // Some more than they need, of which half are not to be had.
        let range = range(5000, 5000 + 2 * needed + 99);
        let mut table = fragmented(range, usize::from(needed) + 50, &mut random);
        let mut callers: Vec<_> =
            (0..70).map(|number| Caller::new(range, strategy, number, sizes[number % sizes.len()], false)).collect();
        let mut proposed: Vec<Option<Vec<_>>> = callers.iter().map(|_| None).collect();
        for step in 0.. {
            let searching: Vec<_> = (0..70).filter(|number| callers[*number].outcome == Outcome::Searching).collect();
            if searching.is_empty() {
                break;
            }
            assert!(step < 10_000, "a crowd must disperse");
            // Each takes a step every 20 milliseconds or so.
            let (number, now) = (searching[random.random_range(0..searching.len())], later(step * 20 / 70));
            match proposed[number].take() {
                Some(candidates) => callers[number].claim(&candidates, &mut table, now),
                None => {
                    proposed[number] = callers[number].candidates(&table, &mut random, now);
                    assert!(proposed[number].is_some(), "there is room for all of them");
                }
            }
        }
        let (most, mean) = tries(&callers);
        eprintln!("{strategy:?}, seed {seed}: {most} tries at most, {mean} on average");
    }
}
