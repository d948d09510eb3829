//! `Idempotency-Key`: the same request again (promise P8).

use serde_json::json;

use portmaster_testkit::Stage;

/// P8.
#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    api.service("flask", 6000, 6099).await;
    api.ask_with_key("django", "web-01", "k").await.expect(201);
    api.ask_with_key("django", "web-02", "k").await.expect_problem(422, "idempotency-key-reused");
    // Without the key, or with another, the name is simply taken.
    api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    api.ask_with_key("django", "web-01", "other").await.expect_problem(409, "name-taken");
    // Keys are per service.
    api.ask_with_key("flask", "web-02", "k").await.expect(201);
    // The refused requests hold nothing.
    assert_eq!(api.get("/v1/services/django/offers").await.expect(200).body.as_array().unwrap().len(), 1);
    assert_eq!(api.offer("django", "web-02").await.0, 5001);
}

#[tokio::test]
async fn a_malformed_key_is_refused_together_with_the_body() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    let long = "k".repeat(256);
    for key in ["", "\"open", &long] {
        let answer = api.ask_with_key("django", "web-01", key).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.faults(), ["Idempotency-Key"]);
    }
    let path = "/v1/services/django/offers";
    let both = [("idempotency-key", "\"open")];
    let answer = api.send(reqwest::Method::POST, path, Some(json!({ "nam": 1 })), &both).await;
    let answer = answer.expect_problem(400, "invalid-request");
    assert_eq!(answer.faults(), ["#/nam", "#/name", "Idempotency-Key"]);
    // API Gateway joins two headers into one, with a comma between.
    if !api.is_deployed() {
        let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
        let answer = api.send(reqwest::Method::POST, path, Some(json!({ "name": "x" })), &twice).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").faults(), ["Idempotency-Key"]);
    }
    assert_eq!(api.get(path).await.expect(200).body, json!([]));
    let long = "k".repeat(255);
    api.ask_with_key("django", "web-01", &long).await.expect(201);
}
