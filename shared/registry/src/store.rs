//! Every request to DynamoDB: one table, one file per kind of item, and every condition that an invariant rests on.
//!
//! | item | pk | sk | file |
//! |---|---|---|---|
//! | Namespace | `NAMESPACES` | `<ns>` | `namespaces` |
//! | Service | `N#<ns>` | `SERVICE#<name>` | `services` |
//! | Ranges | `N#<ns>` | `RANGES` | `ranges` |
//! | Port | `N#<ns>#PORT` | `<port, 5 digits>` | `port_item`, read in `ports`, claimed in `claim`, changed in `holders` |
//! | Instance | `N#<ns>#INSTANCE#<service>` | `<name>` | `instances` |
//! | Request | `N#<ns>#REQUEST#<service>` | `<hash of the Idempotency-Key>` | `requests` |
//! | Hint | `N#<ns>#HINT#<service>` | `TAKEN` | `hint` |
//! | Usage | `N#<ns>#HINT#*` | `<service>` | `usage` |
//! | Health (on a disk) | `HEALTH` | `HEALTH` | `schema` |
//! | Checkpoint | `RECONCILER` | `CHECKPOINT` | `sweep` |
//!
//! The history is a table of its own: `tenures`. What the images of items say to it is in `images`.
//!
//! Every conditional write asks for the item as it was (`ALL_OLD`), so that a loser learns the reason without another
//! read. Every request asks for the capacity it consumed, so that the cost of an operation is counted and not
//! estimated. The conditions themselves are in `rules`, one constant each.

mod access;
mod claim;
mod condition;
mod connect;
mod hint;
mod holders;
mod images;
mod instances;
mod item;
mod namespaces;
mod port_item;
mod ports;
mod ranges;
mod requests;
mod rules;
mod schema;
mod send;
mod services;
mod sweep;
mod tenures;
mod transact;
mod usage;

use aws_sdk_dynamodb::Client;

pub(crate) use claim::{ClaimWrite, Claimed, Losses, NameRule};
pub use connect::{
    Endpoint, connect, connect_within_lambda, connector_within_lambda, credentials_within_lambda,
    endpoint_within_lambda, http_within_lambda, in_process, is_url, sdk_config,
};
pub use holders::By;
pub(crate) use holders::{Accepted, BeganBy, Lapse, Meant, Removed, Renewal, Renewed, Under, withdrawn_until};
pub(crate) use images::{TENURE, image, is_watched, tenure_of};
pub(crate) use instances::Instance;
pub(crate) use item::Key;
pub(crate) use namespaces::Deleted;
pub(crate) use port_item::Sighting;
pub(crate) use ports::{Filter, Freshness};
pub(crate) use ranges::Ranges;
pub(crate) use requests::{Replay, RequestKey, RequestWrite};
pub use send::{DISK_FAILED, StoreError};
pub(crate) use send::{backoff, wait};
pub(crate) use services::{Marked, Rewriting, Rewritten};
pub(crate) use sweep::{Checkpoint, Found, Fullness, SETTLED_AT_ONCE, SweptPort};
pub use tenures::{Behind, History, HistoryOf};
pub(crate) use transact::Reason;

/// The registry's table.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// The table with this name, reached through this client. Nothing is sent yet.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
