//! The registry seen from outside: over HTTP, and over the SDK. The tests check the numbered promises of
//! `docs/semantics.md`; each names its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod allocation;
mod bad_input;
mod clocks;
mod contention;
mod cost;
mod deadlines;
mod faults;
mod fuzz;
mod half_visible;
mod held_changes;
mod held_claims;
mod held_sweeps;
mod paging;
mod races;
mod ranges;
mod reconciler;
mod replay;
