//! The page: static files in the binary, and the headers with which they are sent.
//!
//! Two programs serve it: `portmasterd`, beside its API, and `portmaster ui`, for a registry elsewhere. Both answer
//! with [`answer`], so that neither can forget a header. There is no build step: the files in `files/` are what the
//! browser gets. They are HTML, CSS and modules of JavaScript, without a framework: the page has one list, one canvas
//! and one panel, and a library for that would be larger than they are, and one more thing in which to look for holes.
//!
//! The page needs no rights that its server does not have. It reads and writes through the same API as everybody else.

use std::sync::LazyLock;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Where the page itself is.
pub const ROOT: &str = "/";

/// Below this are its other files, and nothing else.
pub const FOLDER: &str = "/page/";

/// Where the page reads its [`Settings`].
pub const SETTINGS: &str = "/page/settings.json";

/// What the browser may do for the page: load its own scripts and styles, and call its own server. No script and no
/// style inside the HTML counts, so a name that came out as HTML would still do nothing.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                           connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                                           form-action 'none'; frame-ancestors 'none'";

/// The headers of each answer, besides its type: [`CONTENT_SECURITY_POLICY`]; no guessing of types; the addresses of
/// the page, which have names in them, are told to nobody; no other window keeps a handle on it.
const SECURITY: [(&str, &str); 5] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// What the page has to know of the server that it comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The registry, in words for the head of the page: a URL, or empty for the page's own server.
    pub registry: String,
    /// Whether the page offers to change anything. The server decides what is allowed; this only decides what is shown.
    pub write: bool,
    /// Whether each call needs the session that a one-time token is exchanged for, as in `portmaster ui`.
    pub session: bool,
}

/// A file in the binary.
struct File {
    name: &'static str,
    kind: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($name:literal $kind:literal;)*) => {
        /// Every file, the page itself first.
        const FILES: &[File] = &[$(
            File { name: $name, kind: $kind, body: include_bytes!(concat!("../files/", $name)) },
        )*];
    };
}

files! {
    "index.html" "text/html; charset=utf-8";
    "page.css" "text/css; charset=utf-8";
    "icon.svg" "image/svg+xml";
    "main.js" "text/javascript; charset=utf-8";
    "api.js" "text/javascript; charset=utf-8";
    "dom.js" "text/javascript; charset=utf-8";
    "place.js" "text/javascript; charset=utf-8";
    "states.js" "text/javascript; charset=utf-8";
    "overview.js" "text/javascript; charset=utf-8";
    "range.js" "text/javascript; charset=utf-8";
    "canvas.js" "text/javascript; charset=utf-8";
    "panel.js" "text/javascript; charset=utf-8";
    "ask.js" "text/javascript; charset=utf-8";
    "job.js" "text/javascript; charset=utf-8";
    "search.js" "text/javascript; charset=utf-8";
    "live.js" "text/javascript; charset=utf-8";
}

/// The tags of the files, in their order: a hash of the content, so that a browser asks again after an upgrade and not
/// before.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| FILES.iter().map(|file| tag(file.body)).collect());

fn tag(body: &[u8]) -> HeaderValue {
    let hash: String = Sha256::digest(body).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Answers a request to read the page or one of its files; none for any other, so that the caller goes on.
///
/// At [`ROOT`] only a caller that wants HTML gets the page: programs, whose `Accept` does not name it, see there what
/// they always saw.
///
/// # Arguments
///
/// - `path`: plain, as `portmaster_http::target` leaves it.
/// - `settings`: what [`SETTINGS`] answers.
#[must_use]
pub fn answer(method: &Method, path: &str, headers: &HeaderMap, settings: &Settings) -> Option<Response<Vec<u8>>> {
    let is_root = path == ROOT;
    let is_reading = [Method::GET, Method::HEAD].contains(method);
    if !is_reading || (is_root && !wants_html(headers)) {
        return None;
    }
    if path == SETTINGS {
        return Some(sent(method, "application/json", None, serde_json::to_vec(settings).unwrap_or_default()));
    }
    let name = if is_root { "index.html" } else { path.strip_prefix(FOLDER)? };
    let at = FILES.iter().position(|file| file.name == name)?;
    let (file, tag) = (FILES.get(at)?, TAGS.get(at)?);
    let mut response = if matches(headers, tag) {
        let mut response = sent(&Method::HEAD, file.kind, Some(tag), Vec::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_LENGTH);
        response
    } else {
        sent(method, file.kind, Some(tag), file.body.to_vec())
    };
    if is_root {
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    }
    Some(response)
}

/// Adds the headers that keep a page from doing harm. For whatever else the page's server answers.
pub fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

fn sent(method: &Method, kind: &'static str, tag: Option<&HeaderValue>, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(if *method == Method::HEAD { Vec::new() } else { body });
    let headers = response.headers_mut();
    secure(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length.into());
    // A tag has to be asked about each time, since the next version of the program has other files at the same paths.
    let cached = if tag.is_some() { "no-cache" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cached));
    if let Some(tag) = tag {
        headers.insert(ETAG, tag.clone());
    }
    response
}

/// Whether HTML is named, as every browser does and `*/*` does not.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| ["q=0", "q=0.0", "q=0.00", "q=0.000"].contains(&part))
    })
}

/// Whether the browser has this version (RFC 9110, section 13.1.2). Proxies that compress weaken the tag.
fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let tag = tag.to_str().unwrap_or_default();
    known.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SETTINGS_OF_A_TEST: Settings = Settings { registry: String::new(), write: false, session: false };

    fn get(path: &str, headers: &[(&'static str, &'static str)]) -> Option<Response<Vec<u8>>> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        answer(&Method::GET, path, &headers.collect(), &SETTINGS_OF_A_TEST)
    }

    const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

    #[test]
    fn every_answer_has_the_headers_that_keep_the_page_harmless() {
        let paths = FILES.iter().map(|file| format!("{FOLDER}{}", file.name));
        for path in paths.chain([ROOT.to_owned(), SETTINGS.to_owned()]) {
            for method in [Method::GET, Method::HEAD] {
                let headers = [(ACCEPT, HeaderValue::from_static("text/html"))].into_iter().collect();
                let response = answer(&method, &path, &headers, &SETTINGS_OF_A_TEST).unwrap();
                assert_eq!(response.status(), 200, "{path}");
                let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
                let policy = header("content-security-policy");
                assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
                assert_eq!(header("x-content-type-options"), "nosniff");
                assert_eq!(header("referrer-policy"), "no-referrer");
                assert_eq!(header("cross-origin-opener-policy"), "same-origin");
                assert_ne!(header("content-length"), "0");
                assert_eq!(response.body().is_empty(), method == Method::HEAD, "{path}");
            }
        }
    }

    #[test]
    fn the_page_is_for_browsers_and_programs_see_what_they_saw() {
        assert!(get(ROOT, &[BROWSER]).is_some());
        let accepts = ["*/*", "application/json", "text/*", "text/html;q=0", "text/html5", ""];
        for accept in accepts {
            assert!(get(ROOT, &[("accept", accept)]).is_none(), "{accept}");
        }
        assert!(get(ROOT, &[]).is_none());
        for path in ["/page", "/page/", "/page/nothing.js", "/page/../page/main.js", "/v1/services", "/index.html"] {
            assert!(get(path, &[BROWSER]).is_none(), "{path}");
        }
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        for path in [ROOT, SETTINGS, "/page/main.js"] {
            assert!(answer(&Method::POST, path, &headers, &SETTINGS_OF_A_TEST).is_none(), "{path}");
        }
    }

    #[test]
    fn a_browser_that_has_a_file_is_told_so() {
        let first = get("/page/main.js", &[]).unwrap();
        let tag = first.headers()[ETAG].clone();
        for (known, status) in [
            (tag.to_str().unwrap().to_owned(), 304),
            (format!("\"other\", W/{}", tag.to_str().unwrap()), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(&known).unwrap())]);
            let again = answer(&Method::GET, "/page/main.js", &headers, &SETTINGS_OF_A_TEST).unwrap();
            assert_eq!(again.status(), status, "{known}");
            assert_eq!(again.body().is_empty(), status == 304);
            assert!(again.headers().contains_key("content-security-policy"));
        }
        assert_ne!(get("/page/page.css", &[]).unwrap().headers()[ETAG], tag);
    }

    /// With the policy above, a browser would ignore it silently.
    #[test]
    fn nothing_stands_inside_the_html() {
        let html = std::str::from_utf8(FILES[0].body).unwrap();
        for wrong in ["<style", " style=", " onclick", " onload", "javascript:", "http://", "https://"] {
            assert!(!html.contains(wrong), "{wrong}");
        }
        for script in html.split("<script").skip(1) {
            assert!(script.starts_with(" type=\"module\" src=\"page/main.js\"></script>"), "{script}");
        }
    }

    /// Names, labels and owners are other people's texts. What makes HTML of a text is not used at all.
    #[test]
    fn no_script_makes_html_of_a_text() {
        let words = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "createContextualFragment",
            "setHTML",
            "srcdoc",
            "setTimeout('",
            "setAttribute('on",
        ];
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let text = std::str::from_utf8(file.body).unwrap();
            for word in words {
                assert!(!text.contains(word), "{}: {word}", file.name);
            }
        }
    }

    /// A file that a module imports is served, and every file is used.
    #[test]
    fn every_file_is_served_and_used() {
        let all: String = FILES.iter().map(|file| std::str::from_utf8(file.body).unwrap()).collect();
        for line in all.lines().filter(|line| line.contains(" from './")) {
            let name = line.split("'./").nth(1).unwrap().split('\'').next().unwrap();
            assert!(FILES.iter().any(|file| file.name == name), "{name} is not served");
        }
        for file in &FILES[1..] {
            assert!(all.contains(file.name), "{} is not used", file.name);
        }
    }
}
