//! The history after random histories equals what really happened, tenure by tenure, however its changes arrive.
//!
//! A history of leases is played (see `leases`), and every change of the table is noted in two ways: as a stream has it,
//! with the images before and after; and as the reference has it, which knows of each change *which request* made it,
//! and so why a tenure ended. Then the stream is delivered as Lambda does it: in batches, from several shards that
//! overtake each other, more than once, by functions that die in the middle or whose writes meet faults, and by some
//! that are late and write what is long known. What the history says in the end must be what the reference says.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use dynoxide::Database;
use portmaster_domain::{End, InstanceName, Namespace, Port, Secret, ServiceId, Tenure, TenureId, Timestamp};
use portmaster_registry::history::{AttributeValue, Attributes, Image, Moment, Sequence, changes};
use portmaster_registry::{Call, History, HistoryOf, Registry, Span, Table, in_process};
use portmaster_testkit::{EPOCH, Faulty, keys, millis_since};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::invariants::partition;

const HISTORY: &str = "portmaster-history";
const PORTS: &str = "N#default#PORT";

/// For how many days tenures are kept here.
const DAYS: u32 = 30;

/// The figures of many deliveries.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub histories: usize,
    pub changes: usize,
    pub tenures: usize,
    pub delivered: usize,
    pub deaths: usize,
    pub late: usize,
    pub faults: usize,
    /// How tenures ended, and how often a clock that differs made the answer another one than the request's.
    pub ends: BTreeMap<&'static str, usize>,
    pub by_clocks: usize,
}

impl AddAssign<&Self> for Figures {
    fn add_assign(&mut self, other: &Self) {
        self.histories += other.histories;
        self.changes += other.changes;
        self.tenures += other.tenures;
        self.delivered += other.delivered;
        self.deaths += other.deaths;
        self.late += other.late;
        self.faults += other.faults;
        self.by_clocks += other.by_clocks;
        for (end, count) in &other.ends {
            *self.ends.entry(end).or_default() += count;
        }
    }
}

/// A change of one item.
#[derive(Clone, Debug)]
struct Record {
    key: String,
    /// The true time, in milliseconds.
    at: i64,
    number: u64,
    by_ttl: bool,
    before: Option<Value>,
    after: Option<Value>,
    /// The request, or the part of a transaction, that made it; none: it was TTL.
    made_by: Option<Value>,
}

#[derive(Debug, Default)]
struct Seen {
    now: BTreeMap<String, Value>,
    records: Vec<Record>,
}

/// Follows a table. Clones share what they saw.
#[derive(Clone, Debug)]
pub struct Stream {
    seen: Arc<Mutex<Seen>>,
    started: Instant,
}

impl Stream {
    pub fn new(started: Instant) -> Self {
        Self { seen: Arc::default(), started }
    }

    /// Looks at the table after a request. What another item has become without one, TTL did.
    pub fn look(&self, database: &Database, body: &[u8]) {
        let at = EPOCH + millis_since(self.started);
        let key = |item: &Value| item["sk"]["S"].as_str().unwrap().to_owned();
        let found: BTreeMap<_, _> = partition(database, PORTS).into_iter().map(|item| (key(&item), item)).collect();
        let mut seen = self.seen.lock().unwrap();
        let written: Vec<_> = match body {
            [] => Vec::new(),
            body => keys(body).into_iter().filter(|(pk, _)| pk == PORTS).map(|(_, sk)| sk).collect(),
        };
        let all: std::collections::BTreeSet<_> = seen.now.keys().chain(found.keys()).cloned().collect();
        for key in all {
            let (before, after) = (seen.now.get(&key).cloned(), found.get(&key).cloned());
            if before == after {
                continue;
            }
            let made_by = written.contains(&key).then(|| part_of(body, &key));
            let number = seen.records.len() as u64 + 1;
            seen.records.push(Record { key, at, number, by_ttl: made_by.is_none(), before, after, made_by });
        }
        seen.now = found;
    }

    fn records(&self) -> Vec<Record> {
        self.seen.lock().unwrap().records.clone()
    }
}

/// The request, or the part of a transaction, that is about a port.
fn part_of(body: &[u8], key: &str) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap();
    let Some(parts) = body["TransactItems"].as_array() else { return body };
    let is_it = |part: &&Value| {
        let place = if part["Key"].is_object() { &part["Key"] } else { &part["Item"] };
        place["pk"]["S"] == PORTS && place["sk"]["S"] == key
    };
    parts.iter().filter_map(|part| part.as_object()?.values().next()).find(is_it).cloned().unwrap()
}

// -- The reference ---------------------------------------------------------------------------------------------------

fn number(item: &Value, name: &str) -> Option<i64> {
    item[name]["N"].as_str().map(|text| text.parse().unwrap())
}

/// Why a request ended a tenure: from what it asks for, and not from what became of the item.
fn reason(request: Option<&Value>, before: &Value) -> End {
    let is_offer = before["state"]["S"] == "offered";
    let over = if is_offer { End::OfferExpired } else { End::LeaseLapsed };
    let Some(request) = request else { return over };
    let (condition, update) =
        (request["ConditionExpression"].as_str().unwrap_or_default(), request["UpdateExpression"].as_str());
    let names = |what: &str| condition.contains(what);
    match update {
        Some(_) if request["ExpressionAttributeValues"][":to_state"]["S"] == "quarantined" => End::Quarantined,
        Some(_) if names(":sent") => End::Released,
        Some(update) if update.contains(":to_lease_until") => End::Withdrawn,
        Some(_) => End::LeaseLapsed,
        // The next claim.
        None if request["Item"].is_object() => over,
        None if names(":sent") => End::Released,
        None if names(":offered") => {
            if before["put"]["BOOL"] == true {
                End::Withdrawn
            } else {
                End::Rejected
            }
        }
        None if names("confirmed") => End::Withdrawn,
        // Removed as dead, or an operator ended what a lapsed lease had left.
        None if names(":now") || names(":past") => over,
        // By its secret alone: the reconciler removes an orphan.
        None => End::Removed,
    }
}

/// What the reference says of a tenure: how it ended by the request that ended it, and how by its own time, which counts
/// where the request came later than that.
#[derive(Clone, Debug)]
struct Truth {
    tenure: Tenure,
    /// When it would have ended by itself, in milliseconds.
    until: Option<i64>,
    at: i64,
    why: Option<End>,
    /// Whether a release and a withdrawal look the same (docs/history.md).
    is_alike: bool,
}

fn id_of(item: &Value) -> Option<TenureId> {
    let secret = Secret::parse(item["secret"]["S"].as_str()?).unwrap();
    let port = Port::new(item["sk"]["S"].as_str().unwrap().parse().unwrap()).unwrap();
    Some(TenureId::of(&Namespace::default(), port, secret))
}

fn tenure_of(item: &Value) -> Option<Tenure> {
    let string = |name: &str| item[name]["S"].as_str();
    let labels = item["labels"]["M"].as_object().into_iter().flatten();
    let labels: BTreeMap<_, _> =
        labels.map(|(key, value)| (key.clone(), value["S"].as_str().unwrap().to_owned())).collect();
    let is_allocated = string("state") == Some("allocated");
    Some(Tenure {
        id: id_of(item)?,
        service: ServiceId::new(Namespace::default(), string("service").unwrap().try_into().unwrap()),
        name: string("name").unwrap().try_into().unwrap(),
        port: Port::new(item["sk"]["S"].as_str().unwrap().parse().unwrap()).unwrap(),
        owner: string("owner").map(|owner| owner.try_into().unwrap()),
        labels: labels.try_into().unwrap(),
        principal: None,
        offered: Timestamp::from_millis(number(item, "created").unwrap()),
        allocated: is_allocated.then(|| Timestamp::from_millis(number(item, "accepted").unwrap())),
        ended: None,
        end: None,
    })
}

fn truths(records: &[Record]) -> HashMap<TenureId, Truth> {
    let mut truths = HashMap::<TenureId, Truth>::new();
    for record in records {
        let (was, is) = (record.before.as_ref().and_then(id_of), record.after.as_ref().and_then(id_of));
        if let (Some(id), Some(before)) = (&was, &record.before)
            && was != is
        {
            let truth = truths.get_mut(id).unwrap();
            truth.at = record.at;
            truth.why = Some(reason(record.made_by.as_ref(), before));
            let cooldown = before["terms"]["S"].as_str().and_then(|terms| terms.split('/').nth(2)).unwrap_or("0");
            let is_told = before["confirmed"]["BOOL"] == true;
            truth.is_alike = record.after.is_none() && !is_told && cooldown == "0";
        }
        if let (Some(id), Some(after)) = (is, &record.after) {
            let until = number(after, "lease_until").or(number(after, "expires_at")).map(|until| until * 1000);
            let tenure = tenure_of(after).unwrap();
            truths.insert(id, Truth { tenure, until, at: 0, why: None, is_alike: false });
        }
    }
    truths
}

impl Truth {
    /// Whether the history says the same, and whether that is for the difference of two clocks, `apart` in milliseconds
    /// at most.
    fn judge(&self, told: &Tenure, now: i64, apart: i64) -> Result<bool, String> {
        let plain = Tenure { ended: None, end: None, ..told.clone() };
        if plain != self.tenure {
            return Err(format!("it was {:?}, and history says {plain:?}", self.tenure));
        }
        let is_offer = self.tenure.allocated.is_none();
        let over = if is_offer { End::OfferExpired } else { End::LeaseLapsed };
        let says = (told.end, told.ended.map(Timestamp::millis));
        let Some(why) = self.why else {
            // It lasts, or is over by itself and still there.
            let over = self.until.filter(|until| *until <= now).map(|until| (Some(over), Some(until)));
            let expected = over.unwrap_or((None, None));
            return if says == expected { Ok(false) } else { Err(format!("not {expected:?} but {says:?}")) };
        };
        let begun = self.tenure.allocated.unwrap_or(self.tenure.offered).millis();
        let by_itself = self.until.map(|until| (Some(over), Some(until.max(begun))));
        let by_request = if why == over { by_itself.unwrap() } else { (Some(why), Some(self.at.max(begun))) };
        if says == by_request {
            return Ok(false);
        }
        // What a slower clock ended although its time was over; and what a faster one removed before that.
        let late = self.until.is_some_and(|until| until / 1000 <= self.at / 1000 && self.at <= until + apart);
        let early =
            why == over && is_offer && self.until.is_some_and(|until| self.at < until && until <= self.at + apart);
        let by_clocks = (late && Some(says) == by_itself)
            || (early && says == (Some(End::Rejected), Some(self.at.max(begun))))
            // A lapsed lease that its holder released before it was gone: it had ended by itself.
            || (why == End::Released && self.until.is_some_and(|until| until <= self.at) && Some(says) == by_itself);
        if by_clocks {
            return Ok(true);
        }
        if self.is_alike && why == End::Withdrawn && says == (Some(End::Released), by_request.1) {
            return Ok(false);
        }
        Err(format!("it ended as {by_request:?} (by itself {by_itself:?}, {self:?}), and history says {says:?}"))
    }
}

// -- The delivery ----------------------------------------------------------------------------------------------------

fn attributes(item: &Value) -> Attributes {
    item.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => AttributeValue::S(value.as_str().unwrap().to_owned()),
        "N" => AttributeValue::N(value.as_str().unwrap().to_owned()),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "M" => AttributeValue::M(attributes(value)),
        other => panic!("no item has a {other}"),
    }
}

/// How a tenure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// As the function does it.
    Conditional,
    /// Without the condition on its sequence, to show that it is needed.
    Blind,
}

/// The way to the history, and what was met on it.
struct Delivery {
    network: Faulty,
    history: History,
    writing: Writing,
    random: RefCell<SmallRng>,
    figures: RefCell<Figures>,
}

impl Delivery {
    fn draw(&self, below: usize) -> usize {
        self.random.borrow_mut().random_range(0..below)
    }

    /// What the function does with a batch. Returns how many records are dealt with; none if it died.
    async fn invoke(&self, records: &[Record], dies: bool) -> Option<usize> {
        let dies_at = dies.then(|| self.draw(records.len()));
        for (place, record) in records.iter().enumerate() {
            self.figures.borrow_mut().delivered += 1;
            let image =
                |item: &Option<Value>| item.as_ref().map(|item| Image::read(attributes(item)).unwrap().unwrap());
            let moment = Moment { at: Timestamp::from_millis(record.at), by_ttl: record.by_ttl, nearly_full: 90 };
            let found = changes(image(&record.before).as_ref(), image(&record.after).as_ref(), &moment);
            for (number, tenure) in found.tenures.iter().enumerate() {
                if dies_at == Some(place) && number == found.tenures.len() - 1 {
                    self.figures.borrow_mut().deaths += 1;
                    return None;
                }
                if !self.write(tenure, record.number).await {
                    self.figures.borrow_mut().faults += 1;
                    return Some(place);
                }
            }
        }
        Some(records.len())
    }

    async fn write(&self, tenure: &Tenure, number: u64) -> bool {
        let sequence = Sequence::from(number);
        if self.writing == Writing::Blind {
            let item = History::item(tenure, &sequence, DAYS).unwrap();
            let item: serde_json::Map<_, _> = item.into_iter().map(|(name, value)| (name, plain(&value))).collect();
            self.network.ask("PutItem", &json!({ "TableName": HISTORY, "Item": item }));
            return true;
        }
        // A function that gives up soon.
        let call = Call::within(Duration::from_millis(30));
        self.history.record(&call, tenure, &sequence, DAYS).await.is_ok()
    }

    /// Delivers everything, as Lambda does.
    async fn deliver(&self, records: &[Record]) {
        let shards = 1 + self.draw(3);
        let mut queues: Vec<Vec<Record>> = vec![Vec::new(); shards];
        for record in records {
            let shard = record.key.bytes().map(usize::from).sum::<usize>() % shards;
            queues[shard].push(record.clone());
        }
        let mut done = vec![0; shards];
        let mut late = Vec::new();
        while let Some(shard) = self.unfinished(&queues, &done) {
            let (queue, from) = (&queues[shard], done[shard]);
            let to = (from + 1 + self.draw(8)).min(queue.len());
            match self.invoke(&queue[from..to], self.draw(6) == 0).await {
                // Its checkpoint may be lost, and then it comes again.
                Some(count) if self.draw(5) > 0 => done[shard] = from + count,
                Some(_) | None => {}
            }
            // A function that was taken for dead, and goes on later with what it has.
            if self.draw(3) == 0 {
                late.push(queue[from..to].to_vec());
            }
            if !late.is_empty() && self.draw(3) == 0 {
                let records = late.swap_remove(self.draw(late.len()));
                self.figures.borrow_mut().late += 1;
                self.invoke(&records, false).await;
            }
        }
        for records in late {
            self.figures.borrow_mut().late += 1;
            self.invoke(&records, false).await;
        }
    }

    fn unfinished(&self, queues: &[Vec<Record>], done: &[usize]) -> Option<usize> {
        let left: Vec<_> = (0..queues.len()).filter(|shard| done[*shard] < queues[*shard].len()).collect();
        (!left.is_empty()).then(|| left[self.draw(left.len())])
    }
}

fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::M(values) => {
            let values: serde_json::Map<_, _> =
                values.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
            json!({ "M": values })
        }
        other => panic!("no tenure has {other:?}"),
    }
}

/// Delivers what a history changed, and compares what the history says with the reference. `registry` is a process over
/// the table as it is in the end; `apart` is by how many milliseconds clocks differ.
pub async fn check(
    seed: u64,
    stream: &Stream,
    registry: &Registry,
    apart: i64,
    writing: Writing,
) -> Result<Figures, String> {
    let records = stream.records();
    let network = Faulty::new(seed, 0, true);
    let client = Client::from_conf(in_process(network.client()).build());
    let history = History::new(Table::new(client, HISTORY));
    let long = || Call::within(Duration::from_secs(60));
    history.create(&long()).await.unwrap();
    let random = RefCell::new(SmallRng::seed_from_u64(seed));
    let delivery = Delivery { network, history: history.clone(), writing, random, figures: RefCell::default() };
    delivery.network.set_percent([0, 10, 30][delivery.draw(3)]);
    delivery.deliver(&records).await;
    // Writes that arrive late do so now.
    delivery.network.set_percent(0);
    sleep(Duration::from_secs(20)).await;

    let truths = truths(&records);
    let registry = registry.clone().with_history(Some(history));
    let now = registry.now().millis();
    let mut told = HashMap::new();
    let mut ports: Vec<_> = truths.values().map(|truth| truth.tenure.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let told_of = |of: HistoryOf| {
        let (registry, all) = (registry.clone(), Rc::new(RefCell::new(Vec::new())));
        async move {
            let mut behind = None;
            loop {
                // Pages of three.
                let page = registry.history(&long(), &of, Span::default(), behind.as_ref(), 3).await.unwrap();
                all.borrow_mut().extend(page.items);
                behind = page.next;
                if behind.is_none() {
                    return all.take();
                }
            }
        }
    };
    for port in ports {
        let of = HistoryOf::Port(Namespace::default(), port);
        let tenures = told_of(of.clone()).await;
        if !tenures.is_sorted_by(|one, other| (one.offered, &one.id) > (other.offered, &other.id)) {
            return Err(format!("the history of {port} is in disorder: {tenures:?}"));
        }
        // Whoever had it at a time is whoever the list says.
        for tenure in &tenures {
            let at = Timestamp::from_millis(tenure.offered.millis() + 1);
            let listed = tenures.iter().find(|other| other.offered <= at);
            let listed = listed.filter(|found| found.ended.is_none_or(|ended| ended > at));
            let found = registry.history_at(&long(), &of, at).await.unwrap();
            if found.as_ref() != listed {
                return Err(format!("at {at:?} {found:?} had {port}, and not {listed:?}"));
            }
        }
        told.extend(tenures.into_iter().map(|tenure| (tenure.id.clone(), tenure)));
    }
    let mut figures =
        Figures { histories: 1, changes: records.len(), tenures: truths.len(), ..delivery.figures.take() };
    for (id, truth) in &truths {
        let found = told.remove(id).ok_or_else(|| format!("nothing is known of {truth:?}"))?;
        let by_clocks = truth.judge(&found, now, apart).map_err(|why| format!("{id}: {why}"))?;
        figures.by_clocks += usize::from(by_clocks);
        *figures.ends.entry(found.end.map_or("(lasts)", End::as_str)).or_default() += 1;
    }
    if let Some(unknown) = told.values().next() {
        return Err(format!("there never was {unknown:?}"));
    }
    let mut names: Vec<_> =
        truths.values().map(|truth| (truth.tenure.service.clone(), truth.tenure.name.clone())).collect();
    names.sort_by_key(|(service, name): &(ServiceId, InstanceName)| (service.name.clone(), name.clone()));
    names.dedup();
    let mut of_names = 0;
    for (service, name) in names {
        of_names += told_of(HistoryOf::Name(service, name)).await.len();
    }
    if of_names != truths.len() {
        return Err(format!("of {} tenures, names have {of_names}", truths.len()));
    }
    // Nothing that is kept has a secret in it.
    let kept = json!(delivery.network.items(HISTORY)).to_string();
    let secrets = records.iter().filter_map(|record| record.after.as_ref()?["secret"]["S"].as_str());
    if let Some(secret) = secrets.into_iter().find(|secret| kept.contains(secret)) {
        return Err(format!("the history has the secret {secret}"));
    }
    // What has ended goes when its time is over, and nothing else.
    let expiry = |item: &Value| item["expires_at"]["N"].as_str().map(|text| text.parse::<i64>().unwrap());
    for item in delivery.network.items(HISTORY) {
        let ended = number(&item, "ended");
        let expected = ended.map(|ended| (ended + 999) / 1000 + i64::from(DAYS) * 86_400);
        if expiry(&item) != expected {
            return Err(format!("{item} does not go at {expected:?}"));
        }
    }
    Ok(figures)
}
