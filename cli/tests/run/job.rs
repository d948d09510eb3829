//! A job: `portmaster run` as a process.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::PATIENCE;

/// A program that has started, without a terminal, as in CI: in a session of its own.
pub(crate) struct Job {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    /// What was read of standard error.
    said: Vec<String>,
}

/// How a program has ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: i32,
    /// What is left of standard output.
    pub(crate) out: String,
    /// All of standard error.
    pub(crate) err: String,
}

/// The program's arguments up to the command.
pub(crate) fn arguments(name: &str, options: &[&str]) -> Vec<String> {
    let fixed = ["run", "web", name, "--owner", "tests"];
    fixed.iter().chain(options).chain(&["--"]).map(|text| (*text).to_owned()).collect()
}

impl Job {
    pub(crate) fn new(url: &str, name: &str, options: &[&str], command: &[impl AsRef<OsStr>]) -> Self {
        let mut job = Command::new("setsid");
        job.arg(env!("CARGO_BIN_EXE_portmaster")).args(arguments(name, options)).args(command);
        Self::start(job, url)
    }

    /// Starts a command that runs the program, sooner or later.
    pub(crate) fn start(command: Command, url: &str) -> Self {
        Self::start_in(command, url, &[])
    }

    /// The same with these variables.
    pub(crate) fn start_in(mut command: Command, url: &str, variables: &[(&str, &str)]) -> Self {
        alone(&mut command, url);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, stdin, stdout, stderr, said: Vec::new() }
    }

    /// The next line of standard output.
    pub(crate) async fn line(&mut self) -> String {
        match self.next_line().await {
            Some(line) => line,
            None => {
                let mut rest = Vec::new();
                while let Ok(Ok(Some(line))) = tokio::time::timeout(PATIENCE, self.stderr.next_line()).await {
                    rest.push(line);
                }
                panic!("there is another line of output: {:?} {rest:?}", self.said)
            }
        }
    }

    /// The next line of standard output, unless it has ended.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.stdout.next_line()).await.expect("there is a line in time").unwrap()
    }

    /// Waits for a line of standard error that contains this.
    pub(crate) async fn says(&mut self, text: &str) {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.stderr.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("it says {text:?} in time, after {:?}", self.said)).unwrap();
            let line = line.unwrap_or_else(|| panic!("it says {text:?}, after {:?}", self.said));
            let found = line.contains(text);
            self.said.push(line);
            if found {
                return;
            }
        }
    }

    /// Writes to standard input.
    pub(crate) async fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Closes standard input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap()
    }

    /// Closes standard input and waits for the end.
    pub(crate) async fn end(mut self) -> End {
        self.close();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it ends in time, after {:?}", self.said)).unwrap();
        // The pipes are at their end then: nothing that was started is left to hold them.
        let (mut out, mut err) = (String::new(), String::new());
        let read = async {
            self.stdout.into_inner().read_to_string(&mut out).await.unwrap();
            self.stderr.into_inner().read_to_string(&mut err).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, read).await.expect("nobody holds the pipes");
        let said: String = self.said.iter().map(|line| format!("{line}\n")).collect();
        End { code: status.code().unwrap_or(-1), out, err: said + &err }
    }

    /// Waits for the end of the program alone: what it started may be running.
    pub(crate) async fn wait(&mut self) {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap();
    }
}

/// Keeps this machine's and this job's settings out of the program.
fn alone(command: &mut Command, url: &str) {
    command.env_clear().env("PORTMASTER_URL", url).env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", "/nonexistent").env("CI", "true").env("NO_COLOR", "1");
}

/// Waits until a process has ended, whoever collects it.
pub(crate) async fn until_ended(pid: &str) {
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(!stat.rsplit_once(") ")?.1.starts_with('Z'))
    };
    let wait = async {
        while runs() == Some(true) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the process ends in time");
}
