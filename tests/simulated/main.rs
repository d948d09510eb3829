//! What is counted in simulated time: the tries of crowds, and what the reconciler costs on a large table.
//!
//! A program of its own, since it keeps a processor busy, and the other tests have deadlines in real time.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod almost_full;
mod crowds;
mod sweeps;

/// Readings of tens of thousands of items are made of small allocations: a quarter of the time went to the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
