//! `quarantine` and `offers`.

use portmaster_client::Filter;

use crate::args::{OffersArgs, QuarantineCommand};
use crate::output::Said;
use crate::{Context, Failure};

pub(super) async fn quarantine(context: &Context<'_>, command: QuarantineCommand) -> Result<(), Failure> {
    let QuarantineCommand::End { service, port } = command;
    context.client.end_quarantine(&service, port).await?;
    context.voice.show(&Said {
        sentence: format!("port {port} of {} is free for anybody", context.of(&service)),
        members: serde_json::json!({ "service": service, "ended": port }),
    })
}

pub(super) async fn offers(context: &Context<'_>, args: OffersArgs) -> Result<(), Failure> {
    let offers = context.client.list_offers(&args.service, &Filter::default()).all().await?;
    context.voice.show(&offers)
}
