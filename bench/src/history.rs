//! Whether the local server is slower for keeping a history.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::load::{self, Stop, Work};
use crate::report::{Part, machine};
use crate::throughput::{KINDS, Server, build};

/// How many operations a slice has: a third as many ports are offered, accepted and released.
const OPERATIONS: u32 = 6_000;

/// How many slices each server has, which makes 204,000 operations. Other programs of the machine's host make it faster
/// and slower by a third and more, for minutes, and a history makes much less of a difference. So both servers run all
/// the time, and work in turns of some two seconds.
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
        let start = |folder: &Path, options| Server::start(&binary, on_disk.then_some(folder), options);
        let servers = [start(folders[0].path(), WITHOUT), start(folders[1].path(), WITH)];
        // The first slice of each is not counted.
        for server in &servers {
            slice(server);
        }
        let mut taken = [const { Vec::new() }; 2];
        for number in 0..slices as usize {
            // Neither is always the first.
            for side in [number % 2, 1 - number % 2] {
                taken[side].push(slice(&servers[side]));
            }
        }
        let [without, with] = &taken;
        let rate = |side: &[Taken]| f64::from(operations) / side.iter().map(|taken| taken.time).sum::<f64>();
        let used = |side: &[Taken]| side.iter().map(|taken| taken.processor).sum::<f64>() * 1e6 / f64::from(operations);
        let mut ratios: Vec<_> = without.iter().zip(with).map(|(without, with)| without.time / with.time).collect();
        ratios.sort_by(f64::total_cmp);
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

/// What a slice has taken, in seconds.
struct Taken {
    time: f64,
    processor: f64,
}

/// A slice, until its history is written.
fn slice(server: &Server) -> Taken {
    let (began, before) = (Instant::now(), server.processor_time());
    load::run(&server.address, "load", 8, Work::Cycle, Stop::Offers(OPERATIONS / 3));
    load::send(&server.address, "GET", "/v1/services/load/history?name=caller-0");
    let processor = (server.processor_time() - before).as_secs_f64();
    let taken = Taken { time: began.elapsed().as_secs_f64(), processor };
    assert_eq!(load::send(&server.address, "DELETE", "/v1/services/load"), 204, "all ports were released");
    taken
}
