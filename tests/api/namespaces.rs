//! Namespaces: port spaces of their own, each below a path of its own (promise P34).

use serde_json::{Value, json};

use axum::http::Method;
use portmaster_testkit::Stage;

#[tokio::test]
async fn a_namespace_is_created_described_and_deleted() {
    let api = Stage::new().await;
    assert_eq!(api.get("/v1/namespaces").await.expect(200).body, json!([{ "name": "default", "description": "" }]));
    let created = api.put("/v1/namespaces/team-a", json!({ "description": "Hosts of team A" })).await.expect(201);
    assert_eq!(created.header("location"), "/v1/namespaces/team-a");
    assert_eq!((&created.body["name"], &created.body["description"]), (&json!("team-a"), &json!("Hosts of team A")));
    assert!(created.body["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(api.get("/v1/namespaces/team-a").await.expect(200).body, created.body);
    // A retry changes nothing, and what is not given is the default.
    let again = api.put("/v1/namespaces/team-a", json!({ "description": "Hosts of team A" })).await.expect(200);
    assert_eq!(again.body, created.body);
    let described = api.send(Method::PUT, "/v1/namespaces/team-a", None, &[]).await.expect(200);
    assert_eq!((&described.body["description"], &described.body["created"]), (&json!(""), &created.body["created"]));

    api.delete("/v1/namespaces/team-a").await.expect(204);
    for absent in [api.get("/v1/namespaces/team-a").await, api.delete("/v1/namespaces/team-a").await] {
        let absent = absent.expect_problem(404, "namespace-not-found");
        assert!(absent.body["detail"].as_str().unwrap().contains("PUT /v1/namespaces/team-a"), "{absent:?}");
    }

    // `default` has always existed.
    api.put("/v1/namespaces/default", json!({ "description": "Ours" })).await.expect(200);
    assert_eq!(api.get("/v1/namespaces/default").await.expect(200).body["description"], "Ours");
    let refused = api.delete("/v1/namespaces/default").await.expect_problem(409, "namespace-in-use");
    assert!(refused.body["detail"].as_str().unwrap().contains("always exists"), "{refused:?}");
}

#[tokio::test]
async fn a_namespace_with_services_stays() {
    let api = Stage::new().await;
    api.put("/v1/namespaces/team-a", json!({})).await.expect(201);
    for i in 0..12 {
        let (start, end) = (5000 + 10 * i, 5009 + 10 * i);
        let service = json!({ "name": format!("web-{i:02}"), "start": start, "end": end });
        api.post("/v1/namespaces/team-a/services", service).await.expect(201);
    }
    let refused = api.delete("/v1/namespaces/team-a").await.expect_problem(409, "namespace-in-use");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("web-00, web-01") && detail.contains("and others"), "{detail}");
    assert!(detail.contains("DELETE /v1/namespaces/team-a/services/web-00"), "{detail}");
    assert_eq!((refused.body["services"].as_array().unwrap().len(), &refused.body["more"]), (10, &json!(true)));
    for i in 0..12 {
        api.delete(&format!("/v1/namespaces/team-a/services/web-{i:02}")).await.expect(204);
    }
    api.delete("/v1/namespaces/team-a").await.expect(204);
    // One of the same name begins anew.
    api.put("/v1/namespaces/team-a", json!({})).await.expect(201);
    assert_eq!(api.get("/v1/namespaces/team-a/services").await.expect(200).body, json!([]));
}

#[tokio::test]
async fn bad_namespaces_are_refused() {
    let api = Stage::new().await;
    for bad in ["-a", "a-", "~", &"x".repeat(65)] {
        let refused = api.put(&format!("/v1/namespaces/{bad}"), json!({})).await;
        assert_eq!(refused.expect_problem(400, "invalid-request").faults(), ["namespace"], "{bad}");
        api.get(&format!("/v1/namespaces/{bad}")).await.expect_problem(404, "namespace-not-found");
        api.get(&format!("/v1/namespaces/{bad}/services")).await.expect_problem(404, "namespace-not-found");
    }
    let refused = api.put("/v1/namespaces/team-a", json!({ "descripton": "x" })).await;
    assert_eq!(refused.expect_problem(400, "invalid-request").faults(), ["#/descripton"]);
    let refused = api.send(Method::PUT, "/v1/namespaces/team-a", None, &[("if-none-match", "*")]).await;
    refused.expect_problem(400, "invalid-request");
    api.get("/v1/namespaces/team-a").await.expect_problem(404, "namespace-not-found");
    api.post("/v1/namespaces", json!({ "name": "team-a" })).await.expect_problem(405, "method-not-allowed");
    api.get("/v1/namespaces?prefix=t").await.expect_problem(400, "invalid-request");
}

/// The namespace `default` has its place in every page, with or without an item of its own.
#[tokio::test]
async fn every_namespace_is_listed_once() {
    for described in [false, true] {
        let api = Stage::new().await;
        let mut names: Vec<_> = ["Team", "a", "b", "default", "e", "z"].map(str::to_owned).into();
        for name in &names {
            if name != "default" || described {
                api.put(&format!("/v1/namespaces/{name}"), json!({})).await;
            }
        }
        names.sort();
        for limit in 1..=7 {
            let (listed, _) = api.pages(&format!("/v1/namespaces?limit={limit}")).await;
            let listed: Vec<_> = listed.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
            assert_eq!(listed, names, "{limit}, {described}");
        }
    }
}

/// Every call for a service below a namespace that does not exist says so, and creates nothing.
#[tokio::test]
async fn nothing_is_in_a_namespace_that_does_not_exist() {
    let api = Stage::new().await;
    let base = "/v1/namespaces/nowhere";
    let range = || json!({ "name": "web", "start": 5000, "end": 5009 });
    let set = json!({ "names": ["a", "b"] });
    for (method, path, body) in [
        (Method::POST, "/services", Some(range())),
        (Method::GET, "/services", None),
        (Method::PUT, "/services/web", Some(range())),
        (Method::GET, "/services/web", None),
        (Method::PATCH, "/services/web", Some(json!({ "description": "x" }))),
        (Method::DELETE, "/services/web", None),
        (Method::POST, "/services/web/offers", Some(json!({ "name": "a" }))),
        (Method::GET, "/services/web/offers", None),
        (Method::GET, "/services/web/ports", None),
        (Method::PUT, "/services/web/ports/a", Some(json!({}))),
        (Method::POST, "/services/web/sets", Some(set)),
        (Method::POST, "/services/web/release", Some(json!({ "name_prefix": "a" }))),
        (Method::POST, "/services/web/import", Some(json!({ "ports": [{ "name": "a", "port": 5000 }] }))),
        (Method::GET, "/services/web/map", None),
        (Method::DELETE, "/services/web/quarantine/5000", None),
        (Method::GET, "/ports/5000", None),
    ] {
        let answer = api.send(method.clone(), &format!("{base}{path}"), body, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.kind()), (404, "namespace-not-found"), "{method} {path}");
    }
    api.put(base, json!({})).await.expect(201);
    assert_eq!(api.get(&format!("{base}/services")).await.expect(200).body, json!([]));
    api.get(&format!("{base}/services/web")).await.expect_problem(404, "service-not-found");
    api.get(&format!("{base}/ports/5000")).await.expect_problem(404, "port-not-found");
}

/// Plays the whole API below this path, and returns what it answered, without ids, secrets and times.
async fn tour(api: &Stage, base: &str) -> Vec<(u16, Value)> {
    let mut answers = Vec::new();
    let own = format!("{base}/services/web");
    let mut play = async |method: Method, path: &str, body: Option<Value>| {
        let answer = api.send(method, path, body, &[]).await;
        for header in ["location", "link"] {
            let value = answer.header(header);
            assert!(value.is_empty() || value.trim_start_matches('<').starts_with(base), "{header}: {value}");
        }
        let mut body = answer.body.clone();
        if let Some(members) = body.as_object_mut() {
            for volatile in ["created", "expires_at", "secret", "instance", "until", "since", "next_expiry"] {
                members.remove(volatile);
            }
        }
        let text = body.to_string();
        if base != "/v1" {
            assert!(!text.contains("/v1/services") && !text.contains("/v1/ports"), "{text}");
        }
        // Whatever it says of times and of its own path.
        let plain =
            regex::Regex::new(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d+ seconds?").unwrap().replace_all(&text, "T").into_owned();
        let plain = plain.replace(base, "").replace("team-a/web", "web").replace("team-b/web", "web");
        let is_a_list = answer.body.is_array();
        answers.push((
            answer.status.as_u16(),
            if is_a_list { json!(answer.body.as_array().unwrap().len()) } else { json!(plain) },
        ));
        answer.body
    };
    let service = json!({ "name": "web", "start": 5000, "end": 5009, "cooldown_seconds": 60, "reserved": [5009] });
    play(Method::POST, &format!("{base}/services"), Some(service.clone())).await;
    play(Method::POST, &format!("{base}/services"), Some(service)).await;
    play(Method::GET, &format!("{base}/services?limit=1"), None).await;
    play(Method::PATCH, &own, Some(json!({ "description": "x" }))).await;
    let same = json!({ "start": 5000, "end": 5009, "cooldown_seconds": 60, "reserved": [5009] });
    play(Method::PUT, &own, Some(same)).await;
    let imports = json!({ "ports": [{ "name": "old", "port": 5009 }, { "name": "older", "port": 80 + 5000 }] });
    play(Method::POST, &format!("{own}/import"), Some(imports)).await;
    let offer = play(Method::POST, &format!("{own}/offers"), Some(json!({ "name": "unwanted" }))).await;
    let secret = offer["secret"].as_str().unwrap_or_default().to_owned();
    play(Method::DELETE, &format!("{own}/offers/{secret}"), None).await;
    play(
        Method::PUT,
        &format!("{own}/ports/api"),
        Some(json!({ "owner": "job-1", "lease_seconds": 600, "port": 5000 })),
    )
    .await;
    play(Method::PUT, &format!("{own}/ports/api"), Some(json!({ "owner": "job-2" }))).await;
    play(Method::PUT, &format!("{own}/ports/other"), Some(json!({ "port": 5000 }))).await;
    play(Method::POST, &format!("{own}/ports/api/renew"), Some(json!({ "owner": "job-1", "lease_seconds": 900 })))
        .await;
    play(Method::POST, &format!("{own}/sets"), Some(json!({ "names": ["a", "b"], "contiguous": true }))).await;
    let offer = play(Method::POST, &format!("{own}/offers"), Some(json!({ "name": "held" }))).await;
    let secret = offer["secret"].as_str().unwrap_or_default().to_owned();
    play(Method::GET, &format!("{own}/offers/{secret}"), None).await;
    play(Method::POST, &format!("{own}/offers/{secret}/accept"), None).await;
    play(Method::POST, &format!("{own}/offers/{secret}/reject"), None).await;
    let offer = play(Method::POST, &format!("{own}/offers"), Some(json!({ "name": "in-use" }))).await;
    let secret = offer["secret"].as_str().unwrap_or_default().to_owned();
    play(Method::POST, &format!("{own}/offers/{secret}/reject"), Some(json!({ "reason": "in-use" }))).await;
    play(Method::GET, &format!("{own}/ports?limit=2"), None).await;
    play(Method::GET, &format!("{own}/offers"), None).await;
    play(Method::GET, &format!("{own}/ports/held"), None).await;
    play(Method::GET, &format!("{base}/ports/5000"), None).await;
    play(Method::GET, &format!("{base}/ports/5009"), None).await;
    play(Method::GET, &format!("{own}/map"), None).await;
    play(Method::DELETE, &format!("{own}/quarantine/{}", offer["port"]), None).await;
    play(Method::DELETE, &format!("{own}/ports/held"), None).await;
    play(Method::DELETE, &format!("{own}/ports/5000"), None).await;
    play(Method::DELETE, &own, None).await;
    play(Method::POST, &format!("{own}/release"), Some(json!({ "name_prefix": "a", "dry_run": true }))).await;
    play(Method::POST, &format!("{own}/release"), Some(json!({ "names": ["a", "b", "api", "old"] }))).await;
    play(Method::GET, &format!("{own}/map"), None).await;
    play(Method::DELETE, &own, None).await;
    play(Method::GET, &own, None).await;
    answers
}

/// P34: each namespace has its own ports, and the same calls have the same answers in each, below the path that was
/// used: by the short paths, by the long ones of `default`, and elsewhere.
#[tokio::test]
async fn the_whole_api_stands_below_every_namespace() {
    let api = Stage::new().await;
    let expected = tour(&api, "/v1").await;
    assert!(expected.iter().any(|(status, _)| *status == 201) && expected.iter().any(|(status, _)| *status == 409));
    for namespace in ["team-a", "default"] {
        let (api, base) = (Stage::new().await, format!("/v1/namespaces/{namespace}"));
        api.put(&base, json!({})).await;
        let answers = tour(&api, &base).await;
        assert_eq!(answers.len(), expected.len());
        for (answer, expected) in answers.iter().zip(&expected) {
            // The functions of a deployment have a memory each, and do not always choose the same free port.
            if api.is_deployed() {
                assert_eq!(answer.0, expected.0, "{namespace}: {answer:?}, {expected:?}");
            } else {
                assert_eq!(answer, expected, "{namespace}");
            }
        }
    }
}

/// P34: a secret, a name or a number of one namespace means nothing in another.
#[tokio::test]
async fn nothing_of_one_namespace_is_seen_in_another() {
    let api = Stage::new().await;
    let bases = ["/v1", "/v1/namespaces/team-a", "/v1/namespaces/team-b"];
    for base in &bases[1..] {
        api.put(base, json!({})).await.expect(201);
    }
    let mut secrets = Vec::new();
    for base in bases {
        api.post(&format!("{base}/services"), json!({ "name": "web", "start": 5000, "end": 5001 })).await.expect(201);
        let offer = api.post(&format!("{base}/services/web/offers"), json!({ "name": "api" })).await.expect(201);
        assert_eq!(offer.port(), 5000, "{base}");
        secrets.push(offer.secret());
    }
    for (i, base) in bases.iter().enumerate() {
        for (j, secret) in secrets.iter().enumerate().filter(|(j, _)| *j != i) {
            let path = format!("{base}/services/web/offers/{secret}");
            for (method, path) in [
                (Method::GET, path.clone()),
                (Method::POST, format!("{path}/accept")),
                (Method::POST, format!("{path}/reject")),
                (Method::DELETE, path.clone()),
            ] {
                let refused = api.send(method.clone(), &path, None, &[]).await;
                refused.expect_problem(404, "offer-not-found");
            }
            assert_ne!(i, j);
        }
        let listed = api.get(&format!("{base}/services/web/offers")).await.expect(200);
        assert_eq!(listed.body.as_array().unwrap().len(), 1, "{base}");
    }
    api.post(&format!("{}/services/web/offers/{}/accept", bases[1], secrets[1]), json!({})).await.expect(201);
    for base in [bases[0], bases[2]] {
        let offered = api.get(&format!("{base}/ports/5000")).await.expect_problem(404, "port-not-found");
        assert_eq!(offered.body["state"], "offered");
    }
    assert_eq!(api.get(&format!("{}/ports/5000", bases[1])).await.expect(200).body["name"], "api");
    // A cursor counts for the list that it came from.
    for i in 0..2 {
        let service = json!({ "name": format!("s{i}"), "start": 6000 + 2 * i, "end": 6001 + 2 * i });
        api.post(&format!("{}/services", bases[1]), service).await.expect(201);
    }
    let page = api.get(&format!("{}/services?limit=1", bases[1])).await.expect(200);
    let elsewhere = page.next().unwrap().replace("team-a", "team-b");
    api.get(&elsewhere).await.expect_problem(400, "invalid-request");
}
