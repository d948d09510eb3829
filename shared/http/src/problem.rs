//! Converts an [`Error`] into a problem, and a problem into a response.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use portmaster_wire::{At, Fault, Members, ProblemDocument, path};
use serde_json::{Map, Value, json};

use super::Kind;
use super::outcome::About;
use portmaster_domain::{
    Claim, ClaimState, Expiry, InstanceName, Namespace, Owner, Port, PortRange, ServiceId, ServiceName, StateKind,
    Timestamp,
};
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
    /// When it is worth another try, if that is an instant: `observe` knows how far away it is.
    retry_at: Option<Expiry>,
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
            retry_at: None,
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
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// What happened, and what to do next.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
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
                    At::Pointer(pointer) if pointer.is_empty() || pointer == "#" => "the body".to_owned(),
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

    /// The same problem for a caller that used these longer paths of the namespace `default`.
    pub(super) fn below(mut self, namespace: &str) -> Self {
        self.0.detail = below(&self.0.detail, namespace);
        self
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

    fn retry_at(mut self, instant: Option<Expiry>) -> Self {
        self.0.retry_at = instant;
        self
    }

    /// In how many seconds it is worth another try, if it has not said so already.
    pub(super) fn seconds_to_retry(&self, now: Timestamp) -> Option<u64> {
        self.0.retry_at.map(|instant| instant.seconds_left(now).max(1))
    }

    /// Whether it would not have come to this without a cool-down or a quarantine.
    pub(super) fn is_held_back(&self) -> bool {
        let some = |name: &str| self.0.extensions.get(name).and_then(Value::as_u64).is_some_and(|count| count > 0);
        self.0.kind == Kind::RangeExhausted && (some("cooling") || some("quarantined"))
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

/// Paths of the namespace `default` as those below this path.
pub(super) fn below(text: &str, namespace: &str) -> String {
    text.replace("/v1/services", &format!("{namespace}/services")).replace("/v1/ports", &format!("{namespace}/ports"))
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
            Error::NamespaceNotFound { namespace } => namespace_not_found(&namespace),
            Error::NamespaceInUse { namespace, services, more } => namespace_in_use(&namespace, &services, more),
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
            Error::NameTaken { service, claim, free_at } => name_taken(&service, &claim, free_at),
            Error::PortTaken { service, port, claim } => port_taken(&service, port, claim.as_deref()),
            Error::PortNotInRange { service, port, range } => port_not_in_range(&service, port, range),
            Error::HasPort { service, claim } => has_port(&service, &claim),
            Error::HasNoPort { service, name } => has_no_port(&service, &name),
            Error::NotTheOwner { service, claim } => not_the_owner(&service, &claim),
            Error::LeaseExpired { service, port, name } => lease_expired(&service, port, &name),
            Error::NotHeld { service, port, claim, free_at } => not_held(&service, port, claim.as_deref(), free_at),
            Error::RangeExhausted { service, occupancy } => range_exhausted(&service, *occupancy),
            Error::SetDoesNotFit { service, wanted, contiguous, occupancy } => {
                set_does_not_fit(&service, wanted, contiguous, *occupancy)
            }
            Error::SetIsScattered { service, claims } => set_is_scattered(&service, &claims),
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
            Error::PortNotFound { offered: Some(claim), .. } => not_allocated(&claim).regarding(About::from(&*claim)),
            Error::PortNotFound { service, wanted, offered: None } => port_not_found(service.as_ref(), &wanted),
            Error::HistoryOff => Self::new(
                Kind::HistoryOff,
                "This registry keeps no history. To keep one, set the deployment's parameter HistoryDays to at least 1, or \
                 start portmasterd with its own database and --history-days of at least 1.",
            ),
            Error::Store(error) => error.into(),
        }
    }
}

fn namespace_not_found(namespace: &Namespace) -> Problem {
    let detail = format!(
        "There is no namespace {namespace}. Create it with PUT {}, or look for its name with GET {}.",
        path::namespace(namespace),
        path::namespaces()
    );
    Problem::new(Kind::NamespaceNotFound, detail)
}

fn namespace_in_use(namespace: &Namespace, services: &[ServiceName], more: bool) -> Problem {
    let names: Vec<_> = services.iter().map(ServiceName::as_str).collect();
    let detail = match names.as_slice() {
        [] if namespace.is_default() => format!(
            "The namespace {namespace} always exists, and cannot be deleted. Delete the services in it instead."
        ),
        [] => format!("A service of the namespace {namespace} is being created or deleted at this moment. Try again."),
        [first, ..] => format!(
            "The namespace {namespace} has services: {}{}. Delete them first, as in DELETE {}/{first}.",
            names.join(", "),
            if more { " and others" } else { "" },
            path::services(namespace)
        ),
    };
    let is_passing = names.is_empty() && !namespace.is_default();
    let problem = Problem::new(Kind::NamespaceInUse, detail).with("services", names).with("more", more);
    if is_passing { problem.retry_after(1) } else { problem }
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
    let until =
        claims.iter().filter(|claim| claim.state.kind() == StateKind::Offered).filter_map(Claim::expires_at).max();
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
        None => {
            format!("No service has port {wanted} allocated or on offer. To see what is, list the ports of a service.")
        }
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

/// What has a port or had it last, as members of a problem.
fn with_claim(problem: Problem, claim: &Claim) -> Problem {
    let problem = problem
        .with("state", claim.state.kind().as_str())
        .with("service", claim.service.as_str())
        .with("name", claim.name.as_str())
        .with("port", claim.port.get());
    problem.with_some("owner", claim.owner.as_ref().map(ToString::to_string))
}

/// The port is not allocated. A caller that asks for allocations gets 404; the members say what it is instead.
fn not_allocated(claim: &Claim) -> Problem {
    let Claim { port, name, service, .. } = claim;
    let until = claim.expires_at().map(Expiry::to_rfc3339);
    let shown = until.as_deref().unwrap_or("its end");
    let detail = match claim.state.kind() {
        StateKind::Offered | StateKind::Allocated => format!(
            "Port {port} is not allocated, but offered to {name} of {service} until {shown}. It becomes allocated if that \
             offer is accepted."
        ),
        StateKind::Cooling => format!(
            "Port {port} is not allocated any more: {name} of {service} had it, and until {shown} only the same name may \
             have it again, by asking with PUT. Anybody else waits, or asks for another port."
        ),
        StateKind::Quarantined => format!(
            "Port {port} is not allocated: it was found in use on the host, and nobody may have it until {shown}. To end the \
             quarantine earlier, DELETE its quarantine below its service."
        ),
    };
    with_claim(Problem::new(Kind::PortNotFound, detail), claim).with_some("expires_at", until)
}

/// "held by owner x", or without one.
fn by_owner(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "without an owner".to_owned(), |owner| format!("by the owner {owner}"))
}

/// "as the owner x", or without one.
fn as_owner(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "without an owner".to_owned(), |owner| format!("as the owner {owner}"))
}

fn name_taken(service: &ServiceId, claim: &Claim, free_at: Option<Expiry>) -> Problem {
    let Claim { name, port, owner, .. } = claim;
    let leased = claim.lease().map(|lease| lease.until.to_rfc3339());
    let path = path::port(service, name);
    let detail = match (claim.state, free_at) {
        (ClaimState::Offered { expires_at }, _) => format!(
            "{name} has port {port} of {service} already (offered). Accept or reject that offer, wait until it expires at \
             {}, or use another name.",
            expires_at.to_rfc3339()
        ),
        (_, Some(free_at)) => format!(
            "{name} had port {port} of {service}, and its lease is over. Because clocks differ, others may have the name \
             only from {} on. Try again then, or use another name.",
            free_at.to_rfc3339()
        ),
        _ => {
            let (keeper, query) = match owner {
                Some(owner) => (format!("with the owner {owner}"), "?owner=*"),
                None => ("without an owner".to_owned(), ""),
            };
            let wait = leased.as_ref().map(|until| format!(", or wait for the end of its lease at {until}"));
            format!(
                "{name} has port {port} of {service} already ({}). If the port is yours, PUT {path} {keeper} keeps it. \
                 Otherwise use another name{}. DELETE {path}{query} releases it, whoever holds it.",
                claim.state.kind().as_str(),
                wait.unwrap_or_default()
            )
        }
    };
    let problem = Problem::new(Kind::NameTaken, detail).regarding(About::from(claim));
    problem
        .with("port", port.get())
        .with("state", claim.state.kind().as_str())
        .with_some("owner", owner.as_ref().map(ToString::to_string))
        .with_some("expires_at", leased)
        .retry_at(free_at)
}

/// The specific port that was asked for is taken.
fn port_taken(service: &ServiceId, port: Port, claim: Option<&Claim>) -> Problem {
    let next = "Ask for another port, or for any by leaving port out.";
    let Some(claim) = claim else {
        let detail = format!("Port {port} of {service} is taken, and by what cannot be read. {next}");
        return Problem::new(Kind::PortTaken, detail).with("port", port.get()).regarding(About::port(port));
    };
    let Claim { name, service: theirs, owner, .. } = claim;
    let until = claim.expires_at().map(Expiry::to_rfc3339);
    let shown = until.as_deref().unwrap_or("it is released");
    let detail = match claim.state {
        ClaimState::Offered { .. } => format!("Port {port} is offered to {name} of {theirs} until {shown}. {next}"),
        ClaimState::Allocated { lease: None, .. } => {
            format!("Port {port} is held by {name} of {theirs} {} until {shown}. {next}", by_owner(owner.as_ref()))
        }
        ClaimState::Allocated { lease: Some(_), .. } => format!(
            "Port {port} is held by {name} of {theirs} {}, and others may have it from {shown} on unless its lease is \
             renewed. {next}",
            by_owner(owner.as_ref())
        ),
        ClaimState::Cooling { .. } => format!(
            "Port {port} is cooling until {shown}: {name} of {theirs} had it, and nobody else may have it before. {next} \
             An operator ends the cool-down with DELETE {}.",
            path::quarantine(service, port)
        ),
        ClaimState::Quarantined { .. } => format!(
            "Port {port} is in quarantine until {shown}: it was found in use on the host. {next} An operator ends the \
             quarantine with DELETE {}.",
            path::quarantine(service, port)
        ),
    };
    let by_itself = matches!(claim.state, ClaimState::Cooling { .. } | ClaimState::Quarantined { .. });
    with_claim(Problem::new(Kind::PortTaken, detail), claim)
        .with_some("until", until)
        .retry_at(claim.expires_at().filter(|_| by_itself))
        .regarding(About::port(port))
}

fn port_not_in_range(service: &ServiceId, port: Port, range: PortRange) -> Problem {
    let detail = format!(
        "Port {port} is not one of {service}'s, which has {range}. Name one of those, or extend the range with PATCH {}.",
        path::service(service)
    );
    let problem = Problem::new(Kind::PortNotInRange, detail).regarding(About::port(port));
    problem.with("port", port.get()).with("start", range.start().get()).with("end", range.end().get())
}

fn has_port(service: &ServiceId, claim: &Claim) -> Problem {
    let Claim { name, port, .. } = claim;
    let detail = format!(
        "{name} has port {port} of {service} already, but If-None-Match: * requires that it has none. Send the request \
         without that header to keep the port, if it is yours."
    );
    let problem = Problem::new(Kind::PreconditionFailed, detail).regarding(About::from(claim));
    problem
        .with("port", port.get())
        .with("state", claim.state.kind().as_str())
        .with_some("owner", claim.owner.as_ref().map(ToString::to_string))
}

fn has_no_port(service: &ServiceId, name: &InstanceName) -> Problem {
    let detail = format!(
        "{name} has no port of {service}, but If-Match: * requires that it has one. Send the request without that header \
         to get one."
    );
    Problem::new(Kind::PreconditionFailed, detail).regarding(About { port: None, name: Some(name.clone()) })
}

fn not_the_owner(service: &ServiceId, claim: &Claim) -> Problem {
    let (port, since) = (claim.port, claim.allocated_at().to_rfc3339());
    let until = claim.state.told_until().map(Expiry::to_rfc3339);
    let ends = until.as_ref().map(|until| format!(", its lease ends at {until}")).unwrap_or_default();
    let next = match &claim.owner {
        Some(owner) => format!("If it is yours, send the owner {owner}."),
        None => "If it is yours, send no owner.".to_owned(),
    };
    let detail = format!(
        "{} has held port {port} of {service} {} since {since}{ends}, and the request comes from another holder. \
         Nothing was changed. {next} DELETE {}?owner=* releases it, whoever holds it.",
        claim.name,
        as_owner(claim.owner.as_ref()),
        path::port(service, port)
    );
    let problem = Problem::new(Kind::NotTheOwner, detail).regarding(About::from(claim));
    with_claim(problem, claim).with("since", since).with_some("expires_at", until)
}

fn lease_expired(service: &ServiceId, port: Port, name: &InstanceName) -> Problem {
    let detail = format!(
        "The lease of port {port} of {service} was over before it was renewed, and the port is lost. Stop using it, and \
         ask again with PUT {}: the same owner gets the port back, as long as nobody else has it.",
        path::port(service, name)
    );
    Problem::new(Kind::LeaseExpired, detail).with("port", port.get()).regarding(About::port(port))
}

/// There is no quarantine and no cool-down to be ended.
fn not_held(service: &ServiceId, port: Port, claim: Option<&Claim>, free_at: Option<Expiry>) -> Problem {
    match (claim, free_at) {
        (Some(claim), Some(free_at)) => {
            let detail = format!(
                "The lease of {} of {} on port {port} is over, but clocks differ, and by another one it may still run. Its \
                 cool-down can be ended from {} on. Try again then.",
                claim.name,
                claim.service,
                free_at.to_rfc3339()
            );
            let problem = with_claim(Problem::new(Kind::PortNotFound, detail), claim);
            problem.retry_at(Some(free_at)).regarding(About::port(port))
        }
        (Some(claim), None) => {
            let state = match claim.state.kind() {
                StateKind::Offered => "offered to",
                _ => "allocated to",
            };
            let detail = format!(
                "Port {port} is neither cooling nor in quarantine, but {state} {} of {}. There is nothing to end.",
                claim.name, claim.service
            );
            with_claim(Problem::new(Kind::PortNotFound, detail), claim).regarding(About::port(port))
        }
        (None, _) => {
            let detail = format!(
                "Port {port} of {service} is neither cooling nor in quarantine but free. There is nothing to end: the next \
                 request may be given it."
            );
            Problem::new(Kind::PortNotFound, detail).with("port", port.get()).regarding(About::port(port))
        }
    }
}

/// How the ports are taken, and when the first one comes back.
fn taken(occupancy: &Occupancy) -> (String, String) {
    let Occupancy { offered, allocated, cooling, quarantined, reserved, seconds_to_next_expiry, .. } = *occupancy;
    // What is counted as reserved is free, and does not end by itself.
    let held = [(cooling, "cooling"), (quarantined, "in quarantine"), (reserved, "reserved")];
    let held = held.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!(", {count} {state}"));
    let counts = format!("{offered} offered, {allocated} allocated{}", held.collect::<String>());
    let next = match seconds_to_next_expiry {
        Some(seconds) => {
            let seconds = some(usize::try_from(seconds).unwrap_or(usize::MAX), "second");
            match (allocated, cooling + quarantined) {
                (0, 0) => format!("The first offer expires in {seconds}."),
                (0, _) => format!("The first of them comes back in {seconds}."),
                _ => format!("The first of them comes back in {seconds}, unless that is a lease and is renewed."),
            }
        }
        None => "None of the ports has an expiry.".to_owned(),
    };
    (counts, next)
}

/// The members and the headers of a range that has no room.
fn without_room(problem: Problem, occupancy: &Occupancy) -> Problem {
    let problem = problem
        .with("size", occupancy.size)
        .with("offered", occupancy.offered)
        .with("allocated", occupancy.allocated)
        .with("cooling", occupancy.cooling)
        .with("quarantined", occupancy.quarantined)
        .with("reserved", occupancy.reserved)
        .with("other", occupancy.foreign);
    match occupancy.seconds_to_next_expiry {
        Some(seconds) => problem.retry_after(seconds),
        // In a second the registry will know whether a port was released meanwhile.
        None if occupancy.remembered => problem.retry_after(1),
        None => problem,
    }
}

fn range_exhausted(service: &ServiceId, occupancy: Occupancy) -> Problem {
    let (counts, next) = taken(&occupancy);
    let were = match occupancy.remembered {
        true => "were taken when they were last read, within the last second",
        false => "are taken",
    };
    let detail = format!(
        "All {} ports of {service} {were}: {counts}. {next} Release ports or extend the range.",
        occupancy.size
    );
    without_room(Problem::new(Kind::RangeExhausted, detail), &occupancy)
}

fn set_does_not_fit(service: &ServiceId, wanted: usize, contiguous: bool, occupancy: Occupancy) -> Problem {
    let (counts, next) = taken(&occupancy);
    let neighbours = if contiguous { " next to each other" } else { "" };
    let read = if occupancy.remembered { ", as they were read within the last second" } else { "" };
    let advice = if contiguous { "Ask for fewer ports or without contiguous, release" } else { "Release" };
    let detail = format!(
        "{service} has no {}{neighbours}; none of the set was given. Its {} ports{read}: {counts}. {next} {advice} \
         ports, or extend the range.",
        some(wanted, "free port"),
        occupancy.size
    );
    let problem = Problem::new(Kind::RangeExhausted, detail).with("wanted", wanted).with("contiguous", contiguous);
    without_room(problem, &occupancy)
}

fn set_is_scattered(service: &ServiceId, claims: &[Claim]) -> Problem {
    let held: Vec<_> = claims.iter().map(|claim| format!("{} has port {}", claim.name, claim.port)).collect();
    let detail = format!(
        "The ports that names of this set have already in {service} are not neighbours in the order of the names: {}. \
         Nothing was changed. Release them first, or ask for the set without contiguous.",
        held.join(", ")
    );
    let shown: Vec<_> = claims.iter().map(claim_json).collect();
    let mut problem = Problem::new(Kind::NameTaken, detail).with("ports", shown);
    if let Some(first) = claims.first() {
        problem = problem.with("port", first.port.get()).with("state", first.state.kind().as_str());
    }
    problem
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

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn at(seconds: i64) -> Expiry {
        Expiry::after(NOW, seconds)
    }

    fn service() -> ServiceId {
        ServiceName::try_from("django").unwrap().into()
    }

    fn claim(state: ClaimState, owner: Option<&str>) -> Box<Claim> {
        Box::new(Claim {
            service: service().name,
            name: "web-01".try_into().unwrap(),
            port: Port::new(5000).unwrap(),
            created: NOW,
            state,
            owner: owner.map(|owner| owner.try_into().unwrap()),
            labels: Default::default(),
            principal: None,
            terms: Default::default(),
            confirmed: true,
            by_put: false,
        })
    }

    fn leased(until: i64) -> ClaimState {
        let lease = portmaster_domain::Lease { until: at(until), expires_at: at(until + 10), seconds: 60 };
        ClaimState::Allocated { accepted: NOW, lease: Some(lease) }
    }

    const UNTIL_RELEASED: ClaimState = ClaimState::Allocated { accepted: NOW, lease: None };

    /// A problem with its document.
    fn shown(error: Error) -> (Problem, Value) {
        let problem = Problem::from(error);
        let document = serde_json::from_slice(&problem.document("id")).unwrap();
        (problem, document)
    }

    /// Some members of a problem, as an object.
    fn members(document: &Value, names: &[&str]) -> Value {
        names.iter().map(|name| ((*name).to_owned(), document[*name].clone())).collect::<Map<_, _>>().into()
    }

    #[test]
    fn a_name_that_is_taken_says_by_whom_and_until_when() {
        let taken =
            |state, owner, free_at| shown(Error::NameTaken { service: service(), claim: claim(state, owner), free_at });
        // As it always was.
        let (problem, document) = taken(UNTIL_RELEASED, None, None);
        let plain = json!({ "port": 5000, "state": "allocated", "owner": null, "expires_at": null });
        assert_eq!(members(&document, &["port", "state", "owner", "expires_at"]), plain);
        assert_eq!(document.as_object().unwrap().len(), 7, "{document}");
        assert_eq!(problem.seconds_to_retry(NOW), None);
        let (_, document) = taken(ClaimState::Offered { expires_at: at(60) }, None, None);
        assert_eq!(document.as_object().unwrap().len(), 7, "{document}");

        let (problem, document) = taken(leased(60), Some("gh/shop/17"), None);
        let expected = json!({ "owner": "gh/shop/17", "expires_at": "2027-01-15T08:01:00Z" });
        assert_eq!(members(&document, &["owner", "expires_at"]), expected);
        assert_eq!(problem.seconds_to_retry(NOW), None);
        // Without the parameter a release would be refused.
        assert!(document["detail"].as_str().unwrap().contains("/ports/web-01?owner=*"), "{document}");
        // The lease is over, and the margin is not.
        let lapsed = ClaimState::Cooling { until: at(60), lease_until: Some(at(-3)) };
        let (problem, document) = taken(lapsed, Some("gh/shop/17"), Some(at(7)));
        assert_eq!((problem.kind(), problem.seconds_to_retry(NOW)), (Kind::NameTaken, Some(7)));
        assert!(document["detail"].as_str().unwrap().contains("2027-01-15T08:00:07Z"), "{document}");
        assert_eq!(problem.seconds_to_retry(at(60).instant()), Some(1));
    }

    #[test]
    fn a_port_that_is_taken_says_who_has_it_and_until_when() {
        let port = Port::new(5000).unwrap();
        let taken = |state| {
            let claim = Some(claim(state, Some("gh/shop/17")));
            shown(Error::PortTaken { service: service(), port, claim })
        };
        for (state, word, until, retry) in [
            (ClaimState::Offered { expires_at: at(60) }, "offered", json!("2027-01-15T08:01:00Z"), None),
            (UNTIL_RELEASED, "allocated", Value::Null, None),
            // What its holder was told, and the margin.
            (leased(60), "allocated", json!("2027-01-15T08:01:10Z"), None),
            (
                ClaimState::Cooling { until: at(60), lease_until: None },
                "cooling",
                json!("2027-01-15T08:01:00Z"),
                Some(60),
            ),
            (ClaimState::Quarantined { until: at(60) }, "quarantined", json!("2027-01-15T08:01:00Z"), Some(60)),
        ] {
            let (problem, document) = taken(state);
            let expected = json!({
                "status": 409, "port": 5000, "service": "django", "name": "web-01", "owner": "gh/shop/17", "state": word,
                "until": until,
            });
            let names = ["status", "port", "service", "name", "owner", "state", "until"];
            assert_eq!(members(&document, &names), expected);
            assert_eq!((problem.kind(), problem.seconds_to_retry(NOW)), (Kind::PortTaken, retry), "{word}");
        }
        let (problem, document) = shown(Error::PortTaken { service: service(), port, claim: None });
        assert_eq!((problem.kind(), &document["port"]), (Kind::PortTaken, &json!(5000)));
    }

    #[test]
    fn another_owner_is_told_who_holds_the_port_and_since_when() {
        let error = |owner| Error::NotTheOwner { service: service(), claim: claim(leased(60), owner) };
        let (problem, document) = shown(error(Some("gh/shop/17")));
        let expected = json!({
            "status": 409, "port": 5000, "name": "web-01", "owner": "gh/shop/17", "since": "2027-01-15T08:00:00.000Z",
            "expires_at": "2027-01-15T08:01:00Z",
        });
        assert_eq!(members(&document, &["status", "port", "name", "owner", "since", "expires_at"]), expected);
        assert_eq!(problem.kind(), Kind::NotTheOwner);
        assert!(document["detail"].as_str().unwrap().contains("/v1/services/django/ports/5000?owner=*"));
        let (_, document) = shown(error(None));
        assert_eq!(document.get("owner"), None);
        assert!(document["detail"].as_str().unwrap().contains("send no owner"), "{document}");
    }

    #[test]
    fn the_other_refusals_have_their_numbers() {
        let (port, range) =
            (Port::new(80 + 1024).unwrap(), PortRange::new(Port::MIN, Port::new(1030).unwrap()).unwrap());
        let (problem, document) = shown(Error::PortNotInRange { service: service(), port, range });
        let expected = json!({ "status": 409, "port": 1104, "start": 1024, "end": 1030 });
        assert_eq!(members(&document, &["status", "port", "start", "end"]), expected);
        assert_eq!(problem.kind(), Kind::PortNotInRange);
        let (problem, document) =
            shown(Error::LeaseExpired { service: service(), port, name: "web-01".try_into().unwrap() });
        assert_eq!(
            (problem.kind(), &document["status"], &document["port"]),
            (Kind::LeaseExpired, &json!(410), &json!(1104))
        );
        let (problem, document) = shown(Error::HasPort { service: service(), claim: claim(UNTIL_RELEASED, None) });
        let kind = Kind::PreconditionFailed;
        assert_eq!((problem.kind(), &document["status"], &document["port"]), (kind, &json!(412), &json!(5000)));
        let name = "web-01".try_into().unwrap();
        let (problem, document) = shown(Error::HasNoPort { service: service(), name });
        assert_eq!((problem.kind(), &document["status"]), (kind, &json!(412)));
        for claim in
            [None, Some(claim(UNTIL_RELEASED, None)), Some(claim(ClaimState::Offered { expires_at: at(1) }, None))]
        {
            let (problem, _) = shown(Error::NotHeld { service: service(), port, claim, free_at: None });
            assert_eq!((problem.kind(), problem.seconds_to_retry(NOW)), (Kind::PortNotFound, None));
        }
        let lapsed = ClaimState::Cooling { until: at(60), lease_until: Some(at(-3)) };
        let error = Error::NotHeld { service: service(), port, claim: Some(claim(lapsed, None)), free_at: Some(at(7)) };
        let (problem, document) = shown(error);
        assert_eq!((problem.kind(), problem.seconds_to_retry(NOW)), (Kind::PortNotFound, Some(7)));
        assert_eq!(document["state"], "cooling");
        for (state, word) in [
            (ClaimState::Offered { expires_at: at(60) }, "offered"),
            (ClaimState::Cooling { until: at(60), lease_until: None }, "cooling"),
            (ClaimState::Quarantined { until: at(60) }, "quarantined"),
        ] {
            let offered = Some(claim(state, None));
            let (problem, document) = shown(Error::PortNotFound { service: None, wanted: "5000".to_owned(), offered });
            assert_eq!((problem.kind(), &document["state"]), (Kind::PortNotFound, &json!(word)));
            assert_eq!(document["expires_at"], "2027-01-15T08:01:00Z");
        }
    }

    #[test]
    fn a_range_without_room_counts_what_nobody_uses() {
        let occupancy = Occupancy { size: 10, offered: 1, seconds_to_next_expiry: Some(60), ..Occupancy::default() };
        let exhausted = |occupancy| shown(Error::RangeExhausted { service: service(), occupancy: Box::new(occupancy) });
        let retry =
            |problem: Problem| problem.into_response().headers()[header::RETRY_AFTER].to_str().unwrap().to_owned();
        // The words of before, as long as nothing is new.
        let (problem, document) = exhausted(Occupancy { offered: 10, ..occupancy });
        let detail = "All 10 ports of django are taken: 10 offered, 0 allocated. The first offer expires in 60 seconds. \
                      Release ports or extend the range.";
        assert_eq!(document["detail"], detail);
        assert!(!problem.is_held_back());
        assert_eq!(retry(problem), "60");

        let held = Occupancy { allocated: 4, cooling: 2, quarantined: 1, reserved: 2, ..occupancy };
        let (problem, document) = exhausted(held);
        let names = ["size", "offered", "allocated", "cooling", "quarantined", "reserved", "other"];
        let expected = json!({
            "size": 10, "offered": 1, "allocated": 4, "cooling": 2, "quarantined": 1, "reserved": 2, "other": 0,
        });
        assert_eq!(members(&document, &names), expected);
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(
            "4 allocated, 2 cooling, 1 in quarantine, 2 reserved. The first of them comes back in 60 seconds"
        ));
        assert!(problem.is_held_back());

        let set = |contiguous| {
            shown(Error::SetDoesNotFit { service: service(), wanted: 4, contiguous, occupancy: Box::new(held) })
        };
        let (problem, document) = set(true);
        assert_eq!((problem.kind(), problem.is_held_back()), (Kind::RangeExhausted, true));
        let expected = json!({ "status": 409, "wanted": 4, "contiguous": true, "cooling": 2 });
        assert_eq!(members(&document, &["status", "wanted", "contiguous", "cooling"]), expected);
        assert!(document["detail"].as_str().unwrap().contains("4 free ports next to each other"), "{document}");
        let (_, document) = set(false);
        assert!(document["detail"].as_str().unwrap().contains("no 4 free ports; none"), "{document}");
    }

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
