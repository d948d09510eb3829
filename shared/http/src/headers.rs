//! Request headers that the API evaluates, and the setting of response headers.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sfv::{BareItem, Item, Parser};

use super::Problem;
use portmaster_domain::{IdempotencyKey, InvalidIdempotencyKey};
use portmaster_registry::IfMatch;
use portmaster_wire::Fault;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The only value of a header; none if it is absent.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'a [u8]>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(vec![Fault::in_header(shown, "must be sent once")]));
    }
    Ok(first.map(|value| value.as_bytes()))
}

/// `Idempotency-Key`: a quoted string, as in the IETF's draft, or the plain text that most clients send. Both are the
/// same key.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    const SHOWN: &str = "Idempotency-Key";
    let Some(value) = single(headers, &IDEMPOTENCY_KEY, SHOWN)? else { return Ok(None) };
    parse_key(value).map(Some).map_err(|error| Problem::invalid(vec![Fault::in_header(SHOWN, error.to_string())]))
}

fn parse_key(value: &[u8]) -> Result<IdempotencyKey, InvalidIdempotencyKey> {
    let text = std::str::from_utf8(value).map_err(|_| InvalidIdempotencyKey::Malformed)?.trim();
    if !text.starts_with('"') {
        return IdempotencyKey::new(text);
    }
    match Parser::new(text).parse::<Item>() {
        Ok(Item { bare_item: BareItem::String(key), .. }) => IdempotencyKey::new(key.as_str()),
        _ => Err(InvalidIdempotencyKey::Malformed),
    }
}

/// `If-Match` (RFC 9110, section 13.1.1). A weak tag never matches.
pub(super) fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    const SHOWN: &str = "If-Match";
    let mut versions = Vec::new();
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(IfMatch::Always);
    }
    for value in values {
        let malformed = || {
            let detail = "must be * or a list of entity tags, each in double quotes, as in the ETag header";
            Problem::invalid(vec![Fault::in_header(SHOWN, detail)])
        };
        let text = value.to_str().map_err(|_| malformed())?.trim();
        if text == "*" {
            return Ok(IfMatch::Exists);
        }
        // A service's tags have no commas in them.
        for tag in text.split(',').map(str::trim) {
            let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
            let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(malformed)?;
            if !weak {
                versions.push(opaque.to_owned());
            }
        }
    }
    Ok(IfMatch::OneOf(versions))
}

/// `If-None-Match: *` (RFC 9110, section 13.1.2): only if there is none yet. No other value is useful here.
pub(super) fn only_if_new(headers: &HeaderMap) -> Result<bool, Problem> {
    const SHOWN: &str = "If-None-Match";
    match single(headers, &header::IF_NONE_MATCH, SHOWN)? {
        None => Ok(false),
        Some(b"*") => Ok(true),
        Some(_) => Err(Problem::invalid(vec![Fault::in_header(SHOWN, "must be * or absent")])),
    }
}

/// `If-Match: *` (RFC 9110, section 13.1.1): only if there is one. A port has no versions, so no other value is useful.
pub(super) fn only_if_there(headers: &HeaderMap) -> Result<bool, Problem> {
    const SHOWN: &str = "If-Match";
    match single(headers, &header::IF_MATCH, SHOWN)? {
        None => Ok(false),
        Some(b"*") => Ok(true),
        Some(_) => Err(Problem::invalid(vec![Fault::in_header(SHOWN, "must be * or absent; a port has no ETag")])),
    }
}

/// Sets a header of a response. A text that a header cannot carry is left out; names, secrets and ids have no such
/// characters.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
        Some(HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).ok()?)]))
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let plain = parse_key(b"build-4711/web-01").unwrap();
        assert!(plain == parse_key(br#""build-4711/web-01""#).unwrap());
        assert!(parse_key(br#"a "b""#).unwrap() == parse_key(br#""a \"b\"""#).unwrap());
        assert_eq!(parse_key(br#""open"#), Err(InvalidIdempotencyKey::Malformed));
        assert_eq!(parse_key(br#""""#), Err(InvalidIdempotencyKey::Empty));
        assert_eq!(parse_key(&[b'a'; 256]), Err(InvalidIdempotencyKey::TooLong));
        assert!(parse_key(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn entity_tags_are_compared_strongly() {
        let parse = |text: &str| if_match(&with(header::IF_MATCH, text.as_bytes()).unwrap());
        assert_eq!(parse("*").unwrap(), IfMatch::Exists);
        let both = IfMatch::OneOf(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(parse(r#""a", "b""#).unwrap(), both);
        assert_eq!(parse(r#"W/"a""#).unwrap(), IfMatch::OneOf(Vec::new()));
        assert!(parse("a").is_err());
        assert!(parse("").is_err());
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), IfMatch::Always);
    }

    proptest! {
        #[test]
        fn any_value_is_answered(value: Vec<u8>) {
            if let Some(headers) = with(header::IF_MATCH, &value) {
                let _ = if_match(&headers);
            }
            if let Some(headers) = with(IDEMPOTENCY_KEY, &value) {
                let _ = idempotency_key(&headers);
            }
        }
    }
}
