//! `/v1/services`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deserr::Deserr;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::body::{Body, Checked, Faults, Patch};
use super::headers::{if_match, only_if_new};
use super::page::{self, Page};
use super::path::{self, Segments};
use super::problem::{Fault, both, problems};
use super::{Api, Problem};
use portmaster_domain::{Description, Namespace, Port, PortRange, Service, ServiceName, Strategy};
use portmaster_registry::Call;
use portmaster_registry::{Content, Error, IfMatch, NewService, Written};

/// A service to be created.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(as = NewService, description = "A service to be created.")]
pub(super) struct NewServiceBody {
    /// Unique, case-sensitive.
    #[schema(value_type = Name)]
    name: ServiceName,
    /// What it is for.
    #[deserr(default)]
    #[schema(value_type = Option<String>, max_length = 1024, example = "Django service")]
    description: Option<Description>,
    /// The first port; below `end`.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 10000)]
    end: Port,
    /// How ports are chosen; `lowest` if not given.
    #[deserr(default)]
    #[schema(value_type = Option<StrategyWord>)]
    strategy: Option<Strategy>,
}

/// What a service is to be.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(as = ServiceContent, description = "What a service is to be. What is not given gets its default.")]
pub(super) struct ServiceBody {
    /// If given, the name in the path.
    #[deserr(default)]
    #[schema(value_type = Option<Name>)]
    name: Option<ServiceName>,
    /// What it is for.
    #[deserr(default)]
    #[schema(value_type = Option<String>, max_length = 1024, example = "Django service")]
    description: Option<Description>,
    /// The first port; below `end`.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 10000)]
    end: Port,
    /// How ports are chosen; `lowest` if not given.
    #[deserr(default)]
    #[schema(value_type = Option<StrategyWord>)]
    strategy: Option<Strategy>,
    /// What a GET gave; it is not changed by a PUT.
    #[deserr(default)]
    #[schema(value_type = Option<String>, read_only)]
    #[allow(dead_code, reason = "it is accepted, and nothing more")]
    created: Option<String>,
}

/// What to change in a service.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(as = ServicePatch, description = "What to change in a service (RFC 7396); null puts a default back.")]
pub(super) struct PatchBody {
    /// If given, the name in the path: a service keeps its name.
    #[deserr(default)]
    #[schema(value_type = Option<Name>, required = false)]
    name: Option<ServiceName>,
    /// What it is for.
    #[deserr(default)]
    #[schema(value_type = Option<String>, max_length = 1024, required = false, example = "Django service")]
    description: Patch<Description>,
    /// The first port; below the last.
    #[deserr(default)]
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, required = false, example = 5000)]
    start: Patch<Port>,
    /// The last port.
    #[deserr(default)]
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, required = false, example = 12000)]
    end: Patch<Port>,
    /// How ports are chosen.
    #[deserr(default)]
    #[schema(value_type = Option<StrategyWord>, required = false)]
    strategy: Patch<Strategy>,
}

/// How a service chooses its ports; the allocator says when each is good.
#[derive(ToSchema)]
#[schema(as = Strategy, rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
enum StrategyWord {
    /// The lowest free port.
    Lowest,
    /// From a hash of the instance name onwards.
    Hashed,
    /// Any free port, each as likely.
    Random,
}

/// The rule for names, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(
    description = "Letters and digits, with . _ ~ - between them; at most 64 characters; case-sensitive.",
    min_length = 1,
    max_length = 64,
    pattern = "^[A-Za-z0-9]([A-Za-z0-9._~-]{0,62}[A-Za-z0-9])?$",
    example = "django"
)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) struct Name(String);

/// `start` below `end`, where both are ports; anything else about them is told by their own types.
fn order(body: &Value) -> Vec<Fault> {
    let port = |name: &str| {
        body.get(name).and_then(Value::as_u64).and_then(|number| Port::new(u16::try_from(number).ok()?).ok())
    };
    match (port("start"), port("end")) {
        (Some(start), Some(end)) => match PortRange::of_service(start, end) {
            Ok(_) => Vec::new(),
            Err(invalid) => vec![Fault::in_body("#/start", invalid.to_string())],
        },
        _ => Vec::new(),
    }
}

impl Checked for NewServiceBody {
    fn between_fields(body: &Value) -> Vec<Fault> {
        order(body)
    }
}

impl Checked for ServiceBody {
    fn between_fields(body: &Value) -> Vec<Fault> {
        order(body)
    }
}

impl Checked for PatchBody {
    fn between_fields(body: &Value) -> Vec<Fault> {
        let mut faults = order(body);
        for field in ["start", "end"] {
            if body.get(field).is_some_and(Value::is_null) {
                faults.push(Fault::in_body(format!("#/{field}"), "cannot be taken away; a service has a range"));
            }
        }
        faults
    }
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Service, description = "A service.")]
pub(super) struct ServiceAnswer {
    /// Its name.
    #[schema(example = "django")]
    name: String,
    /// What it is for; empty if nobody said.
    #[schema(example = "Django service")]
    description: String,
    /// The first port.
    #[schema(minimum = 1024, maximum = 49151, example = 5000)]
    start: u16,
    /// The last port.
    #[schema(minimum = 1024, maximum = 49151, example = 10000)]
    end: u16,
    /// How ports are chosen.
    #[schema(value_type = StrategyWord)]
    strategy: Strategy,
    /// When it was created (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    created: String,
}

impl From<&Service> for ServiceAnswer {
    fn from(service: &Service) -> Self {
        Self {
            name: service.name.to_string(),
            description: service.description.as_str().to_owned(),
            start: service.range.start().get(),
            end: service.range.end().get(),
            strategy: service.strategy,
            created: service.created.to_rfc3339(),
        }
    }
}

fn answer(status: StatusCode, service: &Service) -> Response {
    let mut response = (status, Json(ServiceAnswer::from(service))).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", service.version)) {
        headers.insert(header::ETAG, tag);
    }
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::from_str(&format!("/v1/services/{}", service.name))
    {
        headers.insert(header::LOCATION, location);
    }
    response
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
    request_body = NewServiceBody,
    responses(
        (status = 201, description = "The service.", body = ServiceAnswer, headers(
            ("Location" = String, description = "Its path."), ("ETag" = String, description = "Its version."))),
        CreateProblems,
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    call: Call,
    Body(body): Body<NewServiceBody>,
) -> Result<Response, Problem> {
    let NewServiceBody { name, description, start, end, strategy } = body;
    let content = content(description, start, end, strategy)?;
    let service = api.registry.create_service(&call, &Namespace::default(), NewService { name, content }).await?;
    Ok(answer(StatusCode::CREATED, &service))
}

fn content(
    description: Option<Description>,
    start: Port,
    end: Port,
    strategy: Option<Strategy>,
) -> Result<Content, Error> {
    let range = PortRange::of_service(start, end)?;
    Ok(Content { description: description.unwrap_or_default(), range, strategy: strategy.unwrap_or_default() })
}

/// List the services, by name.
#[utoipa::path(
    get, path = "/v1/services", operation_id = "listServices", tag = "services", params(Page<ServiceName>),
    responses(
        (status = 200, description = "A page of the services.", body = Vec<ServiceAnswer>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call, page: Page<ServiceName>) -> Result<Response, Problem> {
    let listed = api.registry.list_services(&call, &Namespace::default(), page.cursor.as_ref(), page.limit).await?;
    let items: Vec<_> = listed.items.iter().map(ServiceAnswer::from).collect();
    Ok(page::answer("/v1/services", page.limit, items, listed.next))
}

/// Read a service.
#[utoipa::path(
    get, path = "/v1/services/{service}", operation_id = "getService", tag = "services",
    params(("service" = String, Path, description = "The service's name.")),
    responses(
        (status = 200, description = "The service.", body = ServiceAnswer, headers(
            ("ETag" = String, description = "Its version."))),
        GetProblems,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let service = api.registry.get_service(&call, &Namespace::default(), &path::service(&name)?).await?;
    Ok(answer(StatusCode::OK, &service))
}

/// Refuses a name in the body that is not the one in the path.
fn check_name(path: &ServiceName, body: Option<&ServiceName>) -> Result<(), Problem> {
    match body {
        Some(name) if name != path => {
            let detail = format!("must be the name in the path, {path}; a service keeps its name");
            Err(Problem::invalid(vec![Fault::in_body("#/name", detail)]))
        }
        _ => Ok(()),
    }
}

/// Make a service so: create it, or replace what it says.
#[utoipa::path(
    put, path = "/v1/services/{service}", operation_id = "putService", tag = "services",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such service yet."),
    ),
    request_body = ServiceBody,
    responses(
        (status = 200, description = "The service, as it is now.", body = ServiceAnswer, headers(
            ("ETag" = String, description = "Its version."))),
        (status = 201, description = "The service, which is new.", body = ServiceAnswer, headers(
            ("Location" = String, description = "Its path."), ("ETag" = String, description = "Its version."))),
        PutProblems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    call: Call,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Result<Body<ServiceBody>, Problem>,
) -> Result<Response, Problem> {
    let name = ServiceName::try_from(name)
        .map_err(|error| Problem::invalid(vec![Fault::in_parameter("service", error.to_string())]));
    let preconditions = both(if_match(&headers), only_if_new(&headers));
    let (name, (Body(body), (if_match, only_if_new))) = both(name, both(body, preconditions))?;
    let ServiceBody { name: named, description, start, end, strategy, created: _ } = body;
    check_name(&name, named.as_ref())?;
    let content = content(description, start, end, strategy)?;
    let new = NewService { name, content };
    // One that wants the service to exist and one that wants it not to: whatever is there, one of them does not hold.
    if only_if_new && if_match != IfMatch::Always {
        return Err(Problem::new(
            super::Kind::PreconditionFailed,
            "If-Match wants the service to exist and If-None-Match: * wants it not to, so the two never hold together. \
             Send one of them.",
        ));
    }
    if only_if_new {
        return match api.registry.create_service(&call, &Namespace::default(), new).await {
            Ok(service) => Ok(answer(StatusCode::CREATED, &service)),
            Err(Error::ServiceExists { service }) => Err(Problem::new(
                super::Kind::PreconditionFailed,
                format!(
                    "The service {service} exists already, and If-None-Match: * wants it not to. Read it, and decide again."
                ),
            )),
            Err(error) => Err(error.into()),
        };
    }
    let written = api.registry.put_service(&call, &Namespace::default(), new, &if_match).await?;
    Ok(match written {
        Written::Created(service) => answer(StatusCode::CREATED, &service),
        Written::Replaced(service) => answer(StatusCode::OK, &service),
    })
}

/// Change some of what a service says (JSON Merge Patch, RFC 7396).
#[utoipa::path(
    patch, path = "/v1/services/{service}", operation_id = "patchService", tag = "services",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
    ),
    request_body(content((PatchBody = "application/merge-patch+json"), (PatchBody = "application/json"))),
    responses(
        (status = 200, description = "The service, as it is now.", body = ServiceAnswer, headers(
            ("ETag" = String, description = "Its version."))),
        PatchProblems,
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    call: Call,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Result<Body<PatchBody>, Problem>,
) -> Result<Response, Problem> {
    let name = path::service(&name)?;
    let (Body(body), if_match) = both(body, if_match(&headers))?;
    let PatchBody { name: named, description, start, end, strategy } = body;
    check_name(&name, named.as_ref())?;
    let bound = |patch: &Patch<Port>, old: Port| match patch {
        Patch::Value(port) => *port,
        Patch::Absent | Patch::Null => old,
    };
    let change = |old: &Service| {
        let range = PortRange::of_service(bound(&start, old.range.start()), bound(&end, old.range.end()))?;
        let description = description.clone().or(old.description.clone());
        Ok(Content { description, range, strategy: strategy.clone().or(old.strategy) })
    };
    let service = api.registry.change_service(&call, &Namespace::default(), &name, &if_match, change).await?;
    Ok(answer(StatusCode::OK, &service))
}

/// Delete a service that nobody uses.
#[utoipa::path(
    delete, path = "/v1/services/{service}", operation_id = "deleteService", tag = "services",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("If-Match" = Option<String>, Header, description = "Only if the service is this version (its `ETag`)."),
    ),
    responses((status = 204, description = "It is gone."), DeleteProblems)
)]
pub(super) async fn delete(
    State(api): State<Api>,
    call: Call,
    Segments(name): Segments<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let name = path::service(&name)?;
    api.registry.delete_service(&call, &Namespace::default(), &name, &if_match(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
