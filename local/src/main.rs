//! `portmasterd`: the registry on one machine, with one command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use portmaster_local::{Log, Options, Server};
use tokio::signal::unix::{SignalKind, signal};

/// A fifth of the server's time was spent in the system's allocator: each request passes through two HTTP servers, a
/// client and an SDK that copies a lot.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let log = match Log::start(&options.log_level) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("portmasterd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => Err(error.to_string()),
    };
    let code = match result {
        Ok(code) => code,
        Err(why) => {
            // In one line, and through the log, which does not block.
            log.say(&format!("portmasterd: {why}"));
            ExitCode::FAILURE
        }
    };
    log.finish();
    code
}

/// Serves until it is told to stop. The error is one line that says why it cannot.
async fn run(options: Options) -> Result<ExitCode, String> {
    // Before anything is started, so that no signal is missed.
    let signals = || Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let (mut interrupt, mut terminate) = signals().map_err(|error| error.to_string())?;
    let server = Server::start(options).await.map_err(|error| error.to_string())?;
    // In a thread of its own: a greeting that nobody reads must delay neither serving nor stopping.
    let greeting = format!("{}\n", server.greeting());
    std::thread::spawn(move || std::io::stdout().write_all(greeting.as_bytes()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // At once, since no request in flight can end.
        failure = server.failed() => return Err(failure.to_string()),
    }
    tokio::select! {
        stopped = server.stop() => stopped.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string()),
        // A second signal stops it at once. Everything that was acknowledged is on the disk.
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
    }
}
