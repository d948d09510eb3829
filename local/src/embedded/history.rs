//! History on one machine: what a stream of the table does on AWS, on the embedded database's own thread.
//!
//! The database's own streams are not used: they slow every write down by their length. Instead
//!
//! 1. the [`Feed`] stands around the database, on its thread. It notes the images of the items that a write is about,
//!    before and after it, and passes them on;
//! 2. the [`Recorder`](recorder) is a thread of its own with a database of its own. It makes changes of the images
//!    (`portmaster_registry::history`, the function that runs on AWS too), tells events, collects tenures, and writes
//!    them in batches: when nothing has come for a while, when there are many, and before somebody reads them. Many
//!    changes of a tenure are one write then;
//! 3. the [`Journal`] is a file beside the database, in which the feed notes each write *before* it is done, with the
//!    image before it. A process that is killed has written it all the same, and what its last writes did is on their
//!    items. Without a disk there is no journal.
//!
//! The registry's own database does nothing more for history than it did before, but to read an item that the feed does
//! not remember.

mod feed;
mod journal;
mod native;
mod recorder;

use std::time::Duration;

use portmaster_domain::Clock;

pub(super) use feed::{Expired, Feed};
pub(super) use journal::Journal;
pub(super) use recorder::{Message, Recorder};

use crate::events::Events;

/// How history is kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The registry's table, whose changes are history.
    pub table: String,
    /// For how many days a tenure is kept after its end.
    pub days: u32,
    /// The clock that says when a write was done.
    pub clock: Clock,
    /// From how many percent on a range is nearly full.
    pub nearly_full: u32,
    /// How often tenures are removed whose time is over.
    pub sweep: Duration,
    /// Where events are told.
    pub events: Events,
}

/// The name of the table of tenures.
pub const HISTORY_TABLE: &str = "portmaster-history";
