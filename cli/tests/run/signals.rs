//! Each signal reaches the command, without a terminal, and everything ends in time.

use rustix::process::Signal;

use super::ground::Ground;
use super::job::Job;

const ALL: [(Signal, &str); 6] = [
    (Signal::INT, "INT"),
    (Signal::TERM, "TERM"),
    (Signal::HUP, "HUP"),
    (Signal::QUIT, "QUIT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
];

/// Waits for a signal and says so.
fn trap(name: &str, act: &str) -> String {
    format!("trap 'echo got {name}; {act}' {name}; echo ready; while :; do sleep 600 & wait; done")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_decides_what_a_signal_means() {
    let ground = Ground::new().await;
    for (signal, name) in ALL {
        let mut job = ground.script("job", &[], &trap(name, "exit 3"));
        assert_eq!(job.line().await, "ready");
        job.signal(signal);
        let end = job.end().await;
        assert_eq!((end.code, end.out), (3, format!("got {name}\n")), "{}", end.err);
        assert_eq!(ground.held().await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_a_signal_ends_is_128_and_its_number() {
    let ground = Ground::new().await;
    for (signal, name) in ALL {
        let mut job = ground.script("job", &[], "echo ready; exec sleep 600");
        assert_eq!(job.line().await, "ready");
        job.signal(signal);
        let end = job.end().await;
        assert_eq!(end.code, 128 + signal.as_raw(), "{name}: {}", end.err);
        assert_eq!(ground.held().await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_ends_nothing_leaves_everything_running() {
    let ground = Ground::new().await;
    let mut job = ground.script("job", &["--grace", "1s"], &trap("HUP", ":"));
    assert_eq!(job.line().await, "ready");
    for _ in 0..3 {
        job.signal(Signal::HUP);
        assert_eq!(job.line().await, "got HUP");
    }
    // Longer than the grace, which did not begin: nothing can be waited for where nothing happens.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(ground.held().await.len(), 1);
    job.signal(Signal::HUP);
    assert_eq!(job.line().await, "got HUP");
    job.signal(Signal::TERM);
    assert_eq!(job.end().await.code, 143);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ignores_term_is_killed_after_its_grace() {
    let ground = Ground::new().await;
    let mut job = ground.script("job", &["--grace", "1s"], "trap '' TERM; echo ready; while :; do sleep 600; done");
    assert_eq!(job.line().await, "ready");
    job.signal(Signal::TERM);
    job.says("did not end within 1s").await;
    let end = job.end().await;
    assert_eq!(end.code, 137, "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_kills_at_once() {
    let ground = Ground::new().await;
    let mut job = ground.script("job", &["--grace", "1h"], &trap("INT", ":"));
    assert_eq!(job.line().await, "ready");
    job.signal(Signal::INT);
    assert_eq!(job.line().await, "got INT");
    // The system merges a signal with one that the program has not yet looked at, so the second may need a third.
    job.signal(Signal::INT);
    while job.next_line().await.is_some() {
        job.signal(Signal::INT);
    }
    let end = job.end().await;
    assert_eq!(end.code, 137, "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ignored_at_the_start_stays_ignored() {
    let ground = Ground::new().await;
    let mut shell = tokio::process::Command::new("setsid");
    let script = format!(
        "trap '' HUP; exec {} run web job --owner tests -- sh -c 'echo ready; read line; echo still here'",
        env!("CARGO_BIN_EXE_portmaster")
    );
    shell.args(["sh", "-c", &script]);
    let mut job = Job::start(shell, &ground.world.api.url);
    assert_eq!(job.line().await, "ready");
    job.signal(Signal::HUP);
    job.write("go on\n").await;
    let end = job.end().await;
    assert_eq!((end.code, end.out.as_str()), (0, "still here\n"), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_command_starts_ends_the_program_and_leaves_no_port() {
    let ground = Ground::of(2).await;
    for name in ["a", "b"] {
        ground.take(name, serde_json::json!({ "owner": "others" })).await;
    }
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let mut job = ground.job("job", &["--wait", "1h"], &["echo", "started"]);
        job.says("waiting for a port").await;
        job.signal(signal);
        let end = job.end().await;
        assert_eq!((end.code, end.out.as_str()), (128 + signal.as_raw(), ""), "{name}: {}", end.err);
    }
    assert_eq!(ground.held().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_program_is_killed_its_lease_gives_the_port_to_others() {
    let ground = Ground::of(2).await;
    let mut job = ground.script("job", &["--lease", "60s", "--port", &ground.start.to_string()], "echo $$; read line");
    let command = job.line().await;
    job.signal(Signal::KILL);
    job.wait().await;
    // The pipe is closed, and so the command ends, as most do whose output nobody reads any more.
    job.close();
    super::job::until_ended(&command).await;
    assert_eq!(ground.held().await, [("job".to_owned(), ground.start)], "nobody has released it");
    let wanted = serde_json::json!({ "owner": "others", "port": ground.start });
    let early = ground.world.api.put("/v1/services/web/ports/other", wanted.clone()).await;
    assert_eq!(early.status, 409, "{}", early.body);
    ground.world.pass(std::time::Duration::from_secs(60 + 10 + 1));
    assert_eq!(ground.take("other", wanted).await, ground.start);
}
