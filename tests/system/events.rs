//! Events: each is told once, says what its schema says, and has no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portmaster_registry::history::EventKind;
use portmaster_testkit::{World, call, embedded_or_skip};
use regex::Regex;
use serde_json::{Value, json};

fn schema(kind: EventKind) -> Value {
    let path = format!("{}/../docs/events/{}.v1.json", env!("CARGO_MANIFEST_DIR"), kind.slug());
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// The part of JSON Schema that the schemas use; and no member that they do not name.
fn check(schema: &Value, value: &Value, at: &str) {
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    match schema["type"].as_str() {
        Some("object") => {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(!value[name.as_str().unwrap()].is_null(), "{at}: {name} is missing in {value}");
            }
            for (name, value) in value.as_object().unwrap() {
                let of_all = schema.get("additionalProperties");
                let found = schema["properties"].get(name).or(of_all);
                check(found.unwrap_or_else(|| panic!("{at}: no {name} in the schema")), value, &format!("{at}.{name}"));
            }
        }
        Some("string") => {
            let text = value.as_str().unwrap_or_else(|| panic!("{at}: {value}"));
            if let Some(pattern) = schema["pattern"].as_str() {
                assert!(Regex::new(pattern).unwrap().is_match(text), "{at}: {text}");
            }
        }
        Some("integer") => assert!(value.is_u64(), "{at}: {value}"),
        Some("number") => assert!(value.is_number(), "{at}: {value}"),
        Some(other) => panic!("{at}: {other}"),
        None => {}
    }
}

/// P37: what an event says, and that it says no secret.
#[tokio::test]
async fn every_event_is_told_as_its_schema_says() {
    if !embedded_or_skip("every_event_is_told_as_its_schema_says") {
        return;
    }
    let world = World::new().await;
    let api = &world.api;
    let content = json!({ "start": 5000, "end": 5001, "reserved": [5001] });
    api.put("/v1/services/django", content).await.expect(201);
    let mut secrets = Vec::new();
    let mut offer = async |name: &str| {
        let body = json!({ "name": name, "owner": "me", "labels": { "run": "17" } });
        let secret = api.post("/v1/services/django/offers", body).await.expect(201).secret().to_owned();
        secrets.push(secret.clone());
        format!("/v1/services/django/offers/{secret}")
    };
    // Accepted and released; rejected; not accepted in time; in use.
    let first = offer("a").await;
    api.post(&format!("{first}/accept"), json!({})).await.expect(201);
    // Full.
    world.registry.reconcile(&call()).await.unwrap();
    api.delete("/v1/services/django/ports/a?owner=me").await.expect(204);
    let second = offer("b").await;
    api.delete(&second).await.expect(204);
    offer("c").await;
    world.pass(Duration::from_secs(7200));
    world.registry.reconcile(&call()).await.unwrap();
    let last = offer("d").await;
    api.post(&format!("{last}/reject"), json!({ "reason": "in-use", "quarantine_seconds": 5 })).await.expect(204);
    world.pass(Duration::from_secs(60));
    // A lease that lapses.
    api.put("/v1/services/django/ports/e", json!({ "lease_seconds": 5 })).await.expect(201);
    world.pass(Duration::from_secs(60));
    world.registry.reconcile(&call()).await.unwrap();
    let change = json!({ "description": "changed" });
    api.patch("/v1/services/django", change).await.expect(200);
    api.delete("/v1/services/django").await.expect(204);
    // Reading a history waits for what has happened.
    api.get("/v1/ports/5000/history").await.expect(200);

    let events = world.database.events.remembered();
    let mut kinds = BTreeMap::<EventKind, usize>::new();
    let mut ids = BTreeSet::new();
    for event in &events {
        let told = serde_json::to_value(portmaster_http::told(event)).unwrap();
        check(&schema(event.kind), &told, event.kind.title());
        assert!(!secrets.iter().any(|secret| told.to_string().contains(secret)), "{told}");
        *kinds.entry(event.kind).or_default() += 1;
        assert!(ids.insert(event.id()), "{told} is told twice");
    }
    let expected = EventKind::ALL.into_iter().zip([4, 2, 2, 1, 1, 1, 1, 1, 1, 1]).collect::<BTreeMap<_, _>>();
    assert_eq!(kinds, expected, "{events:#?}");
}
