//! Offers, accepts and PUTs of ports per second of the local server, over its real HTTP, in memory and on disk.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{self, Done, Stop, Work};
use crate::report::{Part, machine, target_folder};

/// The servers that are measured: a name, and whether the data is on disk.
pub const KINDS: [(&str, bool); 2] = [("in memory", false), ("on disk", true)];

pub fn run(quick: bool, server: Option<PathBuf>) -> Part {
    let machine = machine();
    let mut part = Part {
        text: format!(
            "Each caller asks for an offer under a new name and accepts it, over and over (`lowest`); or it asks for a \
             port with a lease, in one `PUT`. Callers and server share the machine: {machine}\n\n"
        ),
        ..Part::default()
    };
    let seconds = Duration::from_secs(if quick { 1 } else { 5 });
    let binary = server.unwrap_or_else(build);
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (what, on_disk) in KINDS {
        let mut points = Vec::new();
        for callers in [1, 8, 32] {
            let of = |work| {
                serving(&binary, on_disk, |address| load::run(address, "load", callers, work, Stop::After(seconds)))
            };
            let (offers, both, put) = (of(Work::Offer), of(Work::OfferAndAccept), of(Work::Put));
            let at = |quantile| both.times.value_at_quantile(quantile) as f64 / 1000.0;
            rows.push(vec![
                what.to_owned(),
                callers.to_string(),
                format!("{:.0}", offers.rate),
                format!("{:.0}", both.rate),
                format!("{:.0}", put.rate),
                format!("{:.2}", put.rate / both.rate),
                format!("{:.1}", at(0.5)),
                format!("{:.1}", at(0.99)),
                format!("{:.0} %", both.callers_busy.max(put.callers_busy) * 100.0),
            ]);
            points.push((callers as f64, both.rate));
        }
        lines.push((what.to_owned(), points));
    }
    let head =
        ["data", "callers", "offers per second", "offer + accept per second", "PUT per second", "PUT : offer + accept"];
    part.table(&[&head[..], &["median ms", "p99 ms", "callers' processor"]].concat(), &rows);
    part.plot("performance-throughput.svg", "The local server", "callers", "offer + accept per second", &lines);

    let operations = if quick { 2_000 } else { 90_000 };
    part.text += &format!(
        "8 callers in memory over {operations} operations in one service, nothing released: does it stay as fast while the \
         range fills up?\n\n"
    );
    let stop = Stop::Offers(operations / 2);
    let Done { ends, .. } =
        serving(&binary, false, |address| load::run(address, "flat", 8, Work::OfferAndAccept, stop));
    let step = (operations / 2 / 9) as usize;
    let mut rows = Vec::new();
    let mut points = Vec::new();
    for (i, part) in ends.chunks_exact(step).enumerate() {
        let before = if i == 0 { Duration::ZERO } else { ends[i * step - 1] };
        let rate = step as f64 / (part[step - 1] - before).as_secs_f64();
        rows.push(vec![((i + 1) * step * 2).to_string(), format!("{rate:.0}")]);
        points.push((((i + 1) * step * 2) as f64, rate));
    }
    part.table(&["operations so far", "offer + accept per second"], &rows);
    let lines = [("8 callers in memory".to_owned(), points)];
    part.plot("performance-flat.svg", "As the range fills up", "operations", "offer + accept per second", &lines);
    part
}

/// Runs this server and another one, for example an older one, in turns: the machine is never twice the same, so only
/// runs next to each other are compared. Returns the medians, and the median of the pairs' ratios.
pub fn compare(against: &Path, quick: bool, server: Option<PathBuf>) -> Part {
    let (pairs, time) = if quick { (1, 500) } else { (5, 2_000) };
    let (machine, binary) = (machine(), server.unwrap_or_else(build));
    let mut part = Part {
        text: format!("{} and {}, {pairs} pairs each. {machine}\n\n", against.display(), binary.display()),
        ..Part::default()
    };
    let mut rows = Vec::new();
    for (what, on_disk) in KINDS {
        for (work, name) in [(Work::Offer, "offers"), (Work::OfferAndAccept, "offer + accept")] {
            for callers in [1, 8, 32] {
                let measure = |binary: &Path| {
                    let stop = Stop::After(Duration::from_millis(time));
                    serving(binary, on_disk, |address| load::run(address, "load", callers, work, stop))
                };
                let runs: Vec<_> = (0..pairs).map(|_| (measure(against), measure(&binary))).collect();
                let busiest = runs.iter().map(|(a, b)| a.callers_busy.max(b.callers_busy)).fold(0.0, f64::max);
                let (before, after) = (median(&runs, |(a, _)| a.rate), median(&runs, |(_, b)| b.rate));
                rows.push(vec![
                    what.to_owned(),
                    name.to_owned(),
                    callers.to_string(),
                    format!("{before:.0}"),
                    format!("{after:.0}"),
                    format!("{:.2}", median(&runs, |(a, b)| b.rate / a.rate)),
                    format!("{:.0} %", busiest * 100.0),
                ]);
                println!("{}", rows.last().unwrap().join(" | "));
            }
        }
    }
    let head = ["data", "per second", "callers", "before", "after", "ratio", "callers' processor, at most"];
    part.table(&head, &rows);
    part
}

fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<_> = runs.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Builds the server that `cargo run --release` starts, and returns its path.
pub fn build() -> PathBuf {
    let target = target_folder();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "portmaster-local", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "the server was not built");
    target.join("release/portmasterd")
}

/// The processor time that a server has used so far.
impl Server {
    pub fn processor_time(&self) -> Duration {
        load::processor_time(&self.process.id().to_string())
    }
}

/// A server of its own, whose log is discarded. Dropping it kills it; what it acknowledged is on the disk.
pub struct Server {
    process: Child,
    /// The host and port on which it listens.
    pub address: String,
}

impl Server {
    /// Starts it, with its data in a folder or only in memory.
    pub fn start(binary: &Path, data: Option<&Path>, options: &[&str]) -> Self {
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0"]).args(options).stdout(Stdio::piped()).stderr(Stdio::null());
        match data {
            Some(folder) => command.arg("--data").arg(folder),
            None => command.arg("--in-memory"),
        };
        let mut process = command.spawn().unwrap();
        let mut greeting = String::new();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        says.read_line(&mut greeting).unwrap();
        let (_, address) = greeting.trim().split_once(" on http://").expect("where it listens");
        Self { process, address: address.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server of its own, calls `act` with its address, and stops it.
fn serving<T>(binary: &Path, on_disk: bool, act: impl FnOnce(&str) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(binary, on_disk.then(|| folder.path()), &[]);
    act(&server.address)
}
