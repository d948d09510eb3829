//! Counts in simulated time: the tries of crowds and who of them is served, and what the reconciler costs on a large table.
//!
//! They are a program of their own, since they keep a processor busy, and the other tests have deadlines in real time.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod almost_full;
mod crowds;
mod sweeps;
mod throttled;

/// Reads of tens of thousands of items consist of small allocations: with the system's allocator, they took a quarter
/// of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
