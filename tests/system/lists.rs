//! Lists: sorted, complete, in pages, and without secrets.

use serde_json::Value;

use crate::support::{Caller, World};

/// Follows the links to the end.
async fn all(api: &Caller, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
    while let Some(path) = next {
        let page = api.get(&path).await.expect(200);
        items.extend(page.body.as_array().unwrap().iter().cloned());
        pages += 1;
        next = page.next();
        assert!(pages < 1_000, "the links go round in circles");
    }
    (items, pages)
}

/// P10.
#[tokio::test]
async fn lists_are_sorted_and_complete_at_every_page_size() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    world.api.service_with("flask", 6000, 6199, "random").await;
    let mut secrets = Vec::new();
    for i in 0..30 {
        for service in ["django", "flask"] {
            let (_, secret) = world.api.offer(service, &format!("web-{i}")).await;
            if i % 3 == 0 {
                world.api.accept(service, &secret).await.expect(201);
            }
            secrets.push(secret);
        }
    }
    for service in ["django", "flask"] {
        for (kind, count) in [("offers", 20), ("ports", 10)] {
            for limit in [1, 3, 10, 20, 21, 1000, 5000] {
                let (items, _) = all(&world.api, &format!("/v1/services/{service}/{kind}?limit={limit}")).await;
                let ports: Vec<_> = items.iter().map(|item| item["port"].as_u64().unwrap()).collect();
                assert_eq!(ports.len(), count, "{service} {kind} {limit}");
                assert!(ports.is_sorted_by(|a, b| a < b), "{ports:?}");
                let text = Value::from(items).to_string();
                assert!(!text.contains("secret") && secrets.iter().all(|secret| !text.contains(secret)));
            }
            let first = world.api.get(&format!("/v1/services/{service}/{kind}?limit=3")).await.expect(200);
            assert_eq!(first.body.as_array().unwrap().len(), 3);
            assert!(first.next().is_some());
        }
    }
    let (unbounded, pages) = all(&world.api, "/v1/services/django/offers").await;
    assert_eq!((unbounded.len(), pages), (20, 1));
    world.api.get("/v1/services/nobody/offers").await.expect_problem(404, "service-not-found");
    world.api.get("/v1/services/nobody/ports").await.expect_problem(404, "service-not-found");
}

/// P10.
#[tokio::test]
async fn services_are_listed_by_name() {
    let world = World::new().await;
    assert_eq!(all(&world.api, "/v1/services").await, (Vec::new(), 1));
    for i in (0..25u16).rev() {
        world.api.service(&format!("s{i:02}"), 2000 + i * 10, 2009 + i * 10).await;
    }
    for limit in [1, 7, 25, 26, 1000] {
        let (items, _) = all(&world.api, &format!("/v1/services?limit={limit}")).await;
        let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, (0..25).map(|i| format!("s{i:02}")).collect::<Vec<_>>());
    }
}

/// P10: a page that DynamoDB's filter emptied still leads on.
#[tokio::test]
async fn few_among_many_are_found() {
    let world = World::new().await;
    world.api.service("django", 2000, 5999).await;
    crate::support::fill(&world, "django", 2000, 2600).await;
    let (_, secret) = world.api.offer("django", "needle").await;
    let (offers, _) = all(&world.api, "/v1/services/django/offers?limit=1").await;
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0]["port"], 4600);
    assert!(!Value::from(offers).to_string().contains(&secret));
    let (ports, pages) = all(&world.api, "/v1/services/django/ports?limit=1000").await;
    assert_eq!(ports.len(), 2600);
    assert!(pages >= 3);
    // What was there all along is listed, whatever comes and goes meanwhile.
    let first = world.api.get("/v1/services/django/ports?limit=100").await.expect(200);
    world.api.delete("/v1/services/django/ports/2100").await.expect(204);
    let second = world.api.get(&first.next().unwrap()).await.expect(200);
    assert_eq!(second.body[0]["port"], 2101);
}
