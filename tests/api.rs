//! The API as its callers see it, and nothing else: over HTTP, at a base URL. By default every test starts a registry of
//! its own; with `PORTMASTER_TEST_URL` they all run against that deployment instead, one after the other
//! (`--test-threads=1`), signed with the credentials in the environment (see `support/stage.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod support;

#[path = "api/errors.rs"]
mod errors;
#[path = "api/examples.rs"]
mod examples;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/lists.rs"]
mod lists;
#[path = "api/offers.rs"]
mod offers;
#[path = "api/ports.rs"]
mod ports;
#[path = "api/services.rs"]
mod services;
