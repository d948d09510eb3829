//! What real DynamoDB does and the embedded one does not: conflicts, throttling, internal errors, replies that are lost
//! after the commit. A layer under the SDK, where the wire would be.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use portmaster::{Request, answering_over};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It arrives and is answered.
    None,
    /// It is done, and the connection breaks before the answer.
    LoseReply,
    /// It is done, and answered with an internal error.
    DoneButError,
    /// It is not done, and answered with an internal error.
    InternalError,
    /// It is not done: throttled.
    Throttle,
    /// It is not done: somebody else is writing to an item of it.
    Conflict,
    /// It is answered with an internal error, and is on its way still: [`Plan::deliver`] lets it arrive.
    Hold,
    /// It does not leave before [`Plan::open`].
    Wait,
    /// It is done, and not answered before [`Plan::open`].
    DoneAndWait,
    /// It is not done: throttled, and not told so before [`Plan::open`].
    WaitAndThrottle,
    /// It is a read that arrives and is answered, and whose answer is kept for [`Fault::Stale`] and [`Fault::Half`].
    Keep,
    /// It is a read that is answered as the kept one was, unless it asks for consistency.
    Stale,
    /// A transaction is being committed, and its items become visible one by one. A single read, consistent or not, is
    /// answered as the kept one was, or with nothing if none was kept; a read in a transaction is a conflict.
    Half,
}

/// How long a test waits for a request that its script holds back: where the code never sends it, the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which requests meet which fault.
///
/// A script names each request by its operation, and where that is not enough by words that its body contains:
/// `"PutItem"`, `"DeleteItem INSTANCE#django"`, or `"GetItem|TransactGetItems 05000"` where either operation is meant.
#[derive(Clone, Debug, Default)]
pub struct Plan(Arc<Mutex<Faults>>, Arc<Gate>);

/// Where requests wait.
#[derive(Debug)]
struct Gate {
    arrivals: Semaphore,
    passes: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrivals: Semaphore::new(0), passes: Semaphore::new(0) }
    }
}

#[derive(Debug, Default)]
struct Faults {
    /// For the next requests that are named so, in order.
    scripted: VecDeque<(&'static str, Fault)>,
    /// For all others: how many in a hundred, and from what.
    random: Option<(u32, SmallRng)>,
    met: usize,
    /// What is on its way, and where to.
    held: Vec<(SharedHttpConnector, HttpRequest)>,
    /// The answer that [`Fault::Keep`] kept.
    kept: Option<Vec<u8>>,
}

/// Whether a script's name of a request fits this one.
fn names(name: &str, operation: &str, body: &[u8]) -> bool {
    let mut words = name.split(' ');
    words.next().is_some_and(|operations| operations.split('|').any(|one| one == operation))
        && words.all(|word| contains(body, word))
}

fn contains(body: &[u8], word: &str) -> bool {
    body.windows(word.len()).any(|window| window == word.as_bytes())
}

impl Plan {
    /// These faults for the next requests that are named so, in order; nothing else.
    pub fn script(faults: &[(&'static str, Fault)]) -> Self {
        let faults = Faults { scripted: faults.iter().copied().collect(), ..Faults::default() };
        Self(Arc::new(Mutex::new(faults)), Arc::default())
    }

    /// These as well, after those that are left: for a process that has been warmed up meanwhile.
    pub fn add(&self, faults: &[(&'static str, Fault)]) {
        self.0.lock().unwrap().scripted.extend(faults);
    }

    /// So many in a hundred, from a seed.
    pub fn random(percent: u32, seed: u64) -> Self {
        let random = Some((percent, SmallRng::seed_from_u64(seed)));
        Self(Arc::new(Mutex::new(Faults { random, ..Faults::default() })), Arc::default())
    }

    /// Until a request waits.
    pub async fn waiting(&self) {
        let arrival = tokio::time::timeout(PATIENCE, self.1.arrivals.acquire()).await;
        arrival.unwrap_or_else(|_| panic!("no request waits; still to come: {:?}", self.left())).unwrap().forget();
    }

    fn left(&self) -> Vec<(&'static str, Fault)> {
        self.0.lock().unwrap().scripted.iter().copied().collect()
    }

    /// Lets one request that waits go.
    pub fn open(&self) {
        self.1.passes.add_permits(1);
    }

    /// Lets what was held arrive, now that nobody waits for it.
    pub async fn deliver(&self) {
        let held = std::mem::take(&mut self.0.lock().unwrap().held);
        assert!(!held.is_empty(), "nothing is on its way");
        for (connector, request) in held {
            connector.call(request).await.unwrap();
        }
    }

    /// How many requests met a fault.
    pub fn met(&self) -> usize {
        self.0.lock().unwrap().met
    }

    /// Whether every scripted fault was met.
    pub fn is_done(&self) -> bool {
        self.0.lock().unwrap().scripted.is_empty()
    }

    fn next(&self, operation: &str, body: &[u8]) -> Fault {
        let mut faults = self.0.lock().unwrap();
        let fault = match faults.scripted.front().copied() {
            Some((scripted, fault)) if names(scripted, operation, body) => {
                faults.scripted.pop_front();
                fault
            }
            Some(_) => Fault::None,
            None => match &mut faults.random {
                Some((percent, random)) => match (random.random_range(0..100) < *percent, random.random_range(0..5)) {
                    (false, _) => Fault::None,
                    (true, 0) => Fault::LoseReply,
                    (true, 1) => Fault::DoneButError,
                    (true, 2) => Fault::InternalError,
                    (true, 3) => Fault::Throttle,
                    (true, _) => Fault::Conflict,
                },
                None => Fault::None,
            },
        };
        faults.met += usize::from(fault != Fault::None);
        fault
    }

    /// An HTTP client that behaves so.
    pub fn client(&self) -> SharedHttpClient {
        let plan = self.clone();
        let wire = aws_smithy_http_client::Builder::new().build_http();
        answering_over(wire, move |wire, request| plan.send(wire.clone(), request))
    }

    /// The answer to a read of the past: the one that was kept, or else that nothing is there.
    fn past(&self, operation: &str) -> HttpResponse {
        let nothing = if operation == "GetItem" { "{}" } else { r#"{"Items":[],"Count":0,"ScannedCount":0}"# };
        let kept = self.0.lock().unwrap().kept.clone();
        HttpResponse::new(200.try_into().unwrap(), kept.map_or_else(|| SdkBody::from(nothing), SdkBody::from))
    }

    fn send(&self, answer: SharedHttpConnector, request: Request) -> HttpConnectorFuture {
        let fault = self.next(request.operation(), request.body());
        let (operation, request) = (request.operation().to_owned(), request.http);
        match fault {
            Fault::None => answer.call(request),
            Fault::LoseReply => HttpConnectorFuture::new(async move {
                answer.call(request).await?;
                Err(ConnectorError::io("the connection broke before the answer".into()))
            }),
            Fault::DoneButError => HttpConnectorFuture::new(async move {
                answer.call(request).await?;
                Ok(error(500, "InternalServerError"))
            }),
            Fault::Hold => {
                self.0.lock().unwrap().held.push((answer, request));
                HttpConnectorFuture::ready(Ok(error(500, "InternalServerError")))
            }
            Fault::Wait => {
                let gate = Arc::clone(&self.1);
                HttpConnectorFuture::new(async move {
                    gate.arrivals.add_permits(1);
                    gate.passes.acquire().await.unwrap().forget();
                    answer.call(request).await
                })
            }
            Fault::DoneAndWait => {
                let gate = Arc::clone(&self.1);
                HttpConnectorFuture::new(async move {
                    let answer = answer.call(request).await;
                    gate.arrivals.add_permits(1);
                    gate.passes.acquire().await.unwrap().forget();
                    answer
                })
            }
            Fault::WaitAndThrottle => {
                let gate = Arc::clone(&self.1);
                HttpConnectorFuture::new(async move {
                    gate.arrivals.add_permits(1);
                    gate.passes.acquire().await.unwrap().forget();
                    Ok(error(400, "ThrottlingException"))
                })
            }
            Fault::Keep => {
                let plan = self.clone();
                HttpConnectorFuture::new(async move {
                    let mut response = answer.call(request).await?;
                    let body = ByteStream::new(response.take_body()).collect().await;
                    let body = body.map_err(|error| ConnectorError::other(error.into(), None))?.to_vec();
                    *response.body_mut() = SdkBody::from(body.clone());
                    plan.0.lock().unwrap().kept = Some(body);
                    Ok(response)
                })
            }
            Fault::Stale if contains(request.body().bytes().unwrap_or_default(), r#""ConsistentRead":true"#) => {
                answer.call(request)
            }
            Fault::Half if operation.starts_with("Transact") => {
                HttpConnectorFuture::ready(Ok(conflict(&operation, &request).unwrap()))
            }
            Fault::Stale | Fault::Half => HttpConnectorFuture::ready(Ok(self.past(&operation))),
            Fault::InternalError => HttpConnectorFuture::ready(Ok(error(500, "InternalServerError"))),
            Fault::Throttle => HttpConnectorFuture::ready(Ok(error(400, "ThrottlingException"))),
            Fault::Conflict => match conflict(&operation, &request) {
                Some(response) => HttpConnectorFuture::ready(Ok(response)),
                None => answer.call(request),
            },
        }
    }
}

/// How DynamoDB says that another transaction is writing to the same items. A transaction says it in its reasons, item
/// by item; a single write as an exception; a read has none.
pub fn conflict(operation: &str, request: &HttpRequest) -> Option<HttpResponse> {
    match operation {
        "TransactWriteItems" => Some(cancelled(request)),
        "TransactGetItems" => Some(error_with(
            400,
            "TransactionCanceledException",
            r#""CancellationReasons":[{"Code":"TransactionConflict"}]"#,
        )),
        "PutItem" | "UpdateItem" | "DeleteItem" => Some(error(400, "TransactionConflictException")),
        _ => None,
    }
}

/// All of a transaction's items in conflict.
fn cancelled(request: &HttpRequest) -> HttpResponse {
    let body: serde_json::Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
    let items = body["TransactItems"].as_array().map_or(0, Vec::len);
    let reasons = vec![r#"{"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"}"#; items];
    error_with(400, "TransactionCanceledException", &format!(r#""CancellationReasons":[{}]"#, reasons.join(",")))
}

/// An error in DynamoDB's words.
pub fn error(status: u16, code: &str) -> HttpResponse {
    error_with(status, code, r#""x":0"#)
}

/// The same, with members of its own.
pub fn error_with(status: u16, code: &str, more: &str) -> HttpResponse {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"injected",{more}}}"#);
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
}
