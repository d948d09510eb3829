//! Crowds whose callers share no memory: success, tries and latency.

use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_domain::Strategy;

use crate::report::Part;
use crate::world::{create, crowd, figures, network, simulate};
use portmaster_testkit::Distant;

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
    part
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
pub fn row(mut cells: Vec<String>, millis: u64, all: &[crate::world::Done], start: u16) -> (Vec<String>, f64) {
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
