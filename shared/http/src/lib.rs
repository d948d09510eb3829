//! The HTTP API: routes, extraction, and its texts.
//!
//! Each endpoint is written once: its path, method, parameters and responses are declared on its handler
//! (`#[utoipa::path]`). The OpenAPI document and the route, both in the local server and in the function that serves
//! it, follow from that. [`ENDPOINTS`] is the list of all of them.

mod about;
mod body;
mod declared;
mod events;
mod filter;
mod headers;
mod history;
mod import;
pub mod log;
mod map;
mod namespaces;
mod observe;
mod offers;
mod openapi;
mod outcome;
mod paging;
mod path;
mod ports;
mod problem;
mod release;
mod scope;
mod services;
mod sets;
pub mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use declared::Declared;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use about::unknown_path;
pub use events::told;
pub use observe::Origin;
pub use openapi::{document, generate};
pub use portmaster_wire::Kind;
pub use problem::Problem;

use portmaster_registry::Registry;

/// The state of every handler: the registry, and the time that a call may take.
#[derive(Clone, Debug)]
pub struct Api {
    /// The registry.
    pub registry: Registry,
    /// How long a call may take unless something else limits it.
    pub timeout: Duration,
}

/// How long a call may take by default: less than the 30 seconds of API Gateway and the patience of most clients, and
/// more than the deletion of a service with thousands of dead offers takes.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Routes, with their part of the OpenAPI document.
pub type Routes = OpenApiRouter<Api>;

/// One function and the routes that it serves.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The function's name, and its binary's.
    pub function: &'static str,
    /// Its routes.
    pub routes: fn() -> Routes,
}

macro_rules! endpoints {
    ($($function:ident $name:literal: $($handler:path),+;)*) => {
        /// The endpoints by name, for the functions' `main`.
        pub mod endpoint {
            use super::*;
            $(
                #[doc = concat!("What the function `", $name, "` serves.")]
                #[must_use]
                pub fn $function() -> Routes {
                    let routes = Routes::new();
                    $(let routes = scope::add(routes, routes!($handler));)+
                    routes
                }
            )*
        }

        /// Every endpoint. The local server mounts all of them, a function one.
        pub const ENDPOINTS: &[Endpoint] = &[$(Endpoint { function: $name, routes: endpoint::$function },)*];
    };
}

endpoints! {
    list_namespaces "list-namespaces": namespaces::list;
    get_namespace "get-namespace": namespaces::get;
    put_namespace "put-namespace": namespaces::put;
    delete_namespace "delete-namespace": namespaces::delete;
    create_service "create-service": services::create;
    list_services "list-services": services::list;
    get_service "get-service": services::get;
    put_service "put-service": services::put;
    patch_service "patch-service": services::patch;
    delete_service "delete-service": services::delete;
    create_offer "create-offer": offers::create;
    list_offers "list-offers": offers::list;
    get_offer "get-offer": offers::get;
    accept_offer "accept-offer": offers::accept;
    reject_offer "reject-offer": offers::reject, offers::delete;
    list_ports "list-ports": ports::list;
    get_port "get-port": ports::get;
    put_port "put-port": ports::put;
    renew_port "renew-port": ports::renew;
    release_port "release-port": ports::release;
    put_set "put-set": sets::put;
    release_ports "release-ports": release::release;
    import_ports "import-ports": import::import;
    end_quarantine "end-quarantine": ports::lift;
    get_map "get-map": map::get;
    find_port "find-port": ports::find;
    get_port_history "get-port-history": history::of_port;
    get_service_history "get-service-history": history::of_name;
    health "health": about::health;
    pages "pages": about::problem, about::openapi;
}

/// The whole API, as the local server serves it.
pub fn api(api: Api) -> Router {
    api_and(Router::new(), api)
}

/// The whole API, and routes that only the local server has: they are wrapped as all others are, and are in no document.
pub fn api_and(more: Router<Api>, api: Api) -> Router {
    let routes = ENDPOINTS.iter().fold(Routes::new(), |routes, endpoint| routes.merge((endpoint.routes)()));
    let (routes, document) = routes.split_for_parts();
    serve(routes.merge(more), &document, api)
}

/// One endpoint, as its function serves it.
pub fn one(routes: Routes, api: Api) -> Router {
    let (routes, document) = routes.split_for_parts();
    serve(routes, &document, api)
}

/// The function `pages`: its own routes, and the response to every request that no other function's route matches: an
/// unknown path, or a known one with a method that it lacks.
pub fn pages_and_the_rest(api: Api) -> Router {
    let (own, document) = endpoint::pages().split_for_parts();
    serve(own.merge(about::methods_not_allowed()), &document, api)
}

fn serve(routes: Router<Api>, document: &OpenApi, api: Api) -> Router {
    let declared = Arc::new(Declared::by(document));
    routes
        .fallback(about::unknown_path)
        .method_not_allowed_fallback(about::method_not_allowed)
        .layer(from_fn_with_state(declared, declared::refuse_undeclared))
        .layer(from_fn_with_state(api.clone(), observe::observe))
        .with_state(api)
}
