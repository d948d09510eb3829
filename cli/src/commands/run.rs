//! `portmaster run`: what the command line says, as what [`crate::run`] does.

use std::process::ExitCode;

use crate::args::{OnLost, RunArgs};
use crate::run::{Names, Origin, Policy, Run, Voice, Wanted};
use crate::{Context, Failure};

/// Runs a command with its ports. Returns the command's exit code, or one of 124 to 127.
pub(super) async fn run(context: &Context<'_>, args: RunArgs) -> Result<ExitCode, Failure> {
    // Outside CI nobody has to find the name again: this process renews and releases it.
    let identity = &context.identity;
    let (name, origin) = match (args.name, identity.name()) {
        (Some(chosen), _) => (chosen, Origin::Chosen),
        (None, Some(of_job)) => (of_job.clone(), Origin::Job),
        (None, None) => (identity.name_of_process(), Origin::Unique),
    };
    let names = Names::new(name, &args.ports, origin).map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let labels = Some(context.labels(&args.labels)?).filter(|labels| !labels.is_empty());
    let mut command = args.command.into_iter();
    // The command line's definition requires one.
    let program = command.next().ok_or_else(|| Failure::Usage("there is no command to run".to_owned()))?;
    let run = Run {
        variables: crate::run::variables(&args.env, &args.ports).map_err(Failure::Usage)?,
        wanted: Wanted {
            service: args.service,
            names,
            owner: context.owner.clone(),
            lease: args.lease,
            labels,
            port: args.port,
            contiguous: args.contiguous,
            wait: args.wait,
            probe: !args.no_probe,
        },
        command: (program, command.collect()),
        policy: Policy { grace: args.grace, stop_when_lost: args.on_lost == OnLost::Stop },
    };
    let (note, warn) = (|text: &str| context.voice.note(text), |text: &str| context.voice.between(text));
    let fail = |failure: &Failure| {
        let _ = context.voice.failure(failure);
    };
    let code = crate::run::run(&context.client, run, Voice { note: &note, warn: &warn, fail: &fail }).await;
    Ok(ExitCode::from(code))
}
