//! Whether the local server is slower for keeping a history.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::{self, Stop, Work};
use crate::report::{Part, machine};
use crate::throughput::{KINDS, Server, build};

/// How many operations a slice has: a third as many ports are offered, accepted and released.
const OPERATIONS: u32 = 6_000;

/// How many slices each server has, which makes 204,000 operations. Other programs of the machine's host make it faster
/// and slower by a third, for a minute or so, which is much more than what is measured here. So both servers are there
/// all the time, and have slices of two seconds in turns.
const SLICES: u32 = 34;

/// The options of the two servers.
const WITHOUT: &[&str] = &["--history-days", "0"];
const WITH: &[&str] = &["--history-days", "400"];

pub fn run(quick: bool, server: Option<PathBuf>) -> Part {
    let slices = if quick { 6 } else { SLICES };
    let operations = slices * OPERATIONS;
    let binary = server.unwrap_or_else(build);
    let mut part = Part {
        text: format!(
            "8 callers offer, accept and release a port each, over and over: {operations} operations at the server without a \
             history, and as many at the one with it, in turns of {OPERATIONS}. At the end of each turn somebody reads the \
             history, so everything is written by then. {}\n\n",
            machine()
        ),
        ..Part::default()
    };
    let mut rows = Vec::new();
    for (what, on_disk) in KINDS {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let start = |folder: &Path, options| Side::start(&binary, on_disk.then_some(folder), options);
        let mut sides = [start(folders[0].path(), WITHOUT), start(folders[1].path(), WITH)];
        let mut ratios = Vec::new();
        // The first slice of each is not counted.
        for slice in 0..=slices {
            // Neither is always the first.
            let first = (slice % 2) as usize;
            for side in [first, 1 - first] {
                sides[side].work();
            }
            if slice == 0 {
                sides.iter_mut().for_each(|side| (side.took, side.used) = Default::default());
            } else {
                ratios.push(sides[0].last.as_secs_f64() / sides[1].last.as_secs_f64());
            }
        }
        ratios.sort_by(f64::total_cmp);
        let rate = |side: &Side| f64::from(operations) / side.took.as_secs_f64();
        let used = |side: &Side| side.used.as_secs_f64() * 1e6 / f64::from(operations);
        let [without, with] = &sides;
        rows.push(vec![
            what.to_owned(),
            format!("{:.0}", rate(without)),
            format!("{:.0}", rate(with)),
            format!("{:.2}", rate(with) / rate(without)),
            format!("{:.2}–{:.2}", ratios[ratios.len() / 10], ratios[ratios.len() * 9 / 10]),
            format!("{:.0}", used(without)),
            format!("{:.0}", used(with)),
        ]);
        println!("{}", rows.last().unwrap().join(" | "));
    }
    let head = [
        "data",
        "operations per second without history",
        "with history",
        "ratio",
        "in eight of ten turns",
        "processor µs an operation without",
        "with",
    ];
    part.table(&head, &rows);
    part
}

/// A server, and what it has needed so far.
struct Side {
    server: Server,
    took: Duration,
    used: Duration,
    last: Duration,
}

impl Side {
    fn start(binary: &Path, data: Option<&Path>, options: &[&str]) -> Self {
        let server = Server::start(binary, data, options);
        Self { server, took: Duration::ZERO, used: Duration::ZERO, last: Duration::ZERO }
    }

    /// A slice, until its history is written.
    fn work(&mut self) {
        let address = &self.server.address;
        let (began, before) = (Instant::now(), self.server.processor_time());
        load::run(address, "load", 8, Work::Cycle, Stop::Offers(OPERATIONS / 3));
        load::send(address, "GET", "/v1/services/load/history?name=caller-0");
        self.last = began.elapsed();
        self.took += self.last;
        self.used += self.server.processor_time() - before;
        assert_eq!(load::send(address, "DELETE", "/v1/services/load"), 204, "all ports were released");
    }
}
