//! The embedded DynamoDB on a socket, if one is configured: for functions on this machine (`sam local`), and for tests
//! that observe the wire. The thread that performs the registry's requests performs these too.
//!
//! There is no authentication, so a request that a browser can send must not be enough: a request with an `Origin` is
//! refused, and no response has a CORS header. A page that reaches this address under a name of its own (DNS rebinding)
//! sends its `Origin` all the same, since only a POST has any effect here.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::connector::operation_of;
use super::perform::refusal;
use super::worker::Requests;

/// DynamoDB's limit on the size of a request.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The content type, which browsers cannot set without a preflight request.
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

pub(super) fn router(requests: Requests) -> Router {
    Router::new().fallback(answer).layer(DefaultBodyLimit::max(MAX_BYTES)).with_state(requests)
}

async fn answer(
    State(requests): State<Requests>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = text(header::CONTENT_TYPE).split(';').next().is_some_and(|kind| {
        [CONTENT_TYPE, "application/json"].iter().any(|json| kind.trim().eq_ignore_ascii_case(json))
    });
    let answer = if headers.contains_key(header::ORIGIN) {
        let code = "com.amazonaws.dynamodb.v20120810#AccessDeniedException";
        Err(refusal(403, code, "This database has no authentication and answers no page in a browser (Origin)."))
    } else if method != Method::POST || uri.path() != "/" || !is_json {
        Err(refusal(404, "com.amazon.coral.service#UnknownOperationException", "POST DynamoDB's JSON to /."))
    } else {
        let operation = operation_of(headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default());
        match requests.ask(operation, body.into()).await {
            Some(answer) => answer,
            None => Err(refusal(503, "ServiceUnavailable", "The embedded database has stopped.")),
        }
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err((status, body)) => (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body),
    };
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}
