//! The function `custom-resource`: ports and services that exist as long as a stack of CloudFormation, or a configuration of
//! Terraform, has them.
//!
//! | step | file |
//! |---|---|
//! | tell whose event it is | here |
//! | read it, as a request that is the same for both; write the answer | `cloudformation`, `terraform` |
//! | what a resource is called, and who owns it | `identity` |
//! | read the properties | `properties` |
//! | decide and do it | `port`, `service` |
//! | whether the settings allow it | `scope` |
//! | send the answer to CloudFormation | `respond` |
//! | what a deletion means whose resource no answer ever named | `forsaken`, `stacks` |
//!
//! Nothing is remembered between two events. What makes them safe to repeat, to lose and to undo is the registry's rule that
//! the same name and owner get the same port, and that nobody else's is released.

mod cloudformation;
mod forsaken;
mod identity;
mod outcome;
mod port;
mod properties;
mod request;
mod respond;
mod scope;
mod service;
mod stacks;
mod terraform;
mod work;

use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use lambda_runtime::Context;
use portmaster_domain::{InstanceName, Secret, ServiceId};
use portmaster_http::TIMEOUT;
use portmaster_registry::{CLEAN_UP, Call, Meter, Registry, connector_within_lambda, metrics};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use outcome::{About, Done, Failure, Outcome};
use request::{Request, Resource};
pub use scope::Scope;
use stacks::Stacks;
use work::Work;

/// How long it may take at most to send an answer. A function with less time shares it.
const ANSWERING: Duration = Duration::from_secs(8);

/// What all events have in common.
#[derive(Clone, Debug)]
pub(crate) struct CustomResource {
    registry: Registry,
    scope: Scope,
    /// What a URL for answers may begin with that is not S3's.
    also_allowed: Option<String>,
    connector: SharedHttpConnector,
    stacks: Stacks,
}

/// An error as Lambda reports it to whoever invoked the function.
#[derive(thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(String);

impl std::fmt::Debug for Refused {
    /// The form in which Lambda's runtime logs it. The line of the event has the reason, as far as it may be logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the event was refused, or its answer could not be delivered")
    }
}

impl CustomResource {
    pub(crate) fn new(registry: Registry, scope: Scope, also_allowed: Option<String>) -> Self {
        let connector = connector_within_lambda();
        let stacks = Stacks::new(connector.clone());
        Self { registry, scope, also_allowed, connector, stacks }
    }

    /// Handles one event, and logs one line. What it returns is Terraform's result; CloudFormation gets its answer by
    /// another way, and nobody reads this one.
    ///
    /// An error means for Terraform that the event failed, with this reason. For CloudFormation it means that there is no
    /// answer: Lambda then sends the event again, twice, which is harmless.
    pub(crate) async fn handle(&self, event: Value, context: &Context, left: Duration) -> Result<Value, Refused> {
        let end = Instant::now() + left;
        let shape = (event.get("ResponseURL").is_some(), event.get(terraform::KEY).is_some());
        match (shape, event.as_object()) {
            ((true, false), _) => self.cloudformation(&event, context, end).await,
            ((false, true), Some(event)) => self.terraform(event, context, left).await,
            ((true, true), _) => Err(Refused(
                "The event is ambiguous: it has both a ResponseURL, as CloudFormation sends, and tf, as Terraform sends. \
                 Nothing was done."
                    .to_owned(),
            )),
            _ => Err(Refused(
                "The event is unknown: it comes neither from CloudFormation, with a ResponseURL, nor from Terraform's \
                 aws_lambda_invocation with lifecycle_scope = \"CRUD\", with tf. Nothing was done."
                    .to_owned(),
            )),
        }
    }

    async fn cloudformation(&self, event: &Value, context: &Context, end: Instant) -> Result<Value, Refused> {
        let started = Instant::now();
        let (url, letter, request) = cloudformation::read(event).map_err(Refused)?;
        if !url.is_allowed(self.also_allowed.as_deref()) {
            return Err(Refused(
                "The event's ResponseURL is not one of S3's (https://….amazonaws.com), so nothing was done, and nothing is \
                 sent there."
                    .to_owned(),
            ));
        }
        let left = end.saturating_duration_since(started);
        let call = Call::within(left.saturating_sub(ANSWERING.min(left / 2)).min(TIMEOUT));
        let (line, outcome) = self.perform("cloudformation", request, &call).await;
        let answer = cloudformation::answer(&letter, &outcome);
        let sent = respond::send(&self.connector, &url, &answer, end).await;
        let undelivered = sent.err().map(|error| error.to_string());
        line.log(&outcome, &call.meter(), started, context, Some(&letter), undelivered.as_deref());
        match undelivered {
            None => Ok(json!({ "answered": true })),
            Some(error) => Err(Refused(format!("CloudFormation did not get its answer: {error}."))),
        }
    }

    async fn terraform(
        &self,
        event: &serde_json::Map<String, Value>,
        context: &Context,
        left: Duration,
    ) -> Result<Value, Refused> {
        let started = Instant::now();
        let call = Call::within(left.min(TIMEOUT));
        let (line, outcome) = self.perform("terraform", terraform::read(event), &call).await;
        line.log(&outcome, &call.meter(), started, context, None, None);
        terraform::answer(outcome).map_err(Refused)
    }

    /// Does what is asked for, within the time of the call. Whatever happens, there is an outcome.
    async fn perform(&self, source: &'static str, request: Result<Request, Failure>, call: &Call) -> (Line, Outcome) {
        let request = match request {
            Ok(request) => request,
            Err(failure) => {
                let line = Line { source, action: "unknown", resource: "unknown" };
                return (line, Outcome { identity: None, result: Err(failure), about: About::default() });
            }
        };
        let line = Line { source, action: request.action.word(), resource: request.resource.name() };
        // What a failure that tells nothing is about.
        let known = match request.resource {
            Resource::Port => port::identity_of(&request.wanted, &request.maker),
            Resource::Service => service::identity_of(&request.wanted, &request.maker),
        };
        let (own, task_call) = (self.clone(), call.clone());
        // In a task of its own, so that a panic is a failure like any other (where panics unwind).
        let task = tokio::spawn(async move {
            let CustomResource { registry, scope, stacks, .. } = &own;
            let work = Work { registry, stacks, scope, call: &task_call, request: &request };
            match request.resource {
                Resource::Port => port::perform(&work).await,
                Resource::Service => service::perform(&work).await,
            }
        });
        let stop = task.abort_handle();
        let patience = call.deadline().saturating_duration_since(Instant::now()) + CLEAN_UP;
        let failure = match timeout(patience, task).await {
            Ok(Ok(outcome)) => return (line, outcome),
            Ok(Err(_)) => Failure::new("internal", "The registry failed to process this event. Please report it."),
            Err(_) => {
                stop.abort();
                Failure::new(
                    "unavailable",
                    "The registry did not finish in time, so the outcome is unknown. Try again: the same resource gets the \
                     same port.",
                )
            }
        };
        (line, Outcome { identity: known, result: Err(failure), about: About::default() })
    }
}

/// The line in the log, as far as the event tells.
struct Line {
    source: &'static str,
    action: &'static str,
    resource: &'static str,
}

impl Line {
    fn log(
        &self,
        outcome: &Outcome,
        meter: &Meter,
        started: Instant,
        context: &Context,
        letter: Option<&cloudformation::Letter>,
        undelivered: Option<&str>,
    ) {
        let Outcome { result, about: About { service, name, ports }, .. } = outcome;
        count(result, meter);
        // A secret in the wrong place is still a secret, and a reason names the name.
        let is_secret = name.as_ref().is_some_and(|name| Secret::parse(name.as_str()).is_ok());
        let name = name.as_ref().map(InstanceName::as_str).filter(|_| !is_secret);
        let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        tracing::info!(
            target: "portmaster::custom_resource",
            invocation_id = context.request_id,
            trace_id = context.xray_trace_id,
            request_id = letter.map(|letter| letter.request_id.as_str()),
            logical_id = letter.map(|letter| letter.logical_id.as_str()),
            source = self.source,
            action = self.action,
            resource = self.resource,
            namespace = service.as_ref().map(|ServiceId { namespace, .. }| namespace.as_str()),
            service = service.as_ref().map(|ServiceId { name, .. }| name.as_str()),
            name,
            ports,
            succeeded = result.is_ok(),
            outcome = match result {
                Ok(Done { word, .. }) | Err(Failure { word, .. }) => word,
            },
            reason = result.as_ref().err().map(|failure| failure.reason.as_str()).filter(|_| !is_secret),
            cause = result.as_ref().err().and_then(|failure| failure.cause.as_deref()),
            undelivered,
            tries = meter.tries,
            lost_races = meter.lost_races,
            dynamodb_requests = meter.requests,
            dynamodb_retries = meter.retries,
            read_units = meter.read_units,
            write_units = meter.write_units,
            duration_ms = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        );
        if let Some(warning) = result.as_ref().ok().and_then(|done| done.warning.as_deref()) {
            tracing::warn!(target: "portmaster::custom_resource", invocation_id = context.request_id, "{warning}");
        }
    }
}

/// Adds what was given, released and refused to the metrics of the API.
fn count(result: &Result<Done, Failure>, meter: &Meter) {
    let many = |ports: usize| u64::try_from(ports).unwrap_or(u64::MAX);
    match result {
        Ok(Done { made, released, .. }) => {
            metrics::count(metrics::PUTS, many(*made));
            metrics::count(metrics::RELEASES, many(*released));
        }
        Err(Failure { word: "range-exhausted", .. }) => metrics::count(metrics::EXHAUSTIONS, 1),
        Err(_) => {}
    }
    metrics::meter(meter);
}
