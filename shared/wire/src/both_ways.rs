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
        lease_seconds: None,
        max_lease_seconds: None,
        cooldown_seconds: None,
        quarantine_seconds: None,
        reserved: None,
    };
    sent(&new, json!({ "name": "django", "start": 5000, "end": 5009, "strategy": "hashed" }));
    let stretches =
        [(5002, 5002), (5004, 5005)].map(|(a, b)| portmaster_domain::PortRange::new(port(a), port(b)).unwrap());
    let full = NewService {
        lease_seconds: Some(3600.try_into().unwrap()),
        max_lease_seconds: Some(2_592_000.try_into().unwrap()),
        cooldown_seconds: Some(0.try_into().unwrap()),
        quarantine_seconds: Some(604_800.try_into().unwrap()),
        reserved: Some(portmaster_domain::Reserved::try_from(stretches.to_vec()).unwrap().into()),
        ..new
    };
    sent(
        &full,
        json!({
            "name": "django", "start": 5000, "end": 5009, "strategy": "hashed", "lease_seconds": 3600,
            "max_lease_seconds": 2592000, "cooldown_seconds": 0, "quarantine_seconds": 604800,
            "reserved": [5002, { "start": 5004, "end": 5005 }],
        }),
    );
    let patch = ServicePatch {
        name: None,
        description: Patch::Null,
        start: Patch::Absent,
        end: Patch::Value(port(5019)),
        strategy: Patch::Absent,
        lease_seconds: Patch::Null,
        max_lease_seconds: Patch::Absent,
        cooldown_seconds: Patch::Value(60.try_into().unwrap()),
        quarantine_seconds: Patch::Absent,
        reserved: Patch::Null,
    };
    let text = json!({
        "description": null, "end": 5019, "lease_seconds": null, "cooldown_seconds": 60, "reserved": null,
    });
    sent(&patch, text.clone());
    assert_eq!(serde_json::from_value::<ServicePatch>(text).unwrap(), patch);
    let plain = NewOffer { name: "web-01".try_into().unwrap(), port: None, owner: None, labels: None };
    sent(&plain, json!({ "name": "web-01" }));
}

#[test]
fn requests_for_ports() {
    let owner = || Some("gh/shop/17".try_into().unwrap());
    let labels = || Some(serde_json::from_value(json!({ "run": "17" })).unwrap());
    let hour = || Some(3600.try_into().unwrap());
    let port = portmaster_domain::Port::new(5003).unwrap();
    let offer = NewOffer { name: "web-01".try_into().unwrap(), port: Some(port), owner: owner(), labels: labels() };
    sent(&offer, json!({ "name": "web-01", "port": 5003, "owner": "gh/shop/17", "labels": { "run": "17" } }));
    sent(&Acceptance::default(), json!({}));
    sent(&Acceptance { lease_seconds: hour() }, json!({ "lease_seconds": 3600 }));
    sent(&Rejection::default(), json!({}));
    sent(&Rejection { reason: Some(Reason::Unwanted), quarantine_seconds: None }, json!({ "reason": "unwanted" }));
    let in_use = Rejection { reason: Some(Reason::InUse), quarantine_seconds: Some(600.try_into().unwrap()) };
    sent(&in_use, json!({ "reason": "in-use", "quarantine_seconds": 600 }));
    sent(&NewPort::default(), json!({}));
    let new = NewPort { owner: owner(), lease_seconds: hour(), port: Some(port), labels: labels() };
    let text = json!({ "owner": "gh/shop/17", "lease_seconds": 3600, "port": 5003, "labels": { "run": "17" } });
    sent(&new, text);
    sent(&Renewal::default(), json!({}));
    let renewal = Renewal { owner: owner(), lease_seconds: hour() };
    sent(&renewal, json!({ "owner": "gh/shop/17", "lease_seconds": 3600 }));
    let names = || ["web", "metrics"].map(|name| name.try_into().unwrap()).to_vec();
    let set =
        NewSet { names: names(), owner: owner(), lease_seconds: hour(), contiguous: Some(true), labels: labels() };
    let text = json!({
        "names": ["web", "metrics"], "owner": "gh/shop/17", "lease_seconds": 3600, "contiguous": true,
        "labels": { "run": "17" },
    });
    sent(&set, text);
    let release = Release {
        name_prefix: Some("web".to_owned().try_into().unwrap()),
        names: Some(names()),
        owner: owner(),
        labels: labels(),
        states: Some(vec![HeldState::Allocated, HeldState::Offered]),
        dry_run: Some(true),
        cursor: Some("abc".to_owned()),
    };
    let text = json!({
        "name_prefix": "web", "names": ["web", "metrics"], "owner": "gh/shop/17", "labels": { "run": "17" },
        "states": ["allocated", "offered"], "dry_run": true, "cursor": "abc",
    });
    sent(&release, text);
    sent(&Release { owner: owner(), ..Release::default() }, json!({ "owner": "gh/shop/17" }));
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
    let noted = json!({
        "service": "django", "name": "web-01", "port": 5000, "created": "2026-11-22T10:00:05.000Z",
        "expires_at": "2026-11-22T11:00:05Z", "owner": "gh/shop/17", "labels": { "run": "17" },
        "principal": "arn:aws:iam::123456789012:user/ci",
    });
    answered::<Port>(noted.clone());
    answered::<ListedOffer>(noted.clone());
    answered::<Set>(json!({ "ports": [noted] }));
    for state in ["allocated", "offered", "cooling", "quarantined"] {
        let mut found = noted.clone();
        found["state"] = state.into();
        answered::<FoundPort>(found.clone());
        answered::<Released>(json!({ "released": [found], "more": true, "cursor": "abc" }));
    }
    answered::<Released>(json!({ "released": [], "more": false }));
    let map = json!({
        "service": "django", "start": 5000, "end": 5002, "size": 3,
        "counts": { "free": 1, "offered": 1, "allocated": 0, "cooling": 0, "quarantined": 0, "reserved": 1 },
        "largest_free_run": 1, "next_expiry": "2026-11-22T10:30:00Z",
        "runs": [
            { "start": 5000, "end": 5000, "state": "offered" }, { "start": 5001, "end": 5001, "state": "free" },
            { "start": 5002, "end": 5002, "state": "reserved" },
        ],
    });
    answered::<Map>(map.clone());
    let mut coarse = map;
    coarse["block"] = 2.into();
    answered::<Map>(coarse);
    answered::<Service>(json!({
        "name": "django", "description": "", "start": 5000, "end": 5009, "strategy": "lowest", "lease_seconds": 3600,
        "max_lease_seconds": 86400, "cooldown_seconds": 60, "quarantine_seconds": 0,
        "reserved": [5002, { "start": 5004, "end": 5005 }], "created": "2026-11-22T10:00:00.123Z",
    }));
    answered::<Health>(json!({ "status": "ok" }));
}

#[test]
fn a_service_is_put_as_a_get_returned_it() {
    let id = portmaster_domain::ServiceId::from(portmaster_domain::ServiceName::try_from("django").unwrap());
    let range = |(start, end)| {
        let port = |number| portmaster_domain::Port::new(number).unwrap();
        portmaster_domain::PortRange::new(port(start), port(end)).unwrap()
    };
    let usual = portmaster_domain::Terms::default();
    let other = portmaster_domain::Terms { lease: Some(60), max_lease: Some(90), cooldown: 5, quarantine: 0 };
    for (terms, reserved) in [(usual, vec![]), (other, vec![range((5001, 5001)), range((5003, 5004))])] {
        let service = portmaster_domain::Service {
            id: id.clone(),
            description: Default::default(),
            range: range((5000, 5009)),
            strategy: Default::default(),
            terms,
            reserved: reserved.try_into().unwrap(),
            created: portmaster_domain::Timestamp::from_millis(0),
            version: portmaster_domain::Version::unique(),
            revision: portmaster_domain::Version::unique(),
            mark: None,
        };
        let got = serde_json::to_value(Service::from(&service)).unwrap();
        // Nothing that a client of before does not know, as long as nobody has set it.
        assert_eq!(got.as_object().unwrap().len() == 6, terms == usual, "{got}");
        let put: ServiceContent = parse(got.to_string().as_bytes()).unwrap();
        let new = put.named(id.name.clone());
        let seconds = |seconds: Option<u32>, default| seconds.unwrap_or(default);
        assert_eq!(new.lease_seconds.map(Seconds::get), terms.lease);
        assert_eq!(new.max_lease_seconds.map(Seconds::get), terms.max_lease);
        assert_eq!(seconds(new.cooldown_seconds.map(Seconds::get), usual.cooldown), terms.cooldown);
        assert_eq!(seconds(new.quarantine_seconds.map(Seconds::get), usual.quarantine), terms.quarantine);
        assert_eq!(portmaster_domain::Reserved::from(new.reserved.unwrap_or_default()), service.reserved);
    }
}

#[test]
fn a_claim_shows_what_its_holder_was_told() {
    use portmaster_domain::{Claim, ClaimState, Expiry, Lease, Timestamp};
    let at = |seconds| Expiry::after(Timestamp::from_millis(0), seconds);
    let claim = |state| Claim {
        service: "django".try_into().unwrap(),
        name: "web-01".try_into().unwrap(),
        port: portmaster_domain::Port::MIN,
        created: Timestamp::from_millis(0),
        state,
        owner: None,
        labels: Default::default(),
        principal: None,
        terms: Default::default(),
        confirmed: true,
        by_put: false,
    };
    let accepted = Timestamp::from_millis(1_000);
    let lease = Some(Lease { until: at(60), expires_at: at(70), seconds: 60 });
    let shown = |state| serde_json::to_value(FoundPort::from(&claim(state))).unwrap();
    assert_eq!(shown(ClaimState::Allocated { accepted, lease })["expires_at"], "1970-01-01T00:01:00Z");
    assert_eq!(shown(ClaimState::Offered { expires_at: at(50) })["expires_at"], "1970-01-01T00:00:50Z");
    let cooling = shown(ClaimState::Cooling { until: at(70), lease_until: Some(at(60)) });
    assert_eq!((&cooling["expires_at"], &cooling["state"]), (&json!("1970-01-01T00:01:10Z"), &json!("cooling")));
    assert_eq!(shown(ClaimState::Quarantined { until: at(80) })["expires_at"], "1970-01-01T00:01:20Z");
    // What a client of before knows, and nothing else.
    let plain = json!({
        "service": "django", "name": "web-01", "port": 1024, "created": "1970-01-01T00:00:01.000Z", "state": "allocated",
    });
    assert_eq!(shown(ClaimState::Allocated { accepted, lease: None }), plain);
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
