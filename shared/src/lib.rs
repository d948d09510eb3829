//! The domain of Portmaster, a registry that hands out network ports and never the same one twice.
//!
//! The arrow points one way: [`http`] → [`operations`] → [`store`] → items; the [`allocator`] and the [`domain`] types
//! depend on nothing and do no I/O. The design, with its invariants and the argument for each write, is in
//! `docs/protocol.md`; what callers may rely on is in `docs/semantics.md`.

pub mod allocator;
pub mod domain;
pub mod http;
pub mod log;
pub mod metrics;
pub mod operations;
pub mod store;
