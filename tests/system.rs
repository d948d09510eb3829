//! The registry seen from outside: over HTTP, over the SDK, and as a process. What the tests check are the numbered
//! promises of `docs/semantics.md`; each names its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod support;

#[path = "system/browsers.rs"]
mod browsers;
#[path = "system/clocks.rs"]
mod clocks;
#[path = "system/cost.rs"]
mod cost;
#[path = "system/crowd.rs"]
mod crowd;
#[path = "system/deadlines.rs"]
mod deadlines;
#[path = "system/disk.rs"]
mod disk;
#[path = "system/errors.rs"]
mod errors;
#[path = "system/faults.rs"]
mod faults;
#[path = "system/fuzz.rs"]
mod fuzz;
#[path = "system/half_visible.rs"]
mod half_visible;
#[path = "system/held_changes.rs"]
mod held_changes;
#[path = "system/held_claims.rs"]
mod held_claims;
#[path = "system/held_sweeps.rs"]
mod held_sweeps;
#[path = "system/idempotency.rs"]
mod idempotency;
#[path = "system/lists.rs"]
mod lists;
#[path = "system/offers.rs"]
mod offers;
#[path = "system/ports.rs"]
mod ports;
#[path = "system/process.rs"]
mod process;
#[path = "system/races.rs"]
mod races;
#[path = "system/reconciler.rs"]
mod reconciler;
#[path = "system/services.rs"]
mod services;
#[path = "system/wire.rs"]
mod wire;
