//! The local server as a process: its command line, its log and its data, and hostile traffic on its socket. It stands
//! apart from `system` since cargo builds the binary for tests of its own package only.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod browsers;
mod disk;
mod history;
mod process;
mod restarts;
mod wire;
