//! Allocations: found by number and by name, listed, released.

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn a_port_is_found_by_number_and_by_name() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    world.api.service("flask", 6000, 6099).await;
    let port = world.api.allocate("django", "web-01").await;
    let by_number = world.api.get(&format!("/v1/services/django/ports/{port}")).await.expect(200);
    assert_eq!(by_number.body["name"], "web-01");
    for path in ["/v1/services/django/ports/web-01", "/v1/ports/5000", "/v1/services/django/ports/05000"] {
        assert_eq!(world.api.get(path).await.expect(200).body, by_number.body);
    }
    // Only this service's.
    for path in ["/v1/services/flask/ports/5000", "/v1/services/flask/ports/web-01", "/v1/services/nobody/ports/5000"] {
        world.api.get(path).await.expect_problem(404, "port-not-found");
        world.api.delete(path).await.expect_problem(404, "port-not-found");
    }
    // What can be no port and no name is not found either.
    for wrong in ["80", "99999", "4294972296", "-x", "web%2001", "5000.0", "web-02", "5001"] {
        world.api.get(&format!("/v1/services/django/ports/{wrong}")).await.expect_problem(404, "port-not-found");
        world.api.delete(&format!("/v1/services/django/ports/{wrong}")).await.expect_problem(404, "port-not-found");
    }
    for wrong in ["80", "99999", "web-01", "-1", "5001"] {
        world.api.get(&format!("/v1/ports/{wrong}")).await.expect_problem(404, "port-not-found");
    }
}

#[tokio::test]
async fn an_offer_is_no_port_yet() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    for path in ["/v1/services/django/ports/5000", "/v1/services/django/ports/web-01"] {
        world.api.get(path).await.expect_problem(404, "port-not-found");
        world.api.delete(path).await.expect_problem(404, "port-not-found");
    }
    world.api.get("/v1/ports/5000").await.expect_problem(404, "port-not-found");
    world.api.accept("django", &secret).await.expect(201);
    world.api.get("/v1/ports/5000").await.expect(200);
}

#[tokio::test]
async fn a_released_port_is_free() {
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    for by in ["5000", "web-01"] {
        let (_, secret) = world.api.offer("django", "web-01").await;
        world.api.accept("django", &secret).await.expect(201);
        world.api.delete(&format!("/v1/services/django/ports/{by}")).await.expect(204);
        for path in ["/v1/ports/5000", "/v1/services/django/ports/web-01", "/v1/services/django/ports/5000"] {
            world.api.get(path).await.expect_problem(404, "port-not-found");
        }
        world.api.delete(&format!("/v1/services/django/ports/{by}")).await.expect_problem(404, "port-not-found");
        // The secret died with the allocation.
        world.api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    }
    assert_eq!(world.api.allocate("django", "web-02").await, 5000);
    // A stale name does not release its successor.
    world.api.delete("/v1/services/django/ports/web-01").await.expect_problem(404, "port-not-found");
    assert_eq!(world.api.get("/v1/ports/5000").await.expect(200).body["name"], json!("web-02"));
    world.assert_healthy().await;
}
