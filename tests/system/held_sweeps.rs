//! A reconciler that is held back at a removal while the item to be removed comes into use. Every removal repeats its
//! evidence as a condition, so it then removes nothing (promise P16, and P2, P3 and P8 for what would be lost).

use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_registry::Findings;
use serde_json::json;
use tokio::task::JoinHandle;

use portmaster_testkit::{Fault, Plan, TABLE, World, call, fill, text};

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Begins a run of the reconciler, held back at the first request of this name.
async fn held(world: &World, request: &'static str) -> (Plan, JoinHandle<Findings>) {
    let plan = Plan::script(&[(request, Fault::Wait)]);
    let reconciler = world.faulty(&plan).await;
    let run = tokio::spawn(async move { reconciler.reconcile(&call()).await.unwrap() });
    plan.waiting().await;
    (plan, run)
}

/// P16: an allocation whose service is created again before its removal belongs to that service. (The model's
/// `OrphanService`.)
#[tokio::test]
async fn an_orphan_whose_service_is_created_again_stays() {
    let world = World::new().await;
    fill(&world, "django", 5000, 1).await;
    let (plan, run) = held(&world, "TransactWriteItems 05000").await;
    world.api.service("django", 5000, 5009).await;
    plan.open();
    assert_eq!(run.await.unwrap().orphaned_allocations, 0);
    assert_eq!(world.api.get("/v1/services/django/ports/5000").await.expect(200).body["name"], "filler-5000");
    world.assert_healthy().await;
}

/// P16: an orphan that is released before its removal leaves its port to others, and their claims on it stay. (The
/// model's `OrphanSecret`.)
#[tokio::test]
async fn an_orphan_whose_port_is_allocated_anew_stays() {
    let world = World::new().await;
    fill(&world, "django", 5000, 1).await;
    let (plan, run) = held(&world, "TransactWriteItems 05000").await;
    world.api.delete("/v1/services/django/ports/5000").await.expect(204);
    world.api.service("flask", 5000, 5009).await;
    assert_eq!(world.api.allocate("flask", "web-01").await, 5000);
    plan.open();
    assert_eq!(run.await.unwrap().orphaned_allocations, 0);
    assert_eq!(world.api.get("/v1/services/flask/ports/web-01").await.expect(200).port(), 5000);
    world.assert_healthy().await;
}

/// P16: an orphan that is released before the reconciler notes that it is about to go leaves no item behind that nobody
/// could read. (The model's `OrphanNote`.)
#[tokio::test]
async fn an_orphan_that_is_gone_is_not_noted() {
    let world = World::new().await;
    fill(&world, "django", 5000, 1).await;
    let (plan, run) = held(&world, "UpdateItem 05000").await;
    world.api.delete("/v1/services/django/ports/5000").await.expect(204);
    plan.open();
    assert_eq!(run.await.unwrap().orphaned_allocations, 0);
    world.api.service("flask", 5000, 5009).await;
    assert_eq!(world.api.allocate("flask", "web-01").await, 5000);
    world.assert_healthy().await;
}

/// P2, P16: a name that is used again before its old Instance item is removed keeps the new one; without it, the name
/// could have a second port. (The model's `InstanceSecret`.)
#[tokio::test]
async fn a_name_that_is_used_anew_keeps_its_pointer() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    world.api.reject("django", &secret).await.expect(204);
    world.assert_healthy().await;
    world.pass(8 * A_DAY);
    let (plan, run) = held(&world, "DeleteItem INSTANCE#django").await;
    let port = world.api.allocate("django", "web-01").await;
    plan.open();
    assert_eq!(run.await.unwrap().stale_pointers, 0);
    assert_eq!(world.api.ask("django", "web-01").await.expect_problem(409, "name-taken").port(), port);
    world.assert_healthy().await;
}

/// P2, P16: that a claim is gone is noted only on the Instance item that was read. A note on a newer Instance item
/// would be believed a week later, although that item's claim lives. (The model's `NoteSecret`.)
#[tokio::test]
async fn a_name_that_is_used_anew_is_not_noted_as_gone() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    world.api.reject("django", &secret).await.expect(204);
    let (plan, run) = held(&world, "UpdateItem INSTANCE#django").await;
    let port = world.api.allocate("django", "web-01").await;
    plan.open();
    run.await.unwrap();
    world.pass(8 * A_DAY);
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().stale_pointers, 0);
    assert_eq!(world.api.ask("django", "web-01").await.expect_problem(409, "name-taken").port(), port);
    world.assert_healthy().await;
}

/// P8, P16: a key that is used again before its old claim is forgotten stands for its new claim. (The model's
/// `RequestOver`.)
#[tokio::test]
async fn a_key_that_is_used_anew_is_remembered() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let old = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.accept("django", &old.secret()).await.expect(201);
    world.pass(A_DAY + Duration::from_secs(1));
    let (plan, run) = held(&world, "DeleteItem REQUEST#django").await;
    let new = world.api.ask_with_key("django", "web-02", "k").await.expect(201);
    plan.open();
    assert_eq!(run.await.unwrap().expired_requests, 0);
    let again = world.api.ask_with_key("django", "web-02", "k").await.expect(201);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&new.body, "true"));
    world.assert_healthy().await;
}

/// P3, P16: a bitmap that is rebuilt forgets no service that was created meanwhile. (The model's `RebuildVersion`.)
#[tokio::test]
async fn a_service_that_is_created_while_the_bitmap_is_made_anew_keeps_its_range() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let bits = AttributeValue::B(Blob::new(vec![0; 6016]));
    let damage = world.dynamodb().await.update_item().table_name(TABLE);
    let damage = damage.key("pk", text("N#default")).key("sk", text("RANGES")).update_expression("SET #bits = :bits");
    damage.expression_attribute_names("#bits", "bits").expression_attribute_values(":bits", bits).send().await.unwrap();
    a_service_is_created_during_the_repair(&world).await;
}

/// P3, P16: the same if the bitmap is lost altogether, and the service that is created meanwhile writes a first one.
/// (The model's `RebuildVersion`; the rule is `REBUILD_ABSENT`.)
#[tokio::test]
async fn a_service_that_is_created_while_a_lost_bitmap_is_made_anew_keeps_its_range() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let damage = world.dynamodb().await.delete_item().table_name(TABLE);
    damage.key("pk", text("N#default")).key("sk", text("RANGES")).send().await.unwrap();
    a_service_is_created_during_the_repair(&world).await;
}

/// Creates `flask` while the reconciler is about to write a bitmap that only has `django`, which is what it read.
async fn a_service_is_created_during_the_repair(world: &World) {
    let (plan, run) = held(world, "PutItem RANGES").await;
    world.api.service("flask", 6000, 6009).await;
    plan.open();
    assert_eq!(run.await.unwrap().rebuilt_ranges, 0);
    let overlapping = json!({ "name": "new", "start": 6005, "end": 6014 });
    world.api.post("/v1/services", overlapping).await.expect_problem(409, "range-overlap");
    // The next run repairs it.
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().rebuilt_ranges, 1);
    for start in [5005, 6005] {
        let overlapping = json!({ "name": "new", "start": start, "end": start + 9 });
        world.api.post("/v1/services", overlapping).await.expect_problem(409, "range-overlap");
    }
    world.assert_healthy().await;
}
