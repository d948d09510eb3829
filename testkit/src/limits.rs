//! What a table of DynamoDB takes in a second, and what it refuses: token buckets in simulated time.
//!
//! A partition takes 1,000 write units and 3,000 read units a second, whatever the table as a whole could take (*Amazon
//! DynamoDB Developer Guide*, "Best practices for designing and using partition keys"). Which keys share a partition is
//! DynamoDB's own business. Here every partition key has one of its own, which is the best that DynamoDB can do without
//! splitting an item collection; [`Limits::split`] divides one by sort key, as DynamoDB does with one that stays hot (it
//! may, because the table has no local secondary index).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dynoxide::types::{Item, item_size, read_capacity_units_with_consistency, write_capacity_units};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::keys::key_of;

/// Capacity units in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Write units.
    pub write: f64,
    /// Read units.
    pub read: f64,
}

impl Rate {
    /// What one partition takes.
    pub const PARTITION: Self = Self { write: 1_000.0, read: 3_000.0 };

    /// What a new on-demand table takes, until it has seen more.
    pub const NEW_TABLE: Self = Self { write: 4_000.0, read: 12_000.0 };
}

/// The limits of a table.
#[derive(Clone, Debug)]
pub struct Limits {
    partition: Rate,
    table: Option<Rate>,
    burst: Duration,
    splits: HashMap<String, Vec<String>>,
}

impl Default for Limits {
    /// What each partition takes, without a burst, without a split, and whatever all of them take together.
    fn default() -> Self {
        Self { partition: Rate::PARTITION, table: None, burst: Duration::from_secs(1), splits: HashMap::new() }
    }
}

impl Limits {
    /// Partitions with another rate.
    #[must_use]
    pub fn of(partition: Rate) -> Self {
        Self { partition, ..Self::default() }
    }

    /// For how long unused capacity can still be used. DynamoDB keeps up to 300 seconds of what was provisioned for a
    /// table, but promises none of it, and none to a partition at its limit; hence one second by default, which is the
    /// time that a rate is counted in.
    #[must_use]
    pub fn with_burst(self, burst: Duration) -> Self {
        Self { burst, ..self }
    }

    /// What the table takes in all.
    #[must_use]
    pub fn with_table(self, table: Rate) -> Self {
        Self { table: Some(table), ..self }
    }

    /// Divides the items of a partition key before these sort keys. Each part has the limits of a partition.
    #[must_use]
    pub fn split(mut self, partition: &str, at: impl IntoIterator<Item = String>) -> Self {
        let places = self.splits.entry(partition.to_owned()).or_default();
        places.extend(at);
        places.sort_unstable();
        self
    }

    /// The place of an item: its partition key, and which part of its items it belongs to.
    fn place(&self, pk: &str, sk: &str) -> Place {
        let part = self.splits.get(pk).map_or(0, |splits| splits.partition_point(|split| split.as_str() <= sk));
        Place::Partition(pk.to_owned(), part)
    }
}

/// A part of the table that has limits of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Table,
    Partition(String, usize),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Units {
    Read,
    Write,
}

/// What a place has left.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Below zero after a read that turned out to be larger than what was left.
    left: f64,
    at: Instant,
}

/// What a request needs, item by item.
#[derive(Debug, PartialEq)]
pub(crate) struct Need {
    pub(crate) units: Units,
    /// The keys of the items and the units that each takes. A Scan from the beginning has none.
    pub(crate) items: Vec<((String, String), f64)>,
}

/// Decides which requests a table takes.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    buckets: HashMap<(Place, Units), Bucket>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, buckets: HashMap::new() }
    }

    fn rate(&self, place: &Place, units: Units) -> f64 {
        let rate = match place {
            Place::Table => self.limits.table.unwrap_or(self.limits.partition),
            Place::Partition(..) => self.limits.partition,
        };
        if units == Units::Read { rate.read } else { rate.write }
    }

    /// The most that a place can have left.
    fn capacity(&self, place: &Place, units: Units) -> f64 {
        self.rate(place, units) * self.limits.burst.as_secs_f64()
    }

    /// The bucket of a place, filled up to this moment.
    fn bucket(&mut self, place: &Place, units: Units, now: Instant) -> &mut Bucket {
        let (rate, capacity) = (self.rate(place, units), self.capacity(place, units));
        let bucket = self.buckets.entry((place.clone(), units)).or_insert(Bucket { left: capacity, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        *bucket = Bucket { left: (bucket.left + rate * passed).min(capacity), at: now };
        bucket
    }

    /// Takes what a request needs, or nothing: then the error says for each of its items whether its place has too
    /// little left. (Whether DynamoDB charges the other parts of a throttled transaction is not documented.)
    pub(crate) fn admit(&mut self, need: &Need, now: Instant) -> Result<(), Vec<bool>> {
        let places: Vec<_> = need.items.iter().map(|((pk, sk), _)| self.limits.place(pk, sk)).collect();
        let mut sums = BTreeMap::<_, f64>::new();
        for (place, (_, units)) in places.iter().zip(&need.items) {
            *sums.entry(place.clone()).or_default() += units;
            if self.limits.table.is_some() {
                *sums.entry(Place::Table).or_default() += units;
            }
        }
        let short: Vec<_> = sums
            .iter()
            .filter(|(place, sum)| {
                // What is larger than a whole bucket passes when the bucket is full.
                let wanted = sum.min(self.capacity(place, need.units));
                self.bucket(place, need.units, now).left < wanted
            })
            .map(|(place, _)| place.clone())
            .collect();
        if !short.is_empty() {
            let is_short = |place: &Place| short.contains(place) || short.contains(&Place::Table);
            return Err(places.iter().map(is_short).collect());
        }
        for (place, sum) in &sums {
            self.bucket(place, need.units, now).left -= sum;
        }
        Ok(())
    }

    /// Takes what a read took beyond what it was admitted for, whether or not so much is left.
    pub(crate) fn charge(&mut self, need: &Need, now: Instant) {
        for ((pk, sk), units) in &need.items {
            let place = self.limits.place(pk, sk);
            self.bucket(&place, need.units, now).left -= units;
            if self.limits.table.is_some() {
                self.bucket(&Place::Table, need.units, now).left -= units;
            }
        }
    }
}

/// What a request is known to need before it is executed. Nothing for requests that are not about items.
///
/// A write takes a unit for each KB of the larger of the item that it brings and the one that is `stored`, whether or not
/// its condition holds; in a transaction twice as much. A read is admitted for the least that it can take, at the place
/// where it begins, and the rest is [charged](beyond) when it is known.
pub(crate) fn need(operation: &str, body: &[u8], stored: impl Fn(&(String, String)) -> Option<usize>) -> Option<Need> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let write = |part: &Value, factor: f64| {
        let key = key_of(part)?;
        let brought = part.get("Item").map(size);
        let size = stored(&key).max(brought).unwrap_or_default();
        Some((key, factor * write_capacity_units(size)))
    };
    let parts =
        || body["TransactItems"].as_array().into_iter().flatten().filter_map(|part| part.as_object()?.values().next());
    let least = read_capacity_units_with_consistency(0, body["ConsistentRead"] == true);
    let (units, items) = match operation {
        "PutItem" | "UpdateItem" | "DeleteItem" => (Units::Write, write(&body, 1.0).into_iter().collect()),
        "TransactWriteItems" => (Units::Write, parts().filter_map(|part| write(part, 2.0)).collect()),
        "TransactGetItems" => (Units::Read, parts().filter_map(|part| Some((key_of(part)?, 2.0))).collect()),
        "GetItem" => (Units::Read, key_of(&body).map(|key| (key, least)).into_iter().collect()),
        "Query" | "Scan" => (Units::Read, begins(&body).map(|key| (key, least)).into_iter().collect()),
        _ => return None,
    };
    Some(Need { units, items })
}

/// The key at which a Query or a Scan begins to read.
fn begins(body: &Value) -> Option<(String, String)> {
    let (start, values) = (&body["ExclusiveStartKey"], &body["ExpressionAttributeValues"]);
    let at = |part: &Value| part["S"].as_str().map(str::to_owned);
    match at(&start["pk"]) {
        Some(pk) => Some((pk, at(&start["sk"])?)),
        None => Some((at(&values[":pk"])?, at(&values[":first"]).or(at(&values[":prefix"])).unwrap_or_default())),
    }
}

/// What an executed read took beyond what it was admitted for. DynamoDB reports the sum; it is spread evenly over the
/// items of the answer, or belongs to the place where the read began, if there are none.
pub(crate) fn beyond(admitted: &Need, answer: &[u8]) -> Option<Need> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let units = |of: &Value| of["CapacityUnits"].as_f64();
    let consumed = &answer["ConsumedCapacity"];
    let consumed = match consumed.as_array() {
        Some(tables) => tables.iter().filter_map(units).sum(),
        None => units(consumed)?,
    };
    let more = consumed - admitted.items.iter().map(|(_, units)| units).sum::<f64>();
    let key = |item: &Value| Some((item["pk"]["S"].as_str()?.to_owned(), item["sk"]["S"].as_str()?.to_owned()));
    let read: Vec<_> = answer["Items"].as_array().into_iter().flatten().filter_map(key).collect();
    let keys = if read.is_empty() { admitted.items.iter().map(|(key, _)| key.clone()).collect() } else { read };
    let each = more / keys.len().max(1) as f64;
    (more > 0.0).then(|| Need { units: Units::Read, items: keys.into_iter().map(|key| (key, each)).collect() })
}

/// The size of an item in bytes, as DynamoDB counts it.
pub(crate) fn size(item: &Value) -> usize {
    item_size(&Item::deserialize(item).unwrap())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(pk: &str, sk: &str) -> (String, String) {
        (pk.to_owned(), sk.to_owned())
    }

    fn writes(items: &[(&str, &str, f64)]) -> Need {
        Need { units: Units::Write, items: items.iter().map(|(pk, sk, units)| (key(pk, sk), *units)).collect() }
    }

    /// How many single writes to these keys in turn pass within so many seconds, one every millisecond and key.
    fn passed(limiter: &mut Limiter, keys: &[(&str, &str)], began: Instant, seconds: u64) -> usize {
        let times = (0..seconds * 1_000).map(|millis| began + Duration::from_millis(millis));
        times
            .flat_map(|now| keys.iter().flat_map(move |(pk, sk)| [(now, *pk, *sk); 2]))
            .filter(|(now, pk, sk)| limiter.admit(&writes(&[(pk, sk, 1.0)]), *now).is_ok())
            .count()
    }

    #[test]
    fn a_partition_takes_a_thousand_writes_a_second_and_what_a_second_has_saved() {
        let mut limiter = Limiter::new(Limits::default());
        let began = Instant::now();
        // 2,000 a second for ten seconds.
        let ten = passed(&mut limiter, &[("a", "1")], began, 10);
        assert!((10_990..=11_000).contains(&ten), "{ten}");
        // A pause of a minute saves no more than a second does.
        let later = passed(&mut limiter, &[("a", "1")], began + Duration::from_secs(70), 10);
        assert!((10_990..=11_000).contains(&later), "{later}");
    }

    #[test]
    fn a_burst_is_used_once() {
        let mut limiter = Limiter::new(Limits::default().with_burst(Duration::from_secs(5)));
        let began = Instant::now();
        assert_eq!(passed(&mut limiter, &[("a", "1")], began, 4), 8_000, "all of 2,000 a second");
        let after = passed(&mut limiter, &[("a", "1")], began + Duration::from_secs(4), 10);
        assert!((10_990..=11_010).contains(&after), "{after}");
    }

    #[test]
    fn partitions_do_not_share_and_the_table_bounds_all_of_them() {
        let began = Instant::now();
        let keys = [("a", "1"), ("b", "1"), ("c", "1")];
        let three = passed(&mut Limiter::new(Limits::default()), &keys, began, 10);
        assert!((3 * 10_990..=33_000).contains(&three), "{three}");
        let table = Rate { write: 1_500.0, read: 1.0 };
        let bounded = passed(&mut Limiter::new(Limits::default().with_table(table)), &keys, began, 10);
        assert!((16_480..=16_500).contains(&bounded), "{bounded}");
    }

    #[test]
    fn a_split_doubles_what_its_two_parts_take_and_no_more_where_one_is_hot() {
        let split = || Limiter::new(Limits::default().split("a", ["05000".to_owned()]));
        let began = Instant::now();
        let both = passed(&mut split(), &[("a", "04999"), ("a", "05000")], began, 10);
        assert!((2 * 10_990..=22_000).contains(&both), "{both}");
        let one = passed(&mut split(), &[("a", "05000"), ("a", "05001")], began, 10);
        assert!((10_990..=11_000).contains(&one), "{one}");
    }

    #[test]
    fn a_transaction_takes_everything_or_nothing_and_says_which_item_was_in_the_way() {
        let mut limiter = Limiter::new(Limits::of(Rate { write: 10.0, read: 1.0 }));
        let now = Instant::now();
        assert_eq!(limiter.admit(&writes(&[("a", "1", 9.0)]), now), Ok(()));
        let both = writes(&[("a", "1", 2.0), ("b", "1", 2.0)]);
        assert_eq!(limiter.admit(&both, now), Err(vec![true, false]));
        // It has taken nothing from the other one.
        assert_eq!(limiter.admit(&writes(&[("b", "1", 10.0)]), now), Ok(()));
        assert_eq!(limiter.admit(&both, now + Duration::from_millis(100)), Err(vec![false, true]));
        assert_eq!(limiter.admit(&both, now + Duration::from_millis(200)), Ok(()));
        // Two items of one partition are counted together.
        let mut limiter = Limiter::new(Limits::of(Rate { write: 3.0, read: 1.0 }));
        limiter.admit(&writes(&[("a", "1", 1.0)]), now).unwrap();
        assert_eq!(limiter.admit(&writes(&[("a", "1", 2.0), ("a", "2", 2.0)]), now), Err(vec![true, true]));
        // What is larger than a bucket waits for a full one.
        let large = writes(&[("c", "1", 12.0)]);
        assert_eq!(limiter.admit(&large, now), Ok(()));
        assert_eq!(limiter.admit(&large, now + Duration::from_millis(3_999)), Err(vec![true]));
        assert_eq!(limiter.admit(&large, now + Duration::from_secs(4)), Ok(()));
    }

    #[test]
    fn a_read_that_was_larger_than_what_was_left_keeps_the_next_ones_out() {
        let mut limiter = Limiter::new(Limits::default());
        let now = Instant::now();
        let admitted = Need { units: Units::Read, items: vec![(key("a", ""), 1.0)] };
        assert_eq!(limiter.admit(&admitted, now), Ok(()));
        let answer = json!({ "Items": [], "ConsumedCapacity": { "CapacityUnits": 6000.0 } }).to_string();
        limiter.charge(&beyond(&admitted, answer.as_bytes()).unwrap(), now);
        assert_eq!(limiter.admit(&admitted, now + Duration::from_millis(1_000)), Err(vec![true]));
        assert_eq!(limiter.admit(&admitted, now + Duration::from_millis(1_001)), Ok(()));
        // Reads are no writes.
        assert_eq!(limiter.admit(&writes(&[("a", "1", 1_000.0)]), now), Ok(()));
    }

    #[test]
    fn what_a_request_needs_depends_on_its_items() {
        let stored = |key: &(String, String)| (key.1 == "RANGES").then_some(6_100);
        let item =
            |sk: &str, bytes: usize| json!({ "pk": { "S": "p" }, "sk": { "S": sk }, "x": { "S": "x".repeat(bytes) } });
        let of = |operation: &str, body: Value| need(operation, body.to_string().as_bytes(), stored);
        let small = json!({ "Item": item("1", 10) });
        assert_eq!(of("PutItem", small.clone()), Some(writes(&[("p", "1", 1.0)])));
        assert_eq!(of("PutItem", json!({ "Item": item("1", 1_100) })), Some(writes(&[("p", "1", 2.0)])));
        let delete = json!({ "Key": { "pk": { "S": "p" }, "sk": { "S": "RANGES" } } });
        assert_eq!(of("DeleteItem", delete.clone()), Some(writes(&[("p", "RANGES", 6.0)])));
        let both = json!({ "TransactItems": [{ "Put": small }, { "Delete": delete }] });
        assert_eq!(of("TransactWriteItems", both), Some(writes(&[("p", "1", 2.0), ("p", "RANGES", 12.0)])));
        let read = |units| Some(Need { units: Units::Read, items: vec![(key("p", "05000"), units)] });
        let at = json!({ "pk": { "S": "p" }, "sk": { "S": "05000" } });
        assert_eq!(of("GetItem", json!({ "Key": at, "ConsistentRead": true })), read(1.0));
        assert_eq!(of("TransactGetItems", json!({ "TransactItems": [{ "Get": { "Key": at } }] })), read(2.0));
        let values = json!({ ":pk": { "S": "p" }, ":first": { "S": "05000" }, ":last": { "S": "05999" } });
        assert_eq!(of("Query", json!({ "ExpressionAttributeValues": values })), read(0.5));
        assert_eq!(of("Scan", json!({ "ExclusiveStartKey": at })), read(0.5));
        assert_eq!(of("DescribeTable", json!({})), None);
    }
}
