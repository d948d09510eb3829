//! DynamoDB at a distance, in simulated time: the embedded one, called in this process behind a network that takes time
//! and on which transactions conflict.
//!
//! It is for runtimes whose time is paused (`start_paused`): nothing waits for a wall clock, so a crowd of a thousand
//! is as crowded on a slow machine as on a fast one. The SDK's own path is real, down to the bytes of each request.
//! Conflicts, which real DynamoDB has and the embedded one cannot have, are added here: a write that arrives while a
//! transaction on the same item is in progress is refused with a conflict, and so is a random share of all other
//! transactions. Partitions have the limits of DynamoDB if a test or a benchmark [wants them](Distant::limit): what is
//! beyond them is throttled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use dynoxide::{AttributeValue, Database};
use portmaster_local::{Request, perform, response, without_tokens};
use portmaster_registry::{Call, Registry, Table, in_process};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::clock::clock;
use crate::connector::{Answer, Profile, client};
use crate::limits::{Limiter, Need, Units, beyond, need, size};
use crate::words::{conflict_on, throttled_on};
use crate::{Fault, Limits, TABLE, keys};

/// How far away DynamoDB is.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// A round trip of a read or of a single write.
    pub request: Duration,
    /// A round trip of a transaction: a third on its way, a third in progress on its items, a third back.
    pub transaction: Duration,
    /// How far each part of a round trip may deviate, as a share of it.
    pub jitter: f64,
    /// How many transactions in a thousand conflict with a caller that is not simulated otherwise.
    pub conflicts: u32,
}

impl Network {
    /// Reads of 5 ms and transactions of 15 ms, each part of them up to a half longer or shorter; 1 in 100 conflicts.
    pub const USUAL: Self =
        Self { request: Duration::from_millis(5), transaction: Duration::from_millis(15), jitter: 0.5, conflicts: 10 };

    /// Every round trip takes the same time and no caller conflicts: for counting rounds.
    pub const fn exact(round_trip: Duration) -> Self {
        Self { request: round_trip, transaction: round_trip, jitter: 0.0, conflicts: 0 }
    }
}

/// The traffic on the network, and the capacity that it consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Requests of any kind.
    pub requests: u64,
    /// Of these, transactions that write.
    pub transactions: u64,
    /// Of these, how many met a conflict.
    pub conflicts: u64,
    /// Requests that were throttled.
    pub throttled: u64,
    /// Write units that a limited table took, whether or not the writes' conditions held.
    pub write_units: f64,
    /// Bytes of answers.
    pub bytes: u64,
}

/// The item of an allocation, as if an instance `filler-<port>` of the service had accepted it long ago.
pub fn filler(service: &str, port: u16) -> HashMap<String, AttributeValue> {
    let item = json!({
        "pk": { "S": "N#default#PORT" },
        "sk": { "S": format!("{port:05}") },
        "service": { "S": service },
        "name": { "S": format!("filler-{port}") },
        "state": { "S": "allocated" },
        "secret": { "S": format!("{port:04x}ffff-ffff-8fff-bfff-ffffffffffff") },
        "created": { "N": "1700000000000" },
        "accepted": { "N": "1700000000001" },
    });
    serde_json::from_value(item).unwrap()
}

/// A table at a distance. Clones share it.
#[derive(Clone)]
pub struct Distant {
    database: Database,
    network: Network,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: SmallRng,
    /// How many transactions are in progress on an item.
    under_way: HashMap<(String, String), u32>,
    traffic: Traffic,
    /// None: a partition takes everything.
    limiter: Option<Limiter>,
}

impl std::fmt::Debug for Distant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distant({:?})", self.network)
    }
}

impl Distant {
    /// Creates an empty table at this distance. The seed determines what happens on the way, not what callers draw.
    pub async fn new(network: Network, seed: u64) -> Self {
        let state = State {
            random: SmallRng::seed_from_u64(seed),
            under_way: HashMap::new(),
            traffic: Traffic::default(),
            limiter: None,
        };
        let database = Database::memory().unwrap();
        let distant = Self { database, network, state: Arc::new(Mutex::new(state)) };
        let table = Table::new(distant.client().await, TABLE);
        table.create(&Call::within(Duration::from_secs(60))).await.unwrap();
        distant.take_traffic();
        distant
    }

    /// From now on it takes no more than this; or everything, if none.
    pub fn limit(&self, limits: Option<Limits>) {
        self.state.lock().unwrap().limiter = limits.map(Limiter::new);
    }

    /// Returns a client of it.
    pub async fn client(&self) -> Client {
        Client::from_conf(in_process(client(self.clone())).interceptor(without_tokens()).build())
    }

    /// Starts a process of its own, which remembers nothing and whose clock is the simulated one.
    #[must_use]
    pub fn process(&self, client: &Client) -> Registry {
        Registry::new(Table::new(client.clone(), TABLE), clock(), Registry::OFFER_SECONDS)
    }

    /// Returns what was sent since the last call.
    pub fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut self.state.lock().unwrap().traffic)
    }

    /// Writes allocations of a service, as [`filler`] makes them.
    pub fn fill(&self, service: &str, ports: impl Iterator<Item = u16>) {
        let items = ports.map(|port| filler(service, port)).collect();
        self.database.import_items(TABLE, items, dynoxide::ImportOptions::default()).unwrap();
    }

    /// Writes so many Instance items of a service: first those of the allocations that [`Distant::fill`] makes on these
    /// ports, then, on the same ports, as many as are left, whose claims are gone.
    pub fn fill_names(&self, service: &str, ports: impl Iterator<Item = u16> + Clone, names: usize) {
        let live = ports.clone().map(|port| (format!("filler-{port}"), port, "ffff-ffff-8fff-bfff-ffffffffffff"));
        let gone = ports.cycle().enumerate();
        let gone = gone.map(|(i, port)| (format!("gone-{i}"), port, "eeee-eeee-8eee-beee-eeeeeeeeeeee"));
        let item = |(name, port, secret): (String, u16, &str)| {
            let item = json!({
                "pk": { "S": format!("N#default#INSTANCE#{service}") },
                "sk": { "S": name },
                "port": { "N": port.to_string() },
                "secret": { "S": format!("{port:04x}{secret}") },
            });
            serde_json::from_value(item).unwrap()
        };
        let items = live.chain(gone).take(names).map(item).collect();
        self.database.import_items(TABLE, items, dynoxide::ImportOptions::default()).unwrap();
    }

    /// Copies everything that is in the namespace `default`, with its services and ports, to namespaces of these names,
    /// which exist then. What is copied has the same versions and secrets: for tests of what reads it.
    pub fn copy_default(&self, names: impl Iterator<Item = String>) {
        let body = json!({ "TableName": TABLE }).to_string();
        let page: serde_json::Value =
            serde_json::from_str(&perform(&self.database, "Scan", body.as_bytes()).unwrap()).unwrap();
        assert!(page.get("LastEvaluatedKey").is_none(), "more than a page");
        let items: Vec<_> = page["Items"].as_array().unwrap().iter().filter(|item| is_of_default(item)).collect();
        for name in names {
            let namespace = json!({
                "pk": { "S": "NAMESPACES" },
                "sk": { "S": name },
                "description": { "S": "" },
                "created": { "N": "1700000000000" },
                "version": { "S": "00000000-0000-4000-8000-000000000000" },
            });
            let copied = items.iter().map(|item| {
                let mut item = (*item).clone();
                let pk = item["pk"]["S"].as_str().unwrap().replacen("N#default", &format!("N#{name}"), 1);
                item["pk"] = json!({ "S": pk });
                item
            });
            let items = copied.chain([namespace]).map(|item| serde_json::from_value(item).unwrap()).collect();
            self.database.import_items(TABLE, items, dynoxide::ImportOptions::default()).unwrap();
        }
    }

    /// Draws how long a part of a round trip takes this time.
    fn part(&self, of: Duration) -> Duration {
        let stray = self.network.jitter;
        let factor = 1.0 + self.state.lock().unwrap().random.random_range(-stray..=stray);
        of.mul_f64(factor)
    }

    /// Begins a transaction on these items, or another write to them. The error says on which of them another is in
    /// progress.
    fn begin(&self, items: &[(String, String)], is_transaction: bool) -> Result<(), Vec<bool>> {
        let mut state = self.state.lock().unwrap();
        let in_conflict: Vec<_> = items.iter().map(|item| state.under_way.contains_key(item)).collect();
        if in_conflict.contains(&true) {
            return Err(in_conflict);
        }
        if is_transaction {
            if state.random.random_range(0..1000) < self.network.conflicts {
                return Err(items.iter().enumerate().map(|(i, _)| i == 0).collect());
            }
            for item in items {
                *state.under_way.entry(item.clone()).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Takes from its partitions what a request is known to need. The error says of what they have too little left, and
    /// for which of its items.
    fn admit(&self, operation: &str, body: &[u8]) -> Result<Option<Need>, (Units, Vec<bool>)> {
        if self.state.lock().unwrap().limiter.is_none() {
            return Ok(None);
        }
        let Some(need) = need(operation, body, |key| self.stored(key)) else { return Ok(None) };
        let mut state = self.state.lock().unwrap();
        match state.limiter.as_mut().map(|limiter| limiter.admit(&need, Instant::now())) {
            None | Some(Ok(())) => {
                if need.units == Units::Write {
                    state.traffic.write_units += need.items.iter().map(|(_, units)| units).sum::<f64>();
                }
                Ok(Some(need))
            }
            Some(Err(is_short)) => {
                state.traffic.throttled += 1;
                Err((need.units, is_short))
            }
        }
    }

    /// Takes what a read took beyond that.
    fn charge(&self, admitted: Option<&Need>, answer: &HttpResponse) {
        let Some(admitted) = admitted.filter(|need| need.units == Units::Read) else { return };
        let beyond = answer.body().bytes().and_then(|answer| beyond(admitted, answer));
        if let (Some(beyond), Some(limiter)) = (beyond, &mut self.state.lock().unwrap().limiter) {
            limiter.charge(&beyond, Instant::now());
        }
    }

    /// The size of an item that is in the table.
    fn stored(&self, (pk, sk): &(String, String)) -> Option<usize> {
        let body = json!({ "TableName": TABLE, "Key": { "pk": { "S": pk }, "sk": { "S": sk } } }).to_string();
        let answer = perform(&self.database, "GetItem", body.as_bytes()).ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer.get("Item").map(size)
    }

    fn count(&self, change: impl FnOnce(&mut Traffic)) {
        change(&mut self.state.lock().unwrap().traffic);
    }
}

/// A transaction that is in progress on these items: until it has been performed, or until its caller's time is over and
/// it is dropped, which is as if it had been lost on its way.
struct UnderWay<'a> {
    on: &'a Distant,
    items: &'a [(String, String)],
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.on.state.lock().unwrap();
        for item in self.items {
            state.under_way.remove(item);
        }
    }
}

fn is_of_default(item: &serde_json::Value) -> bool {
    item["pk"]["S"].as_str().is_some_and(|pk| pk == "N#default" || pk.starts_with("N#default#"))
}

/// The items that a request writes, or reads as a transaction.
fn written(operation: &str, body: &[u8]) -> Vec<(String, String)> {
    match operation {
        "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" | "TransactGetItems" => keys(body),
        _ => Vec::new(),
    }
}

impl Profile for Distant {
    /// A third of its round trip, before the deviation.
    type Passage = Duration;

    fn leaves(&self, request: &Request) -> (Fault, Duration) {
        self.count(|traffic| traffic.requests += 1);
        let round_trip = if is_transaction(request) { self.network.transaction } else { self.network.request };
        (Fault::None, round_trip / 3)
    }

    async fn there(&self, _: &Request, third: &Duration) {
        sleep(self.part(*third)).await;
    }

    async fn done(&self, request: Request, third: &Duration) -> Answer {
        let (operation, body) = (request.operation(), request.body());
        let admitted = match self.admit(operation, body) {
            Ok(admitted) => admitted,
            Err((units, is_short)) => return Ok(throttled_on(operation, units, &is_short)),
        };
        let written = written(operation, body);
        let answer = match self.begin(&written, is_transaction(&request)) {
            Err(in_conflict) => {
                self.count(|traffic| traffic.conflicts += 1);
                Ok(conflict_on(operation, &in_conflict).unwrap())
            }
            Ok(()) if is_transaction(&request) => {
                self.count(|traffic| traffic.transactions += 1);
                let _under_way = UnderWay { on: self, items: &written };
                sleep(self.part(*third)).await;
                response(perform(&self.database, operation, body))
            }
            Ok(()) => {
                sleep(self.part(*third)).await;
                response(perform(&self.database, operation, body))
            }
        }?;
        self.charge(admitted.as_ref(), &answer);
        let bytes = answer.body().bytes().map_or(0, <[u8]>::len) as u64;
        self.count(|traffic| traffic.bytes += bytes);
        Ok(answer)
    }

    fn later(&self, request: Request, third: Duration) {
        let this = self.clone();
        tokio::spawn(async move {
            sleep(third * 20).await;
            let _ = this.done(request, &third).await;
        });
    }

    async fn back(&self, third: Duration) {
        sleep(self.part(third)).await;
    }
}

fn is_transaction(request: &Request) -> bool {
    request.operation() == "TransactWriteItems"
}
