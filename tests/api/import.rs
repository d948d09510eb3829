//! Moving in: ports that are in use already (promise P35).

use portmaster_testkit::Stage;
use serde_json::{Value, json};

const IMPORT: &str = "/v1/services/django/import";

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|port| port["name"].as_str().unwrap()).collect()
}

/// P35: what is free is claimed, what is there stays, and the same call again says the same.
#[tokio::test]
async fn an_import_overwrites_nothing_and_can_be_repeated() {
    let api = Stage::new().await;
    let service = json!({ "start": 5000, "end": 5009, "reserved": [5008], "cooldown_seconds": 600 });
    api.put("/v1/services/django", service).await.expect(201);
    let ports = "/v1/services/django/ports";
    let held = json!({ "owner": "job-1", "port": 5001, "labels": { "run": "1" } });
    let held = api.put(&format!("{ports}/held"), held).await.expect(201);
    api.put(&format!("{ports}/gone"), json!({ "port": 5002 })).await.expect(201);
    api.delete(&format!("{ports}/gone")).await.expect(204);
    let offer = api.post("/v1/services/django/offers", json!({ "name": "offered", "port": 5003 })).await.expect(201);
    // It was found in use, so not even its name may have it.
    let aside = api.post("/v1/services/django/offers", json!({ "name": "aside", "port": 5005 })).await.expect(201);
    let aside = format!("/v1/services/django/offers/{}/reject", aside.secret());
    api.post(&aside, json!({ "reason": "in-use" })).await.expect(204);
    let import = json!({ "ports": [
        { "name": "a", "port": 5000 },
        { "name": "b", "port": 5008, "owner": "team-b", "labels": { "host": "x" } },
        // Its own, as it is: its labels stay.
        { "name": "held", "port": 5001, "owner": "job-1", "labels": { "run": "2" } },
        // It comes back to the port that is cooling for it.
        { "name": "gone", "port": 5002 },
        { "name": "offered", "port": 5004 },
        { "name": "c", "port": 5003 },
        { "name": "d", "port": 6000 },
        { "name": "aside", "port": 5005 },
    ] });
    let mut dry = import.clone();
    dry["dry_run"] = json!(true);
    let would = api.post(IMPORT, dry).await.expect(200).body;
    assert_eq!(names(&would["imported"]), ["held"]);
    assert_eq!(names(&would["importable"]), ["a", "b", "gone"]);
    assert_eq!(names(&api.get(ports).await.body), ["held"]);

    for _ in 0..2 {
        let done = api.post(IMPORT, import.clone()).await.expect(200).body;
        assert_eq!(names(&done["imported"]), ["a", "b", "held", "gone"]);
        assert_eq!(done["imported"][2], held.body);
        assert_eq!(done.get("importable"), None);
        let conflicts = done["conflicts"].as_array().unwrap();
        let kinds: Vec<_> = conflicts.iter().map(|conflict| (&conflict["name"], &conflict["type"])).collect();
        let expected =
            [("offered", "name-taken"), ("c", "port-taken"), ("d", "port-not-in-range"), ("aside", "port-taken")];
        let expected = expected.map(|(name, kind)| (json!(name), json!(format!("/problems/{kind}"))));
        assert_eq!(kinds, expected.iter().map(|(name, kind)| (name, kind)).collect::<Vec<_>>());
        // The dry run said the same.
        let kinds_of = |list: &Value| -> Vec<Value> {
            list.as_array().unwrap().iter().map(|conflict| conflict["type"].clone()).collect()
        };
        assert_eq!(kinds_of(&would["conflicts"]), kinds_of(&done["conflicts"]));
        assert!(conflicts[1]["detail"].as_str().unwrap().contains("offered to offered"), "{conflicts:?}");
    }
    assert_eq!(names(&api.get(ports).await.body), ["a", "held", "gone", "b"]);
    let imported = api.get(&format!("{ports}/b")).await.body;
    assert_eq!((&imported["owner"], &imported["labels"]), (&json!("team-b"), &json!({ "host": "x" })));
    let live = api.get(&format!("/v1/services/django/offers/{}", offer.secret())).await;
    live.expect(200);
}

#[tokio::test]
async fn bad_imports_are_refused_as_a_whole() {
    let api = Stage::new().await;
    api.service("django", 5000, 5999).await;
    let many: Vec<_> = (0..201).map(|i| json!({ "name": format!("a{i}"), "port": 5000 + i })).collect();
    for (body, faults) in [
        (json!({}), vec!["#/ports"]),
        (json!({ "ports": [] }), vec!["#/ports"]),
        (json!({ "ports": many }), vec!["#/ports"]),
        (json!({ "ports": [{ "name": "a" }] }), vec!["#/ports/0/port"]),
        (json!({ "ports": [{ "name": "a", "port": 5000 }, { "name": "a", "port": 5001 }] }), vec!["#/ports/1/name"]),
        (json!({ "ports": [{ "name": "a", "port": 5000 }, { "name": "b", "port": 5000 }] }), vec!["#/ports/1/port"]),
        (json!({ "ports": [{ "name": "5000", "port": 80 }] }), vec!["#/ports/0/name", "#/ports/0/port"]),
        (json!({ "ports": [{ "name": "a", "port": 5000, "lease_seconds": 5 }] }), vec!["#/ports/0/lease_seconds"]),
        (json!({ "ports": [{ "name": "a", "port": 5000, "owner": "*" }] }), vec!["#/ports/0/owner"]),
    ] {
        let answer = api.post(IMPORT, body.clone()).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.faults(), faults, "{body}");
    }
    assert_eq!(api.get("/v1/services/django/ports").await.body, json!([]));
    let one = json!({ "ports": [{ "name": "a", "port": 5000 }] });
    api.post("/v1/services/nobody/import", one).await.expect_problem(404, "service-not-found");
    // 200 at once.
    let most: Vec<_> = (0..200).map(|i| json!({ "name": format!("a{i}"), "port": 5000 + i })).collect();
    let done = api.post(IMPORT, json!({ "ports": most })).await.expect(200).body;
    assert_eq!((done["imported"].as_array().unwrap().len(), &done["conflicts"]), (200, &json!([])));
}
