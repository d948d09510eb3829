//! Ports by PUT: owners, leases, cool-downs, quarantines, sets, and what an operator does with them, over HTTP.

use std::time::Duration;

use portmaster_domain::{Clock, Timestamp};
use portmaster_testkit::{Answer, Stage};
use reqwest::Method;
use serde_json::{Value, json};

const PORTS: &str = "/v1/services/django/ports";

/// A service with these fields beside its range.
async fn service(api: &Stage, (start, end): (u16, u16), more: Value) {
    let mut body = json!({ "start": start, "end": end });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.put("/v1/services/django", body).await.expect(201);
}

async fn put(api: &Stage, name: &str, body: Value) -> Answer {
    api.put(&format!("{PORTS}/{name}"), body).await
}

/// The seconds that a lease has left, as it was told.
fn seconds_left(answer: &Answer) -> i64 {
    let until = Timestamp::from_rfc3339(answer.body["expires_at"].as_str().unwrap()).unwrap();
    until.seconds() - Clock::System.now().seconds()
}

/// P22, P23: a retry gets the same port, and another owner hears who has it.
#[tokio::test]
async fn a_put_can_be_repeated() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    let asked = json!({ "owner": "gh/shop/1", "lease_seconds": 900, "labels": { "run": "17" } });
    let first = put(&api, "web-01", asked.clone()).await.expect(201);
    assert_eq!(first.header("location"), format!("{PORTS}/web-01"));
    assert_eq!((&first.body["owner"], &first.body["labels"]), (&json!("gh/shop/1"), &json!({ "run": "17" })));
    let again = put(&api, "web-01", asked).await.expect(200);
    assert_eq!((again.port(), &again.body["created"]), (first.port(), &first.body["created"]));

    let taken = put(&api, "web-01", json!({ "owner": "gh/shop/2" })).await.expect_problem(409, "name-taken");
    assert_eq!((&taken.body["owner"], &taken.body["port"]), (&json!("gh/shop/1"), &json!(first.port())));
    put(&api, "web-01", json!({})).await.expect_problem(409, "name-taken");
    // Nobody is told of an offer that somebody else asked for.
    let (_, secret) = api.offer("django", "offered").await;
    put(&api, "offered", json!({})).await.expect_problem(409, "name-taken");
    api.accept("django", &secret).await.expect(201);
    // Whoever names no owner is the same holder as whoever named none.
    put(&api, "offered", json!({})).await.expect(200);
}

/// P23: without a body, without a lease.
#[tokio::test]
async fn a_put_needs_no_body() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    let path = format!("{PORTS}/web-01");
    let made = api.send(Method::PUT, &path, None, &[]).await.expect(201);
    assert_eq!(made.body["expires_at"], Value::Null);
    api.send(Method::PUT, &path, None, &[]).await.expect(200);
    // A port without a lease keeps on having none.
    let kept = put(&api, "web-01", json!({ "lease_seconds": 60 })).await.expect(200);
    assert_eq!(kept.body["expires_at"], Value::Null);
    api.post(&format!("{path}/renew"), json!({ "lease_seconds": 60 })).await.expect(200);
}

/// P19, P20.
#[tokio::test]
async fn a_renewal_never_shortens() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({ "lease_seconds": 300, "max_lease_seconds": 600 })).await;
    let made = put(&api, "web-01", json!({ "owner": "a" })).await.expect(201);
    assert!((290..=301).contains(&seconds_left(&made)), "{made:?}");
    let renew = |by: &str, body: Value| {
        let path = format!("{PORTS}/{by}/renew");
        let api = &api;
        async move { api.post(&path, body).await }
    };
    let longer = renew("web-01", json!({ "owner": "a", "lease_seconds": 500 })).await.expect(200);
    assert!((490..=501).contains(&seconds_left(&longer)), "{longer:?}");
    let shorter = renew("5000", json!({ "owner": "a", "lease_seconds": 10 })).await.expect(200);
    assert_eq!(shorter.body["expires_at"], longer.body["expires_at"]);
    // Who asks for more than the service allows gets that much.
    let most = renew("5000", json!({ "owner": "a", "lease_seconds": 86_400 })).await.expect(200);
    assert!((590..=601).contains(&seconds_left(&most)), "{most:?}");
    renew("web-01", json!({})).await.expect_problem(409, "not-the-owner");
    renew("5000", json!({ "owner": "b", "lease_seconds": 60 })).await.expect_problem(409, "not-the-owner");
    renew("5001", json!({ "owner": "a" })).await.expect_problem(404, "port-not-found");
    renew("web-02", json!({ "owner": "a" })).await.expect_problem(404, "port-not-found");
}

/// P21, P25: a lease that is over is lost, and its owner gets the port back as a new tenure.
#[tokio::test]
async fn a_lease_that_is_over_is_lost() {
    let api = Stage::new().await;
    service(&api, (5000, 5001), json!({})).await;
    let asked = json!({ "owner": "a", "lease_seconds": 1 });
    let port = put(&api, "web-01", asked.clone()).await.expect(201).port();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    api.get(&format!("{PORTS}/web-01")).await.expect_problem(404, "port-not-found");
    let found = api.get(&format!("/v1/ports/{port}")).await.expect(200);
    assert_eq!(found.body["state"], "cooling");
    assert_eq!(api.get(PORTS).await.expect(200).body, json!([]));
    let taken = put(&api, "web-01", json!({ "owner": "b" })).await.expect_problem(409, "name-taken");
    assert!((1..=11).contains(&taken.header("retry-after").parse::<u32>().unwrap()), "{taken:?}");
    let renewal = json!({ "owner": "a", "lease_seconds": 60 });
    api.post(&format!("{PORTS}/{port}/renew"), renewal.clone()).await.expect_problem(410, "lease-expired");
    api.post(&format!("{PORTS}/web-01/renew"), renewal).await.expect_problem(404, "port-not-found");
    // Strangers wait, and the same owner does not.
    let other = put(&api, "web-02", json!({})).await.expect(201);
    assert_ne!(other.port(), port);
    let full = put(&api, "web-03", json!({})).await.expect_problem(409, "range-exhausted");
    assert_eq!((&full.body["cooling"], &full.body["allocated"]), (&json!(1), &json!(1)));
    assert_eq!(put(&api, "web-01", asked).await.expect(201).port(), port);
}

/// P24: a release in the name of a former holder frees nothing.
#[tokio::test]
async fn a_late_clean_up_frees_nobody_elses_port() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    let path = format!("{PORTS}/web-01");
    put(&api, "web-01", json!({ "owner": "run-1" })).await.expect(201);
    api.delete(&path).await.expect_problem(409, "not-the-owner");
    api.delete(&format!("{path}?owner=run-1")).await.expect(204);
    api.settle().await;
    let next = put(&api, "web-01", json!({ "owner": "run-2" })).await.expect(201);
    let refused = api.delete(&format!("{path}?owner=run-1")).await.expect_problem(409, "not-the-owner");
    assert_eq!((&refused.body["owner"], &refused.body["since"]), (&json!("run-2"), &next.body["created"]));
    api.delete(&format!("{PORTS}/5000?owner=run-1")).await.expect_problem(409, "not-the-owner");
    assert_eq!(api.get(&path).await.expect(200).body, next.body);
    api.delete(&format!("{PORTS}/5000?owner=*")).await.expect(204);
    // A port without an owner is released as it always was, and not by somebody who names one.
    api.settle().await;
    api.allocate("django", "web-02").await;
    api.delete(&format!("{PORTS}/web-02?owner=run-1")).await.expect_problem(409, "not-the-owner");
    api.delete(&format!("{PORTS}/web-02")).await.expect(204);
}

/// P26.
#[tokio::test]
async fn a_cool_down_keeps_strangers_out() {
    let api = Stage::new().await;
    service(&api, (5000, 5001), json!({ "cooldown_seconds": 600 })).await;
    for name in ["web-01", "web-02"] {
        put(&api, name, json!({})).await.expect(201);
        api.delete(&format!("{PORTS}/{name}")).await.expect(204);
    }
    api.settle().await;
    let found = api.get("/v1/ports/5000").await.expect(200);
    assert_eq!((&found.body["state"], &found.body["name"]), (&json!("cooling"), &json!("web-01")));
    let full = api.ask("django", "web-03").await.expect_problem(409, "range-exhausted");
    assert_eq!((&full.body["cooling"], &full.body["size"]), (&json!(2), &json!(2)));
    assert!((1..=601).contains(&full.header("retry-after").parse::<u32>().unwrap()), "{full:?}");
    // The same name comes back at once, although the range is full for everybody else.
    assert_eq!(put(&api, "web-02", json!({})).await.expect(201).port(), 5001);
    api.delete("/v1/services/django/quarantine/5001").await.expect_problem(404, "port-not-found");
    api.delete("/v1/services/django/quarantine/5000").await.expect(204);
    api.settle().await;
    assert_eq!(put(&api, "web-03", json!({})).await.expect(201).port(), 5000);
}

/// P27.
#[tokio::test]
async fn a_port_in_use_is_put_aside() {
    let api = Stage::new().await;
    service(&api, (5000, 5001), json!({})).await;
    let (port, secret) = api.offer("django", "web-01").await;
    let path = format!("/v1/services/django/offers/{secret}/reject");
    let faults = api.post(&path, json!({ "quarantine_seconds": 60 })).await.expect_problem(400, "invalid-request");
    assert_eq!(faults.faults(), ["#/quarantine_seconds"]);
    api.post(&path, json!({ "reason": "in-use" })).await.expect(204);
    api.post(&path, json!({ "reason": "in-use" })).await.expect_problem(404, "offer-not-found");
    api.settle().await;
    assert_eq!(api.get(&format!("/v1/ports/{port}")).await.expect(200).body["state"], "quarantined");
    let other = api.ask("django", "web-01").await.expect(201);
    assert_ne!(other.port(), port);
    let asked = json!({ "port": port });
    let taken = put(&api, "web-02", asked.clone()).await.expect_problem(409, "port-taken");
    assert_eq!(taken.body["state"], "quarantined");
    // A quarantine does not keep its service from being deleted.
    api.reject("django", &other.secret()).await.expect(204);
    api.delete("/v1/services/django").await.expect(204);
    service(&api, (5000, 5001), json!({})).await;
    put(&api, "web-02", asked.clone()).await.expect_problem(409, "port-taken");
    api.delete(&format!("/v1/services/django/quarantine/{port}")).await.expect(204);
    api.settle().await;
    put(&api, "web-02", asked).await.expect(201);
}

/// P28, P29.
#[tokio::test]
async fn a_certain_port_is_given_or_refused() {
    let api = Stage::new().await;
    let reserved = json!([5000, { "start": 5002, "end": 5003 }]);
    service(&api, (5000, 5004), json!({ "reserved": reserved })).await;
    assert_eq!(api.get("/v1/services/django").await.expect(200).body["reserved"], reserved);
    assert_eq!(put(&api, "a", json!({})).await.expect(201).port(), 5001);
    assert_eq!(put(&api, "b", json!({})).await.expect(201).port(), 5004);
    let full = put(&api, "c", json!({})).await.expect_problem(409, "range-exhausted");
    assert_eq!(full.body["reserved"], 3);
    assert_eq!(put(&api, "c", json!({ "port": 5002 })).await.expect(201).port(), 5002);
    assert_eq!(put(&api, "c", json!({ "port": 5002 })).await.expect(200).port(), 5002);
    put(&api, "c", json!({ "port": 5003 })).await.expect_problem(409, "name-taken");
    let taken = put(&api, "d", json!({ "port": 5002 })).await.expect_problem(409, "port-taken");
    assert_eq!((&taken.body["name"], &taken.body["state"]), (&json!("c"), &json!("allocated")));
    put(&api, "d", json!({ "port": 6000 })).await.expect_problem(409, "port-not-in-range");
    let offer = api.post("/v1/services/django/offers", json!({ "name": "d", "port": 5000 })).await.expect(201);
    assert_eq!(offer.port(), 5000);
}

/// P30.
#[tokio::test]
async fn a_set_is_all_or_none() {
    let api = Stage::new().await;
    service(&api, (5000, 5005), json!({})).await;
    let sets = "/v1/services/django/sets";
    let ports = |answer: &Answer| -> Vec<u64> {
        answer.body["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let asked = json!({ "names": ["http", "grpc", "admin"], "owner": "a", "lease_seconds": 900, "contiguous": true });
    let made = api.post(sets, asked.clone()).await.expect(201);
    assert_eq!(ports(&made), [5000, 5001, 5002]);
    let again = api.post(sets, asked).await.expect(200);
    assert_eq!(ports(&again), ports(&made));
    let other = json!({ "names": ["x", "grpc"], "owner": "b" });
    api.post(sets, other).await.expect_problem(409, "name-taken");
    api.get(&format!("{PORTS}/x")).await.expect_problem(404, "port-not-found");
    let too_many = json!({ "names": ["p", "q", "r", "s"], "owner": "b" });
    let full = api.post(sets, too_many).await.expect_problem(409, "range-exhausted");
    assert_eq!((&full.body["wanted"], &full.body["contiguous"]), (&json!(4), &json!(false)));
    assert_eq!(api.get(PORTS).await.expect(200).body.as_array().unwrap().len(), 3);
    // Each is a port like any other, and a set without a lease fills up what is left.
    api.delete(&format!("{PORTS}/grpc?owner=a")).await.expect(204);
    api.settle().await;
    let rest = api.post(sets, json!({ "names": ["p", "q", "r", "s"], "owner": "b" })).await.expect(201);
    let mut rest = ports(&rest);
    rest.sort_unstable();
    assert_eq!(rest, [5001, 5003, 5004, 5005]);
    for bad in [json!(["a"]), json!(["a", "a"]), json!([]), json!(["a", "1"]), json!(vec!["n"; 33]), json!("a")] {
        api.post(sets, json!({ "names": bad })).await.expect_problem(400, "invalid-request");
    }
}

/// P31, P32: what was noted comes back, is found by, and is released by.
#[tokio::test]
async fn labels_find_and_release() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    for (name, run, leg) in [("a-1", "1", "x"), ("a-2", "1", "y"), ("b-1", "2", "x")] {
        let asked = json!({ "owner": format!("run-{run}"), "labels": { "run": run, "leg": leg } });
        put(&api, name, asked).await.expect(201);
    }
    let names = |answer: Answer| -> Vec<String> {
        let items = answer.body.as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = async |query: &str| names(api.get(&format!("{PORTS}?{query}")).await.expect(200));
    assert_eq!(list("owner=run-1").await, ["a-1", "a-2"]);
    assert_eq!(list("name_prefix=a-").await, ["a-1", "a-2"]);
    assert_eq!(list("label=run:1&label=leg:y").await, ["a-2"]);
    assert_eq!(list("label=leg:x").await, ["a-1", "b-1"]);
    let (page, requests) = api.pages(&format!("{PORTS}?label=leg:x&limit=1")).await;
    assert_eq!(page.len(), 2);
    assert!(requests >= 2, "the filter stays in the link to the next page");
    for bad in ["label=run", "label=RUN:1", "owner=*", "nonsense=1"] {
        api.get(&format!("{PORTS}?{bad}")).await.expect_problem(400, "invalid-request");
    }

    let (_, secret) = api.offer("django", "c-1").await;
    let release = "/v1/services/django/release";
    let released =
        |answer: Answer| -> Vec<String> { names(Answer { body: answer.body["released"].clone(), ..answer }) };
    let dry = api.post(release, json!({ "labels": { "run": "1" }, "dry_run": true })).await.expect(200);
    assert_eq!(dry.body["more"], false);
    assert_eq!(released(dry), ["a-1", "a-2"]);
    assert_eq!(list("owner=run-1").await.len(), 2);
    assert_eq!(released(api.post(release, json!({ "labels": { "run": "1" } })).await.expect(200)), ["a-1", "a-2"]);
    assert_eq!(list("name_prefix=a").await, [""; 0]);
    assert_eq!(released(api.post(release, json!({ "name_prefix": "c" })).await.expect(200)), [""; 0]);
    let offered = json!({ "names": ["c-1"], "states": ["offered"] });
    assert_eq!(released(api.post(release, offered).await.expect(200)), ["c-1"]);
    api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    for bad in [json!({}), json!({ "states": ["allocated"] }), json!({ "owner": "a", "states": ["cooling"] })] {
        api.post(release, bad).await.expect_problem(400, "invalid-request");
    }
}

/// P33.
#[tokio::test]
async fn a_map_shows_every_port() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({ "cooldown_seconds": 60, "reserved": [5009] })).await;
    put(&api, "a", json!({})).await.expect(201);
    put(&api, "b", json!({})).await.expect(201);
    api.delete(&format!("{PORTS}/a")).await.expect(204);
    api.offer("django", "c").await;
    let map = api.get("/v1/services/django/map").await.expect(200).body;
    let counts = json!({ "free": 6, "offered": 1, "allocated": 1, "cooling": 1, "quarantined": 0, "reserved": 1 });
    assert_eq!((&map["size"], &map["counts"], &map["largest_free_run"]), (&json!(10), &counts, &json!(6)));
    let runs: Vec<_> = map["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(runs, ["cooling", "allocated", "offered", "free", "reserved"]);
    api.get("/v1/services/nobody/map").await.expect_problem(404, "service-not-found");
}

#[tokio::test]
async fn preconditions_are_kept() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    let path = format!("{PORTS}/web-01");
    let put = async |header: &str, value: &str| api.send(Method::PUT, &path, Some(json!({})), &[(header, value)]).await;
    put("if-match", "*").await.expect_problem(412, "precondition-failed");
    put("if-none-match", "*").await.expect(201);
    put("if-none-match", "*").await.expect_problem(412, "precondition-failed");
    put("if-match", "*").await.expect(200);
    for (header, value) in [("if-match", "\"a\""), ("if-none-match", "\"a\""), ("if-unmodified-since", "x")] {
        put(header, value).await.expect_problem(400, "invalid-request");
    }
}

/// P13: every field at its limit and beyond.
#[tokio::test]
async fn bad_input_is_named() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    let longest = "o".repeat(128);
    let labels: serde_json::Map<_, _> = (0..8).map(|n| (format!("k{n}"), json!("v".repeat(30)))).collect();
    put(&api, "web-01", json!({ "owner": longest, "labels": labels, "lease_seconds": 2_592_000 })).await.expect(201);
    let key = "k".repeat(33);
    for (field, bad) in [
        ("owner", json!("o".repeat(129))),
        ("owner", json!("")),
        ("owner", json!("*")),
        ("owner", json!("a\nb")),
        ("owner", json!("ü")),
        ("owner", json!(7)),
        ("lease_seconds", json!(0)),
        ("lease_seconds", json!(-1)),
        ("lease_seconds", json!(1.5)),
        ("lease_seconds", json!(2_592_001)),
        ("lease_seconds", json!(1e30)),
        ("lease_seconds", json!("60")),
        ("port", json!(80)),
        ("port", json!(49_152)),
        ("labels", json!({ key: "v" })),
        ("labels", json!({ "Upper": "v" })),
        ("labels", json!({ "k": "v".repeat(65) })),
        ("labels", json!({ "k": 1 })),
        ("labels", json!({ "k": "a\tb" })),
        ("labels", json!((0..9).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>())),
        ("labels", json!((0..8).map(|n| (format!("k{n}"), json!("v".repeat(31)))).collect::<serde_json::Map<_, _>>())),
        ("nonsense", json!(1)),
    ] {
        let answer = put(&api, "web-02", json!({ field: bad })).await.expect_problem(400, "invalid-request");
        let faults = answer.faults();
        assert!(faults.iter().all(|fault| fault.starts_with(&format!("#/{field}"))), "{field} {bad}: {faults:?}");
    }
    api.get(&format!("{PORTS}/web-02")).await.expect_problem(404, "port-not-found");
    for (field, bad) in [
        ("lease_seconds", json!(0)),
        ("max_lease_seconds", json!(2_592_001)),
        ("cooldown_seconds", json!(-1)),
        ("cooldown_seconds", json!(604_801)),
        ("quarantine_seconds", json!(1.5)),
        ("reserved", json!([80])),
        ("reserved", json!([{ "start": 5001, "end": 5000 }])),
        ("reserved", json!(vec![5000; 101])),
    ] {
        let answer = api.patch("/v1/services/django", json!({ field: bad })).await;
        let faults = answer.expect_problem(400, "invalid-request");
        let faults = faults.faults();
        assert!(faults.iter().all(|fault| fault.starts_with(&format!("#/{field}"))), "{field} {bad}: {faults:?}");
    }
    // A number in the path is a port, and no port has a name.
    api.put(&format!("{PORTS}/5000"), json!({})).await.expect_problem(405, "method-not-allowed");
    api.put("/v1/services/nobody/ports/web-01", json!({})).await.expect_problem(404, "service-not-found");
}

/// The other bodies are read as strictly.
#[tokio::test]
async fn bad_bodies_of_every_call_are_named() {
    let api = Stage::new().await;
    service(&api, (5000, 5009), json!({})).await;
    put(&api, "web-01", json!({ "owner": "job-1", "lease_seconds": 60 })).await.expect(201);
    let (_, secret) = api.offer("django", "web-02").await;
    let offer = format!("/v1/services/django/offers/{secret}");
    for (path, body, faults) in [
        (format!("{PORTS}/web-01/renew"), json!({ "owner": "job-1", "lease_seconds": 0 }), vec!["#/lease_seconds"]),
        (format!("{PORTS}/web-01/renew"), json!({ "owner": "*" }), vec!["#/owner"]),
        (format!("{PORTS}/web-01/renew"), json!({ "lease": 60 }), vec!["#/lease"]),
        (format!("{offer}/accept"), json!({ "lease_seconds": "60" }), vec!["#/lease_seconds"]),
        (format!("{offer}/accept"), json!({ "owner": "job-1" }), vec!["#/owner"]),
        (format!("{offer}/reject"), json!({ "reason": "in use" }), vec!["#/reason"]),
        (
            format!("{offer}/reject"),
            json!({ "reason": "in-use", "quarantine_seconds": 604_801 }),
            vec!["#/quarantine_seconds"],
        ),
        ("/v1/services/django/sets".to_owned(), json!({}), vec!["#/names"]),
        ("/v1/services/django/sets".to_owned(), json!({ "names": ["a"] }), vec!["#/names"]),
        ("/v1/services/django/sets".to_owned(), json!({ "names": ["a", "5000"] }), vec!["#/names/1"]),
        ("/v1/services/django/sets".to_owned(), json!({ "names": ["a", "b"], "contiguous": 1 }), vec!["#/contiguous"]),
        ("/v1/services/django/release".to_owned(), json!({ "names": ["a"], "cursor": "x" }), vec!["#/cursor"]),
        ("/v1/services/django/release".to_owned(), json!({ "names": ["a"], "dry_run": "yes" }), vec!["#/dry_run"]),
    ] {
        let answer = api.post(&path, body.clone()).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.faults(), faults, "{path} {body}");
    }
    // Nothing was changed.
    assert_eq!(api.get(&offer).await.expect(200).body["name"], "web-02");
    assert_eq!(api.get(PORTS).await.body.as_array().unwrap().len(), 1);
}

/// P32: a large release says that there is more, and goes on with the cursor to the end, each port once.
#[tokio::test]
async fn a_release_goes_on_to_the_end() {
    let api = Stage::new().await;
    service(&api, (5000, 5999), json!({})).await;
    for i in 0..14 {
        let names: Vec<_> = (0..32).map(|n| format!("job-{i}-{n}")).collect();
        let set = json!({ "names": names, "owner": "run-1", "lease_seconds": 600 });
        api.post("/v1/services/django/sets", set).await.expect(201);
    }
    let (mut released, mut cursor) = (Vec::new(), Value::Null);
    for calls in 1.. {
        let mut body = json!({ "owner": "run-1" });
        if cursor.is_string() {
            body["cursor"] = cursor.clone();
        }
        let answer = api.post("/v1/services/django/release", body).await.expect(200).body;
        let ports = answer["released"].as_array().unwrap();
        released.extend(ports.iter().map(|port| port["port"].as_u64().unwrap()));
        cursor = answer["cursor"].clone();
        assert_eq!(answer["more"].as_bool(), Some(cursor.is_string()));
        if cursor.is_null() {
            assert_eq!(calls, 3, "200 at a time");
            break;
        }
        // A cursor belongs to its service and to this call.
        let list = api.get(&format!("{PORTS}?cursor={}", cursor.as_str().unwrap())).await;
        list.expect_problem(400, "invalid-request");
    }
    released.sort_unstable();
    released.dedup();
    assert_eq!(released.len(), 14 * 32);
    assert_eq!(api.get(PORTS).await.body, json!([]));
}

/// A service that uses none of the new fields looks as it always did, and so do its offers and ports.
#[tokio::test]
async fn callers_of_before_see_what_they_know() {
    let api = Stage::new().await;
    let service = api.put("/v1/services/django", json!({ "start": 5000, "end": 5009 })).await.expect(201);
    let members = |body: &Value| -> Vec<String> {
        body.as_object().unwrap().keys().filter(|name| *name != "principal").cloned().collect()
    };
    assert_eq!(members(&service.body), ["created", "description", "end", "name", "start", "strategy"]);
    let offer = api.ask("django", "web-01").await.expect(201);
    assert_eq!(members(&offer.body), ["created", "expires_at", "name", "port", "secret", "service"]);
    api.get("/v1/ports/5000").await.expect_problem(404, "port-not-found");
    let accepted = api.accept("django", &offer.secret()).await.expect(201);
    assert_eq!(members(&accepted.body), ["created", "name", "port", "service"]);
    let found = api.get("/v1/ports/5000").await.expect(200);
    assert_eq!(members(&found.body), ["created", "name", "port", "service", "state"]);
    assert_eq!(found.body["state"], "allocated");
    // A PUT with the service as it was read changes nothing.
    api.put("/v1/services/django", service.body.clone()).await.expect(200);
    assert_eq!(api.get("/v1/services/django").await.expect(200).body, service.body);
}
