//! A registry to test against, and a client that holds every answer against the OpenAPI document.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod faults;
mod meter;
mod sigv4;
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use portmaster::{Embedded, without_tokens};
use portmaster_shared::domain::{Clock, Namespace};
use portmaster_shared::http::{Api, TIMEOUT};
use portmaster_shared::operations::Registry;
use portmaster_shared::store::{Call, Endpoint, Table, sdk_config};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use sigv4::Signer;

pub use faults::{Fault, Plan, conflict, error};
pub use meter::Meter;
pub use stage::Stage;

/// How a registry under test differs from the usual one.
pub struct Setup {
    pub offer_seconds: u32,
    /// How often expired items are deleted; never, if none.
    pub sweep: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { offer_seconds: Registry::OFFER_SECONDS, sweep: None }
    }
}

/// Where the tables are.
pub struct Database {
    url: String,
    /// Of another DynamoDB: an account of this world's own, so that every world finds it empty.
    account: Option<String>,
    _embedded: Option<Embedded>,
}

/// Another DynamoDB than the embedded one, for every world that does not insist on that.
pub const OTHER_DYNAMODB: &str = "PORTMASTER_TEST_DYNAMODB";

/// By how much a test does less of the same, where another DynamoDB is slow.
pub const SCALE: &str = "PORTMASTER_TEST_SCALE";

/// Whether a test that is about the embedded DynamoDB can run. If not, it says so: a test that did nothing must not
/// look like one that passed.
pub fn embedded_or_skip(test: &str) -> bool {
    let other = std::env::var(OTHER_DYNAMODB).is_ok();
    if other {
        // Not `eprintln!`: the test harness would keep it to itself.
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: it is about the embedded DynamoDB");
    }
    !other
}

/// So many rounds, or fewer where another DynamoDB is slow; at least one.
pub fn rounds(count: usize) -> usize {
    let scale = std::env::var(SCALE).map_or(1, |scale| scale.parse().unwrap());
    count.div_ceil(scale).max(1)
}

impl Database {
    fn new(sweep: Option<Duration>) -> Self {
        let other = std::env::var(OTHER_DYNAMODB).ok();
        let Some(url) = other.filter(|_| sweep.is_none()) else {
            let mut embedded = Embedded::start(None, sweep).unwrap();
            let url = embedded.listen("127.0.0.1:0").unwrap();
            return Self { url, account: None, _embedded: Some(embedded) };
        };
        // MiniStack takes an access key of twelve digits for an account.
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let account = format!("{:06}{:06}", std::process::id() % 1_000_000, number % 1_000_000);
        Self { url, account: Some(account), _embedded: None }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The access key that leads to this world's tables.
    pub fn access_key(&self) -> &str {
        self.account.as_deref().unwrap_or("local")
    }

    /// What a client of it is made of. The embedded one is spared the tokens, as in production.
    async fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        let config = sdk_config(&Endpoint::Embedded(self.url.clone())).await;
        match &self.account {
            None => config.interceptor(without_tokens()),
            Some(account) => config.credentials_provider(Credentials::new(account, "local", None, None, "test")),
        }
    }

    async fn client(&self, meter: Option<Meter>) -> Client {
        let config = self.config().await;
        let config = match meter {
            Some(meter) => config.interceptor(meter),
            None => config,
        };
        Client::from_conf(config.build())
    }
}

/// A registry with a database of its own, in memory, behind the real wire protocol.
pub struct World {
    pub database: Database,
    /// Milliseconds that its clock is ahead of the system's.
    pub shift: Arc<AtomicI64>,
    pub offer_seconds: u32,
    pub registry: Registry,
    pub api: Caller,
}

pub const TABLE: &str = "portmaster";

pub fn call() -> Call {
    Call::within(if std::env::var(OTHER_DYNAMODB).is_ok() { 4 * PATIENCE } else { PATIENCE })
}

/// What a test waits for an operation of its own; and of the API, where another DynamoDB is slow under many callers.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn default_namespace() -> Namespace {
    Namespace::default()
}

impl World {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let database = Database::new(setup.sweep);
        let shift = Arc::<AtomicI64>::default();
        let client = database.client(None).await;
        let table = Table::new(client, TABLE);
        table.create(&call()).await.unwrap();
        let registry = Registry::new(table, Clock::Shifted(Arc::clone(&shift)), setup.offer_seconds);
        let api = serve(registry.clone()).await;
        Self { database, shift, offer_seconds: setup.offer_seconds, registry, api }
    }

    /// Another process on the same table: it shares no memory with the first one, and may have a clock of its own.
    pub async fn another(&self, shift_millis: i64) -> Registry {
        let clock = Clock::Shifted(Arc::new(AtomicI64::new(shift_millis)));
        Registry::new(Table::new(self.database.client(None).await, TABLE), clock, self.offer_seconds)
    }

    /// Another process, whose requests meet faults.
    pub async fn faulty(&self, plan: &Plan) -> Registry {
        let config = self.database.config().await.http_client(plan.client());
        let clock = Clock::Shifted(Arc::clone(&self.shift));
        Registry::new(Table::new(Client::from_conf(config.build()), TABLE), clock, self.offer_seconds)
    }

    /// Another process with the first one's clock.
    pub async fn forgetful(&self) -> Registry {
        let client = self.database.client(None).await;
        Registry::new(Table::new(client, TABLE), Clock::Shifted(Arc::clone(&self.shift)), self.offer_seconds)
    }

    /// Another process, with a meter on its wire. Its clock stands still, so that what it does does not depend on how
    /// fast this machine is.
    pub async fn metered(&self) -> (Registry, Meter) {
        let meter = Meter::default();
        let client = self.database.client(Some(meter.clone())).await;
        let clock = Clock::Fixed(Clock::System.now());
        (Registry::new(Table::new(client, TABLE), clock, self.offer_seconds), meter)
    }

    /// The table as a plain client sees it, to look at items and to damage them.
    pub async fn dynamodb(&self) -> Client {
        self.database.client(None).await
    }

    /// Lets time pass, for this registry's clock.
    pub fn pass(&self, time: Duration) {
        self.shift.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// The reconciler must find nothing that a healthy table never has (promise P16).
    pub async fn assert_healthy(&self) {
        let findings = self.registry.reconcile(&call()).await.unwrap();
        assert!(findings.is_healthy() && findings.finished, "{findings:?}");
    }
}

/// Serves a registry over HTTP, for as long as the test's runtime runs.
pub async fn serve(registry: Registry) -> Caller {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let timeout = if std::env::var(OTHER_DYNAMODB).is_ok() { PATIENCE } else { TIMEOUT };
    let router = portmaster_shared::http::api(Api { registry, timeout });
    tokio::spawn(axum::serve(listener, router).into_future());
    Caller::new(url)
}

/// A caller of the API at some URL.
#[derive(Clone)]
pub struct Caller {
    pub url: String,
    client: reqwest::Client,
    document: Arc<Value>,
    signer: Option<Signer>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null if there was no body; a string if it was not JSON.
    pub body: Value,
}

impl Caller {
    pub fn new(url: String) -> Self {
        let document = serde_json::from_str(portmaster_shared::http::document()).unwrap();
        // Of the client, so that a call that never ends fails its test.
        let client = reqwest::Client::builder().timeout(2 * PATIENCE).build().unwrap();
        Self { url, client, document: Arc::new(document), signer: None }
    }

    /// A caller that signs its requests with the credentials of the environment.
    pub fn signing(url: String) -> Self {
        Self { signer: Some(Signer::from_environment()), ..Self::new(url) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let json = [("content-type", "application/json")];
        let headers: Vec<_> = headers.iter().chain(bytes.iter().flat_map(|_| &json)).copied().collect();
        self.send_bytes(method, path, bytes, &headers).await
    }

    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        self.send_anything(method, path, body, all).await
    }

    /// Sends whatever an HTTP client can send.
    pub async fn send_anything(&self, method: Method, path: &str, body: Option<Vec<u8>>, headers: HeaderMap) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let mut request = request.build().unwrap();
        if let Some(signer) = &self.signer {
            signer.sign(&mut request);
        }
        let asked = self.path_of(request.url());
        let response = self.client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        let answer = Answer { status, headers, body };
        self.hold_against_document(&method, &asked, &answer);
        answer
    }

    /// The path that a URL asks for. It is not always the one that it was made of: a URL resolves `.` and `..`, also where
    /// they are percent-encoded, before it is sent.
    fn path_of(&self, url: &Url) -> String {
        let base = Url::parse(&self.url).unwrap();
        let asked = url.path().strip_prefix(base.path().trim_end_matches('/'));
        asked.unwrap_or(url.path()).to_owned()
    }

    /// Every answer is one that the OpenAPI document announces for its path and method, and every error is a problem.
    fn hold_against_document(&self, method: &Method, path: &str, answer: &Answer) {
        let context = || format!("{method} {path}: {answer:?}");
        if answer.status.as_u16() >= 400 && method != Method::HEAD {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", context());
            for member in ["type", "title", "status", "detail", "instance"] {
                assert!(!answer.body[member].is_null(), "no {member}: {}", context());
            }
            assert_eq!(answer.body["status"], answer.status.as_u16(), "{}", context());
            assert_eq!(answer.body["instance"], answer.header("x-request-id"), "{}", context());
        }
        let operation = self.operation(path).map(|item| &item[method.as_str().to_lowercase()]);
        match operation {
            // Too large a body is refused before anybody looks at what it is for.
            None | Some(Value::Null) if answer.kind() == "payload-too-large" => {}
            // Without a body, the status says it.
            None if method == Method::HEAD => assert!([404, 413].contains(&answer.status.as_u16()), "{}", context()),
            None => assert_eq!(answer.kind(), "not-found", "{}", context()),
            Some(Value::Null) if method == Method::HEAD => {}
            Some(Value::Null) => {
                assert_eq!(answer.kind(), "method-not-allowed", "{}", context());
                assert!(answer.headers.contains_key("allow"), "{}", context());
            }
            Some(operation) => {
                let announced = &operation["responses"][answer.status.as_str()];
                assert!(announced.is_object(), "not announced: {}", context());
                if answer.status.as_u16() >= 400 {
                    let description = announced["description"].as_str().unwrap();
                    assert!(description.contains(&format!("`{}`", answer.kind())), "{description}; {}", context());
                }
            }
        }
    }

    fn operation(&self, path: &str) -> Option<&Value> {
        let segments: Vec<_> = path.split('/').collect();
        self.document["paths"].as_object().unwrap().iter().find_map(|(template, item)| {
            let template: Vec<_> = template.split('/').collect();
            let matches = template.len() == segments.len()
                && template.iter().zip(&segments).all(|(t, s)| (t.starts_with('{') && !s.is_empty()) || t == s);
            matches.then_some(item)
        })
    }

    /// Follows the links to the end: what is listed, and on how many pages.
    pub async fn pages(&self, path: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await.expect(200);
            items.extend(page.body.as_array().unwrap().iter().cloned());
            pages += 1;
            next = page.next();
            assert!(pages < 1_000, "the links go round in circles");
        }
        (items, pages)
    }

    /// Creates a service.
    pub async fn service(&self, name: &str, start: u16, end: u16) {
        self.service_with(name, start, end, "lowest").await;
    }

    pub async fn service_with(&self, name: &str, start: u16, end: u16, strategy: &str) {
        let body = json!({ "name": name, "start": start, "end": end, "strategy": strategy });
        self.post("/v1/services", body).await.expect(201);
    }

    /// Asks for an offer, whatever comes.
    pub async fn ask(&self, service: &str, name: &str) -> Answer {
        self.post(&format!("/v1/services/{service}/offers"), json!({ "name": name })).await
    }

    /// Asks with a key.
    pub async fn ask_with_key(&self, service: &str, name: &str, key: &str) -> Answer {
        let path = format!("/v1/services/{service}/offers");
        self.send(Method::POST, &path, Some(json!({ "name": name })), &[("idempotency-key", key)]).await
    }

    /// An offer: port and secret.
    pub async fn offer(&self, service: &str, name: &str) -> (u16, String) {
        let answer = self.ask(service, name).await.expect(201);
        (answer.port(), answer.secret())
    }

    pub async fn accept(&self, service: &str, secret: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/services/{service}/offers/{secret}/accept"), None, &[]).await
    }

    pub async fn reject(&self, service: &str, secret: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/services/{service}/offers/{secret}/reject"), None, &[]).await
    }

    /// An allocation: its port.
    pub async fn allocate(&self, service: &str, name: &str) -> u16 {
        let (port, secret) = self.offer(service, name).await;
        self.accept(service, &secret).await.expect(201);
        port
    }
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// The answer, if it is this problem.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.kind()), (status, kind), "{self:?}");
        self
    }

    /// The problem's kind; empty if it is none.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub fn port(&self) -> u16 {
        self.body["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_else(|| panic!("no port: {self:?}"))
    }

    #[track_caller]
    pub fn secret(&self) -> String {
        self.body["secret"].as_str().unwrap_or_else(|| panic!("no secret: {self:?}")).to_owned()
    }

    /// The pointers, parameters and headers at fault.
    pub fn faults(&self) -> Vec<&str> {
        let faults = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let at = |fault: &'_ Value| ["pointer", "parameter", "header"].into_iter().find(|at| !fault[at].is_null());
        faults.iter().map(|fault| fault[at(fault).unwrap()].as_str().unwrap()).collect()
    }

    /// The path of the next page.
    pub fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().ok()?;
        let (target, relation) = link.split_once(">; ")?;
        assert_eq!(relation, "rel=\"next\"");
        Some(target.trim_start_matches('<').to_owned())
    }
}

/// Fills a service with allocations, `count` of them from `first`, as if instances `filler-<port>` had accepted them.
/// Written directly, since it is the state that matters and not how it came about.
pub async fn fill(world: &World, service: &str, first: u16, count: u16) {
    use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
    let client = world.dynamodb().await;
    let item = |port: u16| {
        let text = |value: String| AttributeValue::S(value);
        let secret = format!("{port:04x}ffff-ffff-8fff-bfff-ffffffffffff");
        PutRequest::builder()
            .item("pk", text("N#default#PORT".to_owned()))
            .item("sk", text(format!("{port:05}")))
            .item("service", text(service.to_owned()))
            .item("name", text(format!("filler-{port}")))
            .item("state", text("allocated".to_owned()))
            .item("secret", text(secret))
            .item("created", AttributeValue::N("1700000000000".to_owned()))
            .item("accepted", AttributeValue::N("1700000000001".to_owned()))
            .build()
            .unwrap()
    };
    let ports: Vec<_> = (first..first + count).collect();
    for chunk in ports.chunks(25) {
        let requests = chunk.iter().map(|port| WriteRequest::builder().put_request(item(*port)).build()).collect();
        client.batch_write_item().request_items(TABLE, requests).send().await.unwrap();
    }
}
