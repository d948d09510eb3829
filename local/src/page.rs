//! The page at `/`, beside the API. It is behind the same guard, and in the same log.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use portmaster_http::{Api, unknown_path};
use portmaster_page::{Settings, answer};

use crate::options::Page;

/// The routes of the page; none if it is off. What is not the page's is answered as if these routes did not exist.
pub(crate) fn routes(page: Page) -> Router<Api> {
    if page == Page::Off {
        return Router::new();
    }
    let settings = Settings { registry: String::new(), write: page == Page::Write, session: false };
    let serve = any(async move |request: Request| -> Response {
        match answer(request.method(), request.uri().path(), request.headers(), &settings) {
            Some(response) => response.map(Into::into),
            None => unknown_path().await.into_response(),
        }
    });
    Router::new().route(portmaster_page::ROOT, serve.clone()).route("/page/{file}", serve)
}
