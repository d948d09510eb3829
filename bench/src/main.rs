//! The benchmarks of Portmaster, each one command: `cargo run --release -p portmaster-bench -- cost` (or `crowd`,
//! `partitions`, `compared`, `reconcile`, `allocator`, `cold`, `throughput`, `start`, `all`). Each writes its own part
//! of `docs/performance.md` and its plots beside it.
//!
//! `cost`, `crowd`, `partitions` and `compared` run in simulated time and count requests, so their results are the same
//! on every machine. `allocator`, `cold`, `throughput` and `start` measure time on this one: compare them only with another run
//! on the same machine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on stops")]
#![allow(missing_docs, unreachable_pub, reason = "a program")]

mod allocator;
mod cold;
mod compared;
mod cost;
mod crowd;
mod history;
mod load;
mod naive;
mod partitions;
mod reconcile;
mod report;
mod start;
mod throughput;
mod world;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests, transactions and units of an offer, by how many ports are taken.
    Cost,
    /// Tries, latency and success of crowds that share no memory.
    Crowd,
    /// A steady load beyond what DynamoDB's partitions take.
    Partitions,
    /// The same crowds on designs that one might write instead.
    Compared,
    /// The cost of the reconciler on a large table.
    Reconcile,
    /// Nanoseconds for choosing a port.
    Allocator,
    /// Offers and accepts per second of the local server.
    Throughput,
    /// The same without a history and with one.
    History,
    /// The first offers of a cold function under Lambda's share of a processor. It needs to be root.
    Cold,
    /// Milliseconds from the start of the command line to its first request.
    Start,
    /// All of them.
    All,
}

#[derive(Parser)]
#[command(about = "Benchmarks of Portmaster; each writes its part of docs/performance.md")]
struct Options {
    what: What,
    /// Small figures, only to check that it works; writes nothing.
    #[arg(long)]
    quick: bool,
    /// With `throughput`: another server's binary, to run in turns with this one. Only prints how they compare.
    #[arg(long, value_name = "PATH")]
    against: Option<std::path::PathBuf>,
    /// The number of seeds over which each simulated figure is taken.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// For `cold`: a `create-offer` that is already built, for example by .ci/functions. Without it, one is built.
    #[arg(long)]
    function: Option<PathBuf>,
    /// For `cold` and `throughput`: a local server that is already built. Without it, one is built.
    #[arg(long)]
    server: Option<PathBuf>,
    /// For `start`: a `portmaster` that is already built, for example by .ci/release. Without it, one is built.
    #[arg(long)]
    portmaster: Option<PathBuf>,
}

fn main() {
    let Options { what, quick, seeds, function, server, against, portmaster } = Options::parse();
    let wanted = |this| what == this || what == What::All;
    let seeds = if quick { 1 } else { seeds };
    if wanted(What::Cost) {
        report::write("cost", cost::run(quick), quick);
    }
    if wanted(What::Crowd) {
        report::write("crowd", crowd::run(quick, seeds), quick);
    }
    if wanted(What::Partitions) {
        report::write("partitions", partitions::run(quick), quick);
    }
    if wanted(What::Compared) {
        report::write("compared", compared::run(quick, seeds), quick);
    }
    if wanted(What::Reconcile) {
        report::write("reconcile", reconcile::run(quick), quick);
    }
    if wanted(What::Allocator) {
        report::write("allocator", allocator::run(quick), quick);
    }
    if wanted(What::Cold) {
        report::write("cold", cold::run(quick, function, server.clone()), quick);
    }
    if wanted(What::History) {
        report::write("history", history::run(quick, server.clone()), quick);
    }
    if wanted(What::Start) {
        report::write("start", start::run(quick, portmaster), quick);
    }
    if let Some(other) = against {
        report::write("throughput", throughput::compare(&other, quick, server), true);
    } else if wanted(What::Throughput) {
        report::write("throughput", throughput::run(quick, server), quick);
    }
}
