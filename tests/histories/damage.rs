//! Tables damaged at random. The reconciler repairs what the design says it repairs, only counts what it must not
//! touch, and everything live stays as it was, to the last attribute.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use portmaster_domain::{Description, InstanceName, Namespace, Port, PortRange, Service, ServiceId, Strategy};
use portmaster_registry::{
    Call, Content, Error, Findings, IfMatch, NewService, PortOrName, Registry, Table, in_process,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use portmaster_testkit::{EPOCH, Faulty, TABLE, clock_since, millis_since};

const OFFER_SECONDS: u32 = 3_600;

/// A kind of damage to a table, and what the reconciler must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// The allocation of a service that does not exist: removed.
    Orphan,
    /// A live offer of a service that does not exist: left to expire.
    OrphanOffer,
    /// An offer that expired, of any service or none: removed.
    DeadOffer,
    /// An allocation outside its service's range: counted.
    OutOfRange,
    /// An Instance item that points to nothing, or to another name's claim: removed a week later.
    StalePointer,
    /// A key whose day is over: removed.
    OldRequest,
    /// A mark that was set long ago: taken off.
    OldMark,
    /// A mark that was just set: left alone.
    YoungMark,
    /// A bitmap that lacks ports, or has too many: rebuilt.
    WrongBitmap,
    /// No bitmap at all: rebuilt.
    NoBitmap,
    /// An item that cannot be read: counted.
    Unreadable,
}

const DAMAGES: [Damage; 11] = [
    Damage::Orphan,
    Damage::OrphanOffer,
    Damage::DeadOffer,
    Damage::OutOfRange,
    Damage::StalePointer,
    Damage::OldRequest,
    Damage::OldMark,
    Damage::YoungMark,
    Damage::WrongBitmap,
    Damage::NoBitmap,
    Damage::Unreadable,
];

struct Ruin {
    network: Faulty,
    random: SmallRng,
    started: Instant,
    /// Where the next damage goes: nothing is damaged twice.
    next_port: u16,
    services: Vec<String>,
    expected: Findings,
    /// Items that must not be changed, besides those that existed before.
    left_alone: Vec<Value>,
    done: Vec<Damage>,
}

impl Ruin {
    fn now(&self) -> i64 {
        EPOCH + millis_since(self.started)
    }

    fn put(&self, item: &Value) {
        self.network.ask("PutItem", &json!({ "TableName": TABLE, "Item": item }));
    }

    fn claim(&self, service: &str, port: u16, state: &str, expires_at: Option<i64>) -> Value {
        let mut item = json!({
            "pk": { "S": "N#default#PORT" }, "sk": { "S": format!("{port:05}") }, "service": { "S": service },
            "name": { "S": format!("hurt-{port}") }, "state": { "S": state },
            "secret": { "S": format!("{port:04x}ffff-ffff-8fff-bfff-{port:012x}") },
            "created": { "N": "1700000000000" },
        });
        if state == "allocated" {
            item["accepted"] = json!({ "N": "1700000000001" });
        }
        if let Some(expires_at) = expires_at {
            item["expires_at"] = json!({ "N": expires_at.to_string() });
        }
        item
    }

    fn damage(&mut self, damage: Damage) {
        self.next_port += 1;
        let (port, seconds) = (self.next_port, self.now() / 1000);
        let service = self.services[self.random.random_range(0..self.services.len())].clone();
        match damage {
            Damage::Orphan => {
                self.put(&self.claim("nobody", port, "allocated", None));
                self.expected.orphaned_allocations += 1;
            }
            Damage::OrphanOffer => {
                let item = self.claim("nobody", port, "offered", Some(seconds + 1_000_000));
                self.put(&item);
                self.left_alone.push(item);
            }
            Damage::DeadOffer => {
                let service = if self.random.random_range(0..2) == 0 { "nobody" } else { &service };
                let expired = seconds - self.random.random_range(0..99);
                self.put(&self.claim(service, port, "offered", Some(expired)));
                self.expected.expired_offers += 1;
            }
            Damage::OutOfRange => {
                let item = self.claim(&service, port, "allocated", None);
                self.put(&item);
                self.left_alone.push(item);
                self.expected.allocations_out_of_range += 1;
            }
            Damage::StalePointer => {
                // To a port without a claim, or to one that another name has.
                let at = if self.random.random_range(0..2) == 0 { port } else { 5000 };
                self.put(&json!({
                    "pk": { "S": format!("N#default#INSTANCE#{service}") }, "sk": { "S": format!("hurt-{port}") },
                    "port": { "N": at.to_string() }, "secret": { "S": format!("{port:04x}eeee-eeee-8eee-beee-eeeeeeeeeeee") },
                }));
            }
            Damage::OldRequest => {
                self.put(&json!({
                    "pk": { "S": format!("N#default#REQUEST#{service}") }, "sk": { "S": format!("digest-{port}") },
                    "port": { "N": port.to_string() }, "secret": { "S": format!("{port:04x}dddd-dddd-8ddd-bddd-dddddddddddd") },
                    "fingerprint": { "S": "f" }, "expires_at": { "N": (seconds - 5).to_string() },
                }));
                self.expected.expired_requests += 1;
            }
            Damage::OldMark | Damage::YoungMark => {
                // One service has one mark.
                if self.done.iter().any(|done| matches!(done, Damage::OldMark | Damage::YoungMark)) {
                    return;
                }
                let age = if damage == Damage::OldMark { 301_000 } else { 1_000 };
                let service = self.services[0].clone();
                let mut item = self.find("N#default", &format!("SERVICE#{service}")).unwrap();
                let change = if self.random.random_range(0..2) == 0 { "delete" } else { "shrink" };
                let since = (self.now() - age).to_string();
                item["mark"] = json!({ "M": { "change": { "S": change }, "since": { "N": since } } });
                self.put(&item);
                self.expected.abandoned_marks += u64::from(damage == Damage::OldMark);
            }
            Damage::WrongBitmap | Damage::NoBitmap => {
                let done = |done: &Damage| matches!(done, Damage::WrongBitmap | Damage::NoBitmap);
                if self.done.iter().any(done) {
                    return;
                }
                let key = json!({ "pk": { "S": "N#default" }, "sk": { "S": "RANGES" } });
                if damage == Damage::NoBitmap {
                    self.network.ask("DeleteItem", &json!({ "TableName": TABLE, "Key": key }));
                } else {
                    let mut item = self.find("N#default", "RANGES").unwrap();
                    // All clear, or all claimed: too few ports, or too many.
                    let bits = if self.random.random_range(0..2) == 0 { "A" } else { "/" };
                    item["bits"] =
                        json!({ "B": format!("{}{}", bits.repeat(8021), if bits == "A" { "A==" } else { "w==" }) });
                    self.put(&item);
                }
                self.expected.rebuilt_ranges += 1;
            }
            Damage::Unreadable => {
                let item = match self.random.random_range(0..4) {
                    0 => {
                        json!({ "pk": { "S": "N#default#PORT" }, "sk": { "S": format!("{port:05}") }, "state": { "S": "confused" } })
                    }
                    1 => json!({ "pk": { "S": "SOMETHING" }, "sk": { "S": port.to_string() } }),
                    2 => {
                        json!({ "pk": { "S": format!("N#default#INSTANCE#{service}") }, "sk": { "S": format!("x-{port}") }, "port": { "S": "?" } })
                    }
                    _ => {
                        let mut item = self.claim(&service, port, "allocated", None);
                        item["secret"] = json!({ "S": "no uuid" });
                        item
                    }
                };
                self.put(&item);
                self.left_alone.push(item);
                self.expected.unreadable_items += 1;
            }
        }
        self.done.push(damage);
    }

    fn find(&self, pk: &str, sk: &str) -> Option<Value> {
        self.network.items(TABLE).into_iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk)
    }

    fn snapshot(&self) -> BTreeMap<String, Value> {
        let key = |item: &Value| format!("{} {}", item["pk"]["S"], item["sk"]["S"]);
        self.network.items(TABLE).into_iter().map(|item| (key(&item), item)).collect()
    }
}

/// Runs one table: healthy, then damaged, then reconciled. The error describes what is wrong with the outcome.
pub fn run(seed: u64) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(damage_and_repair(seed))
}

async fn damage_and_repair(seed: u64) -> Result<usize, String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let network = Faulty::new(seed, 0, false);
    let table = Table::new(Client::from_conf(in_process(network.client()).build()), TABLE);
    let started = Instant::now();
    let registry = Registry::new(table, clock_since(started, 0), OFFER_SECONDS).with_seed(seed);
    let call = || Call::within(Duration::from_secs(60));
    registry.table().create(&call()).await.unwrap();

    // Two or three services with live offers and allocations.
    let mut services = Vec::new();
    let mut live = Vec::new();
    for number in 0..random.random_range(2..=3_u16) {
        let service = ServiceId::new(Namespace::default(), format!("service-{number}").try_into().unwrap());
        let range = (5000 + 100 * number, 5009 + 100 * number);
        let range = PortRange::new(Port::new(range.0).unwrap(), Port::new(range.1).unwrap()).unwrap();
        let content = Content::new(Description::default(), range, Strategy::Lowest);
        registry.create_service(&call(), NewService { id: service.clone(), content }).await.unwrap();
        for instance in 0..random.random_range(1..=5) {
            let instance = InstanceName::try_from(format!("web-{instance}")).unwrap();
            let offered = registry.offer(&call(), &service, &instance, None).await.unwrap();
            let accepted = random.random_range(0..2) == 0;
            if accepted {
                registry.accept(&call(), &service, offered.holding.secret, None).await.unwrap();
            }
            live.push((service.clone(), instance, offered.holding, accepted));
        }
        services.push(service.name.to_string());
    }
    sleep(Duration::from_secs(10)).await;
    let (expected, healthy) = (Findings { finished: true, ..Findings::default() }, registry.reconcile(&call()).await);
    if healthy.as_ref().ok().map(Findings::regardless_of_extent) != Some(expected) {
        return Err(format!("before any damage: {healthy:?}"));
    }

    let mut ruin = Ruin {
        network,
        random,
        started,
        next_port: 20_000,
        services,
        expected,
        left_alone: Vec::new(),
        done: Vec::new(),
    };
    let before = ruin.snapshot();
    for _ in 0..ruin.random.random_range(1..=8) {
        let damage = DAMAGES[ruin.random.random_range(0..DAMAGES.len())];
        ruin.damage(damage);
    }
    let found = registry.reconcile(&call()).await.unwrap();
    let about = |what: &str| format!("{what}\nafter {:?}\nfound {found:?}", ruin.done);
    if found.regardless_of_extent() != ruin.expected {
        return Err(about(&format!("expected {:?}", ruin.expected)));
    }
    let after = ruin.snapshot();
    for (key, item) in &before {
        let is_repaired = key.contains("RANGES") || key.contains("SERVICE#");
        let same = after.get(key) == Some(item);
        if !same && !is_repaired {
            return Err(about(&format!("{item} was live, and is {:?}", after.get(key))));
        }
        // A service has its content, whether or not its mark was taken off.
        let plain = |item: &Value| ["name", "description", "range", "version"].map(|part| item[part].clone());
        if key.contains("SERVICE#") && after.get(key).map(plain) != Some(plain(item)) {
            return Err(about(&format!("{item} became {:?}", after.get(key))));
        }
    }
    for item in &ruin.left_alone {
        if !after.values().any(|left| left == item) {
            return Err(about(&format!("{item} was not to be touched")));
        }
    }
    // The bitmap agrees with the services: no overlap is possible, and ports that belong to no service can be claimed.
    let bitmap = |snapshot: &BTreeMap<String, Value>| snapshot["\"N#default\" \"RANGES\""]["bits"].clone();
    if bitmap(&after) != bitmap(&before) {
        return Err(about("the bitmap is not what it was"));
    }

    // The second run finds only what it must not touch; live items can still be used.
    let again = registry.reconcile(&call()).await.unwrap();
    let Findings { allocations_out_of_range, unreadable_items, .. } = ruin.expected;
    let counted = Findings { allocations_out_of_range, unreadable_items, ..expected };
    if again.regardless_of_extent() != counted {
        return Err(about(&format!("the second time {again:?}")));
    }
    for (service, instance, holding, accepted) in live {
        if !accepted {
            let accepted = registry.accept(&call(), &service, holding.secret, None).await;
            if !accepted.as_ref().is_ok_and(|(_, first)| *first) {
                return Err(about(&format!("the offer {holding:?} was live: {accepted:?}")));
            }
        }
        let named = PortOrName::Name(instance);
        let found_port = registry.get_port(&call(), &service, &named).await;
        if found_port.as_ref().map(|claim| claim.port).ok() != Some(holding.claim.port) {
            return Err(about(&format!("{holding:?} was live: {found_port:?}")));
        }
        registry.release(&call(), &service, &named, portmaster_registry::By::Holder(None)).await.unwrap();
    }
    // A service without damage of its own can be deleted; one with allocations out of its range too, since they are not
    // in it.
    for service in &ruin.services {
        let id = ServiceId::new(Namespace::default(), service.as_str().try_into().unwrap());
        match registry.delete_service(&call(), &id, &IfMatch::Always).await {
            Ok(()) => {}
            Err(error) => return Err(about(&format!("{service} cannot be deleted: {error}"))),
        }
        let gone: Result<Service, Error> = registry.get_service(&call(), &id).await;
        if gone.is_ok() {
            return Err(about(&format!("{service} is there still")));
        }
    }
    Ok(ruin.done.len())
}
