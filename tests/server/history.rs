//! The history of the local server: it outlives kill -9, and its events are told while they happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::process::Process;
use portmaster_testkit::http;

/// What the callers of one name were told: how many ports it was given, and how many of them it gave back.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    given: usize,
    released: usize,
}

/// A server that is killed loses no tenure that a caller was told of, nor its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_tenure() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::<Mutex<BTreeMap<String, Told>>>::default();
    for round in 0..4 {
        let process = Process::on(folder.path()).await;
        if round == 0 {
            process.api.service("django", 5000, 5049).await;
        }
        let callers: Vec<_> = (0..6)
            .map(|caller| {
                let (api, told) = (process.api.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    for number in 0.. {
                        let name = format!("web-{round}-{caller}-{number}");
                        let path = format!("{}/v1/services/django/ports/{name}", api.url);
                        let send = |request: reqwest::RequestBuilder| async {
                            request.send().await.ok().filter(|answer| answer.status().is_success())
                        };
                        if send(http(&path).build().unwrap().put(&path).json(&json!({}))).await.is_none() {
                            return;
                        }
                        told.lock().unwrap().entry(name.clone()).or_default().given += 1;
                        if send(http(&path).build().unwrap().delete(&path)).await.is_none() {
                            return;
                        }
                        told.lock().unwrap().entry(name).or_default().released += 1;
                    }
                })
            })
            .collect();
        // Within a batch that is not written yet, and after several that are.
        sleep(Duration::from_millis([60, 250, 700, 30][round])).await;
        process.stop("-KILL").await;
        for caller in callers {
            caller.await.unwrap();
        }
    }
    let process = Process::on(folder.path()).await;
    let told = told.lock().unwrap().clone();
    assert!(told.values().filter(|told| told.released == 1).count() > 20, "{told:?}");
    for (name, expected) in told {
        let history = process.api.get(&format!("/v1/services/django/history?name={name}")).await.expect(200).body;
        let tenures = history.as_array().unwrap();
        assert_eq!(tenures.len(), expected.given, "{name}: {history}");
        assert!(!tenures[0]["allocated"].is_null(), "{name}: {history}");
        if expected.released == 1 {
            assert_eq!(tenures[0]["end"], "released", "{name}: {history}");
        }
    }
    // What was written to the history is in no journal any more.
    let data = folder.path().to_owned();
    assert!(process.stop("-TERM").await.0);
    let journals = std::fs::read_dir(data).unwrap().filter_map(|file| {
        let file = file.unwrap();
        file.path().extension().is_some_and(|kind| kind == "journal").then(|| file.metadata().unwrap().len())
    });
    assert!(journals.sum::<u64>() < 4096);
}

/// How many calls a process has made that read from files, such as `pread` (proc_pid_io(5)).
#[cfg(target_os = "linux")]
fn reads(process: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

/// The pages of the history's database, once they have been written, take none from the registry's, whose requests find
/// most of what they need in memory (`.cargo/config.toml` says why that is not a matter of course).
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_history_writes_takes_no_memory_from_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::on(folder.path()).await;
    let api = &process.api;
    api.service("django", 5000, 15_000).await;
    // More tenures than the caches of two connections hold, which is 2 MB each (`PRAGMA cache_size`).
    for set in 0..100 {
        let names: Vec<_> = (0..32).map(|number| format!("web-{set}-{number}")).collect();
        let labels = json!({"text": "x".repeat(64), "more": "y".repeat(64)});
        api.post("/v1/services/django/sets", json!({"names": names, "labels": labels})).await.expect(201);
    }
    // Who asks has them written.
    api.get("/v1/services/django/history?name=web-0-0").await.expect(200);
    let before = reads(process.id());
    for number in 0..100 {
        let path = format!("/v1/services/django/ports/job-{number}");
        api.put(&path, json!({})).await.expect(201);
        api.delete(&path).await.expect(204);
    }
    let each = (reads(process.id()) - before) as f64 / 100.0;
    // With a cache for each database it is 0.3, and with one for both 44 and more.
    assert!(each < 5.0, "{each} reads for a PUT and a DELETE");
}

/// The blocks of a stream of events, as they come.
async fn next_event(response: &mut reqwest::Response, buffer: &mut String) -> BTreeMap<String, String> {
    loop {
        if let Some((block, rest)) = buffer.clone().split_once("\n\n") {
            *buffer = rest.to_owned();
            let fields: BTreeMap<_, _> = block
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            if fields.contains_key("event") {
                return fields;
            }
            continue;
        }
        let chunk = timeout(Duration::from_secs(20), response.chunk()).await.unwrap().unwrap();
        buffer.push_str(std::str::from_utf8(&chunk.expect("it goes on")).unwrap());
    }
}

#[tokio::test]
async fn events_are_told_while_they_happen() {
    let process = Process::start(&["--in-memory"]).await;
    let url = format!("{}/v1/events", process.api.url);
    let get = || http(&url).build().unwrap().get(&url);
    let mut listening = get().send().await.unwrap();
    assert_eq!(listening.headers()["content-type"], "text/event-stream");
    process.api.service("django", 5000, 5009).await;
    let secret = process.api.offer("django", "web-01").await.1;
    process.api.accept("django", &secret).await.expect(201);
    let (mut buffer, mut told) = (String::new(), Vec::new());
    for expected in ["service-created", "port-offered", "port-allocated"] {
        let event = next_event(&mut listening, &mut buffer).await;
        assert_eq!(event["event"], expected);
        assert!(!event["data"].contains(&secret));
        told.push(event);
    }
    let data: Value = serde_json::from_str(&told[2]["data"]).unwrap();
    let shown = json!([data["type"], data["namespace"], data["service"], data["name"], data["port"]]);
    assert_eq!(shown, json!(["Port Allocated", "default", "django", "web-01", 5000]));
    // Whoever comes back hears what it has missed.
    let mut again = get().header("Last-Event-ID", &told[0]["id"]).send().await.unwrap();
    let mut buffer = String::new();
    assert_eq!(next_event(&mut again, &mut buffer).await, told[1]);
    assert_eq!(next_event(&mut again, &mut buffer).await, told[2]);
    // And if that is not known any more, that.
    let mut other = get().header("Last-Event-ID", "17-3").send().await.unwrap();
    assert_eq!(next_event(&mut other, &mut String::new()).await["event"], "reset");
    // No page of another site listens.
    let refused = get().header("Origin", "http://evil.example").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    // Readers do not keep it from stopping.
    assert!(timeout(Duration::from_secs(10), process.stop("-TERM")).await.unwrap().0);
}

#[tokio::test]
async fn a_history_can_be_turned_off() {
    let process = Process::start(&["--in-memory", "--history-days", "0"]).await;
    process.api.get("/v1/ports/5000/history").await.expect_problem(404, "history-off");
    process.api.get("/v1/events").await.expect_problem(404, "not-found");
}
