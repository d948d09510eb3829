//! `watch` and `ui`.

use std::num::NonZeroU64;

use portmaster_client::domain::ServiceName;

use super::values;

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
