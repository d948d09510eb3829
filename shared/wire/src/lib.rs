//! The types of Portmaster's API on the wire, for the server and its clients: bodies, problems and paths.
//!
//! Each body is one type, which the server reads and a client writes, or the other way round. The crate depends on the
//! domain's types and on nothing that a client would not have: no router, and no database.

mod event;
mod health;
mod import;
mod instant;
mod kind;
mod labels;
mod map;
mod name;
mod namespace;
mod offer;
pub mod parse;
mod patch;
pub mod path;
mod port;
mod problem;
mod release;
mod reserved;
mod seconds;
mod service;
mod set;
mod tenure;
mod usage;

pub use event::{Event, EventUsage};
pub use health::Health;
pub use import::{Conflict, Import, Imported, PortInUse};
pub use kind::Kind;
pub use labels::{InvalidPrefix, NamePrefix};
pub use map::{Counts, Map, MapState, Run};
pub use namespace::{Namespace, NamespaceContent};
pub use offer::{Acceptance, ListedOffer, NewOffer, Offer, Reason, Rejection};
pub use patch::Patch;
pub use port::{FoundPort, NewPort, Port, Renewal};
pub use problem::{At, Fault, Members, ProblemDocument};
pub use release::{HeldState, Release, Released};
pub use reserved::Reserved;
pub use seconds::{HoldSeconds, LeaseSeconds, OutOfBounds, Seconds};
pub use service::{NewService, Service, ServiceContent, ServicePatch};
pub use set::{NewSet, Set};
pub use tenure::Tenure;
pub use usage::Usage;

#[cfg(test)]
mod both_ways;
