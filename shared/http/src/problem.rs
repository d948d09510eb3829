//! Converts an [`Error`] into a problem, and a problem into a response.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use portmaster_wire::{At, Fault, Members, ProblemDocument, path};
use serde_json::{Map, Value, json};

use super::Kind;
use super::outcome::About;
use portmaster_domain::{Claim, ClaimState, Expiry, Port, PortRange, ServiceId, ServiceName, StateKind};
use portmaster_registry::{Error, Occupancy, StoreError};

/// A problem document before it is written (RFC 9457). As a response it has no body yet: `observe`, the only place that
/// knows the request's id, writes it.
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

    /// The cause for the log.
    pub(super) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The port and the instance that it is about.
    pub(super) fn about(&self) -> &About {
        &self.0.about
    }

    /// The same problem, about this port or instance.
    pub(super) fn regarding(mut self, about: About) -> Self {
        self.0.about = self.0.about.or(about);
        self
    }

    /// A request with mistakes, all of them listed.
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

    /// Its mistakes, if it is a problem of that kind.
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
        let members = Members { errors: self.0.faults.clone(), more: self.0.extensions.clone() };
        let mut details: ProblemDocument = problem_details::ProblemDetails::new()
            .with_status(self.0.kind.status())
            .with_title(self.0.kind.title())
            .with_detail(&self.0.detail)
            .with_extensions(members);
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

/// Returns both values, or the mistakes of both.
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
    json!({ "port": claim.port, "name": claim.name, "state": claim.state.kind() })
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
            Error::ServiceNotFound { service } => service_not_found(&service),
            Error::ServiceExists { service } => Self::new(
                Kind::ServiceExists,
                format!(
                    "The service {service} already exists. To create or replace it, use PUT {}.",
                    path::service(&service)
                ),
            ),
            Error::InvalidRange(invalid) => Self::invalid(vec![Fault::in_body("#/start", invalid.to_string())]),
            Error::RangeOverlap { range, conflicts } => range_overlap(range, &conflicts),
            Error::RangeInUse { range, claims } => range_in_use(range, &claims),
            Error::ServiceInUse { service, offers, ports, until } => service_in_use(&service, offers, ports, until),
            Error::ServiceClosing { service } => Self::new(
                Kind::ServiceClosing,
                format!("The service {service} is being deleted or shrunk at this moment. Try again in a second."),
            )
            .retry_after(1),
            Error::PreconditionFailed => Self::new(
                Kind::PreconditionFailed,
                "If-Match does not hold: the service does not exist, or has changed since that version. Read it again, \
                 and decide whether your change still applies.",
            ),
            Error::NameTaken { service, claim, .. } => name_taken(&service, &claim),
            Error::RangeExhausted { service, occupancy } => range_exhausted(&service, occupancy),
            Error::IdempotencyKeyReused => Self::new(
                Kind::IdempotencyKeyReused,
                "This Idempotency-Key belongs to a live offer that was asked for with another body. Use another key.",
            ),
            Error::OfferNotFound { service, accepted } => offer_not_found(&service, accepted),
            Error::OfferExpired { port } => Self::new(
                Kind::OfferExpired,
                format!("The offer of port {port} expired before it was accepted. Ask for a new one."),
            )
            .regarding(About::port(port)),
            Error::OfferAccepted { port } => Self::new(
                Kind::OfferAccepted,
                format!(
                    "The offer was accepted and is now port {port}. To release it, DELETE it under the service's ports."
                ),
            )
            .regarding(About::port(port)),
            Error::PortNotFound { offered: Some(claim), .. } => offered_only(&claim).regarding(About::from(&*claim)),
            Error::PortNotFound { service, wanted, offered: None } => port_not_found(service.as_ref(), &wanted),
            Error::Store(error) => error.into(),
            other => Self::new(Kind::Internal, other.to_string()),
        }
    }
}

fn service_not_found(service: &ServiceId) -> Problem {
    let services = path::services(&service.namespace);
    let detail = format!(
        "There is no service {service}. Create it with POST {services}, or look for its name with GET {services}."
    );
    Problem::new(Kind::ServiceNotFound, detail)
}

fn range_overlap(range: PortRange, conflicts: &[(ServiceName, PortRange)]) -> Problem {
    let detail = match conflicts {
        [] => format!("The range {range} is not free. Try again, or choose another range."),
        [(name, theirs)] => format!("The range {range} overlaps that of {name} ({theirs}). Choose another range."),
        [(name, theirs), rest @ ..] => format!(
            "The range {range} overlaps that of {name} ({theirs}) and of {}. Choose another range.",
            some(rest.len(), "more service")
        ),
    };
    Problem::new(Kind::RangeOverlap, detail).with("conflicts", ranges_json(conflicts))
}

fn range_in_use(range: PortRange, claims: &[Claim]) -> Problem {
    let shown: Vec<_> = claims.iter().take(10).map(claim_json).collect();
    let offers = claims.iter().filter(|claim| claim.state.kind() == StateKind::Offered).count();
    let until = claims.iter().filter_map(Claim::expires_at).max();
    let advice = how_to_free(offers, claims.len() - offers, until, "`ports` lists them");
    let detail = format!("{} in use would lie outside {range}. {advice}", some(claims.len(), "port"));
    let problem = Problem::new(Kind::RangeInUse, detail).with("count", claims.len()).with("ports", shown);
    problem.with_some("offers_expire_by", until.map(Expiry::to_rfc3339))
}

fn service_in_use(service: &ServiceId, offers: usize, ports: usize, until: Option<Expiry>) -> Problem {
    let detail = format!(
        "The service {service} is in use: {}, {}. {}",
        some(offers, "live offer"),
        some(ports, "port"),
        how_to_free(offers, ports, until, &format!("GET {} lists them", path::ports(service)))
    );
    let problem = Problem::new(Kind::ServiceInUse, detail).with("offers", offers).with("ports", ports);
    problem.with_some("offers_expire_by", until.map(Expiry::to_rfc3339))
}

fn offer_not_found(service: &ServiceId, accepted: Option<Port>) -> Problem {
    match accepted {
        None => Problem::new(
            Kind::OfferNotFound,
            format!(
                "The service {service} has no live offer with this secret. It may have expired; ask for a new one with \
                 POST {}.",
                path::offers(service)
            ),
        ),
        Some(port) => Problem::new(
            Kind::OfferNotFound,
            format!("The offer was accepted and is now port {port}: GET {}.", path::port(service, port)),
        )
        .regarding(About::port(port)),
    }
}

fn port_not_found(service: Option<&ServiceId>, wanted: &str) -> Problem {
    let detail = match service {
        Some(service) => format!(
            "The service {service} has no allocated port {wanted}. GET {} lists those it has.",
            path::ports(service)
        ),
        None => format!("No service has port {wanted} allocated or on offer."),
    };
    Problem::new(Kind::PortNotFound, detail)
}

/// The steps that free the ports. Nobody can list the secret that a reject needs, so nobody is advised to reject
/// another's offer.
fn how_to_free(offers: usize, ports: usize, until: Option<Expiry>, ports_are_listed: &str) -> String {
    let mut advice = Vec::new();
    if ports > 0 {
        advice.push(format!("Release what is allocated; {ports_are_listed}."));
    }
    if offers > 0 {
        let until = until.map(|until| format!(" by {} at the latest", until.to_rfc3339())).unwrap_or_default();
        advice.push(format!(
            "Offers expire{until}, unless they are accepted; only their holders have the secrets to reject them earlier."
        ));
    }
    advice.push("Then try again.".to_owned());
    advice.join(" ")
}

/// The port is not allocated yet. A caller that asks for allocations gets 404; the members say why.
fn offered_only(claim: &Claim) -> Problem {
    let until = claim.expires_at().map(Expiry::to_rfc3339);
    let detail = format!(
        "Port {} is not allocated, but offered to {} of {} until {}. It becomes allocated if that offer is accepted.",
        claim.port,
        claim.name,
        claim.service,
        until.as_deref().unwrap_or("its end"),
    );
    Problem::new(Kind::PortNotFound, detail)
        .with("state", claim.state.kind().as_str())
        .with("service", claim.service.as_str())
        .with("name", claim.name.as_str())
        .with("port", claim.port.get())
        .with_some("expires_at", until)
}

fn name_taken(service: &ServiceId, claim: &Claim) -> Problem {
    let next = match claim.state {
        ClaimState::Offered { expires_at } => {
            format!("Accept or reject that offer, or wait until it expires at {}", expires_at.to_rfc3339())
        }
        _ => format!("Release it with DELETE {}", path::port(service, &claim.name)),
    };
    let detail = format!(
        "{} has port {} of {} already ({}). {next}, or use another name.",
        claim.name,
        claim.port,
        claim.service,
        claim.state.kind().as_str()
    );
    let problem = Problem::new(Kind::NameTaken, detail).regarding(About::from(claim));
    problem.with("port", claim.port.get()).with("state", claim.state.kind().as_str())
}

fn range_exhausted(service: &ServiceId, occupancy: Occupancy) -> Problem {
    let Occupancy { size, offered, allocated, foreign, seconds_to_next_expiry, remembered, .. } = occupancy;
    let next = match seconds_to_next_expiry {
        Some(seconds) => {
            format!("The first offer expires in {}.", some(usize::try_from(seconds).unwrap_or(usize::MAX), "second"))
        }
        None => "None of the ports has an expiry.".to_owned(),
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
        // In a second the registry will know whether a port was released meanwhile.
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
                "The outcome is ambiguous: the registry's table did not respond. Check whether the change was made before you retry.",
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
                "The registry cannot use its table. The operator finds the reason in the log, under this request's id.",
            ),
            StoreError::Incomplete { .. } => Self::new(
                Kind::Internal,
                "The registry sent an incomplete request to its table. Please report it with this request's id.",
            ),
            StoreError::Damaged { .. } => Self::new(
                Kind::Internal,
                "An item of the registry's table cannot be read. The operator finds its key in the log, under this request's id.",
            ),
        };
        let problem = problem.because(&error);
        if problem.kind() == Kind::Unavailable { problem.retry_after(1) } else { problem }
    }
}

/// Declares the kinds of problem that an endpoint can return, for the OpenAPI document; those that any endpoint can
/// return are added.
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
