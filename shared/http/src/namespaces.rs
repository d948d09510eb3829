//! `/v1/namespaces`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portmaster_domain::{Namespace, NamespaceInfo};
use portmaster_registry::Call;
use portmaster_wire::{self as wire, NamespaceContent, path};

use super::body::OptionalBody;
use super::headers;
use super::paging::{self, Page};
use super::path::{OfNamespace, ToBeNamespace};
use super::problem::{both, problems};
use super::{Api, Problem};

problems!(ListProblems:);
problems!(GetProblems: NotFound, NamespaceNotFound);
problems!(PutProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound);
problems!(DeleteProblems: NotFound, NamespaceNotFound, NamespaceInUse);

fn answer(status: StatusCode, namespace: &NamespaceInfo) -> Response {
    let mut response = (status, Json(wire::Namespace::from(namespace))).into_response();
    if status == StatusCode::CREATED {
        headers::set(response.headers_mut(), header::LOCATION, &path::namespace(&namespace.name));
    }
    response
}

/// List the namespaces, by name.
#[utoipa::path(
    get, path = "/v1/namespaces", operation_id = "listNamespaces", tag = "namespaces", params(Page<Namespace>),
    responses(
        (status = 200, description = "A page of the namespaces.", body = Vec<wire::Namespace>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call, page: Page<Namespace>) -> Result<Response, Problem> {
    let listed = api.registry.list_namespaces(&call, page.cursor.as_ref(), page.limit).await?;
    let items: Vec<_> = listed.items.iter().map(wire::Namespace::from).collect();
    Ok(paging::answer(&page, Vec::new(), items, listed.next))
}

/// Read a namespace.
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}", operation_id = "getNamespace", tag = "namespaces", params(OfNamespace),
    responses((status = 200, description = "The namespace.", body = wire::Namespace), GetProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    OfNamespace(name): OfNamespace,
) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &api.registry.get_namespace(&call, &name).await?))
}

/// Create a namespace, or change its description.
#[utoipa::path(
    put, path = "/v1/namespaces/{namespace}", operation_id = "putNamespace", tag = "namespaces", params(ToBeNamespace),
    request_body = Option<NamespaceContent>,
    responses(
        (status = 200, description = "The namespace, as it is now.", body = wire::Namespace),
        (status = 201, description = "The namespace, which is new.", body = wire::Namespace, headers(
            ("Location" = String, description = "Its path."))),
        PutProblems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    call: Call,
    name: Result<ToBeNamespace, Problem>,
    body: Result<OptionalBody<NamespaceContent>, Problem>,
) -> Result<Response, Problem> {
    let (ToBeNamespace(name), OptionalBody(body)) = both(name, body)?;
    let (namespace, is_new) = api.registry.put_namespace(&call, &name, body.description.unwrap_or_default()).await?;
    Ok(answer(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &namespace))
}

/// Delete a namespace that has no services.
#[utoipa::path(
    delete, path = "/v1/namespaces/{namespace}", operation_id = "deleteNamespace", tag = "namespaces",
    params(OfNamespace),
    responses((status = 204, description = "It is gone."), DeleteProblems)
)]
pub(super) async fn delete(
    State(api): State<Api>,
    call: Call,
    OfNamespace(name): OfNamespace,
) -> Result<StatusCode, Problem> {
    api.registry.delete_namespace(&call, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
