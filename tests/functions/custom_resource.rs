//! The function `custom-resource` as a process, with the events of CloudFormation and of Terraform: what stacks do, what may
//! go wrong on the way, and what must not.

mod answers;
mod forsaken;
mod killed;
mod page;
mod services;
mod settings;
mod stacks;
mod terraform;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{post, put};
use portmaster_testkit::Function;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::deployment::{Deployment, binary};

/// The signature in every URL for answers here. It must be in no log.
const SIGNATURE: &str = "X-Amz-Signature=5c3f0a9e7d1b4c2f8e6a";

/// What the place for answers does with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mailman {
    Takes,
    /// Says no so many times, with this status, before it takes one.
    Says(u16, usize),
    /// Never answers.
    Hangs,
}

/// An answer as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
struct Mailbox {
    stack: Arc<Mutex<Asked>>,
    mailman: Arc<Mutex<Mailman>>,
    send: mpsc::UnboundedSender<Arrived>,
}

async fn receive(State(mailbox): State<Mailbox>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let arrived = Arrived { path: uri.to_string(), headers, body };
    let mut mailman = mailbox.mailman.lock().await;
    match *mailman {
        Mailman::Takes | Mailman::Says(_, 0) => {
            mailbox.send.send(arrived).unwrap();
            StatusCode::OK.into_response()
        }
        Mailman::Says(status, times) => {
            *mailman = Mailman::Says(status, times - 1);
            StatusCode::from_u16(status).unwrap().into_response()
        }
        Mailman::Hangs => {
            drop(mailman);
            mailbox.send.send(arrived).unwrap();
            std::future::pending().await
        }
    }
}

/// What CloudFormation says when it is asked for a resource of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// It has this physical id.
    Is(String),
    /// There is no such stack.
    Gone,
    /// The role may not ask.
    Denied,
    /// It does not answer.
    Silent,
}

/// `DescribeStackResource` (*AWS CloudFormation API Reference*).
async fn describe(State(mailbox): State<Mailbox>, headers: HeaderMap, form: String) -> Response {
    assert!(headers["authorization"].to_str().unwrap().contains("/eu-west-1/cloudformation/aws4_request"));
    for part in ["Action=DescribeStackResource", "Version=2010-05-15", "LogicalResourceId=", "shop%2F51af3dc0"] {
        assert!(form.contains(part), "{form}");
    }
    let asked = mailbox.stack.lock().await.clone();
    match asked {
        Asked::Is(id) => format!(
            "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail><PhysicalResourceId>{}\
             </PhysicalResourceId></StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>",
            id.replace('&', "&amp;")
        )
        .into_response(),
        Asked::Gone => {
            let error = "<Error><Code>ValidationError</Code><Message>Stack 'x' does not exist</Message></Error>";
            (StatusCode::BAD_REQUEST, error).into_response()
        }
        Asked::Denied => StatusCode::FORBIDDEN.into_response(),
        Asked::Silent => std::future::pending().await,
    }
}

/// A stand-in for S3: the place where CloudFormation waits for answers.
struct S3 {
    url: String,
    mailman: Arc<Mutex<Mailman>>,
    /// What CloudFormation, which stands at the same address, says of a stack.
    stack: Arc<Mutex<Asked>>,
    answers: Mutex<mpsc::UnboundedReceiver<Arrived>>,
}

impl S3 {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (send, answers) = mpsc::unbounded_channel();
        let mailman = Arc::new(Mutex::new(Mailman::Takes));
        let stack = Arc::new(Mutex::new(Asked::Denied));
        let mailbox = Mailbox { stack: stack.clone(), mailman: mailman.clone(), send };
        let router = Router::new().route("/{*key}", put(receive)).route("/", post(describe)).with_state(mailbox);
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, mailman, stack, answers: Mutex::new(answers) }
    }

    async fn will(&self, mailman: Mailman) {
        *self.mailman.lock().await = mailman;
    }

    async fn says(&self, asked: Asked) {
        *self.stack.lock().await = asked;
    }

    async fn next(&self) -> Arrived {
        let mut answers = self.answers.lock().await;
        tokio::time::timeout(Duration::from_secs(30), answers.recv()).await.expect("an answer in time").unwrap()
    }

    /// Whether nothing has arrived that was not looked at.
    async fn is_empty(&self) -> bool {
        self.answers.lock().await.try_recv().is_err()
    }
}

/// A registry, its function for stacks, and the place for its answers.
struct Cloud {
    deployment: Deployment,
    s3: S3,
    function: Function,
}

/// What the function is allowed here.
const ALLOWED: [(&str, &str); 2] = [
    ("CUSTOM_RESOURCE_PORTS", "default/web,default/db,team-a/*"),
    ("CUSTOM_RESOURCE_SERVICES", "default/previews,default/others,default/shop-Range"),
];

impl Cloud {
    /// One with the service `web`, ports 5000 to 5009.
    async fn new() -> Self {
        let mut deployment = Deployment::new().await;
        let service = json!({ "name": "web", "start": 5000, "end": 5009 });
        assert_eq!(deployment.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
        let s3 = S3::start().await;
        let function = start(&s3, deployment.database.url().unwrap(), &ALLOWED).await;
        Self { deployment, s3, function }
    }

    /// A process more, which may be killed, or which reaches the table by another way.
    async fn another(&self, database: &str) -> Function {
        start(&self.s3, database, &ALLOWED).await
    }

    /// Sends an event, and returns what CloudFormation hears.
    async fn hears(&self, event: &Value) -> Value {
        let returned = self.function.try_invoke(event.clone(), Duration::from_secs(30)).await;
        assert!(returned.is_ok(), "{event}: {returned:?}");
        let answer = self.s3.next().await.json();
        for repeated in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(answer[repeated], event[repeated], "{answer}");
        }
        answer
    }

    /// The same for one that succeeds.
    async fn succeeds(&self, event: &Value) -> Value {
        let answer = self.hears(event).await;
        assert_eq!(answer["Status"], "SUCCESS", "{event}: {answer}");
        answer
    }

    /// The same for one that fails; returns the reason.
    async fn fails(&self, event: &Value) -> String {
        let answer = self.hears(event).await;
        assert_eq!(answer["Status"], "FAILED", "{event}: {answer}");
        assert_eq!(answer["Data"], Value::Null);
        answer["Reason"].as_str().unwrap().to_owned()
    }

    /// The service's ports: number, name and owner of each.
    async fn ports(&mut self, service: &str) -> Vec<(u64, String, String)> {
        let path = format!("/v1/services/{service}/ports");
        let (status, ports) = self.deployment.call("list-ports", "GET", &path, None).await;
        assert_eq!(status, 200, "{ports}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = ports.as_array().unwrap().iter();
        shown.map(|port| (port["port"].as_u64().unwrap(), text(&port["name"]), text(&port["owner"]))).collect()
    }

    /// The numbers of the service's ports.
    async fn numbers(&mut self) -> Vec<u64> {
        self.ports("web").await.into_iter().map(|(port, _, _)| port).collect()
    }

    /// The names that have the service's ports.
    async fn names(&mut self) -> Vec<String> {
        let mut names: Vec<_> = self.ports("web").await.into_iter().map(|(_, name, _)| name).collect();
        names.sort();
        names
    }

    /// Somebody else takes a port of the service.
    async fn taken(&mut self, name: &str, owner: &str) -> u64 {
        let body = json!({ "owner": owner });
        let path = format!("/v1/services/web/ports/{name}");
        let (status, port) = self.deployment.call("put-port", "PUT", &path, Some(body)).await;
        assert_eq!(status, 201, "{port}");
        port["port"].as_u64().unwrap()
    }
}

async fn start(s3: &S3, database: &str, allowed: &[(&str, &str)]) -> Function {
    let answers =
        [("CUSTOM_RESOURCE_ANSWERS_TO", s3.url.as_str()), ("AWS_ENDPOINT_URL_CLOUDFORMATION", s3.url.as_str())];
    Function::start(&binary("custom-resource"), database, &[allowed, &answers[..]].concat()).await
}

/// The unique part of a stack's id.
const GUID: &str = "51af3dc0-da77-11e4-872e-1234567db123";

/// An event of the stack `shop` about its resource `Port`, or of another one.
#[derive(Clone, Debug)]
struct Stack<'a> {
    url: &'a str,
    guid: &'a str,
    logical_id: &'a str,
    kind: &'a str,
}

impl<'a> Stack<'a> {
    fn of(cloud: &'a Cloud) -> Self {
        Self { url: &cloud.s3.url, guid: GUID, logical_id: "Port", kind: "Custom::PortmasterPort" }
    }

    fn event(&self, kind: &str, properties: Value) -> Value {
        let Self { url, guid, logical_id, .. } = self;
        let mut properties = properties;
        properties["ServiceToken"] = json!("arn:aws:lambda:eu-west-1:123456789012:function:custom-resource");
        properties["ServiceTimeout"] = json!("60");
        json!({
            "RequestType": kind,
            "RequestId": "cdc73f9d-aea9-11e3-9d5a-835b769c0d9c",
            "ResponseURL": format!("{url}arn%3Aaws%3Acloudformation%3Aeu-west-1?X-Amz-Expires=7200&{SIGNATURE}"),
            "ResourceType": self.kind,
            "LogicalResourceId": logical_id,
            "StackId": format!("arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/{guid}"),
            "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:custom-resource",
            "ResourceProperties": properties,
        })
    }

    fn create(&self, properties: Value) -> Value {
        self.event("Create", properties)
    }

    fn update(&self, id: &str, properties: Value, before: Value) -> Value {
        let mut event = self.event("Update", properties);
        event["PhysicalResourceId"] = json!(id);
        event["OldResourceProperties"] = self.event("Update", before)["ResourceProperties"].clone();
        event
    }

    fn delete(&self, id: &str, properties: Value) -> Value {
        let mut event = self.event("Delete", properties);
        event["PhysicalResourceId"] = json!(id);
        event
    }
}

/// The physical id in an answer.
fn id(answer: &Value) -> String {
    answer["PhysicalResourceId"].as_str().unwrap().to_owned()
}
