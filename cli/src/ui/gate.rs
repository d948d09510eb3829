//! Who may ask, and for what.
//!
//! Three kinds of callers must get nothing here: a page of another site in the same browser, a page that has made a
//! name of its own resolve to this machine, and another user or program on this machine. The first two are told by
//! `Origin`, `Sec-Fetch-Site` and `Host`, and all three lack the session. What the page may ask for is a list; whatever
//! is not on it is not passed on, so nobody has to wonder what else the keys of this machine could do.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

/// The header of the session.
pub(super) const SESSION: &str = "x-portmaster-session";

/// Where the token is exchanged.
const EXCHANGE: &str = "/session";

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A file of the page. They are no secret.
    File,
    /// The session, for the token.
    Session,
    /// A call of the API, to be passed on.
    Call,
    /// The events, as they happen.
    Events,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was sent to another name than the one that was printed.
    OtherHost,
    /// A page of another site sent it.
    OtherOrigin,
    /// It has no session, or another one.
    NoSession,
    /// The token was used, or is none.
    UsedToken,
    /// There is no such path here.
    NotFound,
    /// It would change something.
    ReadOnly,
    /// The path does not have this method here.
    OtherMethod,
}

impl Refusal {
    /// The status, the type of the problem, its title, and what to do next.
    pub(super) fn problem(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "/problems/misdirected-request",
                "The page does not answer to this name",
                "Open the address that portmaster ui has printed, as it is.",
            ),
            Self::OtherOrigin => (
                StatusCode::FORBIDDEN,
                "/problems/cross-origin",
                "Web pages of this origin may not call",
                "Only the page that portmaster ui serves may call here.",
            ),
            Self::NoSession => (
                StatusCode::UNAUTHORIZED,
                "about:blank",
                "There is no session",
                "This page has no session. Run portmaster ui again, and open the address that it prints.",
            ),
            Self::UsedToken => (
                StatusCode::FORBIDDEN,
                "about:blank",
                "The token does not hold",
                "The token of this address was used before. Run portmaster ui again for another one.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "/problems/not-found",
                "There is nothing at this path",
                "portmaster ui passes on only the calls that its page needs.",
            ),
            Self::ReadOnly => (
                StatusCode::FORBIDDEN,
                "about:blank",
                "This page is to look at",
                "Nothing was changed. Start portmaster ui with --write to release ports and to end quarantines.",
            ),
            Self::OtherMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "/problems/method-not-allowed",
                "The path does not have this method",
                "portmaster ui passes on only the calls that its page needs.",
            ),
        }
    }
}

/// What a caller has to know, and what it may then do.
pub(super) struct Gate {
    /// Host and port, as in `Host`.
    authority: String,
    write: bool,
    /// Until it is exchanged.
    token: Mutex<Option<String>>,
    session: String,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the token nor the session.
        f.debug_struct("Gate").field("authority", &self.authority).field("write", &self.write).finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(address: SocketAddr, write: bool) -> Self {
        Self { authority: address.to_string(), write, token: Mutex::new(Some(random())), session: random() }
    }

    /// The token, until it is exchanged.
    pub(super) fn token(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, for the token: once.
    pub(super) fn exchange(&self, token: &[u8]) -> Option<String> {
        let mut expected = self.lock();
        if expected.as_ref().is_some_and(|expected| same(expected.as_bytes(), token)) {
            *expected = None;
            return Some(self.session.clone());
        }
        None
    }

    pub(super) fn judge(&self, parts: &Parts) -> Result<Asked, Refusal> {
        let headers = &parts.headers;
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().filter(|_| hosts.next().is_none());
        // An absolute target is for proxies; a browser sends none to the server that it wants.
        if parts.uri.authority().is_some() || host.is_none_or(|host| host.as_bytes() != self.authority.as_bytes()) {
            return Err(Refusal::OtherHost);
        }
        let origin = format!("http://{}", self.authority);
        if headers.get_all(ORIGIN).iter().any(|from| from.as_bytes() != origin.as_bytes()) {
            return Err(Refusal::OtherOrigin);
        }
        let path = parts.uri.path();
        if !is_plain(path) {
            return Err(Refusal::NotFound);
        }
        if path == EXCHANGE {
            self.is_from_the_page(headers)?;
            return if parts.method == Method::POST { Ok(Asked::Session) } else { Err(Refusal::OtherMethod) };
        }
        let Some(call) = path.strip_prefix("/v1/") else {
            // A link to the page may be anywhere.
            return Ok(Asked::File);
        };
        self.is_from_the_page(headers)?;
        let mut sessions = headers.get_all(SESSION).iter();
        let session = sessions.next().filter(|_| sessions.next().is_none());
        if !session.is_some_and(|session| same(self.session.as_bytes(), session.as_bytes())) {
            return Err(Refusal::NoSession);
        }
        self.allows(&parts.method, call)
    }

    /// Browsers say where a request comes from, in a header that no page can set. Other programs leave it out.
    fn is_from_the_page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let site = headers.get_all("sec-fetch-site");
        if site.iter().all(|site| site == "same-origin") { Ok(()) } else { Err(Refusal::OtherOrigin) }
    }

    /// The calls that the page needs. `call` is what follows `/v1/`.
    fn allows(&self, method: &Method, call: &str) -> Result<Asked, Refusal> {
        let segments: Vec<_> = call.split('/').collect();
        let below = match segments.as_slice() {
            ["namespaces", _, below @ ..] if !below.is_empty() => below,
            segments => segments,
        };
        // Not an offer by its secret: the page does not know any, and a path with one would be a secret itself.
        let (reads, changes) = match below {
            ["services" | "namespaces"]
            | ["services", _]
            | ["services", _, "ports" | "offers" | "map" | "history"]
            | ["ports", _]
            | ["ports", _, "history"] => (true, false),
            ["services", _, "ports", _] => (true, true),
            ["services", _, "quarantine", _] => (false, true),
            ["events"] if below.len() == segments.len() => {
                return if *method == Method::GET { Ok(Asked::Events) } else { Err(Refusal::OtherMethod) };
            }
            _ => return Err(Refusal::NotFound),
        };
        match *method {
            Method::GET if reads => Ok(Asked::Call),
            Method::DELETE if changes && self.write => Ok(Asked::Call),
            Method::DELETE if changes => Err(Refusal::ReadOnly),
            _ => Err(Refusal::OtherMethod),
        }
    }
}

/// Whether a path reads the same to everything that decodes, resolves or cleans up paths, as the API requires:
/// letters, digits and `. _ ~ -` between single slashes, without the segments `.` and `..`.
fn is_plain(path: &str) -> bool {
    let characters = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte));
    let segments = || path.split('/').skip(1);
    let whole = segments().all(|segment| !["", ".", ".."].contains(&segment));
    characters && path.starts_with('/') && (path == "/" || whole)
}

/// Compares hashes, so that the time it takes says nothing about the text.
fn same(expected: &[u8], given: &[u8]) -> bool {
    Sha256::digest(expected) == Sha256::digest(given)
}

/// 256 bits that nobody can guess.
fn random() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn gate(write: bool) -> Gate {
        Gate::new("127.0.0.1:40123".parse().unwrap(), write)
    }

    fn judge(gate: &Gate, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Asked, Refusal> {
        let session = gate.session.clone();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, value.replace("SESSION", &session));
        }
        gate.judge(&request.body(()).unwrap().into_parts().0)
    }

    const HOST: (&str, &str) = ("host", "127.0.0.1:40123");
    const GOOD: (&str, &str) = (SESSION, "SESSION");

    #[test]
    fn only_the_calls_of_the_page_are_passed_on() {
        let (reader, writer) = (gate(false), gate(true));
        for path in [
            "namespaces",
            "namespaces/team-a/services",
            "services?usage=true",
            "services/django",
            "services/django/map",
            "services/django/ports?limit=100",
            "services/django/ports/web-01",
            "services/django/offers",
            "services/django/history?name=web-01",
            "ports/5000",
            "ports/5000/history",
            "namespaces/team-a/services/django/ports/5000",
            "namespaces/team-a/ports/5000/history",
        ] {
            let target = format!("/v1/{path}");
            assert_eq!(judge(&reader, "GET", &target, &[HOST, GOOD]), Ok(Asked::Call), "{path}");
            for method in ["POST", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PURGE"] {
                assert_eq!(
                    judge(&writer, method, &target, &[HOST, GOOD]),
                    Err(Refusal::OtherMethod),
                    "{method} {path}"
                );
            }
        }
        assert_eq!(judge(&reader, "GET", "/v1/events", &[HOST, GOOD]), Ok(Asked::Events));
        for path in ["services/django/ports/web-01?owner=a", "namespaces/a/services/django/quarantine/5000"] {
            let target = format!("/v1/{path}");
            assert_eq!(judge(&writer, "DELETE", &target, &[HOST, GOOD]), Ok(Asked::Call), "{path}");
            assert_eq!(judge(&reader, "DELETE", &target, &[HOST, GOOD]), Err(Refusal::ReadOnly), "{path}");
        }
        for path in [
            "services/django/offers/4e20edb4-e271-8694-bac7-e59d850fb3db",
            "services/django/offers/4e20edb4-e271-8694-bac7-e59d850fb3db/accept",
            "services/django/release",
            "services/django/sets",
            "services/django/import",
            "services/django/ports/web-01/renew",
            "openapi.json",
            "namespaces/team-a/events",
            "namespaces/team-a/namespaces/team-b/services",
            "unknown",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let judged = judge(&writer, method, &format!("/v1/{path}"), &[HOST, GOOD]);
                assert_eq!(judged, Err(Refusal::NotFound), "{method} {path}");
            }
        }
        // A service and a namespace are deleted elsewhere.
        for path in ["services/django", "namespaces/team-a", "services", "namespaces"] {
            let judged = judge(&writer, "DELETE", &format!("/v1/{path}"), &[HOST, GOOD]);
            assert!(matches!(judged, Err(Refusal::OtherMethod | Refusal::NotFound)), "{path}: {judged:?}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        let gate = gate(true);
        for path in [
            "/v1/services/..%2fdjango",
            "/v1/services/%2e%2e/django",
            "/v1/services/../services",
            "/v1/services/./django",
            "/v1//services",
            "//v1/services",
            "/v1/services/",
            "/v1/services/django%00",
            "/v1/services/a;b",
            "/v1/services/a@b",
            "/v1/services/a:80",
            "/v1\\services",
            "/page/../v1/services",
            "*",
        ] {
            for method in ["GET", "DELETE"] {
                assert_eq!(judge(&gate, method, path, &[HOST, GOOD]), Err(Refusal::NotFound), "{path}");
            }
        }
        for absolute in ["http://evil.example/v1/services", "http://127.0.0.1:40123/v1/services"] {
            assert_eq!(judge(&gate, "GET", absolute, &[HOST, GOOD]), Err(Refusal::OtherHost), "{absolute}");
        }
    }

    #[test]
    fn only_the_page_itself_gets_in() {
        let gate = gate(true);
        for host in ["localhost:40123", "127.0.0.1", "127.0.0.1:80", "evil.example:40123", "127.0.0.1.evil.example", ""]
        {
            for path in ["/", "/session", "/v1/services"] {
                let judged = judge(&gate, "GET", path, &[("host", host), GOOD]);
                assert_eq!(judged, Err(Refusal::OtherHost), "{host} {path}");
            }
        }
        assert_eq!(judge(&gate, "GET", "/", &[]), Err(Refusal::OtherHost));
        assert_eq!(judge(&gate, "GET", "/", &[HOST, HOST]), Err(Refusal::OtherHost));
        for origin in ["null", "http://localhost:40123", "https://127.0.0.1:40123", "http://127.0.0.1:3000", "x", ""] {
            for (method, path) in [("GET", "/"), ("POST", "/session"), ("GET", "/v1/services")] {
                let judged = judge(&gate, method, path, &[HOST, GOOD, ("origin", origin)]);
                assert_eq!(judged, Err(Refusal::OtherOrigin), "{origin} {path}");
            }
        }
        for site in ["cross-site", "same-site", "none", "other"] {
            let from = ("sec-fetch-site", site);
            assert_eq!(judge(&gate, "GET", "/v1/services", &[HOST, GOOD, from]), Err(Refusal::OtherOrigin), "{site}");
            assert_eq!(judge(&gate, "POST", "/session", &[HOST, from]), Err(Refusal::OtherOrigin), "{site}");
            assert_eq!(judge(&gate, "GET", "/", &[HOST, from]), Ok(Asked::File), "a link to the page: {site}");
        }
        let from_the_page = [HOST, GOOD, ("origin", "http://127.0.0.1:40123"), ("sec-fetch-site", "same-origin")];
        assert_eq!(judge(&gate, "DELETE", "/v1/services/a/ports/b", &from_the_page), Ok(Asked::Call));
        for wrong in [&[HOST][..], &[HOST, (SESSION, "")], &[HOST, (SESSION, "SESSIONx")], &[HOST, GOOD, GOOD]] {
            assert_eq!(judge(&gate, "GET", "/v1/services", wrong), Err(Refusal::NoSession), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_holds_once() {
        let gate = gate(false);
        let token = gate.token().unwrap();
        assert_eq!(token.len(), 64);
        for wrong in ["", "x", &token[1..], &format!("{token} "), &gate.session.clone()] {
            assert_eq!(gate.exchange(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(gate.exchange(token.as_bytes()), Some(gate.session.clone()));
        assert_eq!((gate.exchange(token.as_bytes()), gate.token()), (None, None));
        assert_ne!(gate.session, super::random());
        assert!(!format!("{gate:?}").contains(&gate.session));
    }
}
