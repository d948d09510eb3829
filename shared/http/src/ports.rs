//! `/v1/services/{service}/ports`, `…/quarantine/{port}`, and `/v1/ports/{port}`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use portmaster_domain::{Port, StateKind};
use portmaster_registry::{Asked, Call, Expected, Put};
use portmaster_wire::{self as wire, NewPort, Renewal, Seconds, path};

use super::body::OptionalBody;
use super::filter::{Filter, InNameOf};
use super::headers::{self, only_if_new, only_if_there};
use super::outcome::{About, Outcome};
use super::paging::{self, Page};
use super::path::{AnyPort, InRange, InService, OfPort, ToBePort};
use super::problem::{both, problems};
use super::{Api, Kind, Problem};

problems!(ListProblems: NotFound, ServiceNotFound);
problems!(PutProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, NameTaken,
    PortTaken, PortNotInRange, RangeExhausted, PreconditionFailed, ServiceClosing, MethodNotAllowed);
problems!(PortProblems: NotFound, ServiceNotFound, PortNotFound);
problems!(RenewProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, PortNotFound,
    NotTheOwner, LeaseExpired, ServiceClosing);
problems!(ReleaseProblems: NotFound, ServiceNotFound, PortNotFound, NotTheOwner);
problems!(LiftProblems: NotFound, ServiceNotFound, PortNotFound, PortNotInRange);
problems!(FindProblems: NotFound, PortNotFound);

/// Make sure that a name has a port.
#[utoipa::path(
    put, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "putPort", tag = "ports",
    params(
        ToBePort,
        ("If-Match" = Option<String>, Header, description = "`*`: only if the name has a port already."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the name has no port yet."),
    ),
    request_body = Option<NewPort>,
    responses(
        (status = 201, description = "The port that the name has now.", body = wire::Port, headers(
            ("Location" = String, description = "Its path."))),
        (status = 200, description = "The port that the name has had, of the same owner; its lease is extended, never \
            shortened.", body = wire::Port),
        PutProblems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    call: Call,
    wanted: Result<ToBePort, Problem>,
    headers: HeaderMap,
    body: Result<OptionalBody<NewPort>, Problem>,
) -> Result<Response, Problem> {
    let preconditions = both(only_if_new(&headers), only_if_there(&headers));
    let (ToBePort { service, name }, (OptionalBody(body), preconditions)) = both(wanted, both(body, preconditions))?;
    let expected = match preconditions {
        (false, false) => Expected::Anything,
        (true, false) => Expected::Nothing,
        (false, true) => Expected::Something,
        (true, true) => {
            return Err(Problem::new(
                Kind::PreconditionFailed,
                "If-Match: * requires that the name has a port and If-None-Match: * that it has none, so they never both \
                 hold. Send only one of them.",
            ));
        }
    };
    let NewPort { owner, lease_seconds, port, labels } = body;
    let asked = Asked { name, port, owner, labels };
    let put = api.registry.put_port(&call, &service, &asked, lease_seconds.map(Seconds::get), expected).await;
    let about = About { port, name: Some(asked.name) };
    let put = put.map_err(|error| Problem::from(error).regarding(about))?;
    let leased = put.claim().lease().is_some();
    let (status, outcome) = match put {
        Put::Made(_) => (StatusCode::CREATED, Outcome::Put { ports: 1, leased }),
        Put::Kept(_) => (StatusCode::OK, Outcome::Kept { leased }),
    };
    let claim = put.claim();
    let about = About::from(claim);
    let mut response = (status, Extension(outcome), Extension(about), Json(wire::Port::from(claim))).into_response();
    if status == StatusCode::CREATED {
        headers::set(response.headers_mut(), header::LOCATION, &path::port(&service, &claim.name));
    }
    Ok(response)
}

/// List the allocated ports of a service, by port.
#[utoipa::path(
    get, path = "/v1/services/{service}/ports", operation_id = "listPorts", tag = "ports",
    params(InService, Page<Port>, Filter),
    responses(
        (status = 200, description = "A page of the ports; it may come up short.", body = Vec<wire::Port>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    page: Result<Page<Port>, Problem>,
    filter: Result<Filter, Problem>,
    InService(service): InService,
) -> Result<Response, Problem> {
    let wanted = both(page, filter)?;
    paging::of_claims::<wire::Port>(&api, &call, &service, &wanted, StateKind::Allocated).await
}

/// Find an allocated port of a service, by its number or by its holder's name.
#[utoipa::path(
    get, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "getPort", tag = "ports",
    params(OfPort),
    responses((status = 200, description = "The port.", body = wire::Port), PortProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    OfPort { service, wanted }: OfPort,
) -> Result<Response, Problem> {
    let claim = api.registry.get_port(&call, &service, &wanted).await?;
    Ok((Extension(About::from(&claim)), Json(wire::Port::from(&claim))).into_response())
}

/// Renew the lease of a port.
#[utoipa::path(
    post, path = "/v1/services/{service}/ports/{port_or_name}/renew", operation_id = "renewPort", tag = "ports",
    params(OfPort),
    request_body = Option<Renewal>,
    responses(
        (status = 200, description = "The port, with the end of its lease: never earlier than before.", body = wire::Port),
        RenewProblems,
    )
)]
pub(super) async fn renew(
    State(api): State<Api>,
    call: Call,
    OfPort { service, wanted }: OfPort,
    OptionalBody(Renewal { owner, lease_seconds }): OptionalBody<Renewal>,
) -> Result<Response, Problem> {
    let lease = lease_seconds.map(Seconds::get);
    let claim = api.registry.renew(&call, &service, &wanted, owner.as_ref(), lease).await?;
    let outcome = Outcome::Renewed { leased: claim.lease().is_some() };
    Ok((Extension(outcome), Extension(About::from(&claim)), Json(wire::Port::from(&claim))).into_response())
}

/// Release an allocated port.
#[utoipa::path(
    delete, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "releasePort", tag = "ports",
    params(OfPort, InNameOf),
    responses((status = 204, description = "It is free, or cooling."), ReleaseProblems)
)]
pub(super) async fn release(
    State(api): State<Api>,
    call: Call,
    OfPort { service, wanted }: OfPort,
    by: InNameOf,
) -> Result<Response, Problem> {
    api.registry.release(&call, &service, &wanted, by.by()).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Released)).into_response())
}

/// End the quarantine or the cool-down of a port.
#[utoipa::path(
    delete, path = "/v1/services/{service}/quarantine/{port}", operation_id = "endQuarantine", tag = "ports",
    params(InRange),
    responses((status = 204, description = "The port may be given out again."), LiftProblems)
)]
pub(super) async fn lift(
    State(api): State<Api>,
    call: Call,
    InRange { service, port }: InRange,
) -> Result<Response, Problem> {
    api.registry.lift(&call, &service, port).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Lifted)).into_response())
}

/// Find what keeps a port from others, across services: its holder, a cool-down or a quarantine.
#[utoipa::path(
    get, path = "/v1/ports/{port}", operation_id = "findPort", tag = "ports",
    params(AnyPort),
    responses((status = 200, description = "The port.", body = wire::FoundPort), FindProblems)
)]
pub(super) async fn find(
    State(api): State<Api>,
    call: Call,
    AnyPort { namespace, port }: AnyPort,
) -> Result<Response, Problem> {
    let claim = api.registry.find_port(&call, &namespace, port).await?;
    Ok((Extension(About::from(&claim)), Json(wire::FoundPort::from(&claim))).into_response())
}
