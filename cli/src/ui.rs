//! `portmaster ui`: the page, on this machine, for a registry elsewhere.
//!
//! The browser cannot sign requests for AWS, and must not have the keys with which to. So this small server stands in
//! between: it listens on the loopback interface only, answers the page's files, and passes on the few calls that the
//! page needs, signed like those of every other command. It has more rights than a browser's other pages and than other
//! programs on this machine, so it checks everything that arrives (`gate`), and its answers have nothing but what the
//! registry said (`answer`).
//!
//! The address that it prints has a token in its fragment, which browsers send nowhere. The page exchanges it, once,
//! for a session, and sends that in a header of each call. A cookie would do that by itself, but it would go to every
//! port of this machine, and so to servers of other people (RFC 6265, section 8.5); the page's own storage belongs to
//! this port alone. And a page of another site can neither send the header nor read an answer.

mod answer;
mod gate;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use portmaster_client::{Client, Told};
use portmaster_page::Settings;
use tokio::net::TcpListener;

use self::answer::Body;
use self::gate::{Asked, Gate, Refusal};

/// How long a token may be that somebody sends, in bytes.
const MAX_TOKEN: usize = 256;

/// How long a connection may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// How often a reader of events hears from here, whatever happens: a browser does not notice a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The page's server.
#[derive(Debug)]
pub struct Ui {
    listener: TcpListener,
    address: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    client: Client,
    gate: Gate,
    settings: Settings,
}

impl Ui {
    /// Listens on a port of the loopback interface that the system chooses. Nothing is answered before
    /// [`run`](Self::run).
    ///
    /// # Arguments
    ///
    /// - `client`: passes on the calls.
    /// - `write`: whether ports may be released, and quarantines ended.
    ///
    /// # Errors
    ///
    /// The system's, where no port can be had.
    pub async fn bind(client: Client, write: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let settings = Settings { registry: client.url().to_owned(), write, session: true };
        let inside = Inside { client, gate: Gate::new(address, write), settings };
        Ok(Self { listener, address, inside: Arc::new(inside) })
    }

    /// The address to open, with the token in it. It can be used once.
    #[must_use]
    pub fn url(&self) -> String {
        let token = self.inside.gate.token();
        format!("http://{}/#token={}", self.address, token.unwrap_or_default())
    }

    /// Serves until it is dropped.
    pub async fn run(self) -> Infallible {
        loop {
            // An error is about a connection that is gone already, or about too many files: the next one may work.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let inside = Arc::clone(&self.inside);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let inside = Arc::clone(&inside);
                    async move { Ok::<_, Infallible>(inside.answer(request).await) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD).half_close(true);
                // A broken connection is the browser's affair.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

impl Inside {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let asked = match self.gate.judge(&parts) {
            Ok(asked) => asked,
            Err(refusal) => return answer::refusal(&refusal),
        };
        match asked {
            Asked::File => portmaster_page::answer(&parts.method, parts.uri.path(), &parts.headers, &self.settings)
                .map_or_else(|| answer::refusal(&Refusal::NotFound), |file| file.map(answer::whole)),
            Asked::Session => match Limited::new(body, MAX_TOKEN).collect().await {
                Ok(token) => match self.gate.exchange(&token.to_bytes()) {
                    Some(session) => answer::session(&session),
                    None => answer::refusal(&Refusal::UsedToken),
                },
                Err(_) => answer::refusal(&Refusal::UsedToken),
            },
            Asked::Call => {
                let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
                match self.client.pass(parts.method, path, query).await {
                    Ok(passed) => answer::passed(passed),
                    Err(error) => answer::failed(&error),
                }
            }
            Asked::Events => {
                let after = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
                self.events(after).await
            }
        }
    }

    /// Passes on the events, written anew: what the page gets is what was read here.
    async fn events(&self, after: Option<&str>) -> Response<Body> {
        let events = match self.client.events(after).await {
            Ok(Some(events)) => events,
            Ok(None) => return answer::refusal(&Refusal::NotFound),
            Err(error) => return answer::failed(&error),
        };
        let frames = stream::unfold(events, |mut events| async move {
            let text = match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
                Err(_) => ":\n\n".to_owned(),
                Ok(Ok(Some(told))) => written(&told),
                // The page listens again, from where it was.
                Ok(Ok(None) | Err(_)) => return None,
            };
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), events))
        });
        let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
        answer::head(response.headers_mut(), "text/event-stream");
        *response.status_mut() = StatusCode::OK;
        response
    }
}

/// An event as it is sent.
fn written(told: &Told) -> String {
    let one_line = |text: &str| text.replace(['\r', '\n'], " ");
    let id = told.id.as_ref().map(|id| format!("id: {}\n", one_line(id))).unwrap_or_default();
    let data: String = told.data.lines().map(|line| format!("data: {line}\n")).collect();
    format!("{id}event: {}\n{data}\n", one_line(&told.event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_one_event() {
        let told = Told { event: "a\nevent: b".to_owned(), data: "{\n}".to_owned(), id: Some("1\r\nx".to_owned()) };
        assert_eq!(written(&told), "id: 1  x\nevent: a event: b\ndata: {\ndata: }\n\n");
    }
}
