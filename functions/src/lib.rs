//! The part that all functions share, before and around their endpoints: settings from the environment, the DynamoDB
//! client, the log, the metrics, and Lambda's runtime. A function's own `main` only names its endpoint.

mod custom_resource;
mod event;
mod metrics;
mod record;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use lambda_runtime::{Context, Error, LambdaEvent, Service as _, service_fn};
use portmaster_domain::Clock;
use portmaster_http::{Api, Origin, Routes, TIMEOUT};
use portmaster_registry::{CLEAN_UP, Call, Findings, History, Registry, Table, connect_within_lambda};
use serde_json::Value;
use serde_json::value::RawValue;

use custom_resource::CustomResource;
pub use custom_resource::Scope;
pub use event::Gateway;
use metrics::Metrics;
pub use record::record_history;
pub use settings::{Settings, SettingsError};

/// The time that a response needs after an operation's deadline, before Lambda kills the function: to clean up, and to
/// respond.
const RESERVE: Duration = CLEAN_UP.saturating_mul(2);

/// How long the first request to DynamoDB may take.
const WARM_UP: Duration = Duration::from_secs(2);

/// Serves one endpoint.
#[must_use]
pub fn serve(routes: fn() -> Routes) -> ExitCode {
    start(async move |api, settings, metrics| run(portmaster_http::one(routes(), api), settings.gateway, metrics).await)
}

/// Serves the requests that belong to no other function.
#[must_use]
pub fn serve_pages_and_the_rest() -> ExitCode {
    start(async |api, settings, metrics| {
        let gateway = Gateway { catches_all: true, ..settings.gateway };
        run(portmaster_http::pages_and_the_rest(api), gateway, metrics).await
    })
}

/// Runs the reconciler at every event, whatever its content.
#[must_use]
pub fn reconcile() -> ExitCode {
    start(async |api: Api, _, metrics: Metrics| {
        let registry = api.registry;
        let handle = |event: LambdaEvent<Value>| {
            let registry = registry.clone();
            async move {
                let call = Call::within(time_left(&event.context).unwrap_or(TIMEOUT));
                // Boxed: as part of this future and of all those around it, its type would be too deep for the
                // compiler.
                let findings = Box::pin(registry.reconcile(&call)).await?;
                findings.report();
                metrics.flush();
                Ok::<Findings, Error>(findings)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
}

/// Makes ports and services for stacks of CloudFormation and configurations of Terraform.
#[must_use]
pub fn custom_resource() -> ExitCode {
    start(async |api: Api, settings: Settings, metrics: Metrics| {
        let Settings { scope, answers_to, .. } = settings;
        let function = CustomResource::new(api.registry, scope, answers_to);
        let handle = |event: LambdaEvent<Value>| {
            let function = function.clone();
            async move {
                let left = time_left(&event.context).unwrap_or(TIMEOUT);
                let handled = Box::pin(function.handle(event.payload, &event.context, left)).await;
                metrics.flush();
                Ok::<Value, Error>(handled?)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
}

/// Connects to the table, and calls `serve`.
fn start(serve: impl AsyncFnOnce(Api, Settings, Metrics) -> Result<(), Error>) -> ExitCode {
    block_on(async move |settings: Settings| {
        let metrics = Metrics::start(settings.stack.clone());
        let client = connect_within_lambda(settings.endpoint.as_deref());
        let history = settings.history_table.clone().map(|name| History::new(Table::new(client.clone(), name)));
        let table = Table::new(client, settings.table.clone());
        let registry = Registry::new(table, Clock::System, settings.offer_seconds)
            .with_margin(settings.margin_seconds)
            .with_watch(settings.watch.clone())
            .with_history(history);
        // Opens the connection while Lambda lets the function use a whole processor. If it fails, requests will report
        // why.
        if let Err(error) = registry.ping(&Call::within(WARM_UP)).await {
            tracing::warn!(target: "portmaster::start", %error, "the table does not answer yet");
        }
        serve(Api { registry, timeout: TIMEOUT }, settings, metrics).await
    })
}

/// Reads the settings, starts the log and the runtime, and waits for `serve`. If the settings are wrong, it reports that
/// in one line and the function does not start.
fn block_on(serve: impl AsyncFnOnce(Settings) -> Result<(), Error>) -> ExitCode {
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    portmaster_http::log::start(&settings.log_level);
    // Lambda sends a function only one request at a time.
    let served = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(settings)),
        Err(error) => return refuse(&error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// Connects a router to Lambda. Events arrive as raw text: [`event`] decides which requests they are.
async fn run(router: Router, gateway: Gateway, metrics: Metrics) -> Result<(), Error> {
    let router = router.layer(from_fn(event::same_route));
    let gateway = Arc::new(gateway);
    let handle = |event: LambdaEvent<Box<RawValue>>| {
        let (mut router, gateway) = (router.clone(), Arc::clone(&gateway));
        async move {
            let mut request = event::request(event.payload.get(), &gateway);
            annotate(&mut request, &event.context);
            // Boxed, as above.
            let response = Box::pin(router.call(request)).await?;
            // Before the response, since Lambda freezes the process after it.
            metrics.flush();
            Ok::<Value, Error>(event::answer(response).await?)
        }
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// Adds Lambda's information to a request: its deadline and its ids.
fn annotate(request: &mut Request, context: &Context) {
    let origin = request.extensions_mut().get_or_insert_default::<Origin>();
    origin.invocation_id = Some(context.request_id.clone());
    origin.trace_id = context.xray_trace_id.clone();
    if let Some(left) = time_left(context) {
        request.extensions_mut().insert(Call::within(left.min(TIMEOUT)));
    }
}

/// The time that an operation may take, by Lambda's deadline.
fn time_left(context: &Context) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_millis(context.deadline).checked_sub(now)?.saturating_sub(RESERVE))
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("portmaster: {error}");
    ExitCode::FAILURE
}
