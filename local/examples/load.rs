//! How many offers a running registry makes and has accepted in a second: `cargo run --release --example load`.
//!
//! Each caller asks for an offer under a new name and accepts it, over and over. A figure of this machine, to be compared
//! with another of the same machine, in the same hour.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};

use clap::Parser;
use futures::future::join_all;
use serde_json::{Value, json};

#[derive(Parser)]
struct Options {
    /// The registry.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// How many callers at the same time; one run after another.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    callers: Vec<usize>,
    /// How many seconds each run takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How ports are chosen.
    #[arg(long, default_value = "lowest")]
    strategy: String,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let client = reqwest::Client::new();
    println!("| callers | offer + accept per second | median ms | p99 ms |");
    println!("|---|---|---|---|");
    for (run, callers) in options.callers.iter().enumerate() {
        let service = format!("load-{run}");
        let start = 1024 + run * 16_000;
        let body = json!({ "start": start, "end": (start + 15_999).min(49_151), "strategy": options.strategy });
        let service = format!("{}/v1/services/{service}", options.url);
        client.put(&service).json(&body).send().await.unwrap().error_for_status().expect("a service of its own");
        let until = Instant::now() + Duration::from_secs(options.seconds);
        let started = Instant::now();
        let times = join_all((0..*callers).map(|caller| {
            let (client, offers) = (client.clone(), format!("{service}/offers"));
            tokio::spawn(async move {
                let mut times = Vec::new();
                for i in 0.. {
                    let began = Instant::now();
                    if began >= until {
                        break;
                    }
                    let name = json!({ "name": format!("caller-{caller}-{i}") });
                    let offer: Value = client.post(&offers).json(&name).send().await.unwrap().json().await.unwrap();
                    let Some(secret) = offer["secret"].as_str() else { panic!("{offer}") };
                    let accepted = client.post(format!("{offers}/{secret}/accept")).send().await.unwrap();
                    assert_eq!(accepted.status(), 201);
                    times.push(began.elapsed());
                }
                times
            })
        }))
        .await;
        let elapsed = started.elapsed().as_secs_f64();
        let mut times: Vec<_> = times.into_iter().flat_map(Result::unwrap).collect();
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!("| {callers} | {:.0} | {:.1} | {:.1} |", times.len() as f64 / elapsed, at(0.5), at(0.99));
    }
}
