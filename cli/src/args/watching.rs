//! `history`, `watch` and `ui`.

use std::num::NonZeroU64;
use std::str::FromStr;

use portmaster_client::domain::{InstanceName, Port, ServiceName, Timestamp};

use super::values;

/// Shows who had a port and when, or which ports a name had; the newest first.
///
/// A time is written as in 2026-11-24T14:05:00Z or 2026-11-24T15:05:00+01:00, or as how long ago it was, as in 2h or
/// 7d.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// A port; or a service, of which NAME had ports
    #[arg(value_name = "PORT|SERVICE")]
    pub of: Subject,
    /// The name that had ports of the service; by default the job's
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub name: Option<InstanceName>,
    /// Who had it at this time
    #[arg(long, value_name = "TIME", value_parser = values::instant, conflicts_with_all = ["from", "to", "limit"])]
    pub at: Option<Timestamp>,
    /// Only what had not ended by then
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    pub from: Option<Timestamp>,
    /// Only what had begun by then
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    pub to: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
}

/// What a history is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A port.
    Port(Port),
    /// A name's, in a service.
    Service(ServiceName),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return values::port(text).map(Self::Port);
        }
        values::service(text).map(Self::Service)
    }
}

/// Shows what happens, as it happens: ports that are offered, given out and given back, leases that lapse, services
/// that change. It ends with ^C.
///
/// A registry on AWS sends no events to its callers. Then the lists are compared, every few seconds.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// Only this service
    #[arg(value_parser = values::service)]
    pub service: Option<ServiceName>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
}

/// Shows the registry in a browser: what is full, what has a port and until when, and what happens.
///
/// It serves the page on this machine alone, at an address that can be opened once, and passes on the page's calls,
/// signed like those of the other commands. It ends with ^C.
#[derive(Clone, Debug, clap::Args)]
pub struct UiArgs {
    /// Let the page release ports and end quarantines; without it, it only reads
    #[arg(long)]
    pub write: bool,
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
}
