//! Namespaces: a service and its namespace are made and deleted at the same time, responses are lost, and what happens
//! in one namespace does not show in another (promises P3, P7, P17 and P34).

use portmaster_testkit::{Answer, Caller, Fault, Plan, World, embedded_or_skip, serve};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const TEAM: &str = "/v1/namespaces/team-a";

fn web() -> Value {
    json!({ "name": "web", "start": 5000, "end": 5009 })
}

async fn create(api: &Caller) -> Answer {
    api.post(&format!("{TEAM}/services"), web()).await
}

/// A world with the namespace `team-a`.
async fn world() -> World {
    let world = World::new().await;
    world.api.put(TEAM, json!({})).await.expect(201);
    world
}

/// P34: a service is created while its namespace is deleted: whichever comes second fails. (The model's
/// `CreateNamespace`.)
#[tokio::test]
async fn no_service_is_created_in_a_namespace_that_is_gone() {
    for put in [false, true] {
        let world = world().await;
        let plan = Plan::script(&[("TransactWriteItems SERVICE#web", Fault::Wait)]);
        let api = serve(world.faulty(&plan).await).await;
        let creating = tokio::spawn(async move {
            if put { api.put(&format!("{TEAM}/services/web"), web()).await } else { create(&api).await }
        });
        plan.waiting().await;
        world.api.delete(TEAM).await.expect(204);
        plan.open();
        creating.await.unwrap().expect_problem(404, "namespace-not-found");
        // It would be there again in a namespace of the same name.
        world.api.put(TEAM, json!({})).await.expect(201);
        assert_eq!(world.api.get(&format!("{TEAM}/services")).await.expect(200).body, json!([]));
        create(&world.api).await.expect(201);
        world.assert_healthy().await;
    }
}

/// P34: the other way round. (The model's `NamespaceRanges`.)
#[tokio::test]
async fn a_namespace_that_gets_a_service_is_not_deleted() {
    let world = world().await;
    let plan = Plan::script(&[("TransactWriteItems NAMESPACES", Fault::Wait)]);
    let api = serve(world.faulty(&plan).await).await;
    let deleting = tokio::spawn(async move { api.delete(TEAM).await });
    plan.waiting().await;
    create(&world.api).await.expect(201);
    plan.open();
    let refused = deleting.await.unwrap().expect_problem(409, "namespace-in-use");
    assert_eq!(refused.body["services"], json!(["web"]));
    world.api.get(&format!("{TEAM}/services/web")).await.expect(200);
    world.assert_healthy().await;
}

/// P34: the creation of a service is partly visible: Ranges already, and the service not yet. (The model's
/// `RangesEmpty`.)
#[tokio::test]
async fn a_namespace_whose_service_is_half_visible_is_not_deleted() {
    let world = world().await;
    create(&world.api).await.expect(201);
    let plan = Plan::script(&[("Query SERVICE#", Fault::Half)]);
    let api = serve(world.faulty(&plan).await).await;
    api.delete(TEAM).await.expect_problem(409, "namespace-in-use");
    assert!(plan.is_done());
    world.api.get(&format!("{TEAM}/services/web")).await.expect(200);
    world.assert_healthy().await;
}

/// P7: a call whose response was lost is answered for what it did. (The model's `OwnNamespace` and `AbsentInDoubt`.)
#[tokio::test]
async fn a_lost_response_does_not_change_what_is_answered() {
    for fault in [Fault::LoseReply, Fault::DoneButError] {
        let world = World::new().await;
        let with = async |operation: &'static str| {
            let plan = Plan::script(&[(operation, fault)]);
            (serve(world.faulty(&plan).await).await, plan)
        };
        let (api, plan) = with("PutItem NAMESPACES").await;
        api.put(TEAM, json!({ "description": "a" })).await.expect(201);
        assert!(plan.is_done());
        // Here the first PutItem only finds that the namespace exists.
        let plan = Plan::script(&[("PutItem NAMESPACES", Fault::None), ("PutItem NAMESPACES", fault)]);
        let api = serve(world.faulty(&plan).await).await;
        let described = api.put(TEAM, json!({ "description": "b" })).await.expect(200);
        assert!(plan.is_done());
        assert_eq!((described.body["description"].as_str(), plan.is_done()), (Some("b"), true));
        let (api, plan) = with("TransactWriteItems SERVICE#web").await;
        create(&api).await.expect(201);
        assert!(plan.is_done());
        world.api.delete(&format!("{TEAM}/services/web")).await.expect(204);
        let (api, plan) = with("TransactWriteItems NAMESPACES").await;
        api.delete(TEAM).await.expect(204);
        assert!(plan.is_done());
        world.api.delete(TEAM).await.expect_problem(404, "namespace-not-found");
        world.assert_healthy().await;
    }
}

/// A change of a description that comes late, to the next namespace of the name, does not make it look like the one
/// before. (The model's `NamespaceAsRead`.)
#[tokio::test]
async fn a_late_description_brings_no_former_namespace_back() {
    let world = world().await;
    let plan = Plan::script(&[("PutItem NAMESPACES", Fault::None), ("PutItem NAMESPACES", Fault::Wait)]);
    let api = serve(world.faulty(&plan).await).await;
    let describing = tokio::spawn(async move { api.put(TEAM, json!({ "description": "late" })).await });
    plan.waiting().await;
    world.api.delete(TEAM).await.expect(204);
    let created = world.api.put(TEAM, json!({ "description": "new" })).await.expect(201);
    plan.open();
    // It comes after all, to the new one: its caller wanted it so, and the namespace is still the same one.
    let described = describing.await.unwrap().expect(200);
    assert_eq!(described.body["created"], created.body["created"]);
    assert_eq!(world.api.get(TEAM).await.expect(200).body, described.body);
    world.assert_healthy().await;
}

/// P17: what a namespace costs: nothing at all in the calls for ports, and one condition more in the creation of a
/// service.
#[tokio::test]
async fn a_namespace_costs_a_port_nothing() {
    if !embedded_or_skip("a_namespace_costs_a_port_nothing") {
        return;
    }
    let world = world().await;
    let mut costs = Vec::new();
    for base in ["/v1", TEAM] {
        let (registry, meter) = world.metered().await;
        let api = serve(registry).await;
        let cost = async |answer: Answer, status: u16| {
            answer.expect(status);
            let counts = meter.take();
            (counts.requests, counts.read_units, counts.write_units)
        };
        let own = format!("{base}/services/web");
        let created = cost(api.post(&format!("{base}/services"), web()).await, 201).await;
        let mut others =
            vec![cost(api.put(&format!("{own}/ports/a"), json!({ "lease_seconds": 60 })).await, 201).await];
        others.push(cost(api.put(&format!("{own}/ports/b"), json!({ "lease_seconds": 60 })).await, 201).await);
        others.push(cost(api.post(&format!("{own}/ports/a/renew"), json!({ "lease_seconds": 60 })).await, 200).await);
        others.push(cost(api.get(&format!("{base}/ports/5000")).await, 200).await);
        others.push(cost(api.get(&format!("{own}/ports")).await, 200).await);
        others.push(cost(api.delete(&format!("{own}/ports/a")).await, 204).await);
        costs.push((created.2, others));
    }
    let [(default, expected), (team, others)] = costs.as_slice() else { panic!("two namespaces") };
    assert_eq!(others, expected);
    // A condition of a transaction costs what a write of the item would, twice.
    assert_eq!(*team, *default + 2.0);

    // A deletion: Ranges takes two units to read, and a condition on it twelve.
    world.api.put("/v1/namespaces/empty", json!({})).await.expect(201);
    world.api.delete(&format!("{TEAM}/services/web/ports/b")).await.expect(204);
    world.api.delete(&format!("{TEAM}/services/web")).await.expect(204);
    let (registry, meter) = world.metered().await;
    let api = serve(registry).await;
    for (namespace, reads, writes) in [("empty", 2.0, 4.0), ("team-a", 3.0, 14.0)] {
        api.delete(&format!("/v1/namespaces/{namespace}")).await.expect(204);
        let counts = meter.take();
        assert_eq!(counts.requests.values().sum::<u32>(), 3, "{namespace}");
        assert_eq!((counts.read_units, counts.write_units), (reads, writes), "{namespace}");
    }
}

/// Some call on a service below this path, by its number.
fn step(base: &str, random: &mut StdRng) -> (&'static str, String, Option<Value>) {
    let name = ["a", "b", "c", "d"][random.random_range(0..4)];
    let owner = ["job-1", "job-2"][random.random_range(0..2)];
    let own = format!("{base}/services/web");
    match random.random_range(0..12) {
        0..4 => {
            let port = random.random_bool(0.3).then(|| 5000 + random.random_range(0..4));
            let body = json!({ "owner": owner, "lease_seconds": 600, "port": port });
            ("PUT", format!("{own}/ports/{name}"), Some(body))
        }
        4 => ("POST", format!("{own}/offers"), Some(json!({ "name": name }))),
        5 => ("POST", format!("{own}/sets"), Some(json!({ "names": ["a", "c"], "owner": owner, "lease_seconds": 60 }))),
        6 => ("DELETE", format!("{own}/ports/{name}?owner={owner}"), None),
        7 => ("DELETE", format!("{own}/ports/500{}?owner=*", random.random_range(0..4)), None),
        8 => ("POST", format!("{own}/ports/{name}/renew"), Some(json!({ "owner": owner, "lease_seconds": 900 }))),
        9 => ("POST", format!("{own}/release"), Some(json!({ "owner": owner, "states": ["allocated", "offered"] }))),
        10 => ("GET", format!("{base}/ports/500{}", random.random_range(0..4)), None),
        _ => ("GET", format!("{own}/map"), None),
    }
}

/// What an answer says, without what is different each time: ids, secrets and times.
fn said(answer: &Answer, base: &str) -> (u16, String) {
    let volatile =
        regex::Regex::new(r#"\d{4}-\d\d-\d\dT[0-9:.]+Z|[0-9a-f]{8}-[0-9a-f-]{27}|\d+ seconds?|"next_expiry":"[^"]*""#);
    let text = answer.body.to_string().replace(base, "").replace("team-a/web", "web").replace("team-b/web", "web");
    (answer.status.as_u16(), volatile.unwrap().replace_all(&text, "…").into_owned())
}

/// P34: the same history in two namespaces, interleaved, and alone: the answers are the same.
#[tokio::test]
async fn two_namespaces_never_influence_each_other() {
    let service = json!({ "name": "web", "start": 5000, "end": 5003, "cooldown_seconds": 3600 });
    for seed in 0..12 {
        let mut histories = Vec::new();
        for bases in [&["/v1/namespaces/team-a", "/v1/namespaces/team-b"][..], &["/v1/namespaces/team-b"]] {
            let world = World::new().await;
            let mut players = Vec::new();
            for base in bases {
                world.api.put(base, json!({})).await.expect(201);
                world.api.post(&format!("{base}/services"), service.clone()).await.expect(201);
                players.push((*base, StdRng::seed_from_u64(seed), Vec::new()));
            }
            // In turns, of random lengths.
            let mut turns = StdRng::seed_from_u64(1_000 + seed);
            while players.iter().any(|(_, _, answers)| answers.len() < 40) {
                let at = turns.random_range(0..players.len());
                let (base, random, answers) = &mut players[at];
                if answers.len() == 40 {
                    continue;
                }
                let (method, path, body) = step(base, random);
                let answer = world.api.send(method.parse().unwrap(), &path, body, &[]).await;
                answers.push((method, path.replace(*base, ""), said(&answer, base)));
            }
            histories.extend(players.into_iter().map(|(_, _, answers)| answers));
            world.assert_healthy().await;
        }
        for (i, step) in histories[0].iter().enumerate() {
            assert_eq!((step, step), (&histories[1][i], &histories[2][i]), "seed {seed}, step {i}");
        }
    }
}
