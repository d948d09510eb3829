//! Crowds in a large range that is almost full (promises P1, P11, P17).
//!
//! These take the longest by far, and the test harness begins in alphabetical order: each processor has one of them
//! from the first moment on, and the others fill up the rest. So the file is not called `last_ports.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_domain::Strategy;
use portmaster_registry::Error;
use portmaster_testkit::{Network, offer};
use tokio::time::sleep;

use crate::crowds::{SERVICE, all_served, serving};

/// The last 1,024 free ports of a large range, and as many callers at the same moment: the last of them has one port
/// left. A process read the range a second ago, took two ports and left a hint; without it every caller would read tens
/// of thousands of items.
async fn the_last_free_ports(strategy: Strategy, free: &BTreeSet<u16>) {
    assert_eq!(free.len(), 1026);
    let distant = serving(Network::USUAL, 1, 1024, 41_023, strategy).await;
    distant.fill(SERVICE, (1024..=41_023).filter(|port| !free.contains(port)));
    let reader = distant.process(&distant.client().await);
    // At the latest its second offer comes with a read of everything.
    for name in ["first", "second"] {
        offer(&reader, SERVICE, name).await.port.unwrap();
    }
    let one_reading = distant.take_traffic().bytes;
    sleep(Duration::from_secs(1)).await;
    let tries = all_served(&distant, free.len() - 2, Duration::ZERO, 1).await;
    let (mean, worst) = (f64::from(tries.iter().sum::<u32>()) / tries.len() as f64, tries.iter().max());
    let readings = distant.take_traffic().bytes / one_reading;
    println!(
        "the last {} ports, {}: mean {mean:.2}, worst {worst:?}, {readings} times the bytes of the whole",
        tries.len(),
        strategy.as_str()
    );
    assert!(readings < tries.len() as u64 / 2, "as many bytes as {readings} readings of the whole range");
    // Now the range is full, and the answer comes after one read of it and without a try.
    let full = offer(&distant.process(&distant.client().await), SERVICE, "one-more").await;
    assert!(matches!(full.port, Err(Error::RangeExhausted { .. })), "{full:?}");
    assert_eq!(full.meter.tries, 0);
}

#[tokio::test(start_paused = true)]
async fn lowest_finds_the_last_free_ports_at_the_end_of_a_large_range() {
    the_last_free_ports(Strategy::Lowest, &(39_998..=41_023).collect()).await;
}

#[tokio::test(start_paused = true)]
async fn hashed_finds_the_last_free_ports_at_the_end_of_a_large_range() {
    the_last_free_ports(Strategy::Hashed, &(39_998..=41_023).collect()).await;
}

#[tokio::test(start_paused = true)]
async fn random_finds_the_last_free_ports_here_and_there_in_a_large_range() {
    the_last_free_ports(Strategy::Random, &(1024..=41_023).filter(|port| port % 39 == 10).collect()).await;
}
