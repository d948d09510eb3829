//! The one table of errors: kind → status, type, title, explanation. And how an [`Error`] becomes a problem.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::outcome::About;
use portmaster_domain::{Claim, ClaimState, Expiry, PortRange, ServiceName};
use portmaster_registry::StoreError;
use portmaster_registry::{Error, Occupancy};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $slug:literal $status:ident $title:literal $explanation:literal;)*) => {
        /// A kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $explanation] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in `/problems/{kind}`.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// The status of an answer with it.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The same few words for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// What it means and what to do, in a paragraph.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$kind => $explanation,)* }
            }
        }
    };
}

kinds! {
    InvalidRequest "invalid-request" BAD_REQUEST "The request is not valid"
        "A field, a parameter or a header is missing, of the wrong type, or out of bounds. `errors` names each one with what it should be. Nothing was changed; correct them all and send the request again.";
    MalformedJson "malformed-json" BAD_REQUEST "The body is not JSON"
        "The body could not be read as JSON (RFC 8259), or names a field twice. `detail` says where. Check how the body is quoted; in a shell, single quotes around it keep its double quotes.";
    CrossOrigin "cross-origin" FORBIDDEN "Web pages of this origin may not call"
        "A web page of another origin (the header `Origin`) called a registry that has no authentication. Nothing was changed. To let pages of that host call, start the registry with `--allow-host NAME`, or set PORTMASTER_ALLOW_HOST. Programs other than browsers need no `Origin`.";
    NotFound "not-found" NOT_FOUND "There is nothing at this path"
        "The path is none of the API's. Paths have no trailing slash, and nothing in them needs percent-encoding. GET /v1/openapi.json lists them all.";
    ServiceNotFound "service-not-found" NOT_FOUND "There is no such service"
        "No service has this name. Names are case-sensitive. GET /v1/services lists them; POST /v1/services or PUT /v1/services/{service} creates one.";
    OfferNotFound "offer-not-found" NOT_FOUND "There is no such offer"
        "No live offer of this service has this secret: it never existed, was rejected, was accepted (then it is a port), or expired and was cleared away. Ask for a new offer.";
    PortNotFound "port-not-found" NOT_FOUND "There is no such port"
        "The port or name has no allocation, or not in this service. An offer becomes one when it is accepted: where the port is offered, `state`, `service`, `name` and `expires_at` say to whom and until when. GET /v1/ports/{port} looks across services.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The path does not have this method"
        "The `Allow` header lists the methods that it has.";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The body did not arrive in time"
        "The registry waits for a body as long as a request may take. The connection was too slow, or `Content-Length` announced more than was sent. Nothing was changed; send the request again.";
    ServiceExists "service-exists" CONFLICT "A service of this name exists"
        "Names are unique. To make a service be so whether or not it exists, as a pipeline wants it, use PUT /v1/services/{service}.";
    RangeOverlap "range-overlap" CONFLICT "The range overlaps another service's"
        "The ranges of services never overlap. `conflicts` lists the services in the way, with their ranges; choose ports between them, or shrink them first.";
    RangeInUse "range-in-use" CONFLICT "Ports outside the new range are in use"
        "Live offers or ports of the service lie outside the range asked for. `ports` lists up to ten of them. Release what is allocated. Offers are rejected by their holders, who alone have the secrets, or expire: by `offers_expire_by` at the latest.";
    ServiceInUse "service-in-use" CONFLICT "The service is in use"
        "A service with live offers or ports is not deleted. Release its ports. Its offers are rejected by their holders, who alone have the secrets, or expire: by `offers_expire_by` at the latest, unless they are accepted before.";
    NameTaken "name-taken" CONFLICT "The name has a port already"
        "An instance has one port at a time. `port` and `state` say which. Accept or reject the offer, release the port, or use another name. To be given the same offer again when a request is repeated, send an Idempotency-Key.";
    RangeExhausted "range-exhausted" CONFLICT "Every port of the range is taken"
        "The whole range was read and has no free port; a range of more than 100 ports is read once a second at most. `Retry-After`, where present, says when the first offer expires or the range is read again. Release ports, or extend the range with PATCH /v1/services/{service}.";
    OfferAccepted "offer-accepted" CONFLICT "The offer was accepted"
        "The offer is an allocation by now and can no longer be rejected. Release it: DELETE /v1/services/{service}/ports/{port}.";
    OfferExpired "offer-expired" GONE "The offer has expired"
        "It was not accepted in time and its port may be somebody else's. Ask for a new offer, and accept it before its `expires_at`.";
    PreconditionFailed "precondition-failed" PRECONDITION_FAILED "The service has changed"
        "The service is not as `If-Match` or `If-None-Match` wants it: it is another version, or does not exist, or exists. Read it again, decide again, and send its new `ETag`.";
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "A body has at most 16 KiB.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body is not declared as JSON"
        "Send `Content-Type: application/json`, and no `Content-Encoding`: compressed bodies are not accepted. curl sends another type by default with `-d`; `--json` sends the right one.";
    MisdirectedRequest "misdirected-request" MISDIRECTED_REQUEST "The registry does not answer to this name"
        "The header `Host` names something other than this registry. On one machine it answers only to the address that it listens on, to `localhost` and loopback addresses, and to names that it was given, because a web page could make a name of its own resolve to it. Nothing was changed. To give it a name, start it with `--allow-host NAME`, or set PORTMASTER_ALLOW_HOST.";
    IdempotencyKeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request"
        "The key belongs to an offer that is still live and was asked for with another body. Use one key for one request: for example the pipeline's id and the instance's name.";
    ServiceClosing "service-closing" SERVICE_UNAVAILABLE "The service is being changed"
        "Somebody is deleting the service or shrinking its range at this moment. Try again after the seconds in `Retry-After`; if that never helps, a deletion was interrupted: repeat it, or wait for the reconciler.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The registry's table does not answer"
        "DynamoDB throttled, was out of reach, or refused until the time for the request was over. Try again after the seconds in `Retry-After`. The operator finds the reason in the log, under the request id.";
    Internal "internal" INTERNAL_SERVER_ERROR "The registry made a mistake"
        "This is a defect. Please report it with the request id.";
}

impl Kind {
    /// The problem's type (RFC 9457, section 3.1.1): a reference relative to the API's root.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.slug())
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }
}

/// Where in a request a mistake is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum At {
    /// In the body: a JSON Pointer as a URI fragment (RFC 6901, section 6).
    Pointer(String),
    /// In the query or in the path.
    Parameter(Cow<'static, str>),
    /// In a header.
    Header(&'static str),
}

/// One mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    #[serde(flatten)]
    pub(super) at: At,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn in_body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { at: At::Pointer(pointer.into()), detail: detail.into() }
    }

    pub(super) fn in_parameter(parameter: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { at: At::Parameter(parameter.into()), detail: detail.into() }
    }

    pub(super) fn in_header(header: &'static str, detail: impl Into<String>) -> Self {
        Self { at: At::Header(header), detail: detail.into() }
    }
}

/// A problem document in the making (RFC 9457). As a response it has no body yet: the one place that knows the request's
/// id, `observe`, writes it.
#[derive(Clone, Debug)]
pub struct Problem(Box<Content>);

#[derive(Clone, Debug)]
struct Content {
    kind: Kind,
    detail: String,
    faults: Vec<Fault>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log, not for the caller.
    cause: Option<String>,
    about: About,
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and what to do next.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Content {
            kind,
            detail: detail.into(),
            faults: Vec::new(),
            extensions: Map::new(),
            headers: Vec::new(),
            cause: None,
            about: About::default(),
        }))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the log is to say of it.
    pub(super) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Which port and instance it is about.
    pub(super) fn about(&self) -> &About {
        &self.0.about
    }

    /// The same, where it is about this port or instance.
    pub(super) fn regarding(mut self, about: About) -> Self {
        self.0.about = self.0.about.or(about);
        self
    }

    /// A request with mistakes in it: all of them.
    pub(super) fn invalid(faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [Fault { at, detail }] => {
                let place = match at {
                    At::Pointer(pointer) => format!("the field {pointer} of the body"),
                    At::Parameter(parameter) => format!("the parameter {parameter}"),
                    At::Header(header) => format!("the header {header}"),
                };
                format!("Correct {place}: {detail}.")
            }
            faults => format!("Correct the {} mistakes listed in `errors`.", faults.len()),
        };
        let mut problem = Self::new(Kind::InvalidRequest, detail);
        problem.0.faults = faults;
        problem
    }

    /// The mistakes, where that is what it is about.
    fn into_faults(self) -> Result<Vec<Fault>, Self> {
        if self.0.kind == Kind::InvalidRequest { Ok(self.0.faults) } else { Err(self) }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extensions.insert(name.to_owned(), value.into());
        self
    }

    fn with_some(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl ToString) -> Self {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.0.headers.push((name, value));
        }
        self
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, seconds.max(1))
    }

    fn because(mut self, cause: &dyn ToString) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// The document.
    pub(super) fn document(&self, request_id: &str) -> Vec<u8> {
        let mut extensions = self.0.extensions.clone();
        if !self.0.faults.is_empty() {
            extensions.insert("errors".to_owned(), json!(self.0.faults));
        }
        let mut details = ProblemDetails::new()
            .with_status(self.0.kind.status())
            .with_title(self.0.kind.title())
            .with_detail(&self.0.detail)
            .with_extensions(extensions);
        if let Ok(uri) = self.0.kind.type_uri().parse::<http::Uri>() {
            details = details.with_type(uri);
        }
        if let Ok(uri) = request_id.parse::<http::Uri>() {
            details = details.with_instance(uri);
        }
        serde_json::to_vec(&details).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        response.headers_mut().extend(self.0.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

/// Both, or the mistakes of both.
pub(super) fn both<A, B>(a: Result<A, Problem>, b: Result<B, Problem>) -> Result<(A, B), Problem> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => {
            let mut faults = a.into_faults()?;
            faults.extend(b.into_faults()?);
            Err(Problem::invalid(faults))
        }
        (Err(problem), Ok(_)) | (Ok(_), Err(problem)) => Err(problem),
    }
}

fn claim_json(claim: &Claim) -> Value {
    json!({ "port": claim.port, "name": claim.name, "state": claim.state })
}

fn ranges_json(conflicts: &[(ServiceName, PortRange)]) -> Value {
    conflicts.iter().map(|(name, range)| json!({ "name": name, "start": range.start(), "end": range.end() })).collect()
}

/// "1 offer", "2 offers".
fn some(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::ServiceNotFound { service } => Self::new(
                Kind::ServiceNotFound,
                format!(
                    "There is no service {service}. Create it with POST /v1/services, or look for its name with GET /v1/services."
                ),
            ),
            Error::ServiceExists { service } => Self::new(
                Kind::ServiceExists,
                format!(
                    "The service {service} exists already. To change it, or to make sure of it, use PUT /v1/services/{service}."
                ),
            ),
            Error::InvalidRange(invalid) => Self::invalid(vec![Fault::in_body("#/start", invalid.to_string())]),
            Error::RangeOverlap { range, conflicts } => {
                let detail = match conflicts.as_slice() {
                    [] => format!("The range {range} is not free. Try again, or choose another range."),
                    [(name, theirs)] => {
                        format!("The range {range} overlaps that of {name} ({theirs}). Choose another range.")
                    }
                    [(name, theirs), rest @ ..] => format!(
                        "The range {range} overlaps that of {name} ({theirs}) and of {}. Choose another range.",
                        some(rest.len(), "more service")
                    ),
                };
                Self::new(Kind::RangeOverlap, detail).with("conflicts", ranges_json(&conflicts))
            }
            Error::RangeInUse { range, claims } => {
                let shown: Vec<_> = claims.iter().take(10).map(claim_json).collect();
                let offers = claims.iter().filter(|claim| claim.state == ClaimState::Offered).count();
                let until = claims.iter().filter_map(|claim| claim.expires_at).max();
                let advice = how_to_free(offers, claims.len() - offers, until, "`ports` lists them");
                let detail = format!("{} in use would lie outside {range}. {advice}", some(claims.len(), "port"));
                let problem = Self::new(Kind::RangeInUse, detail).with("count", claims.len()).with("ports", shown);
                problem.with_some("offers_expire_by", until.map(Expiry::to_rfc3339))
            }
            Error::ServiceInUse { service, offers, ports, until } => {
                let place = format!("GET /v1/services/{service}/ports lists them");
                let detail = format!(
                    "The service {service} is in use: {}, {}. {}",
                    some(offers, "live offer"),
                    some(ports, "port"),
                    how_to_free(offers, ports, until, &place)
                );
                let problem = Self::new(Kind::ServiceInUse, detail).with("offers", offers).with("ports", ports);
                problem.with_some("offers_expire_by", until.map(Expiry::to_rfc3339))
            }
            Error::ServiceClosing { service } => Self::new(
                Kind::ServiceClosing,
                format!("The service {service} is being deleted or shrunk at this moment. Try again in a second."),
            )
            .retry_after(1),
            Error::PreconditionFailed => Self::new(
                Kind::PreconditionFailed,
                "If-Match does not hold: the service does not exist, or is another version by now. Read it again and decide again.",
            ),
            Error::NameTaken { claim } => name_taken(&claim),
            Error::RangeExhausted { service, occupancy } => range_exhausted(&service, occupancy),
            Error::IdempotencyKeyReused => Self::new(
                Kind::IdempotencyKeyReused,
                "This Idempotency-Key belongs to a live offer that was asked for with another body. Use another key.",
            ),
            Error::OfferNotFound { service, accepted: None } => Self::new(
                Kind::OfferNotFound,
                format!(
                    "The service {service} has no live offer with this secret. It may have expired; ask for a new one with POST /v1/services/{service}/offers."
                ),
            ),
            Error::OfferNotFound { service, accepted: Some(port) } => Self::new(
                Kind::OfferNotFound,
                format!("The offer was accepted and is port {port} by now: GET /v1/services/{service}/ports/{port}."),
            )
            .regarding(About { port: Some(port), name: None }),
            Error::OfferExpired { port } => Self::new(
                Kind::OfferExpired,
                format!("The offer of port {port} expired before it was accepted. Ask for a new one."),
            )
            .regarding(About { port: Some(port), name: None }),
            Error::OfferAccepted { port } => Self::new(
                Kind::OfferAccepted,
                format!(
                    "The offer was accepted and is port {port} by now. To give it up, DELETE it under the service's ports."
                ),
            )
            .regarding(About { port: Some(port), name: None }),
            Error::PortNotFound { offered: Some(claim), .. } => {
                let about = About::from(&*claim);
                offered_only(&claim).regarding(about)
            }
            Error::PortNotFound { service: Some(service), wanted, offered: None } => Self::new(
                Kind::PortNotFound,
                format!(
                    "The service {service} has no allocated port {wanted}. GET /v1/services/{service}/ports lists those it has."
                ),
            ),
            Error::PortNotFound { service: None, wanted, offered: None } => {
                Self::new(Kind::PortNotFound, format!("No service has port {wanted} allocated or on offer."))
            }
            Error::Store(error) => error.into(),
        }
    }
}

/// What has to happen before ports are free. Nobody can list the secret that a reject needs, so nobody is told to reject
/// what is not his own.
fn how_to_free(offers: usize, ports: usize, until: Option<Expiry>, ports_are_listed: &str) -> String {
    let mut advice = Vec::new();
    if ports > 0 {
        advice.push(format!("Release what is allocated; {ports_are_listed}."));
    }
    if offers > 0 {
        let until = until.map(|until| format!(" by {} at the latest", until.to_rfc3339())).unwrap_or_default();
        advice.push(format!(
            "Offers expire{until}, unless they are accepted; only their holders have the secrets to reject them before."
        ));
    }
    advice.push("Then try again.".to_owned());
    advice.join(" ")
}

/// The port is no allocation yet. To a caller that asks for allocations it is not there, as before; the rest says why.
fn offered_only(claim: &Claim) -> Problem {
    let until = claim.expires_at.map(Expiry::to_rfc3339);
    let detail = format!(
        "Port {} is not allocated, but offered to {} of {} until {}. It becomes allocated if that offer is accepted.",
        claim.port,
        claim.name,
        claim.service,
        until.as_deref().unwrap_or("its end"),
    );
    Problem::new(Kind::PortNotFound, detail)
        .with("state", claim.state.as_str())
        .with("service", claim.service.as_str())
        .with("name", claim.name.as_str())
        .with("port", claim.port.get())
        .with_some("expires_at", until)
}

fn name_taken(claim: &Claim) -> Problem {
    let next = match claim.expires_at {
        Some(expiry) => format!("Accept or reject that offer, or wait until it expires at {}", expiry.to_rfc3339()),
        None => format!("Release it with DELETE /v1/services/{}/ports/{}", claim.service, claim.name),
    };
    let detail = format!(
        "{} has port {} of {} already ({}). {next}, or use another name.",
        claim.name,
        claim.port,
        claim.service,
        claim.state.as_str()
    );
    let problem = Problem::new(Kind::NameTaken, detail).regarding(About::from(claim));
    problem.with("port", claim.port.get()).with("state", claim.state.as_str())
}

fn range_exhausted(service: &ServiceName, occupancy: Occupancy) -> Problem {
    let Occupancy { size, offered, allocated, foreign, seconds_to_next_expiry, remembered } = occupancy;
    let next = match seconds_to_next_expiry {
        Some(seconds) => {
            format!("The first offer expires in {}.", some(usize::try_from(seconds).unwrap_or(usize::MAX), "second"))
        }
        None => "None of them expires by itself.".to_owned(),
    };
    let were = if remembered { "were taken when they were last read, within the last second" } else { "are taken" };
    let detail = format!(
        "All {size} ports of {service} {were}: {offered} offered, {allocated} allocated. {next} Release ports or extend the range."
    );
    let problem = Problem::new(Kind::RangeExhausted, detail)
        .with("size", size)
        .with("offered", offered)
        .with("allocated", allocated)
        .with("other", foreign);
    match seconds_to_next_expiry {
        Some(seconds) => problem.retry_after(seconds),
        // Whether one was released meanwhile is known in a second.
        None if remembered => problem.retry_after(1),
        None => problem,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Unavailable { .. } => Self::new(
                Kind::Unavailable,
                "The registry's table did not answer in time. Nothing is known to have changed; try again in a second.",
            ),
            StoreError::Unknown { .. } => Self::new(
                Kind::Unavailable,
                "The registry's table did not say whether it did this. Look whether it was done before you try again.",
            ),
            StoreError::Disk { reason } => Self::new(
                Kind::Unavailable,
                format!(
                    "The registry cannot write to the disk that has its data ({reason}). Nothing was changed. Free some \
                     space there, then try again."
                ),
            ),
            StoreError::NoTable { .. } | StoreError::Refused { .. } => Self::new(
                Kind::Unavailable,
                "The registry cannot use its table. Its operator finds the reason in the log, under this request's id.",
            ),
            StoreError::Incomplete { .. } => Self::new(
                Kind::Internal,
                "The registry made a request to its table that lacks a part. Please report it with this request's id.",
            ),
            StoreError::Damaged { .. } => Self::new(
                Kind::Internal,
                "An item of the registry's table cannot be read. Its operator finds it in the log, under this request's id.",
            ),
        };
        let problem = problem.because(&error);
        if problem.kind() == Kind::Unavailable { problem.retry_after(1) } else { problem }
    }
}

/// Declares which kinds of problem an endpoint can answer with, for the OpenAPI document; those that any endpoint can
/// are added.
macro_rules! problems {
    ($name:ident: $($kind:ident),* $(,)?) => {
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses()
            -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>> {
                $crate::openapi::problem_responses(&[
                    $($crate::Kind::$kind,)*
                    $crate::Kind::InvalidRequest,
                    $crate::Kind::CrossOrigin,
                    $crate::Kind::PayloadTooLarge,
                    $crate::Kind::MisdirectedRequest,
                    $crate::Kind::Unavailable,
                    $crate::Kind::Internal,
                ])
            }
        }
    };
}
pub(super) use problems;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_mistakes_are_internal_and_not_for_the_caller_to_repeat() {
        for error in [
            StoreError::Incomplete { reason: "item was missing".to_owned() },
            StoreError::Damaged { key: "N#default#PORT 05000".to_owned(), reason: "no state".to_owned() },
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.kind(), problem.0.headers.len()), (Kind::Internal, 0));
        }
    }
}
