//! The true course of every Port item: what it was, and from when until when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dynoxide::Database;
use portmaster_testkit::{EPOCH, Faulty, millis_since};
use serde_json::Value;
use tokio::time::Instant;

use super::super::invariants::partition;

/// A Port item, as far as it matters here. Times are seconds, except those of stamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub service: String,
    pub name: String,
    pub state: String,
    pub secret: Option<String>,
    pub owner: Option<String>,
    pub lease_until: Option<i64>,
    pub expires_at: Option<i64>,
    pub accepted: Option<i64>,
    pub created: i64,
    pub confirmed: bool,
    pub put: bool,
    /// The cool-down of its terms.
    pub cooldown: i64,
    /// The number of the set that made it.
    pub set: Option<usize>,
}

impl Item {
    pub fn is_allocated(&self) -> bool {
        self.state == "allocated"
    }

    fn read(item: &Value) -> Self {
        let string = |name: &str| item[name]["S"].as_str().map(str::to_owned);
        let number = |name: &str| item[name]["N"].as_str().map(|text| text.parse::<i64>().unwrap());
        let terms = string("terms").unwrap_or_else(|| "-/-/0/3600".to_owned());
        Self {
            service: string("service").unwrap_or_default(),
            name: string("name").unwrap_or_default(),
            state: string("state").unwrap_or_default(),
            secret: string("secret"),
            owner: string("owner"),
            lease_until: number("lease_until"),
            expires_at: number("expires_at"),
            accepted: number("accepted"),
            created: number("created").unwrap_or_default(),
            confirmed: item["confirmed"]["BOOL"] == true,
            put: item["put"]["BOOL"] == true,
            cooldown: terms.split('/').nth(2).unwrap().parse().unwrap(),
            set: item["labels"]["M"]["set"]["S"].as_str().map(|text| text.parse().unwrap()),
        }
    }
}

/// A change of one Port item.
#[derive(Clone, Debug)]
pub struct Change {
    /// The true time, in milliseconds.
    pub at: i64,
    /// The number of the write: a transaction changes several items.
    pub write: usize,
    pub port: u16,
    pub before: Option<Item>,
    pub after: Option<Item>,
}

#[derive(Debug, Default)]
struct Course {
    now: BTreeMap<u16, Item>,
    changes: Vec<Change>,
    writes: usize,
}

/// Follows a table. Clones share what they saw.
#[derive(Clone, Debug)]
pub struct Timeline {
    course: Arc<Mutex<Course>>,
    started: Instant,
}

impl Timeline {
    pub fn new(started: Instant) -> Self {
        Self { course: Arc::default(), started }
    }

    /// Looks at the table now: after every write, also those that no request made.
    pub fn look(&self, database: &Database) {
        let at = EPOCH + millis_since(self.started);
        let number = |item: &Value| item["sk"]["S"].as_str().unwrap().parse::<u16>().unwrap();
        let found: BTreeMap<_, _> =
            partition(database, "N#default#PORT").iter().map(|item| (number(item), Item::read(item))).collect();
        let mut course = self.course.lock().unwrap();
        course.writes += 1;
        let write = course.writes;
        let ports: std::collections::BTreeSet<_> = course.now.keys().chain(found.keys()).copied().collect();
        for port in ports {
            let (before, after) = (course.now.get(&port).cloned(), found.get(&port).cloned());
            if before != after {
                course.changes.push(Change { at, write, port, before, after });
            }
        }
        course.now = found;
    }

    /// Looks at the table of a network.
    pub fn look_at(&self, network: &Faulty) {
        self.look(&network.database());
    }

    pub fn changes(&self) -> Vec<Change> {
        self.course.lock().unwrap().changes.clone()
    }
}
