//! Each function serves its endpoint, and reports failures of its environment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portmaster_http::ENDPOINTS;
use portmaster_local::Embedded;
use serde_json::{Value, json};
use tokio::process::Command;

use portmaster_testkit::Function;

use crate::deployment::{Deployment, binary, event, start};

/// The whole tour, each call to the function that serves it, and a wrong call to each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_function_serves_its_endpoint() {
    let mut cloud = Deployment::new().await;
    let new = json!({ "name": "django", "start": 5000, "end": 5099 });
    assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(new.clone())).await.0, 201);
    let (status, problem) = cloud.call("create-service", "POST", "/v1/services", Some(new)).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/service-exists")));
    let (status, list) = cloud.call("list-services", "GET", "/v1/services?limit=5", None).await;
    assert_eq!((status, list.as_array().unwrap().len()), (200, 1));
    assert_eq!(cloud.call("list-services", "GET", "/v1/services?limit=0", None).await.0, 400);
    assert_eq!(cloud.call("get-service", "GET", "/v1/services/django", None).await.0, 200);
    assert_eq!(cloud.call("get-service", "GET", "/v1/services/nobody", None).await.0, 404);
    let put = json!({ "start": 5000, "end": 5199 });
    assert_eq!(cloud.call("put-service", "PUT", "/v1/services/django", Some(put)).await.0, 200);
    let patch = json!({ "description": "Django" });
    assert_eq!(
        cloud.call("patch-service", "PATCH", "/v1/services/django", Some(patch)).await.1["description"],
        "Django"
    );

    let path = "/v1/services/django/offers";
    let (status, offer) = cloud.call("create-offer", "POST", path, Some(json!({ "name": "web-01" }))).await;
    assert_eq!((status, &offer["port"]), (201, &json!(5000)));
    let (status, problem) = cloud.call("create-offer", "POST", path, Some(json!({ "nam": "web-01" }))).await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (400, 2));
    assert_eq!(cloud.call("list-offers", "GET", path, None).await.1.as_array().unwrap().len(), 1);
    let own = format!("{path}/{}", offer["secret"].as_str().unwrap());
    assert_eq!(cloud.call("get-offer", "GET", &own, None).await.1, offer);
    assert_eq!(cloud.call("accept-offer", "POST", &format!("{own}/accept"), None).await.0, 201);
    assert_eq!(cloud.call("accept-offer", "POST", &format!("{own}/accept"), None).await.0, 200);
    assert_eq!(cloud.call("reject-offer", "POST", &format!("{own}/reject"), None).await.0, 409);
    assert_eq!(cloud.call("reject-offer", "DELETE", &own, None).await.0, 409);

    assert_eq!(cloud.call("list-ports", "GET", "/v1/services/django/ports", None).await.1.as_array().unwrap().len(), 1);
    assert_eq!(cloud.call("get-port", "GET", "/v1/services/django/ports/web-01", None).await.1["port"], 5000);
    assert_eq!(cloud.call("find-port", "GET", "/v1/ports/5000", None).await.1["name"], "web-01");
    assert_eq!(cloud.call("delete-service", "DELETE", "/v1/services/django", None).await.0, 409);
    assert_eq!(cloud.call("release-port", "DELETE", "/v1/services/django/ports/5000", None).await, (204, Value::Null));
    assert_eq!(cloud.call("delete-service", "DELETE", "/v1/services/django", None).await.0, 204);

    // The table's stream, as Lambda hands it over: an offer that was accepted, and that TTL removed later.
    let image = |state: &str| {
        let expires_at = if state == "offered" { json!({ "N": "1795343400" }) } else { json!({ "N": "1795345200" }) };
        json!({
            "pk": { "S": "N#default#PORT" }, "sk": { "S": "05000" }, "service": { "S": "django" }, "confirmed": { "BOOL": true },
            "name": { "S": "web-01" }, "state": { "S": state }, "created": { "N": "1795341600000" },
            "accepted": { "N": "1795341660000" }, "lease_until": { "N": "1795345190" }, "expires_at": expires_at,
            "secret": { "S": "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f" },
        })
    };
    let record = |number: &str, old: Value, new: Value| {
        json!({
            "eventName": "MODIFY", "userIdentity": { "type": "Service", "principalId": "dynamodb.amazonaws.com" },
            "dynamodb": {
                "ApproximateCreationDateTime": 1_795_400_000, "SequenceNumber": number, "OldImage": old, "NewImage": new,
            },
        })
    };
    let (offered, allocated) = (image("offered"), image("allocated"));
    let stream = [
        record("8", Value::Null, offered.clone()),
        record("9", offered, allocated.clone()),
        record("10", allocated, Value::Null),
    ];
    let recorder = cloud.function("record-history").await;
    // In whatever order, and however often.
    for records in [&stream[..], &stream[..1], &stream[1..2]] {
        let answer = recorder.invoke(json!({ "Records": records })).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
    }
    let (status, history) = cloud.call("get-port-history", "GET", "/v1/ports/5000/history", None).await;
    let tenure = &history[0];
    assert_eq!((status, history.as_array().unwrap().len()), (200, 1), "{history}");
    let times =
        json!(["2026-11-22T10:00:00.000Z", "2026-11-22T10:01:00.000Z", "2026-11-22T10:59:50.000Z", "lease-lapsed"]);
    assert_eq!(json!([tenure["offered"], tenure["allocated"], tenure["ended"], tenure["end"]]), times);
    let at = "/v1/ports/5000/history?at=2026-11-22T10:30:00Z";
    assert_eq!(cloud.call("get-port-history", "GET", at, None).await.1, history);
    assert_eq!(cloud.call("get-port-history", "GET", &at.replace("10:30", "10:59:59"), None).await.0, 400);
    assert_eq!(cloud.call("get-port-history", "GET", &at.replace("10:30", "11:30"), None).await.1, json!([]));
    let by_name = "/v1/services/django/history?name=web-01";
    assert_eq!(cloud.call("get-service-history", "GET", by_name, None).await.1, history);

    assert_eq!(cloud.call("health", "GET", "/health", None).await, (200, json!({ "status": "ok" })));
    assert_eq!(cloud.call("pages", "GET", "/v1/openapi.json", None).await.1["openapi"], "3.1.0");
    let (status, words) = cloud.call("pages", "GET", "/problems/name-taken", None).await;
    assert!(status == 200 && words.as_str().unwrap().contains("Idempotency-Key"));

    // The reconciler answers any event of a schedule with its findings.
    let reconcile = cloud.function("reconcile").await;
    let findings = reconcile.invoke(json!({ "time": "2026-11-22T10:00:00Z" })).await;
    assert_eq!((&findings["finished"], &findings["rebuilt_ranges"]), (&json!(true), &json!(0)));
    assert_eq!(reconcile.invoke(json!({})).await["finished"], true);
}

/// The local server, the functions and the OpenAPI document have the same routes: each operation of the document is
/// answered by one function, and only by that one; `pages` refuses all other paths, and lists the methods that exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_and_the_document_have_the_same_routes() {
    let mut cloud = Deployment::new().await;
    let document: Value = serde_json::from_str(portmaster_http::document()).unwrap();
    let fill = |template: &str| {
        template
            .replace("{namespace}", "nowhere")
            .replace("{service}", "nobody")
            .replace("{secret}", "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f")
            .replace("{port_or_name}", "web-01")
            .replace("{port}", "5000")
            .replace("{kind}", "name-taken")
    };
    let mut operations = BTreeMap::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert((template.clone(), method.to_uppercase()), 0);
        }
    }
    // 25 of them stand below a namespace as well.
    assert_eq!(operations.len(), 32 + 25);
    for endpoint in ENDPOINTS {
        let (_, own) = (endpoint.routes)().split_for_parts();
        let own = serde_json::to_value(&own.paths).unwrap();
        for ((template, method), served) in &mut operations {
            let has = !own[template][method.to_lowercase()].is_null();
            *served += usize::from(has);
            // `pages` receives the requests that no other function has a route for.
            if endpoint.function == "pages" {
                continue;
            }
            let (_, answer) = cloud.call(endpoint.function, method, &fill(template), Some(json!({}))).await;
            let refused = ["/problems/not-found", "/problems/method-not-allowed"];
            let is_refused = refused.iter().any(|kind| answer["type"] == *kind);
            assert_eq!(is_refused, !has, "{} {method} {template}: {answer}", endpoint.function);
        }
    }
    assert!(operations.values().all(|served| *served == 1), "{operations:?}");

    let everything = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    for template in document["paths"].as_object().unwrap().keys() {
        let has: Vec<_> = everything
            .into_iter()
            .filter(|method| operations.contains_key(&(template.clone(), (*method).to_owned())))
            .collect();
        for method in everything.into_iter().filter(|method| !has.contains(method)) {
            let answer = cloud.answer("pages", method, &fill(template), None).await;
            assert_eq!(answer["statusCode"], 405, "{method} {template}");
            let allow = answer["headers"]["allow"].as_str().unwrap();
            assert!(has.iter().all(|method| allow.split(',').any(|allowed| allowed == *method)), "{allow} {has:?}");
        }
    }
    for unknown in ["/", "/v1", "/v1/services/", "/nothing"] {
        let (status, problem) = cloud.call("pages", "GET", unknown, None).await;
        assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")));
    }
}

/// A function whose settings are wrong reports that in one line and does not start.
#[tokio::test]
async fn wrong_settings_are_told_in_one_line() {
    for (variables, named) in [
        (vec![], "TABLE_NAME"),
        (vec![("TABLE_NAME", "a b")], "TABLE_NAME"),
        (vec![("TABLE_NAME", "portmaster"), ("OFFER_SECONDS", "soon")], "OFFER_SECONDS"),
        (vec![("TABLE_NAME", "portmaster"), ("LOG_LEVEL", "loud")], "LOG_LEVEL"),
    ] {
        for function in ["create-offer", "pages", "reconcile"] {
            let output = Command::new(binary(function)).env_clear().envs(variables.clone()).output().await.unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && text.lines().count() == 1 && text.contains(named),
                "{function}: {text}"
            );
        }
    }
}

/// A table that does not exist is answered with an error, and does not end the function.
#[tokio::test]
async fn a_missing_table_is_a_503() {
    let mut database = Embedded::start(None, None).unwrap();
    database.listen("127.0.0.1:0").unwrap();
    let function = start("create-offer", &database).await;
    let body = json!({ "name": "web-01" });
    let answer = function.invoke(event("POST", "/v1/services/django/offers", Some(&body))).await;
    assert_eq!(answer["statusCode"], 503);
    assert!(answer["body"].as_str().unwrap().contains("/problems/unavailable"));
}

/// A database that accepts requests and never answers is a 503, with `Retry-After`, before Lambda would kill the
/// function.
#[tokio::test]
async fn an_answer_comes_before_lambda_kills_the_function() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let function = Function::start(&binary("create-offer"), &url, &[]).await;
    // The first event waits for the initialisation, and therefore for the request that opens the connection.
    function.invoke_within(event("GET", "/", None), Duration::from_secs(9)).await;
    let (started, lambda) = (Instant::now(), Duration::from_secs(4));
    let request = event("POST", "/v1/services/django/offers", Some(&json!({ "name": "web-01" })));
    let answer = function.invoke_within(request, lambda).await;
    assert!(started.elapsed() < lambda, "{:?}", started.elapsed());
    assert_eq!(answer["statusCode"], 503);
    assert!(!answer["headers"]["retry-after"].is_null(), "{answer}");
    let line = function.log.next_request().await;
    assert_eq!(line["route"], "(none)");
    assert_eq!(function.log.next_request().await["outcome"], "unavailable");
}
