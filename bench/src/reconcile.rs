//! The cost of the reconciler on a large table: requests, units and time, 5 ms away from it and on this machine.

use std::time::{Duration, Instant};

use portmaster_domain::Strategy;
use portmaster_registry::Call;
use portmaster_testkit::{Distant, Network};
use tokio::time::sleep;

use crate::report::{Part, machine};
use crate::world::{create, simulate};

/// The time that the function and the local server allow a run.
const RUN: Duration = Duration::from_secs(110);

/// A third of it is a whole number of milliseconds, the finest that Tokio's simulated time has.
const ROUND_TRIP: Duration = Duration::from_millis(6);

pub fn run(quick: bool) -> Part {
    let sizes: &[(usize, u16)] = if quick { &[(1_000, 480)] } else { &[(10_000, 4_800), (100_000, 48_000)] };
    let mut part = Part {
        text: format!(
            "Every port is allocated to a name; the claims of the other names are gone. *The first* sweep notes each of \
             those, *a later one* finds nothing to do, and the one *after a week* forgets what was noted. One run each, \
             within the 110 s that a run has. *At 6 ms* is simulated time, where each request takes so long; *here* is \
             what this process took for it, the embedded database included. {}\n\n",
            machine()
        ),
        ..Part::default()
    };
    let mut rows = Vec::new();
    for (names, ports) in sizes {
        rows.extend(simulate(sweeps(*names, *ports)));
    }
    part.table(&["names", "ports", "sweep", "items", "requests", "R", "W", "s at 6 ms", "s here"], &rows);

    part.text += "Namespaces of 50 services each, every service with 20 ports, of which four are allocated to a name: *the \
                  first* run writes down how full each service is, *at rest* nothing changes, *a day later* the usage of \
                  each service is written again. *Runs* are those until a sweep came to its end, and *seen* are the runs \
                  after which each namespace had been seen.\n\n";
    let namespaces: &[usize] = if quick { &[10] } else { &[100, 1_000] };
    let mut rows = Vec::new();
    for namespaces in namespaces {
        rows.extend(simulate(spaces(*namespaces)));
    }
    part.table(&["namespaces", "services", "sweep", "runs", "seen", "items", "requests", "R", "W", "s at 6 ms"], &rows);
    part
}

async fn spaces(namespaces: usize) -> Vec<Vec<String>> {
    const SERVICES: u16 = 50;
    let distant = Distant::new(Network::exact(ROUND_TRIP), 1).await;
    for number in 0..SERVICES {
        let start = 1024 + 20 * number;
        create(&distant, number.into(), start, start + 19, Strategy::Lowest).await;
        distant.fill(&format!("service-{number}"), start..start + 4);
        distant.fill_names(&format!("service-{number}"), start..start + 4, 4);
    }
    distant.copy_default((1..namespaces).map(|number| format!("team-{number:04}")));
    let registry = distant.process(&distant.client().await);
    let mut rows = Vec::new();
    for (what, pause) in [("the first", 0), ("at rest", 0), ("a day later", 24 * 3600)] {
        sleep(Duration::from_secs(pause)).await;
        let (mut runs, mut items, mut services, mut seen) = (0, 0, 0, None);
        let (mut requests, mut reads, mut writes) = (0, 0.0, 0.0);
        let mut took = Duration::ZERO;
        loop {
            let (call, began) = (Call::within(RUN), tokio::time::Instant::now());
            let found = registry.reconcile(&call).await.unwrap();
            assert!(found.is_healthy(), "{found:?}");
            (runs, items, services) = (runs + 1, items + found.items, services + found.services);
            let meter = call.meter();
            (requests, reads, writes) =
                (requests + meter.requests, reads + meter.read_units, writes + meter.write_units);
            took += began.elapsed();
            let all = (namespaces * usize::from(SERVICES)) as u64;
            seen = seen.or((services >= all).then_some(runs));
            if found.finished {
                break;
            }
        }
        rows.push(vec![
            namespaces.to_string(),
            (namespaces * usize::from(SERVICES)).to_string(),
            what.to_owned(),
            runs.to_string(),
            seen.map_or("-".to_owned(), |seen: u32| seen.to_string()),
            items.to_string(),
            requests.to_string(),
            format!("{reads:.0}"),
            format!("{writes:.0}"),
            format!("{:.1}", took.as_secs_f64()),
        ]);
    }
    rows
}

async fn sweeps(names: usize, ports: u16) -> Vec<Vec<String>> {
    let distant = Distant::new(Network::exact(ROUND_TRIP), 1).await;
    create(&distant, 0, 1024, 1023 + ports, Strategy::Lowest).await;
    distant.fill("service-0", 1024..1024 + ports);
    distant.fill_names("service-0", 1024..1024 + ports, names);
    let registry = distant.process(&distant.client().await);
    let mut rows = Vec::new();
    for (what, pause) in [("the first", 0), ("a later one", 0), ("after a week", 7 * 24 * 3600)] {
        sleep(Duration::from_secs(pause)).await;
        let (call, began, really) = (Call::within(RUN), tokio::time::Instant::now(), Instant::now());
        let found = registry.reconcile(&call).await.unwrap();
        assert!(found.finished && found.is_healthy(), "{found:?}");
        let meter = call.meter();
        rows.push(vec![
            names.to_string(),
            ports.to_string(),
            what.to_owned(),
            found.items.to_string(),
            meter.requests.to_string(),
            format!("{:.0}", meter.read_units),
            format!("{:.0}", meter.write_units),
            format!("{:.1}", began.elapsed().as_secs_f64()),
            format!("{:.1}", really.elapsed().as_secs_f64()),
        ]);
    }
    rows
}
