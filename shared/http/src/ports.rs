//! `/v1/services/{service}/ports` and `/v1/ports/{port}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::outcome::{About, Outcome};
use super::page::{self, Page};
use super::path::{self, Segments};
use super::problem::problems;
use super::{Api, Problem};
use portmaster_domain::{Claim, ClaimState, Namespace, Port};
use portmaster_registry::Call;

/// An allocated port.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Port, description = "An allocated port.")]
pub(super) struct PortAnswer {
    /// The service.
    #[schema(example = "django")]
    service: String,
    /// Who holds it.
    #[schema(example = "web-01")]
    name: String,
    /// The port.
    #[schema(minimum = 1024, maximum = 49151, example = 5000)]
    port: u16,
    /// When its offer was accepted (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-11-22T10:00:05.000Z")]
    created: String,
}

impl From<&Claim> for PortAnswer {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.to_string(),
            name: claim.name.to_string(),
            port: claim.port.get(),
            created: claim.allocated_at().to_rfc3339(),
        }
    }
}

/// An allocated port, and that it is one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundPort, description = "An allocated port, and that it is one.")]
pub(super) struct FoundPort {
    #[serde(flatten)]
    port: PortAnswer,
    /// What the port is. One that is only offered is a problem, whose `state` is `offered`.
    #[schema(value_type = String, example = "allocated")]
    state: ClaimState,
}

problems!(ListProblems: NotFound, ServiceNotFound);
problems!(PortProblems: NotFound, ServiceNotFound, PortNotFound);
problems!(FindProblems: NotFound, PortNotFound);

/// List the allocated ports of a service, by port.
#[utoipa::path(
    get, path = "/v1/services/{service}/ports", operation_id = "listPorts", tag = "ports",
    params(("service" = String, Path, description = "The service's name."), Page<Port>),
    responses(
        (status = 200, description = "A page of the ports; it may come up short.", body = Vec<PortAnswer>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    Segments(service): Segments<String>,
    page: Page<Port>,
) -> Result<Response, Problem> {
    page::of_claims::<PortAnswer>(&api, &call, &service, &page, ClaimState::Allocated, "ports").await
}

/// Find an allocated port of a service, by its number or by its holder's name.
#[utoipa::path(
    get, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "getPort", tag = "ports",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("port_or_name" = String, Path, description = "The port, or the instance's name."),
    ),
    responses((status = 200, description = "The port.", body = PortAnswer), PortProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    Segments((service, wanted)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let (service, wanted) = (path::service(&service)?, path::port_or_name(&wanted)?);
    let claim = api.registry.get_port(&call, &Namespace::default(), &service, &wanted).await?;
    Ok((Extension(About::from(&claim)), Json(PortAnswer::from(&claim))).into_response())
}

/// Release an allocated port.
#[utoipa::path(
    delete, path = "/v1/services/{service}/ports/{port_or_name}", operation_id = "releasePort", tag = "ports",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("port_or_name" = String, Path, description = "The port, or the instance's name."),
    ),
    responses((status = 204, description = "It is free."), PortProblems)
)]
pub(super) async fn release(
    State(api): State<Api>,
    call: Call,
    Segments((service, wanted)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let (service, wanted) = (path::service(&service)?, path::port_or_name(&wanted)?);
    api.registry.release(&call, &Namespace::default(), &service, &wanted).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Released)).into_response())
}

/// Find whose an allocated port is, across services.
#[utoipa::path(
    get, path = "/v1/ports/{port}", operation_id = "findPort", tag = "ports",
    params(("port" = String, Path, description = "The port.")),
    responses((status = 200, description = "The port.", body = FoundPort), FindProblems)
)]
pub(super) async fn find(
    State(api): State<Api>,
    call: Call,
    Segments(port): Segments<String>,
) -> Result<Response, Problem> {
    let claim = api.registry.find_port(&call, &Namespace::default(), path::port(&port)?).await?;
    let found = FoundPort { port: PortAnswer::from(&claim), state: claim.state };
    Ok((Extension(About::from(&claim)), Json(found)).into_response())
}
