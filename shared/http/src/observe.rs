//! Wraps every request: its id, its deadline, its problem document, and its one line in the log.

use std::time::Instant;

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{RequestExt as _, extract::FromRequestParts};
use http::request::Parts;
use uuid::Uuid;

use super::body::MAX_BYTES;
use super::headers;
use super::outcome::{self, About, Outcome};
use super::path::{self, LongPath};
use super::target::{Mount, Refused};
use super::{Api, Kind, Problem, problem};
use portmaster_domain::{Namespace, Port, Principal, Secret, ServiceName, Timestamp};
use portmaster_registry::{Call, PortOrName};
use portmaster_wire as wire;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The ids that the transport has for a request, to find it in other logs than ours. The code that calls the router may
/// put one into the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// API Gateway's id (`$context.requestId` in its access log): also ours, if the caller sent none.
    pub gateway_request_id: Option<String>,
    /// Lambda's id of the invocation, which is in Lambda's own log lines.
    pub invocation_id: Option<String>,
    /// X-Ray's id of the trace.
    pub trace_id: Option<String>,
    /// The caller, as IAM knows it: the ARN of a user or of a role's session. None on one machine.
    pub principal: Option<String>,
}

impl FromRequestParts<Api> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| Problem::new(Kind::Internal, "The request has no deadline."))
    }
}

/// The middleware. The code that calls the router may have put a [`Call`] with its own deadline into the request.
///
/// All of it runs in a task of its own, so that an operation that has begun is neither left halfway nor missing from
/// the log when its caller hangs up.
pub(super) async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    match tokio::spawn(observed(api, request, next)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::Internal, "The registry failed to process this request.").into_response(),
    }
}

async fn observed(api: Api, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
    let id = request_id(request.headers(), &origin);
    let method = request.method().clone();
    // The pattern, not the path: the path of an offer has its secret in it.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Subject { namespace, service, about: in_path } = subject_of(&mut request).await;
    // Whoever was let in by the longer paths of the namespace `default` may not be let in by the shorter ones.
    let below = namespace.as_ref().filter(|name| name.is_default()).map(wire::path::namespace);
    let refused = request.extensions_mut().remove::<Refused>();
    let mount = request.extensions_mut().remove::<Mount>();
    let call = match request.extensions().get::<Call>() {
        Some(call) => call.clone(),
        None => Call::within(api.timeout),
    };
    // From the transport alone: no header of the caller's has any part in it.
    let call = call.by(origin.principal.as_deref().and_then(Principal::new));
    request.extensions_mut().insert(call.clone());
    request.extensions_mut().insert(LongPath(below.clone()));

    let response = if let Some(Refused(problem)) = refused {
        problem.into_response()
    } else if declares_too_much(request.headers()) {
        too_large().into_response()
    } else {
        // In a task of its own, so that a panic affects only that request.
        match tokio::spawn(next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(Kind::Internal, "The registry failed to process this request.").into_response(),
        }
    };
    let (mut response, problem) = with_problem(response, &id, below.as_deref(), api.registry.now());
    if let Some(below) = &below {
        rewrite_links(response.headers_mut(), |path| problem::below(path, below));
    }
    headers::set(response.headers_mut(), REQUEST_ID, &id);

    if let Some(Mount(mount)) = mount.filter(|Mount(mount)| !mount.is_empty()) {
        rewrite_links(response.headers_mut(), |path| format!("{mount}{path}"));
    }

    let meter = call.meter();
    let outcome = response.extensions().get::<Outcome>().copied();
    let about = response.extensions().get::<About>().cloned().unwrap_or_default();
    let about = about.or(problem.as_ref().map(Problem::about).cloned().unwrap_or_default()).or(in_path);
    let kind = problem.as_ref().map(Problem::kind);
    outcome::count(outcome, problem.as_ref(), &meter);
    tracing::info!(
        target: "portmaster::request",
        request_id = id,
        gateway_request_id = origin.gateway_request_id,
        invocation_id = origin.invocation_id,
        trace_id = origin.trace_id,
        method = method.as_str(),
        route = route.as_deref().unwrap_or("(none)"),
        namespace = namespace.as_ref().map(Namespace::as_str),
        service = service.as_ref().map(ServiceName::as_str),
        name = about.loggable_name(),
        port = about.port.map(Port::get),
        principal = origin.principal,
        status = response.status().as_u16(),
        outcome = kind.map(Kind::slug).or(outcome.map(Outcome::word)).unwrap_or("ok"),
        cause = problem.as_ref().and_then(Problem::cause),
        tries = meter.tries,
        lost_races = meter.lost_races,
        dynamodb_requests = meter.requests,
        dynamodb_retries = meter.retries,
        read_units = meter.read_units,
        write_units = meter.write_units,
        // Milliseconds with three decimals.
        duration_ms = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
    );
    response
}

/// The caller's id, if it is safe wherever an id is written; otherwise the transport's; otherwise a new one.
fn request_id(headers: &HeaderMap, origin: &Origin) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let given = given.filter(plain).map(str::to_owned);
    given.or_else(|| origin.gateway_request_id.clone()).unwrap_or_else(|| Uuid::new_v4().to_string())
}

/// The subject of a path.
#[derive(Default)]
struct Subject {
    /// The namespace, if the path names one.
    namespace: Option<Namespace>,
    service: Option<ServiceName>,
    about: About,
}

async fn subject_of(request: &mut Request) -> Subject {
    let Ok(params) = request.extract_parts::<RawPathParams>().await else { return Default::default() };
    let value = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    // A secret in the wrong place of a path is still a secret.
    let not_secret = |wanted: &str| value(wanted).filter(|text| Secret::parse(text).is_err());
    let namespace = not_secret("namespace").and_then(|text| Namespace::try_from(text).ok());
    let service = not_secret("service").and_then(|text| ServiceName::try_from(text).ok());
    let port_or_name = value("port_or_name").or_else(|| value("port")).map(path::port_or_name);
    let about = match port_or_name {
        Some(Ok(PortOrName::Port(port))) => About { port: Some(port), name: None },
        Some(Ok(PortOrName::Name(name))) if value("port").is_none() => About { port: None, name: Some(name) },
        // An offer's secret begins with its port, which is no secret: the lists show it.
        None => About { port: value("secret").and_then(|text| Secret::parse(text).ok()?.port()), name: None },
        _ => About::default(),
    };
    Subject { namespace, service, about }
}

/// Rewrites the links in these headers, which are written as the API's own paths.
fn rewrite_links(headers: &mut HeaderMap, rewrite: impl Fn(&str) -> String) {
    for (name, before) in [(header::LOCATION, ""), (header::LINK, "<")] {
        let Some(value) = headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let Some(path) = value.strip_prefix(before).filter(|path| path.starts_with('/')) else { continue };
        let rewritten = format!("{before}{}", rewrite(path));
        headers::set(headers, name, &rewritten);
    }
}

fn declares_too_much(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > MAX_BYTES as u64)
}

pub(super) fn too_large() -> Problem {
    Problem::new(Kind::PayloadTooLarge, format!("A body has at most {MAX_BYTES} bytes. Send a smaller one."))
}

/// Writes the body of a problem. An error from elsewhere, without a problem, gets one too.
fn with_problem(response: Response, id: &str, below: Option<&str>, now: Timestamp) -> (Response, Option<Problem>) {
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if status.is_client_error() => Problem::new(Kind::InvalidRequest, "The request is not valid."),
        None if status.is_server_error() => {
            Problem::new(Kind::Internal, "The registry failed to process this request.")
        }
        None => return (response, None),
    };
    let problem = match below {
        Some(below) => problem.below(below),
        None => problem,
    };
    let (mut parts, _) = response.into_parts();
    parts.status = problem.kind().status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.seconds_to_retry(now) {
        parts.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    debug_assert!(parts.status != StatusCode::OK, "a problem is no success");
    (Response::from_parts(parts, problem.document(id).into()), Some(problem))
}
