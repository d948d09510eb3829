//! Whether the local server is slower for keeping a history.

use std::path::{Path, PathBuf};

use crate::load::{self, Stop, Work};
use crate::report::{Part, machine};
use crate::throughput::{KINDS, Server, build, median};

/// How many operations a run has: a third as many ports are offered, accepted and released.
const OPERATIONS: u32 = 40_002;

/// How many pairs of runs there are. Other programs of the machine's host make it faster and slower by a third, for a
/// minute or so; so a pair is short, and there are some. Together, each server has 200,000 operations.
const PAIRS: usize = 5;

/// The options of the two servers.
const WITHOUT: &[&str] = &["--history-days", "0"];
const WITH: &[&str] = &["--history-days", "400"];

pub fn run(quick: bool, server: Option<PathBuf>) -> Part {
    let (pairs, operations) = if quick { (1, 30_000) } else { (PAIRS, OPERATIONS) };
    let binary = server.unwrap_or_else(build);
    let mut part = Part {
        text: format!(
            "8 callers offer, accept and release a port each, over and over, {operations} operations in a run; the server \
             without a history and with one, in turns, {pairs} pairs of runs. {}\n\n",
            machine()
        ),
        ..Part::default()
    };
    let mut rows = Vec::new();
    for (what, on_disk) in KINDS {
        let measure = |options: &[&str]| measure(&binary, on_disk, options, operations);
        let pair = |_| {
            let (without, with) = (measure(WITHOUT), measure(WITH));
            println!("{what}: {:.0} and {:.0} a second, {:.0} and {:.0} µs", without.0, with.0, without.1, with.1);
            (without, with)
        };
        let runs: Vec<_> = (0..pairs).map(pair).collect();
        rows.push(vec![
            what.to_owned(),
            format!("{:.0}", median(&runs, |(without, _)| without.0)),
            format!("{:.0}", median(&runs, |(_, with)| with.0)),
            format!("{:.2}", median(&runs, |(without, with)| with.0 / without.0)),
            format!("{:.0}", median(&runs, |(without, _)| without.1)),
            format!("{:.0}", median(&runs, |(_, with)| with.1)),
        ]);
        println!("{}", rows.last().unwrap().join(" | "));
    }
    let processor = "processor µs an operation";
    let head = ["data", "operations per second without history", "with history", "ratio"];
    part.table(&[&head[..], &[&format!("{processor} without"), "with"]].concat(), &rows);
    part
}

/// Operations per second, and the microseconds of a processor that the server needed for each.
fn measure(binary: &Path, on_disk: bool, options: &[&str], operations: u32) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(binary, on_disk.then(|| folder.path()), options);
    let before = server.processor_time();
    let done = load::run(&server.address, "load", 8, Work::Cycle, Stop::Offers(operations / 3));
    let used = server.processor_time() - before;
    (done.rate * 3.0, used.as_secs_f64() * 1e6 / f64::from(operations))
}
