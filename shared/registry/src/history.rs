//! What the table's own changes tell: who had a port and when, and what is worth an event.
//!
//! Nothing here is on the path of a call. The part that sees the table change (a stream on AWS, the database's own thread
//! on one machine) passes on the images of an item before and after a write. [`Image`] is what an image says, without
//! its secret; [`changes`] is the pure function from two of them to what has changed; [`History`] keeps the tenures, in
//! a table of their own. No decision of the registry ever reads it.
//!
//! Either image of a Port item has every fact of its tenure, so a change is a whole record and not a difference. It is
//! written if there is none, or one with a smaller sequence number: a change that arrives twice, or late, does no harm,
//! and changes of different ports may arrive in any order. `docs/history.md` has the table of what the images say,
//! operation by operation.

mod changes;
mod event;
mod image;

pub use crate::store::History;
pub use aws_sdk_dynamodb::types::AttributeValue;
pub(crate) use changes::over_by_itself;
pub use changes::{Changes, Moment, Sequence, changes};
pub use event::{Event, EventKind, Subject};
pub use image::{Attributes, Image};
