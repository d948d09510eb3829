//! The rule for paths, applied before any router sees one.
//!
//! On AWS, IAM decides by the path; so the path that is served must be the one that IAM saw, whatever decodes, resolves
//! or cleans it up in between (API Gateway decodes, and has been seen to decode twice). All of them read a path alike
//! if there is nothing in it to decode, to resolve or to clean up: letters, digits and `. _ ~ -` between single
//! slashes, without the segments `.` and `..`. No path of the API needs anything else, so every other path is not
//! found.

use super::{Kind, Problem};

/// A request that is answered with this problem instead of being served. The code that calls the router may put one
/// into the request; it is logged and answered like any other problem.
#[derive(Clone, Debug)]
pub struct Refused(pub Problem);

/// Where the API begins, as the caller sees it: `/registry` if it is reached as `https://ports.example.com/registry`;
/// empty at the root. Links in headers begin with it. The code that calls the router may put one into the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount(pub String);

/// Judges a path that has already been decoded.
///
/// # Errors
/// The problem to return if the path is not plain.
pub fn plain(path: &str) -> Result<(), Problem> {
    let bytes = path.bytes().all(|byte| byte == b'/' || unreserved(byte));
    if bytes && path.starts_with('/') && segments(path) { Ok(()) } else { Err(not_plain()) }
}

/// Decodes a path once, and judges it: `%7E` is `~`, and `%2e%2e` is refused just as `..` is.
///
/// An encoded slash is refused. As part of a segment it cannot name anything; as a separator it would produce other
/// segments than those that the gateway saw.
///
/// # Errors
/// The problem to return if the path is not plain.
pub fn decoded(path: &str) -> Result<String, Problem> {
    let mut bytes = path.bytes();
    let mut text = String::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                value.filter(|byte| unreserved(*byte)).ok_or_else(not_plain)?
            }
            byte => byte,
        };
        text.push(char::from(byte));
    }
    plain(&text)?;
    Ok(text)
}

/// RFC 3986, section 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)
}

/// No segment is a dot segment, and none is empty except the last: the router refuses a trailing slash.
fn segments(path: &str) -> bool {
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        if [".", ".."].contains(&segment) || (segment.is_empty() && rest.peek().is_some()) {
            return false;
        }
    }
    true
}

fn not_plain() -> Problem {
    // The path is not repeated: it may have a secret in it.
    Problem::new(
        Kind::NotFound,
        "No path of the API is written like this: a segment has letters, digits and . _ ~ - alone, is not empty, and is \
         neither . nor .. Check the values that the path was built from.",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_paths_pass() {
        for good in ["/", "/health", "/v1/services/", "/v1/services/a..b", "/v1/services/.a/...", "/v1/~a_b-c.d/5000"] {
            assert!(plain(good).is_ok(), "{good}");
            assert_eq!(decoded(good).unwrap(), good);
        }
        for bad in [
            "",
            "*",
            "v1/services",
            "//",
            "//v1/services",
            "/v1//services",
            "/v1/services//",
            "/.",
            "/..",
            "/v1/services/../services",
            "/v1/services/django/ports/../../celery/ports/web-01",
            "/v1/services/django/ports/..\\..\\celery\\ports\\web-01",
            "/v1/services/cel\tery",
            "/v1/services/cel ery",
            "/v1/services/cel\0ery",
            "/v1/services/célery",
            "/v1/services/a;b",
            "/v1/services/a@b",
            "/v1/services/a+b",
            "/v1/services/a:b",
            "/v1/services/a?b",
            "/v1/services/a#b",
            "/v1/services/a%62",
        ] {
            assert_eq!(plain(bad).unwrap_err().kind(), Kind::NotFound, "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(decoded("/v1/services/%64jango%7E1").unwrap(), "/v1/services/django~1");
        assert_eq!(decoded("/%76%31/services").unwrap(), "/v1/services");
        for bad in [
            "/v1/services/%2e%2e",
            "/v1/services/.%2E/services",
            "/v1/services/%252e",
            "/v1/services/%2564jango",
            "/v1/services/a%2Fb",
            "/v1%2fservices",
            "/v1/services/a%5cb",
            "/v1/services/cel%09ery",
            "/v1/services/%00",
            "/v1/services/%C3%A9",
            "/v1/services/%ff",
            "/v1/services/%",
            "/v1/services/%2",
            "/v1/services/%zz",
            "/v1/services/%+7",
        ] {
            assert_eq!(decoded(bad).unwrap_err().kind(), Kind::NotFound, "{bad:?}");
        }
    }

    proptest! {
        /// A path that passes is read the same if it is decoded again, resolved as a URL, or has its slashes merged.
        #[test]
        fn what_passes_means_one_thing(path in "/([a-z.%~/\\\\ é]|%2[eEfF5]|%25|\\.\\./){0,20}", any: String) {
            for path in [path, any] {
                if let Ok(served) = decoded(&path) {
                    prop_assert!(plain(&served).is_ok());
                    // No encoded slash has become a separator.
                    prop_assert_eq!(served.matches('/').count(), path.matches('/').count());
                    prop_assert_eq!(decoded(&served).unwrap(), served.clone());
                    prop_assert_eq!(resolved(&served).unwrap_or_default(), served);
                }
            }
        }
    }

    /// The path as a browser's URL parser resolves it.
    fn resolved(path: &str) -> Option<String> {
        let mut kept = Vec::new();
        for segment in path.strip_prefix('/')?.split(['/', '\\']) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                segment => kept.push(segment),
            }
        }
        Some(format!("/{}", kept.join("/")))
    }
}
