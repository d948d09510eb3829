//! A steady load on a table whose partitions have DynamoDB's limits: how much is granted, and how the rest ends.

use std::cell::RefCell;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use portmaster_domain::{InstanceName, Strategy};
use portmaster_registry::{Asked, Error, StoreError};
use portmaster_testkit::{Answered, Distant, Limits, Processes, Rate, Traffic, create, put};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::report::Part;
use crate::world::{figures, network, simulate};

const MILLIS: u64 = 15;

/// How long the load lasts, and the part of it that counts: calls have ended in each way by then.
const LASTS: Duration = Duration::from_secs(20);
const COUNTS: Duration = Duration::from_secs(5);

/// The executions that Lambda allows an account at a time, by default.
const LAMBDA: usize = 1_000;

/// How the load is spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    OneService,
    Split,
    Services,
    Namespaces,
    NewTable,
}

impl Spread {
    fn what(self) -> &'static str {
        match self {
            Self::OneService => "one service",
            Self::Split => "… its ports and its names each split in two",
            Self::Services => "16 services of one namespace",
            Self::Namespaces => "64 namespaces",
            Self::NewTable => "… of a new table",
        }
    }

    fn services(self) -> Vec<(String, u16, u16)> {
        match self {
            Self::OneService | Self::Split => vec![("django".to_owned(), 1024, 49_151)],
            Self::Services => (0..16).map(|i| (format!("django-{i}"), 1024 + 3_000 * i, 4023 + 3_000 * i)).collect(),
            Self::Namespaces | Self::NewTable => (0..64).map(|i| (format!("host-{i}/django"), 1024, 49_151)).collect(),
        }
    }

    fn limits(self) -> Limits {
        match self {
            Self::Split => Limits::default()
                .split("N#default#PORT", [format!("{:05}", (1024 + 49_151) / 2)])
                .split("N#default#INSTANCE#django", ["x8".to_owned()]),
            Self::NewTable => Limits::default().with_table(Rate::NEW_TABLE),
            _ => Limits::default(),
        }
    }
}

/// How one call ended, and when.
enum End {
    Granted(Duration),
    Unavailable,
    /// No process was free.
    TurnedAway,
}

pub fn run(quick: bool) -> Part {
    let mut part = Part {
        text: format!(
            "`PUT`s with a lease, each for a new name, at a steady rate for {} s of simulated time, {MILLIS} ms away from \
             a table of which each partition takes 1,000 write and 3,000 read units a second, without a burst. The \
             figures are of the last {} s. Calls are served as Lambda does it: by an idle process or else by a new, cold \
             one, at most {LAMBDA} at a time unless the row says otherwise; *turned away* are those for which Lambda has \
             no process left (429). *200* and *503* are shares of the answers of the others. *Throttled* counts requests \
             to the table a second, *W* the write units a second that it took, and latency is that of what was granted, in \
             round trips (warm and without a crowd: two).\n\n",
            LASTS.as_secs(),
            COUNTS.as_secs(),
        ),
        ..Part::default()
    };
    let mut rows = Vec::new();
    let mut add = |spread, strategy, loads: &[u64], at_most| {
        rows.extend(loads.iter().map(|load| row(spread, strategy, *load, at_most)));
    };
    if quick {
        add(Spread::OneService, Strategy::Lowest, &[200, 1_000], LAMBDA);
    } else {
        for strategy in Strategy::ALL {
            add(Spread::OneService, strategy, &[200, 400, 600, 1_000], LAMBDA);
        }
        for strategy in [Strategy::Lowest, Strategy::Random] {
            add(Spread::Split, strategy, &[600, 1_000], LAMBDA);
            add(Spread::Services, strategy, &[400, 600], LAMBDA);
            add(Spread::Namespaces, strategy, &[1_000, 2_000], LAMBDA);
            add(Spread::NewTable, strategy, &[1_000, 2_000], LAMBDA);
        }
    }
    part.table(
        &[
            "load on",
            "strategy",
            "offered/s",
            "granted/s",
            "200",
            "503",
            "turned away",
            "throttled/s",
            "W/s",
            "processes",
            "rounds: p50",
            "p99",
        ],
        &rows,
    );
    part
}

fn row(spread: Spread, strategy: Strategy, offered: u64, at_most: usize) -> Vec<String> {
    eprintln!("{}, {}, {offered} a second", spread.what(), strategy.as_str());
    let (ends, traffic, processes) = simulate(load(spread, strategy, offered, at_most));
    let seconds = COUNTS.as_secs_f64();
    let count = |wanted: fn(&End) -> bool| ends.iter().filter(|end| wanted(end)).count() as f64;
    let granted = count(|end| matches!(end, End::Granted(_)));
    let unavailable = count(|end| matches!(end, End::Unavailable));
    let turned_away = count(|end| matches!(end, End::TurnedAway));
    let share = |part: f64, of: f64| format!("{:.1} %", 100.0 * part / of.max(1.0));
    let rounds = figures(ends.iter().filter_map(|end| match end {
        End::Granted(took) => Some(took.as_secs_f64() * 1000.0 / MILLIS as f64),
        _ => None,
    }));
    let what = match at_most {
        LAMBDA => spread.what().to_owned(),
        _ => format!("{}, {at_most} processes", spread.what()),
    };
    let row = vec![
        what,
        strategy.as_str().to_owned(),
        offered.to_string(),
        format!("{:.0}", granted / seconds),
        share(granted, granted + unavailable),
        share(unavailable, granted + unavailable),
        share(turned_away, granted + unavailable + turned_away),
        format!("{:.0}", traffic.throttled as f64 / seconds),
        format!("{:.0}", traffic.write_units / seconds),
        processes.to_string(),
        format!("{:.1}", rounds.median),
        format!("{:.1}", rounds.p99),
    ];
    eprintln!("{}", row.join(" | "));
    row
}

/// The ends of the calls that ended in the part of the load that counts, and the traffic of it.
async fn load(spread: Spread, strategy: Strategy, offered: u64, at_most: usize) -> (Vec<End>, Traffic, usize) {
    let distant = Distant::new(network(MILLIS), 1).await;
    let services = spread.services();
    for (service, start, end) in &services {
        create(&distant, service, *start, *end, strategy).await;
    }
    distant.limit(Some(spread.limits()));
    let processes = Processes::new(&distant, at_most).await;
    let (began, ends) = (Instant::now(), RefCell::new(Vec::new()));
    let counted = began + LASTS - COUNTS;
    let calls = offered * LASTS.as_secs();
    let (services, processes, ends) = (&services, &processes, &ends);
    let mut under_way: FuturesUnordered<_> = (0..calls)
        .map(|i| async move {
            sleep_until(began + LASTS.mul_f64(i as f64 / calls as f64)).await;
            let (service, ..) = &services[i as usize % services.len()];
            // A name that says nothing about when it was made: see `Spread::limits`.
            let scattered = (i as u32).wrapping_mul(0x9e37_79b1);
            let asked = Asked::from(InstanceName::try_from(format!("x{scattered:08x}")).unwrap());
            let served = processes.serve(async |registry| put(registry, service, &asked, Some(600)).await).await;
            let end = match served {
                None => End::TurnedAway,
                Some(Answered { answer: Ok(_), took, .. }) => End::Granted(took),
                Some(Answered { answer: Err(Error::Store(StoreError::Unavailable { .. })), .. }) => End::Unavailable,
                Some(Answered { answer: Err(other), .. }) => panic!("{other:?}"),
            };
            if Instant::now() >= counted {
                ends.borrow_mut().push(end);
            }
        })
        .collect();
    let mut drain = async |until| {
        let all = async { while under_way.next().await.is_some() {} };
        let _ = timeout_at(until, all).await;
    };
    drain(counted).await;
    distant.take_traffic();
    drain(began + LASTS).await;
    drop(under_way);
    (ends.take(), distant.take_traffic(), processes.started())
}
