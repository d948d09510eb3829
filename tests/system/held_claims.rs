//! Offers that are held back at one request while others take the name, the key, the port or the service. When they go
//! on, their conditions must see that (promises P1, P2, P4 and P8).

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use crate::held_changes::Change;
use portmaster_testkit::{Answer, Caller, Fault, Plan, World, serve};

const DJANGO: &str = "/v1/services/django";
const AN_OFFER: Duration = Duration::from_secs(1800);

/// A process that has offered ports of `django` before, and so remembers its range. It meets the plan's faults.
async fn warm(world: &World, plan: &Plan) -> Caller {
    let api = serve(world.faulty(plan).await).await;
    let (_, secret) = api.offer("django", "warm").await;
    api.reject("django", &secret).await.expect(204);
    api
}

/// How many offers and ports the service has.
async fn held(world: &World) -> (usize, usize) {
    let count =
        async |kind| world.api.get(&format!("{DJANGO}/{kind}")).await.expect(200).body.as_array().unwrap().len();
    (count("offers").await, count("ports").await)
}

/// P2: a name that moves removes its dead claim only if that is still dead. Meanwhile a slower clock accepted it, so
/// the name is taken. (The model's `DeadStill`.)
#[tokio::test]
async fn a_dead_claim_that_is_accepted_before_its_name_moves_stays() {
    let world = World::new().await;
    world.api.service("django", 5000, 5004).await;
    let plan = Plan::default();
    // It remembers 5000–5004, so it will not try the port that the name had.
    let mover = warm(&world, &plan).await;
    world.api.put(DJANGO, json!({ "start": 5005, "end": 5009 })).await.expect(200);
    let (port, secret) = world.api.offer("django", "web-01").await;
    assert_eq!(port, 5005);
    world.api.patch(DJANGO, json!({ "start": 5000 })).await.expect(200);
    let slow = serve(world.another(0).await).await;
    world.pass(AN_OFFER + Duration::from_secs(1));

    // The first claim learns where the name was, the second one moves it.
    plan.add(&[("TransactWriteItems web-01", Fault::None), ("TransactWriteItems web-01", Fault::Wait)]);
    let ask = tokio::spawn(async move { mover.ask("django", "web-01").await });
    plan.waiting().await;
    slow.accept("django", &secret).await.expect(201);
    plan.open();
    assert_eq!(ask.await.unwrap().expect_problem(409, "name-taken").port(), 5005);
    assert_eq!(world.api.get("/v1/services/django/ports/web-01").await.expect(200).port(), 5005);
    assert_eq!(held(&world).await, (0, 1));
    world.assert_healthy().await;
}

/// P2: a name whose last claim is gone is free only while its Instance item still says so. Meanwhile it was used again,
/// so it is taken. (The model's `NameAsJudged`.)
#[tokio::test]
async fn a_name_that_is_used_anew_first_is_taken() {
    let world = World::new().await;
    world.api.service("django", 5000, 5004).await;
    let plan = Plan::default();
    // It remembers 5000–5004, so it will not try the port that the name had.
    let second = warm(&world, &plan).await;
    world.api.put(DJANGO, json!({ "start": 5005, "end": 5009 })).await.expect(200);
    let (port, secret) = world.api.offer("django", "web-01").await;
    assert_eq!(port, 5005);
    world.api.reject("django", &secret).await.expect(204);
    world.api.patch(DJANGO, json!({ "start": 5000 })).await.expect(200);

    // The first claim learns where the name was; the second one takes it, since that claim is gone.
    plan.add(&[("TransactWriteItems web-01", Fault::None), ("TransactWriteItems web-01", Fault::Wait)]);
    let ask = tokio::spawn(async move { second.ask("django", "web-01").await });
    plan.waiting().await;
    let first = world.api.allocate("django", "web-01").await;
    plan.open();
    assert_eq!(ask.await.unwrap().expect_problem(409, "name-taken").port(), first);
    assert_eq!(held(&world).await, (0, 1));
    world.assert_healthy().await;
}

/// P8: a key whose claim is dead can be used again, but only once. It is used for another name first, so it belongs to
/// that one. (The model's `KeyAsJudged`.)
#[tokio::test]
async fn a_key_that_is_used_anew_first_is_reused_by_the_second() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let dead = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.reject("django", &dead.secret()).await.expect(204);
    // The first claim learns what the key made, the second one replaces it.
    let plan = Plan::script(&[("TransactWriteItems web-02", Fault::None), ("TransactWriteItems web-02", Fault::Wait)]);
    let second = serve(world.faulty(&plan).await).await;
    let ask = tokio::spawn(async move { second.ask_with_key("django", "web-02", "k").await });
    plan.waiting().await;
    let first = world.api.ask_with_key("django", "web-03", "k").await.expect(201);
    plan.open();
    ask.await.unwrap().expect_problem(422, "idempotency-key-reused");
    let again = world.api.ask_with_key("django", "web-03", "k").await.expect(201);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
    assert_eq!(held(&world).await, (1, 0));
    world.assert_healthy().await;
}

/// Begins a claim with the key `k` on port 5000, held back before it looks at the service; meanwhile a change gave the
/// port up, since the claim came too late for the change's look.
async fn claim_that_came_too_late(world: &World, maker: &Plan, change: Change) -> JoinHandle<Answer> {
    let api = warm(world, maker).await;
    let last_step = Plan::script(&[("TransactWriteItems SERVICE#django", Fault::Wait)]);
    let changing = change.begin(world, &last_step).await;
    last_step.waiting().await;
    maker.add(&[("GetItem SERVICE#django", Fault::Wait)]);
    let ask = tokio::spawn(async move { api.ask_with_key("django", "web-01", "k").await });
    maker.waiting().await;
    last_step.open();
    let changed = changing.await.unwrap();
    assert!(changed.status.is_success(), "{changed:?}");
    ask
}

/// P4: a replay returns an offer only if its service exists and covers it, and it withdraws nothing that its maker may
/// have returned. Here the service is gone for the replay, and exists again when the maker looks. (The model's
/// `LookAtReplay` and `ReplayStays`.)
#[tokio::test]
async fn a_replay_is_told_of_no_service_that_is_gone_and_takes_nothing_back() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let replayer = warm(&world, &Plan::default()).await;
    let maker = Plan::default();
    let ask = claim_that_came_too_late(&world, &maker, Change::Delete).await;
    replayer.ask_with_key("django", "web-01", "k").await.expect_problem(404, "service-not-found");
    world.api.service("django", 5000, 5009).await;
    maker.open();
    let offer = ask.await.unwrap().expect(201);
    assert_eq!(offer.port(), 5000);
    world.api.accept("django", &offer.secret()).await.expect(201);
    world.assert_healthy().await;
}

/// P4, P8: the same where the port leaves the range, and comes back. (The model's `LookAtReplay` and `ReplayStays`.)
#[tokio::test]
async fn a_replay_is_told_of_no_port_outside_the_range_and_takes_nothing_back() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let replayer = warm(&world, &Plan::default()).await;
    let maker = Plan::default();
    let ask = claim_that_came_too_late(&world, &maker, Change::Shrink).await;
    let taken = replayer.ask_with_key("django", "web-01", "k").await.expect_problem(409, "name-taken");
    assert_eq!(taken.port(), 5000);
    world.api.patch(DJANGO, json!({ "start": 5000 })).await.expect(200);
    maker.open();
    let offer = ask.await.unwrap().expect(201);
    assert_eq!(offer.port(), 5000);
    world.api.accept("django", &offer.secret()).await.expect(201);
    assert_eq!(held(&world).await, (0, 1));
    world.assert_healthy().await;
}

/// P2: a claim that its maker could not withdraw, because it was replayed and accepted meanwhile, is not gone: its name
/// has a port. (The model's `WithdrawnIsGone`.)
#[tokio::test]
async fn a_claim_that_is_accepted_before_it_is_withdrawn_keeps_its_name() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let maker = Plan::default();
    let ask = claim_that_came_too_late(&world, &maker, Change::Shrink).await;
    maker.add(&[("DeleteItem 05000", Fault::Wait)]);
    maker.open();
    maker.waiting().await;
    world.api.patch(DJANGO, json!({ "start": 5000 })).await.expect(200);
    let replay = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    assert_eq!((replay.port(), replay.header("idempotent-replayed")), (5000, "true"));
    world.api.accept("django", &replay.secret()).await.expect(201);
    maker.open();
    assert_eq!(ask.await.unwrap().expect_problem(409, "name-taken").port(), 5000);
    assert_eq!(held(&world).await, (0, 1));
    world.assert_healthy().await;
}
