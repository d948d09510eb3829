//! The types of Portmaster's API on the wire, for the server and its clients: bodies, problems and paths.
//!
//! Each body is one type, which the server reads and a client writes, or the other way round. The crate depends on the
//! domain's types and on nothing that a client would not have: no router, and no database.

mod health;
mod instant;
mod kind;
mod name;
mod offer;
pub mod parse;
mod patch;
pub mod path;
mod port;
mod problem;
mod service;

pub use health::Health;
pub use kind::Kind;
pub use offer::{ListedOffer, NewOffer, Offer};
pub use patch::Patch;
pub use port::{FoundPort, Port};
pub use problem::{At, Fault, Members, ProblemDocument};
pub use service::{NewService, Service, ServiceContent, ServicePatch};

#[cfg(test)]
mod both_ways;
