//! Many ports at once: releases by what ports have in common, lists with filters, and the map; and how large an item may
//! become (promises P10, P16 and P17).

use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_domain::{Counts, Labels, Principal, StateKind, Terms};
use portmaster_registry::{Asked, BulkRelease, Content, Expected, ListFilter, MapState, PortOrName, Registry};
use portmaster_testkit::{call, fill};

use crate::ground::{
    Ground, Process, asked, content, cooling, everything, labels, name, owner, port, range, reserved, since, told,
    with_terms,
};

async fn release(process: &Process, wanted: &BulkRelease) -> (Vec<u16>, Option<u16>) {
    let released = process.registry.release_all(&call(), &process.service, wanted).await.unwrap();
    (released.claims.iter().map(|claim| claim.port.get()).collect(), released.next.map(|next| next.get()))
}

/// Ports of two owners with labels, an offer, a lapsed lease, a cool-down and a quarantine.
async fn populated() -> (Ground, Process) {
    let ground = Ground::with(with_terms(5000, 5029, cooling(100))).await;
    let process = ground.process(0).await;
    // 5000: lapsed, in the end.
    process.put("ci-old", "job-1", 1).await.unwrap();
    for (i, (instance, by, pairs)) in [
        ("ci-1", "job-1", [("team", "a"), ("env", "ci")].as_slice()),
        ("ci-2", "job-1", &[("team", "b"), ("env", "ci")]),
        ("web-1", "job-2", &[("team", "a")]),
        ("web-2", "", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = Asked { labels: Some(labels(pairs)), ..asked(instance, by) };
        let seconds = if i % 2 == 0 { 600 } else { 0 };
        process.put_as(&asked, seconds, Expected::Anything).await.unwrap();
    }
    process.offer_as(Asked { labels: Some(labels(&[("team", "a")])), ..asked("ci-offered", "job-1") }).await.unwrap();
    process.put("ci-cooling", "job-1", 60).await.unwrap();
    process.release("ci-cooling", "job-1").await.unwrap();
    let aside = process.offer("ci-aside", "job-1").await.unwrap();
    process.quarantine(aside.secret, None).await.unwrap();
    ground.pass(1);
    (ground, process)
}

/// What passes every filter is released, whoever has it, and with the cool-down of its terms; nothing else is.
#[tokio::test]
async fn what_passes_every_filter_is_released() {
    let filter = |prefix: &str, by: &str, pairs: &[(&str, &str)]| ListFilter {
        name_prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        owner: owner(by),
        labels: labels(pairs),
    };
    for (wanted, expected) in [
        (BulkRelease { filter: filter("ci-", "", &[]), ..everything() }, vec![5001, 5002]),
        (BulkRelease { filter: filter("ci-", "", &[]), offered: true, ..everything() }, vec![5001, 5002, 5005]),
        (BulkRelease { filter: filter("ci-", "", &[]), allocated: false, offered: true, ..everything() }, vec![5005]),
        (BulkRelease { filter: filter("", "job-1", &[]), ..everything() }, vec![5001, 5002]),
        (BulkRelease { filter: filter("", "job-2", &[]), ..everything() }, vec![5003]),
        (BulkRelease { filter: filter("", "", &[("team", "a")]), ..everything() }, vec![5001, 5003]),
        (BulkRelease { filter: filter("", "job-1", &[("team", "a"), ("env", "ci")]), ..everything() }, vec![5001]),
        (BulkRelease { filter: filter("", "", &[("team", "c")]), ..everything() }, vec![]),
        (BulkRelease { names: vec![name("web-2"), name("ci-1"), name("x")], ..everything() }, vec![5001, 5004]),
        (BulkRelease { names: vec![name("web-2")], filter: filter("ci-", "", &[]), ..everything() }, vec![]),
        (everything(), vec![5001, 5002, 5003, 5004]),
    ] {
        let (ground, process) = populated().await;
        let before = process.list(StateKind::Allocated).await;
        assert_eq!(before.len(), 4);
        // A list with this filter has the same ports.
        if wanted.names.is_empty() {
            let mut listed = Vec::new();
            for (state, is_meant) in [(StateKind::Allocated, wanted.allocated), (StateKind::Offered, wanted.offered)] {
                let call = call();
                let page = process.registry.list_claims(&call, &process.service, state, &wanted.filter, None, 100);
                let page = page.await.unwrap().items;
                listed.extend(page.iter().filter(|_| is_meant).map(|claim| claim.port.get()));
            }
            listed.sort_unstable();
            assert_eq!(listed, expected, "{wanted:?}");
        }
        let dry = BulkRelease { dry_run: true, ..wanted.clone() };
        assert_eq!(release(&process, &dry).await, (expected.clone(), None), "{wanted:?}");
        assert_eq!(process.list(StateKind::Allocated).await, before);
        assert_eq!(release(&ground.process(0).await, &wanted).await, (expected.clone(), None), "{wanted:?}");
        for number in [5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007] {
            let kind = process.find(number).await.ok().map(|claim| claim.state.kind());
            let is_released = expected.contains(&number);
            let remains = match number {
                5000 | 5006 => Some(StateKind::Cooling),
                5007 => Some(StateKind::Quarantined),
                // An offer that is let go does not cool, and is not found as a port.
                5005 => None,
                _ if is_released => Some(StateKind::Cooling),
                _ => Some(StateKind::Allocated),
            };
            assert_eq!(kind, remains, "{number}, {wanted:?}");
        }
        let offered = process.list(StateKind::Offered).await.len();
        assert_eq!(offered, usize::from(!expected.contains(&5005)));
        assert_eq!(release(&process, &wanted).await, (vec![], None));
        ground.assert_healthy().await;
    }
}

/// A release looks at no more than it may, says where it stopped, and goes on from there to the end.
#[tokio::test]
async fn a_large_release_goes_on_where_it_stopped() {
    let ground = Ground::new(5000, 8999).await;
    let process = ground.process(0).await;
    fill(&ground.world, "django", 5000, 250).await;
    fill(&ground.world, "django", 8000, 10).await;
    let mut wanted = everything();
    let (first, next) = release(&process, &wanted).await;
    assert_eq!((first.len(), first[199], next), (200, 5199, Some(5200)));
    wanted.from = next.map(port);
    let (second, next) = release(&process, &wanted).await;
    assert_eq!((second.len(), next), (60, None));
    assert_eq!(process.list(StateKind::Allocated).await, []);
    // What does not pass counts as looked at.
    fill(&ground.world, "django", 5000, 2_000).await;
    let web = ListFilter { name_prefix: Some("web".to_owned()), ..ListFilter::default() };
    let (none, next) = release(&process, &BulkRelease { filter: web, ..everything() }).await;
    assert_eq!((none, next), (vec![], Some(6_600)));
}

/// The map counts every port once, in every state, and its runs cover the range without a gap.
#[tokio::test]
async fn a_map_shows_every_port() {
    let ground =
        Ground::with(Content { reserved: reserved(&[(5010, 5012), (5001, 5001)]), ..content(5000, 5029) }).await;
    let process = ground.process(0).await;
    ground.change(|old| Content { terms: Terms { cooldown: 100, ..old.terms }, ..old }).await.unwrap();
    for number in [5000, 5001, 5002, 5010] {
        process.put_at(&format!("web-{number}"), "", number, 600).await.unwrap();
    }
    process.put_at("lapsed", "", 5005, 1).await.unwrap();
    process.put_at("released", "", 5006, 60).await.unwrap();
    process.release("released", "").await.unwrap();
    process.offer_as(Asked { port: Some(port(5020)), ..asked("offered", "") }).await.unwrap();
    let aside = process.offer_as(Asked { port: Some(port(5021)), ..asked("aside", "") }).await.unwrap();
    process.quarantine(aside.secret, Some(50)).await.unwrap();
    ground.pass(1);
    let map = process.registry.map(&call(), &process.service).await.unwrap();
    let expected = Counts { free: 20, offered: 1, allocated: 4, cooling: 2, quarantined: 1, reserved: 2 };
    assert_eq!(map.counts, expected);
    assert_eq!(map.largest_free_run, 8, "5022–5029");
    assert_eq!(map.next_expiry.map(since), Some(50));
    let runs: Vec<_> = map.runs.iter().map(|run| (run.ports, run.state)).collect();
    let expected = [
        (range(5000, 5002), MapState::Allocated),
        (range(5003, 5004), MapState::Free),
        (range(5005, 5006), MapState::Cooling),
        (range(5007, 5009), MapState::Free),
        (range(5010, 5010), MapState::Allocated),
        (range(5011, 5012), MapState::Reserved),
        (range(5013, 5019), MapState::Free),
        (range(5020, 5020), MapState::Offered),
        (range(5021, 5021), MapState::Quarantined),
        (range(5022, 5029), MapState::Free),
    ];
    assert_eq!((runs, map.block), (expected.to_vec(), 1));
    // Everything has ended by itself.
    ground.pass(1800 + 600 + 100);
    let map = process.registry.map(&call(), &process.service).await.unwrap();
    let expected = Counts { free: 26, reserved: 4, ..Counts::default() };
    assert_eq!((map.counts, map.next_expiry, map.largest_free_run), (expected, None, 17));
}

/// How many bytes an attribute takes, as DynamoDB counts them (*Developer Guide*, "Item sizes and formats").
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len().div_ceil(2) + 1,
        AttributeValue::Bool(_) => 1,
        AttributeValue::M(map) => 3 + map.iter().map(|(key, value)| 1 + key.len() + size(value)).sum::<usize>(),
        other => panic!("no Port item has {other:?}"),
    }
}

/// P17: a Port item stays below 1 KB with everything at its maximum, and so does its renewal and its release: a unit for
/// each write, whatever it carries.
#[tokio::test]
async fn the_largest_port_item_is_below_a_kilobyte() {
    let longest = "s".repeat(64);
    let terms = Terms { lease: Some(2_592_000), max_lease: Some(2_592_000), cooldown: 604_800, quarantine: 604_800 };
    let ground = Ground::new(1024, 1024).await;
    let process = ground.process(0).await.found(&longest, with_terms(49_151, 49_151, terms)).await;
    let pairs: Vec<_> = (0..Labels::MAX).map(|i| (i.to_string().repeat(8), i.to_string().repeat(24))).collect();
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>(), Labels::MAX_TOTAL);
    let arn = format!("arn:aws:sts::123456789012:assumed-role/{}", "r".repeat(Principal::MAX));
    let asked = Asked {
        labels: Some(labels(&pairs)),
        owner: owner(&"o".repeat(128)),
        port: Some(port(49_151)),
        name: name(&"n".repeat(64)),
    };
    let by = call().by(Principal::new(&arn));
    let made =
        process.registry.put_port(&by, &process.service, &asked, Some(2_592_000), Expected::Anything).await.unwrap();
    assert_eq!(told(made.claim()), Some(2_592_000));
    assert_eq!(made.claim().principal.as_ref().map(|principal| principal.as_str().len()), Some(Principal::MAX));
    let renewed = process.renew("49151", &"o".repeat(128), 2_592_000).await.unwrap();
    assert!(renewed.confirmed);
    let item = ground.item(49_151).await.unwrap();
    for attribute in [
        "pk",
        "sk",
        "service",
        "name",
        "state",
        "secret",
        "created",
        "accepted",
        "expires_at",
        "lease_until",
        "lease",
        "owner",
        "labels",
        "principal",
        "terms",
        "confirmed",
    ] {
        assert!(item.contains_key(attribute), "{attribute}: {item:?}");
    }
    let bytes: usize = item.iter().map(|(key, value)| key.len() + size(value)).sum();
    println!("the largest Port item: {bytes} bytes");
    // An offer of a PUT has a flag more; a namespace of 64 characters takes the place of `default`.
    let more = "put".len() + 1 + (64 - "default".len());
    assert!(bytes + more < 1024, "{bytes} bytes and {more}");
    assert_eq!(by.meter().write_units, 4.0);
    let (call, at) = (call(), PortOrName::Port(port(49_151)));
    process.registry.renew(&call, &process.service, &at, asked.owner.as_ref(), Some(2_592_000)).await.unwrap();
    assert_eq!(call.meter().write_units, 1.0);
    const { assert!(Registry::MAX_MARGIN_SECONDS >= Registry::MARGIN_SECONDS) };
}
