//! Invariants of the table that hold at every moment, for every clock; checked after every write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use dynoxide::Database;
use portmaster_local::perform;
use portmaster_testkit::{Faulty, TABLE, keys};
use serde_json::{Value, json};

/// Checks a table. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Invariants {
    network: Faulty,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Claims that were returned to a caller: secret, service, port.
    told: Vec<(String, String, u16)>,
    violations: Vec<String>,
}

impl Invariants {
    /// Checks this table after every write from now on.
    pub fn of(network: &Faulty) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let watching = Arc::clone(&seen);
        network.watch(move |database, body| watching.lock().unwrap().check(database, body));
        Self { network: network.clone(), seen }
    }

    /// The same, and has `also` look at the table after every write, with the request that wrote.
    pub fn and(network: &Faulty, also: impl Fn(&Database, &[u8]) + Send + 'static) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let watching = Arc::clone(&seen);
        network.watch(move |database, body| {
            watching.lock().unwrap().check(database, body);
            also(database, body);
        });
        Self { network: network.clone(), seen }
    }

    /// Notes a claim that was returned to a caller. From now on its service must cover it, as long as the claim exists.
    pub fn returned(&self, secret: String, service: &str, port: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.told.push((secret, service.to_owned(), port));
        seen.check_services(&self.network.database());
    }

    /// Returns the violations so far.
    pub fn violations(&self) -> Vec<String> {
        self.seen.lock().unwrap().violations.clone()
    }
}

impl Seen {
    /// Checks the table after a write, independently of any clock.
    fn check(&mut self, database: &Database, body: &[u8]) {
        let written = keys(body);
        if written.iter().any(|(pk, _)| pk.ends_with("#PORT")) {
            let mut names = HashMap::new();
            // What is cooling or in quarantine holds no name.
            for item in partition(database, "N#default#PORT").iter().filter(|item| item["secret"].is_object()) {
                let holder = (item["service"]["S"].to_string(), item["name"]["S"].to_string());
                let port = item["sk"]["S"].to_string();
                if let Some(other) = names.insert(holder.clone(), port.clone()) {
                    // A claim that takes a name over removes or overwrites the name's last claim in the same
                    // transaction.
                    self.violations.push(format!("P2: {holder:?} has the Port items {other} and {port} at once"));
                }
            }
        }
        if written.iter().any(|(_, sk)| sk.starts_with("SERVICE#")) {
            self.check_services(database);
        }
    }

    /// P3 and P4: ranges do not overlap, and a claim that was returned to a caller, and still exists, lies in its
    /// service's range.
    fn check_services(&mut self, database: &Database) {
        let mut ranges: HashMap<String, (u16, u16)> = HashMap::new();
        for item in partition(database, "N#default") {
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
        let there: HashMap<_, _> = partition(database, "N#default#PORT")
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
}

pub fn partition(database: &Database, pk: &str) -> Vec<Value> {
    let query = json!({
        "TableName": TABLE, "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": pk } },
    });
    let found = perform(database, "Query", query.to_string().as_bytes()).unwrap();
    serde_json::from_str::<Value>(&found).unwrap()["Items"].as_array().cloned().unwrap_or_default()
}
