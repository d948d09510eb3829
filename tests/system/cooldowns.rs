//! Ports that nobody has and that are not free: cool-downs, quarantines, and reserved ports (promises P1, P11, P12 and
//! P14).

use portmaster_domain::{ClaimState, Counts, StateKind, Terms};
use portmaster_registry::{Asked, BulkRelease, Content, Error, Occupancy, Registry};
use portmaster_testkit::{Fault, Plan, call};

use crate::ground::{
    Ground, MARGIN, Process, asked, content, cooling, everything, name, port, put, range, reserved, since, told, why,
    with_terms,
};

/// What the refusal of a full range says.
#[track_caller]
fn full<T: std::fmt::Debug>(answer: Result<T, Error>) -> Occupancy {
    match answer.unwrap_err() {
        Error::RangeExhausted { occupancy, .. } | Error::SetDoesNotFit { occupancy, .. } => *occupancy,
        other => panic!("{other:?}"),
    }
}

/// P1, P14: strangers wait for the cool-down to the second; the same name of the same service comes back at once,
/// whoever its owner is, and even if nothing else is left. (The model's `ReturnCooled` and `ReturnName`.)
#[tokio::test]
async fn a_released_port_cools_for_strangers() {
    for at in ["5000", "web"] {
        for cold in [false, true] {
            let ground = Ground::with(with_terms(5000, 5000, cooling(100))).await;
            let process = ground.process(0).await;
            assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
            // A process that does not know the cool-down must not free the port without it.
            let releaser = if cold { &ground.process(0).await } else { &process };
            releaser.release(at, "job-1").await.unwrap();
            let item = ground.item(5000).await.unwrap();
            for gone in ["secret", "owner", "accepted", "confirmed", "lease", "lease_until", "labels", "principal"] {
                assert!(!item.contains_key(gone), "{gone}");
            }
            assert_eq!(why(process.release(at, "job-1").await), "port-not-found");
            assert_eq!(why(process.get("5000").await), "port-not-found");
            let found = process.find(5000).await.unwrap();
            assert_eq!((found.state.kind(), since(found.expires_at().unwrap())), (StateKind::Cooling, 100));
            ground.pass(99);
            for process in [&process, &ground.process(0).await] {
                let occupancy = full(process.put("next", "job-1", 60).await);
                assert_eq!((occupancy.cooling, occupancy.foreign), (1, 0));
                assert_eq!(occupancy.seconds_to_next_expiry, Some(1));
                assert_eq!(why(process.offer("next", "").await), "range-exhausted");
                assert_eq!(why(process.put_at("next", "job-1", 5000, 60).await), "port-taken");
            }
            // Another owner of the name: the port was released, so nobody uses it.
            assert_eq!(put(process.put("web", "job-2", 60).await), (5000, true));
            process.release(at, "job-2").await.unwrap();
            ground.pass(99);
            let offer = process.offer("web", "").await.unwrap();
            assert_eq!(offer.claim.port, port(5000));
            process.reject(offer.secret).await.unwrap();
            assert_eq!(put(process.put("next", "job-1", 60).await), (5000, true));
            ground.assert_healthy().await;
        }
    }
}

/// P1: the same name of another service is a stranger.
#[tokio::test]
async fn a_name_of_another_service_waits() {
    let ground = Ground::with(with_terms(5000, 5000, cooling(100))).await;
    let process = ground.process(0).await;
    process.put("web", "job-1", 60).await.unwrap();
    process.release("web", "job-1").await.unwrap();
    process.delete().await.unwrap();
    let other = process.found("flask", content(5000, 5000)).await;
    assert_eq!(full(other.put("web", "job-1", 60).await).cooling, 1);
    assert_eq!(why(other.put_at("web", "job-1", 5000, 60).await), "port-taken");
    assert_eq!(why(other.lift(5001).await), "port-not-in-range");
    ground.pass(100);
    assert_eq!(put(other.put("web", "job-1", 60).await), (5000, true));
    ground.assert_healthy().await;
}

/// P1: after a lapsed lease strangers wait for the cool-down too; it begins with what the holder was told.
#[tokio::test]
async fn a_lapsed_lease_cools_as_well() {
    let ground = Ground::with(with_terms(5000, 5000, cooling(100))).await;
    let process = ground.process(0).await;
    process.put("web", "job-1", 60).await.unwrap();
    ground.pass(60 + 99);
    assert_eq!(full(process.put("next", "", 60).await).seconds_to_next_expiry, Some(1));
    ground.pass(1);
    assert_eq!(put(process.put("next", "", 60).await), (5000, true));
    ground.assert_healthy().await;
}

/// P12: a cool-down and a quarantine keep no service from being deleted or shrunk, and last as long as they did.
#[tokio::test]
async fn cooling_and_quarantined_ports_are_in_nobodys_way() {
    for shrinks in [false, true] {
        let ground = Ground::with(with_terms(5000, 5009, cooling(100))).await;
        let process = ground.process(0).await;
        assert_eq!(put(process.put("web", "", 60).await), (5000, true));
        let offer = process.offer("aside", "").await.unwrap();
        process.release("web", "").await.unwrap();
        process.quarantine(offer.secret, Some(200)).await.unwrap();
        match shrinks {
            true => drop(process.shrink(5005, 5009).await.unwrap()),
            false => process.delete().await.unwrap(),
        }
        let other = process.found("flask", content(5000, 5001)).await;
        let occupancy = full(other.put("web", "", 60).await);
        assert_eq!((occupancy.cooling, occupancy.quarantined, occupancy.foreign), (1, 1, 0));
        assert_eq!(occupancy.seconds_to_next_expiry, Some(100));
        ground.pass(100);
        assert_eq!(put(other.put("web", "", 60).await), (5000, true));
        assert_eq!(full(other.put("next", "", 60).await).seconds_to_next_expiry, Some(70));
        ground.pass(100);
        assert!(put(other.put("next", "", 60).await).1);
        ground.assert_healthy().await;
    }
}

/// P1: a quarantine keeps the same name out as well, for as long as the caller or else the service says.
#[tokio::test]
async fn a_quarantine_keeps_everybody_out() {
    for (asked, lasts) in [(None, 300), (Some(50), 50)] {
        let terms = Terms { quarantine: 300, ..Terms::default() };
        let ground = Ground::with(with_terms(5000, 5000, terms)).await;
        let (process, other) = (ground.process(0).await, ground.process(0).await);
        let offer = process.offer("web", "job-1").await.unwrap();
        other.quarantine(offer.secret, asked).await.unwrap();
        let item = ground.item(5000).await.unwrap();
        assert!(!item.contains_key("secret") && !item.contains_key("owner"), "{item:?}");
        assert_eq!(why(process.accept(offer.secret, 60).await), "offer-not-found");
        assert_eq!(why(process.quarantine(offer.secret, asked).await), "offer-not-found");
        ground.pass(lasts - 1);
        for instance in ["web", "next"] {
            let occupancy = full(process.put(instance, "job-1", 60).await);
            assert_eq!((occupancy.quarantined, occupancy.seconds_to_next_expiry), (1, Some(1)));
            assert_eq!(why(process.put_at(instance, "job-1", 5000, 60).await), "port-taken");
        }
        let found = process.find(5000).await.unwrap();
        assert!(matches!(found.state, ClaimState::Quarantined { until } if since(until) == lasts as i64), "{found:?}");
        ground.pass(1);
        assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
        ground.assert_healthy().await;
    }
    // Without a time of its own: an hour.
    let ground = Ground::new(5000, 5000).await;
    let process = ground.process(0).await;
    let offer = process.offer("web", "").await.unwrap();
    process.quarantine(offer.secret, None).await.unwrap();
    ground.pass(3599);
    assert_eq!(why(process.offer("web", "").await), "range-exhausted");
    ground.pass(1);
    process.offer("web", "").await.unwrap();
}

/// An operator ends a cool-down and a quarantine, and nothing else. (The model's `Lift`.)
#[tokio::test]
async fn an_operator_ends_cooldowns_and_quarantines_and_nothing_else() {
    let ground = Ground::with(with_terms(5000, 5000, cooling(1000))).await;
    let process = ground.process(0).await;
    assert_eq!(why(process.lift(5000).await), "not-held");
    let offer = process.offer("web", "").await.unwrap();
    assert_eq!(why(process.lift(5000).await), "not-held");
    process.accept(offer.secret, 60).await.unwrap();
    assert_eq!(why(process.lift(5000).await), "not-held");
    assert_eq!(told(&process.get("web").await.unwrap()), Some(60));
    process.release("web", "").await.unwrap();
    process.lift(5000).await.unwrap();
    assert_eq!(why(process.lift(5000).await), "not-held");
    let offer = process.offer("next", "").await.unwrap();
    assert_eq!(offer.claim.port, port(5000));
    process.quarantine(offer.secret, Some(1000)).await.unwrap();
    process.lift(5000).await.unwrap();
    // A lapsed lease: when the margin is over, and no sooner.
    process.put("web", "job-1", 60).await.unwrap();
    ground.pass(60 + u64::from(MARGIN) - 1);
    let Err(Error::NotHeld { claim: Some(claim), free_at: Some(free_at), .. }) = process.lift(5000).await else {
        panic!("it says when it can be lifted")
    };
    assert_eq!((claim.state.kind(), since(free_at)), (StateKind::Cooling, 60 + i64::from(MARGIN)));
    ground.pass(1);
    process.lift(5000).await.unwrap();
    assert_eq!(put(process.put("next", "", 0).await), (5000, true));
    assert_eq!(why(process.lift(5000).await), "not-held");
    assert_eq!(why(process.lift(5001).await), "port-not-in-range");
    ground.assert_healthy().await;
}

/// P11: a reserved port is given to nobody who does not ask for it, whatever the strategy, and a range that has only
/// reserved ports left is full, and says so.
#[tokio::test]
async fn reserved_ports_are_only_given_by_number() {
    for strategy in portmaster_domain::Strategy::ALL {
        let content = Content { strategy, reserved: reserved(&[(5000, 5000), (5002, 5003)]), ..content(5000, 5005) };
        let ground = Ground::with(content).await;
        let process = ground.process(0).await;
        let mut given = Vec::new();
        for i in 0..3 {
            given.push(put(process.put(&format!("web-{i}"), "", 60).await).0);
        }
        given.sort_unstable();
        assert_eq!(given, [5001, 5004, 5005]);
        for process in [&process, &ground.process(0).await] {
            let occupancy = full(process.put("next", "", 60).await);
            assert_eq!((occupancy.size, occupancy.allocated, occupancy.reserved), (6, 3, 3));
            assert_eq!(why(process.offer("next", "").await), "range-exhausted");
            assert_eq!(full(process.set(&["a", "b"], "", 60, false).await).reserved, 3);
        }
        assert_eq!(put(process.put_at("next", "", 5002, 60).await), (5002, true));
        assert_eq!(full(process.put("other", "", 60).await).reserved, 2);
        let by_number = Asked { port: Some(port(5000)), ..asked("offered", "") };
        assert_eq!(process.offer_as(by_number).await.unwrap().claim.port, port(5000));
        // It is the name's port now, and the name may keep it without saying its number.
        assert_eq!(put(process.put("next", "", 60).await), (5002, false));
        ground.assert_healthy().await;
    }
}

/// A port that was reserved after a process saw the service is not given out by that process either.
#[tokio::test]
async fn a_port_that_is_reserved_meanwhile_is_not_given() {
    let ground = Ground::new(5000, 5005).await;
    let process = ground.process(0).await;
    assert_eq!(put(process.put("web", "", 60).await), (5000, true));
    ground.change(|old| Content { reserved: reserved(&[(5001, 5003)]), ..old }).await.unwrap();
    assert_eq!(put(process.put("next", "", 60).await), (5004, true));
    // What was withdrawn follows no lease, so it is free at once.
    assert_eq!(ground.item(5001).await, None);
    assert_eq!(process.offer("other", "").await.unwrap().claim.port, port(5005));
    ground.assert_healthy().await;
}

/// P11: what a full range says when ports are taken in every way, and that the first of them comes back by then.
#[tokio::test]
async fn a_full_range_says_how_and_until_when() {
    let terms = Terms { cooldown: 40, ..Terms::default() };
    let ground = Ground::with(Content { reserved: reserved(&[(5005, 5005)]), ..with_terms(5000, 5005, terms) }).await;
    let process = ground.process(0).await;
    process.put("for-ever", "", 0).await.unwrap();
    process.put("leased", "", 100).await.unwrap();
    process.offer("offered", "").await.unwrap();
    let quarantined = process.offer("quarantined", "").await.unwrap();
    process.put("cooling", "", 60).await.unwrap();
    process.quarantine(quarantined.secret, Some(35)).await.unwrap();
    process.release("cooling", "").await.unwrap();
    let Occupancy { size, offered, allocated, cooling, quarantined, reserved, foreign, seconds_to_next_expiry, .. } =
        full(ground.process(0).await.put("next", "", 60).await);
    assert_eq!((size, offered, allocated, cooling, quarantined, reserved, foreign), (6, 1, 2, 1, 1, 1, 0));
    assert_eq!(seconds_to_next_expiry, Some(35));
    ground.pass(35);
    assert_eq!(put(process.put("next", "", 60).await).0, 5003);
    assert_eq!(full(process.put("other", "", 60).await).seconds_to_next_expiry, Some(5));
    ground.pass(5);
    assert_eq!(put(process.put("other", "", 60).await).0, 5004);
    ground.assert_healthy().await;
}

/// P11: a lease that is over is no longer an allocation, whether or not anybody has made it gone.
#[tokio::test]
async fn a_lapsed_lease_counts_as_cooling() {
    let ground = Ground::with(with_terms(5000, 5001, cooling(100))).await;
    let process = ground.process(0).await;
    process.put("web", "job-1", 60).await.unwrap();
    process.put("db", "job-1", 120).await.unwrap();
    ground.pass(60);
    for process in [&process, &ground.process(0).await] {
        let occupancy = full(process.put("next", "", 60).await);
        assert_eq!((occupancy.allocated, occupancy.cooling, occupancy.seconds_to_next_expiry), (1, 1, Some(100)));
        let Err(Error::PortTaken { claim: Some(claim), .. }) = process.put_at("next", "", 5000, 60).await else {
            panic!("it is cooling")
        };
        assert_eq!((claim.state.kind(), claim.expires_at().map(since)), (StateKind::Cooling, Some(160)));
        let map = process.registry.map(&call(), &process.service).await.unwrap();
        assert_eq!(map.counts, Counts { allocated: 1, cooling: 1, ..Counts::default() });
    }
    ground.assert_healthy().await;
}

/// P5, P7: a release, a rejection or the end of a cool-down whose first send was done and not answered is a success,
/// although what is left of the claim is not what it was.
#[tokio::test]
async fn an_end_whose_response_was_lost_is_a_success() {
    for fault in [Fault::LoseReply, Fault::DoneButError] {
        for ends in ["number", "name", "bulk", "in use", "lift"] {
            for cold in [false, true] {
                let ground = Ground::with(with_terms(5000, 5009, cooling(100))).await;
                let plan = Plan::default();
                let process = if cold { ground.faulty(0, &plan).await } else { ground.warm(0, &plan).await };
                let maker = ground.process(0).await;
                let offer = maker.offer("web", "").await.unwrap();
                assert_eq!(offer.claim.port, port(5000));
                if ends != "in use" {
                    maker.accept(offer.secret, 60).await.unwrap();
                }
                if ends == "lift" {
                    maker.release("web", "").await.unwrap();
                }
                let write = if ends == "lift" { "DeleteItem 05000" } else { "UpdateItem 05000" };
                plan.add(&[(write, fault)]);
                let about = format!("{ends}, {fault:?}, cold: {cold}");
                let result = match ends {
                    "number" => process.release("5000", "").await,
                    "name" => process.release("web", "").await,
                    "in use" => process.quarantine(offer.secret, None).await,
                    "lift" => process.lift(5000).await,
                    _ => {
                        let wanted = BulkRelease { names: vec![name("web")], ..everything() };
                        let released = process.registry.release_all(&call(), &process.service, &wanted).await;
                        released.map(|released| assert_eq!(released.claims.len(), 1, "{about}"))
                    }
                };
                result.unwrap_or_else(|error| panic!("{about}: {error:?}"));
                assert!(plan.is_done(), "{about}");
                let left = process.find(5000).await.ok().map(|claim| claim.state.kind());
                let expected = match ends {
                    "lift" => None,
                    "in use" => Some(StateKind::Quarantined),
                    _ => Some(StateKind::Cooling),
                };
                assert_eq!(left, expected, "{about}");
                ground.assert_healthy().await;
            }
        }
    }
}

/// P1: the port of a name that has moved is not given to a stranger while it cools, and the name moves when its old port
/// is in quarantine.
#[tokio::test]
async fn a_name_leaves_a_port_in_quarantine() {
    let ground = Ground::new(5000, 5009).await;
    let process: Process = ground.process(0).await;
    let offer = process.offer("web", "").await.unwrap();
    process.quarantine(offer.secret, None).await.unwrap();
    assert_eq!(put(process.put("web", "", 60).await), (5001, true));
    assert_eq!(process.list(StateKind::Allocated).await, [("web".to_owned(), 5001)]);
    let kept = ground.process(0).await.find(5000).await.unwrap();
    assert_eq!((kept.state.kind(), kept.name), (StateKind::Quarantined, name("web")));
    assert!(range(5000, 5009).contains(kept.port) && Registry::MARGIN_SECONDS == MARGIN);
    ground.assert_healthy().await;
}
