//! Pages of a list: `?limit=`, `?cursor=`, and the `Link` to the next one (RFC 8288).
//!
//! A cursor names its list, so that a cursor of another list is refused: here it would skip unrelated items. Cursors
//! from before they named their list are a bare port or name; they are accepted as they are, so that a listing that
//! began under the previous version continues under this one.

use std::fmt::Display;
use std::num::IntErrorKind;

use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use portmaster_wire::Fault;

use super::filter::{self, Filter, optional};
use super::headers;
use super::{Api, Problem};
use portmaster_domain::{Claim, Namespace, Port, ServiceId, ServiceName, StateKind};
use portmaster_registry::Call;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// The part of a list that is requested.
pub(super) struct Page<C> {
    /// The path of the list, as it was used.
    list: String,
    pub(super) limit: usize,
    pub(super) cursor: Option<C>,
}

/// The position that a cursor holds, as text: where the previous page ended. Opaque to callers, and valid across
/// versions.
pub(super) trait Cursor: Sized + Display {
    fn decode(text: &str) -> Option<Self>;
}

impl Cursor for ServiceName {
    fn decode(text: &str) -> Option<Self> {
        Self::try_from(text).ok()
    }
}

impl Cursor for Namespace {
    fn decode(text: &str) -> Option<Self> {
        Self::try_from(text).ok()
    }
}

impl Cursor for Port {
    fn decode(text: &str) -> Option<Self> {
        text.parse().ok().and_then(|number| Self::new(number).ok())
    }
}

/// Separates the list's path from where its page ended. No path and no name contains it.
const OF: char = '#';

pub(super) fn encode<C: Cursor>(list: &str, cursor: &C) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}{OF}{cursor}"))
}

pub(super) fn decode<C: Cursor>(list: &str, text: &str) -> Result<C, Fault> {
    let fault = |detail: &str| Fault::in_parameter("cursor", detail);
    let nobodys = || fault("must be copied unchanged from a Link header");
    let text = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(nobodys)?;
    let end = match text.rsplit_once(OF) {
        Some((of, end)) if of == list => end,
        Some((of, _)) if of.starts_with('/') => {
            return Err(fault("belongs to another list; start this one without a cursor, and follow its Link headers"));
        }
        Some(_) => return Err(nobodys()),
        // A cursor of the previous version.
        None => &text,
    };
    C::decode(end).ok_or_else(nobodys)
}

fn parse<C: Cursor>(list: &str, pairs: &[(String, String)]) -> Result<Page<C>, Vec<Fault>> {
    let mut faults = Vec::new();
    // The middleware `declared` has checked that each parameter occurs once.
    let single = |parameter: &str| pairs.iter().find(|(name, _)| name == parameter).map(|(_, value)| value.as_str());
    let limit = match single("limit").map(str::parse::<u64>) {
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
    let cursor = single("cursor").map(|text| decode(list, text)).transpose().unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    if faults.is_empty() { Ok(Page { list: list.to_owned(), limit, cursor }) } else { Err(faults) }
}

/// The path of the list that a request asks for, with its names unencoded. No name has a character that needs encoding.
async fn list_of(parts: &mut Parts) -> String {
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params.iter().fold(route, |path, (name, value)| path.replace(&format!("{{{name}}}"), value)),
        Err(_) => route,
    }
}

impl<S: Sync, C: Cursor> FromRequestParts<S> for Page<C> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let list = list_of(parts).await;
        parse(&list, &filter::pairs(&parts.uri)?).map_err(Problem::invalid)
    }
}

/// For the OpenAPI document.
impl<C> utoipa::IntoParams for Page<C> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).default(Some(DEFAULT_LIMIT.into()));
        vec![
            optional("limit", "How many items at most; more than 1,000 counts as 1,000.", limit),
            optional(
                "cursor",
                "The start of the page, as in the `Link` header of the page before.",
                ObjectBuilder::new().schema_type(Type::String),
            ),
        ]
    }
}

/// A page as a response: a plain array, and a `Link` if there is more. The link has the parameters of this page.
pub(super) fn answer<T: Serialize, C: Cursor>(
    Page { list, limit, .. }: &Page<C>,
    mut parameters: Vec<(&'static str, String)>,
    items: Vec<T>,
    next: Option<C>,
) -> Response {
    let mut response = Json(items).into_response();
    if let Some(cursor) = next {
        parameters.extend([("cursor", encode(list, &cursor)), ("limit", limit.to_string())]);
        // In this order, because old versions of curl sign a query as it stands, and AWS requires it sorted.
        parameters.sort();
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let link = format!("<{list}?{}>; rel=\"next\"", query.join("&"));
        headers::set(response.headers_mut(), header::LINK, &link);
    }
    response
}

/// A page of a service's claims in one state that pass a filter.
pub(super) async fn of_claims<T: Serialize + for<'a> From<&'a Claim>>(
    api: &Api,
    call: &Call,
    service: &ServiceId,
    (page, filter): &(Page<Port>, Filter),
    state: StateKind,
) -> Result<Response, Problem> {
    let listed = api.registry.list_claims(call, service, state, filter.wanted(), page.cursor, page.limit).await?;
    let items: Vec<T> = listed.items.iter().map(T::from).collect();
    Ok(answer(page, filter.parameters(), items, listed.next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = "/v1/services/django/ports";

    fn query(text: &str) -> Result<Page<Port>, Vec<Fault>> {
        let uri = format!("/?{text}").parse().unwrap();
        parse(LIST, &filter::pairs(&uri).unwrap())
    }

    #[test]
    fn limits_are_clamped_above_and_refused_below() {
        assert_eq!(query("").unwrap().limit, 100);
        assert_eq!(query("limit=1").unwrap().limit, 1);
        assert_eq!(query("limit=1000").unwrap().limit, 1_000);
        assert_eq!(query("limit=18446744073709551615").unwrap().limit, 1_000);
        assert_eq!(query("limit=99999999999999999999999").unwrap().limit, 1_000);
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "cursor=!", "cursor="] {
            assert_eq!(query(bad).err().unwrap().len(), 1, "{bad}");
        }
        assert_eq!(query("limit=0&cursor=!").err().unwrap().len(), 2);
    }

    #[test]
    fn a_cursor_counts_for_its_own_list() {
        let port = Port::new(5000).unwrap();
        let refused = |cursor: &str| decode::<Port>(LIST, cursor).unwrap_err().detail;
        for other in ["/v1/services/django/offers", "/v1/services/celery/ports", "/v1/services"] {
            assert!(refused(&encode(other, &port)).contains("another list"), "{other}");
        }
        let name = ServiceName::try_from("5000").unwrap();
        assert!(refused(&encode("/v1/services", &name)).contains("another list"));
        // No list has ever had these cursors.
        for forged in [format!("{LIST}#"), format!("{LIST}#80"), "#5000".to_owned(), format!("{LIST}#5000#5000")] {
            let detail = refused(&URL_SAFE_NO_PAD.encode(&forged));
            assert!(detail.contains("Link") || detail.contains("another"), "{forged}: {detail}");
        }
        // A cursor of the previous version.
        assert_eq!(decode::<Port>(LIST, &URL_SAFE_NO_PAD.encode("5000")).unwrap(), port);
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(number in 1024u16..=49151) {
            let port = Port::new(number).unwrap();
            let text = encode(LIST, &port);
            prop_assert_eq!(query(&format!("cursor={text}")).unwrap().cursor, Some(port));
        }

        #[test]
        fn any_query_is_answered(limit: String, cursor: String) {
            let pairs = [("limit".to_owned(), limit), ("cursor".to_owned(), cursor.clone())];
            let _ = (parse::<Port>(LIST, &pairs), parse::<ServiceName>(LIST, &pairs));
            let _ = decode::<Port>(LIST, &URL_SAFE_NO_PAD.encode(cursor));
        }
    }
}
