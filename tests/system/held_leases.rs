//! PUTs, renewals, releases and lapses that are held back at one request, or of which a copy arrives late, while others
//! go on. Their conditions must see what has happened since (promises P1, P2, P4, P7 and P12).

use portmaster_domain::{Labels, StateKind, Terms};
use portmaster_registry::{Asked, Content, Error, Expected, Import, Imported, NewSet, Put};
use portmaster_testkit::{Fault, Plan, call};
use tokio::task::JoinHandle;

use crate::ground::{
    Ground, MARGIN, Process, asked, cooling, labels, name, owner, port, ports, put, told, why, with_terms,
};

const M: u64 = MARGIN as u64;

/// A late copy of a renewal, by number or by name, that was sent while the allocation lived.
async fn late_renewal(ground: &Ground, at: &str, seconds: u32) -> Plan {
    let plan = Plan::default();
    let renewer = ground.warm(0, &plan).await;
    plan.add(&[("UpdateItem 05000 lease_until", Fault::Hold)]);
    renewer.renew(at, "job-1", seconds).await.unwrap();
    plan
}

/// P1: a copy of a renewal that arrives after a release with a cool-down finds no allocation. (The model's
/// `ReleaseStrips`.)
#[tokio::test]
async fn a_late_renewal_renews_nothing_that_was_released() {
    for at in ["5000", "web"] {
        let ground = Ground::with(with_terms(5000, 5009, cooling(100))).await;
        let process = ground.process(0).await;
        process.put("web", "job-1", 60).await.unwrap();
        process.renew("5000", "job-1", 61).await.unwrap();
        let plan = late_renewal(&ground, at, 1000).await;
        process.release("web", "job-1").await.unwrap();
        let item = ground.item(5000).await;
        plan.deliver().await;
        assert_eq!(ground.item(5000).await, item);
        ground.pass(100);
        assert_eq!(put(process.put_at("next", "", 5000, 60).await), (5000, true));
        ground.assert_healthy().await;
    }
}

/// A copy of a renewal that arrives when the same owner has the port anew means the tenure before. (The model's
/// `RenewSent` and `RenewSecret`.)
#[tokio::test]
async fn a_late_renewal_does_not_mean_the_next_tenure() {
    for at in ["5000", "web"] {
        let ground = Ground::new(5000, 5009).await;
        let process = ground.process(0).await;
        process.put("web", "job-1", 60).await.unwrap();
        process.renew("5000", "job-1", 61).await.unwrap();
        let plan = late_renewal(&ground, at, 1000).await;
        process.release("web", "job-1").await.unwrap();
        ground.pass(1);
        process.put("web", "job-1", 10).await.unwrap();
        process.renew("5000", "job-1", 11).await.unwrap();
        plan.deliver().await;
        assert_eq!(told(&process.get("web").await.unwrap()), Some(12));
        ground.assert_healthy().await;
    }
}

/// A copy of a renewal that arrives after a longer one does not set the lease back. (The model's `RenewLonger`.)
#[tokio::test]
async fn a_late_renewal_sets_no_lease_back() {
    for at in ["5000", "web"] {
        let ground = Ground::new(5000, 5009).await;
        let process = ground.process(0).await;
        process.put("web", "job-1", 60).await.unwrap();
        process.renew("5000", "job-1", 61).await.unwrap();
        let plan = late_renewal(&ground, at, 100).await;
        process.renew("5000", "job-1", 1000).await.unwrap();
        plan.deliver().await;
        assert_eq!(told(&process.get("web").await.unwrap()), Some(1000));
        ground.assert_healthy().await;
    }
}

/// P5: a copy of an accept that arrives after a renewal does not set the lease back, nor make it endless.
#[tokio::test]
async fn a_late_accept_sets_no_lease_back() {
    for seconds in [0, 60] {
        let ground = Ground::new(5000, 5009).await;
        let plan = Plan::default();
        let process = ground.warm(0, &plan).await;
        let offer = process.offer("web", "job-1").await.unwrap();
        plan.add(&[("UpdateItem 05000", Fault::Hold)]);
        process.accept(offer.secret, seconds).await.unwrap();
        let until = told(&ground.process(0).await.renew("web", "job-1", 600).await.unwrap());
        plan.deliver().await;
        assert_eq!(told(&process.get("web").await.unwrap()), until);
        assert_eq!(until, (seconds > 0).then_some(600));
        ground.assert_healthy().await;
    }
}

/// A renewal after which the lease was over, and that arrives when others have judged it: one write decides. What has
/// taken over stands, and what comes too late for the renewal changes nothing. (The model's `LapseOver`.)
#[tokio::test]
async fn a_renewal_and_whoever_takes_over_never_both_succeed() {
    for taker in ["other owner", "delete", "shrink", "reconcile", "set"] {
        for renewal_first in [false, true] {
            let ground = Ground::with(with_terms(5000, 5019, cooling(100))).await;
            let process = ground.process(0).await;
            process.put("web", "job-1", 60).await.unwrap();
            process.renew("5000", "job-1", 60).await.unwrap();
            // Sent in the last moment of the lease, and under way for longer than the margin. Its caller stops there.
            ground.pass(59);
            let late = Plan::default();
            let renewer = ground.warm(0, &late).await;
            late.add(&[("UpdateItem 05000 lease_until", Fault::Hold), ("UpdateItem", Fault::Wait)]);
            let renewing = tokio::spawn(async move { renewer.renew("5000", "job-1", 600).await });
            late.waiting().await;
            renewing.abort();
            ground.pass(1 + M);

            let plan = Plan::script(&[("UpdateItem 05000 past", Fault::Wait)]);
            let taking = ground.faulty(0, &plan).await;
            let about = format!("{taker}, {renewal_first}");
            let taking: JoinHandle<Result<(), Error>> = tokio::spawn(async move {
                match taker {
                    "other owner" => taking.put_at("web", "job-2", 5010, 60).await.map(drop),
                    // A name whose port is not where its neighbours are to be.
                    "set" => taking.set(&["x", "web"], "job-2", 60, true).await.map(drop),
                    "delete" => taking.delete().await,
                    "shrink" => taking.shrink(5010, 5019).await.map(drop),
                    _ => {
                        assert_eq!(taking.reconcile().await.lapsed_leases, u64::from(!renewal_first));
                        Ok(())
                    }
                }
            });
            plan.waiting().await;
            if renewal_first {
                late.deliver().await;
                assert_eq!(told(&process.get("web").await.unwrap()), Some(59 + 600), "{about}");
            }
            plan.open();
            let taken = taking.await.unwrap();
            if renewal_first {
                let refusal = match taker {
                    "other owner" | "set" => "name-taken",
                    "delete" => "service-in-use",
                    "shrink" => "range-in-use",
                    _ => "",
                };
                assert_eq!(taken.map_or_else(|error| why(Err::<(), _>(error)), |()| ""), refusal, "{about}");
                assert_eq!(told(&process.get("web").await.unwrap()), Some(59 + 600), "{about}");
            } else {
                taken.unwrap();
                let item = ground.item(5000).await.unwrap();
                assert!(!item.contains_key("secret"), "{about}");
                late.deliver().await;
                assert_eq!(ground.item(5000).await.unwrap(), item, "{about}");
            }
            if !matches!(taker, "delete" | "shrink") || renewal_first {
                ground.assert_healthy().await;
            }
        }
    }
}

/// The same owner takes its port back by a clock that is ahead, while it still renews the lease by another: one of the
/// two decides. (The model's `LapseOwn`.)
#[tokio::test]
async fn an_owner_does_not_lose_what_it_renews() {
    for taker in ["put", "renew", "set"] {
        let ground = Ground::new(5000, 5019).await;
        let process = ground.process(0).await;
        process.put("web", "job-1", 60).await.unwrap();
        process.renew("5000", "job-1", 60).await.unwrap();
        let plan = Plan::script(&[("UpdateItem 05000 REMOVE", Fault::Wait)]);
        let fast = ground.faulty(9, &plan).await;
        ground.pass(51);
        let taking: JoinHandle<Result<(), Error>> = tokio::spawn(async move {
            match taker {
                "put" => fast.put_at("web", "job-1", 5010, 60).await.map(drop),
                "set" => fast.set(&["x", "web"], "job-1", 60, true).await.map(drop),
                _ => fast.renew("5000", "job-1", 60).await.map(drop),
            }
        });
        plan.waiting().await;
        process.renew("5000", "job-1", 600).await.unwrap();
        plan.open();
        let taken = taking.await.unwrap();
        match taker {
            "put" => assert_eq!(why(taken), "name-taken"),
            // It is renewed after all; or beside it there is no room.
            "renew" => taken.unwrap(),
            _ => assert!(["set-does-not-fit", "set-is-scattered"].contains(&why(taken))),
        }
        assert_eq!(told(&process.get("web").await.unwrap()), Some(651), "{taker}");
        ground.assert_healthy().await;
    }
}

/// A copy of a lapse that arrives late finds the next tenure, whose lease is over by the clock that sent the copy: it
/// still means the tenure before. (The model's `LapseSecret`.)
#[tokio::test]
async fn a_late_lapse_ends_no_later_tenure() {
    let ground = Ground::new(5000, 5019).await;
    let process = ground.process(0).await;
    process.put("web", "job-1", 60).await.unwrap();
    process.renew("5000", "job-1", 60).await.unwrap();
    let plan = Plan::script(&[("UpdateItem 05000 REMOVE", Fault::Hold)]);
    let fast = ground.faulty(9, &plan).await;
    ground.pass(51);
    assert_eq!(why(fast.renew("5000", "job-1", 60).await), "lease-expired");
    assert_eq!(told(fast.put_at("web", "job-1", 5000, 5).await.unwrap().claim()), Some(65));
    plan.deliver().await;
    assert_eq!(told(&process.renew("web", "job-1", 50).await.unwrap()), Some(101));
    ground.assert_healthy().await;
}

/// P2, P7: a PUT whose process dies between its claim and what follows, before anybody is told. The same owner's next
/// PUT adopts the claim, and nobody else gets the name.
#[tokio::test]
async fn the_owners_next_put_adopts_what_a_dead_one_left() {
    for (seconds, dies_at) in [(60, "GetItem SERVICE#django"), (0, "GetItem SERVICE#django"), (0, "UpdateItem 05000")] {
        let ground = Ground::new(5000, 5009).await;
        let plan = Plan::default();
        let maker = ground.warm(0, &plan).await;
        plan.add(&[(dies_at, Fault::Wait)]);
        let making = tokio::spawn(async move { maker.put("web", "job-1", seconds).await });
        plan.waiting().await;
        making.abort();
        assert!(making.await.unwrap_err().is_cancelled());
        for process in [&ground.process(0).await, &ground.warm(0, &Plan::default()).await] {
            assert_eq!(why(process.put("web", "job-2", seconds).await), "name-taken");
            assert_eq!(why(process.put("web", "", seconds).await), "name-taken");
            let adopted = process.put("web", "job-1", seconds).await.unwrap();
            assert_eq!((adopted.claim().port.get(), told(adopted.claim())), (5000, (seconds > 0).then_some(60)));
            assert!(adopted.claim().confirmed, "its maker may not withdraw it any more");
        }
        assert_eq!(ground.process(0).await.list(StateKind::Offered).await, []);
        ground.assert_healthy().await;
    }
}

/// P35: an import that finds its port in the making adopts it before it says that the name has it, so its maker does not
/// withdraw it any more. Its labels stay as they were.
#[tokio::test]
async fn an_import_adopts_what_is_in_the_making() {
    let ground = Ground::with(with_terms(5000, 5009, Terms { lease: Some(60), ..Terms::default() })).await;
    let plan = Plan::default();
    let maker = ground.warm(0, &plan).await;
    plan.add(&[("GetItem SERVICE#django", Fault::Wait)]);
    tokio::select! {
        biased;
        _ = maker.put("web", "job-1", 0) => panic!("it waits"),
        () = plan.waiting() => {}
    }
    let process = ground.process(0).await;
    assert!(!process.get("web").await.unwrap().confirmed);
    let labels = Some(labels(&[("run", "2")]));
    let import = Import { name: name("web"), port: port(5000), owner: owner("job-1"), labels };
    for _ in 0..2 {
        let imported = process.registry.import(&call(), &process.service, vec![import.clone()], false).await.unwrap();
        let [Imported::Had(claim)] = imported.as_slice() else { panic!("{imported:?}") };
        assert!(claim.confirmed && claim.labels == Labels::default(), "{claim:?}");
    }
    assert!(process.get("web").await.unwrap().confirmed);
    ground.assert_healthy().await;
}

/// Whoever adopts what a dead PUT or set left replaces its labels by those of its own request.
#[tokio::test]
async fn what_is_adopted_gets_the_labels_of_its_adopter() {
    for (seconds, set) in [(60, false), (60, true), (0, false), (0, true)] {
        let ground = Ground::new(5000, 5009).await;
        let put_with = async |process: &Process, labels: Labels| {
            if set {
                let names = vec![name("web")];
                let lease = (seconds > 0).then_some(seconds);
                let set = NewSet { names, owner: owner("job-1"), lease, contiguous: false, labels: Some(labels) };
                process.registry.put_set(&call(), &process.service, &set).await.map(|set| set.claims)
            } else {
                let asked = Asked { labels: Some(labels), ..asked("web", "job-1") };
                let put = process.put_as(&asked, seconds, Expected::Anything).await;
                put.map(|put| vec![put.claim().clone()])
            }
        };
        let plan = Plan::default();
        let maker = ground.warm(0, &plan).await;
        plan.add(&[("GetItem SERVICE#django", Fault::Wait)]);
        let (old, new) = (labels(&[("run", "1"), ("team", "a")]), labels(&[("run", "2")]));
        tokio::select! {
            biased;
            _ = put_with(&maker, old) => panic!("it waits"),
            () = plan.waiting() => {}
        }
        let process = ground.process(0).await;
        let adopted = put_with(&process, new.clone()).await.unwrap();
        assert_eq!(adopted[0].labels, new, "{seconds}, {set}");
        assert_eq!(process.get("web").await.unwrap().labels, new, "{seconds}, {set}");
        ground.assert_healthy().await;
    }
}

/// What a dead PUT left ends by itself: the offer when it expires, the allocation with its lease.
#[tokio::test]
async fn what_a_dead_put_left_ends_by_itself() {
    for (seconds, lasts) in [(60, 60 + M), (0, 1800)] {
        let ground = Ground::new(5000, 5000).await;
        let plan = Plan::default();
        let maker = ground.warm(0, &plan).await;
        plan.add(&[("GetItem SERVICE#django", Fault::Wait)]);
        let making = tokio::spawn(async move { maker.put("web", "job-1", seconds).await });
        plan.waiting().await;
        making.abort();
        let process = ground.process(0).await;
        ground.pass(lasts - 1);
        assert_eq!(why(process.put("next", "", 60).await), "range-exhausted");
        ground.pass(1);
        assert_eq!(put(process.put("next", "", 60).await), (5000, true));
        ground.assert_healthy().await;
    }
}

/// A set without a lease whose process dies before it accepts is completed by its owner's retry.
#[tokio::test]
async fn the_owners_next_set_adopts_what_a_dead_one_left() {
    for (seconds, dies_at) in
        [(60, "GetItem SERVICE#django"), (0, "GetItem SERVICE#django"), (0, "TransactWriteItems accepted allocated")]
    {
        let ground = Ground::new(5000, 5009).await;
        let plan = Plan::default();
        let maker = ground.warm(0, &plan).await;
        plan.add(&[(dies_at, Fault::Wait)]);
        let making = tokio::spawn(async move { maker.set(&["a", "b"], "job-1", seconds, true).await });
        plan.waiting().await;
        making.abort();
        let process = ground.process(0).await;
        assert_eq!(why(process.set(&["b", "c"], "job-2", seconds, false).await), "name-taken");
        assert_eq!(ports(process.set(&["a", "b"], "job-1", seconds, true).await).0, [5000, 5001]);
        assert_eq!(process.list(StateKind::Offered).await, []);
        assert_eq!(process.list(StateKind::Allocated).await, [("a".to_owned(), 5000), ("b".to_owned(), 5001)]);
        ground.assert_healthy().await;
    }
}

/// A claim that is adopted has the terms that the adopter's look shows: its maker may have guessed others and died
/// before its own. (A finding of the model: `AdoptTerms`.)
#[tokio::test]
async fn what_is_adopted_has_the_terms_of_the_service() {
    let strict = Terms { max_lease: Some(100), cooldown: 50, ..Terms::default() };
    for seconds in [60, 0] {
        for adopter in ["put", "set", "renew"] {
            let ground = Ground::new(5000, 5009).await;
            let plan = Plan::default();
            let maker = ground.warm(0, &plan).await;
            ground.change(|old| Content { terms: strict, ..old }).await.unwrap();
            plan.add(&[("GetItem SERVICE#django", Fault::Wait)]);
            let making = tokio::spawn(async move { maker.put("web", "job-1", seconds).await });
            plan.waiting().await;
            making.abort();
            let process = ground.process(0).await;
            let claim = match adopter {
                "put" => process.put("web", "job-1", 1000).await.unwrap().claim().clone(),
                "set" => process.set(&["web", "next"], "job-1", 1000, false).await.unwrap().claims[0].clone(),
                // An offer is nothing to renew.
                _ if seconds == 0 => continue,
                _ => process.renew("web", "job-1", 1000).await.unwrap(),
            };
            let about = format!("{adopter}, {seconds}");
            assert_eq!((claim.port.get(), told(&claim), claim.terms), (5000, Some(100), strict), "{about}");
            process.release("web", "job-1").await.unwrap();
            assert_eq!(process.find(5000).await.unwrap().state.kind(), StateKind::Cooling, "{about}");
            ground.assert_healthy().await;
        }
    }
}

/// Begins a change of the service that gives port 5000 up, has seen nothing live, and waits before its last step; and
/// then a PUT that claims 5000, too late for that change's look, and that waits before its own.
async fn claim_that_came_too_late(ground: &Ground, maker: &Plan, shrinks: bool) -> JoinHandle<Result<Put, Error>> {
    let making = ground.warm(0, maker).await;
    let last_step = Plan::script(&[("TransactWriteItems SERVICE#django", Fault::Wait)]);
    let changing = ground.faulty(0, &last_step).await;
    let changing: JoinHandle<Result<(), Error>> = tokio::spawn(async move {
        if shrinks { changing.shrink(5005, 5009).await.map(drop) } else { changing.delete().await }
    });
    last_step.waiting().await;
    maker.add(&[("GetItem SERVICE#django", Fault::Wait)]);
    let making = tokio::spawn(async move { making.put("web", "job-1", 60).await });
    maker.waiting().await;
    last_step.open();
    changing.await.unwrap().unwrap();
    making
}

/// P4: a claim that a deletion could not see is no port of its service, whoever finds it: a renewal looks at the
/// service before it tells, and so does a PUT. (The model's `RenewConfirmed`.)
#[tokio::test]
async fn nobody_is_told_of_a_claim_whose_service_is_gone() {
    for shrinks in [false, true] {
        for finder in ["renew 5000", "renew web", "put", "set"] {
            let ground = Ground::new(5000, 5009).await;
            let plan = Plan::default();
            let making = claim_that_came_too_late(&ground, &plan, shrinks).await;
            let process = ground.process(0).await;
            let found = match finder {
                "put" => process.put("web", "job-1", 60).await.map(|put| put.claim().port.get()),
                "set" => process.set(&["web", "next"], "job-1", 60, false).await.map(|set| set.claims[0].port.get()),
                renew => {
                    process.renew(renew.split_once(' ').unwrap().1, "job-1", 60).await.map(|claim| claim.port.get())
                }
            };
            match (shrinks, finder) {
                (false, _) => assert_eq!(why(found), "service-not-found"),
                (true, "put" | "set") => assert!(found.unwrap() >= 5005),
                (true, _) => assert_eq!(why(found), "port-not-found"),
            }
            plan.open();
            match making.await.unwrap() {
                Ok(made) => assert!(shrinks && made.claim().port.get() >= 5005),
                Err(error) => assert_eq!(why(Err::<(), _>(error)), "service-not-found"),
            }
            assert!(ground.item(5000).await.is_none_or(|item| !item.contains_key("secret")));
            if shrinks {
                ground.assert_healthy().await;
            }
        }
    }
}

/// P7: a claim that its maker is about to withdraw, and of which another call of its owner has told meanwhile, stays:
/// the maker adopts it, in turn. (The model's `WithdrawUnconfirmed`.)
#[tokio::test]
async fn what_an_adopter_was_told_is_not_withdrawn() {
    for adopter in ["put", "renew", "set"] {
        let ground = Ground::new(5000, 5009).await;
        let plan = Plan::default();
        let making = claim_that_came_too_late(&ground, &plan, true).await;
        plan.add(&[("DeleteItem 05000", Fault::Wait)]);
        plan.open();
        plan.waiting().await;
        ground.change(|old| Content { range: crate::ground::range(5000, 5009), ..old }).await.unwrap();
        let process = ground.process(0).await;
        match adopter {
            // For less than is left, so that the write need not make the lease longer.
            "put" => assert_eq!(put(process.put("web", "job-1", 10).await), (5000, false)),
            "set" => assert_eq!(ports(process.set(&["web", "next"], "job-1", 10, false).await).0[0], 5000),
            _ => assert_eq!(process.renew("web", "job-1", 10).await.unwrap().port.get(), 5000),
        }
        plan.open();
        assert_eq!(put(making.await.unwrap()).0, 5000);
        assert_eq!(told(&process.get("web").await.unwrap()), Some(60), "{adopter}");
        ground.assert_healthy().await;
    }
}

/// A copy of a withdrawal that arrives late finds the next claim, which is not confirmed either, and leaves it. (The
/// model's `WithdrawSecret`.)
#[tokio::test]
async fn a_late_withdrawal_takes_no_other_claim() {
    // A claim that comes back to its port may follow a lease that still runs, and leaves a cool-down.
    for (comes_back, withdrawal) in [(false, "DeleteItem 05000"), (true, "UpdateItem 05000")] {
        let ground = Ground::with(with_terms(5000, 5000, cooling(50))).await;
        let plan = Plan::default();
        let process = ground.warm(0, &plan).await;
        if comes_back {
            process.put("web", "job-1", 60).await.unwrap();
            process.release("web", "job-1").await.unwrap();
        }
        ground.change(|old| Content { terms: cooling(100), ..old }).await.unwrap();
        // It claims under the terms that it remembers, sees others, withdraws, and claims again.
        plan.add(&[(withdrawal, Fault::Hold)]);
        let made = if comes_back {
            process.put_at("web", "job-1", 5000, 60).await.unwrap()
        } else {
            process.put("web", "job-1", 60).await.unwrap()
        };
        assert_eq!((made.claim().terms, plan.is_done()), (cooling(100), true));
        plan.deliver().await;
        assert_eq!(told(&process.get("web").await.unwrap()), Some(60));
        ground.assert_healthy().await;
    }
}

/// P7: a PUT that is throttled for a while began when it was done, and not when it was decided: a release by number
/// that was over before, and of which a copy is still under way, does not hit it. (The model's `StampAtSend`.)
#[tokio::test]
async fn a_put_that_is_throttled_begins_when_it_is_done() {
    for kind in ["lease", "no lease", "set", "set without a lease"] {
        let ground = Ground::new(5000, 5009).await;
        let plan = Plan::default();
        let maker = ground.warm(0, &plan).await;
        let claim = if kind.starts_with("no") { "UpdateItem 05000" } else { "TransactWriteItems accepted 05000" };
        plan.add(&[(claim, Fault::WaitAndThrottle)]);
        let making: JoinHandle<Result<u16, Error>> = tokio::spawn(async move {
            match kind {
                "lease" => maker.put("web", "", 60).await.map(|put| put.claim().port.get()),
                "no lease" => maker.put("web", "", 0).await.map(|put| put.claim().port.get()),
                "set" => maker.set(&["web", "next"], "", 60, true).await.map(|set| set.claims[0].port.get()),
                _ => maker.set(&["web", "next"], "", 0, true).await.map(|set| set.claims[0].port.get()),
            }
        });
        plan.waiting().await;
        ground.pass(1);
        let late = Plan::script(&[("DeleteItem 05000", Fault::Hold)]);
        // Its response is lost; what it was to release is not there, so it was released.
        ground.faulty(0, &late).await.release("5000", "").await.unwrap();
        ground.pass(1);
        plan.open();
        assert_eq!(making.await.unwrap().unwrap(), 5000, "{kind}");
        late.deliver().await;
        let claim = ground.process(0).await.get("web").await.unwrap();
        assert_eq!((claim.port.get(), claim.allocated_at().millis()), (5000, 1_800_000_002_000), "{kind}");
        ground.assert_healthy().await;
    }
}

/// P1: a copy of a release by number that arrives late finds another owner's port, or one under other terms, and leaves
/// it. (The model's `ReleasePortSent`, with a cool-down.)
#[tokio::test]
async fn a_late_release_frees_no_later_port() {
    for cooldown in [0, 100] {
        for (first, second) in [("job-1", "job-1"), ("", ""), ("*", "job-2")] {
            let ground = Ground::with(with_terms(5000, 5009, cooling(cooldown))).await;
            let plan = Plan::default();
            let releaser = ground.warm(0, &plan).await;
            let holder = if first == "*" { "job-1" } else { first };
            ground.process(0).await.put_at("web", holder, 5000, 60).await.unwrap();
            let operation = if cooldown > 0 { "UpdateItem 05000" } else { "DeleteItem 05000" };
            plan.add(&[(operation, Fault::Hold)]);
            // Its outcome is not certain, so the caller is told so, and asks again.
            assert_eq!(why(releaser.release("5000", first).await), "unavailable");
            releaser.release("5000", first).await.unwrap();
            ground.pass(1);
            let process = ground.process(0).await;
            process.put_at("web", second, 5000, 60).await.unwrap();
            plan.deliver().await;
            let kept = process.get("web").await.unwrap();
            assert_eq!((kept.port.get(), kept.name.clone()), (5000, name("web")));
            ground.assert_healthy().await;
        }
    }
}

/// P2: a PUT of the same owner that finds the port of the name gone by the time it renews it makes a new one.
#[tokio::test]
async fn a_put_whose_port_is_released_meanwhile_makes_another() {
    for cooldown in [0, 100] {
        let ground = Ground::with(with_terms(5000, 5009, cooling(cooldown))).await;
        let process: Process = ground.process(0).await;
        process.put("web", "job-1", 60).await.unwrap();
        let plan = Plan::script(&[("UpdateItem 05000", Fault::Wait)]);
        let second = ground.faulty(0, &plan).await;
        let asking = tokio::spawn(async move { second.put("web", "job-1", 60).await });
        plan.waiting().await;
        process.release("web", "job-1").await.unwrap();
        plan.open();
        assert_eq!(put(asking.await.unwrap()), (5000, true));
        assert_eq!(told(&process.get("web").await.unwrap()), Some(60));
        ground.assert_healthy().await;
    }
}
