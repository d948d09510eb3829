//! How the command ends is how the program ends, and the port is given back in each case.

use super::ground::Ground;
use super::job::Job;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_port_while_it_runs_and_only_then() {
    let ground = Ground::new().await;
    let mut job = ground.script("job", &[], "echo port=$PORT; read line");
    assert_eq!(job.line().await, format!("port={}", ground.start));
    assert_eq!(ground.held().await, [("job".to_owned(), ground.start)]);
    let end = job.end().await;
    assert_eq!(end.code, 1, "`read` at the end of its input: {}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_the_commands_own_or_that_of_its_signal() {
    let ground = Ground::new().await;
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let end = ground.script("job", &[], script).end().await;
        assert_eq!(end.code, code, "{script}: {}", end.err);
        assert_eq!(ground.held().await, [], "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_126_or_127_and_gives_its_port_back() {
    let ground = Ground::new().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "echo never\n").unwrap();
    let plain = plain.to_str().unwrap();
    for (command, code) in [("there-is-no-such-command", 127), ("/there/is/none", 127), (plain, 126), ("/", 126)] {
        let end = ground.job("job", &[], &[command]).end().await;
        assert_eq!(end.code, code, "{command}: {}", end.err);
        assert!(end.err.contains(command), "{}", end.err);
        assert_eq!(ground.held().await, [], "{command}");
    }
    // Without a shell nobody makes a program of a text.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(plain, std::fs::Permissions::from_mode(0o755)).unwrap();
    let end = ground.job("job", &[], &[plain]).end().await;
    assert!(end.code == 126 || end.out == "never\n", "{end:?}");
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_port_the_command_is_not_started() {
    let ground = Ground::of(2).await;
    let nobody = Job::new("http://127.0.0.1:1", "job", &[], &["echo", "started"]).end().await;
    assert_eq!((nobody.code, nobody.out.as_str()), (125, ""), "{}", nobody.err);

    for name in ["a", "b"] {
        ground.take(name, serde_json::json!({ "owner": "others" })).await;
    }
    let full = ground.job("job", &[], &["echo", "started"]).end().await;
    assert_eq!((full.code, full.out.as_str()), (125, ""), "{}", full.err);
    assert!(full.err.contains("All 2 ports of web are taken"), "{}", full.err);

    let taken = ground.job("a", &[], &["echo", "started"]).end().await;
    assert_eq!((taken.code, taken.out.as_str()), (125, ""), "{}", taken.err);
    assert_eq!(ground.held().await.len(), 2, "and another owner's port is not touched");

    let service = ["--port", "1100"];
    let outside = ground.job("job", &service, &["echo", "started"]).end().await;
    assert_eq!((outside.code, outside.out.as_str()), (125, ""), "{}", outside.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_through_and_what_the_program_says_is_not_between_them() {
    let ground = Ground::new().await;
    let mut job = ground.script("job", &[], "cat; echo error >&2; printf 'no end of line'");
    job.write("one\ntwo\n").await;
    assert_eq!((job.line().await, job.line().await), ("one".to_owned(), "two".to_owned()));
    let end = job.end().await;
    assert_eq!((end.code, end.out.as_str()), (0, "no end of line"), "{}", end.err);
    let (ours, others): (Vec<_>, Vec<_>) = end.err.lines().partition(|line| line.starts_with("portmaster: "));
    assert_eq!(others, ["error"], "each line of ours says so, and no other line is ours");
    assert!(ours.iter().any(|line| line.contains(&format!("port {}", ground.start))), "{ours:?}");

    let quiet = ground.script("job", &["-q"], "echo error >&2").end().await;
    assert_eq!((quiet.code, quiet.err.as_str()), (0, "error\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_may_call_the_program_or_become_it() {
    let ground = Ground::new().await;
    let program = env!("CARGO_BIN_EXE_portmaster");
    let shell = |script: String| {
        let mut shell = tokio::process::Command::new("setsid");
        shell.args(["sh", "-c", &script]);
        Job::start(shell, &ground.world.api.url)
    };
    let called =
        shell(format!("{program} run web job --owner tests -- sh -c 'echo $PORT; exit 5'; echo after=$?")).end().await;
    assert_eq!(called.out, format!("{}\nafter=5\n", ground.start), "{}", called.err);
    let become_it =
        shell(format!("exec {program} run web job --owner tests -- sh -c 'echo $PORT; exit 5'")).end().await;
    assert_eq!((become_it.code, become_it.out), (5, format!("{}\n", ground.start)), "{}", become_it.err);
    assert_eq!(ground.held().await, []);
}

/// After a signal somebody may be about to kill the program; after any other end there is time for a slow registry.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_given_back_at_leisure_unless_somebody_waits() {
    let ground = Ground::new().await;
    let longer = std::time::Duration::from_secs(3);
    let url = super::lossy::slow(&ground.world.api.url, "DELETE ", longer).await;
    let end = Job::new(&url, "job", &[], &["true"]).end().await;
    assert!(end.code == 0 && !end.err.contains("could not be given back"), "{}", end.err);
    assert_eq!(ground.held().await, []);

    let url = super::lossy::slow(&ground.world.api.url, "DELETE ", super::PATIENCE).await;
    let mut job = Job::new(&url, "job", &[], &["sh", "-c", "echo ready; exec sleep 600"]);
    assert_eq!(job.line().await, "ready");
    job.signal(rustix::process::Signal::TERM);
    let end = job.end().await;
    assert_eq!(end.code, 143, "{}", end.err);
    assert!(end.err.contains("could not be given back") && end.err.contains("no answer within 2s"), "{}", end.err);
}
