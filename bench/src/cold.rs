//! The first offers of a cold `create-offer` (the real binary) under the share of a processor that Lambda assigns to
//! its memory.
//!
//! Lambda lets a function initialize with a whole processor and then assigns it one in proportion to its memory, 1,769
//! MB being one (*AWS Lambda Developer Guide*, "Configure Lambda function memory"). Here a control group does the same
//! to the process, from its first event on. The table is on the same machine, so a round trip takes a fraction of a
//! millisecond: the figures are the processor's part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use dynoxide::{Database, ImportOptions};
use portmaster_registry::{Endpoint, connect};
use portmaster_testkit::{Function, TABLE, filler, text};
use serde_json::{Value, json};

use crate::report::{Part, machine, target_folder};
use crate::throughput::{Server, build};

const SERVICE: &str = "django";
const TAKEN: u16 = 40_000;
/// Lambda's period, as far as measurements from outside show: in each one a function gets its share, and then waits.
const PERIOD: Duration = Duration::from_millis(20);
/// The memory at which a function has one processor.
const WHOLE: f64 = 1769.0;
/// How long a request to DynamoDB takes within a region. The report names it, since it is added to some of the figures.
const ROUND_TRIP_MS: f64 = 5.0;
/// The price of one GB for one second (x86_64, us-east-1 and eu-west-1).
const DOLLARS: f64 = 0.000_016_666_7;

pub fn run(quick: bool, function: Option<PathBuf>, server: Option<PathBuf>) -> Part {
    let rounds = if quick { 1 } else { 5 };
    let mut part = Part {
        text: format!(
            "`create-offer` as it is deployed, over a table next door with {TAKEN} ports taken of 48,128 without a gap \
             (`lowest`), with the share of a processor that Lambda gives for its memory. Medians of {rounds}, in milliseconds: \
             *start*, from spawning to waiting for the first event, with a whole processor; *everything read*, the first offer \
             of a process that finds no hint; *with a hint*, the first one of a process that finds another's; *warm*, the second \
             one of a process. The last columns add {ROUND_TRIP_MS} ms for each round trip that a table in the same region \
             takes, and say what a million such offers cost in Lambda's time at ${DOLLARS} per GB-second. {}\n\n",
            machine()
        ),
        ..Part::default()
    };
    let function = function.unwrap_or_else(build_function);
    let folder = tempfile::tempdir().unwrap();
    let server = server.unwrap_or_else(build);
    fill(&server, folder.path());
    let database = free_address();
    let running = Server::start(&server, Some(folder.path()), &["--database-listen", &database]);
    let url = format!("http://{database}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut rows = Vec::new();
    for memory in [128_u32, 256, 512, 1024, 1769] {
        let share = f64::from(memory) / WHOLE;
        let mut all = Vec::new();
        for round in 0..rounds {
            eprintln!("{memory} MB, {round}");
            all.push(runtime.block_on(one(&function, &url, share, &format!("{memory}-{round}"))));
        }
        let median = |of: fn(&Times) -> f64| {
            let mut values: Vec<_> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (start, cold) = (median(|times| times.start), median(|times| times.cold));
        let (hinted, warm) = (median(|times| times.hinted), median(|times| times.warm));
        // Cold: the window, the stretches in parallel, the claim and its confirmation. Warm: only the last two.
        let (cold_there, warm_there) = (cold + 4.0 * ROUND_TRIP_MS, warm + 2.0 * ROUND_TRIP_MS);
        let dollars = |ms: f64| format!("{:.2}", ms / 1000.0 * f64::from(memory) / 1024.0 * DOLLARS * 1e6);
        let ms = |value: f64| format!("{value:.1}");
        rows.push(vec![
            memory.to_string(),
            format!("{:.0} %", share * 100.0),
            ms(start),
            ms(cold),
            ms(hinted),
            ms(warm),
            ms(warm_there),
            dollars(warm_there),
            dollars(cold_there),
        ]);
    }
    drop(running);
    part.table(
        &[
            "MB",
            "processor",
            "start",
            "everything read",
            "with a hint",
            "warm",
            "warm in a region",
            "$ a million, warm",
            "$ a million, everything read",
        ],
        &rows,
    );
    part
}

/// In milliseconds.
struct Times {
    start: f64,
    cold: f64,
    hinted: f64,
    warm: f64,
}

async fn one(function: &Path, database: &str, share: f64, name: &str) -> Times {
    let client = connect(&Endpoint::Embedded(database.to_owned())).await;
    forget_hint(&client).await;
    let first = Cold::start(function, database).await;
    let start = first.started().await;
    first.limit(share);
    let cold = first.offer(&format!("cold-{name}")).await;
    let warm = first.offer(&format!("warm-{name}")).await;
    let second = Cold::start(function, database).await;
    second.started().await;
    second.limit(share);
    let hinted = second.offer(&format!("hinted-{name}")).await;
    first.stop().await;
    second.stop().await;
    Times { start, cold, hinted, warm }
}

async fn forget_hint(client: &Client) {
    let delete = client.delete_item().table_name(TABLE);
    let delete = delete.key("pk", text(format!("N#default#HINT#{SERVICE}"))).key("sk", text("TAKEN"));
    delete.send().await.unwrap();
}

/// A function and its control group.
struct Cold {
    function: Function,
    group: Group,
}

impl Cold {
    async fn start(binary: &Path, database: &str) -> Self {
        let function = Function::start(binary, database, &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")]).await;
        let group = Group::new(function.id());
        Self { function, group }
    }

    /// The time from its start until it waited for its first event, in milliseconds.
    async fn started(&self) -> f64 {
        self.function.initialized().await.as_secs_f64() * 1e3
    }

    /// Limits it to this share of a processor from now on.
    fn limit(&self, share: f64) {
        self.group.limit(share, self.function.id());
    }

    /// The time that an offer takes, in milliseconds.
    async fn offer(&self, name: &str) -> f64 {
        let mut event: Value = serde_json::from_str(include_str!("../../events/create-offer.json")).unwrap();
        event["headers"].as_object_mut().unwrap().remove("idempotency-key");
        event["body"] = json!(json!({ "name": name }).to_string());
        let (answer, took) = self.function.time(event).await;
        assert_eq!(answer["statusCode"], 201, "{answer}");
        took.as_secs_f64() * 1e3
    }

    /// Stops it. The process ends first, since only an empty group can be removed.
    async fn stop(self) {
        self.function.stop().await;
        self.group.remove();
    }
}

/// A control group of one process: of version 2 where that has the CPU controller, else of version 1.
struct Group(PathBuf);

impl Group {
    fn new(process: u32) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let version_2 = fs::read_to_string(root.join("cgroup.controllers"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|one| one == "cpu"));
        let folder = if version_2 { root.to_owned() } else { root.join("cpu") };
        let group = folder.join(format!("portmaster-bench-{process}"));
        fs::create_dir(&group).expect("a control group can be made here: as root, outside a container");
        Self(group)
    }

    fn limit(&self, share: f64, process: u32) {
        let period = PERIOD.as_micros();
        let quota = (share * period as f64) as u64;
        if self.0.join("cpu.max").exists() {
            fs::write(self.0.join("cpu.max"), format!("{quota} {period}")).unwrap();
        } else {
            fs::write(self.0.join("cpu.cfs_period_us"), period.to_string()).unwrap();
            fs::write(self.0.join("cpu.cfs_quota_us"), quota.to_string()).unwrap();
        }
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }

    fn remove(&self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Builds the function as `sam build` does: in its folder, whose Cargo settings are those of the deployment.
fn build_function() -> PathBuf {
    let target = target_folder().join("functions");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "portmaster-functions", "--bin", "create-offer", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../functions"))
        .status();
    assert!(built.unwrap().success(), "the function was not built");
    target.join("release/create-offer")
}

/// Creates a service and fills it.
fn fill(server: &Path, folder: &Path) {
    let running = Server::start(server, Some(folder), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = format!("http://{}/v1/services/{SERVICE}", running.address);
        let range = json!({ "start": 1024, "end": 49_151 });
        portmaster_testkit::http(&service)
            .build()
            .unwrap()
            .put(&service)
            .json(&range)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    });
    drop(running);
    let database = Database::new(folder.join("portmaster.db").to_str().unwrap()).unwrap();
    let items = (1024..1024 + TAKEN).map(|port| filler(SERVICE, port)).collect();
    database.import_items(TABLE, items, ImportOptions::default()).unwrap();
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
