//! Ports that are only given to a caller who asks for them by number.

use super::*;

fn barring(ports: impl IntoIterator<Item = u16>) -> PortSet {
    let mut barred = PortSet::default();
    ports.into_iter().for_each(|number| barred.insert(port(number)));
    barred
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A cold search ends with a port that is neither taken nor barred, or with `Full` if every port is one or the other,
    /// after no more reads than without barred ports.
    #[test]
    fn no_barred_port_is_proposed(
        start in 1024u16..40_000,
        size in 2u16..1_500,
        density in 0u8..=100,
        barred in 0u8..=100,
        seed: u64,
        strategy in strategy(),
    ) {
        let range = range(start, start + size - 1);
        let mut random = SmallRng::seed_from_u64(seed);
        let table = Table::holding((start..start + size).filter(|_| random.random_range(0..100) < density));
        let barred = barring((start..start + size).filter(|_| random.random_range(0..100) < barred));
        let mut knowledge = Knowledge::new(range);
        knowledge.bar(barred.clone());
        let mut search = Search::new(strategy, name("web-01"));
        let (found, windows, wholes) = table.search(&mut knowledge, &mut search, &mut random, NOW);
        let is_full = (start..start + size).all(|number| table.0.contains_key(&port(number)) || barred.contains(port(number)));
        prop_assert_eq!(found.is_none(), is_full);
        if let Some(port) = found {
            prop_assert!(range.contains(port) && !table.0.contains_key(&port) && !barred.contains(port));
        }
        prop_assert!(windows <= 2 && wholes <= 1, "{} windows, {} whole reads", windows, wholes);
    }
}

#[test]
fn ports_stay_barred_until_others_are_in_their_place() {
    let mut random = SmallRng::seed_from_u64(1);
    let table = Table::holding([]);
    let mut next = |knowledge: &mut Knowledge, now| {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        let found = table.search(knowledge, &mut search, &mut random, now).0;
        found.into_iter().for_each(|port| knowledge.unreserve(port));
        found.map(Port::get)
    };
    let mut knowledge = Knowledge::new(range(5000, 5009));
    knowledge.bar(barring([5000, 5001, 6000]));
    assert_eq!(next(&mut knowledge, NOW), Some(5002));
    // Everything else is forgotten with time, or with the range.
    assert_eq!(next(&mut knowledge, later(FORGET_MILLIS)), Some(5002));
    let mut knowledge = knowledge.with_range(range(6000, 6009));
    assert_eq!(next(&mut knowledge, later(FORGET_MILLIS)), Some(6001));
    knowledge.bar(barring(6000..=6009));
    assert_eq!(next(&mut knowledge, later(FORGET_MILLIS)), None);
    knowledge.bar(PortSet::default());
    assert_eq!(next(&mut knowledge, later(FORGET_MILLIS)), Some(6000));
}

/// A barred port may be held all the same, and a hint says only what is held: whether it is barred here is for the
/// reader of the hint to know.
#[test]
fn what_is_seen_of_a_barred_port_is_remembered() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(5000, 5003));
    knowledge.bar(barring([5000, 5001]));
    let offer = Holder { expires_at: Some(Expiry::after(NOW, 3)), ..held(5000) };
    knowledge.observe(knowledge.range(), &[offer, held(5001)], NOW, NOW);
    assert_eq!(knowledge.hint(NOW).taken, barring([5000, 5001]));
    // It ends, and is no candidate then either.
    let mut search = Search::new(Strategy::Lowest, name("web-01"));
    assert_eq!(knowledge.propose(&mut search, &mut random, later(3_000)), Proposal::Candidate(port(5002)));
    assert_eq!(knowledge.hint(NOW).taken, barring([5001]));
    knowledge.bar(PortSet::default());
    let mut search = Search::new(Strategy::Lowest, name("web-02"));
    assert_eq!(knowledge.propose(&mut search, &mut random, later(3_000)), Proposal::Candidate(port(5000)));
    // A hint of a process for which nothing was barred.
    let mut other = Knowledge::new(range(5000, 5003));
    other.bar(barring([5000, 5002]));
    other.apply_hint(&knowledge.hint(later(3_000)), later(3_000));
    other.observe(range(5003, 5003), &[held(5003)], later(3_000), later(3_000));
    let mut search = Search::new(Strategy::Lowest, name("web-03"));
    search.asked.due_window = true;
    assert_eq!(other.propose(&mut search, &mut random, later(3_000)), Proposal::Full);
}

/// With `lowest`, the windows that are due start over once they have reached the lowest port that may be proposed.
#[test]
fn windows_that_are_due_go_on_past_barred_ports() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut knowledge = Knowledge::new(range(1024, 49_151));
    knowledge.bar(barring(1024..3000));
    let table = Table::holding((1024..3000).step_by(2));
    let mut starts = Vec::new();
    for i in 0..3 {
        let mut search = Search::new(Strategy::Lowest, name("web-01"));
        let now = later(i * REFRESH_MILLIS);
        let Proposal::Look(part, None) = knowledge.propose(&mut search, &mut random, now) else { panic!() };
        let (covered, found) = table.window(part);
        knowledge.observe(covered, &found, now, now);
        starts.push(part.start().get());
    }
    assert_eq!(starts, [1024, 2047, 1024]);
}
