//! The functions as processes: each real binary under a Lambda Runtime API of the test's own, with events as an HTTP API
//! sends them (payload 2.0), over the embedded DynamoDB.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use portmaster::Embedded;
use portmaster_shared::http::ENDPOINTS;
use portmaster_shared::store::{Call, Endpoint, Table, connect};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

const TABLE: &str = "portmaster";

/// Where cargo put a function's binary: beside the others.
fn binary(function: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_health")).with_file_name(function)
}

/// One function under a Runtime API (*AWS Lambda Developer Guide*, "Using the Lambda runtime API").
struct Function {
    _process: Child,
    events: mpsc::Sender<Value>,
    answers: Mutex<mpsc::Receiver<Value>>,
}

#[derive(Clone)]
struct Runtime {
    events: Arc<Mutex<mpsc::Receiver<Value>>>,
    answers: mpsc::Sender<Value>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    let Some(event) = runtime.events.lock().await.recv().await else { return std::future::pending().await };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(30);
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:f".to_owned()),
    ];
    (headers, event.to_string()).into_response()
}

async fn answer(State(runtime): State<Runtime>, Path((_, outcome)): Path<(String, String)>, body: Bytes) {
    assert_eq!(outcome, "response", "{}", String::from_utf8_lossy(&body));
    runtime.answers.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
}

impl Function {
    async fn start(function: &str, database: &Embedded) -> Self {
        let (events, receive_events) = mpsc::channel(1);
        let (send_answers, answers) = mpsc::channel(1);
        let runtime = Runtime { events: Arc::new(Mutex::new(receive_events)), answers: send_answers };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(answer))
            .with_state(runtime);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let mut command = Command::new(binary(function));
        command.env_clear().kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", function),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL_DYNAMODB", database.url()),
            ("TABLE_NAME", TABLE),
        ] {
            command.env(name, value);
        }
        Self { _process: command.spawn().unwrap(), events, answers: Mutex::new(answers) }
    }

    async fn invoke(&self, event: Value) -> Value {
        self.events.send(event).await.unwrap();
        let mut answers = self.answers.lock().await;
        tokio::time::timeout(Duration::from_secs(30), answers.recv()).await.expect("an answer in time").unwrap()
    }
}

/// The event that an HTTP API makes of a request (payload format 2.0).
fn event(method: &str, path: &str, body: Option<&Value>) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "headers": { "host": "abc.execute-api.eu-west-1.amazonaws.com" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc", "stage": "$default", "requestId": "r", "routeKey": "$default",
            "domainName": "abc.execute-api.eu-west-1.amazonaws.com", "domainPrefix": "abc",
            "time": "22/Nov/2026:10:00:00 +0000", "timeEpoch": 1_795_341_600_000_u64,
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t" }
        },
        "isBase64Encoded": false
    });
    if let Some(body) = body {
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(body.to_string());
    }
    event
}

struct Deployment {
    database: Embedded,
    functions: BTreeMap<&'static str, Function>,
}

impl Deployment {
    async fn new() -> Self {
        let database = Embedded::start(None, None).unwrap();
        let table = Table::new(connect(&Endpoint::Embedded(database.url().to_owned())).await, TABLE);
        table.create(&Call::within(Duration::from_secs(10))).await.unwrap();
        Self { database, functions: BTreeMap::new() }
    }

    /// Calls a function; gives status and body.
    async fn call(&mut self, function: &'static str, method: &str, path: &str, body: Option<Value>) -> (u64, Value) {
        let answer = self.answer(function, method, path, body).await;
        let body = match answer["body"].as_str().unwrap_or_default() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    async fn answer(&mut self, function: &'static str, method: &str, path: &str, body: Option<Value>) -> Value {
        if !self.functions.contains_key(function) {
            self.functions.insert(function, Function::start(function, &self.database).await);
        }
        self.functions[function].invoke(event(method, path, body.as_ref())).await
    }
}

/// The whole tour, each call to the function that has it, and a wrong one to each.
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

    assert_eq!(cloud.call("health", "GET", "/health", None).await, (200, json!({ "status": "ok" })));
    assert_eq!(cloud.call("pages", "GET", "/v1/openapi.json", None).await.1["openapi"], "3.1.0");
    let (status, words) = cloud.call("pages", "GET", "/problems/name-taken", None).await;
    assert!(status == 200 && words.as_str().unwrap().contains("Idempotency-Key"));

    // The reconciler answers a schedule's event, whatever is in it, with what it found.
    let reconcile = Function::start("reconcile", &cloud.database).await;
    let findings = reconcile.invoke(json!({ "time": "2026-11-22T10:00:00Z" })).await;
    assert_eq!((&findings["finished"], &findings["rebuilt_ranges"]), (&json!(true), &json!(0)));
    assert_eq!(reconcile.invoke(json!({})).await["finished"], true);
}

/// The local server, the functions and the OpenAPI document have the same routes: each operation of the document is
/// answered by one function, and only by that one; what no function has, `pages` refuses, with the methods there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_and_the_document_have_the_same_routes() {
    let mut cloud = Deployment::new().await;
    let document: Value = serde_json::from_str(portmaster_shared::http::document()).unwrap();
    let fill = |template: &str| {
        template
            .replace("{service}", "nobody")
            .replace("{secret}", "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f")
            .replace("{port_or_name}", "5000")
            .replace("{port}", "5000")
            .replace("{kind}", "name-taken")
    };
    let mut operations = BTreeMap::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert((template.clone(), method.to_uppercase()), 0);
        }
    }
    assert_eq!(operations.len(), 19);
    for endpoint in ENDPOINTS {
        let (_, own) = (endpoint.routes)().split_for_parts();
        let own = serde_json::to_value(&own.paths).unwrap();
        for ((template, method), served) in &mut operations {
            let has = !own[template][method.to_lowercase()].is_null();
            *served += usize::from(has);
            // `pages` is where the others' requests go that they do not have.
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

/// A function whose settings are wrong says so in one line and does not start.
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

/// A table that is not there is an answer, and not the end of the function.
#[tokio::test]
async fn a_missing_table_is_a_503() {
    let database = Embedded::start(None, None).unwrap();
    let function = Function::start("create-offer", &database).await;
    let body = json!({ "name": "web-01" });
    let answer = function.invoke(event("POST", "/v1/services/django/offers", Some(&body))).await;
    assert_eq!(answer["statusCode"], 503);
    assert!(answer["body"].as_str().unwrap().contains("/problems/unavailable"));
}
