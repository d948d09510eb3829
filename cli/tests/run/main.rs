//! `portmaster run` as its user sees it: the program as a process, against a registry, in each way to start it and in
//! each way to end.
//!
//! Nothing here depends on how fast the machine is: tests wait for what happens, and give up after [`PATIENCE`].

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod crowd;
mod ends;
mod environment;
mod forks;
mod ground;
mod hosts;
mod job;
mod lossy;
mod names;
mod outages;
mod pipelines;
mod signals;
mod terminal;
mod waits;

use std::time::Duration;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(120);
