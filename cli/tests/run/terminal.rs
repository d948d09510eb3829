//! A person at a terminal.

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use pty_process::blocking::{Command, Pty, open};
use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use super::ground::Ground;
use super::job::{arguments, until_ended};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// The program at a terminal of its own, as the foreground job.
struct Session {
    terminal: Pty,
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Session {
    fn start(ground: &Ground, options: &[&str], script: &str) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_portmaster"));
        // Of what is written only the command's output appears at the terminal, so that nothing else has to be told from
        // it.
        let command = command.args(arguments("job", options)).args(["sh", "-c", script]).stderr(Stdio::null());
        Self::of(ground, command)
    }

    /// Starts a command that runs the program, sooner or later.
    fn of(ground: &Ground, command: Command) -> Self {
        let (mut terminal, inside) = open().unwrap();
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("PORTMASTER_URL", &ground.world.api.url)
            .env("HOME", "/nonexistent")
            .env("NO_COLOR", "1")
            .spawn(inside)
            .unwrap();
        let (send, lines) = mpsc::channel();
        let mut reader = std::fs::File::from(std::os::fd::AsFd::as_fd(&terminal).try_clone_to_owned().unwrap());
        std::thread::spawn(move || {
            let (mut read, mut buffer) = (String::new(), [0; 4096]);
            // A terminal ends with an error when nobody is left who could write to it.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                read.push_str(&String::from_utf8_lossy(&buffer[..count]));
                while let Some(end) = read.find('\n') {
                    let line = read.drain(..=end).collect::<String>();
                    if send.send(line.trim_end().to_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        terminal.flush().unwrap();
        Self { terminal, child, lines }
    }

    fn types(&mut self, text: &str) {
        // Once everything has ended there is nobody to type to.
        let _ = self.terminal.write_all(text.as_bytes());
    }

    /// The next line that is not empty and no echo of a control character.
    fn line(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("there is a line in time");
            let line = line.trim_start_matches("^C").trim_start_matches("^\\").trim_start_matches("^Z").to_owned();
            if !line.is_empty() {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the code, and the lines that are left.
    async fn end(mut self) -> (i32, Vec<String>) {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let status = tokio::time::timeout(PATIENCE, wait).await;
        // The terminal is closed, which ends what is left in any case.
        drop(self.terminal);
        let status = status.expect("it ends in time");
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        (code, self.lines.iter().collect())
    }
}

fn trap(name: &str, act: &str) -> String {
    format!("trap 'echo got {name}; {act}' {name}; echo ready; while :; do sleep 600 & wait; done")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_reaches_the_command() {
    let ground = Ground::new().await;
    let mut session = Session::start(&ground, &[], "echo ready; read line; test -t 0 && echo \"[$line] $PORT\"");
    assert_eq!(session.line(), "ready");
    session.types("typed\n");
    let answer = loop {
        let line = session.line();
        // The terminal echoes what is typed.
        if line != "typed" {
            break line;
        }
    };
    assert_eq!(answer, format!("[typed] {}", ground.start));
    assert_eq!(session.end().await.0, 0);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_reaches_the_command_once_and_the_command_decides() {
    let ground = Ground::new().await;
    for (key, name) in [(CTRL_C, "INT"), (CTRL_BACKSLASH, "QUIT")] {
        // A second copy would arrive while the shell waits for the line.
        let mut session = Session::start(&ground, &["--grace", "1s"], &trap(name, "read line; exit 3"));
        assert_eq!(session.line(), "ready");
        session.types(key);
        assert_eq!(session.line(), format!("got {name}"));
        // Longer than the grace: at a terminal ^C does not begin it, because for many commands ^C is not the end.
        tokio::time::sleep(Duration::from_secs(2)).await;
        session.types("go on\n");
        let (code, rest) = session.end().await;
        assert_eq!(code, 3, "{rest:?}");
        assert!(!rest.iter().any(|line| line.contains("got")), "{rest:?}");
        assert_eq!(ground.held().await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_command_that_does_not_expect_it() {
    let ground = Ground::new().await;
    for (key, code) in [(CTRL_C, 130), (CTRL_BACKSLASH, 131)] {
        let mut session = Session::start(&ground, &[], "echo ready; exec sleep 600");
        assert_eq!(session.line(), "ready");
        session.types(key);
        assert_eq!(session.end().await.0, code);
        assert_eq!(ground.held().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_at_the_terminal_kills() {
    let ground = Ground::new().await;
    let mut session = Session::start(&ground, &["--grace", "1h"], &trap("INT", ":"));
    assert_eq!(session.line(), "ready");
    session.types(CTRL_C);
    assert_eq!(session.line(), "got INT");
    // The system merges a signal with one that the program has not yet looked at, so the second may need a third.
    session.types(CTRL_C);
    while let Ok(line) = session.lines.recv_timeout(PATIENCE) {
        if line.ends_with("got INT") {
            session.types(CTRL_C);
        }
    }
    assert_eq!(session.end().await.0, 137);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_of_another_program_is_passed_on_at_a_terminal_too() {
    let ground = Ground::new().await;
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::INT, "INT"), (Signal::USR1, "USR1")] {
        let session = Session::start(&ground, &[], &trap(name, "exit 3"));
        assert_eq!(session.line(), "ready");
        session.signal(signal);
        assert_eq!(session.line(), format!("got {name}"));
        assert_eq!(session.end().await.0, 3);
        assert_eq!(ground.held().await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_at_a_terminal_is_ended_and_its_neighbours_are_not() {
    let ground = Ground::new().await;
    // A neighbour: another program of the same foreground job, as in `portmaster run … | less`.
    let script = format!(
        "sleep 600 & echo $!; {} run web other --owner tests -- sh -c '(sleep 600 & echo $!); exit 4'; echo code $?; read line",
        env!("CARGO_BIN_EXE_portmaster")
    );
    let mut session = Session::start(&ground, &[], &script);
    let (neighbour, left) = (session.line(), session.line());
    assert_eq!(session.line(), "code 4");
    until_ended(&left).await;
    assert!(std::fs::exists(format!("/proc/{neighbour}")).unwrap(), "the neighbour goes on");
    session.types("go on\n");
    assert_eq!(session.end().await.0, 0);
    // It is a child of the outer command, at whose end it is ended as well.
    until_ended(&neighbour).await;
    assert_eq!(ground.held().await, []);
}

/// The letter by which the system says what a process does, T for one that is stopped.
fn state(pid: &str) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_suspended_goes_on_in_the_foreground() {
    let ground = Ground::new().await;
    // A shell with job control, as a person has it: each command is a job of its own, and ^Z ends the shell's wait for it.
    // (The shell gives the terminal that its standard error is to the foreground job.)
    let script = format!(
        "set -m; {} run web job --owner tests -- sh -c 'echo $$ $PPID; read line; echo \"[$line]\"; exit 3' 2>/dev/null; \
         echo suspended $?; read go; fg > /dev/null; echo code $?",
        env!("CARGO_BIN_EXE_portmaster")
    );
    let mut session = Session::of(&ground, Command::new("bash").args(["-c", &script]));
    let pids = session.line();
    session.types(CTRL_Z);
    // 128 and the number of TSTP. Bash may say something before that.
    while session.line() != "suspended 148" {}
    // The shell waits for the first of them only, so the other one may be a moment later.
    for pid in pids.split(' ') {
        tokio::time::timeout(PATIENCE, async {
            while state(pid) != 'T' {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{pid} of {pids} is stopped"));
    }
    assert_eq!(ground.held().await, [("job".to_owned(), ground.start)], "nothing was given back");
    session.types("now\n");
    session.types("typed\n");
    while session.line() != "[typed]" {}
    assert_eq!(session.line(), "code 3");
    assert_eq!(session.end().await.0, 0);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_suspended_for_longer_than_its_lease_is_stopped() {
    let ground = Ground::new().await;
    let script = format!(
        "set -m; {} run web job --owner tests --lease 3s --grace 1s -- sh -c 'echo ready; sleep 600' 2>/dev/null; \
         echo suspended $?; read go; fg > /dev/null; echo code $?",
        env!("CARGO_BIN_EXE_portmaster")
    );
    let mut session = Session::of(&ground, Command::new("bash").args(["-c", &script]));
    assert_eq!(session.line(), "ready");
    session.types(CTRL_Z);
    while session.line() != "suspended 148" {}
    while !ground.held().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    session.types("now\n");
    while session.line() != "code 124" {}
    assert_eq!(session.end().await.0, 0);
}
