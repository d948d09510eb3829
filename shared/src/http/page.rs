//! Pages of a list: `?limit=`, `?cursor=`, and the `Link` to the next one (RFC 8288).

use std::num::IntErrorKind;

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::problem::Fault;
use super::{Api, Problem, path};
use crate::domain::{Claim, ClaimState, Namespace, Port, ServiceName};
use crate::store::Call;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Which part of a list is wanted.
pub(super) struct Page<C> {
    pub(super) limit: usize,
    pub(super) cursor: Option<C>,
}

/// What a cursor names: where the page before it ended. Opaque to callers, and good across versions.
pub(super) trait Cursor: Sized {
    fn encode(&self) -> String;
    fn decode(text: &str) -> Option<Self>;
}

impl Cursor for ServiceName {
    fn encode(&self) -> String {
        self.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        Self::try_from(text).ok()
    }
}

impl Cursor for Port {
    fn encode(&self) -> String {
        self.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        text.parse().ok().and_then(|number| Self::new(number).ok())
    }
}

fn parse<C: Cursor>(pairs: &[(String, String)]) -> Result<Page<C>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut single = |parameter: &'static str| {
        let mut values = pairs.iter().filter(|(name, _)| name == parameter).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            faults.push(Fault::in_parameter(parameter, "must be given once"));
        }
        first
    };
    let (limit, cursor) = (single("limit"), single("cursor"));
    let limit = match limit.map(str::parse::<u64>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit @ 1..)) => usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
        Some(Err(error)) if *error.kind() == IntErrorKind::PosOverflow => MAX_LIMIT,
        Some(_) => {
            faults.push(Fault::in_parameter(
                "limit",
                "must be a whole number of at least 1; more than 1,000 counts as 1,000",
            ));
            DEFAULT_LIMIT
        }
    };
    let decode = |text: &str| C::decode(std::str::from_utf8(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?);
    let cursor = cursor.map(|text| {
        decode(text).ok_or_else(|| Fault::in_parameter("cursor", "must be one that a Link header gave, unchanged"))
    });
    let cursor = match cursor.transpose() {
        Ok(cursor) => cursor,
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    if faults.is_empty() { Ok(Page { limit, cursor }) } else { Err(faults) }
}

impl<S: Sync, C: Cursor> FromRequestParts<S> for Page<C> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|error| {
            Problem::new(super::Kind::InvalidRequest, format!("The query cannot be read: {}.", error.body_text()))
        })?;
        parse(&pairs).map_err(Problem::invalid)
    }
}

/// For the OpenAPI document.
impl<C> utoipa::IntoParams for Page<C> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let query = |name: &str, description: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(description))
                .schema(Some(RefOr::T(Schema::Object(schema.build()))))
                .build()
        };
        let limit =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).default(Some(DEFAULT_LIMIT.into()));
        vec![
            query("limit", "How many items at most; more than 1,000 counts as 1,000.", limit),
            query(
                "cursor",
                "Where to go on, as the `Link` header of the page before gave it.",
                ObjectBuilder::new().schema_type(Type::String),
            ),
        ]
    }
}

/// A page as an answer: a plain array, and a `Link` where there is more.
pub(super) fn answer<T: Serialize, C: Cursor>(path: &str, limit: usize, items: Vec<T>, next: Option<C>) -> Response {
    let mut response = Json(items).into_response();
    if let Some(cursor) = next {
        let cursor = URL_SAFE_NO_PAD.encode(cursor.encode());
        let link = format!("<{path}?limit={limit}&cursor={cursor}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// A page of the claims of a service in one state: `noun` is the list's name in the path.
pub(super) async fn of_claims<T: Serialize + for<'a> From<&'a Claim>>(
    api: &Api,
    call: &Call,
    service: &str,
    page: &Page<Port>,
    state: ClaimState,
    noun: &str,
) -> Result<Response, Problem> {
    let service = path::service(service)?;
    let namespace = Namespace::default();
    let listed = api.registry.list_claims(call, &namespace, &service, state, page.cursor, page.limit).await?;
    let items: Vec<T> = listed.items.iter().map(T::from).collect();
    Ok(answer(&format!("/v1/services/{service}/{noun}"), page.limit, items, listed.next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Result<Page<Port>, Vec<Fault>> {
        let uri = format!("/?{text}").parse().unwrap();
        parse(&Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn limits_are_clamped_above_and_refused_below() {
        assert_eq!(query("").unwrap().limit, 100);
        assert_eq!(query("limit=1").unwrap().limit, 1);
        assert_eq!(query("limit=1000").unwrap().limit, 1_000);
        assert_eq!(query("limit=18446744073709551615").unwrap().limit, 1_000);
        assert_eq!(query("limit=99999999999999999999999").unwrap().limit, 1_000);
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "limit=1&limit=2", "cursor=!", "cursor="] {
            assert_eq!(query(bad).err().unwrap().len(), 1, "{bad}");
        }
        assert_eq!(query("limit=0&cursor=!").err().unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(number in 1024u16..=49151) {
            let port = Port::new(number).unwrap();
            let text = URL_SAFE_NO_PAD.encode(port.encode());
            prop_assert_eq!(query(&format!("cursor={text}")).unwrap().cursor, Some(port));
        }

        #[test]
        fn any_query_is_answered(limit: String, cursor: String) {
            let _ = parse::<Port>(&[("limit".to_owned(), limit.clone()), ("cursor".to_owned(), cursor.clone())]);
            let _ = parse::<ServiceName>(&[("limit".to_owned(), limit), ("cursor".to_owned(), cursor)]);
        }
    }
}
