//! A way to a DynamoDB for a function that is a process of its own: it stands between the two, and may stop at a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;

/// A request at which the way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nowhere.
    Never,
    /// Before this request, counted from zero, is executed.
    Before(usize),
    /// After it is executed, before it is answered.
    After(usize),
}

/// A socket that passes every request on to a DynamoDB, up to a request that is never answered.
#[derive(Clone, Debug)]
pub struct Between(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    database: String,
    client: reqwest::Client,
    end: End,
    requests: AtomicUsize,
    stopped: watch::Sender<bool>,
}

impl Between {
    /// Listens in front of the DynamoDB at this URL.
    pub async fn start(database: &str, end: End) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let between = Self(Arc::new(Inner {
            url: format!("http://{}", listener.local_addr().unwrap()),
            database: database.to_owned(),
            client: crate::http(database).build().unwrap(),
            end,
            requests: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
        }));
        let router = Router::new().fallback(pass).with_state(between.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        between
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// How many requests have come by.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Returns whether the end was reached within this time.
    pub async fn stopped(&self, within: Duration) -> bool {
        let mut stopped = self.0.stopped.subscribe();
        tokio::time::timeout(within, stopped.wait_for(|stopped| *stopped)).await.is_ok()
    }

    async fn stop(&self) -> Response {
        self.0.stopped.send_replace(true);
        std::future::pending().await
    }
}

async fn pass(State(between): State<Between>, headers: HeaderMap, body: Bytes) -> Response {
    let number = between.0.requests.fetch_add(1, Ordering::SeqCst);
    if matches!(between.0.end, End::Before(end) if number >= end) {
        return between.stop().await;
    }
    let mut request = between.0.client.post(&between.0.database).body(body);
    for (name, value) in headers.iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str())) {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    if matches!(between.0.end, End::After(end) if number >= end) {
        return between.stop().await;
    }
    let status = answer.status();
    let own = answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding");
    let headers: HeaderMap = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    (status, headers, answer.bytes().await.unwrap()).into_response()
}
