//! Random histories of many callers under faults, each compared with a registry that does one thing at a time; and
//! tables damaged at random, which the reconciler must repair without touching live items.
//!
//! `PORTMASTER_HISTORIES=20000` plays so many; `PORTMASTER_SEED=7` plays that one alone, to repeat a failure; with
//! both, so many are played from that seed on.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod damage;
mod event;
mod invariants;
mod leases;
mod linearize;
mod plan;
mod project;
mod run;
mod says;
mod slot;
mod stage;
mod tenures;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portmaster_domain::{InstanceName, ServiceId, ServiceName, Strategy};
use portmaster_registry::{Call, Error, NewService, PortOrName, StoreError};
use portmaster_testkit::{Fault, Faulty};
use run::Figures;

/// How many histories are played by default.
const HISTORIES: u64 = 2_000;

fn call() -> Call {
    Call::within(Duration::from_secs(60))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is {text:?}")))
}

/// P1, P2, P5, P6, P7, P8, P9, P11, P16: whatever goes wrong on the way, each port, name and key answers as if one
/// thing happened at a time; and afterwards no claim is held that was not returned to a caller.
#[test]
fn every_history_is_one_that_a_plain_registry_could_have() {
    let (mut figures, started) = (Figures::default(), Instant::now());
    let played = play("every_history", number("PORTMASTER_HISTORIES").unwrap_or(HISTORIES), run::run);
    played.iter().for_each(|one| figures.add(one));
    println!("{figures:?}, {:.1} s", started.elapsed().as_secs_f64());
}

/// The same of owners, leases, cool-downs, quarantines and sets, with clocks that differ by as much as the margin: no two
/// holders are ever told that a port is theirs at the same time, what was lost stays lost, and nothing ends or is given
/// away before its time.
#[test]
fn every_history_of_leases_keeps_what_was_told() {
    let (mut figures, started) = (leases::Figures::default(), Instant::now());
    let played = play("every_history_of_leases", number("PORTMASTER_HISTORIES").unwrap_or(HISTORIES), leases::run);
    played.iter().for_each(|one| figures.add(one));
    println!("{figures:?}, {:.1} s", started.elapsed().as_secs_f64());
}

/// P37: whatever happens to the changes of the table on their way, the history is what really happened, tenure by tenure.
#[test]
fn every_history_is_kept_as_it_was() {
    let (mut figures, started) = (tenures::Figures::default(), Instant::now());
    let count = number("PORTMASTER_HISTORIES").unwrap_or(HISTORIES / 2);
    let kept = |seed| leases::run_and_keep(seed, tenures::Writing::Conditional);
    play("every_history_is_kept", count, kept).iter().for_each(|one| figures += one);
    println!("{figures:?}, {:.1} s", started.elapsed().as_secs_f64());
}

/// Without the condition on the sequence of changes, what arrives late undoes what was known.
#[test]
fn a_history_that_is_written_blindly_is_wrong() {
    let wrong = (0..100).filter(|seed| leases::run_and_keep(*seed, tenures::Writing::Blind).is_err()).count();
    assert!(wrong > 5, "{wrong} of 100");
}

/// P16: whatever is damaged, the reconciler repairs what it should repair, and touches nothing live.
#[test]
fn every_damaged_table_is_repaired_and_nothing_live_is_touched() {
    let tables = number("PORTMASTER_HISTORIES").unwrap_or(HISTORIES) / 20;
    let damages: usize = play("every_damaged", tables, damage::run).into_iter().sum();
    println!("{tables} tables, {damages} damages");
}

/// Plays these many seeds, or the one that was asked for, on every core; panics with the first that fails.
fn play<T: Send>(test: &str, count: u64, one: impl Fn(u64) -> Result<T, String> + Sync) -> Vec<T> {
    let from = |seed| seed..seed + number("PORTMASTER_HISTORIES").map_or(1, |_| count);
    let seeds = number("PORTMASTER_SEED").map_or(0..count, from);
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let (played, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while failed.lock().unwrap().is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match one(seed) {
                        Ok(figures) => played.lock().unwrap().push(figures),
                        Err(why) => failed.lock().unwrap().push((seed, why)),
                    }
                }
            });
        }
    });
    let played = played.into_inner().unwrap();
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    if let Some((seed, why)) = failed.first() {
        let so_far = played.len();
        panic!(
            "seed {seed}: {why}\n{so_far} others went as they should. This one again:\n  PORTMASTER_SEED={seed} cargo \
             test -p portmaster-tests --test histories {test}"
        );
    }
    played
}

/// A seed determines a history: played again, it is the same to the last request. Otherwise a failure could not be
/// examined.
#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..20 {
        let (first, second) = (run::run(seed).unwrap(), run::run(seed).unwrap());
        assert_eq!((first.trace, first.requests), (second.trace, second.requests), "seed {seed}");
        let (first, second) = (leases::run(seed).unwrap(), leases::run(seed).unwrap());
        assert_eq!((first.trace, first.requests), (second.trace, second.requests), "leases, seed {seed}");
    }
}

/// P7: a release that arrives late affects nothing that began since. By name, found by a history: sent again because
/// its first copy was answered with an error, it finds an offer and answers "no such port"; the offer is accepted, and
/// only then does the first copy arrive.
#[test]
fn a_late_release_does_not_hit_what_was_accepted_since() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let network = Faulty::new(0, 0, true);
        let (slow, fast) = (run::registry(&network, 0).await, run::registry(&network, 60_000).await);
        slow.table().create(&call()).await.unwrap();
        let service = ServiceId::from(ServiceName::try_from("django").unwrap());
        let content = run::content(5000, 5009, Strategy::Lowest);
        slow.create_service(&call(), NewService { id: service.clone(), content }).await.unwrap();
        let instance = InstanceName::try_from("web-0").unwrap();
        let holding = slow.offer(&call(), &service, &instance, None).await.unwrap().holding;
        network.script("DeleteItem", Fault::Late);
        let name = PortOrName::Name(instance.clone());
        let released = slow.release(&call(), &service, &name, portmaster_registry::By::Holder(None)).await;
        assert!(matches!(released, Err(Error::PortNotFound { .. })), "{released:?}");
        let accepted = slow.accept(&call(), &service, holding.secret, None).await;
        assert!(accepted.unwrap().1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let found = slow.get_port(&call(), &service, &name).await;
        assert_eq!(found.unwrap().port, holding.claim.port);
        slow.release(&call(), &service, &name, portmaster_registry::By::Holder(None)).await.unwrap();
        // By port, one that arrives late does not affect the next holder's allocation.
        let port = PortOrName::Port(holding.claim.port);
        let holding = slow.offer(&call(), &service, &instance, None).await.unwrap().holding;
        slow.accept(&call(), &service, holding.secret, None).await.unwrap();
        network.script("DeleteItem", Fault::Late);
        let released = slow.release(&call(), &service, &port, portmaster_registry::By::Holder(None)).await;
        assert!(matches!(released, Err(Error::Store(StoreError::Unknown { .. }))), "{released:?}");
        slow.release(&call(), &service, &name, portmaster_registry::By::Holder(None)).await.unwrap();
        let next = InstanceName::try_from("web-1").unwrap();
        let holding = slow.offer(&call(), &service, &next, None).await.unwrap().holding;
        slow.accept(&call(), &service, holding.secret, None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(slow.find_port(&call(), &service.namespace, holding.claim.port).await.unwrap().name, next);
        slow.release(&call(), &service, &port, portmaster_registry::By::Holder(None)).await.unwrap();
        // An allocation that a faster clock accepted, a minute from now, is released nevertheless.
        let holding = slow.offer(&call(), &service, &instance, None).await.unwrap().holding;
        fast.accept(&call(), &service, holding.secret, None).await.unwrap();
        slow.release(&call(), &service, &name, portmaster_registry::By::Holder(None)).await.unwrap();
    });
}
