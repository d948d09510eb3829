//! `/v1/services/{service}/ports` and `/v1/ports/{port}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use portmaster_domain::{Port, StateKind};
use portmaster_registry::Call;
use portmaster_wire::{self as wire, path};

use super::outcome::{About, Outcome};
use super::paging::{self, Page};
use super::path::{AnyPort, InService, OfPort};
use super::problem::problems;
use super::{Api, Problem};

problems!(ListProblems: NotFound, ServiceNotFound);
problems!(PortProblems: NotFound, ServiceNotFound, PortNotFound);
problems!(FindProblems: NotFound, PortNotFound);

/// List the allocated ports of a service, by port.
#[utoipa::path(
    get, path = "/v1/services/{service}/ports", operation_id = "listPorts", tag = "ports",
    params(InService, Page<Port>),
    responses(
        (status = 200, description = "A page of the ports; it may come up short.", body = Vec<wire::Port>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    page: Page<Port>,
    InService(service): InService,
) -> Result<Response, Problem> {
    paging::of_claims::<wire::Port>(&api, &call, &service, &page, StateKind::Allocated, path::ports).await
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

/// Release an allocated port.
#[utoipa::path(
    delete, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "releasePort", tag = "ports",
    params(OfPort),
    responses((status = 204, description = "It is free."), PortProblems)
)]
pub(super) async fn release(
    State(api): State<Api>,
    call: Call,
    OfPort { service, wanted }: OfPort,
) -> Result<Response, Problem> {
    api.registry.release(&call, &service, &wanted, portmaster_registry::By::Holder(None)).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Released)).into_response())
}

/// Find the holder of an allocated port, across services.
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
    let found = wire::FoundPort { port: wire::Port::from(&claim), state: claim.state.kind() };
    Ok((Extension(About::from(&claim)), Json(found)).into_response())
}
