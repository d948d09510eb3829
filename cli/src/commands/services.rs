//! `service`.

mod apply;

use portmaster_client::Precondition;
use portmaster_client::domain::{Description, Port, PortRange, Reserved};
use portmaster_client::wire::{Service, ServiceContent};

use crate::args::{ServiceCommand, ServiceContentArgs, values};
use crate::output::Said;
use crate::{Context, Failure};

pub(super) async fn run(context: &Context<'_>, command: ServiceCommand) -> Result<(), Failure> {
    let Context { client, voice, .. } = context;
    match command {
        ServiceCommand::Apply { file, dry_run } => apply::run(context, &file, dry_run).await,
        ServiceCommand::Put(args) => {
            let (service, content) = (args.service.clone(), content(args)?);
            voice.show(&client.put_service(&service, &content, Precondition::None).await?.value)
        }
        ServiceCommand::List { usage: false } => voice.show(&client.list_services().all().await?),
        ServiceCommand::List { usage: true } => {
            let mut services = client.list_services_and_usage().all().await?;
            // One that nobody has counted yet comes last.
            let used = |service: &Service| service.usage.as_ref().map_or(-1.0, |usage| usage.used_percent);
            services.sort_by(|a, b| used(b).total_cmp(&used(a)));
            voice.show(&services)
        }
        ServiceCommand::Show { service, usage: false } => voice.show(&client.get_service(&service).await?.value),
        ServiceCommand::Show { service, usage: true } => {
            let found = client.get_service_and_usage(&service).await?.value;
            if found.usage.is_none() {
                voice.note("nobody has counted yet how full it is; `portmaster map` shows what it is now");
            }
            voice.show(&found)
        }
        ServiceCommand::Delete { service } => {
            client.delete_service(&service, Precondition::None).await?;
            let sentence = format!("the service {} is deleted", context.of(&service));
            voice.show(&Said { sentence, members: serde_json::json!({ "deleted": service }) })
        }
    }
}

fn content(args: ServiceContentArgs) -> Result<ServiceContent, Failure> {
    let description = args.description.map(Description::try_from).transpose();
    let ranges = args.reserved.iter().map(|text| range(text)).collect::<Result<Vec<_>, _>>()?;
    let reserved = Reserved::try_from(ranges).map_err(|invalid| Failure::Usage(format!("--reserved {invalid}")))?;
    Ok(ServiceContent {
        name: None,
        description: description.map_err(|invalid| Failure::Usage(format!("--description {invalid}")))?,
        start: args.start,
        end: args.end,
        strategy: args.strategy.map(Into::into),
        lease_seconds: args.default_lease,
        max_lease_seconds: args.max_lease,
        cooldown_seconds: args.cooldown,
        quarantine_seconds: args.quarantine,
        reserved: Some(reserved.into()),
        created: None,
    })
}

/// Reads `5060` or `5070-5079`.
fn range(text: &str) -> Result<PortRange, Failure> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| -> Result<Port, Failure> {
        values::port(text).map_err(|reason| Failure::Usage(format!("--reserved {text}: {reason}")))
    };
    PortRange::new(port(start)?, port(end)?)
        .map_err(|_| Failure::Usage(format!("--reserved {text}: the first port must not be above the last")))
}
