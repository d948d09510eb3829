//! The API as its callers see it, and nothing else: over HTTP, at a base URL. By default every test starts a registry of
//! its own; with `PORTMASTER_TEST_URL` they all run against that deployment instead, one after the other
//! (`--test-threads=1`), signed with the credentials in the environment (see `testkit/src/stage.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod errors;
mod examples;
mod history;
mod idempotency;
mod import;
mod leases;
mod lists;
mod namespaces;
mod offers;
mod ports;
mod services;
