//! The functions as processes: each real binary under a Lambda Runtime API of the test's own, with events as an HTTP API
//! sends them (payload 2.0), over the embedded DynamoDB. And what surrounds them when they are deployed: the template,
//! and the events to try them with.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "functions/endpoints.rs"]
mod endpoints;
#[path = "functions/events.rs"]
mod events;
#[path = "functions/generated.rs"]
mod generated;
#[path = "functions/hostile.rs"]
mod hostile;
#[path = "functions/observability.rs"]
mod observability;
#[path = "functions/runtime.rs"]
mod runtime;
#[path = "functions/template.rs"]
mod template;
