//! How many offers the local server makes and has accepted in a second, over its real HTTP, in memory and on disk.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::report::{Part, machine, target_folder};

pub fn run(quick: bool) -> Part {
    let machine = machine();
    let mut part = Part {
        text: format!(
            "Each caller asks for an offer under a new name and accepts it, over and over (`lowest`). Callers and server \
             share the machine: {machine}\n\n"
        ),
        ..Part::default()
    };
    let seconds = Duration::from_secs(if quick { 1 } else { 5 });
    let binary = build();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for what in ["in memory", "on disk"] {
        let mut points = Vec::new();
        for callers in [1, 8, 32] {
            let stop = Stop::After(seconds);
            let folder = (what == "on disk").then(|| tempfile::tempdir().unwrap());
            let data = folder.as_ref().map(tempfile::TempDir::path);
            let (rate, times, _) = serving(&binary, data, |url| load(url, format!("load-{callers}"), callers, stop));
            let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
            rows.push(vec![
                what.to_owned(),
                callers.to_string(),
                format!("{rate:.0}"),
                format!("{:.1}", at(0.5)),
                format!("{:.1}", at(0.99)),
            ]);
            points.push((callers as f64, rate));
        }
        lines.push((what.to_owned(), points));
    }
    part.table(&["data", "callers", "offer + accept per second", "median ms", "p99 ms"], &rows);
    part.plot("performance-throughput.svg", "The local server", "callers", "offer + accept per second", &lines);

    let operations = if quick { 2_000 } else { 90_000 };
    part.text += &format!(
        "8 callers in memory over {operations} operations in one service, nothing released: does it stay as fast while the \
         range fills up?\n\n"
    );
    let (_, _, ends) = serving(&binary, None, |url| load(url, "flat".to_owned(), 8, Stop::Offers(operations / 2)));
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

#[derive(Clone, Copy)]
enum Stop {
    After(Duration),
    Offers(u32),
}

/// Builds the server that `cargo run --release` starts, and tells where it is.
pub fn build() -> PathBuf {
    let target = target_folder();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "portmaster", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "the server was not built");
    target.join("release/portmaster")
}

/// A server of its own. Dropping it kills it; what it acknowledged is on the disk.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub url: String,
}

impl Server {
    /// Starts it, with its data in a folder, or in memory only.
    pub fn start(binary: &Path, data: Option<&Path>, options: &[&str]) -> Self {
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0"]).args(options).stdout(Stdio::piped());
        match data {
            Some(folder) => command.arg("--data").arg(folder),
            None => command.arg("--in-memory"),
        };
        let mut process = command.spawn().unwrap();
        let mut greeting = String::new();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        says.read_line(&mut greeting).unwrap();
        let (_, url) = greeting.trim().split_once(" on ").expect("where it listens");
        Self { process, url: url.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server of its own, calls it, and stops it.
fn serving<T, F: Future<Output = T>>(binary: &Path, data: Option<&Path>, act: impl FnOnce(String) -> F) -> T {
    let server = Server::start(binary, data, &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(act(server.url.clone()))
}

/// The rate, how long each took in microseconds, and when each was done.
async fn load(url: String, name: String, callers: usize, stop: Stop) -> (f64, Histogram<u64>, Vec<Duration>) {
    let client = reqwest::Client::new();
    let service = format!("{url}/v1/services/{name}");
    let body = json!({ "start": 1024, "end": 49_151 });
    client.put(&service).json(&body).send().await.unwrap().error_for_status().expect("a service of its own");
    let started = Instant::now();
    let asked = Arc::new(AtomicU32::new(0));
    let runs = join_all((0..callers).map(|_| {
        let (client, offers, asked) = (client.clone(), format!("{service}/offers"), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let is_over = match stop {
                    Stop::After(time) => started.elapsed() >= time || number >= 48_000,
                    Stop::Offers(offers) => number >= offers,
                };
                if is_over {
                    return done;
                }
                let began = Instant::now();
                let name = json!({ "name": format!("caller-{number}") });
                let offer: Value = client.post(&offers).json(&name).send().await.unwrap().json().await.unwrap();
                let Some(secret) = offer["secret"].as_str() else { panic!("{offer}") };
                let accepted = client.post(format!("{offers}/{secret}/accept")).send().await.unwrap();
                assert_eq!(accepted.status(), 201);
                done.push((began.elapsed(), started.elapsed()));
            }
        })
    }))
    .await;
    let elapsed = started.elapsed().as_secs_f64();
    let mut times = Histogram::new(3).unwrap();
    let mut ends = Vec::new();
    for (took, end) in runs.into_iter().flat_map(Result::unwrap) {
        times.record(took.as_micros() as u64).unwrap();
        ends.push(end);
    }
    ends.sort_unstable();
    (ends.len() as f64 / elapsed, times, ends)
}
