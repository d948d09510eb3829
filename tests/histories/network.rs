//! A DynamoDB and the way to it, in one thread and in virtual time: the SDK's requests, down to its HTTP client, and from
//! there straight into the embedded database. On the way a request may be refused, delayed, done without an answer, done
//! long after its answer, answered from the past, or be its caller's last; all of it drawn from one seed.
//!
//! What it does that the embedded database alone does not, and the real one does: conflicts, throttling and internal
//! errors; a transaction whose writes become visible one by one; eventual reads that are old; requests that arrive after
//! their caller gave them up.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use portmaster::{answering, perform};
use portmaster_testkit::keys;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use portmaster_testkit::{conflict, error};

/// What a caller meets on its way. One for each operation in progress; the requests find it by the task they are in.
#[derive(Debug, Default)]
pub struct Trip {
    /// Whether a write of it ended so that nobody knew whether it was done.
    pub doubt: AtomicBool,
    /// When the first and the last of its writes were sent that were done, or may be done later.
    sent: Mutex<Option<(Instant, Instant)>>,
    requests: AtomicU32,
    /// At which request the caller stops, and whether that request is done.
    stop_at: Option<(u32, bool)>,
    /// The caller stops now.
    pub stopped: Notify,
}

impl Trip {
    pub fn new(stop_at: Option<(u32, bool)>) -> Arc<Self> {
        Arc::new(Self { stop_at, ..Self::default() })
    }

    pub fn was_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

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
    /// The operation that this task is doing.
    pub static TRIP: Arc<Trip>;
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Not done: another transaction on the same items.
    Conflict,
    /// Not done: this very transaction is in progress, it says.
    InProgress,
    /// Not done: throttled.
    Throttled,
    /// Not done: the same in words for a table with a provisioned throughput.
    ThroughputExceeded,
    /// Not done, and answered with an internal error.
    InternalError,
    /// Done, and answered with an internal error.
    DoneButError,
    /// Done, and the connection breaks before the answer.
    LostReply,
    /// Answered with an internal error, and done afterwards.
    Late,
    /// On its way for a long time, there or back: others overtake it.
    Slow,
    /// A transaction whose writes become visible one by one.
    Torn,
    /// An eventual read of the past.
    Stale,
}

const FAULTS: [Fault; 11] = [
    Fault::Conflict,
    Fault::InProgress,
    Fault::Throttled,
    Fault::ThroughputExceeded,
    Fault::InternalError,
    Fault::DoneButError,
    Fault::LostReply,
    Fault::Late,
    Fault::Slow,
    Fault::Torn,
    Fault::Stale,
];

/// The whole of it.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Inner>>);

struct Inner {
    database: Database,
    random: SmallRng,
    /// How many requests in a hundred meet a fault.
    percent: u32,
    /// Whether a release may arrive late: not where clocks disagree, which is the hole that the design names.
    late_releases: bool,
    met: BTreeMap<Fault, usize>,
    requests: usize,
    /// The last answers to eventual reads, by request.
    past: HashMap<Vec<u8>, String>,
    /// What single reads still show of the items of transactions that are being committed.
    torn: HashMap<(String, String), (Option<Value>, Instant)>,
    /// Claims that somebody was told of: secret, service, port.
    told: Vec<(String, String, u16)>,
    /// What the next request of an operation meets.
    script: Option<(&'static str, Fault)>,
    violations: Vec<String>,
    trace: u64,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
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
            told: Vec::new(),
            script: None,
            violations: Vec::new(),
            trace: 0,
        })))
    }

    pub fn client(&self) -> SharedHttpClient {
        let network = self.clone();
        answering(move |request| {
            let trip = TRIP.try_with(Arc::clone).ok();
            let operation = request.operation().to_owned();
            HttpConnectorFuture::new(network.clone().serve(operation, request.http, trip))
        })
    }

    /// From now on nothing goes wrong, or it does again.
    pub fn set_percent(&self, percent: u32) {
        self.0.lock().unwrap().percent = percent;
    }

    /// The next request of this operation meets this.
    pub fn script(&self, operation: &'static str, fault: Fault) {
        self.0.lock().unwrap().script = Some((operation, fault));
    }

    pub fn percent(&self) -> u32 {
        self.0.lock().unwrap().percent
    }

    pub fn met(&self) -> BTreeMap<Fault, usize> {
        self.0.lock().unwrap().met.clone()
    }

    pub fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }

    /// A digest of every request's operation, fault and time: equal where two runs were the same.
    pub fn trace(&self) -> u64 {
        self.0.lock().unwrap().trace
    }

    /// A claim that somebody was told of. From now on its service must cover it, as long as it is there.
    pub fn told(&self, secret: String, service: &str, port: u16) {
        let mut inner = self.0.lock().unwrap();
        inner.told.push((secret, service.to_owned(), port));
        inner.check_services();
    }

    /// What no table may ever look like, and did.
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().unwrap().violations.clone()
    }

    /// Every item, or a plain request of the test's own; without faults.
    pub fn ask(&self, operation: &str, body: &Value) -> Value {
        let answer = self.0.lock().unwrap().perform(operation, body.to_string().as_bytes());
        serde_json::from_str(&answer.unwrap_or_else(|(_, error)| panic!("{operation}: {error}"))).unwrap()
    }

    pub fn items(&self, table: &str) -> Vec<Value> {
        self.ask("Scan", &json!({ "TableName": table }))["Items"].as_array().cloned().unwrap_or_default()
    }

    async fn serve(self, operation: String, request: HttpRequest, trip: Option<Arc<Trip>>) -> Answer {
        let (fault, there, back) = self.0.lock().unwrap().draw(&operation, &request);
        let is_write = !matches!(operation.as_str(), "GetItem" | "TransactGetItems" | "Query" | "Scan");
        let mut given_up = GivenUp(trip.clone().filter(|_| is_write));
        if let Some(trip) = &trip {
            use Fault::{Conflict, DoneButError, InternalError, Late, LostReply, Throttled, ThroughputExceeded};
            let refused = matches!(fault, Some(Conflict | InternalError | Throttled | ThroughputExceeded));
            if is_write && !(refused && trip.stop_at.is_none()) {
                trip.sends();
            }
            if is_write && matches!(fault, Some(InternalError | DoneButError | LostReply | Late)) {
                trip.doubt.store(true, Ordering::Relaxed);
            }
            let number = trip.requests.fetch_add(1, Ordering::Relaxed);
            match trip.stop_at {
                Some((at, done)) if at == number => {
                    sleep(there).await;
                    if done {
                        self.done(&operation, &request, None);
                    }
                    trip.stopped.notify_one();
                    return std::future::pending().await;
                }
                _ => {}
            }
        }
        sleep(there).await;
        let answer = match fault {
            Some(Fault::Conflict) => match conflict(&operation, &request) {
                Some(answer) => Ok(answer),
                None => Ok(self.done(&operation, &request, None)),
            },
            Some(Fault::InProgress) if operation == "TransactWriteItems" => {
                Ok(error(400, "TransactionInProgressException"))
            }
            Some(Fault::Throttled) => Ok(error(400, "ThrottlingException")),
            Some(Fault::ThroughputExceeded) => Ok(error(400, "ProvisionedThroughputExceededException")),
            Some(Fault::InternalError) => Ok(error(500, "InternalServerError")),
            Some(Fault::DoneButError) => {
                self.done(&operation, &request, None);
                Ok(error(500, "InternalServerError"))
            }
            Some(Fault::LostReply) => {
                self.done(&operation, &request, None);
                Err(ConnectorError::io("the connection broke before the answer".into()))
            }
            Some(Fault::Late) => {
                let network = self.clone();
                let late = back * 20;
                tokio::spawn(async move {
                    sleep(late).await;
                    network.done(&operation, &request, None);
                });
                given_up.0 = None;
                return Ok(error(503, "ServiceUnavailable"));
            }
            Some(Fault::InProgress | Fault::Slow | Fault::Torn | Fault::Stale) | None => {
                Ok(self.done(&operation, &request, fault.map(|fault| (fault, back))))
            }
        };
        sleep(back).await;
        given_up.0 = None;
        answer
    }

    /// Done, now.
    fn done(&self, operation: &str, request: &HttpRequest, fault: Option<(Fault, Duration)>) -> HttpResponse {
        let body = request.body().bytes().unwrap_or_default();
        let mut inner = self.0.lock().unwrap();
        if let Some(answer) = inner.in_the_middle_of_a_transaction(operation, request) {
            return answer;
        }
        let eventual = matches!(operation, "Query" | "Scan") && !contains(body, br#""ConsistentRead":true"#);
        if eventual
            && fault.is_some_and(|(fault, _)| fault == Fault::Stale)
            && let Some(past) = inner.past.get(body)
        {
            return answer(200, past.clone());
        }
        let before = match fault {
            Some((Fault::Torn, lag)) if operation == "TransactWriteItems" => Some((inner.images(body), lag)),
            _ => None,
        };
        match inner.perform(operation, body) {
            Ok(text) => {
                if let Some((images, lag)) = before {
                    inner.tear(images, lag);
                }
                if eventual {
                    inner.past.insert(body.to_vec(), text.clone());
                }
                if !matches!(operation, "GetItem" | "TransactGetItems" | "Query" | "Scan") {
                    inner.check(body);
                }
                answer(200, text)
            }
            Err((status, text)) => answer(status, text),
        }
    }
}

/// A write that was not waited for is in doubt as well.
struct GivenUp(Option<Arc<Trip>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(trip) = &self.0 {
            trip.doubt.store(true, Ordering::Relaxed);
        }
    }
}

type Answer = Result<HttpResponse, ConnectorError>;

impl Inner {
    /// What happens to a request, and how long it takes there and back.
    fn draw(&mut self, operation: &str, request: &HttpRequest) -> (Option<Fault>, Duration, Duration) {
        self.requests += 1;
        let mut fault = (self.random.random_range(0..100) < self.percent)
            .then(|| FAULTS[self.random.random_range(0..FAULTS.len())]);
        if let Some((_, scripted)) = self.script.take_if(|(scripted, _)| *scripted == operation) {
            fault = Some(scripted);
        }
        let body = request.body().bytes().unwrap_or_default();
        if fault == Some(Fault::Late) && operation == "DeleteItem" && contains(body, b":sent") && !self.late_releases {
            fault = None;
        }
        let mut way = |slow: bool| Duration::from_millis(self.random.random_range(if slow { 40..400 } else { 0..4 }));
        let (there, back) = match fault {
            Some(Fault::Slow) => {
                let there = way(true);
                (there, way(true))
            }
            Some(Fault::Late | Fault::Torn) => {
                let there = way(false);
                (there, way(true))
            }
            _ => {
                let there = way(false);
                (there, way(false))
            }
        };
        if let Some(fault) = fault {
            *self.met.entry(fault).or_default() += 1;
        }
        let event = format!("{operation} {fault:?} {there:?} {back:?} {}", body.len());
        self.trace =
            event.bytes().fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        (fault, there, back)
    }

    /// Straight into the database, as its own server does it.
    fn perform(&mut self, operation: &str, body: &[u8]) -> Result<String, (u16, String)> {
        perform(&self.database, operation, body)
    }

    /// The items that a transaction writes, as they are now.
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

    /// Shows them as they were for a while, each for its own; never longer than the transaction takes to be answered.
    fn tear(&mut self, images: Vec<((String, String), Option<Value>)>, lag: Duration) {
        for (key, image) in images {
            let millis = u64::try_from(lag.as_millis()).unwrap();
            let until = Instant::now() + Duration::from_millis(self.random.random_range(0..=millis));
            self.torn.insert(key, (image, until));
        }
    }

    /// What a request is told that meets a transaction half committed. A single read sees the item as it was, a Query
    /// does not see what is new; everything else is a conflict.
    fn in_the_middle_of_a_transaction(&mut self, operation: &str, request: &HttpRequest) -> Option<HttpResponse> {
        let now = Instant::now();
        self.torn.retain(|_, (_, until)| *until > now);
        if self.torn.is_empty() {
            return None;
        }
        let body = request.body().bytes().unwrap_or_default();
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
            _ => keys(body).iter().any(|key| self.torn.contains_key(key)).then(|| conflict(operation, request))?,
        }
    }

    /// After every write: what no table may look like, at no moment and by nobody's clock.
    fn check(&mut self, body: &[u8]) {
        let written = keys(body);
        if written.iter().any(|(pk, _)| pk.ends_with("#PORT")) {
            let mut names = HashMap::new();
            for item in self.partition("N#default#PORT") {
                let holder = (item["service"]["S"].to_string(), item["name"]["S"].to_string());
                let port = item["sk"]["S"].to_string();
                if let Some(other) = names.insert(holder.clone(), port.clone()) {
                    // Who takes a name over removes or overwrites its last claim in the same transaction.
                    self.violations.push(format!("P2: {holder:?} has the Port items {other} and {port} at once"));
                }
            }
        }
        if written.iter().any(|(_, sk)| sk.starts_with("SERVICE#")) {
            self.check_services();
        }
    }

    /// P3 and P4: ranges do not overlap, and what somebody was told of, and is there still, lies in its service's range.
    fn check_services(&mut self) {
        let mut ranges: HashMap<String, (u16, u16)> = HashMap::new();
        for item in self.partition("N#default") {
            let Some(name) = item["name"]["S"].as_str() else { continue };
            let bound = |name: &str| item["range"]["M"][name]["N"].as_str().unwrap().parse::<u16>().unwrap();
            let (start, end) = (bound("start"), bound("end"));
            for (other, (first, last)) in &ranges {
                if start <= *last && *first <= end {
                    self.violations.push(format!("P3: {name} {start}-{end} overlaps {other} {first}-{last}"));
                }
            }
            ranges.insert(name.to_owned(), (start, end));
        }
        let there: HashMap<_, _> = self
            .partition("N#default#PORT")
            .into_iter()
            .map(|item| (item["secret"]["S"].as_str().unwrap_or_default().to_owned(), item))
            .collect();
        for (secret, service, port) in self.told.clone() {
            let covered = ranges.get(&service).is_some_and(|(first, last)| (*first..=*last).contains(&port));
            if !covered && let Some(item) = there.get(&secret) {
                self.violations.push(format!("P4: {service} does not cover {item}, now {:?}", ranges.get(&service)));
            }
        }
    }

    fn partition(&mut self, pk: &str) -> Vec<Value> {
        let query = json!({
            "TableName": portmaster_testkit::TABLE, "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
        });
        let found = self.perform("Query", query.to_string().as_bytes()).unwrap();
        serde_json::from_str::<Value>(&found).unwrap()["Items"].as_array().cloned().unwrap_or_default()
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn answer(status: u16, text: String) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(text))
}
