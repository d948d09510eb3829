//! The reconciler on a large table, in simulated time: what a sweep costs, and what a run that cannot finish one finds
//! (promise P16).
//!
//! These count requests and units, and the time that passes 6 ms away from the table. `SWEEP_NAMES=100000` sweeps a
//! table of so many names and 0.48 times as many ports, and `SWEEP_NAMESPACES=1000` one of so many namespaces;
//! `-- --nocapture` prints the figures.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_domain::{Namespace, Port, ServiceId, Strategy};
use portmaster_registry::{Call, Findings, Meter, Registry};
use portmaster_testkit::{Distant, Network, TABLE, create};
use tokio::time::{Instant, sleep};

const SERVICE: &str = "django";

/// The time that the function and the local server allow a run.
const RUN: Duration = Duration::from_secs(110);

/// A table of so many names and ports: each port is allocated to a name, the claims of the other names are gone.
async fn table(network: Network, names: usize, ports: u16) -> (Distant, Registry) {
    let distant = Distant::new(network, 1).await;
    create(&distant, SERVICE, 1024, 1023 + ports, Strategy::Lowest).await;
    distant.fill(SERVICE, 1024..1024 + ports);
    distant.fill_names(SERVICE, 1024..1024 + ports, names);
    let registry = distant.process(&distant.client().await);
    (distant, registry)
}

async fn run(what: &str, registry: &Registry, within: Duration) -> (Findings, Meter, Duration) {
    let (call, began, really) = (Call::within(within), Instant::now(), std::time::Instant::now());
    let found = registry.reconcile(&call).await.unwrap();
    assert!(found.unreadable_items + found.allocations_out_of_range + found.rebuilt_ranges == 0, "{found:?}");
    let (meter, took) = (call.meter(), began.elapsed());
    println!(
        "{what}: {} items, {} requests, {} R, {} W, {took:.1?} at 6 ms a request, {:.1?} on this machine{}",
        found.items,
        meter.requests,
        meter.read_units,
        meter.write_units,
        really.elapsed(),
        if found.finished { "" } else { ", not finished" }
    );
    (found, meter, took)
}

/// P16: a name costs its share of the scan and, the first time that its claim is found gone, a hundredth of a request
/// and a write. One run is enough for 100,000 names and 48,000 ports.
#[tokio::test(start_paused = true)]
async fn a_sweep_takes_a_request_for_hundreds_of_names() {
    let names = std::env::var("SWEEP_NAMES").map_or(4_000, |names| names.parse::<usize>().unwrap());
    let ports = u16::try_from(names * 48 / 100).unwrap();
    let (_distant, registry) = table(Network::exact(Duration::from_millis(6)), names, ports).await;
    let gone = (names - usize::from(ports)) as u32;
    // With the service, its usage and the ranges.
    let items = (names + usize::from(ports)) as u64 + 3;
    // At most one page of the scan and one of the ports restart at a partition's end.
    let pages = u32::try_from(items / 500).unwrap() + 12;
    let read = items as f64 * 0.5 / 10.0;

    // Each name whose claim is gone is noted, after its port has been read in a transaction, a hundred at a time.
    let (found, meter, took) = run("the first sweep", &registry, RUN).await;
    assert!(found.finished && found.items == items, "{found:?}");
    assert!(meter.requests <= pages + gone + gone / 100 + pages, "{meter:?}");
    assert!(f64::from(gone) <= meter.write_units && meter.write_units <= f64::from(gone) + 2.0, "{meter:?}");
    assert!(meter.read_units <= read + 2.0 * f64::from(gone), "{meter:?}");
    assert!(took < RUN, "{took:?}");

    let (found, meter, _) = run("every other", &registry, RUN).await;
    assert!(found.finished && found.items == items, "{found:?}");
    assert!(meter.requests <= pages, "{meter:?}");
    assert!(meter.write_units == 0.0 && meter.read_units <= read, "{meter:?}");

    // A week later they are removed, on the evidence of the note alone.
    sleep(Duration::from_secs(7 * 24 * 3600)).await;
    let (found, meter, took) = run("a week later", &registry, RUN).await;
    assert_eq!((found.stale_pointers, found.finished), (u64::from(gone), true));
    assert!(meter.requests <= pages + gone && meter.read_units <= read, "{meter:?}");
    assert!(took < RUN, "{took:?}");
    let (found, ..) = run("after that", &registry, RUN).await;
    assert_eq!((found.items, found.stale_pointers), (2 * u64::from(ports) + 3, 0));
}

/// P16: the next run finds a mark that was left behind, though a sweep takes many runs.
#[tokio::test(start_paused = true)]
async fn a_mark_is_found_in_the_middle_of_a_sweep() {
    let (distant, registry) = table(Network::exact(Duration::from_millis(6)), 3_000, 2_000).await;
    // Two seconds are its reserve.
    let short = Duration::from_millis(2_100);
    let (found, ..) = run("the first run", &registry, short).await;
    assert!(!found.finished && found.items > 0, "{found:?}");
    let mark = AttributeValue::M(std::collections::HashMap::from([
        ("change".to_owned(), AttributeValue::S("delete".to_owned())),
        ("since".to_owned(), AttributeValue::N("1799999000000".to_owned())),
    ]));
    let update = distant.client().await.update_item().table_name(TABLE);
    let update = update.key("pk", AttributeValue::S("N#default".to_owned()));
    let update = update.key("sk", AttributeValue::S(format!("SERVICE#{SERVICE}")));
    let update = update.update_expression("SET #mark = :mark").expression_attribute_names("#mark", "mark");
    update.expression_attribute_values(":mark", mark).send().await.unwrap();
    let (found, ..) = run("the next one", &registry, short).await;
    assert_eq!((found.abandoned_marks, found.finished), (1, false));
    // The sweep goes on from where it stopped, and ends.
    let mut runs = 2;
    while !run("another", &registry, short).await.0.finished {
        runs += 1;
        assert!(runs < 1_000, "it makes no progress");
    }
    assert!(runs > 3);
    let service = ServiceId::new(Namespace::default(), SERVICE.try_into().unwrap());
    let found = registry.get_service(&Call::within(RUN), &service).await.unwrap();
    assert_eq!(found.range.start(), Port::MIN);
}

/// So many namespaces of five services with three ports each, beside one whose ports and names fill many pages.
async fn spaces(namespaces: usize) -> (Distant, Registry) {
    let distant = Distant::new(Network::exact(Duration::from_millis(6)), 1).await;
    for (number, name) in ["web", "db", "queue", "cache", "search"].iter().enumerate() {
        let start = 5000 + 10 * u16::try_from(number).unwrap();
        create(&distant, name, start, start + 9, Strategy::Lowest).await;
        distant.fill(name, start..start + 3);
        distant.fill_names(name, start..start + 3, 3);
    }
    distant.copy_default((0..namespaces).map(|number| format!("team-{number:04}")));
    create(&distant, SERVICE, 10_000, 11_999, Strategy::Lowest).await;
    distant.fill(SERVICE, 10_000..12_000);
    distant.fill_names(SERVICE, 10_000..12_000, 2_000);
    let registry = distant.process(&distant.client().await);
    (distant, registry)
}

/// When the usage of a service in each of these namespaces was written.
async fn counted(distant: &Distant, namespaces: usize) -> Vec<Option<i64>> {
    let registry = distant.process(&distant.client().await);
    let mut all = Vec::new();
    for number in 0..namespaces {
        let namespace = Namespace::try_from(format!("team-{number:04}").as_str()).unwrap();
        let service = ServiceId::new(namespace, "web".try_into().unwrap());
        let (_, usage) = registry.get_service_and_usage(&Call::within(RUN), &service).await.unwrap();
        all.push(usage.map(|usage| usage.as_of.millis()));
    }
    all
}

/// P16, P36: with time for a whole sweep, a run sees every namespace; each costs its share of the scan, and the first
/// hundred by name are read once, not twice.
#[tokio::test(start_paused = true)]
async fn a_run_sees_every_namespace() {
    let namespaces = std::env::var("SWEEP_NAMESPACES").map_or(150, |number| number.parse::<usize>().unwrap());
    let (distant, registry) = spaces(namespaces).await;
    let (found, meter, _) = run("the first sweep", &registry, RUN).await;
    let services = 5 * (namespaces + 1) + 1;
    assert_eq!((found.namespaces, found.services), (namespaces as u64 + 1, services as u64));
    assert!(found.finished);
    // The usage of each service, and where the next run continues.
    assert_eq!(meter.write_units, services as f64 + 1.0);
    assert!(counted(&distant, namespaces).await.iter().all(Option::is_some));

    // At rest: for each namespace Ranges, its services, its ports and their usage, and its part of the scan.
    let (found, meter, _) = run("every other", &registry, RUN).await;
    assert!(found.finished);
    let pages = u32::try_from(found.items / 500).unwrap() + 16;
    assert!(meter.requests <= 4 * (namespaces as u32 + 1) + pages, "{meter:?}");
    assert!(meter.write_units <= 1.0, "{meter:?}");
}

/// P16, P36: in runs that are far too short for a sweep, each namespace is seen within a bounded number of them, whatever
/// else is in the table, and the sweep comes to its end as well.
#[tokio::test(start_paused = true)]
async fn every_namespace_is_seen_however_short_the_runs_are() {
    const NAMESPACES: usize = 40;
    let (distant, registry) = spaces(NAMESPACES).await;
    // Two seconds are its reserve. What is left is enough for some fifty requests, and half of that for five namespaces.
    let short = Duration::from_millis(2_300);
    let (mut runs, mut finished, mut unseen) = (0, false, NAMESPACES);
    while unseen > 0 || !finished {
        finished |= run("a short run", &registry, short).await.0.finished;
        runs += 1;
        let left = counted(&distant, NAMESPACES).await.iter().filter(|seen| seen.is_none()).count();
        // The first one begins with `default`, whose ports are most of the table.
        assert!(left < unseen || unseen == 0 || runs == 1, "run {runs} came to no namespace: {unseen} are left");
        unseen = left;
        assert!(runs < 20 * NAMESPACES, "no sweep has come to its end after {runs} runs");
    }
    assert!(runs > NAMESPACES / 10, "the runs are not short");
    println!("after {runs} runs a sweep had come to its end");
}
