//! The command line `portmaster`: a port for a command, a job or a pipeline, in one line.
//!
//! [`args`] has what can be written on the command line, [`settings`] what variables and files add to it, and
//! [`identity`] what the environment says about the job that runs. From the three a [`Context`] is made, with which a
//! command runs (`commands/`, one file each); [`output`] prints what it returns. Standard output is for results, and
//! standard error for everything else.

pub mod args;
mod commands;
mod context;
mod failure;
pub mod identity;
mod log;
pub mod output;
pub mod run;
pub mod settings;
pub mod ui;

use std::process::ExitCode;

pub use self::args::Args;
pub use self::context::Context;
pub use self::failure::Failure;
use self::output::Voice;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let words: Vec<_> = std::env::args_os().collect();
    let command = args::command(variable);
    // Whatever keeps `run` from starting its command has one exit code, which is not one of the command's own.
    let is_run = args::mistakes::is_run(&command, &words);
    let code = |code: ExitCode| if is_run { ExitCode::from(run::NO_PORT) } else { code };
    let early = |reason: String| code(Voice::plain(is_run).failure(&Failure::Usage(reason)));

    let (settings, warnings) = match settings::Settings::load(variable) {
        Ok(loaded) => loaded,
        Err(invalid) => return early(invalid.to_string()),
    };
    let command = match settings.apply(command) {
        Ok(command) => command,
        Err(invalid) => return early(invalid.to_string()),
    };
    // Mistakes in the command line, help and the version end here; clap's exit codes are 2 and 0.
    let parsed = command.clone().try_get_matches_from(&words);
    let args = match parsed.and_then(|matches| Args::settled(&matches)) {
        Ok(args) => args,
        Err(mistake) => {
            if let Some(reason) = args::mistakes::of_variable(&mistake, &words, variable) {
                return early(reason);
            }
            let mistake = args::mistakes::explained(mistake, &command, &words);
            // Whoever reads may have gone.
            let _ = mistake.print();
            return if mistake.use_stderr() { code(ExitCode::from(2)) } else { ExitCode::SUCCESS };
        }
    };
    let voice = Voice::new(&args.global, is_run);
    for warning in warnings {
        voice.warn(&warning);
    }
    log::start(&args.global, is_run);
    // One thread is enough for one call after another, and is there sooner.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(commands::run(args, &voice));
            // A host name that the system is still looking up must not keep a pipeline waiting.
            runtime.shutdown_background();
            outcome
        }
        Err(reason) => Err(Failure::Other(format!("no runtime: {reason}"))),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => code(voice.failure(&failure)),
    }
}
