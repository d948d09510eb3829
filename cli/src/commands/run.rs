//! `portmaster run`: what the command line says, as what [`crate::run`] does.

use std::process::ExitCode;

use portmaster_client::domain::InstanceName;

use crate::args::{OnLost, RunArgs};
use crate::run::{Policy, Run, Voice, Wanted};
use crate::{Context, Failure};

/// Runs a command with its ports. Returns the command's exit code, or one of 124 to 127.
pub(super) async fn run(context: &Context<'_>, args: RunArgs) -> Result<ExitCode, Failure> {
    // Outside CI nobody has to find the name again: this process renews and releases it.
    let identity = &context.identity;
    let name = args.name.or_else(|| identity.name().cloned()).unwrap_or_else(|| identity.name_of_process());
    let names = match args.ports.as_slice() {
        [] => vec![name],
        parts => parts.iter().map(|part| of_part(&name, part)).collect::<Result<_, _>>()?,
    };
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
    let code = crate::run::run(&context.client, run, Voice { note: &note, warn: &warn }).await;
    Ok(ExitCode::from(code))
}

/// The name of one of several ports: that of the job, and what the port is for.
fn of_part(name: &InstanceName, part: &str) -> Result<InstanceName, Failure> {
    name.with_part(part).map_err(|invalid| Failure::Usage(format!("--ports: with {part}, the name {name} {invalid}")))
}
