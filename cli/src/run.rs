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
mod probe;
mod process;
mod signals;
mod supervise;

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use portmaster_client::Client;

pub use claim::Wanted;
use claim::{Claim, Taken};
pub use environment::names as variables;
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
}

/// Runs the command with its ports; returns what this program exits with.
pub async fn run(client: &Client, run: Run, voice: Voice<'_>) -> u8 {
    let Voice { note, warn } = voice;
    // Longer is for ever, and would overflow where it is added to a time.
    let policy = Policy { grace: run.policy.grace.min(Duration::from_secs(86_400)), ..run.policy };
    let mut signals = match Signals::receive() {
        Ok(signals) => signals,
        Err(error) => {
            warn(&format!("signals cannot be received here: {error}"));
            return exit::NO_PORT;
        }
    };
    let (service, names) = (run.wanted.service.clone(), run.wanted.names.clone());
    let claim = Claim::new(client, run.wanted);
    let taken = tokio::select! {
        taken = Box::pin(claim.take(note)) => taken,
        // Nothing runs yet that might want the signal, so each of them means what it means to any program.
        arrived = signals.next() => {
            Box::pin(claim.release(warn)).await;
            return exit::of_signal(arrived.signal.as_raw());
        }
    };
    let Taken { ports, lease } = match taken {
        Ok(taken) => taken,
        Err(why) => {
            Box::pin(claim.release(warn)).await;
            warn(&format!("no port, so the command was not started: {why}"));
            return exit::NO_PORT;
        }
    };
    for (name, port) in names.iter().zip(&ports) {
        note(&format!("port {port} of {service} for {name}"));
    }

    let (program, arguments) = run.command;
    let mut command = Command::new(&program);
    command.args(arguments);
    environment::set(&mut command, &run.variables, &ports);
    let code = match Running::start(command) {
        Ok(running) => {
            let lost = async {
                match lease {
                    // By its end the command has to be gone, and what it takes to end it is known.
                    Some(lease) => lease::keep(lease, policy.longest(), || Box::pin(claim.renew()), warn).await,
                    None => std::future::pending().await,
                }
            };
            match supervise::supervise(running, &mut signals, lost, policy, warn).await {
                Ok(ended) if ended.lost => exit::LOST,
                Ok(ended) => exit::of_status(ended.status),
                Err(error) => {
                    warn(&format!("the system does not say how the command ends: {error}"));
                    u8::MAX
                }
            }
        }
        Err(error) => {
            let (code, why) = process::refusal(&program, &error);
            warn(&why);
            code
        }
    };
    Box::pin(claim.release(warn)).await;
    code
}
