//! A DynamoDB and the way to it, in one thread and in virtual time: the SDK's requests, down to its HTTP client, and
//! from there straight into the embedded database. On the way a request may be refused, delayed, executed without a
//! response, executed long after its response, answered with past state, or be its caller's last; all of it is drawn
//! from one seed.
//!
//! It adds what real DynamoDB does and the embedded database alone does not: conflicts, throttling and internal errors;
//! transactions whose writes become visible one by one; stale eventual reads; requests that arrive after their caller
//! gave up on them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::HttpResponse;
use dynoxide::Database;
use portmaster_local::{Request, perform};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::connector::{Answer, Profile, client};
use crate::keys::{contains, is_consistent};
use crate::words::{answer, conflict};
use crate::{Fault, keys};

/// The path of a caller's requests. There is one for each operation in progress; the requests find it by the task they
/// are in.
#[derive(Debug, Default)]
pub struct Trip {
    /// Whether the outcome of one of its writes was ambiguous.
    doubt: AtomicBool,
    /// When the first and the last of its writes were sent that were executed, or may be executed later.
    sent: Mutex<Option<(Instant, Instant)>>,
    requests: AtomicU32,
    /// The request at which the caller stops, and whether that request is executed.
    stop_at: Option<(u32, bool)>,
    /// The caller stops now.
    pub stopped: Notify,
}

impl Trip {
    /// Returns a trip that stops at this request, if any, before or after it is executed.
    pub fn new(stop_at: Option<(u32, bool)>) -> Arc<Self> {
        Arc::new(Self { stop_at, ..Self::default() })
    }

    /// Whether the outcome of one of its writes was ambiguous.
    pub fn was_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// When the first and the last of its writes were sent that were executed, or may be executed later.
    pub fn sent(&self) -> Option<(Instant, Instant)> {
        *self.sent.lock().unwrap()
    }

    fn sends(&self) {
        let now = Instant::now();
        let mut sent = self.sent.lock().unwrap();
        *sent = Some((sent.map_or(now, |(first, _)| first), now));
    }
}

tokio::task_local! {
    /// The operation that this task performs.
    pub static TRIP: Arc<Trip>;
}

/// The faults that are drawn from.
const FAULTS: [Fault; 11] = [
    Fault::Conflict,
    Fault::InProgress,
    Fault::Throttle,
    Fault::ThroughputExceeded,
    Fault::InternalError,
    Fault::DoneButError,
    Fault::LoseReply,
    Fault::Late,
    Fault::Slow,
    Fault::Torn,
    Fault::Stale,
];

/// A table, and a way to it on which anything may go wrong. Clones share it.
#[derive(Clone)]
pub struct Faulty(Arc<Mutex<Inner>>);

/// Looks at the table after a write; takes the body of the request that wrote.
type Watch = Box<dyn FnMut(&Database, &[u8]) + Send>;

struct Inner {
    database: Database,
    random: SmallRng,
    /// How many requests in a hundred meet a fault.
    percent: u32,
    /// Whether a release may arrive late: not where clocks disagree, which is the gap that the design names.
    late_releases: bool,
    met: BTreeMap<Fault, usize>,
    requests: usize,
    /// The last responses to eventual reads, by request.
    past: HashMap<Vec<u8>, String>,
    /// The items of transactions that are being committed, as single reads still return them.
    torn: HashMap<(String, String), (Option<Value>, Instant)>,
    /// The fault that the next request of an operation meets.
    script: Option<(&'static str, Fault)>,
    watch: Option<Watch>,
    trace: u64,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    /// Creates an empty table. So many requests in a hundred meet a fault; the seed determines which, and the fault.
    pub fn new(seed: u64, percent: u32, late_releases: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            database: Database::memory().unwrap(),
            random: SmallRng::seed_from_u64(seed),
            percent,
            late_releases,
            met: BTreeMap::new(),
            requests: 0,
            past: HashMap::new(),
            torn: HashMap::new(),
            script: None,
            watch: None,
            trace: 0,
        })))
    }

    /// Returns an HTTP client that leads to the table on this way.
    pub fn client(&self) -> SharedHttpClient {
        client(self.clone())
    }

    /// Has `watch` look at the table after every write from now on, while nothing else can be done to the table.
    pub fn watch(&self, watch: impl FnMut(&Database, &[u8]) + Send + 'static) {
        self.0.lock().unwrap().watch = Some(Box::new(watch));
    }

    /// The table as it is.
    pub fn database(&self) -> Database {
        self.0.lock().unwrap().database.clone()
    }

    /// Sets how many requests in a hundred meet a fault from now on.
    pub fn set_percent(&self, percent: u32) {
        self.0.lock().unwrap().percent = percent;
    }

    /// Has the next request of this operation meet this fault.
    pub fn script(&self, operation: &'static str, fault: Fault) {
        self.0.lock().unwrap().script = Some((operation, fault));
    }

    /// How many requests in a hundred meet a fault.
    pub fn percent(&self) -> u32 {
        self.0.lock().unwrap().percent
    }

    /// How often each fault was met.
    pub fn met(&self) -> BTreeMap<Fault, usize> {
        self.0.lock().unwrap().met.clone()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }

    /// A digest of every request's operation, fault and time: equal if two runs were the same.
    pub fn trace(&self) -> u64 {
        self.0.lock().unwrap().trace
    }

    /// Sends a request of the test's own, without faults.
    pub fn ask(&self, operation: &str, body: &Value) -> Value {
        let answer = self.0.lock().unwrap().perform(operation, body.to_string().as_bytes());
        serde_json::from_str(&answer.unwrap_or_else(|(_, error)| panic!("{operation}: {error}"))).unwrap()
    }

    /// Every item of a table.
    pub fn items(&self, table: &str) -> Vec<Value> {
        self.ask("Scan", &json!({ "TableName": table }))["Items"].as_array().cloned().unwrap_or_default()
    }

    /// Executes a request now.
    fn arrive(&self, request: &Request, fault: Fault, lag: Duration) -> HttpResponse {
        let (operation, body) = (request.operation(), request.body());
        let mut inner = self.0.lock().unwrap();
        if let Some(answer) = inner.in_the_middle_of_a_transaction(request) {
            return answer;
        }
        let eventual = matches!(operation, "Query" | "Scan") && !is_consistent(body);
        if eventual
            && fault == Fault::Stale
            && let Some(past) = inner.past.get(body)
        {
            return answer(200, past.clone());
        }
        let before = (fault == Fault::Torn && operation == "TransactWriteItems").then(|| inner.images(body));
        match inner.perform(operation, body) {
            Ok(text) => {
                if let Some(images) = before {
                    inner.tear(images, lag);
                }
                if eventual {
                    inner.past.insert(body.to_vec(), text.clone());
                }
                if writes(operation) {
                    inner.written(body);
                }
                answer(200, text)
            }
            Err((status, text)) => answer(status, text),
        }
    }
}

/// The outcome of a write whose caller no longer waits is ambiguous as well.
struct GivenUp(Option<Arc<Trip>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(trip) = &self.0 {
            trip.doubt.store(true, Ordering::Relaxed);
        }
    }
}

/// The state of a request in flight.
pub(crate) struct Passage {
    fault: Fault,
    there: Duration,
    back: Duration,
    trip: Option<Arc<Trip>>,
    /// Whether its caller stops at it, and whether it is executed nevertheless.
    stops: Option<bool>,
    given_up: GivenUp,
}

impl Profile for Faulty {
    type Passage = Passage;

    fn leaves(&self, request: &Request) -> (Fault, Passage) {
        let (fault, there, back) = self.0.lock().unwrap().draw(request);
        let trip = TRIP.try_with(Arc::clone).ok();
        let is_write = writes(request.operation());
        let stops = trip.as_ref().and_then(|trip| {
            use Fault::{Conflict, DoneButError, InternalError, Late, LoseReply, Throttle, ThroughputExceeded};
            let refused = matches!(fault, Conflict | InternalError | Throttle | ThroughputExceeded);
            if is_write && !(refused && trip.stop_at.is_none()) {
                trip.sends();
            }
            if is_write && matches!(fault, InternalError | DoneButError | LoseReply | Late) {
                trip.doubt.store(true, Ordering::Relaxed);
            }
            let number = trip.requests.fetch_add(1, Ordering::Relaxed);
            trip.stop_at.and_then(|(at, done)| (at == number).then_some(done))
        });
        let given_up = GivenUp(trip.clone().filter(|_| is_write));
        (fault, Passage { fault, there, back, trip, stops, given_up })
    }

    async fn there(&self, request: &Request, passage: &Passage) {
        sleep(passage.there).await;
        if let (Some(done), Some(trip)) = (passage.stops, &passage.trip) {
            if done {
                self.arrive(request, Fault::None, passage.back);
            }
            trip.stopped.notify_one();
            std::future::pending().await
        }
    }

    async fn done(&self, request: Request, passage: &Passage) -> Answer {
        Ok(self.arrive(&request, passage.fault, passage.back))
    }

    fn later(&self, request: Request, mut passage: Passage) {
        let network = self.clone();
        passage.given_up.0 = None;
        tokio::spawn(async move {
            sleep(passage.back * 20).await;
            network.arrive(&request, passage.fault, passage.back);
        });
    }

    async fn back(&self, mut passage: Passage) {
        sleep(passage.back).await;
        passage.given_up.0 = None;
    }
}

fn writes(operation: &str) -> bool {
    !matches!(operation, "GetItem" | "TransactGetItems" | "Query" | "Scan")
}

impl Inner {
    /// Draws the fault of a request, and how long its way there and its way back take.
    fn draw(&mut self, request: &Request) -> (Fault, Duration, Duration) {
        let (operation, body) = (request.operation(), request.body());
        self.requests += 1;
        let mut fault = match self.random.random_range(0..100) < self.percent {
            true => FAULTS[self.random.random_range(0..FAULTS.len())],
            false => Fault::None,
        };
        if let Some((_, scripted)) = self.script.take_if(|(scripted, _)| *scripted == operation) {
            fault = scripted;
        }
        if fault == Fault::Late && operation == "DeleteItem" && contains(body, ":sent") && !self.late_releases {
            fault = Fault::None;
        }
        let mut way = |slow: bool| Duration::from_millis(self.random.random_range(if slow { 40..400 } else { 0..4 }));
        let (there, back) = match fault {
            Fault::Slow => {
                let there = way(true);
                (there, way(true))
            }
            Fault::Late | Fault::Torn => {
                let there = way(false);
                (there, way(true))
            }
            _ => {
                let there = way(false);
                (there, way(false))
            }
        };
        if fault != Fault::None {
            *self.met.entry(fault).or_default() += 1;
        }
        let event = format!("{operation} {fault:?} {there:?} {back:?} {}", body.len());
        self.trace =
            event.bytes().fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        (fault, there, back)
    }

    /// Executes a request straight in the database, as its own server does.
    fn perform(&mut self, operation: &str, body: &[u8]) -> Result<String, (u16, String)> {
        perform(&self.database, operation, body)
    }

    /// Returns the items that a transaction writes, as they are now.
    fn images(&mut self, body: &[u8]) -> Vec<((String, String), Option<Value>)> {
        let table = serde_json::from_slice::<Value>(body).unwrap()["TransactItems"][0]
            .as_object()
            .and_then(|item| item.values().next()?["TableName"].as_str().map(str::to_owned))
            .unwrap_or_default();
        keys(body)
            .into_iter()
            .map(|(pk, sk)| {
                let get = json!({ "TableName": table, "Key": { "pk": { "S": pk }, "sk": { "S": sk } } });
                let found = self.perform("GetItem", get.to_string().as_bytes()).unwrap();
                let item = serde_json::from_str::<Value>(&found).unwrap()["Item"].take();
                ((pk, sk), (!item.is_null()).then_some(item))
            })
            .collect()
    }

    /// Shows items as they were for a while, each for its own time, but never longer than until the transaction is
    /// answered.
    fn tear(&mut self, images: Vec<((String, String), Option<Value>)>, lag: Duration) {
        for (key, image) in images {
            let millis = u64::try_from(lag.as_millis()).unwrap();
            let until = Instant::now() + Duration::from_millis(self.random.random_range(0..=millis));
            self.torn.insert(key, (image, until));
        }
    }

    /// Returns the response to a request that meets a transaction half committed. A single read returns the item as it
    /// was, a Query does not return new items; everything else is a conflict.
    fn in_the_middle_of_a_transaction(&mut self, request: &Request) -> Option<HttpResponse> {
        let now = Instant::now();
        self.torn.retain(|_, (_, until)| *until > now);
        if self.torn.is_empty() {
            return None;
        }
        let (operation, body) = (request.operation(), request.body());
        match operation {
            "GetItem" => {
                let (image, _) = self.torn.get(keys(body).first()?)?;
                let item = image.as_ref().map_or_else(|| json!({}), |item| json!({ "Item": item }));
                Some(answer(200, item.to_string()))
            }
            "Query" => {
                let mut text: Value = serde_json::from_str(&self.perform(operation, body).ok()?).unwrap();
                let is_new = |item: &Value| {
                    let part = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
                    self.torn.get(&(part("pk"), part("sk"))).is_some_and(|(image, _)| image.is_none())
                };
                let items = text["Items"].as_array_mut()?;
                let all = items.len();
                items.retain(|item| !is_new(item));
                (items.len() < all).then(|| answer(200, text.to_string()))
            }
            "Scan" => None,
            _ => keys(body).iter().any(|key| self.torn.contains_key(key)).then(|| conflict(request))?,
        }
    }

    /// Calls the watch after a write.
    fn written(&mut self, body: &[u8]) {
        if let Some(watch) = &mut self.watch {
            watch(&self.database, body);
        }
    }
}
