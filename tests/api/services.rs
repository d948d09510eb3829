//! Services: every call and every error.

use serde_json::{Value, json};

use portmaster_testkit::Stage;

fn body(name: &str, start: u16, end: u16) -> Value {
    json!({ "name": name, "start": start, "end": end })
}

#[tokio::test]
async fn a_service_is_created_read_and_deleted() {
    let api = Stage::new().await;
    let new = json!({ "name": "django", "description": "Django service", "start": 5000, "end": 10000 });
    let created = api.post("/v1/services", new).await.expect(201);
    assert_eq!(created.header("location"), "/v1/services/django");
    for (field, value) in [("name", json!("django")), ("description", json!("Django service")), ("start", json!(5000))]
    {
        assert_eq!(created.body[field], value);
    }
    assert_eq!((&created.body["end"], &created.body["strategy"]), (&json!(10000), &json!("lowest")));
    assert!(created.body["created"].as_str().unwrap().ends_with('Z'));

    let read = api.get("/v1/services/django").await.expect(200);
    assert_eq!(read.body, created.body);
    assert_eq!(read.header("etag"), created.header("etag"));
    assert!(read.header("etag").starts_with('"'));

    let deleted = api.delete("/v1/services/django").await.expect(204);
    assert_eq!(deleted.body, Value::Null);
    api.get("/v1/services/django").await.expect_problem(404, "service-not-found");
    api.delete("/v1/services/django").await.expect_problem(404, "service-not-found");
    api.service("django", 5000, 10_000).await;
}

#[tokio::test]
async fn a_name_is_given_once() {
    let api = Stage::new().await;
    api.service("django", 5000, 5999).await;
    api.post("/v1/services", body("django", 7000, 7999)).await.expect_problem(409, "service-exists");
    // A creation that is repeated after a lost response is reported as such, too, and not as an overlap with itself.
    api.post("/v1/services", body("django", 5000, 5999)).await.expect_problem(409, "service-exists");
    api.service("Django", 7000, 7999).await;
}

#[tokio::test]
async fn patch_changes_only_what_is_given() {
    let api = Stage::new().await;
    let new = json!({ "name": "django", "description": "Old", "start": 5000, "end": 5999, "strategy": "hashed" });
    api.post("/v1/services", new).await.expect(201);
    let patch = |body: Value| api.patch("/v1/services/django", body);

    let patched = patch(json!({ "end": 6999 })).await.expect(200);
    assert_eq!((&patched.body["start"], &patched.body["end"]), (&json!(5000), &json!(6999)));
    assert_eq!((&patched.body["description"], &patched.body["strategy"]), (&json!("Old"), &json!("hashed")));
    let patched = patch(json!({ "description": "New" })).await.expect(200);
    assert_eq!(patched.body["description"], "New");
    // Null puts the default back (RFC 7396); a range has none.
    let patched = patch(json!({ "description": null, "strategy": null })).await.expect(200);
    assert_eq!((&patched.body["description"], &patched.body["strategy"]), (&json!(""), &json!("lowest")));
    assert_eq!(patch(json!({ "start": null })).await.expect_problem(400, "invalid-request").faults(), ["#/start"]);
    // Bounds are checked against the stored ones.
    assert_eq!(patch(json!({ "start": 6999 })).await.expect_problem(400, "invalid-request").faults(), ["#/start"]);
    assert_eq!(patch(json!({ "name": "x" })).await.expect_problem(400, "invalid-request").faults(), ["#/name"]);
    let nothing = patch(json!({})).await.expect(200);
    assert_eq!(nothing.body, patched.body);
    api.patch("/v1/services/nobody", json!({})).await.expect_problem(404, "service-not-found");
    let merge = [("content-type", "application/merge-patch+json")];
    let body = br#"{"end": 7000}"#.to_vec();
    let answer = api.send_bytes(reqwest::Method::PATCH, "/v1/services/django", Some(body), &merge).await;
    assert_eq!(answer.expect(200).body["end"], 7000);
}

#[tokio::test]
async fn at_most_ten_of_the_ports_in_the_way_are_named() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    for i in 0..12 {
        api.offer("django", &format!("web-{i}")).await;
    }
    let refused = api.patch("/v1/services/django", json!({ "start": 5050 })).await;
    let refused = refused.expect_problem(409, "range-in-use");
    assert_eq!(refused.body["ports"].as_array().unwrap().len(), 10);
    assert_eq!(refused.body["count"], 12);
}

/// P13: `If-Match` guards PUT, PATCH and DELETE.
#[tokio::test]
async fn if_match_guards() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    let first = api.get("/v1/services/django").await.header("etag").to_owned();
    let send = |method: reqwest::Method, etag: &str, body: Option<Value>| {
        let (api, etag) = (api.clone(), etag.to_owned());
        async move { api.send(method, "/v1/services/django", body, &[("if-match", etag.as_str())]).await }
    };
    let patch = json!({ "description": "x" });
    let second = send(reqwest::Method::PATCH, &first, Some(patch.clone())).await.expect(200).header("etag").to_owned();
    assert_ne!(first, second);
    let put = json!({ "start": 5000, "end": 5099 });
    send(reqwest::Method::PUT, &first, Some(put.clone())).await.expect_problem(412, "precondition-failed");
    send(reqwest::Method::PATCH, &first, Some(patch.clone())).await.expect_problem(412, "precondition-failed");
    send(reqwest::Method::DELETE, &first, None).await.expect_problem(412, "precondition-failed");
    send(reqwest::Method::DELETE, &format!("W/{second}"), None).await.expect_problem(412, "precondition-failed");
    let malformed = send(reqwest::Method::DELETE, "no-quotes", None).await.expect_problem(400, "invalid-request");
    assert_eq!(malformed.faults(), ["If-Match"]);
    send(reqwest::Method::PATCH, "*", Some(patch)).await.expect(200);
    let list = format!("{first}, {second}");
    send(reqwest::Method::DELETE, &list, None).await.expect(204);
    // Nothing there to match, so it is not created.
    send(reqwest::Method::PUT, &second, Some(put.clone())).await.expect_problem(412, "precondition-failed");
    send(reqwest::Method::PUT, "*", Some(put.clone())).await.expect_problem(412, "precondition-failed");
    // A later service of the same name never has an earlier one's version.
    api.put("/v1/services/django", put).await.expect(201);
    send(reqwest::Method::DELETE, &list, None).await.expect_problem(412, "precondition-failed");
}

/// Every call that a client of django-portmaster makes, with the bodies that it sends.
#[tokio::test]
async fn a_django_portmaster_client_works() {
    let api = Stage::new().await;
    let api = &api;
    let new = json!({ "name": "django", "description": null, "start": 5000, "end": 10000 });
    api.post("/v1/services", new).await.expect(201);
    assert_eq!(api.get("/v1/services").await.expect(200).body.as_array().unwrap().len(), 1);
    api.get("/v1/services/django").await.expect(200);
    let full = json!({ "name": "django", "description": "Django service", "start": 5000, "end": 10000 });
    api.put("/v1/services/django", full).await.expect(200);
    api.patch("/v1/services/django", json!({ "description": "Django" })).await.expect(200);

    let offer = api.ask("django", "web-01").await.expect(201);
    for field in ["service", "name", "port", "secret", "created"] {
        assert!(!offer.body[field].is_null(), "{field}");
    }
    assert_eq!(api.get("/v1/services/django/offers").await.expect(200).body.as_array().unwrap().len(), 1);
    api.get(&format!("/v1/services/django/offers/{}", offer.secret())).await.expect(200);
    let port = api.accept("django", &offer.secret()).await.expect(201);
    // Where IAM says who calls, the registry notes it.
    let members: Vec<_> =
        port.body.as_object().unwrap().keys().map(String::as_str).filter(|name| *name != "principal").collect();
    assert_eq!(members, ["created", "name", "port", "service"]);
    let offer = api.ask("django", "web-02").await.expect(201);
    api.reject("django", &offer.secret()).await.expect(204);

    assert_eq!(api.get("/v1/services/django/ports").await.expect(200).body, json!([port.body]));
    assert_eq!(api.get("/v1/services/django/ports/5000").await.expect(200).body, port.body);
    assert_eq!(api.get("/v1/services/django/ports/web-01").await.expect(200).body, port.body);
    for method in [reqwest::Method::PUT, reqwest::Method::PATCH] {
        let port = "/v1/services/django/ports/5000";
        api.send(method.clone(), port, Some(json!({})), &[]).await.expect_problem(405, "method-not-allowed");
        let offer = format!("/v1/services/django/offers/{}", offer.secret());
        api.send(method, &offer, Some(json!({})), &[]).await.expect_problem(405, "method-not-allowed");
    }
    api.post("/v1/services/django/ports", json!({})).await.expect_problem(405, "method-not-allowed");
    api.delete("/v1/services/django/ports/5000").await.expect(204);
    api.delete("/v1/services/django").await.expect(204);
}
