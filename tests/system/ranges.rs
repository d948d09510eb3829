//! The ranges of services: they never overlap, and ports in use are not cut off.

use serde_json::{Value, json};

use portmaster_testkit::World;

fn body(name: &str, start: u16, end: u16) -> Value {
    json!({ "name": name, "start": start, "end": end })
}

/// P3.
#[tokio::test]
async fn ranges_never_overlap() {
    let world = World::new().await;
    world.api.service("a", 5000, 5999).await;
    world.api.service("b", 6000, 6999).await;
    for (start, end) in [(4000, 5000), (5500, 5600), (4000, 9000), (6999, 8000), (5999, 6000)] {
        let answer = world.api.post("/v1/services", body("c", start, end)).await.expect_problem(409, "range-overlap");
        let conflicts = answer.body["conflicts"].as_array().unwrap();
        assert!(!conflicts.is_empty());
        for conflict in conflicts {
            let theirs = (conflict["start"].as_u64().unwrap(), conflict["end"].as_u64().unwrap());
            assert!(theirs.0 <= u64::from(end) && u64::from(start) <= theirs.1, "{conflict}");
        }
    }
    let both = world.api.post("/v1/services", body("c", 5999, 6000)).await.expect_problem(409, "range-overlap");
    let expected = json!([{ "name": "a", "start": 5000, "end": 5999 }, { "name": "b", "start": 6000, "end": 6999 }]);
    assert_eq!(both.body["conflicts"], expected);
    world.api.get("/v1/services/c").await.expect_problem(404, "service-not-found");

    world.api.service("c", 7000, 7999).await;
    // The whole space, edges included.
    world.api.service("low", 1024, 4999).await;
    world.api.service("high", 8000, 49_151).await;
    world.assert_healthy().await;
}

/// P3: also when many are created at the same moment.
#[tokio::test]
async fn of_many_overlapping_services_created_at_once_one_stands() {
    let world = World::new().await;
    for round in 0..5u16 {
        let start = 2000 + round * 1000;
        let creations = (0..24u16).map(|i| {
            let api = &world.api;
            async move {
                // Each overlaps every other.
                let name = format!("s{round}-{i}");
                api.post("/v1/services", body(&name, start + i, start + 500 + i)).await
            }
        });
        let answers = futures::future::join_all(creations).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status == 201 || answer.kind() == "range-overlap"), "{answers:?}");
    }
    // Disjoint ones all succeed, though each writes the same bitmap.
    let creations = (0..24u16).map(|i| {
        let api = &world.api;
        async move { api.post("/v1/services", body(&format!("d{i}"), 20_000 + i * 10, 20_009 + i * 10)).await }
    });
    for answer in futures::future::join_all(creations).await {
        answer.expect(201);
    }
    world.assert_healthy().await;
}

#[tokio::test]
async fn put_makes_it_so() {
    let world = World::new().await;
    let put = |body: Value| world.api.put("/v1/services/django", body);
    let created = put(json!({ "start": 5000, "end": 5999 })).await.expect(201);
    assert_eq!(created.header("location"), "/v1/services/django");
    let again = put(json!({ "start": 5000, "end": 5999 })).await.expect(200);
    // Nothing changed, so nothing was written: a pipeline may repeat it as often as it likes.
    assert_eq!((again.header("etag"), &again.body), (created.header("etag"), &created.body));

    let grown = put(json!({ "name": "django", "start": 4000, "end": 6999, "strategy": "random" })).await.expect(200);
    assert_ne!(grown.header("etag"), created.header("etag"));
    assert_eq!((&grown.body["start"], &grown.body["strategy"]), (&json!(4000), &json!("random")));
    assert_eq!(grown.body["created"], created.body["created"]);

    // The body of a GET can be put back as it is.
    let put_back = put(world.api.get("/v1/services/django").await.expect(200).body).await.expect(200);
    assert_eq!((put_back.header("etag"), &put_back.body), (grown.header("etag"), &grown.body));

    // A member that is not given is back at its default.
    let plain = put(json!({ "start": 4000, "end": 6999 })).await.expect(200);
    assert_eq!(plain.body["strategy"], "lowest");

    let renamed = put(json!({ "name": "flask", "start": 4000, "end": 6999 })).await;
    assert_eq!(renamed.expect_problem(400, "invalid-request").faults(), ["#/name"]);
    world.api.service("other", 7000, 7999).await;
    put(json!({ "start": 4000, "end": 7000 })).await.expect_problem(409, "range-overlap");
    assert_eq!(world.api.get("/v1/services/django").await.expect(200).body, plain.body);
    let bad = world.api.put("/v1/services/-bad-", json!({ "start": 8000, "x": 1 })).await;
    assert_eq!(bad.expect_problem(400, "invalid-request").faults(), ["service", "#/x", "#/end"]);
    // Only if there is none yet.
    let only_if_new = [("if-none-match", "*")];
    let body = Some(json!({ "start": 8000, "end": 8999 }));
    let put = |name: &'static str| world.api.send(reqwest::Method::PUT, name, body.clone(), &only_if_new);
    put("/v1/services/django").await.expect_problem(412, "precondition-failed");
    put("/v1/services/new").await.expect(201);
    put("/v1/services/new").await.expect_problem(412, "precondition-failed");
    // Both conditions must hold, so it is neither created nor replaced.
    for (name, tag) in [("django", "*"), ("newer", "*"), ("newer", "\"x\"")] {
        let both = [("if-none-match", "*"), ("if-match", tag)];
        let path = format!("/v1/services/{name}");
        let body = Some(json!({ "start": 9000, "end": 9099 }));
        let refused = world.api.send(reqwest::Method::PUT, &path, body, &both).await;
        refused.expect_problem(412, "precondition-failed");
    }
    world.api.get("/v1/services/newer").await.expect_problem(404, "service-not-found");
    assert_eq!(world.api.get("/v1/services/django").await.expect(200).body, plain.body);
    world.assert_healthy().await;
}

/// P12: ports in use are neither deleted nor cut off, and a refusal changes nothing.
#[tokio::test]
async fn what_is_in_use_stays() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    world.api.allocate("django", "web-01").await;
    let (port, secret) = world.api.offer("django", "web-02").await;
    assert_eq!(port, 5001);
    let before = world.api.get("/v1/services/django").await;

    let refused = world.api.delete("/v1/services/django").await.expect_problem(409, "service-in-use");
    assert_eq!((&refused.body["offers"], &refused.body["ports"]), (&json!(1), &json!(1)));
    // The secret that a reject needs is in no list; the caller can wait until the offer ends.
    let until = world.api.get("/v1/ports/5001").await.expect_problem(404, "port-not-found").body["expires_at"].clone();
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(until.is_string() && detail.contains(until.as_str().unwrap()) && detail.contains("Release"), "{detail}");
    assert_eq!(refused.body["offers_expire_by"], until);
    let shrink = json!({ "start": 5001, "end": 5099 });
    let refused = world.api.put("/v1/services/django", shrink.clone()).await.expect_problem(409, "range-in-use");
    assert_eq!(refused.body["ports"], json!([{ "port": 5000, "name": "web-01", "state": "allocated" }]));
    assert!(refused.body["offers_expire_by"].is_null());
    let shrink_more = json!({ "start": 5010, "end": 5099 });
    let both = world.api.put("/v1/services/django", shrink_more).await.expect_problem(409, "range-in-use");
    assert_eq!((&both.body["count"], &both.body["offers_expire_by"]), (&json!(2), &until));
    world.api.patch("/v1/services/django", json!({ "start": 5002 })).await.expect_problem(409, "range-in-use");
    world
        .api
        .put("/v1/services/django", json!({ "start": 6000, "end": 6099 }))
        .await
        .expect_problem(409, "range-in-use");
    let after = world.api.get("/v1/services/django").await;
    assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));

    // It still takes requests, with the offer intact.
    world.api.accept("django", &secret).await.expect(201);
    assert_eq!(world.api.offer("django", "web-03").await.0, 5002);
    world.api.patch("/v1/services/django", json!({ "end": 5002 })).await.expect(200);
    for name in ["web-01", "web-02"] {
        world.api.delete(&format!("/v1/services/django/ports/{name}")).await.expect(204);
    }
    world.api.put("/v1/services/django", json!({ "start": 5002, "end": 5003 })).await.expect(200);
    // The ports that were given up are free for other services.
    world.api.service("flask", 5000, 5001).await;
    world.assert_healthy().await;
}

/// Namespaces are separate port spaces: the same names and the same ports, and neither sees the other.
#[tokio::test]
async fn namespaces_do_not_meet() {
    use portmaster_domain::{Description, InstanceName, Namespace, Port, PortRange, ServiceId, Strategy};
    use portmaster_registry::{Content, IfMatch, NewService, PortOrName};

    let world = World::new().await;
    let (registry, call) = (&world.registry, portmaster_testkit::call());
    let name = InstanceName::try_from("web-01").unwrap();
    let port = |number| Port::new(number).unwrap();
    let range = PortRange::of_service(port(5000), port(5001)).unwrap();
    let content = Content::new(Description::default(), range, Strategy::Lowest);
    let both = ["default", "elsewhere"]
        .map(|namespace| ServiceId::new(Namespace::try_from(namespace).unwrap(), "django".try_into().unwrap()));
    let mut secrets = Vec::new();
    registry.put_namespace(&call, &both[1].namespace, Description::default()).await.unwrap();
    for service in &both {
        let new = NewService { id: service.clone(), content: content.clone() };
        registry.create_service(&call, new).await.unwrap();
        let offered = registry.offer(&call, service, &name, None).await.unwrap();
        assert_eq!(offered.holding.claim.port, port(5000));
        secrets.push(offered.holding.secret);
    }
    // A secret of one opens nothing in the other, though it is for the same port.
    registry.accept(&call, &both[0], secrets[1], None).await.unwrap_err();
    registry.accept(&call, &both[0], secrets[0], None).await.unwrap();
    registry.find_port(&call, &both[1].namespace, port(5000)).await.unwrap_err();
    registry.accept(&call, &both[1], secrets[1], None).await.unwrap();
    registry
        .release(&call, &both[1], &PortOrName::Port(port(5000)), portmaster_registry::By::Holder(None))
        .await
        .unwrap();
    registry.find_port(&call, &both[0].namespace, port(5000)).await.unwrap();
    registry.delete_service(&call, &both[1], &IfMatch::Always).await.unwrap();
    registry.delete_service(&call, &both[0], &IfMatch::Always).await.unwrap_err();
    world.api.get("/v1/services/django").await.expect(200);
    world.assert_healthy().await;
}
