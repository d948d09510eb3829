//! Lists: sorted, complete, in pages, and without secrets.

use serde_json::Value;

use portmaster_testkit::Stage;

/// P10.
#[tokio::test]
async fn lists_are_sorted_and_complete_at_every_page_size() {
    let api = Stage::new().await;
    api.service("django", 5000, 5199).await;
    api.service_with("flask", 6000, 6199, "random").await;
    let mut secrets = Vec::new();
    for i in 0..30 {
        for service in ["django", "flask"] {
            let (_, secret) = api.offer(service, &format!("web-{i}")).await;
            if i % 3 == 0 {
                api.accept(service, &secret).await.expect(201);
            }
            secrets.push(secret);
        }
    }
    for service in ["django", "flask"] {
        for (kind, count) in [("offers", 20), ("ports", 10)] {
            for limit in [1, 3, 10, 20, 21, 1000, 5000] {
                let (items, _) = api.pages(&format!("/v1/services/{service}/{kind}?limit={limit}")).await;
                let ports: Vec<_> = items.iter().map(|item| item["port"].as_u64().unwrap()).collect();
                assert_eq!(ports.len(), count, "{service} {kind} {limit}");
                assert!(ports.is_sorted_by(|a, b| a < b), "{ports:?}");
                let text = Value::from(items).to_string();
                assert!(!text.contains("secret") && secrets.iter().all(|secret| !text.contains(secret)));
            }
            let first = api.get(&format!("/v1/services/{service}/{kind}?limit=3")).await.expect(200);
            assert_eq!(first.body.as_array().unwrap().len(), 3);
            assert!(first.next().is_some());
        }
    }
    let (unbounded, pages) = api.pages("/v1/services/django/offers").await;
    assert_eq!((unbounded.len(), pages), (20, 1));
    api.get("/v1/services/nobody/offers").await.expect_problem(404, "service-not-found");
    api.get("/v1/services/nobody/ports").await.expect_problem(404, "service-not-found");
}

/// P10.
#[tokio::test]
async fn services_are_listed_by_name() {
    let api = Stage::new().await;
    assert_eq!(api.pages("/v1/services").await, (Vec::new(), 1));
    for i in (0..25u16).rev() {
        api.service(&format!("s{i:02}"), 2000 + i * 10, 2009 + i * 10).await;
    }
    for limit in [1, 7, 25, 26, 1000] {
        let (items, _) = api.pages(&format!("/v1/services?limit={limit}")).await;
        let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, (0..25).map(|i| format!("s{i:02}")).collect::<Vec<_>>());
    }
}
