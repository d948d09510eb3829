//! Lists with many items to go through.

use serde_json::Value;

use portmaster_testkit::{World, fill};

/// P10: a page that DynamoDB's filter emptied still has a link to the next one.
#[tokio::test]
async fn few_among_many_are_found() {
    let world = World::new().await;
    world.api.service("django", 2000, 5999).await;
    fill(&world, "django", 2000, 2600).await;
    let (_, secret) = world.api.offer("django", "needle").await;
    let (offers, _) = world.api.pages("/v1/services/django/offers?limit=1").await;
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0]["port"], 4600);
    assert!(!Value::from(offers).to_string().contains(&secret));
    let (ports, pages) = world.api.pages("/v1/services/django/ports?limit=1000").await;
    assert_eq!(ports.len(), 2600);
    assert!(pages >= 3);
    // Items that exist throughout are listed, whatever else comes and goes meanwhile.
    let first = world.api.get("/v1/services/django/ports?limit=100").await.expect(200);
    world.api.delete("/v1/services/django/ports/2100").await.expect(204);
    let second = world.api.get(&first.next().unwrap()).await.expect(200);
    assert_eq!(second.body[0]["port"], 2101);
}
