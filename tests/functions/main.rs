//! The functions as processes: each real binary under a Lambda Runtime API of the test's own, with events as an HTTP
//! API sends them (payload 2.0), over the embedded DynamoDB; and the files around their deployment: the template, and
//! the events to try them with.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod any_path;
mod custom_resource;
mod deployment;
mod endpoints;
mod events;
mod generated;
mod hostile;
mod observability;
mod policy;
mod template;
mod tenants;
