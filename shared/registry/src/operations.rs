//! The registry's operations, in the words of the domain: every rule of the protocol, and nothing of HTTP.
//!
//! Each operation takes a [`Call`](crate::Call), which bounds it in time and counts what it costs, and a namespace.

mod bulk;
mod chance;
mod error;
mod health;
mod history;
mod holder;
mod import;
mod lease;
mod lists;
mod map;
mod memory;
mod namespaces;
mod offer;
mod ports;
mod reads;
mod reconcile;
mod scene;
mod services;
mod sets;
mod usage;
mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use crate::store::By;
pub use crate::store::HistoryOf;
pub use bulk::{BulkRelease, RELEASED_AT_ONCE, Released};
pub use error::{Error, Occupancy};
pub use history::Span;
pub use holder::Rejection;
pub use import::{Import, Imported};
pub use lists::ListFilter;
pub use map::{Map, MapState, Run};
pub use offer::{Asked, Expected, Offered, Put};
pub use ports::PortOrName;
pub use reconcile::Findings;
pub use services::{Content, IfMatch, NewService, Written};
pub use sets::{NewSet, Set};
pub use watch::{InvalidWatched, Watch, Watched};

use crate::store::{History, Table};
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
    margin: u32,
    memory: Arc<Memory>,
    chance: Chance,
    full_for: Duration,
    watch: Arc<Watch>,
    /// The history, if there is one and this process may read it.
    history: Option<History>,
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

    /// By how many seconds clocks may differ, unless a setting says otherwise: everybody else waits so much longer than
    /// the holder of a lease was told.
    pub const MARGIN_SECONDS: u32 = 10;

    /// The largest margin that makes sense, in seconds: an hour.
    pub const MAX_MARGIN_SECONDS: u32 = 60 * 60;

    /// A registry over this table whose offers live for this many seconds.
    #[must_use]
    pub fn new(table: Table, clock: Clock, offer_seconds: u32) -> Self {
        Self {
            table,
            clock,
            offer_seconds,
            margin: Self::MARGIN_SECONDS,
            memory: Arc::default(),
            chance: Chance::default(),
            full_for: Self::FULL_FOR,
            watch: Arc::default(),
            history: None,
            writing: None,
        }
    }

    /// Returns the same registry with another margin, in seconds. Every process over one table must have the same: the
    /// smallest one is what counts.
    #[must_use]
    pub fn with_margin(self, margin: u32) -> Self {
        Self { margin, ..self }
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
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Earlier than the current time by the margin: a lease that was over then is over by every clock.
    pub(super) fn past(&self) -> Timestamp {
        self.now().minus_seconds(self.margin)
    }
}
