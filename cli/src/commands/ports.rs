//! `take`, `renew`, `show`, `list`, `find` and `map`.

use portmaster_client::wire::{NewPort, Renewal};
use portmaster_client::{Filter, Holder, Precondition};

use crate::args::{FindArgs, ListArgs, MapArgs, RenewArgs, ShowArgs, TakeArgs, values};
use crate::settings::is_in_ci;
use crate::{Context, Failure};

pub(super) async fn take(context: &Context<'_>, args: TakeArgs) -> Result<(), Failure> {
    let name = context.name(args.name.as_ref())?;
    let labels = context.labels(&args.labels)?;
    let wanted = NewPort {
        owner: Some(context.owner.clone()),
        lease_seconds: args.lease,
        port: args.port,
        labels: Some(labels).filter(|labels| !labels.is_empty()),
    };
    let port = context.client.put_port(&args.service, &name, &wanted, Precondition::None).await?;
    if !port.created() {
        context.voice.note(&format!("{name} had port {} already, and keeps it", port.port));
    }
    if port.created() && port.expires_at.is_none() && is_in_ci(|name| std::env::var(name).ok()) {
        let warning = "this port has no lease: if the job does not give it back, nobody does. Give it one with --lease \
                       2h, or its service with `portmaster service put --default-lease`";
        context.voice.warn(warning);
    }
    let shown = context.voice.show(&port.value);
    if shown.is_err() && port.created() {
        // Nobody knows of it, so nobody would give it back.
        let holder = Holder::Owner(context.owner.clone());
        let outcome = match context.client.release(&args.service, &name.clone().into(), &holder).await {
            Ok(()) => "is given back".to_owned(),
            Err(error) => format!("could not be given back: {error}"),
        };
        context.voice.warn(&format!("port {} for {name} could not be printed, and {outcome}", port.port));
    }
    shown
}

pub(super) async fn renew(context: &Context<'_>, args: RenewArgs) -> Result<(), Failure> {
    let target = context.target(args.port_or_name.as_ref())?;
    let renewal = Renewal { owner: Some(context.owner.clone()), lease_seconds: args.lease };
    let port = context.client.renew(&args.service, &target, &renewal).await?;
    context.voice.show(&port.value)
}

pub(super) async fn show(context: &Context<'_>, args: ShowArgs) -> Result<(), Failure> {
    let target = context.target(args.port_or_name.as_ref())?;
    let port = context.client.get_port(&args.service, &target).await?;
    context.voice.show(&port.value)
}

pub(super) async fn list(context: &Context<'_>, args: ListArgs) -> Result<(), Failure> {
    let labels = values::map_of(&args.labels);
    let filter = Filter {
        name_prefix: args.name_prefix,
        owner: args.mine.then(|| context.owner.clone()),
        labels: labels.try_into().map_err(|invalid| Failure::Usage(format!("--label {invalid}")))?,
    };
    let ports = context.client.list_ports(&args.service, &filter).all().await?;
    context.voice.show(&ports)
}

pub(super) async fn find(context: &Context<'_>, args: FindArgs) -> Result<(), Failure> {
    let found = context.client.find_port(args.port).await?;
    context.voice.show(&found.value)
}

pub(super) async fn map(context: &Context<'_>, args: MapArgs) -> Result<(), Failure> {
    let map = context.client.map(&args.service).await?;
    context.voice.show(&map.value)
}
