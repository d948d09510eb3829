//! A disk that cannot be written: the server reports it at once, keeps what it has acknowledged, and goes on when there
//! is room.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::sleep;

use crate::process::Process;
use portmaster_testkit::{Answer, Caller};

/// Starts the local server from a shell that prepares something first: `$0` is the server, `$@` its arguments.
fn prepared(mut shell: Command, preparation: &str, data: &Path) -> Command {
    shell.args(["-c", &format!("{preparation} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_portmasterd")]);
    shell.args(["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    shell
}

/// Asks for offers until one is refused. Returns how many were made, and the refusal, which comes at once.
async fn offers_until_refused(api: &Caller, first: usize) -> (usize, Answer) {
    for number in first..first + 2_000 {
        let began = Instant::now();
        let answer = api.ask("django", &format!("web-{number}")).await;
        if answer.status != 201 {
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}: {answer:?}", began.elapsed());
            return (number - first, answer.expect_problem(503, "unavailable"));
        }
    }
    panic!("the disk never was full");
}

/// Polls health until it has this status; each poll is answered at once.
async fn until(api: &Caller, status: u16) -> Answer {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let health = api.get("/health").await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        if health.status == status {
            return health;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{health:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Checks the behaviour while the disk cannot be written, for the reason that SQLite reports, and once it can be again.
async fn is_told_and_survived(process: &Process, reason: &str, make_room: impl AsyncFnOnce()) {
    let api = &process.api;
    let (made, refused) = offers_until_refused(api, 0).await;
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("disk") && detail.contains(reason), "{detail}");
    // Health remembers what it wrote a moment ago, for two seconds.
    let health = until(api, 503).await.expect_problem(503, "unavailable");
    assert!(health.body["detail"].as_str().unwrap().contains(reason), "{health:?}");
    // Reads still work, and show exactly what was acknowledged.
    assert_eq!(api.pages("/v1/services/django/offers").await.0.len(), made);

    make_room().await;
    until(api, 200).await;
    api.offer("django", "after").await;
    assert_eq!(api.pages("/v1/services/django/offers").await.0.len(), made + 1);
}

/// A disk that is really full, on machines that let any user mount a small file system of their own.
#[tokio::test]
async fn a_full_disk_is_told_at_once_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=2m none {}", folder.path().display());
    let allowed = std::process::Command::new("unshare").args(["-Urm", "sh", "-c", &mount]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        // Not `eprintln!`, which the test harness captures.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED a_full_disk_is_told_at_once_and_survived: no tmpfs to be had");
        return;
    }
    let mut shell = Command::new("unshare");
    shell.args(["-Urm", "sh"]);
    let process = Process::started_by(prepared(shell, &mount, folder.path())).await;
    process.api.service("django", 2000, 9999).await;
    process.api.get("/health").await.expect(200);
    // Its file system as the process sees it.
    let ballast = format!("/proc/{}/root{}/ballast", process.id(), folder.path().display());
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    is_told_and_survived(&process, "database or disk is full", async || std::fs::remove_file(&ballast).unwrap()).await;
    assert!(process.stop("-TERM").await.0);
}

/// Another reason why a disk cannot be written, which needs no privilege anywhere: a limit on the size of files
/// (`ulimit -f`).
#[tokio::test]
async fn a_disk_that_takes_no_more_is_told_at_once_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    // A megabyte, in blocks of 512 bytes; writing beyond it is an error instead of a signal.
    let process =
        Process::started_by(prepared(Command::new("sh"), "ulimit -S -f 2048; trap '' XFSZ", folder.path())).await;
    process.api.service("django", 2000, 9999).await;
    process.api.get("/health").await.expect(200);
    let pid = process.id().to_string();
    is_told_and_survived(&process, "disk I/O error", async || {
        let lifted = std::process::Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
        assert!(lifted.unwrap().success());
    })
    .await;
    assert!(process.stop("-TERM").await.0);
}
