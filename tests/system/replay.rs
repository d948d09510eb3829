//! An `Idempotency-Key` and the fate of its offer: replayed from any process, and new when that is gone (promise P8).

use std::time::Duration;

use portmaster_testkit::World;

/// P8.
#[tokio::test]
async fn the_same_key_gives_the_same_offer() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let first = world.api.ask_with_key("django", "web-01", "build-1").await.expect(201);
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = world.api.ask_with_key("django", "web-01", "build-1").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!((&again.body, again.header("location")), (&first.body, first.header("location")));
    // Quoted, as in the draft, it is the same key.
    let quoted = world.api.ask_with_key("django", "web-01", "\"build-1\"").await.expect(201);
    assert_eq!(quoted.body, first.body);
    // From another process, too.
    let elsewhere = portmaster_testkit::serve(world.another(0).await).await;
    assert_eq!(elsewhere.ask_with_key("django", "web-01", "build-1").await.expect(201).body, first.body);
    // The same after it was accepted, as a pipeline that is run again needs it.
    world.api.accept("django", &first.secret()).await.expect(201);
    let after = world.api.ask_with_key("django", "web-01", "build-1").await.expect(201);
    assert_eq!((&after.body, after.header("idempotent-replayed")), (&first.body, "true"));
    world.api.accept("django", &after.secret()).await.expect(200);
    world.assert_healthy().await;
}

/// P8: a key is remembered for a day, also where its offer was accepted and would have expired long ago.
#[tokio::test]
async fn a_key_outlives_its_offer_that_was_accepted() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let first = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.accept("django", &first.secret()).await.expect(201);
    for hours in [0, 22] {
        world.pass(Duration::from_secs(hours * 3600 + 31 * 60));
        let again = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
        assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
    }
    world.assert_healthy().await;
}

/// P8: a key whose claim is dead can be used again.
#[tokio::test]
async fn a_key_can_be_used_again_once_its_offer_is_gone() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let first = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.reject("django", &first.secret()).await.expect(204);
    let second = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    assert_eq!(second.header("idempotent-replayed"), "");
    assert_ne!(second.secret(), first.secret());
    world.pass(Duration::from_secs(1801));
    let third = world.api.ask_with_key("django", "web-02", "k").await.expect(201);
    assert_eq!(third.header("idempotent-replayed"), "");
    world.api.accept("django", &third.secret()).await.expect(201);
    world.api.delete("/v1/services/django/ports/web-02").await.expect(204);
    world.api.ask_with_key("django", "web-03", "k").await.expect(201);
    // After a day the key is forgotten; the name is not.
    let last = world.api.ask_with_key("django", "web-04", "k2").await.expect(201);
    world.api.accept("django", &last.secret()).await.expect(201);
    world.pass(Duration::from_secs(24 * 3600 + 1));
    world.api.ask_with_key("django", "web-04", "k2").await.expect_problem(409, "name-taken");
    world.api.ask_with_key("django", "web-05", "k2").await.expect(201);
    world.assert_healthy().await;
}

/// P8, P18: a key stands for its own claim, and not for a later claim on the same port. (The model's `KeySecret`.)
#[tokio::test]
async fn a_key_gives_nobody_elses_offer() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let first = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.reject("django", &first.secret()).await.expect(204);
    let (port, others) = world.api.offer("django", "web-02").await;
    assert_eq!(port, first.port());
    let again = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "");
    assert_ne!((again.port(), again.secret()), (port, others));
    world.assert_healthy().await;
}

/// P8: also in a full range, where no port is left to try.
#[tokio::test]
async fn a_key_is_answered_when_the_range_is_full() {
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    let first = world.api.ask_with_key("django", "web-01", "k").await.expect(201);
    world.api.offer("django", "web-02").await;
    world.api.ask_with_key("django", "web-03", "new").await.expect_problem(409, "range-exhausted");
    for registry in [world.registry.clone(), world.another(0).await] {
        let api = portmaster_testkit::serve(registry).await;
        let again = api.ask_with_key("django", "web-01", "k").await.expect(201);
        assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
        api.ask_with_key("django", "web-03", "k").await.expect_problem(422, "idempotency-key-reused");
    }
}

/// P8: many requests at once with one key are one request.
#[tokio::test]
async fn a_crowd_with_one_key_gets_one_offer() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 6000), ("random", 7000)] {
        world.api.service_with(strategy, start, start + 99, strategy).await;
        let mut callers = Vec::new();
        for _ in 0..8 {
            callers.push(portmaster_testkit::serve(world.another(0).await).await);
        }
        let asks = (0..32).map(|i| callers[i % 8].ask_with_key(strategy, "web-01", "k"));
        let answers = futures::future::join_all(asks).await;
        let first = &answers[0].body;
        assert!(answers.iter().all(|answer| answer.status == 201 && answer.body == *first), "{answers:?}");
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count();
        assert_eq!(replayed, 31);
        let offers = world.api.get(&format!("/v1/services/{strategy}/offers")).await.expect(200);
        assert_eq!(offers.body.as_array().unwrap().len(), 1);
    }
    world.assert_healthy().await;
}
