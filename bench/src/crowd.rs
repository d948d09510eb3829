//! Crowds whose callers share no memory: success, tries and latency.

use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_domain::{InstanceName, Strategy};
use portmaster_registry::{Asked, NewSet};

use crate::report::Part;
use crate::world::{Done, create, crowd, figures, network, simulate};
use portmaster_testkit::{Answered, Distant, crowd_of, put, put_set};

const LEASE: Option<u32> = Some(600);

pub fn run(quick: bool, seeds: u64) -> Part {
    let crowds: &[usize] = if quick { &[1, 8, 64] } else { &[1, 8, 64, 256, 1024] };
    let mut part = Part {
        text: format!(
            "Every caller is a process of its own that knows nothing, in simulated time, over {seeds} seeds (1,024 callers: one); transactions that \
             meet on an item conflict, and so does one in a hundred more. Round trips of 5 and 15 ms. A *try* is a claim \
             that was sent; latency is in round trips (cold and without a crowd: four). *Highest* is the highest port that \
             was handed out, counted from the start of the range: `lowest` wants it low.\n\n"
        ),
        ..Part::default()
    };
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for strategy in Strategy::ALL {
        for (services, over, what) in [
            (1, Duration::ZERO, "one service, at the same moment"),
            (1, Duration::from_secs(1), "one service, over a second"),
            (16, Duration::ZERO, "16 services, at the same moment"),
        ] {
            let mut points = Vec::new();
            for callers in crowds {
                for millis in [5, 15] {
                    let mut all = Vec::new();
                    eprintln!("{}, {what}: {callers} callers, {millis} ms", strategy.as_str());
                    // Crowds of a thousand callers are a large enough sample with one seed.
                    for seed in 0..if *callers > 256 { 1 } else { seeds } {
                        all.extend(simulate(async {
                            let distant = Distant::new(network(millis), seed).await;
                            for number in 0..services {
                                let start = 1024 + u16::try_from(number * 48_128 / services).unwrap();
                                let size = if services == 1 { 5_000 } else { 3_000 };
                                create(&distant, number, start, start + size - 1, strategy).await;
                            }
                            crowd(&distant, *callers, services, over, seed).await
                        }));
                    }
                    let label = vec![strategy.as_str().to_owned(), what.to_owned(), callers.to_string()];
                    let (row, mean) = row(label, millis, &all, 1024);
                    if millis == 15 && services == 1 {
                        points.push((*callers as f64, mean));
                    }
                    rows.push(row);
                }
            }
            if services == 1 {
                lines.push((format!("{}, {}", strategy.as_str(), what.trim_start_matches("one service, ")), points));
            }
        }
    }
    part.table(&HEAD, &rows);
    part.plot("performance-crowd.svg", "Tries per offer, 15 ms, 5,000 ports", "callers", "mean tries", &lines);

    part.text += "The last ports of a range of 40,000, free at its end or here and there, and as many callers, at the same \
                  moment or over a second. Another process has read everything a moment ago.\n\n";
    let last: u16 = if quick { 40 } else { 400 };
    let mut rows = Vec::new();
    for strategy in Strategy::ALL {
        for (scattered, over) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            eprintln!("{}, the last {last} ports, scattered: {scattered}, over {over} s", strategy.as_str());
            let all = simulate(async {
                let distant = Distant::new(network(15), 1).await;
                create(&distant, 0, 1024, 41_023, strategy).await;
                // None of the first thousand ports is free: the first caller has to read everything, and leaves a hint.
                let free: BTreeSet<u16> = if scattered {
                    (2024..=41_023).step_by(usize::from(39_000 / last)).take(usize::from(last)).collect()
                } else {
                    (41_024 - last..=41_023).collect()
                };
                distant.fill("service-0", (1024..=41_023).filter(|port| !free.contains(port)));
                crowd(&distant, 1, 1, Duration::ZERO, 0).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let callers = usize::from(last) - 1;
                let client = distant.client().await;
                let offers = (0..callers).map(|i| {
                    let (registry, name) = (distant.process(&client), format!("last-{i}"));
                    let wait = Duration::from_millis(if over == 0 { 0 } else { 1000 * i as u64 / callers as u64 });
                    async move {
                        tokio::time::sleep(wait).await;
                        crate::world::offer(&registry, 0, &name).await
                    }
                });
                futures::future::join_all(offers).await
            });
            let free = if scattered { "free here and there" } else { "free at the end" };
            let over = if over == 0 { "at the same moment" } else { "over a second" };
            let label = vec![strategy.as_str().to_owned(), format!("{free}, {over}"), all.len().to_string()];
            rows.push(row(label, 15, &all, 1024).0);
        }
    }
    part.table(&HEAD, &rows);

    part.text += "`PUT`s with a lease: on 5,000 ports, each for a name of its own over a second, or all of one owner and for one \
                  name at the same moment. And sets of four names with a lease, on exactly as many ports as they need; a \
                  *try* is a claim of the whole set.\n\n";
    let mut rows = Vec::new();
    for strategy in Strategy::ALL {
        let label =
            |what: &str, callers: usize| vec![strategy.as_str().to_owned(), what.to_owned(), callers.to_string()];
        let (names, one_name) = if quick { (64, 8) } else { (1024, 64) };
        eprintln!("{}, PUTs", strategy.as_str());
        let all = over_seeds(1, |seed| puts(strategy, names, false, seed));
        rows.push(row(label("PUTs, over a second", names), 15, &all, 1024).0);
        let all = over_seeds(seeds, |seed| puts(strategy, one_name, true, seed));
        rows.push(row(label("PUTs of one name", one_name), 15, &all, 1024).0);
        for (contiguous, what) in [(false, "sets, any ports"), (true, "sets, neighbours")] {
            let callers = if quick { 8 } else { 64 };
            eprintln!("{}, {what}", strategy.as_str());
            let all = over_seeds(seeds, |seed| sets(strategy, callers, contiguous, seed));
            rows.push(row(label(what, callers), 15, &all, 1024).0);
        }
    }
    part.table(&HEAD, &rows);
    part
}

/// Simulates this crowd with so many seeds.
fn over_seeds<F: Future<Output = Vec<Done>>>(seeds: u64, crowd: impl Fn(u64) -> F) -> Vec<Done> {
    (0..seeds).flat_map(|seed| simulate(crowd(seed))).collect()
}

/// PUTs on 5,000 ports: over a second, or all of one name at the same moment.
async fn puts(strategy: Strategy, callers: usize, one_name: bool, seed: u64) -> Vec<Done> {
    let distant = Distant::new(network(15), seed).await;
    create(&distant, 0, 1024, 6023, strategy).await;
    let over = if one_name { Duration::ZERO } else { Duration::from_secs(1) };
    crowd_of(&distant, callers, over, seed, async |registry, i| {
        let asked = Asked::from(instance(&format!("web-{}", if one_name { 0 } else { i })));
        let Answered { answer, meter, took } = put(&registry, "service-0", &asked, LEASE).await;
        Done { port: answer.ok().map(|put| put.claim().port.get()), meter, took }
    })
    .await
}

/// Sets at the same moment, on exactly as many ports as they need. The port of each is its highest.
async fn sets(strategy: Strategy, callers: usize, contiguous: bool, seed: u64) -> Vec<Done> {
    const SIZE: usize = 4;
    let distant = Distant::new(network(15), seed).await;
    create(&distant, 0, 1024, 1023 + u16::try_from(callers * SIZE).unwrap(), strategy).await;
    crowd_of(&distant, callers, Duration::ZERO, seed, async |registry, i| {
        let names = (0..SIZE).map(|j| instance(&format!("set-{i}-{j}"))).collect();
        let set = NewSet { names, owner: None, lease: LEASE, contiguous, labels: None };
        let Answered { answer, meter, took } = put_set(&registry, "service-0", &set).await;
        let highest = answer.ok().and_then(|set| set.claims.iter().map(|claim| claim.port.get()).max());
        Done { port: highest, meter, took }
    })
    .await
}

fn instance(name: &str) -> InstanceName {
    InstanceName::try_from(name).unwrap()
}

pub const HEAD: [&str; 11] = [
    "design",
    "load",
    "callers",
    "round trip",
    "success",
    "tries: mean",
    "p99",
    "worst",
    "rounds: mean",
    "p99",
    "highest",
];

/// A row of the table, and the mean number of tries.
pub fn row(mut cells: Vec<String>, millis: u64, all: &[Done], start: u16) -> (Vec<String>, f64) {
    let tries = figures(all.iter().map(|done| f64::from(done.meter.tries)));
    let rounds = figures(all.iter().map(|done| done.took.as_secs_f64() * 1000.0 / millis as f64));
    let served = all.iter().filter(|done| done.port.is_some()).count();
    let highest = all.iter().filter_map(|done| done.port).max().map_or(0, |port| port - start + 1);
    cells.extend([
        format!("{millis} ms"),
        format!("{:.1} %", served as f64 * 100.0 / all.len() as f64),
        format!("{:.2}", tries.mean),
        format!("{:.0}", tries.p99),
        format!("{:.0}", tries.worst),
        format!("{:.1}", rounds.mean),
        format!("{:.1}", rounds.p99),
        highest.to_string(),
    ]);
    (cells, tries.mean)
}
