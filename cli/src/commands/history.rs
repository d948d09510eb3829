//! `history`.

use portmaster_client::domain::ServiceName;
use portmaster_client::wire::Tenure;
use portmaster_client::{Pages, Span};

use crate::args::{HistoryArgs, Subject};
use crate::{Context, Failure};

pub(super) async fn history(context: &Context<'_>, args: HistoryArgs) -> Result<(), Failure> {
    let (client, span) = (&context.client, Span { from: args.from, to: args.to });
    let tenures = match (&args.of, &args.name, args.at) {
        // A number with a name beside it is a service that is called like that.
        (Subject::Port(port), None, Some(at)) => client.port_history_at(*port, at).await?.into_iter().collect(),
        (Subject::Port(port), None, None) => some(client.port_history(*port, span), args.limit).await?,
        (of, name, at) => {
            let service = match of {
                Subject::Service(service) => service.clone(),
                Subject::Port(port) => ServiceName::try_from(port.to_string().as_str())
                    .map_err(|invalid| Failure::Usage(invalid.to_string()))?,
            };
            let name = context.name(name.as_ref())?;
            match at {
                Some(at) => client.name_history_at(&service, &name, at).await?.into_iter().collect(),
                None => some(client.name_history(&service, &name, span), args.limit).await?,
            }
        }
    };
    context.voice.show(&tenures)
}

/// Reads as many as are wanted, the newest.
async fn some(mut pages: Pages<Tenure>, limit: usize) -> Result<Vec<Tenure>, Failure> {
    let mut tenures = Vec::new();
    while let Some(page) = pages.next().await?.filter(|_| tenures.len() < limit) {
        tenures.extend(page);
    }
    tenures.truncate(limit);
    Ok(tenures)
}
