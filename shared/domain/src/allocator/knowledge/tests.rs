use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::{InstanceName, Strategy};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LONG_AGO: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn range(start: u16, end: u16) -> PortRange {
    PortRange::new(port(start), port(end)).unwrap()
}

fn name(text: &str) -> InstanceName {
    InstanceName::try_from(text).unwrap()
}

fn held(number: u16) -> Holder {
    Holder { port: port(number), created: LONG_AGO, expires_at: None }
}

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

/// A table of holders. It answers looks as DynamoDB does, in order, with [`WINDOW`] items at most.
#[derive(Clone, Debug, Default)]
struct Table(BTreeMap<Port, Holder>);

impl Table {
    fn holding(ports: impl IntoIterator<Item = u16>) -> Self {
        Self(ports.into_iter().map(|number| (port(number), held(number))).collect())
    }

    fn window(&self, part: PortRange) -> (PortRange, Vec<Holder>) {
        let found: Vec<_> = self.0.range(part.start()..=part.end()).map(|(_, holder)| *holder).take(WINDOW).collect();
        let covered = match found.last() {
            Some(last) if found.len() == WINDOW => PortRange::new(part.start(), last.port).unwrap(),
            _ => part,
        };
        (covered, found)
    }

    /// Runs one search to its candidate; returns how many looks (windows, whole ranges) it needed.
    fn search(
        &self,
        knowledge: &mut Knowledge,
        search: &mut Search,
        random: &mut SmallRng,
        now: Timestamp,
    ) -> (Option<Port>, u32, u32) {
        let (mut windows, mut wholes) = (0, 0);
        for _ in 0..10 {
            match knowledge.propose(search, random, now) {
                Proposal::Candidate(port) => return (Some(port), windows, wholes),
                Proposal::Look(part, other) => {
                    for part in std::iter::once(part).chain(other) {
                        windows += 1;
                        let (covered, found) = self.window(part);
                        knowledge.observe(covered, &found, now, now);
                    }
                }
                Proposal::LookAll => {
                    wholes += 1;
                    let found: Vec<_> = self.0.values().copied().collect();
                    knowledge.observe(knowledge.range(), &found, now, now);
                }
                Proposal::Full => return (None, windows, wholes),
            }
        }
        panic!("a search must end");
    }
}

fn strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    proptest::sample::select(&Strategy::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A cold search ends with a port that is free, or with `Full` if none is, after at most two windows and one read
    /// of the whole range; without that read if the first window shows everything.
    #[test]
    fn a_cold_search_finds_a_free_port(
        start in 1024u16..40_000,
        size in 2u16..3_000,
        density in 0u8..=100,
        seed: u64,
        strategy in strategy(),
    ) {
        let range = range(start, start + size - 1);
        let mut random = SmallRng::seed_from_u64(seed);
        let table = Table::holding((start..start + size).filter(|_| random.random_range(0..100) < density));
        let mut knowledge = Knowledge::new(range);
        let mut search = Search::new(strategy, name("web-01"));
        let (found, windows, wholes) = table.search(&mut knowledge, &mut search, &mut random, NOW);
        if table.0.len() < WINDOW {
            prop_assert_eq!((windows, wholes), (if strategy == Strategy::Lowest { 1 } else { 2 }, 0));
        }
        prop_assert_eq!(found.is_none(), table.0.len() == usize::from(size));
        if let Some(port) = found {
            prop_assert!(range.contains(port));
            prop_assert!(!table.0.contains_key(&port));
        }
        prop_assert!(windows <= 2 && wholes <= 1, "{} windows, {} whole reads", windows, wholes);
    }

    /// However wrong the memory, a proposal is inside the range, believed free, and no other call's in this process.
    #[test]
    fn proposals_respect_what_is_known(
        taken in prop::collection::btree_set(5000u16..5200, 0..200),
        steps in prop::collection::vec((0u8..4, 5000u16..5200), 0..60),
        seed: u64,
        strategy in strategy(),
    ) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut knowledge = Knowledge::new(range(5000, 5199));
        knowledge.observe(knowledge.range(), &taken.iter().copied().map(held).collect::<Vec<_>>(), NOW, NOW);
        let mut believed = taken;
        let mut reserved = std::collections::BTreeSet::new();
        for (step, number) in steps {
            match step {
                0 => { knowledge.observe_holder(held(number), NOW); believed.insert(number); }
                1 => { knowledge.record_free(port(number)); believed.remove(&number); }
                2 => { knowledge.unreserve(port(number)); reserved.remove(&number); }
                _ => {
                    let mut search = Search::new(strategy, name(&format!("web-{number}")));
                    match knowledge.propose(&mut search, &mut random, NOW) {
                        Proposal::Candidate(port) => {
                            prop_assert!(knowledge.range().contains(port));
                            prop_assert!(!believed.contains(&port.get()));
                            prop_assert!(reserved.insert(port.get()), "{port} was reserved twice");
                        }
                        Proposal::Full => prop_assert_eq!(believed.union(&reserved).count(), 200),
                        Proposal::Look(..) | Proposal::LookAll => prop_assert!(false, "everything was seen"),
                    }
                }
            }
        }
    }
}

#[test]
fn lowest_alone_is_the_lowest() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    let mut table = Table::holding([5000, 5001, 5003]);
    for expected in [5002, 5004, 5005] {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        let (found, ..) = table.search(&mut knowledge, &mut search, &mut random, NOW);
        assert_eq!(found, Some(port(expected)));
        // The process's own claims, however recent, are no crowd.
        let holder = Holder { port: port(expected), created: NOW, expires_at: Some(Expiry::after(NOW, 1800)) };
        knowledge.record_claim(holder, 1.0, NOW);
        knowledge.unreserve(holder.port);
        table.0.insert(holder.port, holder);
    }
}

#[test]
fn lowest_is_found_behind_forty_thousand_taken_ports_with_one_window_and_one_whole_read() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    let table = Table::holding(1024..41_024);
    let mut search = Search::new(Strategy::Lowest, name("web-01"));
    assert_eq!(table.search(&mut knowledge, &mut search, &mut random, NOW), (Some(port(41_024)), 1, 1));
    // Warm: nothing to read.
    let mut search = Search::new(Strategy::Lowest, name("web-02"));
    assert_eq!(table.search(&mut knowledge, &mut search, &mut random, later(100)), (Some(port(41_025)), 0, 0));
}

#[test]
fn a_dense_range_is_read_whole_once_and_then_known() {
    for strategy in [Strategy::Hashed, Strategy::Random] {
        let mut random = SmallRng::seed_from_u64(7);
        let mut knowledge = Knowledge::new(range(1024, 49_151));
        let table = Table::holding((1024..49_152).filter(|number| number % 6 != 0));
        let reads: Vec<_> = (0..20)
            .map(|i| {
                let mut search = Search::new(strategy, name(&format!("web-{i}")));
                let (found, windows, wholes) = table.search(&mut knowledge, &mut search, &mut random, NOW);
                assert!(found.is_some_and(|port| !table.0.contains_key(&port)));
                (windows, wholes)
            })
            .collect();
        assert_eq!(reads.iter().map(|(_, wholes)| wholes).sum::<u32>(), 1, "{strategy:?}: {reads:?}");
        assert!(reads.iter().skip(2).all(|read| *read == (0, 0)), "{strategy:?}: {reads:?}");
    }
}

#[test]
fn a_released_port_comes_back_within_seconds() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5009));
    let table = Table::holding([5000, 5001]);
    let propose = |knowledge: &mut Knowledge, table: &Table, random: &mut SmallRng, now| {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        let (found, ..) = table.search(knowledge, &mut search, random, now);
        knowledge.unreserve(found.unwrap());
        found.unwrap().get()
    };
    assert_eq!(propose(&mut knowledge, &table, &mut random, NOW), 5002);
    // Released by another process: believed taken for a while, then looked at again.
    let table = Table::holding([5001]);
    assert_eq!(propose(&mut knowledge, &table, &mut random, later(REFRESH_MILLIS - 1)), 5002);
    assert_eq!(propose(&mut knowledge, &table, &mut random, later(REFRESH_MILLIS)), 5000);
    // Released by this process: known at once.
    let table = Table::holding([]);
    knowledge.record_free(port(5001));
    knowledge.observe_holder(held(5000), later(REFRESH_MILLIS));
    assert_eq!(propose(&mut knowledge, &table, &mut random, later(REFRESH_MILLIS + 1)), 5001);
}

#[test]
fn an_offer_that_expires_is_free_again_unless_it_was_accepted() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5009));
    let offer = |number| Holder { port: port(number), created: LONG_AGO, expires_at: Some(Expiry::after(NOW, 3)) };
    knowledge.observe(range(5000, 5009), &[offer(5000), offer(5001)], NOW, NOW);
    knowledge.record_acceptance(port(5000), None);
    let mut at = |millis| {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        match knowledge.propose(&mut search, &mut random, later(millis)) {
            Proposal::Candidate(port) => {
                knowledge.unreserve(port);
                port.get()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(at(2_999), 5002);
    assert_eq!(at(3_000), 5001);
}

/// Offers of 30 days that are accepted, rejected, or found gone within a moment leave nothing behind for 30 days.
#[test]
fn no_more_is_remembered_of_a_port_than_its_last_claim() {
    let mut knowledge = Knowledge::new(range(5000, 5003));
    for i in 0..1_000 {
        let now = later(i);
        let offered =
            |number| Holder { created: now, expires_at: Some(Expiry::after(now, 30 * 86_400)), ..held(number) };
        knowledge.record_claim(offered(5000), 1.0, now);
        knowledge.record_acceptance(port(5000), None);
        knowledge.record_claim(offered(5001), 1.0, now);
        knowledge.record_free(port(5001));
        knowledge.observe_holder(offered(5002), now);
        knowledge.observe(range(5002, 5002), &[], later(i + 1), later(i + 1));
        // This one stays on offer, each time until a different second.
        let again = Holder { expires_at: Some(Expiry::after(now, 86_400 + i)), ..offered(5003) };
        knowledge.observe_holder(again, now);
        let last = (Expiry::after(now, 86_400 + i), port(5003));
        assert_eq!(knowledge.deadlines.by_time.iter().copied().collect::<Vec<_>>(), [last]);
        assert_eq!(
            knowledge.deadlines.by_port.iter().map(|(port, expiry)| (*expiry, *port)).collect::<Vec<_>>(),
            [last]
        );
    }
}

#[test]
fn a_read_does_not_undo_what_was_claimed_since_it_was_sent() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5009));
    let mine = Holder { port: port(5000), created: NOW, expires_at: Some(Expiry::after(NOW, 1800)) };
    knowledge.observe(range(5000, 5009), &[], NOW, NOW);
    knowledge.record_claim(mine, 1.0, later(10));
    // Sent before the claim was answered, read before it was made, answered after it.
    knowledge.observe(range(5000, 5009), &[], later(9), later(20));
    let mut propose = |knowledge: &mut Knowledge| {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        let proposal = knowledge.propose(&mut search, &mut random, later(30));
        knowledge.unreserve(port(5000));
        knowledge.unreserve(port(5001));
        proposal
    };
    assert_eq!(propose(&mut knowledge), Proposal::Candidate(port(5001)));
    // Sent after it was answered: then the read is the truth.
    knowledge.observe(range(5000, 5009), &[], later(11), later(20));
    assert_eq!(propose(&mut knowledge), Proposal::Candidate(port(5000)));
}

#[test]
fn a_crowd_widens_the_choice_and_so_does_every_loss() {
    let mut knowledge = Knowledge::new(range(5000, 10_000));
    let mut random = SmallRng::seed_from_u64(1);
    // Ten claims of other processes a moment ago.
    let crowd: Vec<_> = (5000..5010)
        .map(|number| Holder { port: port(number), created: later(-5), expires_at: Some(Expiry::after(NOW, 1800)) })
        .collect();
    knowledge.observe(range(5000, 10_000), &crowd, NOW, NOW);
    let mut spread = |losses, now| {
        (0..400)
            .map(|_| {
                let mut search = Search::new(Strategy::Lowest, name("web-01"));
                (0..losses).for_each(|_| search.record_lost_race());
                // A look comes first, which shows what is known.
                if losses > 0 {
                    let look = knowledge.propose(&mut search, &mut random, now);
                    assert_eq!(look, Proposal::Look(range(5010, 10_000), None));
                }
                match knowledge.propose(&mut search, &mut random, now) {
                    Proposal::Candidate(port) => {
                        knowledge.unreserve(port);
                        port.get() - 5009
                    }
                    other => panic!("{other:?}"),
                }
            })
            .max()
            .unwrap()
    };
    let crowded = spread(0, NOW);
    assert!((70..=80).contains(&crowded), "drew from the lowest {crowded}, expected 80");
    let lost = spread(5, NOW);
    assert!((220..=256).contains(&lost), "drew from the lowest {lost}, expected 256");
    // A while later there is no crowd, and one race is lost to an old claim.
    assert_eq!(spread(0, later(1_000)), 1);
    assert_eq!(spread(1, later(1_000)), 1);
}

#[test]
fn a_hint_is_believed_where_nothing_was_seen_and_looked_at_once() {
    let mut random = SmallRng::seed_from_u64(1);
    let table = Table::holding(1024..41_030);
    let mut other = Knowledge::new(range(1024, 49_151));
    other.observe(other.range(), &(1024..41_024).map(held).collect::<Vec<_>>(), NOW, NOW);
    let hint = other.hint(NOW);

    let mut knowledge = Knowledge::new(range(1024, 49_151));
    let mut search = Search::new(Strategy::Lowest, name("web-01"));
    assert!(knowledge.wants_hint(&search));
    let Proposal::Look(part, None) = knowledge.propose(&mut search, &mut random, NOW) else { panic!() };
    let (covered, found) = table.window(part);
    knowledge.observe(covered, &found, NOW, NOW);
    knowledge.apply_hint(&hint, later(100));
    assert!(!knowledge.wants_hint(&search));
    // A port that the hint calls free is looked at before it is tried.
    assert_eq!(table.search(&mut knowledge, &mut search, &mut random, later(100)), (Some(port(41_030)), 1, 0));
    // From then on it is a memory like any other.
    let mut search = Search::new(Strategy::Lowest, name("web-02"));
    assert_eq!(table.search(&mut knowledge, &mut search, &mut random, later(100)), (Some(port(41_031)), 0, 0));
    // A hint of another range, or one that is too old by either clock, is not believed.
    for (wide, now) in [(false, NOW), (true, later(FORGET_MILLIS)), (true, later(-FORGET_MILLIS))] {
        let mut knowledge = Knowledge::new(if wide { range(1024, 49_151) } else { range(1024, 49_150) });
        knowledge.apply_hint(&hint, now);
        assert_eq!(knowledge.taken.count(knowledge.range()), 0);
    }
    // This process's own reads are newer than the hint.
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    knowledge.apply_hint(&hint, NOW);
    knowledge.observe(range(1024, 2000), &[], NOW, NOW);
    assert_eq!(knowledge.taken.count(range(1024, 2001)), 1);
    // An older hint changes nothing; a newer one only changes what was itself hinted.
    knowledge.apply_hint(&Hint { taken: PortSet::default(), ..hint.clone() }, NOW);
    assert_eq!(knowledge.taken.count(knowledge.range()), 39_023);
    knowledge.apply_hint(&Hint { taken: PortSet::default(), seen: later(1), ..hint }, later(1));
    assert_eq!(knowledge.taken.count(knowledge.range()), 0);
}

#[test]
fn after_a_lost_race_only_what_was_just_seen_is_tried() {
    let mut random = SmallRng::seed_from_u64(1);
    for strategy in Strategy::ALL {
        // The memory has 1,000 free ports. In truth there is one, far from where any search looks first.
        let remembered = Table::holding(1024..=48_000);
        let table = Table::holding((1024..=49_151).filter(|number| *number != 49_000));
        let mut knowledge = Knowledge::new(range(1024, 49_151));
        knowledge.observe(knowledge.range(), &remembered.0.values().copied().collect::<Vec<_>>(), NOW, NOW);
        let mut search = Search::new(strategy, name("web-01"));
        let (Some(first), 0, 0) = table.search(&mut knowledge, &mut search, &mut random, NOW) else { panic!() };
        knowledge.observe_holder(held(first.get()), NOW);
        search.record_lost_race();
        knowledge.unreserve(first);
        let (found, windows, wholes) = table.search(&mut knowledge, &mut search, &mut random, NOW);
        assert_eq!(found, Some(port(49_000)), "{strategy:?}");
        assert!(windows <= 4 && wholes <= 1, "{strategy:?}: {windows} windows, {wholes} whole reads");
    }
}

#[test]
fn hashed_names_start_where_they_always_did() {
    let knowledge = Knowledge::new(range(5000, 10_000));
    let at = |text: &str, losses| {
        let mut search = Search::new(Strategy::Hashed, name(text));
        (0..losses).for_each(|_| search.record_lost_race());
        knowledge.hashed(&search).get()
    };
    // Changing these moves every name of every `hashed` service to a different port.
    assert_eq!([at("web-01", 0), at("web-02", 0), at("web-01", 1)], [6481, 9919, 8357]);
}

#[test]
fn random_reaches_every_free_port() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5019));
    let table = Table::holding([5003, 5004]);
    let mut met = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..1_800 {
        let mut search = Search::new(Strategy::Random, name("web-01"));
        let (found, ..) = table.search(&mut knowledge, &mut search, &mut random, NOW);
        knowledge.unreserve(found.unwrap());
        *met.entry(found.unwrap().get()).or_default() += 1;
    }
    assert_eq!(met.len(), 18);
    assert!(met.values().all(|times| (50..200).contains(times)), "{met:?}");
}

#[test]
fn reservations_are_set_aside_once_the_table_says_otherwise() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5001));
    let table = Table::holding([5000]);
    let mut first = Search::new(Strategy::Lowest, name("a"));
    let mut second = Search::new(Strategy::Lowest, name("b"));
    assert_eq!(table.search(&mut knowledge, &mut first, &mut random, NOW).0, Some(port(5001)));
    assert_eq!(table.search(&mut knowledge, &mut second, &mut random, NOW).0, None);
    second.ignore_reservations();
    assert_eq!(table.search(&mut knowledge, &mut second, &mut random, NOW).0, Some(port(5001)));
}

#[test]
fn evidence_is_asked_for_in_order_and_stays_asked_for() {
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    let candidate = port(5000);
    let ask = |knowledge: &mut Knowledge, search: &mut Search| {
        let evidence = knowledge.evidence(search, candidate, NOW);
        if let Some(evidence) = evidence {
            knowledge.ask(search, evidence, NOW);
        }
        evidence
    };
    // Every reason at once.
    knowledge.has_proposed = true;
    let mut search = Search::new(Strategy::Hashed, name("web-01"));
    search.record_lost_race();
    let first = Evidence::DueWindow { cursor: port(1024), candidate: Some(candidate) };
    assert_eq!(ask(&mut knowledge, &mut search), Some(first));
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::LookAfterLoss(candidate)));
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::FurtherLook(candidate)));
    search.phase = Phase::FromMemory;
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::WholeRange));
    // Another search, now that the whole range is being read.
    let mut search = Search::new(Strategy::Hashed, name("web-02"));
    knowledge.observe(range(1024, 2000), &[], NOW, NOW);
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::Unknown(candidate)));
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::WholeRange));
    // A process's first candidate, and only a hint covers it. A lost race on the way does not restart the count.
    knowledge.has_proposed = false;
    knowledge.apply_hint(&Hint { range: knowledge.range(), taken: PortSet::default(), seen: NOW }, NOW);
    for look in 0..LOOKS {
        assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::OnlyHinted(candidate)), "look {look}");
        search.record_lost_race();
        assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::LookAfterLoss(candidate)));
        search.phase = Phase::FromMemory;
    }
    assert_eq!(ask(&mut knowledge, &mut search), Some(Evidence::WholeRange));
    // The port was seen: nothing prevents a try.
    knowledge.observe(range(5000, 5000), &[], NOW, NOW);
    assert_eq!(ask(&mut knowledge, &mut search), None);
}

#[test]
fn a_lost_race_is_followed_by_a_few_looks_and_then_by_everything() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    knowledge.observe(knowledge.range(), &[], NOW, NOW);
    let mut search = Search::new(Strategy::Lowest, name("web-01"));
    search.record_lost_race();
    for looks in 1..=LOOKS {
        let Proposal::Look(part, None) = knowledge.propose(&mut search, &mut random, NOW) else { panic!() };
        assert_eq!(search.phase, Phase::FromLook { looks });
        // Everything is taken, though the memory says otherwise of the ports above.
        let (covered, found) = Table::holding(1024..49_152).window(part);
        knowledge.observe(covered, &found, NOW, NOW);
    }
    // If everything were taken, the search would stay in its phase.
    let mut full = Knowledge::new(range(1024, 1025));
    full.observe(full.range(), &[held(1024), held(1025)], NOW, NOW);
    assert_eq!(full.propose(&mut search, &mut random, NOW), Proposal::Full);
    assert_eq!(search.phase, Phase::FromLook { looks: LOOKS });
    assert_eq!(knowledge.propose(&mut search, &mut random, NOW), Proposal::LookAll);
    assert_eq!(search.phase, Phase::FromMemory);
}

mod barred;
mod sets;
