//! The protocol of `docs/protocol.md`, checked: every state of small worlds.
//!
//! A world has two or three ports, one or two names and services, a few calls in progress, and a few possible faults:
//! responses that are lost, requests that arrive late, functions that stop, clocks that differ, TTL. `stateright`
//! explores all the ways in which these can interleave, and the seven invariants must hold in every state. Then the
//! same is repeated with one condition left out, and a world must catch it: see [`Condition`].
//!
//! `cargo run -p portmaster-model --release -- --help` lists its commands; `docs/model.md` is its output.

mod check;
mod conditions;
mod history;
mod model;
mod narrate;
mod properties;
mod report;
mod steps;
mod table;
mod world;
mod worlds;
mod writes;

pub use check::{Checked, Counterexample, check, check_some};
pub use conditions::{Condition, Needed};
pub use properties::Property;
pub use report::document;
pub use world::World;
pub use worlds::{larger_worlds, worlds};
