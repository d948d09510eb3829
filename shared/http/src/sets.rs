//! `/v1/services/{service}/sets`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use portmaster_registry::{Call, NewSet};
use portmaster_wire::{self as wire, Seconds};

use super::body::Body;
use super::outcome::Outcome;
use super::path::InService;
use super::problem::problems;
use super::{Api, Problem};

problems!(PutProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, NameTaken,
    RangeExhausted, ServiceClosing);

/// Make sure that each of several names has a port: all or none.
#[utoipa::path(
    post, path = "/v1/services/{service}/sets", operation_id = "putSet", tag = "ports",
    params(InService),
    request_body = wire::NewSet,
    responses(
        (status = 201, description = "The ports, at least one of which is new.", body = wire::Set),
        (status = 200, description = "The ports, all of which this owner has had.", body = wire::Set),
        PutProblems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    Body(body): Body<wire::NewSet>,
) -> Result<Response, Problem> {
    let wire::NewSet { names, owner, lease_seconds, contiguous, labels } = body;
    let lease = lease_seconds.map(Seconds::get);
    let new = NewSet { names, owner, lease, contiguous: contiguous.unwrap_or_default(), labels };
    let set = api.registry.put_set(&call, &service, &new).await?;
    let leased = set.claims.iter().any(|claim| claim.lease().is_some());
    let (status, outcome) = match set.made {
        0 => (StatusCode::OK, Outcome::Kept { leased }),
        ports => (StatusCode::CREATED, Outcome::Put { ports, leased }),
    };
    let ports = set.claims.iter().map(wire::Port::from).collect();
    Ok((status, Extension(outcome), Json(wire::Set { ports })).into_response())
}
