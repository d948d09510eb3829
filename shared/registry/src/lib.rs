//! The registry: every rule of the protocol, over one DynamoDB table.
//!
//! [`Registry`] has the operations, and each takes a [`Call`], which bounds it in time and counts what it costs. Every
//! request to DynamoDB is in `store`, one file per kind of item; the logic of the operations is in `operations`. The
//! domain types and the choice of a port come from [`portmaster_domain`]; nothing here knows of HTTP.
//!
//! The design, with its invariants and the argument for each write, is in `docs/protocol.md`; the guarantees for
//! callers are in `docs/semantics.md`.

mod call;
pub mod history;
pub mod metrics;
mod operations;
mod store;

pub use call::{CLEAN_UP, Call, Meter};
pub use operations::*;
pub use store::{
    Behind, DISK_FAILED, Endpoint, History, StoreError, Table, connect, connect_within_lambda, connector_within_lambda,
    credentials_within_lambda, endpoint_within_lambda, http_within_lambda, in_process, is_url, sdk_config,
};
