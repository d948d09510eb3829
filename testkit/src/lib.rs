//! Shared by Portmaster's tests and benchmarks: a registry with a table of its own and a caller of it, meters, and a
//! network between a process and its table on which a test decides what happens.
//!
//! | | time | the way to the table |
//! |---|---|---|
//! | [`World`] | real; its clock can be moved | over the real wire protocol, with the faults of a [`Plan`] where a test wants them |
//! | [`Distant`] | simulated | takes time, concurrent transactions on an item conflict, and a partition may have [`Limits`] |
//! | [`Faulty`] | simulated, and reproducible by a seed | anything may happen |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a part of tests and benchmarks, which stop where something is wrong"
)]

mod between;
mod caller;
mod clock;
mod connector;
mod crowd;
mod distant;
mod faults;
mod faulty;
mod keys;
mod lambda;
mod limits;
mod message;
mod meter;
mod stage;
mod words;
mod world;

pub use between::{Between, End};
pub use caller::{Answer, Caller, http};
pub use clock::{EPOCH, Standing, clock, clock_since, millis_since};
pub use connector::Fault;
pub use crowd::{Answered, Offered, Processes, create, crowd, crowd_of, offer, put, put_set};
pub use distant::{Distant, Network, Traffic, filler};
pub use faults::Plan;
pub use faulty::{Faulty, TRIP, Trip};
pub use keys::{keys, text};
pub use lambda::{Function, INVOCATION, Lines, TRACE};
pub use limits::{Limits, Rate};
pub use message::message;
pub use meter::{Counts, Meter};
pub use stage::Stage;
pub use world::{
    Database, OTHER_DYNAMODB, SCALE, Setup, World, call, embedded_or_skip, fill, rounds, serve, service_id,
};

/// The name of every table here.
pub const TABLE: &str = "portmaster";
