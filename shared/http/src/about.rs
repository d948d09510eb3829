//! Everything that is not about services, offers or ports: health, the explanations of problems, the OpenAPI document,
//! and the responses to unknown paths and methods.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use portmaster_wire as wire;
use serde_json::Value;

use super::path::Segments;
use super::problem::problems;
use super::{Api, Kind, Problem, endpoint, openapi as document};
use portmaster_registry::Call;

problems!(HealthProblems:);
problems!(ProblemProblems: NotFound);
problems!(DocumentProblems:);

/// Check that the registry works: that its table answers.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "about",
    responses((status = 200, description = "It works.", body = wire::Health), HealthProblems)
)]
pub(super) async fn health(State(api): State<Api>, call: Call) -> Result<Json<wire::Health>, Problem> {
    api.registry.ping(&call).await?;
    Ok(Json(wire::Health { status: "ok".into() }))
}

/// Explain a kind of problem: its meaning, and the next step.
#[utoipa::path(
    get, path = "/problems/{kind}", operation_id = "explainProblem", tag = "about",
    params(("kind" = String, Path, description = "The last segment of a problem's `type`.")),
    responses((status = 200, description = "The explanation, as plain text.", body = String, content_type = "text/plain"), ProblemProblems)
)]
pub(super) async fn problem(segments: Segments) -> Result<String, Problem> {
    match Kind::named(segments.named("kind")) {
        Some(kind) => Ok(format!("{} ({})\n\n{}\n", kind.title(), kind.status(), kind.explanation())),
        None => {
            let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
            Err(Problem::new(
                Kind::NotFound,
                format!("There is no such kind of problem. The kinds are {}.", all.join(", ")),
            ))
        }
    }
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "openapi", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object), DocumentProblems)
)]
pub(super) async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (headers, document::document()).into_response()
}

/// What answers where no route matches.
pub async fn unknown_path() -> Problem {
    // The path is not repeated: it may have a secret in it.
    Problem::new(
        Kind::NotFound,
        "The API has no such path. GET /v1/openapi.json lists those it has; none ends in a slash.",
    )
}

/// A route matches, but not its method. The router adds `Allow`.
pub(super) async fn method_not_allowed(method: Method) -> Problem {
    let detail = format!("This path does not have {method}; the Allow header lists what it has.");
    Problem::new(Kind::MethodNotAllowed, detail)
}

/// Every path of the other functions, each responding 405: a request arrives here only if its method is none of theirs.
pub(super) fn methods_not_allowed() -> Router<Api> {
    let (_, own) = endpoint::pages().split_for_parts();
    let document: Value = serde_json::from_str(document::document()).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.filter(|(path, _)| !own.paths.paths.contains_key(*path)).fold(Router::new(), |router, (path, item)| {
        let allow = allowed(item).join(",");
        let refuse = async move |method: Method| {
            let problem = method_not_allowed(method).await;
            problem.header(header::ALLOW, allow)
        };
        router.route(path, MethodRouter::new().fallback(refuse))
    })
}

/// The methods of a path. An HTTP API of API Gateway does not route HEAD to a GET route, so HEAD is not listed.
fn allowed(item: &Value) -> Vec<&'static str> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    methods.into_iter().filter(|method| !item[method.to_lowercase()].is_null()).collect()
}
