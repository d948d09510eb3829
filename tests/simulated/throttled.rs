//! Loads beyond what DynamoDB's partitions take, in simulated time (promises P1, P2, P7): every call ends in success or in
//! 503 with `Retry-After`, and the table has what the callers were told.
//!
//! The limits are a fiftieth of DynamoDB's, so that a few hundred calls are far too many. They compare counts, never
//! times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use portmaster_domain::{Strategy, Timestamp};
use portmaster_registry::Call;
use portmaster_testkit::{Answer, Caller, Distant, Limits, Network, Processes, Rate, TABLE, clock, create, put};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::sleep;

const SERVICE: &str = "django";

/// A fiftieth of what DynamoDB's partitions take.
const RATE: Rate = Rate { write: 20.0, read: 60.0 };

/// Allocations that are there before the crowd, on the last ports of the range.
const OLD: std::ops::Range<u16> = 5800..5900;

/// What a caller was told of a name.
#[derive(Debug, PartialEq)]
enum Told {
    /// It has this port, and this secret, if the caller was told one.
    Port(u16, Option<String>),
    /// It has this port as an offer: nobody knows whether it was accepted.
    Offer(u16, String),
    /// Nothing: the call may have had an effect, or not.
    Nothing,
}

/// Checks that a call ended in success or in 503 with `Retry-After`. Returns whether it succeeded.
fn ended(answer: &Answer) -> bool {
    if answer.status.is_success() {
        return true;
    }
    assert_eq!((answer.status.as_u16(), answer.kind()), (503, "unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1, "{answer:?}");
    false
}

/// One caller: some names, and what it was told of them.
async fn caller(api: &Caller, i: usize) -> Vec<(String, Told)> {
    let name = format!("web-{i}");
    let ports = format!("/v1/services/{SERVICE}/ports");
    match i % 5 {
        0 | 1 => {
            let body = json!({ "owner": "crowd", "lease_seconds": i.is_multiple_of(5).then_some(600) });
            let answer = api.put(&format!("{ports}/{name}"), body).await;
            let told = if ended(&answer) { Told::Port(answer.port(), None) } else { Told::Nothing };
            vec![(name, told)]
        }
        2 | 3 => {
            let offer = match i % 5 {
                2 => api.ask(SERVICE, &name).await,
                _ => api.ask_with_key(SERVICE, &name, &format!("build-{i}")).await,
            };
            if !ended(&offer) {
                return vec![(name, Told::Nothing)];
            }
            let (port, secret) = (offer.port(), offer.secret());
            let accepted = api.accept(SERVICE, &secret).await;
            let told = match ended(&accepted) {
                true => Told::Port(accepted.port(), Some(secret)),
                false => Told::Offer(port, secret),
            };
            vec![(name, told)]
        }
        _ => {
            let names: Vec<_> = (0..3).map(|j| format!("{name}-{j}")).collect();
            let body = json!({ "names": names, "owner": "crowd", "lease_seconds": 600 });
            let answer = api.post(&format!("/v1/services/{SERVICE}/sets"), body).await;
            if !ended(&answer) {
                return names.into_iter().map(|name| (name, Told::Nothing)).collect();
            }
            let told = |name: String, port: &Value| {
                assert_eq!(port["name"], name, "in the order of the names");
                (name, Told::Port(port["port"].as_u64().unwrap().try_into().unwrap(), None))
            };
            let list = answer.body["ports"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
            assert_eq!(list.len(), names.len());
            names.into_iter().zip(list).map(|(name, port)| told(name, port)).collect()
        }
    }
}

type Item = HashMap<String, AttributeValue>;

/// Every item of the table.
async fn items(distant: &Distant) -> Vec<Item> {
    let pages = distant.client().await.scan().table_name(TABLE).into_paginator().items().send();
    pages.collect::<Result<Vec<_>, _>>().await.unwrap()
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// Checks the table against what was told, and returns how many claims nobody was told of.
fn compare(items: &[Item], told: &BTreeMap<String, Told>, released: &BTreeMap<u16, bool>) -> usize {
    let at = |pk: &str, sk: &str| items.iter().find(|item| text(item, "pk") == pk && text(item, "sk") == sk);
    let port_item = |port: u16| at("N#default#PORT", &format!("{port:05}"));
    let mut ports = BTreeSet::new();
    for (name, told) in told {
        let (port, secret, states) = match told {
            Told::Port(port, secret) => (*port, secret.as_ref(), &["allocated"][..]),
            Told::Offer(port, secret) => (*port, Some(secret), &["offered", "allocated"][..]),
            Told::Nothing => continue,
        };
        assert!(ports.insert(port), "{port} was told twice, the second time to {name}");
        let item = port_item(port).unwrap_or_else(|| panic!("{name} was told {port}, which has no item"));
        assert_eq!((text(item, "service"), text(item, "name")), (SERVICE, name.as_str()), "who has {port}");
        assert!(states.contains(&text(item, "state")), "{name}, {told:?}: {item:?}");
        assert!(secret.is_none_or(|secret| text(item, "secret") == secret), "{name} was told another secret");
        let instance = at(&format!("N#default#INSTANCE#{SERVICE}"), name).unwrap();
        assert_eq!(instance["port"].as_n().unwrap(), &port.to_string());
        assert_eq!(text(instance, "secret"), text(item, "secret"), "the name {name} points to another claim");
    }
    let (mut names, mut unknown) = (BTreeSet::new(), 0);
    // An item without a secret is no claim.
    for item in items.iter().filter(|item| text(item, "pk") == "N#default#PORT" && item.contains_key("secret")) {
        let name = text(item, "name");
        assert!(names.insert(name), "{name} has two ports");
        match told.get(name) {
            None => assert!(name.starts_with("filler-"), "{item:?}"),
            // Throttling leaves no doubt, so what nobody was told of was not accepted, and ends by itself.
            Some(Told::Nothing) => {
                assert!(item.contains_key("expires_at"), "{name} keeps a port that nobody was told of: {item:?}");
                unknown += 1;
            }
            Some(_) => {}
        }
    }
    // What was answered is so, and what nobody asked for has not happened.
    for port in OLD {
        let is_there = port_item(port).is_some_and(|item| text(item, "name") == format!("filler-{port}"));
        match released.get(&port) {
            Some(true) => assert!(!is_there, "{port} was released"),
            Some(false) => {}
            None => assert!(is_there, "{port} was lost"),
        }
    }
    unknown
}

async fn a_crowd_far_beyond_the_limits(strategy: Strategy) {
    let distant = Distant::new(Network::USUAL, 1).await;
    create(&distant, SERVICE, 5000, 5999, strategy).await;
    distant.fill(SERVICE, OLD);
    distant.limit(Some(Limits::of(RATE)));
    distant.take_traffic();
    let client = distant.client().await;
    let processes: Vec<_> = (0..24).map(|_| Caller::within(distant.process(&client))).collect();
    let mut random = SmallRng::seed_from_u64(1);
    // 300 calls that make ports and 50 that release one, within two seconds: forty times what the partitions take.
    let crowd = join_all((0..350).map(|i| {
        let (api, wait) = (&processes[i % processes.len()], Duration::from_millis(random.random_range(0..2_000)));
        async move {
            sleep(wait).await;
            match u16::try_from(i).unwrap() {
                i @ 0..50 => {
                    let port = OLD.start + i;
                    let answer = api.delete(&format!("/v1/services/{SERVICE}/ports/{port}")).await;
                    (Vec::new(), Some((port, ended(&answer))))
                }
                _ => (caller(api, i).await, None),
            }
        }
    }))
    .await;
    let traffic = distant.take_traffic();
    distant.limit(None);
    let (told, released): (Vec<_>, Vec<_>) = crowd.into_iter().unzip();
    let told: BTreeMap<_, _> = told.into_iter().flatten().collect();
    let released: BTreeMap<_, _> = released.into_iter().flatten().collect();
    let all = items(&distant).await;
    let unknown = compare(&all, &told, &released);
    let granted = told.values().filter(|told| matches!(told, Told::Port(..))).count();
    let refused = told.values().filter(|told| matches!(told, Told::Nothing)).count();
    let offered = told.len() - granted - refused;
    println!(
        "{}: {granted} names have a port, {offered} perhaps, {refused} were refused, {unknown} of these left something; {} of {} ports \
         released; {traffic:?}",
        strategy.as_str(),
        released.values().filter(|released| **released).count(),
        released.len(),
    );
    // It was far too much, and what the partitions took was not wasted.
    assert!(refused > 150 && granted > 0, "{granted} granted, {refused} refused");
    assert!(traffic.throttled > 1_000, "{traffic:?}");

    // An hour later, offers and leases that nobody was told of are over, and every name that was refused gets a port.
    sleep(Duration::from_secs(3_600)).await;
    let registry = distant.process(&client);
    let api = Caller::within(registry.clone());
    for name in told.iter().filter(|(_, told)| **told == Told::Nothing).map(|(name, _)| name) {
        let body = json!({ "owner": "crowd", "lease_seconds": 600 });
        let answer = api.put(&format!("/v1/services/{SERVICE}/ports/{name}"), body).await;
        assert!(answer.status.is_success(), "{name}: {answer:?}");
    }
    let found = registry.reconcile(&Call::within(Duration::from_secs(110))).await.unwrap();
    assert!(found.is_healthy() && found.finished, "{found:?}");
    let now: Timestamp = clock().now();
    let live = |item: &&Item| {
        let expires_at = item.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        text(item, "pk") == "N#default#PORT" && expires_at.is_none_or(|at| at > now.seconds())
    };
    let all = items(&distant).await;
    let names: Vec<_> = all.iter().filter(live).map(|item| text(item, "name")).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "no name has two ports");
}

/// P1, P2, P7: `lowest` wants neighbouring ports.
#[tokio::test(start_paused = true)]
async fn a_throttled_crowd_ends_in_success_or_503_and_the_table_has_what_was_told_lowest() {
    a_crowd_far_beyond_the_limits(Strategy::Lowest).await;
}

/// P1, P2, P7: `random` spreads.
#[tokio::test(start_paused = true)]
async fn a_throttled_crowd_ends_in_success_or_503_and_the_table_has_what_was_told_random() {
    a_crowd_far_beyond_the_limits(Strategy::Random).await;
}

/// A load below the limits is not throttled; a load beyond them gets what the partitions take, and hardly less.
#[tokio::test(start_paused = true)]
async fn what_the_partitions_take_is_granted() {
    for (offered, least, most) in [(8, 64, 64), (30, 130, 170)] {
        let distant = Distant::new(Network::USUAL, 1).await;
        create(&distant, SERVICE, 5000, 5999, Strategy::Random).await;
        distant.limit(Some(Limits::of(RATE)));
        let processes = Processes::new(&distant, usize::MAX).await;
        let seconds = 8;
        // A PUT takes two write units of the ports' partition, and two of the names'.
        let ends = join_all((0..offered * seconds).map(|i| {
            let processes = &processes;
            async move {
                sleep(Duration::from_secs(seconds).mul_f64(i as f64 / (offered * seconds) as f64)).await;
                let asked = portmaster_registry::Asked::from(
                    portmaster_domain::InstanceName::try_from(format!("web-{i}")).unwrap(),
                );
                let put = processes.serve(async |registry| put(registry, SERVICE, &asked, Some(600)).await);
                let in_time = sleep(Duration::from_secs(seconds));
                tokio::select! { put = put => put.unwrap().answer.is_ok(), () = in_time => false }
            }
        }))
        .await;
        let granted = ends.iter().filter(|granted| **granted).count();
        let traffic = distant.take_traffic();
        println!("{offered} a second: {granted} of {} granted, {traffic:?}", ends.len());
        assert!((least..=most).contains(&granted), "{granted}");
        assert_eq!(traffic.throttled == 0, offered == 8, "{traffic:?}");
    }
}
