//! The registry's operations, in the words of the domain: every rule of the protocol, and nothing of HTTP.
//!
//! Each operation takes a [`Call`](crate::Call), which bounds it in time and counts what it costs, and a namespace.

mod chance;
mod error;
mod health;
mod holder;
mod lists;
mod memory;
mod offer;
mod ports;
mod reads;
mod reconcile;
mod services;

use std::sync::Arc;
use std::time::Duration;

pub use error::{Error, Occupancy};
pub use offer::Offered;
pub use ports::PortOrName;
pub use reconcile::Findings;
pub use services::{Content, IfMatch, NewService, Written};

use crate::store::Table;
use chance::Chance;
use health::Writing;
use memory::Memory;
use portmaster_domain::{Clock, Timestamp};

/// The registry. Clones share their memory of the services.
#[derive(Clone, Debug)]
pub struct Registry {
    table: Table,
    clock: Clock,
    offer_seconds: u32,
    memory: Arc<Memory>,
    chance: Chance,
    full_for: Duration,
    /// The writes of health checks, if they make any: see [`Registry::on_a_disk`].
    writing: Option<Writing>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Listed<T, C> {
    /// In order.
    pub items: Vec<T>,
    /// The start of the next page, if there may be more.
    pub next: Option<C>,
}

impl Registry {
    /// How long an offer lives by default, in seconds.
    pub const OFFER_SECONDS: u32 = 30 * 60;

    /// How long an offer may live at most, in seconds: 30 days.
    pub const MAX_OFFER_SECONDS: u32 = 30 * 24 * 60 * 60;

    /// How long a large range that was read and found full is taken to be full without another read.
    pub const FULL_FOR: Duration = Duration::from_secs(1);

    /// A registry over this table whose offers live for this many seconds.
    #[must_use]
    pub fn new(table: Table, clock: Clock, offer_seconds: u32) -> Self {
        Self {
            table,
            clock,
            offer_seconds,
            memory: Arc::default(),
            chance: Chance::default(),
            full_for: Self::FULL_FOR,
            writing: None,
        }
    }

    /// Returns the same registry, drawing its candidates and pauses from a seed, for tests that must be repeatable.
    /// Secrets and revisions stay as unguessable as they were.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { chance: Chance::seeded(seed), ..self }
    }

    /// Returns the same registry, which takes a large range that was read and found full to be full for this long: for
    /// tests.
    #[must_use]
    pub fn with_full_for(self, full_for: Duration) -> Self {
        Self { full_for, ..self }
    }

    /// The table that holds the registry.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The current time by its clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
