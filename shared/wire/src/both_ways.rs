//! Each side reads what the other writes.

use serde_json::{Value, json};

use crate::parse::{Checked, Faults, parse};
use crate::*;

/// A client writes it, the server reads it.
fn sent<T: serde::Serialize + deserr::Deserr<Faults> + Checked + PartialEq + std::fmt::Debug>(body: &T, text: Value) {
    let written = serde_json::to_value(body).unwrap();
    assert_eq!(written, text);
    assert_eq!(&parse::<T>(written.to_string().as_bytes()).unwrap(), body);
}

/// The server writes it and a client reads it, including a later server's version with more members.
fn answered<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(text: Value) {
    let read: T = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
    let mut more = text;
    more["of a later version"] = json!({ "a": 1 });
    assert_eq!(serde_json::from_value::<T>(more).unwrap(), read);
}

#[test]
fn requests() {
    let port = |number| portmaster_domain::Port::new(number).unwrap();
    let new = NewService {
        name: "django".try_into().unwrap(),
        description: None,
        start: port(5000),
        end: port(5009),
        strategy: Some(portmaster_domain::Strategy::Hashed),
    };
    sent(&new, json!({ "name": "django", "start": 5000, "end": 5009, "strategy": "hashed" }));
    let patch = ServicePatch {
        name: None,
        description: Patch::Null,
        start: Patch::Absent,
        end: Patch::Value(port(5019)),
        strategy: Patch::Absent,
    };
    sent(&patch, json!({ "description": null, "end": 5019 }));
    assert_eq!(serde_json::from_value::<ServicePatch>(json!({ "description": null, "end": 5019 })).unwrap(), patch);
    sent(&NewOffer { name: "web-01".try_into().unwrap() }, json!({ "name": "web-01" }));
}

#[test]
fn answers() {
    answered::<Service>(json!({
        "name": "django", "description": "", "start": 5000, "end": 5009, "strategy": "lowest",
        "created": "2026-11-22T10:00:00.123Z",
    }));
    answered::<Offer>(json!({
        "service": "django", "name": "web-01", "port": 5000, "created": "2026-11-22T10:00:00.000Z",
        "expires_at": "2026-11-22T10:30:00Z", "secret": "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f",
    }));
    answered::<FoundPort>(json!({
        "service": "django", "name": "web-01", "port": 5000, "created": "2026-11-22T10:00:05.000Z",
        "state": "allocated",
    }));
    answered::<Health>(json!({ "status": "ok" }));
}

#[test]
fn problems() {
    let text = json!({
        "type": "/problems/invalid-request", "status": 400, "title": "The request is not valid", "detail": "Correct it.",
        "instance": "id", "errors": [{ "pointer": "#/name", "detail": "is required" }], "port": 5000,
    });
    let read: ProblemDocument = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(read.extensions.errors, [Fault::in_body("#/name", "is required")]);
    assert_eq!(read.extensions.more["port"], 5000);
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
}
