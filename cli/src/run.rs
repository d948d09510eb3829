//! `portmaster run`: a port for as long as a command runs, whatever ends the command.
//!
//! In order: signals are received from now on; the ports are taken (`claim`) and tried (`probe`); the command is started
//! with them in its environment (`environment`, `process`); while it runs, its signals are passed on (`signals`,
//! `supervise`) and the lease is renewed (`lease`, by a `clock` that nobody sets); when it and all that it has started
//! have ended, the ports are given back; and this program exits as the command did (`exit`).
//!
//! Whatever happens to this program before the last step, the lease gives the ports back.

mod claim;
mod clock;
mod environment;
mod exit;
mod lease;
mod names;
mod probe;
mod process;
mod signals;
mod supervise;

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use portmaster_client::Client;
use portmaster_client::domain::{InstanceName, Port};

use crate::Failure;
pub use claim::Wanted;
use claim::{Claim, Taken};
pub use environment::names as variables;
pub use exit::NO_PORT;
pub use names::{InvalidPart, Names, Origin, unique};
use process::Running;
use signals::Signals;
pub use supervise::Policy;

/// What to run, and with which ports.
#[derive(Clone, Debug)]
pub struct Run {
    /// The ports.
    pub wanted: Wanted,
    /// The names of the variables of each port, from [`variables`].
    pub variables: Vec<Vec<String>>,
    /// The command: a program and its arguments. Nothing in them is replaced, and no shell sees them.
    pub command: (OsString, Vec<OsString>),
    /// How the command is ended.
    pub policy: Policy,
}

/// Where this program talks to its user: standard error, since standard output is the command's.
pub struct Voice<'a> {
    /// What is good to know.
    pub note: &'a dyn Fn(&str),
    /// What the user has to know.
    pub warn: &'a dyn Fn(&str),
    /// Why the command was not started.
    pub fail: &'a dyn Fn(&Failure),
}

/// How long it is tried whether a port is free again: the system, or Docker, may close it a moment after the command.
const CLOSING: Duration = Duration::from_millis(500);

/// Runs the command with its ports; returns what this program exits with.
pub async fn run(client: &Client, run: Run, voice: Voice<'_>) -> u8 {
    let Voice { note, warn, fail } = voice;
    // Longer is for ever, and would overflow where it is added to a time.
    let policy = Policy { grace: run.policy.grace.min(Duration::from_secs(86_400)), ..run.policy };
    let mut signals = match Signals::receive() {
        Ok(signals) => signals,
        Err(error) => {
            fail(&Failure::Other(format!("signals cannot be received here: {error}")));
            return exit::NO_PORT;
        }
    };
    let (service, probes) = (run.wanted.service.clone(), run.wanted.probe);
    let claim = Claim::new(client, run.wanted);
    let mut taking = Box::pin(claim.take(&voice));
    let taken = tokio::select! {
        taken = &mut taking => taken,
        // Nothing runs yet that might want the signal, so each of them means what it means to any program.
        arrived = signals.next() => {
            let answered = async {
                while claim.has_to_hear() {
                    tokio::time::sleep(claim::RELEASE / 100).await;
                }
            };
            tokio::select! {
                _ = &mut taking => {}
                () = answered => {}
                () = tokio::time::sleep(claim::RELEASE) => {}
            }
            release(&claim, &mut signals, true, |why| warn(&not_started(why))).await;
            return exit::of_signal(arrived.signal.as_raw());
        }
    };
    let Taken { ports, lease } = match taken {
        Ok(taken) => taken,
        Err(failure) => {
            fail(&failure);
            warn("no port, so the command was not started");
            release(&claim, &mut signals, true, |why| warn(&not_started(why))).await;
            return exit::NO_PORT;
        }
    };
    for (name, port) in &ports {
        note(&format!("port {port} of {service} for {name}"));
    }

    let (program, arguments) = run.command;
    let mut command = Command::new(&program);
    command.args(arguments);
    let numbers: Vec<_> = ports.iter().map(|(_, port)| *port).collect();
    let kept_back = environment::set(&mut command, &run.variables, &numbers);
    if !kept_back.is_empty() {
        tracing::debug!(
            variables = kept_back.join(", "),
            "kept from the command, since they are tokens of this job; another portmaster in it needs keys of its own"
        );
    }
    let has_lease = lease.is_some();
    let (code, hurried, is_over) = match Running::start(command) {
        Ok(running) => {
            let lost = async {
                match lease {
                    // By its end the command has to be gone, and what it takes to end it is known.
                    Some(lease) => lease::keep(lease, policy.longest(), || Box::pin(claim.renew()), warn).await,
                    None => std::future::pending().await,
                }
            };
            match supervise::supervise(running, &mut signals, lost, policy, warn).await {
                Ok(ended) if ended.stopped => (exit::LOST, true, true),
                Ok(ended) => (exit::of_status(ended.status), ended.hurried, ended.lost),
                Err(error) => {
                    warn(&format!("the system does not say how the command ends: {error}"));
                    (u8::MAX, true, false)
                }
            }
        }
        Err(error) => {
            let (code, why) = process::refusal(&program, &error);
            warn(&why);
            (code, false, false)
        }
    };
    // What is lost is somebody else's, who may well use it here.
    if probes && !is_over {
        leave_what_is_used(&claim, &ports, has_lease, warn).await;
    }
    let late = |why: &str| format!("the port could not be given back, and comes back when its lease is over: {why}");
    release(&claim, &mut signals, hurried, |why| warn(&late(why))).await;
    code
}

/// Says that a port may be missing for a while although nothing was started.
fn not_started(why: &str) -> String {
    format!(
        "if a port was taken all the same, it could not be given back, and comes back when its lease is over: {why}"
    )
}

/// Leaves ports to their lease that something here still uses: what the command has started and what is not in its
/// process group any more, such as a daemon, or a container. Whoever got such a port next could not use it.
async fn leave_what_is_used(claim: &Claim<'_>, ports: &[(InstanceName, Port)], has_lease: bool, warn: impl Fn(&str)) {
    let until = tokio::time::Instant::now() + CLOSING;
    for (name, port) in ports {
        let mut used = probe::in_use(port.get());
        while used.is_some() && tokio::time::Instant::now() < until {
            tokio::time::sleep(CLOSING / 10).await;
            used = probe::in_use(port.get());
        }
        if let Some(how) = used {
            let then = match has_lease {
                true => "it comes back when its lease is over".to_owned(),
                false => format!("it has no lease: give it back with `portmaster release`, as {name}"),
            };
            warn(&format!("port {port} is still in use on this host ({how}), so it is not given back; {then}"));
            claim.leave(name);
        }
    }
}

/// Gives the ports back: in two seconds after a signal, since whoever has sent it may be about to kill this program.
async fn release(claim: &Claim<'_>, signals: &mut Signals, hurried: bool, warn: impl Fn(&str)) {
    let patience = async {
        if !hurried {
            let leisure = tokio::time::timeout(claim::RELEASE_AT_LEISURE, signals.next());
            if leisure.await.is_err() {
                return claim::RELEASE_AT_LEISURE;
            }
        }
        tokio::time::sleep(claim::RELEASE).await;
        claim::RELEASE
    };
    if let Err(why) = Box::pin(claim.release(patience)).await {
        warn(&why);
    }
}
