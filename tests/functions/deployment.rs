//! The functions over one table, each started when it is first called, and the events that an HTTP API sends them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use portmaster_local::{Embedded, HISTORY_TABLE};
use portmaster_registry::{Call, Endpoint, History, Table, connect};
use portmaster_testkit::{Function, TABLE};
use serde_json::{Value, json};

/// Returns where cargo put a function's binary: beside the others.
pub fn binary(function: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_health")).with_file_name(function)
}

/// Starts a function on a table in this database, which listens on a socket.
pub async fn start(function: &str, database: &Embedded) -> Function {
    let settings =
        [("HISTORY_TABLE", HISTORY_TABLE), ("CUSTOM_RESOURCE_PORTS", "*/*"), ("CUSTOM_RESOURCE_SERVICES", "*/*")];
    Function::start(&binary(function), database.url().unwrap(), &settings).await
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(portmaster_http::document()).unwrap());

/// Returns the route that the API has for a path, and the values in it; `$default` if there is none.
fn route(method: &str, path: &str) -> (String, Value) {
    for (template, operations) in DOCUMENT["paths"].as_object().unwrap() {
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

/// Returns the event that an HTTP API makes of a request (payload format 2.0).
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
        let client = connect(&Endpoint::Embedded(url)).await;
        let call = Call::within(Duration::from_secs(10));
        Table::new(client.clone(), TABLE).create(&call).await.unwrap();
        History::new(Table::new(client, HISTORY_TABLE)).create(&call).await.unwrap();
        Self { database, functions: BTreeMap::new() }
    }

    /// Calls a function; returns status and body.
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

    /// Returns a function, started if it was not.
    pub async fn function(&mut self, function: &str) -> &Function {
        if !self.functions.contains_key(function) {
            self.functions.insert(function.to_owned(), start(function, &self.database).await);
        }
        &self.functions[function]
    }
}
