//! How each kind of result looks.

use portmaster_client::domain::{Expiry, Labels};
use portmaster_client::wire::{FoundPort, ListedOffer, Map, MapState, Namespace, Port, Service, Tenure};
use serde::Serialize;

use super::{Pairs, Shown, Table};
use crate::args::values::show;

/// How many runs of a map are shown to people. The whole is in the JSON.
const RUNS: usize = 40;

fn until(expiry: Option<Expiry>) -> Option<String> {
    expiry.map(Expiry::to_rfc3339)
}

fn labels(labels: &Labels) -> Option<String> {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    (!pairs.is_empty()).then(|| pairs.join(", "))
}

fn state(found: &FoundPort) -> Option<String> {
    serde_json::to_value(found.state).ok().and_then(|state| state.as_str().map(str::to_owned))
}

fn seconds(seconds: u32) -> String {
    show(std::time::Duration::from_secs(seconds.into()))
}

impl Shown for Port {
    fn table(&self) -> Table {
        Table::of_one([
            ("port", Some(self.port.to_string())),
            ("service", Some(self.service.to_string())),
            ("name", Some(self.name.to_string())),
            ("owner", self.owner.as_ref().map(ToString::to_string)),
            ("until", Some(until(self.expires_at).unwrap_or_else(|| "released".to_owned()))),
            ("since", Some(self.created.to_rfc3339())),
            ("labels", labels(&self.labels)),
            ("principal", self.principal.as_ref().map(|principal| principal.as_str().to_owned())),
        ])
    }

    fn pairs(&self) -> Pairs {
        Pairs::of([
            ("port", Some(self.port.to_string())),
            ("name", Some(self.name.to_string())),
            ("service", Some(self.service.to_string())),
            ("owner", self.owner.as_ref().map(ToString::to_string)),
            ("expires_at", until(self.expires_at)),
        ])
    }
}

impl Shown for Vec<Port> {
    fn table(&self) -> Table {
        let row = |port: &Port| {
            vec![
                port.port.to_string(),
                port.name.to_string(),
                port.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
                until(port.expires_at).unwrap_or_default(),
                labels(&port.labels).unwrap_or_default(),
            ]
        };
        Table::of_many(&["port", "name", "owner", "until", "labels"], self.iter().map(row).collect())
    }
}

impl Shown for Vec<Tenure> {
    fn table(&self) -> Table {
        let row = |tenure: &Tenure| {
            let time = |time: Option<portmaster_client::domain::Timestamp>| time.map(|time| time.to_rfc3339());
            // What was never accepted has been offered only.
            let kind = if tenure.allocated.is_some() { String::new() } else { "offer".to_owned() };
            vec![
                tenure.port.to_string(),
                tenure.service.to_string(),
                tenure.name.to_string(),
                tenure.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
                tenure.allocated.unwrap_or(tenure.offered).to_rfc3339(),
                time(tenure.ended).unwrap_or_default(),
                tenure.end.map_or("has it", |end| end.as_str()).to_owned(),
                kind,
                labels(&tenure.labels).unwrap_or_default(),
            ]
        };
        let heads = ["port", "service", "name", "owner", "from", "to", "end", "kind", "labels"];
        Table::of_many(&heads, self.iter().map(row).collect())
    }
}

impl Shown for FoundPort {
    fn table(&self) -> Table {
        let FoundPort { port, .. } = self;
        Table::of_one([
            ("port", Some(port.port.to_string())),
            ("state", state(self)),
            ("service", Some(port.service.to_string())),
            ("name", Some(port.name.to_string())),
            ("owner", port.owner.as_ref().map(ToString::to_string)),
            ("until", until(port.expires_at)),
            ("since", Some(port.created.to_rfc3339())),
            ("labels", labels(&port.labels)),
            ("principal", port.principal.as_ref().map(|principal| principal.as_str().to_owned())),
        ])
    }

    fn pairs(&self) -> Pairs {
        self.port.pairs()
    }
}

impl Shown for Vec<FoundPort> {
    fn table(&self) -> Table {
        let row = |found: &FoundPort| {
            vec![
                found.port.port.to_string(),
                state(found).unwrap_or_default(),
                found.port.name.to_string(),
                found.port.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
                until(found.port.expires_at).unwrap_or_default(),
                labels(&found.port.labels).unwrap_or_default(),
            ]
        };
        Table::of_many(&["port", "state", "name", "owner", "until", "labels"], self.iter().map(row).collect())
    }
}

impl Shown for Vec<ListedOffer> {
    fn table(&self) -> Table {
        let row = |offer: &ListedOffer| {
            vec![
                offer.port.to_string(),
                offer.name.to_string(),
                offer.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
                until(offer.expires_at).unwrap_or_default(),
                labels(&offer.labels).unwrap_or_default(),
            ]
        };
        Table::of_many(&["port", "name", "owner", "until", "labels"], self.iter().map(row).collect())
    }
}

impl Shown for Map {
    fn table(&self) -> Table {
        let Map { counts, .. } = self;
        let state = |state: MapState| match state {
            MapState::Free => "free",
            MapState::Offered => "offered",
            MapState::Allocated => "allocated",
            MapState::Cooling => "cooling",
            MapState::Quarantined => "quarantined",
            MapState::Reserved => "reserved",
        };
        let count = |count: usize| (count > 0).then(|| count.to_string());
        let mut rows = vec![
            ("service", Some(self.service.to_string())),
            ("range", Some(format!("{}-{}, {} ports", self.start, self.end, self.size))),
            ("free", Some(format!("{}, at most {} in a row", counts.free, self.largest_free_run))),
            ("allocated", count(counts.allocated)),
            ("offered", count(counts.offered)),
            ("cooling", count(counts.cooling)),
            ("quarantined", count(counts.quarantined)),
            ("reserved", count(counts.reserved)),
            ("next", self.next_expiry.map(|next| format!("a port comes back at {}", next.to_rfc3339()))),
        ];
        rows.extend(self.runs.iter().take(RUNS).map(|run| {
            let ports = if run.start == run.end { run.start.to_string() } else { format!("{}-{}", run.start, run.end) };
            ("", Some(format!("{ports} {}", state(run.state))))
        }));
        let table = Table::of_one(rows);
        match self.runs.len().checked_sub(RUNS) {
            None | Some(0) => table,
            Some(more) => table.with_note(format!("{more} more runs; -o json has all of them")),
        }
    }

    fn pairs(&self) -> Pairs {
        Pairs::of([
            ("free", Some(self.counts.free.to_string())),
            ("allocated", Some(self.counts.allocated.to_string())),
            ("size", Some(self.size.to_string())),
        ])
    }
}

impl Shown for Service {
    fn table(&self) -> Table {
        let reserved = serde_json::to_string(&self.reserved).ok().filter(|_| !self.reserved.is_empty());
        let some = |seconds_of: u32| (seconds_of > 0).then(|| seconds(seconds_of));
        let usage = self.usage.as_ref();
        let in_days = usage.and_then(|usage| usage.days_until_full);
        Table::of_one([
            ("service", Some(self.name.to_string())),
            ("range", Some(format!("{}-{}", self.start, self.end))),
            ("description", Some(self.description.as_str().to_owned()).filter(|text| !text.is_empty())),
            ("strategy", Some(self.strategy.as_str().to_owned())),
            ("lease", self.lease_seconds.map(seconds)),
            ("max lease", self.max_lease_seconds.map(seconds)),
            ("cool-down", some(self.cooldown_seconds)),
            ("quarantine", Some(seconds(self.quarantine_seconds))),
            ("reserved", reserved),
            ("since", Some(self.created.to_rfc3339())),
            ("used", usage.map(|usage| format!("{} %, as of {}", usage.used_percent, usage.as_of.to_rfc3339()))),
            ("free", usage.map(|usage| format!("{}, at most {} in a row", usage.counts.free, usage.largest_free_run))),
            ("full in", in_days.map(|days| format!("{days} days, if it goes on as in the last week"))),
        ])
    }

    fn pairs(&self) -> Pairs {
        Pairs::of([
            ("service", Some(self.name.to_string())),
            ("start", Some(self.start.to_string())),
            ("end", Some(self.end.to_string())),
        ])
    }
}

impl Shown for Vec<Service> {
    fn table(&self) -> Table {
        let row = |service: &Service| {
            vec![
                service.name.to_string(),
                format!("{}-{}", service.start, service.end),
                service.strategy.as_str().to_owned(),
                service.lease_seconds.map(seconds).unwrap_or_default(),
                service.description.as_str().to_owned(),
            ]
        };
        let heads = ["service", "range", "strategy", "lease", "description"];
        if self.iter().all(|service| service.usage.is_none()) {
            return Table::of_many(&heads, self.iter().map(row).collect());
        }
        let row = |service: &Service| {
            let usage = service.usage.as_ref();
            let days = usage.and_then(|usage| usage.days_until_full).map(|days| format!("{days} days"));
            let used = vec![
                usage.map(|usage| format!("{} %", usage.used_percent)).unwrap_or_default(),
                usage.map(|usage| usage.counts.free.to_string()).unwrap_or_default(),
                days.unwrap_or_default(),
            ];
            [row(service), used].concat()
        };
        let heads = [&heads[..], &["used", "free", "full in"]].concat();
        Table::of_many(&heads, self.iter().map(row).collect())
    }
}

impl Shown for Namespace {
    fn table(&self) -> Table {
        Table::of_one([
            ("namespace", Some(self.name.to_string())),
            ("description", Some(self.description.as_str().to_owned()).filter(|text| !text.is_empty())),
            ("since", self.created.map(portmaster_client::domain::Timestamp::to_rfc3339)),
        ])
    }

    fn pairs(&self) -> Pairs {
        Pairs::of([("namespace", Some(self.name.to_string()))])
    }
}

impl Shown for Vec<Namespace> {
    fn table(&self) -> Table {
        let row = |namespace: &Namespace| vec![namespace.name.to_string(), namespace.description.as_str().to_owned()];
        Table::of_many(&["namespace", "description"], self.iter().map(row).collect())
    }
}

/// A result that is said in a sentence, for people, and has members, for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Said<T: Serialize> {
    /// The sentence.
    #[serde(skip)]
    pub sentence: String,
    /// The members.
    #[serde(flatten)]
    pub members: T,
}

impl<T: Serialize> Shown for Said<T> {
    fn table(&self) -> Table {
        Table::default().with_note(self.sentence.clone())
    }
}
