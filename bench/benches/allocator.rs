//! Choosing a port: pure code, no table. `cargo run --release -p portmaster-bench -- allocator` writes the results into
//! docs/performance.md.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portmaster_domain::allocator::{Holder, Knowledge, Proposal, Search};
use portmaster_domain::{InstanceName, Port, PortRange, Strategy, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A range of `size` ports, of which `taken` in ten thousand, drawn at random, are known to be taken.
fn known(size: u16, taken: u32) -> Knowledge {
    let range = PortRange::new(Port::MIN, Port::new(1024 + size - 1).unwrap()).unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    let holder =
        |number| Holder { port: Port::new(number).unwrap(), created: Timestamp::from_millis(0), expires_at: None };
    // One port always stays free.
    let holders: Vec<_> =
        (1024..1024 + size - 1).filter(|_| random.random_range(0..10_000) < taken).map(holder).collect();
    let mut knowledge = Knowledge::new(range);
    knowledge.observe(range, &holders, NOW, NOW);
    knowledge
}

fn choose(c: &mut Criterion) {
    let name = InstanceName::try_from("web-01").unwrap();
    for strategy in Strategy::ALL {
        let mut group = c.benchmark_group(strategy.as_str());
        // There are forty-eight benchmarks of a few microseconds at most: one second repeats a small one a million
        // times.
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        for size in [100u16, 1_000, 10_000, 48_128] {
            for taken in [0, 5_000, 9_900, 9_999] {
                let mut knowledge = known(size, taken);
                let mut random = SmallRng::seed_from_u64(1);
                let id = BenchmarkId::new(size.to_string(), format!("{} % taken", f64::from(taken) / 100.0));
                group.bench_function(id, |b| {
                    b.iter(|| {
                        let mut search = Search::new(strategy, name.clone());
                        let proposal = knowledge.propose(&mut search, &mut random, NOW);
                        let Proposal::Candidate(port) = proposal else { panic!("{proposal:?}") };
                        knowledge.unreserve(black_box(port));
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, choose);
criterion_main!(benches);
