//! Random histories of many callers under faults, each held against a registry that does one thing at a time; and
//! tables damaged at random, which the reconciler must repair without touching what is live.
//!
//! `PORTMASTER_HISTORIES=20000` plays so many; `PORTMASTER_SEED=7` plays that one alone, which is how a failure is
//! repeated.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "histories/linearize.rs"]
mod linearize;
#[path = "histories/network.rs"]
mod network;
#[path = "histories/run.rs"]
mod run;
#[path = "histories/slot.rs"]
mod slot;
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use run::Figures;

/// How many histories are played where nothing is said.
const HISTORIES: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is {text:?}")))
}

/// P1, P2, P5, P6, P7, P8, P9, P11, P16: whatever goes wrong on the way, each port, name and key answers as if one thing
/// happened at a time; and afterwards nothing is held that nobody was told of.
#[test]
fn every_history_is_one_that_a_plain_registry_could_have() {
    let seeds = match number("PORTMASTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PORTMASTER_HISTORIES").unwrap_or(HISTORIES),
    };
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let (figures, failures) = (Mutex::new(Figures::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failures.lock().unwrap().len() >= 3 {
                        return;
                    }
                    match run::run(seed) {
                        Ok(one) => figures.lock().unwrap().add(&one),
                        Err(why) => failures.lock().unwrap().push((seed, why)),
                    }
                }
            });
        }
    });
    let figures = figures.into_inner().unwrap();
    println!("{figures:?}, {:.1} s", started.elapsed().as_secs_f64());
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    if let Some((seed, why)) = failures.first() {
        panic!(
            "history {seed}: {why}\n{} histories were as they should be. This one again:\n  PORTMASTER_SEED={seed} \
             cargo test -p portmaster --test histories every_history",
            figures.histories
        );
    }
}

/// A seed is a history: played again, it is the same to the last request. Otherwise a failure could not be looked at.
#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..20 {
        let (first, second) = (run::run(seed).unwrap(), run::run(seed).unwrap());
        assert_eq!((first.trace, first.requests), (second.trace, second.requests), "seed {seed}");
    }
}
