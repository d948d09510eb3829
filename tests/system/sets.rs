//! Port sets: all or none (promises P1, P2, P7, P11 and P14).

use std::collections::BTreeSet;

use portmaster_domain::{StateKind, Strategy, Terms};
use portmaster_registry::{Content, Error, NewSet};
use portmaster_testkit::{Fault, Plan, call};

use crate::ground::{
    Ground, MARGIN, Process, content, cooling, labels, name, owner, ports, put, told, why, with_terms,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The names and ports of all live claims, and that none of them is an offer.
async fn held(ground: &Ground) -> Vec<(String, u16)> {
    let process = ground.process(0).await;
    assert_eq!(process.list(StateKind::Offered).await, []);
    process.list(StateKind::Allocated).await
}

/// P7: all names get ports, in their order if they are to be neighbours, and a retry gets the same ones.
#[tokio::test]
async fn a_set_is_made_once() {
    for strategy in Strategy::ALL {
        for contiguous in [false, true] {
            for seconds in [0, 60] {
                let ground = Ground::with(Content { strategy, ..content(5000, 5019) }).await;
                let process = ground.process(0).await;
                let (made, is_made) = ports(process.set(&NAMES, "job-1", seconds, contiguous).await);
                assert!(is_made);
                assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 3);
                if contiguous {
                    assert_eq!(made, [made[0], made[0] + 1, made[0] + 2]);
                }
                for process in [&process, &ground.process(0).await] {
                    let again = process.set(&NAMES, "job-1", seconds, contiguous).await;
                    assert_eq!(ports(again), (made.clone(), false), "{strategy:?}, {contiguous}, {seconds}");
                    assert_eq!(why(process.set(&NAMES, "job-2", seconds, contiguous).await), "name-taken");
                    assert_eq!(why(process.set(&["x", "c"], "", seconds, contiguous).await), "name-taken");
                }
                // Each is a port like any other.
                for (instance, number) in NAMES.iter().zip(&made) {
                    let claim = process.get(instance).await.unwrap();
                    assert_eq!((claim.port.get(), claim.owner.clone()), (*number, owner("job-1")));
                    assert_eq!(told(&claim), (seconds > 0).then_some(60));
                    assert_eq!(put(process.put(instance, "job-1", seconds).await), (*number, false));
                }
                assert_eq!(held(&ground).await.len(), 3);
                process.release("b", "job-1").await.unwrap();
                let (again, is_made) = ports(process.set(&NAMES, "job-1", seconds, contiguous).await);
                assert_eq!((again, is_made), (made, true), "it comes back to its port");
                ground.assert_healthy().await;
            }
        }
    }
}

/// A set is renewed as a whole: the retry extends every lease, and shortens none.
#[tokio::test]
async fn a_retry_extends_every_lease() {
    let ground = Ground::new(5000, 5019).await;
    let process = ground.process(0).await;
    process.set(&NAMES, "job-1", 60, false).await.unwrap();
    process.renew("b", "job-1", 600).await.unwrap();
    ground.pass(30);
    let again = process.set(&NAMES, "job-1", 60, false).await.unwrap();
    assert_eq!(again.claims.iter().map(told).collect::<Vec<_>>(), [Some(90), Some(600), Some(90)]);
    // Labels are replaced where they are given.
    let set = |given| NewSet {
        names: NAMES.map(name).to_vec(),
        owner: owner("job-1"),
        lease: Some(60),
        contiguous: false,
        labels: given,
    };
    for (given, has) in [(Some(labels(&[("k", "v")])), labels(&[("k", "v")])), (None, labels(&[("k", "v")]))] {
        let answer = process.registry.put_set(&call(), &process.service, &set(given)).await.unwrap();
        assert!(answer.claims.iter().all(|claim| claim.labels == has), "{answer:?}");
        assert_eq!(process.get("b").await.unwrap().labels, has);
    }
    ground.assert_healthy().await;
}

/// Names that have ports keep them: the others are put beside them, or the call says why that cannot be.
#[tokio::test]
async fn a_set_is_completed() {
    for seconds in [0, 60] {
        let ground = Ground::new(5000, 5019).await;
        let process = ground.process(0).await;
        process.put_at("b", "job-1", 5005, seconds).await.unwrap();
        assert_eq!(ports(process.set(&NAMES, "job-1", seconds, true).await), (vec![5004, 5005, 5006], true));
        process.put_at("e", "job-1", 5010, seconds).await.unwrap();
        let (scattered, made) = ports(process.set(&["d", "e", "f"], "job-1", seconds, false).await);
        assert_eq!((scattered[1], made), (5010, true));
        // They do not stand next to each other, or not in this order.
        for names in [["e", "d"], ["b", "a"]] {
            let refused = process.set(&names, "job-1", seconds, true).await.unwrap_err();
            let Error::SetIsScattered { claims, .. } = refused else { panic!("{refused:?}") };
            assert_eq!(claims.len(), 2);
        }
        let again = ports(process.set(&["d", "e"], "job-1", seconds, false).await);
        assert_eq!(again, (scattered[..2].to_vec(), false));
        // There is no room beside 5019.
        process.put_at("last", "job-1", 5019, seconds).await.unwrap();
        let refused = why(process.set(&["last", "next"], "job-1", seconds, true).await);
        assert!(["set-is-scattered", "set-does-not-fit"].contains(&refused), "{refused}");
        assert_eq!(held(&ground).await.len(), 7);
        ground.assert_healthy().await;
    }
}

/// P7, P11: where not all fit, none is held, and the answer says how the range is taken.
#[tokio::test]
async fn a_set_that_does_not_fit_holds_nothing() {
    for seconds in [0, 60] {
        let ground = Ground::new(5000, 5007).await;
        let process = ground.process(0).await;
        // Every other port.
        for number in [5000, 5002, 5004, 5006] {
            process.put_at(&format!("web-{number}"), "", number, 60).await.unwrap();
        }
        for process in [&process, &ground.process(0).await] {
            for (names, contiguous) in
                [(["a", "b"].as_slice(), true), (&["a", "b", "c"], true), (&["a", "b", "c", "d", "e"], false)]
            {
                let refused = process.set(names, "job-1", seconds, contiguous).await.unwrap_err();
                let Error::SetDoesNotFit { wanted, occupancy, .. } = refused else { panic!("{refused:?}") };
                assert_eq!((wanted, occupancy.size, occupancy.allocated), (names.len(), 8, 4));
                assert_eq!(occupancy.seconds_to_next_expiry, Some(60 + u64::from(MARGIN)));
                assert_eq!(held(&ground).await.len(), 4);
            }
        }
        let fits = process.set(&["a", "b", "c", "d"], "job-1", seconds, false).await;
        assert_eq!(ports(fits), (vec![5001, 5003, 5005, 5007], true));
        // A retry of a set that fills the range finds it there.
        for process in [&process, &ground.process(0).await] {
            let again = process.set(&["d", "c", "b", "a"], "job-1", seconds, false).await;
            assert_eq!(ports(again), (vec![5007, 5005, 5003, 5001], false));
            assert_eq!(why(process.set(&["a", "x"], "job-2", seconds, false).await), "name-taken");
            assert_eq!(why(process.set(&["a", "x"], "job-1", seconds, false).await), "set-does-not-fit");
        }
        ground.assert_healthy().await;
    }
}

/// P7: a name of another owner, or an offer, among the names: the others get nothing.
#[tokio::test]
async fn a_name_of_another_owner_keeps_the_others_out() {
    for seconds in [0, 60] {
        let ground = Ground::new(5000, 5019).await;
        let process = ground.process(0).await;
        process.put("c", "job-2", 60).await.unwrap();
        for process in [&process, &ground.process(0).await] {
            let refused = process.set(&NAMES, "job-1", seconds, false).await.unwrap_err();
            let Error::NameTaken { claim, .. } = refused else { panic!("{refused:?}") };
            assert_eq!((claim.name.as_str(), claim.owner), ("c", owner("job-2")));
            assert_eq!(held(&ground).await, [("c".to_owned(), 5000)]);
        }
        // Its lease is over: another owner of the name waits for the margin, its own does not.
        ground.pass(60);
        assert_eq!(why(process.set(&NAMES, "job-1", seconds, false).await), "name-taken");
        ground.pass(u64::from(MARGIN) - 1);
        assert_eq!(why(process.set(&NAMES, "job-1", seconds, false).await), "name-taken");
        let ground_of_own = Ground::new(5000, 5019).await;
        let own = ground_of_own.process(0).await;
        own.put("c", "job-1", 60).await.unwrap();
        ground_of_own.pass(60);
        let (numbers, made) = ports(own.set(&NAMES, "job-1", seconds, false).await);
        // It comes back with a lease, like the one it had if none was asked for.
        assert_eq!((numbers[2], made), (5000, true));
        ground.pass(1);
        assert_eq!(ports(process.set(&NAMES, "job-1", seconds, false).await).0.len(), 3);
        assert_eq!(held(&ground).await.len(), 3);
        ground.assert_healthy().await;
    }
}

/// P2: names whose dead claims lie on the ports that the others are to have.
#[tokio::test]
async fn dead_claims_that_cross_are_no_obstacle() {
    for seconds in [0, 60] {
        for cooldown in [0, 100] {
            let ground = Ground::with(with_terms(5000, 5002, cooling(cooldown))).await;
            let process = ground.process(0).await;
            process.put_at("a", "job-1", 5001, 60).await.unwrap();
            process.put_at("b", "job-1", 5000, 60).await.unwrap();
            process.put_at("c", "job-1", 5002, 60).await.unwrap();
            ground.pass(60 + u64::from(cooldown.max(MARGIN)));
            let other = ground.process(0).await;
            assert_eq!(ports(other.set(&NAMES, "job-2", seconds, true).await), (vec![5000, 5001, 5002], true));
            assert_eq!(held(&ground).await.len(), 3);
            ground.assert_healthy().await;
        }
    }
}

/// P2: a name whose dead claim lies where no name of the set goes: it is removed with the transaction.
#[tokio::test]
async fn a_dead_claim_elsewhere_is_removed() {
    let ground = Ground::new(5000, 5009).await;
    let (process, slow) = (ground.process(0).await, ground.process(-1801).await);
    let offer = process.offer_as(portmaster_registry::Asked {
        // Its neighbours have no room there.
        port: Some(crate::ground::port(5009)),
        ..crate::ground::asked("b", "")
    });
    let offer = offer.await.unwrap();
    ground.pass(1800);
    assert_eq!(ports(process.set(&NAMES, "job-1", 60, true).await), (vec![5000, 5001, 5002], true));
    assert_eq!(ground.item(5009).await, None);
    assert_eq!(why(slow.accept(offer.secret, 0).await), "offer-not-found");
    assert_eq!(held(&ground).await.len(), 3);
    ground.assert_healthy().await;
}

/// P14: names whose ports are cooling come back to them, also where nothing else is left.
#[tokio::test]
async fn a_set_comes_back_to_its_cooling_ports() {
    for contiguous in [false, true] {
        let ground = Ground::with(with_terms(5000, 5002, cooling(100))).await;
        let process = ground.process(0).await;
        assert_eq!(ports(process.set(&NAMES, "job-1", 60, contiguous).await), (vec![5000, 5001, 5002], true));
        for instance in NAMES {
            process.release(instance, "job-1").await.unwrap();
        }
        for process in [&process, &ground.process(0).await] {
            let refused = process.set(&["x", "y"], "job-1", 60, contiguous).await.unwrap_err();
            let Error::SetDoesNotFit { occupancy, .. } = refused else { panic!("{refused:?}") };
            assert_eq!((occupancy.cooling, occupancy.seconds_to_next_expiry), (3, Some(100)));
        }
        let again = ground.process(0).await.set(&NAMES, "job-2", 60, contiguous).await;
        assert_eq!(ports(again), (vec![5000, 5001, 5002], true));
        ground.assert_healthy().await;
    }
}

/// Every member is leased as the service says, in a set with a lease and in one without.
#[tokio::test]
async fn the_service_leases_every_member() {
    let terms = Terms { lease: Some(30), max_lease: Some(100), ..Terms::default() };
    let ground = Ground::with(with_terms(5000, 5019, terms)).await;
    let process = ground.process(0).await;
    for (first, seconds, granted) in [("a", 0, 30), ("b", 50, 50), ("c", 1000, 100)] {
        let set = process.set(&[first, &format!("{first}-2")], "", seconds, true).await.unwrap();
        assert!(set.claims.iter().all(|claim| told(claim) == Some(granted)), "{set:?}");
    }
    ground.assert_healthy().await;
}

/// The largest set: 32 names, in one transaction.
#[tokio::test]
async fn the_largest_set_fits_into_one_transaction() {
    let ground = Ground::new(5000, 5099).await;
    let process = ground.process(0).await;
    let names: Vec<_> = (0..NewSet::MAX).map(|i| format!("web-{i}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    // Every name has a dead claim elsewhere, in another order, which is a third part for each.
    for (i, instance) in names.iter().enumerate() {
        process.put_at(instance, "job-1", 5091 - i as u16, 60).await.unwrap();
    }
    ground.pass(60 + u64::from(MARGIN));
    ground.change(|old| Content { range: crate::ground::range(5000, 5099), ..old }).await.unwrap();
    let call = call();
    let set = NewSet {
        names: names.iter().map(|text| name(text)).collect(),
        owner: owner("job-2"),
        lease: Some(60),
        contiguous: true,
        labels: None,
    };
    let made = process.registry.put_set(&call, &process.service, &set).await.unwrap();
    let numbers: Vec<_> = made.claims.iter().map(|claim| claim.port.get()).collect();
    assert_eq!(numbers, (numbers[0]..numbers[0] + 32).collect::<Vec<_>>());
    assert_eq!(held(&ground).await.len(), 32);
    ground.assert_healthy().await;
}

/// P7: whatever happens to one request of a set, its answer is the one that it should have had, and nothing is left
/// behind.
#[tokio::test]
async fn a_set_survives_every_fault() {
    for fault in [Fault::LoseReply, Fault::DoneButError, Fault::InternalError, Fault::Throttle, Fault::Conflict] {
        for seconds in [0, 60] {
            for request in 1..=3 {
                let ground = Ground::new(5000, 5019).await;
                let mut script = vec![("TransactWriteItems|GetItem", Fault::None); request];
                script.push(("TransactWriteItems|GetItem", fault));
                let plan = Plan::script(&script);
                let process = ground.faulty(0, &plan).await;
                let (made, _) = ports(process.set(&NAMES, "job-1", seconds, true).await);
                assert_eq!(made, [made[0], made[0] + 1, made[0] + 2], "{fault:?}, {seconds}, {request}");
                let listed: Vec<_> = held(&ground).await.into_iter().map(|(_, number)| number).collect();
                assert_eq!(listed, made, "{fault:?}, {seconds}, {request}");
                assert_eq!(ports(process.set(&NAMES, "job-1", seconds, true).await), (made, false));
                ground.assert_healthy().await;
            }
        }
    }
}

/// Sets that want the same ports at once: each gets all of its ports, and no two the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_that_meet_get_all_or_nothing() {
    for contiguous in [false, true] {
        let ground = Ground::new(5000, 5029).await;
        let mut processes: Vec<Process> = Vec::new();
        for _ in 0..16 {
            processes.push(ground.process(0).await);
        }
        let asking = processes.iter().enumerate().map(|(i, process)| async move {
            let names: Vec<_> = (0..3).map(|k| format!("set-{i}-{k}")).collect();
            process.set(&names.iter().map(String::as_str).collect::<Vec<_>>(), "", 60, contiguous).await
        });
        let answers = futures::future::join_all(asking).await;
        let mut all = BTreeSet::new();
        let mut refused = 0;
        for answer in answers {
            match answer {
                Ok(set) => set.claims.iter().for_each(|claim| assert!(all.insert(claim.port))),
                Err(Error::SetDoesNotFit { .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        // 30 ports hold ten sets; neighbours may be scattered so that fewer fit, and what was refused holds nothing.
        assert!(all.len() % 3 == 0 && all.len() >= 21 && refused == 16 - all.len() / 3, "{} {refused}", all.len());
        assert!(contiguous || all.len() == 30);
        assert_eq!(held(&ground).await.len(), all.len());
        ground.assert_healthy().await;
    }
}
