//! A call accepts what it declares; anything else that could change its meaning is refused and named.
//!
//! An ignored parameter is a promise that nobody keeps: `?prefix=x` would list everything, `?page=2` would return the
//! first page for ever, and a deletion with `If-None-Match` would be performed whatever exists. So every request is
//! compared with the parameters that its handler declares (`#[utoipa::path]`), which the OpenAPI document shows as
//! well. This needs nothing from a new endpoint, so no endpoint can forget it.
//!
//! A signature in the query (a presigned URL of AWS) identifies the caller, as the header `Authorization` does, and
//! does not change the call. API Gateway has verified it, and passes it on; it is left alone like that header.
//!
//! Of the preconditions of RFC 9110, `If-None-Match` and `If-Modified-Since` on a GET are left alone: caches send them
//! to avoid a response that they already have, and the whole response is correct as well. Everywhere else a
//! precondition asks for something *not* to happen, so a call that cannot evaluate it refuses. (RFC 9110 says that
//! dates are ignored where a resource has none. That applies to a server that evaluates them; a refusal does nothing,
//! which is what the sender of a precondition wants to be sure of.)

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::Problem;
use portmaster_wire::Fault;

/// The preconditions of RFC 9110, section 13.1, as they are written.
const PRECONDITIONS: [(HeaderName, &str); 4] = [
    (header::IF_MATCH, "If-Match"),
    (header::IF_NONE_MATCH, "If-None-Match"),
    (header::IF_MODIFIED_SINCE, "If-Modified-Since"),
    (header::IF_UNMODIFIED_SINCE, "If-Unmodified-Since"),
];

/// The parameters of a signature in the query (*AWS Identity and Access Management User Guide*, "Elements of an AWS API
/// request signature").
const SIGNATURE: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// The maximum number of mistakes in the query that one response lists. A longer list would help nobody, and would be
/// far longer than the query itself.
const SHOWN: usize = 16;

/// The declarations of each call, by its path and method.
#[derive(Debug)]
pub(super) struct Declared(HashMap<(String, Method), Call>);

#[derive(Debug, Default)]
struct Call {
    query: Vec<String>,
    /// Of these, the ones that may occur several times: their type is an array.
    repeatable: Vec<String>,
    headers: Vec<HeaderName>,
}

impl Declared {
    /// Collects the declarations of the handlers in this document.
    pub(super) fn by(document: &OpenApi) -> Self {
        let calls = document.paths.paths.iter().flat_map(|(path, item)| {
            let operations = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PATCH, &item.patch),
            ];
            let call = move |(method, operation): (Method, &Option<Operation>)| {
                operation.as_ref().map(|operation| ((path.clone(), method), Call::declared_by(operation)))
            };
            operations.into_iter().filter_map(call).collect::<Vec<_>>()
        });
        Self(calls.collect())
    }

    /// The parts of a request that its call does not declare. If no call matches there are none, since the
    /// response reports that instead.
    fn faults(&self, request: &Request) -> Vec<Fault> {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Vec::new() };
        let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        let Some(call) = self.0.get(&(path.as_str().to_owned(), method.clone())) else { return Vec::new() };
        let mut faults = call.query_faults(request.uri().query().unwrap_or_default());
        faults.extend(call.header_faults(&method, request.headers()));
        faults
    }
}

impl Call {
    fn declared_by(operation: &Operation) -> Self {
        let mut call = Self::default();
        for parameter in operation.parameters.iter().flatten() {
            let RefOr::T(parameter) = parameter else { continue };
            match parameter.parameter_in {
                ParameterIn::Query => {
                    call.query.push(parameter.name.clone());
                    if let Some(RefOr::T(Schema::Array(_))) = parameter.schema {
                        call.repeatable.push(parameter.name.clone());
                    }
                }
                ParameterIn::Header => call.headers.extend(parameter.name.parse::<HeaderName>()),
                _ => {}
            }
        }
        call
    }

    fn query_faults(&self, query: &str) -> Vec<Fault> {
        let (mut faults, mut seen) = (Vec::new(), HashSet::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (readable, value) = (decode(name), decode(value));
            let name = readable.clone().unwrap_or_else(|| name.to_owned());
            let is_repeated = !seen.insert(name.clone()) && !self.repeatable.contains(&name);
            let fault = if is_repeated {
                // Reported once per name.
                if !seen.insert(format!("{name} twice")) {
                    continue;
                }
                "must be given once".to_owned()
            } else if readable.is_none() || value.is_none() {
                "must be UTF-8, percent-encoded: each % is followed by two hexadecimal digits, and % itself is %25"
                    .to_owned()
            } else if self.query.contains(&name) || SIGNATURE.contains(&name.as_str()) {
                continue;
            } else {
                match self.query.as_slice() {
                    [] => "is unknown here; this call has no parameters in its query".to_owned(),
                    known => format!("is unknown here; this call has {}", known.join(" and ")),
                }
            };
            faults.push(Fault::in_parameter(name, fault));
            if faults.len() == SHOWN {
                break;
            }
        }
        faults
    }

    fn header_faults(&self, method: &Method, headers: &HeaderMap) -> Vec<Fault> {
        let harmless = |name: &HeaderName| {
            *method == Method::GET && (*name == header::IF_NONE_MATCH || *name == header::IF_MODIFIED_SINCE)
        };
        let unknown = PRECONDITIONS
            .iter()
            .filter(|(name, _)| headers.contains_key(name) && !self.headers.contains(name) && !harmless(name));
        let fault = |shown: &'static str| {
            let known: Vec<_> =
                PRECONDITIONS.iter().filter(|(name, _)| self.headers.contains(name)).map(|(_, shown)| *shown).collect();
            let detail = match known.as_slice() {
                [] => "is a precondition that this call cannot check; nothing was done. Send it without".to_owned(),
                known => format!(
                    "is a precondition that this call cannot check; nothing was done. It can check {}",
                    known.join(" and ")
                ),
            };
            Fault::in_header(shown, detail)
        };
        unknown.map(|(_, shown)| fault(shown)).collect()
    }
}

/// The decoded text, if it was encoded correctly.
fn decode(text: &str) -> Option<String> {
    let mut escapes = text.split('%').skip(1);
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !escapes.all(is_escape) {
        return None;
    }
    percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(Into::into)
}

/// The middleware.
pub(super) async fn refuse_undeclared(State(declared): State<Arc<Declared>>, request: Request, next: Next) -> Response {
    match declared.faults(&request) {
        faults if faults.is_empty() => next.run(request).await,
        faults => Problem::invalid(faults).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn call() -> Call {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Call {
            query: words(&["limit", "cursor", "label"]),
            repeatable: words(&["label"]),
            headers: vec![header::IF_MATCH],
        }
    }

    fn named(query: &str) -> Vec<String> {
        let place = |fault: Fault| match fault.at {
            portmaster_wire::At::Parameter(name) => name.into_owned(),
            other => panic!("{other:?}"),
        };
        call().query_faults(query).into_iter().map(place).collect()
    }

    #[test]
    fn what_is_not_declared_is_named() {
        for good in [
            "",
            "&",
            "limit=1",
            "cursor=&limit=x",
            "%6Cimit=1",
            "limit=%25",
            "limit=1&&",
            "label=a:1&label=b:2&limit=1&label=a:1",
            "X-Amz-Date=1&X-Amz-Signature=0",
        ] {
            assert_eq!(named(good), [""; 0], "{good}");
        }
        for (bad, name) in [
            ("force=true", "force"),
            ("X-Amz-Target=x", "X-Amz-Target"),
            ("X-Amz-Date=1&X-Amz-Date=2", "X-Amz-Date"),
            ("limit=1&page=2", "page"),
            ("Limit=1", "Limit"),
            ("limit%20=1", "limit "),
            ("=x", ""),
            ("limit=1&limit=2", "limit"),
            ("limit=1&%6Cimit=2&limit=3", "limit"),
            ("limit=%", "limit"),
            ("limit=%2", "limit"),
            ("limit=%zz", "limit"),
            ("cursor=%FF", "cursor"),
            ("label=a:1&label=%", "label"),
            ("%FF=1", "%FF"),
            ("limit=%é", "limit"),
        ] {
            assert_eq!(named(bad), [name], "{bad}");
        }
        assert_eq!(named("a&b=1&limit=3&c"), ["a", "b", "c"]);
        let many: Vec<_> = (0..1_000).map(|i| format!("x{i}")).collect();
        assert_eq!(named(&many.join("&")).len(), SHOWN);
    }

    #[test]
    fn a_precondition_that_is_not_declared_is_refused_where_it_would_count() {
        let refused = |method: Method| {
            let sent: HeaderMap =
                PRECONDITIONS.iter().map(|(name, _)| (name.clone(), HeaderValue::from_static("x"))).collect();
            call().header_faults(&method, &sent).len()
        };
        assert_eq!((refused(Method::GET), refused(Method::DELETE), refused(Method::POST)), (1, 3, 3));
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query: String) {
            let _ = call().query_faults(&query);
        }

        #[test]
        fn what_was_encoded_comes_back(text: String) {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
