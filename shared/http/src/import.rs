//! `/v1/services/{service}/import`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use portmaster_registry::{self as registry, Call};
use portmaster_wire::{self as wire, Import, PortInUse};

use super::body::Body;
use super::outcome::Outcome;
use super::path::{InService, LongPath};
use super::problem::problems;
use super::{Api, Problem};

problems!(ImportProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound,
    ServiceClosing);

/// Import ports that are in use already, each as a claim of its own.
#[utoipa::path(
    post, path = "/v1/services/{service}/import", operation_id = "importPorts", tag = "ports",
    params(InService),
    request_body = Import,
    responses(
        (status = 200, description = "What became of each. Nothing was overwritten, and the request can be repeated.",
            body = wire::Imported),
        ImportProblems,
    )
)]
pub(super) async fn import(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    Extension(LongPath(below)): Extension<LongPath>,
    Body(Import { ports, dry_run }): Body<Import>,
) -> Result<Response, Problem> {
    let dry_run = dry_run.unwrap_or_default();
    let imports = ports.iter().cloned().map(|PortInUse { name, port, owner, labels }| registry::Import {
        name,
        port,
        owner,
        labels,
    });
    let outcomes = api.registry.import(&call, &service, imports.collect(), dry_run).await?;
    let (mut made, mut leases) = (0, 0);
    let mut answer = wire::Imported { imported: Vec::new(), importable: Vec::new(), conflicts: Vec::new() };
    for (port, outcome) in ports.into_iter().zip(outcomes) {
        match outcome {
            registry::Imported::Made(claim) => {
                made += 1;
                leases += usize::from(claim.lease().is_some());
                answer.imported.push(wire::Port::from(&*claim));
            }
            registry::Imported::Had(claim) => answer.imported.push(wire::Port::from(&*claim)),
            registry::Imported::Could => answer.importable.push(port),
            registry::Imported::Conflict(error) => {
                let problem = Problem::from(error);
                let problem = match &below {
                    Some(below) => problem.below(below),
                    None => problem,
                };
                let (r#type, detail) = (problem.kind().type_uri(), problem.detail().to_owned());
                answer.conflicts.push(wire::Conflict { port, r#type, detail });
            }
        }
    }
    let outcome = if dry_run { Outcome::WouldImport } else { Outcome::Imported { ports: made, leases } };
    Ok((Extension(outcome), Json(answer)).into_response())
}
