//! Allocations: found by number and by name, listed, released.

use serde_json::json;

use crate::support::World;

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
