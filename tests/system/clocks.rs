//! Time: expiry with the sweep on and off, and clocks that disagree (promises P5 and P6).

use std::time::Duration;

use serde_json::json;

use portmaster_testkit::{Setup, World, embedded_or_skip, serve};

const AN_OFFER: Duration = Duration::from_secs(1800);

/// P6: an expired offer is as if it had never been, though its item still exists.
#[tokio::test]
async fn an_expired_offer_is_as_if_it_had_never_been() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 6000), ("random", 7000)] {
        world.api.service_with(strategy, start, start + 1, strategy).await;
        let (port, secret) = world.api.offer(strategy, "web-01").await;
        world.api.offer(strategy, "web-02").await;
        world.api.ask(strategy, "web-03").await.expect_problem(409, "range-exhausted");
        world.pass(AN_OFFER + Duration::from_secs(1));

        let items =
            world.dynamodb().await.scan().table_name(portmaster_testkit::TABLE).send().await.unwrap().items.unwrap();
        let there = items.iter().filter(|item| item["pk"].as_s().unwrap().ends_with("#PORT")).count();
        assert!(there >= 2, "nothing has swept");
        world.api.accept(strategy, &secret).await.expect_problem(410, "offer-expired");
        world.api.get(&format!("/v1/services/{strategy}/offers/{secret}")).await.expect_problem(404, "offer-not-found");
        world.api.reject(strategy, &secret).await.expect_problem(404, "offer-not-found");
        assert_eq!(world.api.get(&format!("/v1/services/{strategy}/offers")).await.expect(200).body, json!([]));
        // Another name gets the port and this name another one, or the other way round.
        let (next, next_secret) = world.api.offer(strategy, "web-04").await;
        let (own, own_secret) = world.api.offer(strategy, "web-01").await;
        assert_ne!(next, own);
        assert_ne!(own_secret, secret);
        // The old secret opens nothing, whichever name has the port now.
        world.api.accept(strategy, &secret).await.expect_problem(404, "offer-not-found");
        world.api.accept(strategy, &next_secret).await.expect(201);
        world.api.accept(strategy, &own_secret).await.expect(201);
        assert!([start, start + 1].contains(&port));
    }
    world.assert_healthy().await;
}

/// P6: the same with the sweep on: a deleted offer is not found, and nothing else changes.
#[tokio::test]
async fn the_sweep_changes_nothing_but_a_410_into_a_404() {
    if !embedded_or_skip("the_sweep_changes_nothing_but_a_410_into_a_404") {
        return;
    }
    let world = World::with(Setup { offer_seconds: 1, sweep: Some(Duration::from_millis(100)) }).await;
    world.api.service("django", 5000, 5001).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    let kept = world.api.allocate("django", "web-02").await;
    // It expires, and then it is swept, at some time.
    let mut seen = Vec::new();
    while seen.last() != Some(&404) {
        tokio::time::sleep(Duration::from_millis(if seen.is_empty() { 2000 } else { 50 })).await;
        let answer = world.api.accept("django", &secret).await;
        assert!(["offer-expired", "offer-not-found"].contains(&answer.kind()), "{answer:?}");
        seen.push(answer.status.as_u16());
        assert!(seen.len() < 400, "nothing was swept");
    }
    world.api.get(&format!("/v1/services/django/offers/{secret}")).await.expect_problem(404, "offer-not-found");
    assert_eq!(world.api.get("/v1/services/django/ports/web-02").await.expect(200).port(), kept);
    assert_eq!(world.api.offer("django", "web-01").await.0, 5000);
    world.assert_healthy().await;
}

/// P12: a service whose offers have all expired is not in use, swept or not.
#[tokio::test]
async fn expired_offers_do_not_keep_a_service() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    for i in 0..30 {
        world.api.offer("django", &format!("web-{i}")).await;
    }
    world.pass(AN_OFFER + Duration::from_secs(1));
    world.api.patch("/v1/services/django", json!({ "start": 5010 })).await.expect(200);
    world.api.delete("/v1/services/django").await.expect(204);
    world.api.service("flask", 5000, 5099).await;
    assert_eq!(world.api.offer("flask", "web-0").await.0, 5000);
    world.assert_healthy().await;
}

/// P1, P2, P5: an offer that is expired for one clock and alive for another still has one holder.
#[tokio::test]
async fn clocks_that_disagree_cost_an_error_and_never_a_second_holder() {
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    let ahead = serve(world.another(3_600_000).await).await;
    let behind = &world.api;

    // For `ahead` the offer expired long ago, so it gives the port away. For `behind` it was alive until then.
    let (port, secret) = behind.offer("django", "web-01").await;
    let (same, others) = ahead.offer("django", "web-02").await;
    assert_eq!(same, port);
    behind.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    behind.accept("django", &others).await.expect(201);

    // The other way round: the clock that is behind accepts it, so it is taken for everybody.
    let (port, secret) = behind.offer("django", "web-03").await;
    behind.accept("django", &secret).await.expect(201);
    ahead.ask("django", "web-04").await.expect_problem(409, "range-exhausted");
    assert_eq!(ahead.get(&format!("/v1/ports/{port}")).await.expect(200).body["name"], "web-03");
    ahead.ask("django", "web-03").await.expect_problem(409, "name-taken");
    world.assert_healthy().await;
}

/// P2: a name whose offer is dead for one clock moves to another port; the slower clock can then no longer accept it.
#[tokio::test]
async fn a_name_that_moves_takes_its_dead_claim_along() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let ahead = serve(world.another(3_600_000).await).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    // Shrunk by the clock for which the offer is dead, so that the name cannot have its old port.
    ahead.put("/v1/services/django", json!({ "start": 5005, "end": 5009 })).await.expect(200);
    let (port, _) = ahead.offer("django", "web-01").await;
    assert_eq!(port, 5005);
    world.api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    let offers = world.api.get("/v1/services/django/offers").await.expect(200);
    assert_eq!(offers.body.as_array().unwrap().len(), 1);
    world.assert_healthy().await;
}

/// P4: the slower clock cannot accept an offer whose service is gone either.
#[tokio::test]
async fn a_service_takes_its_dead_claims_along() {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let ahead = serve(world.another(3_600_000).await).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    ahead.delete("/v1/services/django").await.expect(204);
    world.api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    world.api.get("/v1/ports/5000").await.expect_problem(404, "port-not-found");
    world.assert_healthy().await;
}

/// P2: the same where the dead claim has not been removed before: an offer whose maker died on a port that had just
/// left the range. The name moves, and the claim is removed with it.
#[tokio::test]
async fn a_dead_claim_outside_the_range_goes_when_its_name_moves() {
    use aws_sdk_dynamodb::types::AttributeValue;
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    let (text, number) = (|text: &str| AttributeValue::S(text.to_owned()), |n: i64| AttributeValue::N(n.to_string()));
    let secret = "1f40aaaa-aaaa-8aaa-aaaa-aaaaaaaaaaaa";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let dynamodb = world.dynamodb().await;
    let put = |item: Vec<(&str, AttributeValue)>| {
        let put = dynamodb.put_item().table_name(portmaster_testkit::TABLE);
        item.into_iter().fold(put, |put, (name, value)| put.item(name, value)).send()
    };
    let claim = vec![
        ("pk", text("N#default#PORT")),
        ("sk", text("08000")),
        ("service", text("django")),
        ("name", text("web-01")),
        ("state", text("offered")),
        ("secret", text(secret)),
        ("created", number(now * 1000)),
        ("expires_at", number(now + 600)),
    ];
    put(claim).await.unwrap();
    let pointer = vec![
        ("pk", text("N#default#INSTANCE#django")),
        ("sk", text("web-01")),
        ("port", number(8000)),
        ("secret", text(secret)),
    ];
    put(pointer).await.unwrap();
    // For this clock it is alive, so the name is taken; for the other one it is dead.
    world.api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    let ahead = serve(world.another(3_600_000).await).await;
    assert_eq!(ahead.offer("django", "web-01").await.0, 5000);
    world.api.accept("django", secret).await.expect_problem(404, "offer-not-found");
    assert_eq!(world.api.get("/v1/services/django/ports").await.expect(200).body, json!([]));
    world.assert_healthy().await;
}
