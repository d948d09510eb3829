//! Leases: what a holder is told, renewals, and the end (promises P1, P2, P6 and P16). `until` is what the holder was
//! told. Another owner of the name waits for the margin, a stranger for the margin or the cool-down, whichever is
//! longer, and the same owner for nothing.

use portmaster_domain::{StateKind, Terms};
use portmaster_registry::{Asked, Content, Error};
use portmaster_testkit::{Fault, Plan};

use crate::ground::{Ground, MARGIN, asked, content, cooling, owner, port, put, since, told, why, with_terms};

const M: u64 = MARGIN as u64;

/// A renewal extends, and never shortens; one that comes out of order is answered with what stands.
#[tokio::test]
async fn a_renewal_never_shortens() {
    let ground = Ground::new(5000, 5009).await;
    let (one, other) = (ground.process(0).await, ground.process(0).await);
    assert_eq!(told(one.put("web", "job-1", 60).await.unwrap().claim()), Some(60));
    assert_eq!(ground.number(5000, "expires_at").await, Some(1_800_000_060 + i64::from(MARGIN)));
    for at in ["5000", "web"] {
        for process in [&one, &other] {
            ground.pass(10);
            let longer = process.renew(at, "job-1", 100).await.unwrap();
            let until = told(&longer);
            // In the order in which they were sent these would set it back.
            for seconds in [1, 50, 99] {
                assert_eq!(told(&process.renew(at, "job-1", seconds).await.unwrap()), until);
                assert_eq!(told(process.put("web", "job-1", seconds).await.unwrap().claim()), until);
                assert_eq!(told(&process.get("web").await.unwrap()), until);
            }
            assert_eq!(until, Some(ground.number(5000, "lease_until").await.unwrap() - 1_800_000_000));
        }
    }
    // 40 s have passed, and the last one lasts for 100 s.
    assert_eq!(told(&one.get("web").await.unwrap()), Some(140));
    // As long as the last time, if nothing is said: what stands was granted for 100 s.
    ground.pass(20);
    assert_eq!(told(&other.renew("web", "job-1", 0).await.unwrap()), Some(160));
    ground.pass(5);
    assert_eq!(told(&other.renew("5000", "job-1", 0).await.unwrap()), Some(165));
    ground.assert_healthy().await;
}

/// A renewal for less than is left, of a port that nobody has renewed before, is answered with what stands, and so is one
/// without a lease of its own.
#[tokio::test]
async fn a_first_renewal_may_be_shorter_than_what_is_left() {
    for at in ["5000", "web"] {
        for seconds in [0, 1, 600, 601] {
            for cold in [false, true] {
                let ground = Ground::new(5000, 5009).await;
                let process = ground.process(0).await;
                process.put("web", "job-1", 600).await.unwrap();
                let renewer = if cold { &ground.process(0).await } else { &process };
                let renewed = renewer.renew(at, "job-1", seconds).await.unwrap();
                assert_eq!(told(&renewed), Some(i64::from(seconds.max(600))), "{at}, {seconds}");
                assert!(renewed.confirmed, "whoever made it may not withdraw it from now on");
                ground.assert_healthy().await;
            }
        }
    }
}

/// P5: nobody but its holder renews a port. (The model's `RenewOwner` and `RenewUnowned`.)
#[tokio::test]
async fn a_renewal_in_the_wrong_name_changes_nothing() {
    let ground = Ground::new(5000, 5009).await;
    let (one, other) = (ground.process(0).await, ground.process(0).await);
    for (instance, holder, strangers) in [("a", "job-1", ["job-2", ""]), ("b", "", ["job-1", "job-2"])] {
        let number = put(one.put(instance, holder, 60).await).0.to_string();
        // Confirmed, so that one write by number would do.
        one.renew(&number, holder, 61).await.unwrap();
        for stranger in strangers {
            for at in [instance, &number] {
                for process in [&one, &other] {
                    assert_eq!(why(process.renew(at, stranger, 600).await), "not-the-owner");
                }
            }
        }
        let claim = one.get(instance).await.unwrap();
        assert_eq!((told(&claim), claim.owner), (Some(61), owner(holder)));
    }
    let other_service = one.found("flask", content(6000, 6009)).await;
    assert_eq!(why(other_service.renew("5000", "job-1", 600).await), "port-not-found");
    assert_eq!(told(&one.get("5000").await.unwrap()), Some(61));
    assert_eq!(why(one.renew("5009", "job-1", 60).await), "port-not-found");
    assert_eq!(why(one.renew("nobody", "job-1", 60).await), "port-not-found");
    ground.assert_healthy().await;
}

/// The service says how long a lease is by default, and how long at most.
#[tokio::test]
async fn the_service_bounds_leases() {
    let terms = Terms { lease: Some(30), max_lease: Some(100), ..Terms::default() };
    let ground = Ground::with(with_terms(5000, 5019, terms)).await;
    for process in [ground.process(0).await, ground.process(0).await] {
        for (seconds, granted) in [(0, 30), (20, 20), (100, 100), (101, 100), (2_592_000, 100)] {
            let made = process.put(&format!("web-{seconds}"), "", seconds).await.unwrap();
            assert_eq!(told(made.claim()), Some(granted));
            process.release(&format!("web-{seconds}"), "").await.unwrap();
            let offer = process.offer("offered", "").await.unwrap();
            let (accepted, _) = process.accept(offer.secret, seconds).await.unwrap();
            assert_eq!(told(&accepted), Some(granted));
            let renewed = process.renew("offered", "", 1_000).await.unwrap();
            assert_eq!(told(&renewed), Some(100));
            process.release("offered", "").await.unwrap();
        }
    }
    ground.assert_healthy().await;
}

/// P1, P2, P6: everybody waits as long as they must, to the second, and whether their clock is ahead or behind by up to
/// the margin. (The model's `ReturnOwner`, `ReturnUnowned`, `ReturnLapsed`, `ReturnName` and `PortIfDead`.)
#[tokio::test]
async fn everybody_waits_as_long_as_they_must() {
    for cooldown in [0, 4, 100] {
        for ahead in [-9, 0, 10] {
            for by in ["job-1", ""] {
                let ground = Ground::with(with_terms(5000, 5000, cooling(cooldown))).await;
                let maker = ground.process(0).await;
                let process = ground.process(ahead).await;
                assert_eq!(told(maker.put("web", by, 60).await.unwrap().claim()), Some(60));
                // Its own time: its clock must show the end of the lease.
                let at = |seconds: u64| seconds.checked_add_signed(-ahead).unwrap();
                let hold = u64::from(cooldown.max(MARGIN));

                ground.pass(at(59));
                assert_eq!(put(process.put("web", by, 1).await), (5000, false), "{ahead}");
                assert_eq!(why(process.put("web", "other", 60).await), "name-taken");
                assert_eq!(why(process.put("next", by, 60).await), "range-exhausted");
                ground.pass(1);
                // The lease is over. Another owner of the name is told when it can have it.
                for seconds in [0, M - 1] {
                    ground.pass(seconds);
                    let refused = process.put("web", "other", 60).await.unwrap_err();
                    let Error::NameTaken { free_at: Some(free_at), .. } = refused else { panic!("{refused:?}") };
                    assert_eq!(since(free_at), 60 + i64::from(MARGIN));
                    // The claim itself decides if the port is given.
                    let unowned = if by.is_empty() { "other" } else { "" };
                    assert_eq!(why(process.put_at("web", "other", 5000, 60).await), "name-taken");
                    assert_eq!(why(process.put_at("web", unowned, 5000, 60).await), "name-taken");
                    assert_eq!(why(process.put("next", by, 60).await), "range-exhausted");
                    assert_eq!(why(process.put_at("next", by, 5000, 60).await), "port-taken");
                }
                ground.pass(1);
                let other = process.put_at("web", "other", 5000, 5).await;
                assert_eq!(put(other), (5000, true), "{ahead}, {cooldown}");
                // Now it is the other's, for 5 s; its end is judged for a stranger.
                ground.pass(5 + hold - 1);
                let refused = process.put("next", by, 60).await.unwrap_err();
                let Error::RangeExhausted { occupancy, .. } = refused else { panic!("{refused:?}") };
                assert_eq!(occupancy.seconds_to_next_expiry, Some(1));
                ground.pass(1);
                assert_eq!(put(process.put("next", by, 60).await), (5000, true), "{ahead}, {cooldown}");
                ground.assert_healthy().await;
            }
        }
    }
}

/// P1: the same owner gets its port back at once, as a new tenure: what was told of the old one opens nothing.
#[tokio::test]
async fn the_same_owner_begins_anew_at_once() {
    for by in ["job-1", ""] {
        let ground = Ground::with(with_terms(5000, 5001, cooling(100))).await;
        let (process, slow) = (ground.process(0).await, ground.process(-9).await);
        let offer = process.offer("web", by).await.unwrap();
        process.accept(offer.secret, 60).await.unwrap();
        ground.pass(60);
        assert_eq!(put(process.put("web", by, 60).await), (5000, true));
        let item = ground.item(5000).await.unwrap();
        assert_ne!(item["secret"].as_s().unwrap(), &offer.secret.expose());
        assert_eq!(ground.number(5000, "accepted").await, Some(1_800_000_060_000));
        // By the slow clock the old lease would still run.
        assert_eq!(why(slow.accept(offer.secret, 60).await), "offer-not-found");
        assert_eq!(why(slow.reject(offer.secret).await), "offer-not-found");
        assert_eq!(told(&slow.get("web").await.unwrap()), Some(120));
        ground.assert_healthy().await;
    }
}

/// P6: what was told as lost stays lost, for a clock that is behind as well: a renewal, an accept, and a renewal by
/// name. (The model's `LapseOwn`.)
#[tokio::test]
async fn what_was_told_as_lost_stays_lost() {
    for at in ["5000", "web"] {
        for knows in [0, 60] {
            let ground = Ground::new(5000, 5000).await;
            let (process, slow) = (ground.process(0).await, ground.process(-9).await);
            let offer = process.offer("web", "job-1").await.unwrap();
            process.accept(offer.secret, 60).await.unwrap();
            ground.pass(59);
            assert_eq!(told(&slow.renew(at, "job-1", 1).await.unwrap()), Some(60));
            ground.pass(1);
            assert_eq!(why(process.renew(at, "job-1", knows).await), "lease-expired");
            assert_eq!(why(slow.renew(at, "job-1", 60).await), "port-not-found");
            assert_eq!(why(slow.accept(offer.secret, 60).await), "offer-not-found");
            assert_eq!(why(slow.get("web").await), "port-not-found");
            assert_eq!(why(slow.release(at, "job-1").await), "port-not-found");
            // It is held for everybody else as before, whoever was told that it is lost.
            assert_eq!(why(process.put("web", "job-2", 60).await), "name-taken");
            assert_eq!(why(process.put("next", "", 60).await), "range-exhausted");
            ground.pass(M);
            assert_eq!(put(process.put("web", "job-2", 60).await), (5000, true));
        }
        let ground = Ground::new(5000, 5000).await;
        let (process, slow) = (ground.process(0).await, ground.process(-9).await);
        let offer = process.offer("web", "job-1").await.unwrap();
        process.accept(offer.secret, 60).await.unwrap();
        ground.pass(60);
        assert_eq!(why(process.accept(offer.secret, 60).await), "lease-expired");
        assert_eq!(why(slow.renew(at, "job-1", 60).await), "port-not-found");
        assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
        ground.assert_healthy().await;
    }
}

/// A second accept is answered with what stands, and never sets a lease back. (The model's `AcceptOffered`.)
#[tokio::test]
async fn a_second_accept_changes_no_lease() {
    let ground = Ground::new(5000, 5000).await;
    let (process, other) = (ground.process(0).await, ground.process(0).await);
    let offer = process.offer("web", "job-1").await.unwrap();
    assert!(process.accept(offer.secret, 60).await.unwrap().1);
    process.renew("web", "job-1", 600).await.unwrap();
    ground.pass(30);
    for seconds in [0, 60] {
        for process in [&process, &other] {
            let (claim, first) = process.accept(offer.secret, seconds).await.unwrap();
            assert_eq!((told(&claim), first), (Some(600), false));
        }
    }
    assert_eq!(told(&process.get("web").await.unwrap()), Some(600));
    // A rejection finds no offer either, although the item expires. (The model's `RejectOffered`.)
    assert_eq!(why(process.reject(offer.secret).await), "offer-accepted");
    assert_eq!(why(process.quarantine(offer.secret, Some(60)).await), "offer-accepted");
    assert_eq!(told(&process.get("web").await.unwrap()), Some(600));
    ground.assert_healthy().await;
}

/// P2: a name whose lease is over and whose port has left what this process tries moves to another one: for the same
/// owner at once, for another when the margin is over. The old claim is gone from then on, for every clock. (The model's
/// `LapseSecret`, `LapseOwn` and `LapseOver`.)
#[tokio::test]
async fn a_name_that_moves_leaves_nothing_behind() {
    for (by, wait) in [("job-1", 0), ("job-2", M)] {
        let ground = Ground::with(with_terms(5000, 5019, cooling(100))).await;
        let (process, slow) = (ground.process(0).await, ground.process(-9).await);
        assert_eq!(put(process.put_at("web", "job-1", 5000, 60).await), (5000, true));
        ground.pass(59);
        if wait > 0 {
            ground.pass(wait);
            assert_eq!(why(process.put_at("web", by, 5010, 60).await), "name-taken");
        } else {
            assert_eq!(why(process.put_at("web", by, 5010, 60).await), "name-taken");
        }
        ground.pass(1);
        assert_eq!(put(process.put_at("web", by, 5010, 60).await), (5010, true));
        // By the slow clock the old lease would run on, if the name were on the same port.
        assert_eq!(why(slow.renew("5000", "job-1", 60).await), "port-not-found");
        assert_eq!(slow.list(StateKind::Allocated).await, [("web".to_owned(), 5010)]);
        // Its port goes on cooling.
        assert_eq!(slow.find(5000).await.unwrap().state.kind(), StateKind::Cooling);
        assert_eq!(why(process.put_at("next", "", 5000, 60).await), "port-taken");
        ground.assert_healthy().await;
    }
}

/// P1, P2: a lease that was told as lost to its own holder, by a clock that is ahead, still counts for another owner of
/// the name until the margin is over: the holder's clock may be behind, and it may not have heard. (A finding of the
/// model: `CoolingHoldsName`.)
#[tokio::test]
async fn a_lease_that_was_lost_early_holds_the_name_for_the_margin() {
    let ground = Ground::new(5000, 5019).await;
    let (process, fast) = (ground.process(0).await, ground.process(9).await);
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    process.renew("5000", "job-1", 60).await.unwrap();
    ground.pass(51);
    assert_eq!(why(fast.renew("5000", "job-1", 60).await), "lease-expired");
    for process in [&process, &fast] {
        assert_eq!(why(process.put("web", "job-2", 60).await), "name-taken");
        assert_eq!(why(process.put_at("web", "job-2", 5010, 60).await), "name-taken");
        assert_eq!(why(process.set(&["web", "next"], "job-2", 60, false).await), "name-taken");
    }
    // For its own holder it is gone.
    assert_eq!(put(fast.put_at("web", "job-1", 5010, 60).await), (5010, true));
    ground.assert_healthy().await;
}

/// P22, P25: the same owner, whose clock may be behind, does not free the name by moving it to another port: only what is
/// leased moves, and it lasts longer than the lease that it follows, even if it is withdrawn at once. (The model's
/// `OnlyLeasedMoves` and `NotBefore`.)
#[tokio::test]
async fn a_lease_that_was_lost_early_is_followed_only_by_a_lease() {
    let ground = Ground::new(5000, 5019).await;
    let (process, slow, fast) = (ground.process(0).await, ground.process(-9).await, ground.process(9).await);
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    process.renew("5000", "job-1", 60).await.unwrap();
    slow.get("web").await.unwrap();
    assert_eq!(put(slow.put("other", "job-1", 60).await), (5001, true));
    ground.pass(51);
    // Over by the fast clock, but nobody has found it so: an offer must not do that either.
    let over = [&fast];
    let lost = [&process, &slow, &fast];
    for (step, processes) in [over.as_slice(), lost.as_slice()].into_iter().enumerate() {
        if step == 1 {
            assert_eq!(why(fast.renew("5000", "job-1", 60).await), "lease-expired");
        }
        for process in processes {
            assert_eq!(why(process.offer("web", "job-1").await), "name-taken");
            assert_eq!(
                why(process.offer_as(Asked { port: Some(port(5010)), ..asked("web", "job-1") }).await),
                "name-taken"
            );
        }
    }
    for process in lost {
        assert_eq!(why(process.put_at("web", "job-1", 5010, 0).await), "name-taken");
        assert_eq!(why(process.set(&["web", "next"], "job-1", 0, false).await), "name-taken");
    }
    // A port that the slow process believes in range. It is claimed, and withdrawn.
    process.shrink(5000, 5009).await.unwrap();
    assert_eq!(why(slow.put_at("web", "job-1", 5010, 60).await), "port-not-in-range");
    assert_eq!(ground.number(5010, "lease_until").await, Some(1_800_000_060));
    ground.pass(18);
    assert_eq!(why(process.put("web", "job-2", 60).await), "name-taken");
    ground.pass(1);
    assert!(put(process.put("web", "job-2", 60).await).1);
    ground.assert_healthy().await;
}

/// P22, P25: a claim that moves the name early is withdrawn, and its process dies. What is left keeps the name for as long
/// as the holder of the earlier lease may rely on it. (The model's `EarlyFollows`.)
#[tokio::test]
async fn what_moved_early_and_was_withdrawn_keeps_the_name() {
    let ground = Ground::new(5000, 5019).await;
    let (process, fast) = (ground.process(0).await, ground.process(9).await);
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    ground.pass(51);
    assert_eq!(why(fast.renew("web", "job-1", 60).await), "lease-expired");
    // It cannot come back to its port.
    process.shrink(5001, 5019).await.unwrap();
    let plan = Plan::default();
    let slow = ground.warm(-9, &plan).await;
    ground.change(|old| Content { terms: cooling(100), ..old }).await.unwrap();
    // A claim that fails on the name; one that is made under the terms of before, and withdrawn; and the next.
    let next = ("TransactWriteItems", Fault::None);
    plan.add(&[next, next, ("TransactWriteItems", Fault::Wait)]);
    tokio::select! {
        biased;
        made = slow.put("web", "job-1", 60) => panic!("it waits: {made:?}"),
        () = plan.waiting() => {}
    }
    assert_eq!(process.list(StateKind::Allocated).await, []);
    for seconds in [0, 18] {
        ground.pass(seconds);
        assert_eq!(why(process.put("web", "job-2", 60).await), "name-taken");
    }
    ground.pass(1);
    assert!(put(process.put("web", "job-2", 60).await).1);
    ground.assert_healthy().await;
}

/// P23: the same owner gets a port by a slow clock, and is told a lease as if the clock had shown the end of the old one.
/// (The model's `NotBefore`.)
#[tokio::test]
async fn a_slow_clock_comes_back_after_a_lease_that_was_lost_early() {
    for names in [&["web"] as &[_], &["web", "next"]] {
        let ground = Ground::new(5000, 5019).await;
        let (process, slow, fast) = (ground.process(0).await, ground.process(-9).await, ground.process(9).await);
        assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
        ground.pass(51);
        assert_eq!(why(fast.renew("web", "job-1", 60).await), "lease-expired");
        let claims = match names {
            [name] => vec![slow.put(name, "job-1", 100).await.unwrap().claim().clone()],
            _ => slow.set(names, "job-1", 100, false).await.unwrap().claims,
        };
        assert!(claims.iter().all(|claim| told(claim) == Some(160)), "{claims:?}");
        ground.assert_healthy().await;
    }
}

/// P12: a service whose lease is over by less than the margin is in use. After that the port goes on cooling, whichever
/// service has it by then, and no clock lets the old holder renew it.
#[tokio::test]
async fn a_lease_keeps_its_service_until_the_margin_is_over() {
    for cooldown in [0, 100] {
        for shrinks in [false, true] {
            let ground = Ground::with(with_terms(5000, 5009, cooling(cooldown))).await;
            let (process, slow) = (ground.process(0).await, ground.process(-9).await);
            assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
            let give_up = async || match shrinks {
                true => process.shrink(5005, 5009).await.map(drop),
                false => process.delete().await,
            };
            let refusal = if shrinks { "range-in-use" } else { "service-in-use" };
            assert_eq!(why(give_up().await), refusal);
            ground.pass(60);
            assert_eq!(why(give_up().await), refusal);
            ground.pass(M - 1);
            assert_eq!(why(give_up().await), refusal);
            ground.pass(1);
            give_up().await.unwrap();
            assert_eq!(why(slow.renew("5000", "job-1", 60).await), "port-not-found");
            let other = process.found("flask", content(5000, 5000)).await;
            if cooldown > 0 {
                let refused = other.put("web", "job-1", 60).await.unwrap_err();
                let Error::RangeExhausted { occupancy, .. } = refused else { panic!("{refused:?}") };
                assert_eq!((occupancy.cooling, occupancy.seconds_to_next_expiry), (1, Some(90)));
                ground.pass(90);
            }
            assert_eq!(put(other.put("web", "job-1", 60).await), (5000, true));
            ground.assert_healthy().await;
        }
    }
}

/// P16: the reconciler makes a lapsed lease gone once the margin is over and not before, counts it once, and frees no
/// port before its time. (The model's `LapseOver`.)
#[tokio::test]
async fn the_reconciler_ends_leases_that_are_over() {
    let ground = Ground::with(with_terms(5000, 5009, cooling(100))).await;
    let (process, slow) = (ground.process(0).await, ground.process(-9).await);
    process.put("web", "job-1", 60).await.unwrap();
    process.put("kept", "job-1", 600).await.unwrap();
    process.put("for-ever", "job-1", 0).await.unwrap();
    let sweep = async || {
        let found = process.reconcile().await;
        assert!(found.is_healthy() && found.finished, "{found:?}");
        (found.lapsed_leases, found.ended_holds)
    };
    ground.pass(60 + M - 1);
    assert_eq!(sweep().await, (0, 0));
    assert!(ground.item(5000).await.unwrap().contains_key("secret"));
    ground.pass(1);
    assert_eq!(sweep().await, (1, 0));
    assert_eq!(sweep().await, (0, 0), "twice is harmless");
    assert!(!ground.item(5000).await.unwrap().contains_key("secret"));
    assert_eq!(why(slow.renew("5000", "job-1", 60).await), "port-not-found");
    assert_eq!(why(process.put_at("next", "", 5000, 60).await), "port-taken");
    // Its holder may come back.
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    ground.pass(60 + 100);
    // Nobody swept it while it was cooling, so it is removed, and counted all the same.
    assert_eq!(sweep().await, (1, 0));
    assert_eq!(ground.item(5000).await, None);
    process.put("again", "", 60).await.unwrap();
    process.release("again", "").await.unwrap();
    assert_eq!(sweep().await, (0, 0));
    ground.pass(100);
    assert_eq!(sweep().await, (0, 1));
    assert_eq!(sweep().await, (0, 0));
    assert_eq!(process.list(StateKind::Allocated).await.len(), 2);
}

/// A lapsed lease is in no list and is not found as a port; what is found is the cool-down that it is by then.
#[tokio::test]
async fn a_lapsed_lease_is_shown_as_cooling() {
    let ground = Ground::with(with_terms(5000, 5009, cooling(100))).await;
    let process = ground.process(0).await;
    process.put("web", "job-1", 60).await.unwrap();
    assert_eq!(process.list(StateKind::Allocated).await, [("web".to_owned(), 5000)]);
    assert_eq!(process.find(5000).await.unwrap().state.kind(), StateKind::Allocated);
    ground.pass(60);
    assert_eq!(process.list(StateKind::Allocated).await, []);
    for at in ["web", "5000"] {
        let refused = process.get(at).await.unwrap_err();
        let Error::PortNotFound { offered: Some(claim), .. } = refused else { panic!("{refused:?}") };
        assert_eq!(claim.state.kind(), StateKind::Cooling);
    }
    let found = process.find(5000).await.unwrap();
    assert_eq!((found.state.kind(), since(found.expires_at().unwrap())), (StateKind::Cooling, 160));
    ground.pass(100);
    assert_eq!(why(process.find(5000).await), "port-not-found");
    assert_eq!(why(process.get("web").await), "port-not-found");
}

/// P8: an idempotency key and a lease. The key finds the offer as it was made as long as its lease runs, and the name is
/// offered anew once that is over.
#[tokio::test]
async fn a_key_is_as_good_as_new_once_its_lease_is_over() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    let key = portmaster_domain::IdempotencyKey::new("build-1").unwrap();
    let ask = async |process: &crate::ground::Process| {
        let call = portmaster_testkit::call();
        process.registry.offer(&call, &process.service, asked("web", "job-1"), Some(&key)).await
    };
    let first = ask(&process).await.unwrap();
    process.accept(first.holding.secret, 60).await.unwrap();
    ground.pass(59);
    let again = ask(&ground.process(0).await).await.unwrap();
    assert!(again.replayed && again.holding.secret == first.holding.secret, "{again:?}");
    assert_eq!(again.holding.claim.state, first.holding.claim.state);
    // An offer comes back once the margin is over, too.
    ground.pass(1);
    assert_eq!(why(ask(&process).await), "name-taken");
    ground.pass(M);
    let anew = ask(&process).await.unwrap();
    assert!(!anew.replayed && anew.holding.secret != first.holding.secret, "{anew:?}");
    assert_eq!(anew.holding.claim.port, first.holding.claim.port);
    // Another owner under the same key is another request.
    let call = portmaster_testkit::call();
    let other = process.registry.offer(&call, &process.service, asked("web", "job-2"), Some(&key)).await;
    assert!(matches!(other, Err(Error::IdempotencyKeyReused)));
    ground.assert_healthy().await;
}

/// A margin that is a setting: everybody else waits that much longer.
#[tokio::test]
async fn the_margin_is_a_setting() {
    let ground = Ground::new(5000, 5000).await;
    let mut process = ground.process(0).await;
    process.registry = process.registry.with_margin(2);
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    ground.pass(61);
    assert_eq!(why(process.put("web", "job-2", 60).await), "name-taken");
    assert_eq!(why(process.put("next", "", 60).await), "range-exhausted");
    ground.pass(1);
    assert_eq!(put(process.put("next", "", 60).await), (5000, true));
    let content = |old: Content| Content { terms: Terms { max_lease: Some(5), ..old.terms }, ..old };
    ground.change(content).await.unwrap();
    ground.pass(62);
    assert_eq!(told(process.put("web", "job-2", 0).await.unwrap().claim()), Some(129));
    ground.assert_healthy().await;
}
