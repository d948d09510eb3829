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
        assert_eq!(table.0.len(), range.size() - 50);
        let (most, mean) = tries(&callers);
        assert!(most <= 12 && mean < 4.0, "{strategy:?}, seed {seed}: {most} tries at most, {mean} on average");
    }
}

/// A process that has seen its whole range, in which these ports are taken.
fn warm(range: PortRange, taken: impl IntoIterator<Item = u16>) -> Knowledge {
    let mut knowledge = Knowledge::new(range);
    knowledge.observe(range, &taken.into_iter().map(held).collect::<Vec<_>>(), NOW, NOW);
    knowledge
}

/// What is proposed without another read, by number.
fn proposed(knowledge: &mut Knowledge, set: &mut SetSearch, random: &mut SmallRng) -> Option<Vec<(usize, u16)>> {
    match knowledge.propose_set(set, random, NOW) {
        Proposal::Candidate(candidates) => {
            Some(candidates.into_iter().map(|(name, port)| (name, port.get())).collect())
        }
        Proposal::Full => None,
        other => panic!("{other:?}"),
    }
}

fn ports(candidates: Option<Vec<(usize, u16)>>) -> Vec<u16> {
    candidates.unwrap_or_default().into_iter().map(|(_, port)| port).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However wrong the memory, the candidates are inside the range, believed free, not barred, no other call's in this
    /// process, and in a row if they are to be; and if there are none, then there is no room for any.
    #[test]
    fn candidates_respect_what_is_known(
        taken in prop::collection::btree_set(5000u16..5100, 0..90),
        barred in prop::collection::btree_set(4990u16..5110, 0..20),
        reserved in prop::collection::btree_set(5000u16..5100, 0..10),
        held_names in prop::collection::btree_map(0usize..8, 0u16..100, 0..3),
        start in 5000u16..5020,
        size in 2usize..9,
        contiguous: bool,
        losses in 0u32..4,
        seed: u64,
        strategy in strategy(),
    ) {
        let mut random = SmallRng::seed_from_u64(seed);
        let range = range(start, 5099);
        let mut knowledge = warm(range, taken.iter().copied());
        let as_set = |ports: &std::collections::BTreeSet<u16>| {
            let mut set = PortSet::default();
            ports.iter().for_each(|number| set.insert(port(*number)));
            set
        };
        knowledge.bar(as_set(&barred));
        knowledge.reserved = as_set(&reserved);
        let mut set = SetSearch::new(strategy, name("web-01"), size, contiguous);
        let mut holds = BTreeMap::new();
        for (name, number) in held_names {
            // In a contiguous set they are in their places, wherever the first one is.
            let number = match holds.first_key_value() {
                Some((other, at)) if contiguous => at + name as u16 - *other as u16,
                _ => 5000 + number,
            };
            if set.hold(name, port(number)) {
                holds.insert(name, number);
            }
        }
        for _ in 0..losses {
            set.record_lost_race(&[]);
            set.search.phase = Phase::FromMemory;
        }
        let is_free = |number: u16| {
            range.contains(port(number))
                && !taken.contains(&number)
                && !barred.contains(&number)
                && !reserved.contains(&number)
        };
        let open: Vec<_> = (0..size).filter(|name| !holds.contains_key(name)).collect();
        let fits_from = |base: u16| open.iter().all(|name| is_free(base + *name as u16));
        let has_room = match holds.first_key_value() {
            _ if open.is_empty() => true,
            _ if !contiguous => {
                let is_held = |number: u16| holds.values().any(|held| *held == number);
                (5000..5100).filter(|number| is_free(*number) && !is_held(*number)).count() >= open.len()
            }
            Some((name, number)) => fits_from(number - *name as u16),
            None => (5000..5100).any(fits_from),
        };
        let mut not_free = as_set(&taken);
        not_free.insert_all(&as_set(&reserved));
        prop_assert_eq!(set.fits(range, &not_free, &as_set(&barred)), has_room);

        let found = proposed(&mut knowledge, &mut set, &mut random);
        prop_assert_eq!(found.is_some(), has_room);
        let Some(found) = found else { return Ok(()) };
        prop_assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), open);
        let distinct: std::collections::BTreeSet<_> = found.iter().map(|(_, number)| *number).collect();
        prop_assert_eq!(distinct.len(), found.len());
        for (name, number) in &found {
            prop_assert!(is_free(*number) && holds.values().all(|held| held != number), "{}", number);
            prop_assert!(knowledge.reserved.contains(port(*number)));
            if contiguous {
                let all = found.iter().copied().chain(holds.iter().map(|(name, number)| (*name, *number)));
                for (other, at) in all {
                    prop_assert_eq!(usize::from(at) + name, usize::from(*number) + other);
                }
            }
        }
        // Nothing was lost, so they are proposed again.
        found.iter().for_each(|(_, number)| knowledge.unreserve(port(*number)));
        prop_assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(found));
    }

    /// A cold search ends with a set that fits if there is one, after at most two windows, one more for each port that
    /// only a hint would cover, and one read of the whole range.
    #[test]
    fn a_cold_search_for_a_set_finds_room(
        start in 1024u16..40_000,
        size in 40u16..3_000,
        density in 0u8..=100,
        ports in 2usize..=32,
        contiguous: bool,
        seed: u64,
        strategy in strategy(),
    ) {
        let range = range(start, start + size - 1);
        let mut random = SmallRng::seed_from_u64(seed);
        let table = Table::holding((start..start + size).filter(|_| random.random_range(0..100) < density));
        let mut knowledge = Knowledge::new(range);
        let mut set = SetSearch::new(strategy, name("web-01"), ports, contiguous);
        let has_room = set.fits(range, &table.taken(), &PortSet::default());
        let (mut windows, mut wholes) = (0, 0);
        let found = loop {
            match knowledge.propose_set(&mut set, &mut random, NOW) {
                Proposal::Candidate(found) => break Some(found),
                Proposal::Full => break None,
                Proposal::Look(part, other) => for part in std::iter::once(part).chain(other) {
                    windows += 1;
                    let (covered, found) = table.window(part);
                    knowledge.observe(covered, &found, NOW, NOW);
                },
                Proposal::LookAll => {
                    wholes += 1;
                    knowledge.observe(range, &table.0.values().copied().collect::<Vec<_>>(), NOW, NOW);
                }
            }
            prop_assert!(windows <= 3 && wholes <= 1, "{} windows, {} whole reads", windows, wholes);
        };
        prop_assert_eq!(found.is_some(), has_room);
        prop_assert!(found.unwrap_or_default().iter().all(|(_, port)| !table.0.contains_key(port)));
        if table.0.len() < WINDOW {
            prop_assert_eq!((windows, wholes), (if strategy == Strategy::Lowest { 1 } else { 2 }, 0));
        }
    }
}

#[test]
fn sets_fill_the_aligned_slots_first_and_then_what_is_left() {
    let mut random = SmallRng::seed_from_u64(1);
    // Slots of four begin at 5000, 5004, 5008 and so on; 5001 and 5014 are taken.
    let taken = [5001, 5014];
    let mut next = |knowledge: &mut Knowledge, contiguous| {
        let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, contiguous);
        ports(proposed(knowledge, &mut set, &mut random))
    };
    let mut knowledge = warm(range(5000, 5018), taken);
    assert_eq!(next(&mut knowledge, true), [5004, 5005, 5006, 5007]);
    assert_eq!(next(&mut knowledge, false), [5008, 5009, 5010, 5011]);
    // No slot is free any more. A run need not be aligned, and ports need not be a run.
    assert_eq!(next(&mut knowledge, true), [5015, 5016, 5017, 5018]);
    assert_eq!(next(&mut knowledge, true), []);
    assert_eq!(next(&mut knowledge, false), [5000, 5002, 5003, 5012]);
    assert_eq!(next(&mut knowledge, false), []);
}

#[test]
fn what_completes_a_set_leaves_the_slots_whole() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = warm(range(5000, 5011), [5005, 5006]);
    let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, false);
    assert!(set.hold(1, port(7000)));
    assert!(set.hold(3, port(5005)));
    assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(vec![(0, 5004), (2, 5007)]));
    // Another one has only slots left.
    let mut set = SetSearch::new(Strategy::Lowest, name("web-02"), 4, false);
    assert!(set.hold(0, port(7004)));
    assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(vec![(1, 5000), (2, 5001), (3, 5002)]));
}

#[test]
fn a_candidate_that_another_name_turns_out_to_hold_is_replaced() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = warm(range(5000, 5011), []);
    let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 3, false);
    assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(vec![(0, 5000), (1, 5001), (2, 5002)]));
    knowledge.reserved = PortSet::default();
    assert!(set.hold(2, port(5000)));
    assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(vec![(0, 5002), (1, 5001)]));
}

#[test]
fn the_claims_of_a_set_are_one_round_trip_and_no_crowd() {
    let mut knowledge = warm(range(5000, 5011), []);
    let claims = [5000, 5001, 5002, 5003].map(|number| Holder { created: NOW, ..held(number) });
    knowledge.record_claims(&claims, FIRST_ROUND_TRIP + 8.0, NOW);
    assert_eq!((knowledge.round_trip, knowledge.width(0, 4)), (FIRST_ROUND_TRIP + 1.0, 1));
    // A read that was sent before they were answered may have missed them.
    knowledge.observe(knowledge.range(), &[], NOW, NOW);
    assert_eq!(knowledge.taken.count(knowledge.range()), 4);
}

#[test]
fn the_ports_that_are_held_decide_where_a_contiguous_set_is() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = warm(range(5000, 5019), [5006, 5010]);
    let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, true);
    assert!(set.hold(1, port(5006)));
    assert!(set.hold(1, port(5006)));
    assert!(!set.hold(2, port(5008)), "not in its place");
    assert!(!set.hold(4, port(5009)), "there is no such name");
    assert_eq!(proposed(&mut knowledge, &mut set, &mut random), Some(vec![(0, 5005), (2, 5007), (3, 5008)]));
    // The rest of them is fixed, so one that is lost leaves no other.
    for number in [5005, 5007, 5008] {
        knowledge.unreserve(port(number));
    }
    knowledge.observe_holder(held(5007), NOW);
    set.record_lost_race(&[port(5007)]);
    assert_eq!(knowledge.propose_set(&mut set, &mut random, NOW), Proposal::Full);
    assert!(!set.fits(knowledge.range(), &knowledge.taken, &PortSet::default()));
    // Without the port that was held, the set is anywhere.
    set.let_go(1);
    assert!(set.fits(knowledge.range(), &knowledge.taken, &PortSet::default()));
    assert!(set.hold(3, port(5014)));
    let mut all = SetSearch::new(Strategy::Lowest, name("web-02"), 2, true);
    assert!(all.hold(0, port(5012)) && all.hold(1, port(5013)));
    assert_eq!(proposed(&mut knowledge, &mut all, &mut random), Some(vec![]), "nothing is missing");
    // There must be ports for all of the names.
    let mut set = SetSearch::new(Strategy::Lowest, name("web-03"), 4, true);
    assert!(!set.hold(1, Port::MIN) && !set.hold(2, Port::MAX));
    assert!(set.hold(0, Port::MIN));
    let mut set = SetSearch::new(Strategy::Lowest, name("web-04"), 4, true);
    assert!(set.hold(3, Port::MAX));
}

#[test]
fn the_first_loss_replaces_what_was_lost_and_the_second_one_everything() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = warm(range(5000, 5019), []);
    let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, false);
    let mut lose = |knowledge: &mut Knowledge, set: &mut SetSearch, lost: &[u16]| {
        knowledge.reserved = PortSet::default();
        lost.iter().for_each(|number| knowledge.observe_holder(held(*number), NOW));
        set.record_lost_race(&lost.iter().copied().map(port).collect::<Vec<_>>());
        // The look shows nothing else.
        let Proposal::Look(part, None) = knowledge.propose_set(set, &mut random, NOW) else { panic!() };
        let taken: Vec<_> = knowledge.taken.ports(part).map(|port| held(port.get())).collect();
        knowledge.observe(part, &taken, NOW, NOW);
        proposed(knowledge, set, &mut random)
    };
    assert_eq!(proposed(&mut knowledge, &mut set, &mut SmallRng::seed_from_u64(1)).map(|found| found.len()), Some(4));
    assert_eq!(
        lose(&mut knowledge, &mut set, &[5001, 5002, 5018, 5019]),
        Some(vec![(0, 5000), (1, 5016), (2, 5017), (3, 5003)])
    );
    // 5000, 5016 and 5003 would not be a slot with any other port.
    let found = ports(lose(&mut knowledge, &mut set, &[5017]));
    assert!([5004, 5008, 5012].contains(&found[0]) && found.is_sorted() && found[3] == found[0] + 3, "{found:?}");
    let mut contiguous = SetSearch::new(Strategy::Lowest, name("web-02"), 4, true);
    knowledge.reserved = PortSet::default();
    assert_eq!(
        ports(proposed(&mut knowledge, &mut contiguous, &mut SmallRng::seed_from_u64(1))),
        [5004, 5005, 5006, 5007]
    );
    assert_eq!(ports(lose(&mut knowledge, &mut contiguous, &[5004])), [5008, 5009, 5010, 5011]);
}

#[test]
fn candidates_that_another_call_took_meanwhile_are_replaced() {
    for (contiguous, then) in [(false, [5000, 5004, 5002, 5003]), (true, [5004, 5005, 5006, 5007])] {
        let mut random = SmallRng::seed_from_u64(1);
        let mut knowledge = warm(range(5000, 5007), []);
        let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, contiguous);
        assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random)), [5000, 5001, 5002, 5003]);
        (5000..5004).for_each(|number| knowledge.unreserve(port(number)));
        knowledge.reserved.insert(port(5001));
        assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random)), then, "contiguous: {contiguous}");
    }
}

#[test]
fn the_calls_of_one_process_never_want_the_same_port() {
    for (strategy, contiguous) in Strategy::ALL.into_iter().flat_map(|strategy| [(strategy, true), (strategy, false)]) {
        let mut random = SmallRng::seed_from_u64(1);
        let mut knowledge = warm(range(5000, 5255), []);
        let mut found = std::collections::BTreeSet::new();
        for number in 0..64 {
            let mut set = SetSearch::new(strategy, name(&format!("web-{number}")), 4, contiguous);
            found.extend(ports(proposed(&mut knowledge, &mut set, &mut random)));
        }
        assert_eq!(found.len(), 256, "{strategy:?}, contiguous: {contiguous}");
        // One more: for it, the range is full until a read of the whole range says otherwise.
        let mut set = SetSearch::new(strategy, name("web-64"), 4, contiguous);
        assert_eq!(proposed(&mut knowledge, &mut set, &mut random), None);
        set.ignore_reservations();
        assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random)).len(), 4);
    }
}

#[test]
fn a_crowd_is_counted_in_slots() {
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    let recent = |number| Holder { port: port(number), created: NOW, expires_at: Some(Expiry::after(NOW, 1800)) };
    // Two sets of four, and two single ports in one slot.
    let crowd: Vec<_> = (5000..5008).chain([5010, 5011]).map(recent).collect();
    knowledge.observe(knowledge.range(), &crowd, NOW, NOW);
    assert_eq!((knowledge.width(0, 4), knowledge.width(0, 1), knowledge.width(0, 32)), (3 * 8, 10 * 8, 8));
    assert_eq!(knowledge.width(4, 4), 64);
    // `lowest` draws from as many slots.
    let mut random = SmallRng::seed_from_u64(1);
    let furthest = (0..400)
        .map(|_| {
            let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, true);
            let found = ports(proposed(&mut knowledge, &mut set, &mut random));
            found.iter().for_each(|number| knowledge.unreserve(port(*number)));
            assert_eq!(found[0] % 4, 0);
            (found[0] - 5012) / 4
        })
        .max();
    assert_eq!(furthest, Some(23));
}

#[test]
fn hashed_sets_start_where_they_always_did() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut at = |text: &str, size| {
        let mut set = SetSearch::new(Strategy::Hashed, name(text), size, true);
        ports(proposed(&mut warm(range(5000, 10_000), []), &mut set, &mut random))[0]
    };
    // Changing these moves every set of every `hashed` service to different ports.
    assert_eq!([at("web-01", 4), at("web-02", 4), at("web-01", 32)], [5348, 9328, 9960]);
}

#[test]
fn random_sets_are_anywhere() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut met = BTreeMap::<u16, u32>::new();
    for _ in 0..900 {
        let mut set = SetSearch::new(Strategy::Random, name("web-01"), 4, false);
        let found = ports(proposed(&mut warm(range(5000, 5039), [5003]), &mut set, &mut random));
        *met.entry(found[0]).or_default() += 1;
    }
    assert_eq!(met.keys().copied().collect::<Vec<_>>(), (5004..5040).step_by(4).collect::<Vec<_>>());
    assert!(met.values().all(|times| (50..200).contains(times)), "{met:?}");
}

/// A port of the set that is unknown is looked at, in a window that shows the whole set.
#[test]
fn a_window_shows_all_the_candidates_that_it_can() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    knowledge.observe(range(5000, 5001), &[], NOW, NOW);
    let mut set = SetSearch::new(Strategy::Hashed, name("web-01"), 4, true);
    assert!(set.hold(0, port(5000)));
    assert_eq!(knowledge.propose_set(&mut set, &mut random, NOW), Proposal::Look(range(5001, 10_000), None));
    knowledge.observe(range(5001, 10_000), &[], NOW, NOW);
    assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random)), [5001, 5002, 5003]);
    // After a lost race, each set of a large crowd looks at its own place, which a window shows no more than.
    knowledge.reserved = PortSet::default();
    let crowd: Vec<_> = (5000..5300).map(|number| Holder { created: NOW, ..held(number) }).collect();
    knowledge.observe(range(5000, 10_000), &crowd, NOW, NOW);
    let starts: std::collections::BTreeSet<_> = (0..20)
        .map(|_| {
            let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 32, true);
            set.record_lost_race(&[]);
            let Proposal::Look(part, None) = knowledge.propose_set(&mut set, &mut random, NOW) else { panic!() };
            part.start()
        })
        .collect();
    assert!(starts.len() > 10, "{starts:?}");
}

#[test]
fn after_a_loss_lowest_sets_of_which_a_window_shows_all_look_at_all() {
    let mut random = SmallRng::seed_from_u64(1);
    let crowd: Vec<_> = (5001..5017).map(|number| Holder { created: NOW, ..held(number) }).collect();
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    knowledge.observe(knowledge.range(), &crowd, NOW, NOW);
    for _ in 0..20 {
        let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, true);
        set.record_lost_race(&[]);
        // 5000 is free, but no set begins there.
        let look = knowledge.propose_set(&mut set, &mut random, NOW);
        assert_eq!(look, Proposal::Look(range(5020, 10_000), None));
    }
}

#[test]
fn places_are_numbered_in_the_whole_range_whatever_part_was_looked_at() {
    let mut random = SmallRng::seed_from_u64(1);
    // Every other port is free.
    let taken = || (5000..5020).filter(|number| number % 2 == 1).map(held);
    let mut after_look_at = |part: PortRange| {
        let mut knowledge = Knowledge::new(range(5000, 5019));
        let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 2, false);
        knowledge.observe(knowledge.range(), &taken().collect::<Vec<_>>(), NOW, NOW);
        set.record_lost_race(&[]);
        assert!(matches!(knowledge.propose_set(&mut set, &mut random, NOW), Proposal::Look(..)));
        knowledge.observe(part, &taken().filter(|holder| part.contains(holder.port)).collect::<Vec<_>>(), NOW, NOW);
        knowledge.propose_set(&mut set, &mut random, NOW)
    };
    let ports = |first, second| Proposal::Candidate(vec![(0, port(first)), (1, port(second))]);
    // 5000 and 5002 are the first place, so 5002 and 5004 are none.
    assert_eq!(after_look_at(range(5002, 5019)), ports(5004, 5006));
    // But if they are all that there is, they will do.
    assert_eq!(after_look_at(range(5002, 5005)), ports(5002, 5004));
    // Here is only one, so the next look is at a place that is believed free.
    assert_eq!(after_look_at(range(5002, 5003)), Proposal::Look(range(5000, 5019), None));
}

#[test]
fn a_set_of_which_a_hint_alone_covers_a_port_is_looked_at() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    knowledge.apply_hint(&Hint { range: knowledge.range(), taken: PortSet::default(), seen: NOW }, NOW);
    knowledge.observe(range(5000, 5001), &[], NOW, NOW);
    let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, false);
    assert_eq!(knowledge.propose_set(&mut set, &mut random, NOW), Proposal::Look(range(5000, 10_000), None));
    knowledge.observe(range(5000, 5003), &[], NOW, NOW);
    assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random)), [5000, 5001, 5002, 5003]);
}

#[test]
fn random_sets_keep_to_the_place_that_they_had_looked_at() {
    for seed in 0..10 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut knowledge = Knowledge::new(range(5000, 10_000));
        let mut set = SetSearch::new(Strategy::Random, name("web-01"), 4, seed % 2 == 0);
        let Proposal::Look(first, Some(other)) = knowledge.propose_set(&mut set, &mut random, NOW) else { panic!() };
        knowledge.observe(first, &[], NOW, NOW);
        assert_eq!(ports(proposed(&mut knowledge, &mut set, &mut random))[0], other.start().get());
    }
}

#[test]
fn sets_that_lost_twice_draw_beyond_the_slots() {
    for strategy in [Strategy::Hashed, Strategy::Random] {
        let mut random = SmallRng::seed_from_u64(1);
        // One slot is whole; of each of the 25 others, two ports are free.
        let taken = (5004..5104).filter(|number| number % 4 < 2);
        let mut in_slot = |losses: u32, number: u32| {
            let mut knowledge = warm(range(5000, 5103), taken.clone());
            let mut set = SetSearch::new(strategy, name(&format!("web-{number}")), 4, false);
            for _ in 0..losses {
                set.record_lost_race(&[]);
                set.search.phase = Phase::FromMemory;
            }
            ports(proposed(&mut knowledge, &mut set, &mut random))[0] == 5000
        };
        assert!((0..40).all(|number| in_slot(0, number) && in_slot(1, number)), "{strategy:?}");
        let in_slot = (0..40).filter(|number| in_slot(2, *number)).count();
        assert!((1..20).contains(&in_slot), "{strategy:?}: {in_slot} of 40");
    }
}

#[test]
fn windows_that_are_due_reach_the_lowest_run() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    // The lowest four free ports in a row are 2999 to 3002.
    let table = Table::holding((1024..3000).step_by(2).chain(3010..5000));
    let mut starts = Vec::new();
    for i in 0..3 {
        let mut set = SetSearch::new(Strategy::Lowest, name("web-01"), 4, true);
        let now = later(i * REFRESH_MILLIS);
        let Proposal::Look(part, None) = knowledge.propose_set(&mut set, &mut random, now) else { panic!() };
        let (covered, found) = table.window(part);
        knowledge.observe(covered, &found, now, now);
        starts.push(part.start().get());
    }
    assert_eq!(starts, [1024, 2047, 1024]);
}
