//! `/v1/services/{service}/release`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use portmaster_registry::{BulkRelease, Call, ListFilter};
use portmaster_wire::{self as wire, Fault, HeldState, Release, path};

use super::body::Body;
use super::outcome::Outcome;
use super::paging;
use super::path::InService;
use super::problem::problems;
use super::{Api, Problem};

problems!(ReleaseProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound);

/// Release every port of a service that passes a filter, whoever holds it.
#[utoipa::path(
    post, path = "/v1/services/{service}/release", operation_id = "releasePorts", tag = "ports",
    params(InService),
    request_body = Release,
    responses(
        (status = 200, description = "What was released. One request releases 200 ports and looks at 1,600 at most.",
            body = wire::Released),
        ReleaseProblems,
    )
)]
pub(super) async fn release(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    Body(body): Body<Release>,
) -> Result<Response, Problem> {
    let Release { name_prefix, names, owner, labels, states, dry_run, cursor } = body;
    let list = path::release(&service);
    let from = cursor.map(|text| paging::decode(&list, &text)).transpose();
    let from = from.map_err(|fault| {
        let detail = match fault.detail.contains("another list") {
            true => "belongs to another call; start this one without a cursor",
            false => "must be copied unchanged from the answer before",
        };
        Problem::invalid(vec![Fault::in_body("#/cursor", detail)])
    })?;
    let states = states.unwrap_or_else(|| vec![HeldState::Allocated]);
    let dry_run = dry_run.unwrap_or_default();
    let wanted = BulkRelease {
        names: names.unwrap_or_default(),
        filter: ListFilter { name_prefix: name_prefix.map(Into::into), owner, labels: labels.unwrap_or_default() },
        allocated: states.contains(&HeldState::Allocated),
        offered: states.contains(&HeldState::Offered),
        from,
        dry_run,
    };
    let released = api.registry.release_all(&call, &service, &wanted).await?;
    let claims: Vec<_> = released.claims.iter().map(wire::FoundPort::from).collect();
    let ports = released.claims.iter().filter(|claim| claim.state.kind() == portmaster_domain::StateKind::Allocated);
    let outcome = match dry_run {
        true => Outcome::WouldRelease,
        false => Outcome::ReleasedAll { ports: ports.count() },
    };
    let answer = wire::Released {
        released: claims,
        more: released.next.is_some(),
        cursor: released.next.map(|next| paging::encode(&list, &next)),
    };
    Ok((Extension(outcome), Json(answer)).into_response())
}
