//! What is answered. Of the registry's answer that is its status, its body and four of its headers; of the keys with
//! which the request was signed, nothing.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use portmaster_client::{Error, Passed};
use serde_json::{Value, json};

use super::gate::Refusal;

/// A body that is there, or comes piece by piece.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A body that is there.
pub(super) fn whole(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).boxed_unsync()
}

/// The headers of every answer that is not one of the page's files.
pub(super) fn head(headers: &mut HeaderMap, kind: &'static str) {
    portmaster_page::secure(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn json(status: StatusCode, kind: &'static str, value: &Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string().into_bytes()));
    *response.status_mut() = status;
    head(response.headers_mut(), kind);
    response
}

fn problem(status: StatusCode, kind: &str, title: &str, detail: &str) -> Response<Body> {
    let value = json!({ "type": kind, "title": title, "status": status.as_u16(), "detail": detail });
    json(status, "application/problem+json", &value)
}

pub(super) fn session(session: &str) -> Response<Body> {
    json(StatusCode::OK, "application/json", &json!({ "session": session }))
}

pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let (status, kind, title, detail) = refusal.problem();
    problem(status, kind, title, detail)
}

/// An answer of the registry.
pub(super) fn passed(passed: Passed) -> Response<Body> {
    let mut response = Response::new(whole(passed.body));
    *response.status_mut() = passed.status;
    head(response.headers_mut(), "application/json");
    // The type may be another one; nothing else is overwritten.
    response.headers_mut().extend(passed.headers);
    response
}

/// A call that failed: the registry's problem as it is, and anything else in the words of the command line.
pub(super) fn failed(error: &Error) -> Response<Body> {
    let mut response = match error {
        Error::Problem(refused) => json(refused.status, "application/problem+json", &refused.document),
        Error::Denied(denied) => {
            let detail = format!("{denied}. portmaster doctor shows who you are to AWS.");
            problem(denied.status, "about:blank", "The gateway refused the call", &detail)
        }
        error => problem(StatusCode::BAD_GATEWAY, "about:blank", "The registry was not reached", &format!("{error}.")),
    };
    if let Some(wait) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
    }
    response
}
