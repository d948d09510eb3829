//! The registry seen from outside: over HTTP, and over the SDK. The tests check the numbered promises of
//! `docs/semantics.md`; each names its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod allocation;
mod bad_input;
mod bulk;
mod clocks;
mod contention;
mod cooldowns;
mod cost;
mod cost_of_history;
mod cost_of_leases;
mod deadlines;
mod events;
mod faults;
mod fuzz;
mod ground;
mod half_visible;
mod held_changes;
mod held_claims;
mod held_leases;
mod held_sweeps;
mod history;
mod leases;
mod namespaces;
mod owners;
mod paging;
mod races;
mod ranges;
mod reconciler;
mod replay;
mod sets;
mod terms;
mod usage;
