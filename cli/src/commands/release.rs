//! `release`.

use portmaster_client::Holder;
use portmaster_client::wire::{FoundPort, Kind, Release};
use serde::Serialize;

use crate::args::{ReleaseArgs, values};
use crate::output::{Said, Shown, Table};
use crate::{Context, Failure};

pub(super) async fn run(context: &Context<'_>, args: ReleaseArgs) -> Result<(), Failure> {
    if args.is_bulk() { many(context, args).await } else { one(context, args).await }
}

async fn one(context: &Context<'_>, args: ReleaseArgs) -> Result<(), Failure> {
    let target = context.target(args.port_or_name.as_ref())?;
    let holder = if args.any_owner { Holder::Anybody } else { Holder::Owner(context.owner.clone()) };
    let service = &args.service;
    match context.client.release(service, &target, &holder).await {
        Ok(()) => context.voice.show(&Said {
            sentence: format!("{target} of {} is released", context.of(service)),
            members: serde_json::json!({ "service": service, "released": target.to_string() }),
        }),
        Err(error) if args.if_exists && error.kind() == Some(Kind::PortNotFound) => context.voice.show(&Said {
            sentence: format!("{} has no port {target}, so nothing is released", context.of(service)),
            members: serde_json::json!({ "service": service, "released": null }),
        }),
        Err(error) => Err(error.into()),
    }
}

/// What was released, or would be.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    released: Vec<FoundPort>,
    dry_run: bool,
}

impl Shown for Outcome {
    fn table(&self) -> Table {
        let count = self.released.len();
        let then = if self.dry_run { "would be released" } else { "released" };
        let table = if count == 0 { Table::default() } else { self.released.table() };
        table.with_note(format!("{count} {then}"))
    }
}

/// Releases what passes all filters. A call has a limit, so there may be several; what was released is said even if a
/// later one fails.
async fn many(context: &Context<'_>, args: ReleaseArgs) -> Result<(), Failure> {
    let labels = values::map_of(&args.labels).try_into();
    let labels = labels.map_err(|invalid| Failure::Usage(format!("--label {invalid}")))?;
    let states: Vec<_> = args.states.into_iter().map(Into::into).collect();
    let mut wanted = Release {
        name_prefix: args.name_prefix,
        owner: (!args.any_owner).then(|| context.owner.clone()),
        labels: Some(labels).filter(|labels: &portmaster_client::domain::Labels| !labels.is_empty()),
        states: Some(states).filter(|states| !states.is_empty()),
        dry_run: args.dry_run.then_some(true),
        ..Release::default()
    };
    let mut outcome = Outcome { released: Vec::new(), dry_run: args.dry_run };
    loop {
        match context.client.release_ports(&args.service, &wanted).await {
            Ok(answer) => {
                outcome.released.extend(answer.value.released);
                match (answer.value.more, answer.value.cursor) {
                    (true, Some(cursor)) => wanted.cursor = Some(cursor),
                    _ => return context.voice.show(&outcome),
                }
            }
            Err(error) => {
                if !outcome.released.is_empty() {
                    context.voice.show(&outcome)?;
                    context.voice.warn("there may be more, but this call failed; it can be repeated");
                }
                return Err(error.into());
            }
        }
    }
}
