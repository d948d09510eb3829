//! Offers: every call and every error.

use serde_json::{Value, json};

use portmaster_testkit::Stage;

/// P1, P5.
#[tokio::test]
async fn an_offer_is_accepted_once_and_for_all() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    let offer = api.ask("django", "web-01").await.expect(201);
    assert_eq!((offer.port(), &offer.body["service"], &offer.body["name"]), (5000, &json!("django"), &json!("web-01")));
    let path = format!("/v1/services/django/offers/{}", offer.secret());
    assert_eq!(offer.header("location"), path);
    let read = api.get(&path).await.expect(200);
    assert_eq!(read.body, offer.body);

    let accepted = api.accept("django", &offer.secret()).await.expect(201);
    assert_eq!(accepted.header("location"), "/v1/services/django/ports/5000");
    assert_eq!(accepted.body["secret"], Value::Null);
    let again = api.accept("django", &offer.secret()).await.expect(200);
    assert_eq!(again.body, accepted.body);
    assert_eq!(again.header("location"), accepted.header("location"));
    api.get(&path).await.expect_problem(404, "offer-not-found");
    api.reject("django", &offer.secret()).await.expect_problem(409, "offer-accepted");
    api.delete(&path).await.expect_problem(409, "offer-accepted");
    assert_eq!(api.get("/v1/services/django/ports/5000").await.expect(200).body, accepted.body);
}

#[tokio::test]
async fn a_rejected_offer_is_gone_and_its_port_free() {
    let api = Stage::new().await;
    api.service("django", 5000, 5001).await;
    let (port, secret) = api.offer("django", "web-01").await;
    let rejected = api.reject("django", &secret).await.expect(204);
    assert_eq!(rejected.body, Value::Null);
    api.reject("django", &secret).await.expect_problem(404, "offer-not-found");
    api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    api.settle().await;
    let (next, secret) = api.offer("django", "web-02").await;
    assert_eq!(next, port);
    api.delete(&format!("/v1/services/django/offers/{secret}")).await.expect(204);
    api.settle().await;
    assert_eq!(api.offer("django", "web-03").await.0, port);
}

/// P5: a secret opens its own offer and nothing else.
#[tokio::test]
async fn a_wrong_secret_opens_nothing() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    api.service("flask", 6000, 6099).await;
    let (_, secret) = api.offer("django", "web-01").await;
    // The same port with other bits; a port without an offer; a UUID of another version; no UUID at all.
    let near = format!("{}{}", &secret[..secret.len() - 1], if secret.ends_with('0') { '1' } else { '0' });
    let nobody = format!("138a{}", &secret[4..]);
    for wrong in [near.as_str(), &nobody, "6f8ffc86-d98a-49ba-848a-a7cbaaea9360", "nonsense", "-", "0"] {
        api.accept("django", wrong).await.expect_problem(404, "offer-not-found");
        api.reject("django", wrong).await.expect_problem(404, "offer-not-found");
        let answer = api.get(&format!("/v1/services/django/offers/{wrong}")).await;
        let answer = answer.expect_problem(404, "offer-not-found");
        assert!(wrong.len() < 5 || !answer.body.to_string().contains(wrong), "the secret is repeated: {answer:?}");
    }
    // The right secret under the wrong service.
    api.accept("flask", &secret).await.expect_problem(404, "offer-not-found");
    api.reject("flask", &secret).await.expect_problem(404, "offer-not-found");
    api.get(&format!("/v1/services/flask/offers/{secret}")).await.expect_problem(404, "offer-not-found");
    api.accept("nobody", &secret).await.expect_problem(404, "offer-not-found");
    api.accept("django", &secret).await.expect(201);
}

/// P15.
#[tokio::test]
async fn lowest_gives_the_lowest_free_port() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    let mut secrets = Vec::new();
    for i in 0..10 {
        let (port, secret) = api.offer("django", &format!("web-{i}")).await;
        assert_eq!(port, 5000 + i);
        secrets.push(secret);
    }
    for i in [7, 2, 5] {
        api.reject("django", &secrets[i]).await.expect(204);
    }
    api.settle().await;
    for (name, port) in [("a", 5002), ("b", 5005), ("c", 5007), ("d", 5010)] {
        assert_eq!(api.offer("django", name).await.0, port);
    }
}

#[tokio::test]
async fn hashed_gives_a_name_the_same_port_in_every_fresh_table() {
    let mut ports = Vec::new();
    for _ in 0..2 {
        let api = Stage::new().await;
        api.service_with("django", 5000, 10_000, "hashed").await;
        ports.push((api.offer("django", "web-01").await.0, api.offer("django", "web-02").await.0));
    }
    assert_eq!(ports[0], ports[1]);
    assert_eq!(ports[0], (6481, 9919));
}

#[tokio::test]
async fn random_scatters() {
    let api = Stage::new().await;
    api.service_with("django", 5000, 10_000, "random").await;
    let mut ports = Vec::new();
    for i in 0..8 {
        ports.push(api.offer("django", &format!("web-{i}")).await.0);
    }
    // The chance that eight of 5,001 lie within 100 is below 1 in 10^10.
    assert!(ports.iter().max().unwrap() - ports.iter().min().unwrap() > 100, "{ports:?}");
}
