//! `portmaster run`: what the command line says, as what [`crate::run`] does.

use std::process::ExitCode;

use portmaster_client::domain::InstanceName;
use sha2::{Digest as _, Sha256};

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

/// The name of one of several ports: that of the job, and what the port is for. A job's name may be as long as a name can
/// be; then its end gives way to a hash of it.
fn of_part(name: &InstanceName, part: &str) -> Result<InstanceName, Failure> {
    // How long a name can be, and the hash with the hyphens around it.
    const NAME: usize = 64;
    const HASH: usize = 18;
    let whole = format!("{name}-{part}");
    let text = match NAME.checked_sub(part.len() + HASH) {
        Some(kept) if whole.len() > NAME => {
            let hash: String =
                Sha256::digest(name.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let kept: String = name.to_string().chars().take(kept).collect();
            format!("{}-{hash}-{part}", kept.trim_end_matches(|end: char| !end.is_ascii_alphanumeric()))
        }
        _ => whole,
    };
    InstanceName::try_from(text.as_str())
        .map_err(|invalid| Failure::Usage(format!("--ports: {part} makes the name {text}, which {invalid}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_jobs_name_can_have_parts() {
        let of = |name: &str, part: &str| of_part(&InstanceName::try_from(name).unwrap(), part);
        assert_eq!(of("job-17", "http").unwrap().as_str(), "job-17-http");
        let long = format!("{}-{}", "a".repeat(40), "b".repeat(23));
        let (http, grpc) = (of(&long, "http").unwrap(), of(&long, "grpc").unwrap());
        assert!(
            http != grpc && http.as_str().starts_with(&"a".repeat(40)) && http.as_str().ends_with("-http"),
            "{http}"
        );
        let other = of(&format!("{}-{}", "a".repeat(40), "c".repeat(23)), "http").unwrap();
        assert_ne!(http, other, "jobs that differ at the end still differ");
        for bad in ["", "-", "a b", &"x".repeat(64)] {
            assert!(of("job", bad).is_err(), "{bad:?}");
        }
    }
}
