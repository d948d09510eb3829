//! Names that nobody has chosen: two commands with the same one do not share a port.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;

use super::ground::Ground;
use super::job::{Job, until_ended};
use super::lossy::lossy;

/// What GitHub says to every job of a reusable workflow that is called twice.
const JOB: [(&str, &str); 4] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_REPOSITORY", "our-org/shop"),
    ("GITHUB_RUN_ID", "17000000001"),
    ("GITHUB_JOB", "test"),
];
const NAME: &str = "our-org-shop-17000000001-test-0";

/// A job of that workflow, without a NAME.
fn job(url: &str, options: &[&str], script: &str) -> Job {
    let mut command = Command::new("setsid");
    command.args([env!("CARGO_BIN_EXE_portmaster"), "run", "web"]).args(options).args(["--", "sh", "-c", script]);
    Job::start_in(command, url, &JOB)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_the_same_name_have_two_ports() {
    let ground = Ground::new().await;
    let url = &ground.world.api.url;
    let script = "echo $PORT; read line";
    let mut first = job(url, &[], script);
    assert_eq!(first.line().await, ground.start.to_string());
    let mut second = job(url, &[], script);
    assert_eq!(second.line().await, (ground.start + 1).to_string());
    // The first to end gives back its own, whichever it is.
    let end = second.end().await;
    assert!(end.err.contains("another command's port has the same name"), "{}", end.err);
    assert_eq!(ground.held().await, [(NAME.to_owned(), ground.start)]);
    let mut third = job(url, &[], script);
    assert_eq!(third.line().await, (ground.start + 1).to_string());
    first.end().await;
    let held = ground.held().await;
    assert!(held.len() == 1 && held[0].1 == ground.start + 1 && held[0].0.starts_with(NAME), "{held:?}");
    third.end().await;
    assert_eq!(ground.held().await, []);

    // The same job run again is the same holder of the same port.
    let again = job(url, &[], "echo $PORT").end().await;
    assert_eq!(again.out, format!("{}\n", ground.start), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_within_a_run_has_a_port_of_its_own() {
    let ground = Ground::new().await;
    let inner = format!("{} run web -- sh -c 'echo inner=$PORT'", env!("CARGO_BIN_EXE_portmaster"));
    let mut outer = job(&ground.world.api.url, &[], &format!("echo $PORT; {inner}; echo after; read line; exit 0"));
    assert_eq!(outer.line().await, ground.start.to_string());
    assert_eq!(outer.line().await, format!("inner={}", ground.start + 1));
    assert_eq!(outer.line().await, "after");
    assert_eq!(ground.held().await, [(NAME.to_owned(), ground.start)], "the inner one gave back its own");
    assert_eq!(outer.end().await.code, 0);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sets_of_the_same_names_are_two_sets() {
    let ground = Ground::new().await;
    let url = &ground.world.api.url;
    let script = "echo $PORT_A $PORT_B; read line";
    let first_port = ground.start;
    let mut first = job(url, &["--ports", "a,b"], script);
    assert_eq!(first.line().await, format!("{first_port} {}", first_port + 1));
    let mut second = job(url, &["--ports", "a,b"], script);
    assert_eq!(second.line().await, format!("{} {}", first_port + 2, first_port + 3));
    // One whose names are there in part: what is new of it is not needed, and is given back.
    let mut third = job(url, &["--ports", "a,c"], "echo $PORT_A $PORT_C; read line");
    let third_ports = third.line().await;
    let third_ports: Vec<u16> = third_ports.split(' ').map(|port| port.parse().unwrap()).collect();
    assert!(third_ports.iter().all(|port| *port > first_port + 3), "{third_ports:?}");
    assert_eq!(ground.held().await.len(), 6);
    first.end().await;
    assert_eq!(ground.held().await.len(), 4);
    third.end().await;
    second.end().await;
    assert_eq!(ground.held().await, []);
}

/// A step that is tried again on the same machine, while what it started the last time still listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_tried_again_leaves_the_port_to_the_earlier_command() {
    let ground = Ground::new().await;
    let url = &ground.world.api.url;
    let mut first = job(url, &["--lease", "60s"], "echo $$ $PORT; read line");
    let (command, port) = first.line().await.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let port: u16 = port.parse().unwrap();
    first.signal(Signal::KILL);
    first.wait().await;
    first.close();
    until_ended(&command).await;
    // This stands for the command that goes on.
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let again = job(url, &[], "echo $PORT").end().await;
    assert_eq!((again.code, again.out), (0, format!("{}\n", port + 1)), "{}", again.err);
    assert_eq!(ground.held().await, [(NAME.to_owned(), port)], "until its lease is over");
    ground.world.pass(Duration::from_secs(60 + 10 + 1));
    let later = job(url, &[], "echo $PORT").end().await;
    assert_eq!(later.code, 0, "{}", later.err);
    assert_eq!(ground.state(port).await, "quarantined", "then it is found out that the port is in use");
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_answer_was_lost_is_left_to_its_lease() {
    for (options, begin, count) in [(&[][..], "PUT ", 1), (&["--ports", "a,b"], "POST ", 2)] {
        let ground = Ground::new().await;
        let url = lossy(&ground.world.api.url, begin, 1).await;
        let mut job = job(&url, &[options, &["--lease", "60s"]].concat(), "echo $PORT; read line; exit 0");
        let port: u16 = job.line().await.parse().unwrap();
        assert_eq!(port, ground.start + count, "nobody knows whose the first one is");
        assert_eq!(ground.held().await.len(), usize::from(2 * count));
        let end = job.end().await;
        assert_eq!(end.code, 0, "{}", end.err);
        let left: Vec<_> = ground.held().await.into_iter().map(|(_, port)| port).collect();
        assert_eq!(left, (ground.start..ground.start + count).collect::<Vec<_>>(), "{}", end.err);
        ground.world.pass(Duration::from_secs(60 + 10 + 1));
        let wanted = serde_json::json!({ "owner": "others", "port": ground.start });
        assert_eq!(ground.take("other", wanted).await, ground.start);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_name_keeps_its_port_although_an_answer_was_lost() {
    let ground = Ground::new().await;
    let url = lossy(&ground.world.api.url, "PUT ", 1).await;
    let end = Job::new(&url, "job", &[], &["sh", "-c", "echo $PORT"]).end().await;
    assert_eq!((end.code, end.out), (0, format!("{}\n", ground.start)), "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_name_takes_the_port_that_it_has_and_says_so() {
    let ground = Ground::new().await;
    let port = ground.take("job", serde_json::json!({ "owner": "tests", "lease_seconds": 900 })).await;
    let end = ground.job("job", &["-q"], &["sh", "-c", "echo $PORT"]).end().await;
    assert_eq!((end.code, end.out), (0, format!("{port}\n")), "{}", end.err);
    assert_eq!(end.err, format!("portmaster: job had port {port} already, which is given back at the end\n"));
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_registry_is_asked_leaves_no_port() {
    let ground = Ground::new().await;
    let url = super::lossy::slow(&ground.world.api.url, "PUT ", Duration::from_millis(200)).await;
    let mut job = job(&url, &["-v"], "exec sleep 600");
    job.says("sending").await;
    job.signal(Signal::TERM);
    let end = job.end().await;
    assert_eq!(end.code, 143, "{}", end.err);
    assert_eq!(ground.held().await, [], "{}", end.err);
}
