//! A function as a process, under a Lambda Runtime API of the test's own, over the embedded DynamoDB.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use portmaster_local::Embedded;
use portmaster_registry::{Call, Endpoint, Table, connect};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

pub const TABLE: &str = "portmaster";

/// Where cargo put a function's binary: beside the others.
pub fn binary(function: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_health")).with_file_name(function)
}

/// One function under a Runtime API (*AWS Lambda Developer Guide*, "Using the Lambda runtime API").
pub struct Function {
    _process: Child,
    events: mpsc::Sender<(Value, Duration)>,
    answers: Mutex<mpsc::Receiver<Value>>,
    /// What it wrote to its standard output: metrics.
    pub metrics: Lines,
    /// What it wrote to its standard error: its log.
    pub log: Lines,
}

/// Lines as they come, each a JSON object.
pub struct Lines(Mutex<mpsc::UnboundedReceiver<String>>);

impl Lines {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self(Mutex::new(receive))
    }

    /// The next line.
    pub async fn next(&self) -> Value {
        let mut lines = self.0.lock().await;
        let line = tokio::time::timeout(Duration::from_secs(30), lines.recv()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next line of the log that is about a request.
    pub async fn next_request(&self) -> Value {
        loop {
            let line = self.next().await;
            if line["target"] == "portmaster::request" {
                return line;
            }
        }
    }
}

#[derive(Clone)]
struct Runtime {
    events: Arc<Mutex<mpsc::Receiver<(Value, Duration)>>>,
    answers: mpsc::Sender<Value>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    let Some((event, time)) = runtime.events.lock().await.recv().await else { return std::future::pending().await };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
    let headers = [
        ("lambda-runtime-aws-request-id", INVOCATION.to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:f".to_owned()),
        ("lambda-runtime-trace-id", TRACE.to_owned()),
    ];
    (headers, event.to_string()).into_response()
}

/// Every invocation's id here, and its trace's.
pub const INVOCATION: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
pub const TRACE: &str = "Root=1-67402b40-0f2c4e6a8b0d1f2e3a4b5c6d;Parent=53995c3f42cd8ad8;Sampled=1";

async fn answer(State(runtime): State<Runtime>, Path((_, outcome)): Path<(String, String)>, body: Bytes) {
    assert_eq!(outcome, "response", "{}", String::from_utf8_lossy(&body));
    runtime.answers.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
}

impl Function {
    /// Starts it on a table in this database.
    pub async fn start(function: &str, database: &Embedded) -> Self {
        Self::start_at(function, database.url().unwrap()).await
    }

    /// Starts it on a table at this URL.
    pub async fn start_at(function: &str, database: &str) -> Self {
        Self::start_with(function, database, &[]).await
    }

    /// Starts it with more in its environment.
    pub async fn start_with(function: &str, database: &str, more: &[(&str, &str)]) -> Self {
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
        command.env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
            ("DYNAMODB_ENDPOINT", database),
            ("TABLE_NAME", TABLE),
            ("STACK_NAME", "test"),
        ] {
            command.env(name, value);
        }
        command.envs(more.iter().copied());
        let mut process = command.spawn().unwrap();
        let (metrics, log) = (Lines::of(process.stdout.take().unwrap()), Lines::of(process.stderr.take().unwrap()));
        Self { _process: process, events, answers: Mutex::new(answers), metrics, log }
    }

    /// Sends an event, as if there were 30 seconds for it.
    pub async fn invoke(&self, event: Value) -> Value {
        self.invoke_within(event, Duration::from_secs(30)).await
    }

    /// Sends an event that is to be answered within this time.
    pub async fn invoke_within(&self, event: Value, time: Duration) -> Value {
        self.events.send((event, time)).await.unwrap();
        let mut answers = self.answers.lock().await;
        tokio::time::timeout(Duration::from_secs(30), answers.recv()).await.expect("an answer in time").unwrap()
    }
}

/// The route that the API has for a path, and the values in it; `$default` if there is none.
fn route(method: &str, path: &str) -> (String, Value) {
    let document: Value = serde_json::from_str(portmaster_http::document()).unwrap();
    for (template, operations) in document["paths"].as_object().unwrap() {
        let pairs: Vec<_> = template.split('/').zip(path.split('/')).collect();
        let fits = |(expected, segment): &(&str, &str)| {
            if expected.starts_with('{') { !segment.is_empty() } else { expected == segment }
        };
        let as_long = template.split('/').count() == path.split('/').count();
        if as_long && pairs.iter().all(fits) && !operations[method.to_lowercase()].is_null() {
            let values = pairs.iter().filter(|(expected, _)| expected.starts_with('{'));
            let values = values.map(|(name, value)| (name.trim_matches(['{', '}']).to_owned(), json!(value)));
            return (format!("{method} {template}"), Value::Object(values.collect()));
        }
    }
    ("$default".to_owned(), Value::Null)
}

/// The event that an HTTP API makes of a request (payload format 2.0).
pub fn event(method: &str, path: &str, body: Option<&Value>) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (key, values) = route(method, path);
    let mut event = json!({
        "version": "2.0", "routeKey": key, "rawPath": path, "rawQueryString": query, "pathParameters": values,
        "headers": { "host": "abc.execute-api.eu-west-1.amazonaws.com" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc", "stage": "$default", "requestId": "r", "routeKey": key,
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

/// Functions, each started when it is first called, over one table.
pub struct Deployment {
    pub database: Embedded,
    functions: BTreeMap<String, Function>,
}

impl Deployment {
    pub async fn new() -> Self {
        let mut database = Embedded::start(None, None).unwrap();
        let url = database.listen("127.0.0.1:0").unwrap();
        let table = Table::new(connect(&Endpoint::Embedded(url)).await, TABLE);
        table.create(&Call::within(Duration::from_secs(10))).await.unwrap();
        Self { database, functions: BTreeMap::new() }
    }

    /// Calls a function; gives status and body.
    pub async fn call(&mut self, function: &str, method: &str, path: &str, body: Option<Value>) -> (u64, Value) {
        let answer = self.answer(function, method, path, body).await;
        let body = match answer["body"].as_str().unwrap_or_default() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    pub async fn answer(&mut self, function: &str, method: &str, path: &str, body: Option<Value>) -> Value {
        self.function(function).await.invoke(event(method, path, body.as_ref())).await
    }

    /// A function, started if it was not.
    pub async fn function(&mut self, function: &str) -> &Function {
        if !self.functions.contains_key(function) {
            self.functions.insert(function.to_owned(), Function::start(function, &self.database).await);
        }
        &self.functions[function]
    }
}
