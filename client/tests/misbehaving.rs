//! Retries, against a small server that does not answer as it should.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portmaster_client::domain::{InstanceName, ServiceName};
use portmaster_client::wire::{Kind, NewOffer, NewPort, Renewal};
use portmaster_client::{Client, Error, Holder, PortOrName, Precondition, Stage};
use portmaster_testkit::message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How the server answers a request.
#[derive(Clone, Copy)]
enum Act {
    /// With this status, these lines of the head, and this body.
    Say(u16, &'static str, &'static str),
    /// By closing the connection.
    Drop,
    /// With the head, and half of the body.
    Break,
    /// Never.
    Wait,
}

/// A server that does as its script says, request by request, and then repeats the last line. It notes every request.
struct Server {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: &'static [Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heard);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, script, Arc::clone(&noted)));
            }
        });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn client(&self) -> Client {
        Client::builder().url(&self.url).build().unwrap()
    }
}

async fn serve(mut stream: TcpStream, script: &'static [Act], heard: Arc<Mutex<Vec<String>>>) {
    loop {
        let Some(request) = message(&mut stream).await else { return };
        let act = {
            let mut heard = heard.lock().unwrap();
            heard.push(String::from_utf8(request).unwrap());
            script[(heard.len() - 1).min(script.len() - 1)]
        };
        let answer = match act {
            Act::Drop => return,
            Act::Wait => std::future::pending().await,
            Act::Break => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"serv".to_owned(),
            Act::Say(status, head, body) => {
                let length = body.len();
                format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{head}\r\n{body}")
            }
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if matches!(act, Act::Break) {
            return;
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";
const PROBLEM: &str = "Content-Type: application/problem+json\r\n";
const PORT: &str = r#"{"service":"web","name":"job","port":5000,"created":"2026-11-30T10:00:00.000Z"}"#;
const OFFER: &str = r#"{"service":"web","name":"job","port":5000,"created":"2026-11-30T10:00:00.000Z","expires_at":null,"secret":"13886cce-a489-8b57-bfb5-de8919ecfdec"}"#;
const CLOSING: &str = r#"{"type":"/problems/service-closing","status":503,"title":"The service is being changed","detail":"Wait.","instance":"1"}"#;
const FULL: &str = r#"{"type":"/problems/range-exhausted","status":409,"title":"Every port of the range is taken","detail":"Wait.","instance":"1"}"#;
const GONE: &str = r#"{"type":"/problems/port-not-found","status":404,"title":"There is no such port","detail":"Gone.","instance":"1"}"#;
const DONE: Act = Act::Say(200, JSON, PORT);

fn web() -> ServiceName {
    "web".try_into().unwrap()
}

fn job() -> InstanceName {
    "job".try_into().unwrap()
}

fn target() -> PortOrName {
    job().into()
}

async fn put(client: &Client) -> Result<u16, Error> {
    let answer = client.put_port(&web(), &job(), &NewPort::default(), Precondition::None).await;
    answer.map(|answer| answer.port.get())
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    static PASSES: &[Act] = &[
        Act::Drop,
        Act::Say(502, "Content-Type: text/html\r\n", "<html>Bad Gateway</html>"),
        Act::Break,
        Act::Say(500, PROBLEM, CLOSING),
        DONE,
    ];
    let server = Server::start(PASSES).await;
    assert_eq!(put(&server.client()).await.unwrap(), 5000);
    let heard = server.heard();
    assert_eq!(heard.len(), 5);
    let bodies: Vec<_> = heard.iter().map(|request| request.split_once("\r\n\r\n").unwrap().1).collect();
    assert!(bodies.iter().all(|body| body == &bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    static LATER: &[Act] =
        &[Act::Say(503, "Content-Type: application/problem+json\r\nRetry-After: 1\r\n", CLOSING), DONE];
    let server = Server::start(LATER).await;
    let begun = Instant::now();
    put(&server.client()).await.unwrap();
    // And at least the shortest wait that chance makes longer, so that a crowd that was told the same spreads out.
    assert!(begun.elapsed() >= Duration::from_millis(1_150));
    // Longer than there is time: it is reported at once, with the time.
    static MUCH_LATER: &[Act] =
        &[Act::Say(503, "Content-Type: application/problem+json\r\nRetry-After: 3600\r\n", CLOSING)];
    let server = Server::start(MUCH_LATER).await;
    let error = put(&server.client()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (Some(Kind::ServiceClosing), Some(Duration::from_secs(3600))));
    assert!(error.is_temporary() && server.heard().len() == 1);
}

#[tokio::test]
async fn a_conflict_is_never_tried_again() {
    static CONFLICT: &[Act] =
        &[Act::Say(409, "Content-Type: application/problem+json\r\nRetry-After: 0\r\n", FULL), DONE];
    let server = Server::start(CONFLICT).await;
    let error = put(&server.client()).await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (Some(Kind::RangeExhausted), 1));
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_precondition_is_not_sent_twice_blindly() {
    static LOST: &[Act] = &[Act::Drop, DONE];
    let server = Server::start(LOST).await;
    let outcome = server.client().put_port(&web(), &job(), &NewPort::default(), Precondition::Absent).await;
    let Err(Error::Unreachable(lost)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((lost.stage, server.heard().len()), (Stage::Lost, 1));
    // But what was refused unread is.
    static REFUSED: &[Act] = &[
        Act::Say(429, "Content-Type: application/json\r\napigw-requestid: x\r\n", r#"{"message":"Too Many Requests"}"#),
        DONE,
    ];
    let server = Server::start(REFUSED).await;
    server.client().put_port(&web(), &job(), &NewPort::default(), Precondition::Absent).await.unwrap();
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn an_offer_keeps_its_key() {
    static LOST: &[Act] = &[Act::Drop, Act::Say(201, JSON, OFFER)];
    let server = Server::start(LOST).await;
    let wanted = NewOffer { name: job(), port: None, owner: None, labels: None };
    server.client().create_offer(&web(), &wanted).await.unwrap();
    server.client().create_offer(&web(), &wanted).await.unwrap();
    let keys: Vec<_> = server
        .heard()
        .iter()
        .map(|request| request.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned())
        .collect();
    assert!(keys[0] == keys[1] && keys[1] != keys[2], "{keys:?}");
}

#[tokio::test]
async fn a_release_whose_answer_was_lost_is_done() {
    static LOST: &[Act] = &[Act::Drop, Act::Say(404, PROBLEM, GONE)];
    let server = Server::start(LOST).await;
    server.client().release(&web(), &target(), &Holder::Nobody).await.unwrap();
    // Where nothing was lost, there was no such port.
    static MISSING: &[Act] = &[Act::Say(404, PROBLEM, GONE)];
    let server = Server::start(MISSING).await;
    let error = server.client().release(&web(), &target(), &Holder::Nobody).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::PortNotFound));
    // And a renewal that does not find its port has lost it, however often it was sent.
    let server = Server::start(LOST).await;
    let error = server.client().renew(&web(), &target(), &Renewal::default()).await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (Some(Kind::PortNotFound), 2));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    static SILENT: &[Act] = &[Act::Wait];
    let server = Server::start(SILENT).await;
    let client = Client::builder().url(&server.url).attempt(Duration::from_millis(100)).build().unwrap();
    let Err(Error::Unreachable(late)) = put(&client).await else { panic!() };
    assert_eq!((late.stage, server.heard().len()), (Stage::Timeout, 5));
    // And in the middle of an attempt: this one would take longer, and be repeated.
    let Err(Error::Unreachable(late)) = put(&server.client().with_deadline(Duration::from_millis(300))).await else {
        panic!()
    };
    assert_eq!((late.stage, server.heard().len()), (Stage::Timeout, 6));
}

#[tokio::test]
async fn what_is_not_portmaster_is_named() {
    static PAGE: &[Act] =
        &[Act::Say(200, "Content-Type: text/html\r\nServer: squid/6\r\n", "<html>Log in to the network</html>")];
    let server = Server::start(PAGE).await;
    let Err(Error::Unexpected(page)) = put(&server.client()).await else { panic!() };
    let text = page.to_string();
    assert!(text.contains("text/html") && text.contains("squid/6") && !text.contains("Log in"), "{text}");
    assert_eq!(server.heard().len(), 1);

    static MOVED: &[Act] = &[Act::Say(301, "Location: https://elsewhere.example/?token=hidden\r\n", "")];
    let server = Server::start(MOVED).await;
    let Err(Error::Unexpected(moved)) = put(&server.client()).await else { panic!() };
    assert!(moved.to_string().contains("redirection") && !moved.to_string().contains("hidden"), "{moved}");
    assert_eq!(server.heard().len(), 1, "it is not followed");
}

#[tokio::test]
async fn where_nothing_listens_the_host_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::builder().url(format!("http://{free}")).build().unwrap();
    let Err(Error::Unreachable(refused)) = put(&client).await else { panic!() };
    assert_eq!((refused.stage, refused.origin.clone()), (Stage::Connect, format!("http://{free}")));
    let client = Client::builder().url("http://no-such-host.invalid").build().unwrap();
    let Err(Error::Unreachable(unknown)) = put(&client).await else { panic!() };
    assert_eq!(unknown.stage, Stage::Name);
    // A server that speaks no TLS, and says so to whatever it hears.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    let client = Client::builder().url(format!("https://{address}")).build().unwrap();
    let Err(Error::Unreachable(secure)) = put(&client).await else { panic!() };
    assert_eq!((secure.stage, connections.load(Ordering::Relaxed)), (Stage::Tls, 1), "{secure:?}");
}

#[tokio::test]
async fn a_secret_in_a_path_is_in_no_error() {
    static LOST: &[Act] = &[Act::Drop];
    let server = Server::start(LOST).await;
    let secret = "13886cce-a489-8b57-bfb5-de8919ecfdec";
    let parsed = portmaster_client::domain::Secret::parse(secret).unwrap();
    let error =
        server.client().accept(&web(), parsed, &portmaster_client::wire::Acceptance::default()).await.unwrap_err();
    assert!(server.heard()[0].contains(secret));
    assert!(!format!("{error:?} {error}").contains(secret), "{error:?}");
}

#[tokio::test]
async fn links_to_other_hosts_are_not_followed() {
    static LINK: &[Act] =
        &[Act::Say(200, "Content-Type: application/json\r\nLink: <//evil.example/v1>; rel=\"next\"\r\n", "[]")];
    let server = Server::start(LINK).await;
    let error = server.client().list_services().all().await.unwrap_err();
    assert!(error.to_string().contains("a link to another host"), "{error}");
}
