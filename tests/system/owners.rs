//! A PUT makes sure that a name has a port, and who it is that has it: owners (promises P1, P2, P7 and P14).

use portmaster_domain::{ClaimState, StateKind};
use portmaster_registry::{Asked, Error, Expected, Put};

use crate::ground::{Ground, asked, labels, owner, port, put, told, why};

/// P2: a retry gets the same port, whether it has an owner or not, and another owner is told who has it.
#[tokio::test]
async fn a_name_keeps_its_port_for_its_owner() {
    let ground = Ground::new(5000, 5009).await;
    let (one, other) = (ground.process(0).await, ground.process(0).await);
    for (instance, by, others) in [("a", "job-1", ["job-2", ""]), ("b", "", ["job-1", "job-2"])] {
        for seconds in [0, 60] {
            let instance = format!("{instance}-{seconds}");
            let (number, made) = put(one.put(&instance, by, seconds).await);
            assert!(made);
            for process in [&one, &other] {
                assert_eq!(put(process.put(&instance, by, seconds).await), (number, false));
                for stranger in others {
                    let refused = process.put(&instance, stranger, seconds).await.unwrap_err();
                    let Error::NameTaken { claim, free_at: None, .. } = refused else { panic!("{refused:?}") };
                    assert_eq!((claim.port.get(), claim.owner), (number, owner(by)));
                }
            }
            assert_eq!(why(other.offer(&instance, by).await), "name-taken");
        }
    }
    assert_eq!(one.list(StateKind::Allocated).await.len(), 4);
    ground.assert_healthy().await;
}

/// A PUT without a lease lasts until it is released: its item has no end, and neither has what a retry is told.
#[tokio::test]
async fn a_port_without_a_lease_has_no_end() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    let made = process.put("web", "job-1", 0).await.unwrap();
    assert_eq!(told(made.claim()), None);
    assert_eq!(ground.number(5000, "expires_at").await, None);
    assert!(ground.item(5000).await.unwrap()["confirmed"].as_bool().unwrap());
    ground.pass(365 * 24 * 3600);
    // A lease that is asked for later does not shorten it.
    let kept = process.put("web", "job-1", 60).await.unwrap();
    assert!(matches!(&kept, Put::Kept(claim) if told(claim).is_none()), "{kept:?}");
    let renewed = process.renew("web", "job-1", 60).await.unwrap();
    assert_eq!((renewed.port.get(), told(&renewed)), (5000, None));
    assert_eq!(ground.number(5000, "expires_at").await, None);
    process.release("web", "job-1").await.unwrap();
    assert_eq!(ground.item(5000).await, None);
    ground.assert_healthy().await;
}

/// An offer that was asked for as one is its caller's, whoever else has the same name and owner.
#[tokio::test]
async fn a_put_takes_no_offer_that_was_asked_for() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    let offer = process.offer("web", "job-1").await.unwrap();
    for seconds in [0, 60] {
        assert_eq!(why(process.put("web", "job-1", seconds).await), "name-taken");
    }
    assert_eq!(why(process.set(&["web", "next"], "job-1", 60, false).await), "name-taken");
    process.accept(offer.secret, 60).await.unwrap();
    // Now it is a port of this owner.
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, false));
    ground.assert_healthy().await;
}

/// What a caller takes for granted is checked, and a call that is refused changes nothing.
#[tokio::test]
async fn a_put_may_depend_on_whether_the_name_has_a_port() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    let ask = async |by: &str, expected| process.put_as(&asked("web", by), 60, expected).await;
    assert_eq!(why(ask("job-1", Expected::Something).await), "has-no-port");
    assert_eq!(ground.item(5000).await, None);
    assert_eq!(put(ask("job-1", Expected::Nothing).await), (5000, true));
    assert_eq!(why(ask("job-1", Expected::Nothing).await), "has-port");
    assert_eq!(why(ask("job-2", Expected::Nothing).await), "has-port");
    assert_eq!(why(ask("job-2", Expected::Something).await), "name-taken");
    ground.pass(30);
    assert_eq!(put(ask("job-1", Expected::Something).await), (5000, false));
    assert_eq!(told(&process.get("web").await.unwrap()), Some(90));
    ground.pass(60);
    // Its lease is over, so it has none.
    assert_eq!(why(ask("job-1", Expected::Something).await), "has-no-port");
    assert_eq!(put(ask("job-1", Expected::Nothing).await), (5000, true));
    // An open offer is not a port, and the name is taken all the same.
    process.offer("other", "").await.unwrap();
    let other = async |expected| process.put_as(&asked("other", ""), 60, expected).await;
    assert_eq!(why(other(Expected::Nothing).await), "name-taken");
    assert_eq!(why(other(Expected::Something).await), "has-no-port");
    ground.assert_healthy().await;
}

/// Labels are replaced where a PUT brings some, and stay where it brings none.
#[tokio::test]
async fn labels_are_replaced_where_they_are_given() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    for seconds in [0, 60] {
        let instance = format!("web-{seconds}");
        let with = async |given| {
            let asked = Asked { labels: given, ..asked(&instance, "job-1") };
            process.put_as(&asked, seconds, Expected::Anything).await.unwrap().claim().labels.clone()
        };
        let (first, second) = (labels(&[("a", "1"), ("b", "2")]), labels(&[("c", "3")]));
        assert_eq!(with(Some(first.clone())).await, first);
        assert_eq!(with(None).await, first);
        assert_eq!(with(Some(second.clone())).await, second);
        assert_eq!(process.get(&instance).await.unwrap().labels, second);
        assert_eq!(with(Some(labels(&[]))).await, labels(&[]));
        assert_eq!(process.get(&instance).await.unwrap().labels, labels(&[]));
    }
    ground.assert_healthy().await;
}

/// A port is only released in the name of its holder: by its number and by its name, and whether the process knows the
/// owner or not. Who is refused is told who has it and since when. (The model's `ReleaseOwner`, `ReleaseUnowned`,
/// `ReleasePortOwner` and `ReleasePortUnowned`.)
#[tokio::test]
async fn a_release_in_the_wrong_name_frees_nothing() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    for seconds in [0, 60] {
        for (holder, strangers) in [("job-1", ["job-2", ""]), ("", ["job-1", "job-2"])] {
            for at in ["5000", "web"] {
                let began = process.put("web", holder, seconds).await.unwrap().claim().allocated_at();
                ground.pass(1);
                for stranger in strangers {
                    let refused = process.release(at, stranger).await.unwrap_err();
                    let Error::NotTheOwner { claim, .. } = refused else { panic!("{refused:?}") };
                    assert_eq!((claim.owner.clone(), claim.allocated_at()), (owner(holder), began));
                    assert_eq!(process.get("web").await.unwrap().owner, owner(holder));
                }
                process.release(at, holder).await.unwrap();
                assert_eq!(ground.item(5000).await, None);
                process.put("web", holder, seconds).await.unwrap();
                process.release(at, "*").await.unwrap();
                assert_eq!(ground.item(5000).await, None);
                assert_eq!(why(process.release(at, holder).await), "port-not-found");
            }
        }
    }
    ground.assert_healthy().await;
}

/// P7: a clean-up that comes late, when the name has another holder, takes nothing from that one.
#[tokio::test]
async fn a_late_clean_up_takes_nothing_from_the_next_holder() {
    let ground = Ground::new(5000, 5009).await;
    let (first, second) = (ground.process(0).await, ground.process(0).await);
    assert_eq!(put(first.put("web", "job-1", 60).await), (5000, true));
    ground.pass(70);
    assert_eq!(put(second.put("web", "job-2", 60).await), (5000, true));
    for at in ["5000", "web"] {
        assert_eq!(why(first.release(at, "job-1").await), "not-the-owner");
        assert_eq!(why(first.renew(at, "job-1", 60).await), "not-the-owner");
    }
    assert_eq!(second.get("web").await.unwrap().owner, owner("job-2"));
    assert_eq!(put(second.put("web", "job-2", 60).await), (5000, false));
    ground.assert_healthy().await;
}

/// A port that is asked for by number: free, own, taken in each way, or not in the range.
#[tokio::test]
async fn a_given_port_is_given_or_said_to_be_taken() {
    let ground = Ground::new(5000, 5009).await;
    let process = ground.process(0).await;
    assert_eq!(put(process.put_at("web", "job-1", 5005, 60).await), (5005, true));
    assert_eq!(put(process.put_at("web", "job-1", 5005, 60).await), (5005, false));
    // The name has another one.
    assert_eq!(why(process.put_at("web", "job-1", 5006, 60).await), "name-taken");
    assert_eq!(why(process.put_at("web", "job-2", 5005, 60).await), "name-taken");
    for number in [4999, 5010] {
        assert_eq!(why(process.put_at("next", "job-1", number, 60).await), "port-not-in-range");
    }
    let refused = process.put_at("next", "job-1", 5005, 60).await.unwrap_err();
    let Error::PortTaken { claim: Some(claim), .. } = refused else { panic!("{refused:?}") };
    assert_eq!((claim.name.as_str(), claim.state.kind()), ("web", StateKind::Allocated));
    let offer = process.offer_as(Asked { port: Some(port(5007)), ..asked("offered", "") }).await.unwrap();
    assert!(matches!(offer.claim.state, ClaimState::Offered { .. }) && offer.claim.port == port(5007));
    assert_eq!(why(process.put_at("next", "job-1", 5007, 60).await), "port-taken");
    let again = Asked { port: Some(port(5005)), ..asked("again", "") };
    assert_eq!(why(process.offer_as(again).await), "port-taken");
    // A range that has grown since this process saw it, and one that has shrunk.
    ground.change(|old| portmaster_registry::Content { range: crate::ground::range(5000, 5020), ..old }).await.unwrap();
    assert_eq!(put(process.put_at("later", "job-1", 5020, 60).await), (5020, true));
    ground.change(|old| portmaster_registry::Content { range: crate::ground::range(5000, 5020), ..old }).await.unwrap();
    // A name whose port is gone may have another one at once.
    process.release("web", "job-1").await.unwrap();
    assert_eq!(put(process.put_at("web", "job-1", 5001, 60).await), (5001, true));
    ground.assert_healthy().await;
}

/// P1, P2: a crowd of one owner gets one port, and each of them is told of it; of many owners one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_for_one_name_gets_one_port() {
    let ground = Ground::new(5000, 5099).await;
    for seconds in [0, 60] {
        let mut processes = Vec::new();
        for _ in 0..16 {
            processes.push(ground.process(0).await);
        }
        let one = format!("one-{seconds}");
        let all = futures::future::join_all(processes.iter().map(|process| process.put(&one, "job-1", seconds))).await;
        let answers: Vec<_> = all.into_iter().map(put).collect();
        assert!(answers.iter().all(|(number, _)| *number == answers[0].0), "{answers:?}");
        assert!(answers.iter().any(|(_, made)| *made), "{answers:?}");
        let many = format!("many-{seconds}");
        let owners: Vec<_> = (0..16).map(|i| format!("job-{i}")).collect();
        let asking = processes.iter().zip(&owners).map(|(process, by)| process.put(&many, by, seconds));
        let all = futures::future::join_all(asking).await;
        let (won, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 15));
        assert!(lost.into_iter().all(|lost| why(lost) == "name-taken"));
        assert_eq!(processes[0].list(StateKind::Allocated).await.len(), if seconds == 0 { 2 } else { 4 });
        assert_eq!(processes[0].list(StateKind::Offered).await, []);
    }
    ground.assert_healthy().await;
}
