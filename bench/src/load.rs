//! Callers that cost next to nothing: HTTP/1.1 over plain sockets, on one thread. A real HTTP client takes as long for
//! a request as the server does, so on the same machine the benchmark would measure the client.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The work that each caller repeats, under a new name each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Asks for an offer.
    Offer,
    /// Asks for an offer and accepts it.
    OfferAndAccept,
    /// Asks for an offer, accepts it and releases the port.
    Cycle,
    /// Asks for a port with a lease, in one request.
    Put,
}

#[derive(Clone, Copy, Debug)]
pub enum Stop {
    After(Duration),
    Offers(u32),
}

/// The results of a run.
pub struct Done {
    /// Rounds of work in a second.
    pub rate: f64,
    /// How long each round took, in microseconds.
    pub times: Histogram<u64>,
    /// When each round ended.
    pub ends: Vec<Duration>,
    /// The fraction of the time in which the callers had a processor. Close to 1, the callers were measured, not the
    /// server.
    pub callers_busy: f64,
}

/// Runs all the callers at once, on a service of their own that must be empty and have enough ports.
pub fn run(address: &str, service: &str, callers: usize, work: Work, stop: Stop) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (began, used) = (Instant::now(), processor_time("self"));
    let asked = Rc::new(Cell::new(0));
    let runs = runtime.block_on(async {
        let body = r#"{"start":1024,"end":49151}"#;
        let mut first = Connection::new(address).await;
        assert_eq!(first.send("PUT", &format!("/v1/services/{service}"), body).await.0, 201, "a service of its own");
        join_all((0..callers).map(|_| caller(address, service, work, stop, began, Rc::clone(&asked)))).await
    });
    let elapsed = began.elapsed().as_secs_f64();
    let callers_busy = (processor_time("self") - used).as_secs_f64() / elapsed;
    let mut times = Histogram::new(3).unwrap();
    let mut ends = Vec::new();
    for (took, end) in runs.into_iter().flatten() {
        times.record(took.as_micros() as u64).unwrap();
        ends.push(end);
    }
    ends.sort_unstable();
    Done { rate: ends.len() as f64 / elapsed, times, ends, callers_busy }
}

/// Sends one request without a body. Returns the status.
pub fn send(address: &str, method: &str, path: &str) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Connection::new(address).await.send(method, path, "").await.0 })
}

async fn caller(
    address: &str,
    service: &str,
    work: Work,
    stop: Stop,
    began: Instant,
    asked: Rc<Cell<u32>>,
) -> Vec<(Duration, Duration)> {
    let mut connection = Connection::new(address).await;
    let offers = format!("/v1/services/{service}/offers");
    let mut done = Vec::new();
    loop {
        let number = asked.replace(asked.get() + 1);
        let is_over = match stop {
            Stop::After(time) => began.elapsed() >= time || number >= 48_000,
            Stop::Offers(offers) => number >= offers,
        };
        if is_over {
            return done;
        }
        let start = Instant::now();
        if work == Work::Put {
            let path = format!("/v1/services/{service}/ports/caller-{number}");
            let (status, answer) = connection.send("PUT", &path, r#"{"owner":"load","lease_seconds":900}"#).await;
            assert_eq!(status, 201, "{answer}");
            done.push((start.elapsed(), began.elapsed()));
            continue;
        }
        let (status, answer) = connection.send("POST", &offers, &format!(r#"{{"name":"caller-{number}"}}"#)).await;
        assert_eq!(status, 201, "{answer}");
        if work != Work::Offer {
            let secret =
                answer.split_once(r#""secret":""#).and_then(|(_, rest)| rest.split('"').next()).expect("a secret");
            let path = format!("{offers}/{secret}/accept");
            let (status, answer) = connection.send("POST", &path, "").await;
            assert_eq!(status, 201, "{answer}");
        }
        if work == Work::Cycle {
            let path = format!("/v1/services/{service}/ports/caller-{number}");
            assert_eq!(connection.send("DELETE", &path, "").await.0, 204);
        }
        done.push((start.elapsed(), began.elapsed()));
    }
}

struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, host: address.to_owned(), buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request. Returns status and body of the response, which must have a length.
    async fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let (host, length) = (&self.host, body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{kind}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up");
            let Ok(text) = std::str::from_utf8(&self.buffer) else { continue };
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            // An answer without content has none.
            if body.len() >= length.unwrap_or_default() {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
    }
}

/// The processor time of a process, by its number or `self`: fields 14 and 15 of its `stat`, in hundredths of a second (proc(5)).
pub fn processor_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
