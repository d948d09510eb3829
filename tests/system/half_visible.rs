//! Reads of past state: of a transaction whose items become visible one by one, and of a replica that is behind.
//! DynamoDB has both, and the embedded one has neither (promises P2, P3, P4, P8, P12 and P16).

use std::time::Duration;

use serde_json::json;

use crate::held_changes::Change;
use portmaster_testkit::{Fault, Plan, World, call, serve};

const DJANGO: &str = "/v1/services/django";

/// P2: the Port item that a name's Instance item points to is read settled. Here the Instance item is visible already
/// and the Port item not yet, and to conclude that the claim is gone would give the name a second port. (The model's
/// `JudgeSettled`.)
#[tokio::test]
async fn a_claim_that_is_half_visible_has_its_name() {
    let world = World::new().await;
    world.api.service("django", 5000, 5004).await;
    let plan = Plan::default();
    let onlooker = serve(world.faulty(&plan).await).await;
    // It remembers 5000–5004, so it looks up the name's claim instead of trying its port.
    let (_, secret) = onlooker.offer("django", "warm").await;
    onlooker.reject("django", &secret).await.expect(204);
    world.api.put(DJANGO, json!({ "start": 5005, "end": 5009 })).await.expect(200);
    assert_eq!(world.api.offer("django", "web-01").await.0, 5005);
    world.api.patch(DJANGO, json!({ "start": 5000 })).await.expect(200);
    plan.add(&[("GetItem|TransactGetItems 05005", Fault::Half)]);
    assert_eq!(onlooker.ask("django", "web-01").await.expect_problem(409, "name-taken").port(), 5005);
    assert!(plan.is_done());
    let offers = world.api.get("/v1/services/django/offers").await.expect(200);
    assert_eq!(offers.body.as_array().unwrap().len(), 1);
    world.assert_healthy().await;
}

/// P8: the claim that a key made is read settled. A key whose first claim is only partly visible would otherwise make a
/// second one. (The model's `KeySettled`.)
#[tokio::test]
async fn a_claim_that_is_half_visible_has_its_key() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let first = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    assert_eq!(first.port(), 5000);
    let plan = Plan::script(&[("GetItem|TransactGetItems 05000", Fault::Half)]);
    let onlooker = serve(world.faulty(&plan).await).await;
    onlooker.ask_with_key("django", "web-02", "k").await.expect_problem(422, "idempotency-key-reused");
    assert!(plan.is_done());
    let again = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
    world.assert_healthy().await;
}

/// P4: the look after the claim is consistent, so no port of a service that is gone is offered, whatever a replica
/// still shows. (The model's `LookConsistent`.)
#[tokio::test]
async fn a_replica_that_shows_a_service_that_is_gone_deceives_no_offer() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let plan = Plan::default();
    let api = serve(world.faulty(&plan).await).await;
    let (_, secret) = api.offer("django", "warm").await;
    api.reject("django", &secret).await.expect(204);
    plan.add(&[("GetItem SERVICE#django", Fault::Keep), ("GetItem SERVICE#django", Fault::Stale)]);
    api.get(DJANGO).await.expect(200);
    world.api.delete(DJANGO).await.expect(204);
    api.ask("django", "web-01").await.expect_problem(404, "service-not-found");
    assert!(plan.is_done());
    world.api.service("django", 5000, 5009).await;
    assert_eq!(world.api.get("/v1/services/django/offers").await.expect(200).body, json!([]));
    world.assert_healthy().await;
}

/// P4, P12: the look for live claims is consistent, so a service in use is not deleted, and a range in use not cut off,
/// whatever a replica still shows. (The model's `QueryConsistent`.)
#[tokio::test]
async fn a_replica_that_shows_no_claims_gives_no_ports_up() {
    for change in Change::ALL {
        let world = World::new().await;
        world.api.service("django", 5000, 5009).await;
        let plan = Plan::script(&[("Query #PORT", Fault::Keep), ("Query #PORT", Fault::Stale)]);
        let api = serve(world.faulty(&plan).await).await;
        let first = change.send(&api).await;
        assert!(first.status.is_success(), "{first:?}");
        world.api.put(DJANGO, json!({ "start": 5000, "end": 5009 })).await;
        let (port, secret) = world.api.offer("django", "web-01").await;
        assert_eq!(port, 5000);
        change.send(&api).await.expect_problem(409, change.refusal());
        assert!(plan.is_done());
        world.api.accept("django", &secret).await.expect(201);
        world.assert_healthy().await;
    }
}

/// P3: the bitmap decides which ports belong to a service. Here the bitmap with another service's ports is visible
/// already, and that service not yet. (The model's `RangesFree`.)
#[tokio::test]
async fn the_range_of_a_service_that_is_half_visible_is_taken() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    world.api.service("flask", 5010, 5019).await;
    let plan = Plan::default();
    let api = serve(world.faulty(&plan).await).await;
    let flask = json!([{ "name": "flask", "start": 5010, "end": 5019 }]);

    plan.add(&[("Query SERVICE#", Fault::Half)]);
    let created = api.post("/v1/services", json!({ "name": "new", "start": 5015, "end": 5024 })).await;
    assert_eq!(created.expect_problem(409, "range-overlap").body["conflicts"], flask);
    plan.add(&[("Query SERVICE#", Fault::Half)]);
    let grown = api.patch(DJANGO, json!({ "end": 5014 })).await;
    assert_eq!(grown.expect_problem(409, "range-overlap").body["conflicts"], flask);
    assert!(plan.is_done());
    assert_eq!(world.api.get(DJANGO).await.expect(200).body["end"], 5009);
    world.assert_healthy().await;
}

/// P3, P16: the reconciler rebuilds the bitmap only if it disagrees with the services twice, a second apart. Here the
/// creation of a service is partly visible at the first comparison, and its ports would be lost. (The model's
/// `RebuildTwice`.)
#[tokio::test]
async fn a_service_that_is_half_visible_keeps_its_range() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let plan = Plan::script(&[("Query SERVICE#", Fault::Keep), ("Query SERVICE#", Fault::Half)]);
    let reconciler = world.faulty(&plan).await;
    assert!(reconciler.reconcile(&call()).await.unwrap().is_healthy());
    world.api.service("flask", 5010, 5019).await;
    let found = reconciler.reconcile(&call()).await.unwrap();
    assert!(found.is_healthy(), "{found:?}");
    assert!(plan.is_done());
    let overlapping = json!({ "name": "new", "start": 5015, "end": 5024 });
    world.api.post("/v1/services", overlapping).await.expect_problem(409, "range-overlap");
    world.assert_healthy().await;
}

/// P2, P16: the reconciler, too, reads settled before it notes that a claim is gone. Here the Instance item is visible
/// already and its Port item not yet; a claim that is noted as gone loses its name a week later. (The model's
/// `SweepSettled`.)
#[tokio::test]
async fn a_claim_that_is_half_visible_is_not_noted_as_gone() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    assert_eq!(world.api.allocate("django", "web-01").await, 5000);
    let plan = Plan::script(&[("Query #PORT", Fault::Half), ("GetItem|TransactGetItems 05000", Fault::Half)]);
    assert!(world.faulty(&plan).await.reconcile(&call()).await.unwrap().finished);
    assert!(plan.is_done());
    world.pass(Duration::from_secs(8 * 24 * 60 * 60));
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().stale_pointers, 0);
    assert_eq!(world.api.ask("django", "web-01").await.expect_problem(409, "name-taken").port(), 5000);
    world.assert_healthy().await;
}
