//! `/v1/services`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portmaster_domain::{Port, PortRange, Service, ServiceId, ServiceName, Terms, Usage};
use portmaster_wire::{self as wire, Fault, NewService, Patch, Seconds, ServiceContent, ServicePatch, path};

use super::body::Body;
use super::filter::WithUsage;
use super::headers::{self, if_match, only_if_new};
use super::paging::{self, Page};
use super::path::{InService, OfNamespace, ToBeService};
use super::problem::{both, problems};
use super::{Api, Problem};
use portmaster_registry::{Call, Content, Error, IfMatch, Written};

fn answer(status: StatusCode, service: &Service) -> Response {
    answer_with(status, service, None)
}

fn answer_with(status: StatusCode, service: &Service, usage: Option<&Usage>) -> Response {
    let mut response = (status, Json(shown(service, usage))).into_response();
    let headers = response.headers_mut();
    headers::set(headers, header::ETAG, &format!("\"{}\"", service.version));
    if status == StatusCode::CREATED {
        headers::set(headers, header::LOCATION, &path::service(&service.id));
    }
    response
}

fn shown(service: &Service, usage: Option<&Usage>) -> wire::Service {
    wire::Service { usage: usage.map(wire::Usage::from), ..service.into() }
}

problems!(CreateProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, ServiceExists, RangeOverlap);
problems!(ListProblems:);
problems!(GetProblems: NotFound, ServiceNotFound);
problems!(PutProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, RangeOverlap, RangeInUse,
    PreconditionFailed, ServiceClosing);
problems!(PatchProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, RangeOverlap,
    RangeInUse, PreconditionFailed, ServiceClosing);
problems!(DeleteProblems: NotFound, ServiceNotFound, ServiceInUse, PreconditionFailed, ServiceClosing);

/// Create a service.
#[utoipa::path(
    post, path = "/v1/services", operation_id = "createService", tag = "services",
    request_body = NewService,
    responses(
        (status = 201, description = "The service.", body = wire::Service, headers(
            ("Location" = String, description = "Its path."), ("ETag" = String, description = "Its version."))),
        CreateProblems,
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    call: Call,
    OfNamespace(namespace): OfNamespace,
    Body(body): Body<NewService>,
) -> Result<Response, Problem> {
    let id = ServiceId::new(namespace, body.name.clone());
    let new = portmaster_registry::NewService { id, content: content(body)? };
    let service = api.registry.create_service(&call, new).await?;
    Ok(answer(StatusCode::CREATED, &service))
}

/// The content of a service to be created; what is not given is the default.
fn content(new: NewService) -> Result<Content, Error> {
    let range = PortRange::of_service(new.start, new.end)?;
    let terms = Terms {
        lease: new.lease_seconds.map(Seconds::get),
        max_lease: new.max_lease_seconds.map(Seconds::get),
        cooldown: new.cooldown_seconds.map_or(Terms::default().cooldown, Seconds::get),
        quarantine: new.quarantine_seconds.map_or(Terms::default().quarantine, Seconds::get),
    };
    Ok(Content {
        description: new.description.unwrap_or_default(),
        range,
        strategy: new.strategy.unwrap_or_default(),
        terms,
        reserved: new.reserved.map(Into::into).unwrap_or_default(),
    })
}

/// List the services, by name.
#[utoipa::path(
    get, path = "/v1/services", operation_id = "listServices", tag = "services",
    params(Page<ServiceName>, WithUsage),
    responses(
        (status = 200, description = "A page of the services.", body = Vec<wire::Service>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    OfNamespace(namespace): OfNamespace,
    page: Page<ServiceName>,
    with_usage: WithUsage,
) -> Result<Response, Problem> {
    let listed = api.registry.list_services(&call, &namespace, page.cursor.as_ref(), page.limit).await?;
    let usages = match with_usage {
        WithUsage(true) => api.registry.usages(&call, &namespace, &listed.items).await?,
        WithUsage(false) => HashMap::new(),
    };
    let items: Vec<_> = listed.items.iter().map(|service| shown(service, usages.get(&service.id.name))).collect();
    Ok(paging::answer(&page, with_usage.parameters(), items, listed.next))
}

/// Read a service.
#[utoipa::path(
    get, path = "/v1/services/{service}", operation_id = "getService", tag = "services",
    params(InService, WithUsage),
    responses(
        (status = 200, description = "The service.", body = wire::Service, headers(
            ("ETag" = String, description = "Its version."))),
        GetProblems,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    WithUsage(with_usage): WithUsage,
) -> Result<Response, Problem> {
    let (service, usage) = match with_usage {
        true => api.registry.get_service_and_usage(&call, &service).await?,
        false => (api.registry.get_service(&call, &service).await?, None),
    };
    Ok(answer_with(StatusCode::OK, &service, usage.as_ref()))
}

/// Refuses a body whose name is not the one in the path.
fn check_name(path: &ServiceName, body: Option<&ServiceName>) -> Result<(), Problem> {
    match body {
        Some(name) if name != path => {
            let detail = format!("must be the name in the path, {path}; a service keeps its name");
            Err(Problem::invalid(vec![Fault::in_body("#/name", detail)]))
        }
        _ => Ok(()),
    }
}

/// Create a service, or replace its content.
#[utoipa::path(
    put, path = "/v1/services/{service}", operation_id = "putService", tag = "services",
    params(
        ToBeService,
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such service yet."),
    ),
    request_body = ServiceContent,
    responses(
        (status = 200, description = "The service, as it is now.", body = wire::Service, headers(
            ("ETag" = String, description = "Its version."))),
        (status = 201, description = "The service, which is new.", body = wire::Service, headers(
            ("Location" = String, description = "Its path."), ("ETag" = String, description = "Its version."))),
        PutProblems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    call: Call,
    service: Result<ToBeService, Problem>,
    headers: HeaderMap,
    body: Result<Body<ServiceContent>, Problem>,
) -> Result<Response, Problem> {
    let preconditions = both(if_match(&headers), only_if_new(&headers));
    let (ToBeService(id), (Body(body), (if_match, only_if_new))) = both(service, both(body, preconditions))?;
    check_name(&id.name, body.name.as_ref())?;
    let content = content(body.named(id.name.clone()))?;
    let new = portmaster_registry::NewService { id, content };
    // If-Match requires the service to exist and If-None-Match: * requires it not to, so one of them always fails.
    if only_if_new && if_match != IfMatch::Always {
        return Err(Problem::new(
            super::Kind::PreconditionFailed,
            "If-Match requires that the service exists and If-None-Match: * that it does not, so they never both \
             hold. Send only one of them.",
        ));
    }
    if only_if_new {
        return match api.registry.create_service(&call, new).await {
            Ok(service) => Ok(answer(StatusCode::CREATED, &service)),
            Err(Error::ServiceExists { service }) => Err(Problem::new(
                super::Kind::PreconditionFailed,
                format!(
                    "The service {service} already exists, but If-None-Match: * requires that it does not. Read it, and decide whether to change it."
                ),
            )),
            Err(error) => Err(error.into()),
        };
    }
    let written = api.registry.put_service(&call, new, &if_match).await?;
    Ok(match written {
        Written::Created(service) => answer(StatusCode::CREATED, &service),
        Written::Replaced(service) => answer(StatusCode::OK, &service),
    })
}

/// Change a part of a service's content (JSON Merge Patch, RFC 7396).
#[utoipa::path(
    patch, path = "/v1/services/{service}", operation_id = "patchService", tag = "services",
    params(
        InService,
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
    ),
    request_body(content((ServicePatch = "application/merge-patch+json"), (ServicePatch = "application/json"))),
    responses(
        (status = 200, description = "The service, as it is now.", body = wire::Service, headers(
            ("ETag" = String, description = "Its version."))),
        PatchProblems,
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    headers: HeaderMap,
    body: Result<Body<ServicePatch>, Problem>,
) -> Result<Response, Problem> {
    let (Body(body), if_match) = both(body, if_match(&headers))?;
    check_name(&service.name, body.name.as_ref())?;
    let bound = |patch: &Patch<Port>, old: Port| match patch {
        Patch::Value(port) => *port,
        Patch::Absent | Patch::Null => old,
    };
    let change = |old: &Service| {
        let patch = body.clone();
        let range = PortRange::of_service(bound(&patch.start, old.range.start()), bound(&patch.end, old.range.end()))?;
        let usual = Terms::default();
        let terms = Terms {
            lease: patch.lease_seconds.map(|seconds| Some(seconds.get())).or(old.terms.lease),
            max_lease: patch.max_lease_seconds.map(|seconds| Some(seconds.get())).or(old.terms.max_lease),
            cooldown: patch.cooldown_seconds.map(Seconds::get).or_default(old.terms.cooldown, usual.cooldown),
            quarantine: patch.quarantine_seconds.map(Seconds::get).or_default(old.terms.quarantine, usual.quarantine),
        };
        Ok(Content {
            description: patch.description.or(old.description.clone()),
            range,
            strategy: patch.strategy.or(old.strategy),
            terms,
            reserved: patch.reserved.map(Into::into).or(old.reserved.clone()),
        })
    };
    let service = api.registry.change_service(&call, &service, &if_match, change).await?;
    Ok(answer(StatusCode::OK, &service))
}

/// Delete a service that is not in use.
#[utoipa::path(
    delete, path = "/v1/services/{service}", operation_id = "deleteService", tag = "services",
    params(
        InService,
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
    ),
    responses((status = 204, description = "It is gone."), DeleteProblems)
)]
pub(super) async fn delete(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    api.registry.delete_service(&call, &service, &if_match(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
