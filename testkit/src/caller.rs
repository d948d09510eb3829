//! A caller of the API, which checks every answer against the OpenAPI document.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use portmaster_http::{Api, TIMEOUT};
use portmaster_registry::Registry;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use portmaster_client::credentials::Keys;
use portmaster_client::{Signer, transport};

use crate::world::PATIENCE;

/// A caller of the API at some URL.
#[derive(Clone)]
pub struct Caller {
    /// The API's base URL, without a slash at its end.
    pub url: String,
    client: reqwest::Client,
    /// The API in this process, if it is called without a connection.
    router: Option<Router>,
    document: Arc<Value>,
    signer: Option<Signer>,
}

/// The builder of an HTTP client for this URL, over the transport of Portmaster's own client.
pub fn http(url: &str) -> reqwest::ClientBuilder {
    transport::builder(&Url::parse(url).unwrap()).unwrap()
}

/// The signer of Portmaster's own client, with the keys of the usual variables.
fn signer() -> Signer {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is needed to sign requests"));
    let token = std::env::var("AWS_SESSION_TOKEN").ok();
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    Signer::new(Keys::new(id, secret, token, None, "environment"), variable("AWS_REGION"))
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Null if there was no body; a string if it was not JSON.
    pub body: Value,
}

impl Caller {
    /// A caller of the API at this URL.
    pub fn new(url: String) -> Self {
        let document = serde_json::from_str(portmaster_http::document()).unwrap();
        // A timeout of the client, so that a call that never ends fails its test.
        let client = http(&url).timeout(2 * PATIENCE).build().unwrap();
        Self { url, client, router: None, document: Arc::new(document), signer: None }
    }

    /// A caller of a registry in this process, without a connection: for simulated time, which does not pass while a
    /// socket is waited for.
    pub fn within(registry: Registry) -> Self {
        let router = portmaster_http::api(Api { registry, timeout: TIMEOUT });
        Self { router: Some(router), ..Self::new("http://127.0.0.1".to_owned()) }
    }

    /// A caller that signs its requests with the credentials of the environment.
    pub fn signing(url: String) -> Self {
        Self { signer: Some(signer()), ..Self::new(url) }
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    /// Sends a POST request with this body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    /// Sends a PUT request with this body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    /// Sends a PATCH request with this body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    /// Sends a DELETE request.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// Sends a request with more headers, and with a body in JSON if there is one.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let json = [("content-type", "application/json")];
        let headers: Vec<_> = headers.iter().chain(bytes.iter().flat_map(|_| &json)).copied().collect();
        self.send_bytes(method, path, bytes, &headers).await
    }

    /// Sends a request whose body may be anything, with exactly these headers.
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

    /// Sends anything that an HTTP client can send.
    pub async fn send_anything(&self, method: Method, path: &str, body: Option<Vec<u8>>, headers: HeaderMap) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let mut request = request.build().unwrap();
        if let Some(signer) = &self.signer {
            signer.sign(&mut request, SystemTime::now()).unwrap();
        }
        let asked = self.path_of(request.url());
        let (status, headers, text) = self.execute(request).await;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        let answer = Answer { status, headers, body };
        self.hold_against_document(&method, &asked, &answer);
        answer
    }

    /// Sends a request on its way, and returns what comes back.
    async fn execute(&self, request: reqwest::Request) -> (StatusCode, HeaderMap, String) {
        let Some(router) = &self.router else {
            let response = self.client.execute(request).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            return (status, headers, response.text().await.unwrap());
        };
        let body = request.body().and_then(reqwest::Body::as_bytes).map(<[u8]>::to_vec).unwrap_or_default();
        let url = request.url();
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut inside = axum::extract::Request::new(axum::body::Body::from(body));
        (*inside.method_mut(), *inside.uri_mut()) = (request.method().clone(), target.parse().unwrap());
        *inside.headers_mut() = request.headers().clone();
        let (parts, body) = router.clone().oneshot(inside).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Returns the path that a URL requests. It is not always the path that the URL was made of: `.` and `..` are
    /// resolved before the request is sent, also where they are percent-encoded.
    fn path_of(&self, url: &Url) -> String {
        let base = Url::parse(&self.url).unwrap();
        let asked = url.path().strip_prefix(base.path().trim_end_matches('/'));
        asked.unwrap_or(url.path()).to_owned()
    }

    /// Checks that the OpenAPI document announces this answer for its path and method, and that every error is a
    /// problem.
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
            // A body that is too large is refused before the route is looked up.
            None | Some(Value::Null) if answer.kind() == "payload-too-large" => {}
            // The answer to a HEAD request has no body, so only its status can be checked.
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

    /// Follows the links to the end. Returns what is listed, and the number of pages.
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

    /// Creates a service with a strategy.
    pub async fn service_with(&self, name: &str, start: u16, end: u16, strategy: &str) {
        let body = json!({ "name": name, "start": start, "end": end, "strategy": strategy });
        self.post("/v1/services", body).await.expect(201);
    }

    /// Asks for an offer and returns the answer, whatever it is.
    pub async fn ask(&self, service: &str, name: &str) -> Answer {
        self.post(&format!("/v1/services/{service}/offers"), json!({ "name": name })).await
    }

    /// Asks for an offer with an idempotency key.
    pub async fn ask_with_key(&self, service: &str, name: &str, key: &str) -> Answer {
        let path = format!("/v1/services/{service}/offers");
        self.send(Method::POST, &path, Some(json!({ "name": name })), &[("idempotency-key", key)]).await
    }

    /// Makes an offer. Returns its port and its secret.
    pub async fn offer(&self, service: &str, name: &str) -> (u16, String) {
        let answer = self.ask(service, name).await.expect(201);
        (answer.port(), answer.secret())
    }

    /// Accepts an offer.
    pub async fn accept(&self, service: &str, secret: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/services/{service}/offers/{secret}/accept"), None, &[]).await
    }

    /// Rejects an offer.
    pub async fn reject(&self, service: &str, secret: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/services/{service}/offers/{secret}/reject"), None, &[]).await
    }

    /// Makes an allocation. Returns its port.
    pub async fn allocate(&self, service: &str, name: &str) -> u16 {
        let (port, secret) = self.offer(service, name).await;
        self.accept(service, &secret).await.expect(201);
        port
    }
}

impl Answer {
    /// Returns the answer if it has this status; fails the test otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Returns the answer if it is this problem; fails the test otherwise.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.kind()), (status, kind), "{self:?}");
        self
    }

    /// The problem's kind; empty if the answer is not a problem.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The port in the body.
    #[track_caller]
    pub fn port(&self) -> u16 {
        self.body["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_else(|| panic!("no port: {self:?}"))
    }

    /// The offer's secret in the body.
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
