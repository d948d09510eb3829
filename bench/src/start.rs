//! How soon the command line is at work: from the start of its process to the first byte of its first request.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::report::{Part, machine, target_folder};

/// What it may take, in milliseconds: a pipeline that calls it for every job should not notice it.
const LIMIT_MS: f64 = 30.0;

pub fn run(quick: bool, portmaster: Option<PathBuf>) -> Part {
    let rounds = if quick { 3 } else { 101 };
    let mut part = Part {
        text: format!(
            "`portmaster show web job` as it is released, from the start of its process to the first byte that arrives at a \
             registry next door: of the request, or of the TLS handshake before it. Beside it a program that does nothing, \
             `true`, from its start to its end. Milliseconds, over {rounds} starts in turns; the limit is {LIMIT_MS:.0}. {}\n\n",
            machine()
        ),
        ..Part::default()
    };
    let portmaster = portmaster.unwrap_or_else(build);
    let (mut nothing, mut plain, mut secure) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        nothing.push(time_of_true());
        plain.push(first_byte(&portmaster, "http"));
        secure.push(first_byte(&portmaster, "https"));
    }
    let median_of_true = quantile(&mut nothing, 0.5);
    let rows = [("`true`", nothing), ("over HTTP", plain), ("over HTTPS", secure)].map(|(what, mut times)| {
        let (median, most) = (quantile(&mut times, 0.5), quantile(&mut times, 0.95));
        let ms = |value: f64| format!("{value:.1}");
        vec![what.to_owned(), ms(median), ms(most), format!("{:.1}", median / median_of_true)]
    });
    part.table(&["", "median", "95 % within", "times `true`"], &rows);
    part
}

/// In milliseconds.
fn time_of_true() -> f64 {
    let started = Instant::now();
    assert!(Command::new("true").status().unwrap().success());
    started.elapsed().as_secs_f64() * 1e3
}

/// In milliseconds.
fn first_byte(portmaster: &Path, scheme: &str) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let mut command = Command::new(portmaster);
    command.args(["--url", &url, "show", "web", "job"]).env_clear().env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.read_exact(&mut [0]).unwrap();
    let took = started.elapsed();
    // It would try again and again.
    child.kill().unwrap();
    child.wait().unwrap();
    took.as_secs_f64() * 1e3
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// Builds the command line as a release has it, but for this machine.
fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--profile", "archive", "--locked", "-p", "portmaster-cli", "--target-dir"])
        .arg(target_folder())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status();
    assert!(built.unwrap().success(), "the command line was not built");
    target_folder().join("archive/portmaster")
}
