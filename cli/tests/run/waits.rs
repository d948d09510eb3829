//! Waiting for a range that is full.

use serde_json::json;

use super::ground::Ground;

async fn full() -> Ground {
    let ground = Ground::of(2).await;
    for name in ["a", "b"] {
        ground.take(name, json!({ "owner": "others" })).await;
    }
    ground
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_range_is_waited_for() {
    let ground = full().await;
    let mut job = ground.script("job", &["--wait", "10m"], "echo $PORT");
    job.says("waiting for a port").await;
    let given = ground.world.api.delete("/v1/services/web/ports/b?owner=others").await;
    assert_eq!(given.status, 204, "{}", given.body);
    let end = job.end().await;
    assert_eq!((end.code, end.out), (0, format!("{}\n", ground.start + 1)), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ends_is_waited_for() {
    let ground = Ground::of(2).await;
    ground.take("a", json!({ "owner": "others" })).await;
    ground.take("b", json!({ "owner": "others", "lease_seconds": 3600 })).await;
    let mut job = ground.script("job", &["--wait", "10m"], "echo $PORT");
    job.says("waiting for a port").await;
    ground.world.pass(std::time::Duration::from_secs(3600 + 10 + 1));
    let end = job.end().await;
    assert_eq!((end.code, end.out), (0, format!("{}\n", ground.start + 1)), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_waited_no_longer_than_said() {
    let ground = full().await;
    let end = ground.job("job", &["--wait", "1s"], &["echo", "started"]).end().await;
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    assert!(end.err.contains("waiting for a port, for 1s at most"), "{}", end.err);
    // What waiting cannot change is said at once.
    let unknown = ground.job("job", &["--wait", "1h", "--port", "1100"], &["echo", "started"]).end().await;
    assert_eq!((unknown.code, unknown.out.as_str()), (125, ""), "{}", unknown.err);
}

/// A registry that accepts the connection and says nothing. How long it is waited for depends on `--wait`, and the user
/// hears of it meanwhile; a call's own deadline is 30 seconds, which this test would notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_is_waited_for_no_longer_either() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut accepted = Vec::new();
    let hold = async {
        loop {
            accepted.push(listener.accept().await.unwrap());
        }
    };
    let mut job = super::job::Job::new(&url, "job", &["--wait", "1s"], &["echo", "started"]);
    let end = async {
        job.says("has not answered yet").await;
        job.end().await
    };
    let end = tokio::select! {
        end = end => end,
        never = hold => never,
    };
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    let lines: Vec<_> = end.err.lines().collect();
    let at =
        |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {}", end.err));
    assert!(at("error: ") < at("was not started") && at("was not started") < at("if a port was taken"), "{}", end.err);
    // One attempt until the deadline of five seconds, and one that gives back what may have been taken.
    assert!(accepted.len() <= 2, "{}", accepted.len());
}
