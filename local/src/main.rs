//! `portmaster`: the registry on one machine, with one command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use portmaster::{Options, Server};
use tokio::signal::unix::{SignalKind, signal};

/// A fifth of the server's time went into the system's allocator: each request passes through two HTTP servers, a client
/// and an SDK that copies a lot.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    portmaster_shared::log::start(&options.log_level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    runtime.block_on(run(options))
}

async fn run(options: Options) -> ExitCode {
    // Before anything is started, so that no signal is missed.
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => return refuse(&error),
    };
    let server = match Server::start(options).await {
        Ok(server) => server,
        Err(error) => return refuse(&error),
    };
    // If nobody is there to read it, that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{}", server.greeting());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // At once, and no request ends: none can.
        failure = server.failed() => return refuse(&failure),
    }
    tokio::select! {
        stopped = server.stop() => match stopped {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error),
        },
        // Asked a second time: at once. What was acknowledged is on the disk.
        _ = interrupt.recv() => ExitCode::FAILURE,
        _ = terminate.recv() => ExitCode::FAILURE,
    }
}

/// Says in one line why there is no registry.
fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("portmaster: {error}");
    ExitCode::FAILURE
}
