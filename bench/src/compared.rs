//! The same crowds on Portmaster and on the designs of [`crate::naive`].

use std::time::Duration;

use futures::future::join_all;
use portmaster_domain::Strategy;
use portmaster_registry::Meter;
use tokio::time::Instant;

use crate::crowd::{HEAD, row};
use crate::naive::{Naive, SIZE, START, begin_bitmap};
use crate::report::Part;
use crate::world::{Done, create, crowd, network, simulate};
use portmaster_testkit::Distant;

pub fn run(quick: bool, seeds: u64) -> Part {
    let crowds: &[usize] = if quick { &[1, 8] } else { &[1, 8, 64, 256, 1024] };
    let mut part = Part {
        text: "The same load, cold callers at the same moment on 5,000 ports and 15 ms away, on designs that one might write \
               instead: all ports empty, and 80 % of them taken here and there (1,000 are free then, so of 1,024 callers 24 \
               get none). The simulation has no limits on an item or \
               a partition; DynamoDB writes one item at most 1,000 times a second, which bounds the counter and the bitmap \
               as a whole. The naive designs keep no names apart, take nothing back and never notice a deleted service; \
               *tries* of theirs are writes of a port.\n\n"
            .to_owned(),
        ..Part::default()
    };
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (load, taken) in [("empty", Vec::new()), ("80 % taken", (START..START + SIZE).filter(|p| p % 5 != 0).collect())]
    {
        for strategy in Strategy::ALL {
            let mut points = Vec::new();
            for callers in crowds {
                let all: Vec<_> =
                    (0..seeds).flat_map(|seed| simulate(ours(strategy, *callers, &taken, seed))).collect();
                let label = vec![format!("portmaster, {}", strategy.as_str()), load.to_owned(), callers.to_string()];
                let (cells, _) = row(label, 15, &all, START);
                points.push((*callers as f64, cells[8].parse().unwrap_or_default()));
                rows.push(cells);
            }
            if taken.is_empty() {
                lines.push((format!("portmaster, {}", strategy.as_str()), points));
            }
        }
        for naive in Naive::ALL {
            let mut points = Vec::new();
            // A thousand callers that scan thousands of items dozens of times take minutes, and one seed is enough.
            for callers in crowds.iter().filter(|callers| **callers <= 256) {
                let all = simulate(theirs(naive, *callers, &taken, 1));
                let label = vec![naive.name().to_owned(), load.to_owned(), callers.to_string()];
                let (cells, _) = row(label, 15, &all, START);
                points.push((*callers as f64, cells[8].parse().unwrap_or_default()));
                rows.push(cells);
            }
            if taken.is_empty() {
                lines.push((naive.name().to_owned(), points));
            }
        }
    }
    part.table(&HEAD, &rows);
    part.plot("performance-compared.svg", "Latency in round trips, an empty range", "callers", "mean rounds", &lines);
    part
}

async fn ours(strategy: Strategy, callers: usize, taken: &[u16], seed: u64) -> Vec<Done> {
    let distant = Distant::new(network(15), seed).await;
    create(&distant, 0, START, START + SIZE - 1, strategy).await;
    distant.fill("service-0", taken.iter().copied());
    crowd(&distant, callers, 1, Duration::ZERO, seed).await
}

async fn theirs(naive: Naive, callers: usize, taken: &[u16], seed: u64) -> Vec<Done> {
    let distant = Distant::new(network(15), seed).await;
    distant.fill("service-0", taken.iter().copied());
    let client = distant.client().await;
    begin_bitmap(&client, taken).await;
    join_all((0..callers).map(|_| async {
        let began = Instant::now();
        let (port, tries) = naive.take(&client).await;
        Done { port, meter: Meter { tries, ..Meter::default() }, took: began.elapsed() }
    }))
    .await
}
