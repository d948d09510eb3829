//! The commands, one file each.

mod doctor;
mod history;
mod import;
mod namespaces;
mod operators;
mod ports;
mod release;
mod run;
mod services;
mod tools;
mod ui;
mod watch;

use std::process::ExitCode;

use crate::args::{Args, Command, NamespaceCommand, ServiceCommand};
use crate::output::Voice;
use crate::{Context, Failure};

/// Runs a command. Returns the exit code.
pub(crate) async fn run(args: Args, voice: &Voice) -> Result<ExitCode, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    match &args.command {
        // These need no registry.
        Command::Completions(wanted) => return tools::completions(wanted, voice),
        Command::Man(wanted) => return tools::man(wanted, voice),
        // It also reports what keeps the others from having a context.
        Command::Doctor if voice.shows_many() => return doctor::run(&args.global, variable, voice).await,
        _ => {}
    }
    if has_many_results(&args.command) && !voice.shows_many() {
        let reason = "this command has no single result to name; use -o table or -o json";
        return Err(Failure::Usage(reason.to_owned()));
    }
    // `run` prints no result.
    if !matches!(args.command, Command::Run(_)) {
        voice.check()?;
    }
    let context = Context::new(&args.global, variable, voice)?;
    match args.command {
        Command::Run(wanted) => return run::run(&context, wanted).await,
        Command::Take(wanted) => ports::take(&context, wanted).await?,
        Command::Renew(wanted) => ports::renew(&context, wanted).await?,
        Command::Release(wanted) => release::run(&context, wanted).await?,
        Command::Show(wanted) => ports::show(&context, wanted).await?,
        Command::List(wanted) => ports::list(&context, wanted).await?,
        Command::Find(wanted) => ports::find(&context, wanted).await?,
        Command::Map(wanted) => ports::map(&context, wanted).await?,
        Command::Service(wanted) => services::run(&context, wanted.command).await?,
        Command::Namespace(wanted) => namespaces::run(&context, wanted.command).await?,
        Command::Quarantine(wanted) => operators::quarantine(&context, wanted.command).await?,
        Command::Offers(wanted) => operators::offers(&context, wanted).await?,
        Command::Import(wanted) => return import::run(&context, wanted).await,
        Command::History(wanted) => history::history(&context, wanted).await?,
        Command::Watch(wanted) => watch::watch(&context, wanted).await?,
        Command::Ui(wanted) => ui::ui(&context, wanted).await?,
        Command::Doctor | Command::Completions(_) | Command::Man(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a command has more than one result. What cannot be printed is said before anything is sent.
fn has_many_results(command: &Command) -> bool {
    match command {
        Command::List(_)
        | Command::Offers(_)
        | Command::Import(_)
        | Command::History(_)
        | Command::Watch(_)
        | Command::Ui(_)
        | Command::Doctor => true,
        Command::Release(args) => args.is_bulk(),
        Command::Service(args) => matches!(args.command, ServiceCommand::Apply { .. } | ServiceCommand::List { .. }),
        Command::Namespace(args) => matches!(args.command, NamespaceCommand::List),
        _ => false,
    }
}
