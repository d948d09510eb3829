//! The routes below a namespace: whatever is below `/v1/services` or `/v1/ports` is also below
//! `/v1/namespaces/{namespace}`, with the same handler.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Paths, RefOr};
use utoipa_axum::router::UtoipaMethodRouter;

use super::openapi::problem_responses;
use super::path::namespace_parameter;
use super::{Api, Kind, Routes};

/// The beginning of every path below a namespace.
pub(super) const BELOW: &str = "/v1/namespaces/{namespace}/";

/// Adds these routes, and those below a namespace if they have any there.
pub(super) fn add(routes: Routes, route: UtoipaMethodRouter<Api>) -> Routes {
    let (schemas, paths, handlers) = route;
    match below_namespace(&paths) {
        Some(below) => routes.routes((schemas.clone(), paths, handlers.clone())).routes((schemas, below, handlers)),
        None => routes.routes((schemas, paths, handlers)),
    }
}

fn below_namespace(paths: &Paths) -> Option<Paths> {
    let mut below = Paths::new();
    for (path, item) in &paths.paths {
        let rest =
            path.strip_prefix("/v1/").filter(|rest| rest.starts_with("services") || rest.starts_with("ports"))?;
        let mut item: PathItem = item.clone();
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
        operations.for_each(qualify);
        below.paths.insert(format!("{BELOW}{rest}"), item);
    }
    Some(below)
}

/// The same operation, in a namespace that may not exist.
fn qualify(operation: &mut Operation) {
    if let Some(id) = &mut operation.operation_id {
        id.push_str("InNamespace");
    }
    operation.parameters.get_or_insert_default().insert(0, RefOr::T(namespace_parameter()));
    let responses = &mut operation.responses.responses;
    for (status, response) in problem_responses(&[Kind::NamespaceNotFound]) {
        let RefOr::T(response) = response else { continue };
        match responses.get_mut(&status) {
            Some(RefOr::T(known)) => known.description = format!("{} {}", known.description, response.description),
            _ => drop(responses.insert(status, RefOr::T(response))),
        }
    }
}
