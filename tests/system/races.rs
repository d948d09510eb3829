//! Races: each pair of operations with opposite aims, at the same moment, over and over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use proptest::prelude::*;
use serde_json::json;

use portmaster_testkit::{Caller, World, rounds, serve};

async fn processes(world: &World, count: usize) -> Vec<Caller> {
    let mut callers = Vec::new();
    for _ in 0..count {
        callers.push(serve(world.another(0).await).await);
    }
    callers
}

/// P5: one of accept and reject wins, and the loser's answer says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_against_reject() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    let callers = processes(&world, 2).await;
    let (mut accepted, mut rejected) = (0, 0);
    for i in 0..rounds(60) {
        let (port, secret) = world.api.offer("django", &format!("web-{i}")).await;
        let (accept, reject) = if i % 2 == 0 {
            join(callers[0].accept("django", &secret), callers[1].reject("django", &secret)).await
        } else {
            let (reject, accept) =
                join(callers[1].reject("django", &secret), callers[0].accept("django", &secret)).await;
            (accept, reject)
        };
        let path = format!("/v1/ports/{port}");
        match (accept.status.as_u16(), reject.status.as_u16()) {
            (201, 409) => {
                accepted += 1;
                reject.expect_problem(409, "offer-accepted");
                world.api.get(&path).await.expect(200);
            }
            (404, 204) => {
                rejected += 1;
                world.api.get(&path).await.expect_problem(404, "port-not-found");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted + rejected, rounds(60));
    world.assert_healthy().await;
}

/// P5: accepted many times at once, an offer is accepted once, with one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_against_accept() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    let callers = processes(&world, 4).await;
    for i in 0..20 {
        let (_, secret) = world.api.offer("django", &format!("web-{i}")).await;
        let answers = join_all(callers.iter().map(|api| api.accept("django", &secret))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert!(answers.iter().all(|answer| answer.body == answers[0].body && answer.status.is_success()));
    }
}

/// P4: an offer that was returned to a caller outlives no service, and lies in its range, whatever is deleted or
/// shrunk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offer_against_delete_and_shrink() {
    let world = World::new().await;
    let callers = processes(&world, 4).await;
    let (mut held, mut deleted, mut shrunk) = (0, 0, 0);
    for round in 0..40 {
        world.api.put("/v1/services/django", json!({ "start": 5000, "end": 5009 })).await;
        let change = async {
            let api = &callers[3];
            if round % 2 == 0 {
                api.delete("/v1/services/django").await
            } else {
                api.put("/v1/services/django", json!({ "start": 5008, "end": 5009 })).await
            }
        };
        // The order in which they begin alternates.
        let asks = join_all((0..3).map(|i| {
            let api = &callers[i];
            async move {
                tokio::time::sleep(Duration::from_millis((round % 8) * 4)).await;
                api.ask("django", &format!("web-{round}-{i}")).await
            }
        }));
        let (offers, change) = join(asks, change).await;
        let service = world.api.get("/v1/services/django").await;
        for offer in &offers {
            match offer.status.as_u16() {
                201 => {
                    held += 1;
                    // It was returned, so it can be accepted, and the service exists and covers it.
                    let port = world.api.accept("django", &offer.secret()).await.expect(201).port();
                    assert_eq!(service.status, 200, "{change:?} {offers:?}");
                    let covers = |member: &str| service.body[member].as_u64().unwrap();
                    assert!((covers("start")..=covers("end")).contains(&u64::from(port)), "{change:?} {offers:?}");
                    world.api.delete(&format!("/v1/services/django/ports/{port}")).await.expect(204);
                }
                404 => assert_eq!(offer.kind(), "service-not-found"),
                409 => assert_eq!(offer.kind(), "range-exhausted"),
                503 => assert_eq!(offer.kind(), "service-closing"),
                other => panic!("{other}: {offer:?}"),
            }
        }
        match change.status.as_u16() {
            204 => deleted += 1,
            200 => shrunk += 1,
            409 => assert!(["service-in-use", "range-in-use"].contains(&change.kind()), "{change:?}"),
            other => panic!("{other}: {change:?}"),
        }
        // Offers that were not returned do not exist either: nothing leaks.
        if change.status.is_success() && round % 2 == 0 {
            world.api.get("/v1/services/django").await.expect_problem(404, "service-not-found");
        } else {
            assert_eq!(world.api.get("/v1/services/django/ports").await.expect(200).body, json!([]));
        }
        let left = callers[0].get("/v1/services/django/offers").await;
        assert!(left.status == 404 || left.body == json!([]), "{left:?}");
    }
    assert!(held > 0 && deleted + shrunk > 0, "held {held}, deleted {deleted}, shrunk {shrunk}");
    world.assert_healthy().await;
}

/// Deleted by many at once, a service is deleted; created and deleted at once, it exists or not, and never in part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_against_delete_and_create() {
    let world = World::new().await;
    let callers = processes(&world, 4).await;
    for round in 0..10 {
        world.api.put("/v1/services/django", json!({ "start": 5000, "end": 5009 })).await;
        let deletions = join_all(callers.iter().map(|api| api.delete("/v1/services/django"))).await;
        assert!(deletions.iter().any(|answer| answer.status == 204), "{deletions:?}");
        assert!(deletions.iter().all(|answer| [204, 404].contains(&answer.status.as_u16())), "{deletions:?}");
        world.api.get("/v1/services/django").await.expect_problem(404, "service-not-found");

        world.api.service("django", 5000, 5009).await;
        let put = callers[0].put("/v1/services/django", json!({ "start": 5000, "end": 5019 + round }));
        let (put, delete) = join(put, callers[1].delete("/v1/services/django")).await;
        assert!([200, 201].contains(&put.status.as_u16()), "{put:?}");
        delete.expect(204);
        let after = world.api.get("/v1/services/django").await;
        assert!([200, 404].contains(&after.status.as_u16()));
        world.assert_healthy().await;
    }
}

/// Changes of one service at the same moment follow each other; none is refused for an overlap with itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_against_change() {
    let world = World::new().await;
    world.api.service("django", 5000, 5100).await;
    let callers = processes(&world, 4).await;
    for round in 1..9 {
        let end = 5100 + round * 10;
        let same = join_all(callers.iter().map(|api| api.patch("/v1/services/django", json!({ "end": end })))).await;
        assert!(same.iter().all(|answer| answer.status == 200 && answer.body["end"] == end), "{same:?}");
        let different = join_all(callers.iter().enumerate().map(|(i, api)| {
            let body = json!({ "start": 5000 - i, "end": end + i, "description": format!("{round}-{i}") });
            async move { api.put("/v1/services/django", body).await }
        }));
        let different = different.await;
        assert!(different.iter().all(|answer| answer.status == 200), "{different:?}");
        let after = world.api.get("/v1/services/django").await.expect(200);
        assert!(different.iter().any(|answer| answer.body == after.body), "the last one is what there is");
    }
    world.assert_healthy().await;
}

/// P1, P2: names that come and go, in many processes with memories of their own, while an onlooker counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_come_and_go() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 5100), ("random", 5200)] {
        // Fewer ports than names, so that ports change hands all the time.
        world.api.service_with(strategy, start, start + 11, strategy).await;
        let callers = processes(&world, 4).await;
        let running = AtomicBool::new(true);
        let onlooker = async {
            let mut looks = 0;
            while running.load(Ordering::Relaxed) {
                for kind in ["ports", "offers"] {
                    let list = world.api.get(&format!("/v1/services/{strategy}/{kind}")).await.expect(200);
                    let items = list.body.as_array().unwrap();
                    let names: BTreeSet<_> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
                    assert_eq!(names.len(), items.len(), "a name twice: {items:?}");
                }
                looks += 1;
            }
            looks
        };
        let workers = join_all((0..16).map(|i| {
            let api = &callers[i % 4];
            async move {
                let name = format!("web-{i}");
                let mut got = 0;
                for round in 0..12 {
                    let answer = api.ask(strategy, &name).await;
                    if answer.status != 201 {
                        assert_eq!(answer.kind(), "range-exhausted", "{answer:?}");
                        continue;
                    }
                    got += 1;
                    if (i + round) % 3 == 0 {
                        api.reject(strategy, &answer.secret()).await.expect(204);
                        continue;
                    }
                    let port = api.accept(strategy, &answer.secret()).await.expect(201).port();
                    let path = format!("/v1/services/{strategy}/ports/{port}");
                    let by_name = format!("/v1/services/{strategy}/ports/{name}");
                    // No other name has it, and this name has no other.
                    assert_eq!(api.get(&path).await.expect(200).body["name"], name);
                    assert_eq!(api.get(&by_name).await.expect(200).port(), port);
                    api.ask(strategy, &name).await.expect_problem(409, "name-taken");
                    api.delete(if round % 2 == 0 { &path } else { &by_name }).await.expect(204);
                }
                got
            }
        }));
        let work = async {
            let got = workers.await;
            running.store(false, Ordering::Relaxed);
            got
        };
        let (looks, got) = join(onlooker, work).await;
        assert!(looks > 0 && got.iter().all(|got| *got > 0), "{looks} looks, {got:?}");
        assert_eq!(world.api.get(&format!("/v1/services/{strategy}/ports")).await.expect(200).body, json!([]));
        assert_eq!(world.api.get(&format!("/v1/services/{strategy}/offers")).await.expect(200).body, json!([]));
    }
    world.assert_healthy().await;
}

/// One step of a single caller.
#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Accept(u8),
    Reject(u8),
    Release(u8),
    Expire,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6).prop_map(Step::Ask),
        3 => (0u8..6).prop_map(Step::Accept),
        1 => (0u8..6).prop_map(Step::Reject),
        2 => (0u8..6).prop_map(Step::Release),
        1 => Just(Step::Expire),
        1 => Just(Step::Forget),
    ]
}

/// P1, P2, P5, P6, P11: any history of one caller, in a range of four ports with six names, has the answers of a
/// reference of a few lines. `Forget` continues in another process, which remembers nothing.
#[test]
fn any_history_answers_as_a_plain_registry_does() {
    #[derive(Clone)]
    struct Held {
        port: u16,
        secret: String,
        accepted: bool,
        live: bool,
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        cases: u32::try_from(rounds(40)).unwrap(),
        ..ProptestConfig::default()
    };
    let strategies = prop::sample::select(vec!["lowest", "hashed", "random"]);
    proptest::test_runner::TestRunner::new(config)
        .run(&(strategies, prop::collection::vec(step(), 1..40)), |(strategy, steps)| {
            runtime.block_on(async {
                let world = World::new().await;
                world.api.service_with("django", 5000, 5003, strategy).await;
                let mut api = world.api.clone();
                let mut model: [Option<Held>; 6] = Default::default();
                for step in steps {
                    let name = |i: u8| format!("web-{i}");
                    match step {
                        Step::Ask(i) => {
                            let answer = api.ask("django", &name(i)).await;
                            let live = |held: &&Held| held.live;
                            let taken: Vec<_> = model.iter().flatten().filter(live).map(|held| held.port).collect();
                            if model[usize::from(i)].as_ref().is_some_and(|held| held.live) {
                                prop_assert_eq!(answer.kind(), "name-taken");
                            } else if taken.len() == 4 {
                                prop_assert_eq!(answer.kind(), "range-exhausted");
                            } else {
                                prop_assert_eq!(answer.status.as_u16(), 201, "{:?}", answer);
                                let (port, secret) = (answer.port(), answer.secret());
                                prop_assert!((5000..=5003).contains(&port) && !taken.contains(&port));
                                model[usize::from(i)] = Some(Held { port, secret, accepted: false, live: true });
                            }
                        }
                        Step::Accept(i) => {
                            let Some(held) = &mut model[usize::from(i)] else { continue };
                            let answer = api.accept("django", &held.secret).await;
                            match (held.live, held.accepted) {
                                (true, false) => prop_assert_eq!(answer.status.as_u16(), 201),
                                (true, true) => prop_assert_eq!(answer.status.as_u16(), 200),
                                (false, _) => {
                                    prop_assert!(["offer-expired", "offer-not-found"].contains(&answer.kind()))
                                }
                            }
                            held.accepted |= held.live;
                        }
                        Step::Reject(i) => {
                            let Some(held) = &mut model[usize::from(i)] else { continue };
                            let answer = api.reject("django", &held.secret).await;
                            match (held.live, held.accepted) {
                                (true, false) => prop_assert_eq!(answer.status.as_u16(), 204),
                                (true, true) => prop_assert_eq!(answer.kind(), "offer-accepted"),
                                (false, _) => prop_assert_eq!(answer.kind(), "offer-not-found"),
                            }
                            held.live &= held.accepted;
                        }
                        Step::Release(i) => {
                            let answer = api.delete(&format!("/v1/services/django/ports/{}", name(i))).await;
                            let held = model[usize::from(i)].as_mut().filter(|held| held.live && held.accepted);
                            prop_assert_eq!(answer.status.as_u16(), if held.is_some() { 204 } else { 404 });
                            if let Some(held) = held {
                                held.live = false;
                            }
                        }
                        Step::Expire => {
                            world.pass(Duration::from_secs(1801));
                            for held in model.iter_mut().flatten() {
                                held.live &= held.accepted;
                            }
                        }
                        Step::Forget => {
                            api = serve(world.forgetful().await).await;
                        }
                    }
                }
                world.assert_healthy().await;
                Ok(())
            })
        })
        .unwrap();
}
