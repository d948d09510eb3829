//! Allocations: found by number and by name, listed, released.

use portmaster_testkit::Stage;

#[tokio::test]
async fn a_port_is_found_by_number_and_by_name() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    api.service("flask", 6000, 6099).await;
    let port = api.allocate("django", "web-01").await;
    let by_number = api.get(&format!("/v1/services/django/ports/{port}")).await.expect(200);
    assert_eq!(by_number.body["name"], "web-01");
    for path in ["/v1/services/django/ports/web-01", "/v1/services/django/ports/05000"] {
        assert_eq!(api.get(path).await.expect(200).body, by_number.body);
    }
    let mut anywhere = by_number.body.clone();
    anywhere["state"] = "allocated".into();
    assert_eq!(api.get("/v1/ports/5000").await.expect(200).body, anywhere);
    // Only this service's.
    for path in ["/v1/services/flask/ports/5000", "/v1/services/flask/ports/web-01", "/v1/services/nobody/ports/5000"] {
        api.get(path).await.expect_problem(404, "port-not-found");
        api.delete(path).await.expect_problem(404, "port-not-found");
    }
    // A segment that is neither a port nor a name is not found either.
    for wrong in ["80", "99999", "4294972296", "-x", "web-01-", "5000.0", "web-02", "5001"] {
        api.get(&format!("/v1/services/django/ports/{wrong}")).await.expect_problem(404, "port-not-found");
        api.delete(&format!("/v1/services/django/ports/{wrong}")).await.expect_problem(404, "port-not-found");
    }
    for wrong in ["80", "99999", "web-01", "-1", "5001"] {
        api.get(&format!("/v1/ports/{wrong}")).await.expect_problem(404, "port-not-found");
    }
}

#[tokio::test]
async fn an_offer_is_no_port_yet() {
    let api = Stage::new().await;
    api.service("django", 5000, 5099).await;
    let (_, secret) = api.offer("django", "web-01").await;
    for path in ["/v1/services/django/ports/5000", "/v1/services/django/ports/web-01"] {
        api.get(path).await.expect_problem(404, "port-not-found");
        api.delete(path).await.expect_problem(404, "port-not-found");
    }
    // The problem says that it is offered, and to whom; it does not contain the secret.
    let offer = api.get("/v1/services/django/offers").await.expect(200).body[0].clone();
    for path in ["/v1/ports/5000", "/v1/services/django/ports/5000", "/v1/services/django/ports/web-01"] {
        let told = api.get(path).await.expect_problem(404, "port-not-found");
        assert_eq!(told.body["state"], "offered", "{path}");
        for member in ["service", "name", "port", "expires_at"] {
            assert_eq!(told.body[member], offer[member], "{path}");
        }
        let detail = told.body["detail"].as_str().unwrap();
        assert!(detail.contains("offered to web-01 of django until"), "{detail}");
        assert!(!told.body.to_string().contains(&secret));
    }
    // Not in another service.
    api.service("flask", 6000, 6099).await;
    let other = api.get("/v1/services/flask/ports/5000").await.expect_problem(404, "port-not-found");
    assert!(other.body["state"].is_null());
    api.accept("django", &secret).await.expect(201);
    api.get("/v1/ports/5000").await.expect(200);
}
