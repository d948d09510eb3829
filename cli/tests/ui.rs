//! `portmaster ui` as a program: who gets in, what is passed on, and that nothing of the keys comes out.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use portmaster_testkit::World;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running `portmaster ui`.
struct Ui {
    child: Child,
    address: String,
    token: String,
    stderr: tokio::task::JoinHandle<String>,
}

impl Ui {
    async fn start(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portmaster"))
            .args(["ui", "--url", url, "-vv"])
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let opened = line.trim().strip_prefix("Open http://").unwrap_or_else(|| panic!("{line}"));
        let (address, token) = opened.split_once("/#token=").unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.unwrap();
            text
        });
        Self { child, address: address.to_owned(), token: token.to_owned(), stderr }
    }

    /// Sends a request as it stands; `ADDRESS` is the page's. Returns the status, the whole answer, and its body.
    async fn send(&self, head: &str, body: &str) -> (u16, String, Value) {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{head}\r\n{length}Connection: close\r\n\r\n{body}").replace("ADDRESS", &self.address);
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let value = serde_json::from_str(body).unwrap_or(Value::Null);
        (status, answer, value)
    }

    async fn session(&self) -> String {
        let (status, _, answer) = self.send("POST /session HTTP/1.1\r\nHost: ADDRESS", &self.token).await;
        assert_eq!(status, 200, "{answer}");
        answer["session"].as_str().unwrap().to_owned()
    }

    async fn call(&self, session: &str, method: &str, target: &str) -> (u16, String, Value) {
        self.send(&format!("{method} {target} HTTP/1.1\r\nHost: ADDRESS\r\nX-Portmaster-Session: {session}"), "").await
    }

    /// Ends it as ^C does. Returns its exit code, and all that it has said.
    async fn interrupt(mut self) -> (Option<i32>, String) {
        let id = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        (self.child.wait().await.unwrap().code(), self.stderr.await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_registry_elsewhere_reads_and_does_not_write() {
    let world = World::new().await;
    world.api.service("web", 5000, 5009).await;
    world.api.allocate("web", "job").await;
    let ui = Ui::start(&world.api.url, &[], &[]).await;
    let (status, page, _) = ui.send("GET / HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html", "").await;
    assert!(status == 200 && page.contains("<!doctype html>"), "{page}");
    for header in ["content-security-policy: default-src 'none'; ", "x-content-type-options: nosniff", "no-referrer"] {
        assert!(page.contains(header), "{header}: {page}");
    }
    let (_, _, settings) = ui.send("GET /page/settings.json HTTP/1.1\r\nHost: ADDRESS", "").await;
    assert_eq!((&settings["write"], &settings["session"]), (&false.into(), &true.into()));
    assert_eq!(settings["registry"], world.api.url.as_str());

    // The files are no secret; everything else needs the session, which there is one time.
    assert_eq!(ui.send("GET /v1/services HTTP/1.1\r\nHost: ADDRESS", "").await.0, 401);
    assert_eq!(ui.call(&ui.token, "GET", "/v1/services").await.0, 401, "the token is not the session");
    assert_eq!(ui.send("POST /session HTTP/1.1\r\nHost: ADDRESS", "0000").await.0, 403);
    assert_eq!(ui.send("POST /session HTTP/1.1\r\nHost: ADDRESS", &"0".repeat(100_000)).await.0, 403);
    assert_eq!(ui.send("GET /session HTTP/1.1\r\nHost: ADDRESS", "").await.0, 405);
    let session = ui.session().await;
    let (status, _, used) = ui.send("POST /session HTTP/1.1\r\nHost: ADDRESS", &ui.token).await;
    assert!(status == 403 && used["detail"].as_str().unwrap().contains("used before"), "{used}");

    let (status, head, services) = ui.call(&session, "GET", "/v1/services?usage=true&limit=1").await;
    assert_eq!((status, &services[0]["name"]), (200, &"web".into()));
    assert!(head.contains("content-security-policy") && head.contains("cache-control: no-store"), "{head}");
    let (status, _, port) = ui.call(&session, "GET", "/v1/ports/5000").await;
    assert_eq!((status, &port["name"]), (200, &"job".into()));
    // The registry's own words.
    let (status, _, problem) = ui.call(&session, "GET", "/v1/ports/5001").await;
    assert_eq!((status, &problem["type"]), (404, &"/problems/port-not-found".into()));
    let (status, _, problem) = ui.call(&session, "GET", "/v1/services?colour=red").await;
    assert_eq!((status, &problem["errors"][0]["parameter"]), (400, &"colour".into()));

    for (method, target, expected) in [
        ("DELETE", "/v1/services/web/ports/job", 403),
        ("DELETE", "/v1/services/web/quarantine/5000", 403),
        ("DELETE", "/v1/services/web", 405),
        ("POST", "/v1/services", 405),
        ("PUT", "/v1/services/web", 405),
        ("PATCH", "/v1/services/web", 405),
        ("OPTIONS", "/v1/services", 405),
        ("POST", "/v1/services/web/release", 404),
        ("GET", "/v1/services/web/ports/..%2fjob", 404),
        ("GET", "/v1/services/web/ports/../../web", 404),
        ("GET", "//v1/services", 404),
        ("GET", "/v1//services", 404),
        ("GET", "/v1/openapi.json", 404),
        ("GET", "/health", 404),
        ("GET", "http://evil.example/v1/services", 421),
        ("GET", &format!("{}/v1/services", world.api.url), 421),
    ] {
        let (status, answer, _) = ui.call(&session, method, target).await;
        assert_eq!(status, expected, "{method} {target}: {answer}");
    }
    let session_header = format!("X-Portmaster-Session: {session}");
    for (headers, expected) in [
        ("Host: evil.example".to_owned(), 421),
        ("Host: localhost".to_owned(), 421),
        ("Host: ADDRESS\r\nHost: ADDRESS".to_owned(), 421),
        ("Host: ADDRESS\r\nOrigin: http://evil.example".to_owned(), 403),
        ("Host: ADDRESS\r\nOrigin: null".to_owned(), 403),
        ("Host: ADDRESS\r\nSec-Fetch-Site: same-site".to_owned(), 403),
        ("Host: ADDRESS\r\nSec-Fetch-Site: cross-site".to_owned(), 403),
        ("Host: ADDRESS\r\nOrigin: http://ADDRESS\r\nSec-Fetch-Site: same-origin".to_owned(), 200),
    ] {
        let (status, answer, _) =
            ui.send(&format!("GET /v1/services HTTP/1.1\r\n{headers}\r\n{session_header}"), "").await;
        assert_eq!(status, expected, "{headers}: {answer}");
    }
    assert_eq!(world.api.get("/v1/services/web/ports/job").await.status, 200, "nothing was released");
    let (token, session) = (ui.token.clone(), session);
    let (code, said) = ui.interrupt().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(&token) && !said.contains(&session), "{said}");
    assert!(said.contains("pass on a read"), "the log is on: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_write_it_releases_and_nothing_else() {
    let world = World::new().await;
    world.api.service("web", 5000, 5009).await;
    world.api.allocate("web", "job").await;
    let ui = Ui::start(&world.api.url, &["--write"], &[]).await;
    let session = ui.session().await;
    assert_eq!(ui.call(&session, "DELETE", "/v1/services/web/ports/job?owner=other").await.0, 409);
    assert_eq!(ui.call(&session, "DELETE", "/v1/services/web/ports/job").await.0, 204);
    assert_eq!(ui.call(&session, "DELETE", "/v1/services/web/quarantine/5000").await.0, 404);
    for (method, target) in [("DELETE", "/v1/services/web"), ("PUT", "/v1/services/web/ports/x")] {
        assert_eq!(ui.call(&session, method, target).await.0, 405, "{method} {target}");
    }
    assert_eq!(world.api.get("/v1/services/web").await.status, 200);
}

/// What a gateway has heard.
type Heard = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A gateway that answers a wrong signature as AWS does: with the canonical request, and so with the session's token.
/// Whatever else a server may send is in the head of its answer.
async fn gateway(State(heard): State<Heard>, request: Request) -> impl IntoResponse {
    let headers = request.headers().clone();
    heard.lock().unwrap().push((request.uri().to_string(), headers.clone()));
    let sent = headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap_or_default()));
    let sent = sent.collect::<Vec<_>>().join("\\n").replace('"', "");
    let secret = headers.get("x-amz-security-token").cloned().unwrap();
    if request.uri().path() == "/v1/namespaces" {
        let answer = [("set-cookie", secret.clone()), ("x-amz-security-token", secret)];
        return (StatusCode::OK, answer, "[]".to_owned()).into_response();
    }
    let message = format!("The signature does not match.\\n\\nThe Canonical String should have been\\n{sent}");
    (StatusCode::FORBIDDEN, [("apigw-requestid", "x")], format!("{{\"message\": \"{message}\"}}")).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_this_machine_stay_here() {
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(gateway).with_state(Arc::clone(&heard));
    tokio::spawn(axum::serve(listener, router).into_future());
    let keys = [
        ("AWS_ACCESS_KEY_ID", "ASIAHIDDEN"),
        ("AWS_SECRET_ACCESS_KEY", "hidden-key"),
        ("AWS_SESSION_TOKEN", "hidden-session"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let ui = Ui::start(&url, &["--region", "eu-west-1", "--write"], &keys).await;
    let session = ui.session().await;
    let mut said = String::new();
    for (method, target, expected) in [
        ("GET", "/v1/namespaces", 200),
        ("GET", "/v1/services?usage=true", 403),
        ("GET", "/v1/events", 404),
        ("DELETE", "/v1/services/web/ports/job?owner=a%20b", 403),
    ] {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: ADDRESS\r\nX-Portmaster-Session: {session}\r\nCookie: a=b\r\n\
             Authorization: Basic x\r\nX-Amz-Security-Token: mine\r\nX-Other: y"
        );
        let (status, answer, _) = ui.send(&head, "").await;
        assert_eq!(status, expected, "{answer}");
        said.push_str(&answer);
    }
    assert!(said.contains("The signature does not match."), "{said}");
    let (_, log) = ui.interrupt().await;
    for secret in ["hidden-key", "hidden-session", "ASIAHIDDEN", "Signature=", "Credential="] {
        assert!(!said.contains(secret) && !log.contains(secret), "{secret}: {said}{log}");
    }
    // What arrives there is signed, and has nothing of what the browser sent.
    let heard = heard.lock().unwrap();
    assert!(heard.len() >= 4, "{heard:?}");
    assert!(heard.iter().any(|(target, _)| target == "/v1/services/web/ports/job?owner=a%20b"), "{heard:?}");
    for (target, headers) in heard.iter() {
        assert!(headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 "), "{target}");
        assert_eq!(headers["x-amz-security-token"], "hidden-session", "{target}");
        for name in ["cookie", "x-portmaster-session", "x-other", "origin", "referer"] {
            assert!(!headers.contains_key(name), "{name} of {target}");
        }
    }
}
