//! Checks requests before the router sees them, as no gateway has done so.
//!
//! On one machine there is no authentication, so a request that a web page can make a browser send must not be enough.
//! A page can send requests to any address, but it cannot hide its origin (`Origin`), and if it made a name of its own
//! resolve to this machine, the browser sends that name (`Host`). Other programs send the address that they were given,
//! and no `Origin`.
//!
//! Paths are judged as on AWS (`shared/http/src/target.rs`), once they are decoded.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use hyper::service::Service;
use portmaster_http::target::{Refused, decoded};
use portmaster_http::{Kind, Problem};

/// A path that no route has. (`/` has the page.)
const NOWHERE: &str = "/-";

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The rules, from the options.
#[derive(Debug)]
pub(crate) struct Rules {
    listening: IpAddr,
    /// Names under which it may be called, besides `localhost`: the one in `--listen`, if it is a name, and the allowed
    /// ones.
    names: Vec<String>,
    /// The names of `--allow-host`, whose pages may call as well.
    allowed: Vec<String>,
}

impl Rules {
    /// `listen` and `allowed` are the options; `listening` is the address to which `listen` resolved.
    pub(crate) fn new(listen: &str, listening: IpAddr, allowed: &[String]) -> Self {
        let names = host(listen).into_iter().chain(allowed.iter().cloned()).collect();
        Self { listening: listening.to_canonical(), names, allowed: allowed.to_vec() }
    }

    /// Adds the problem to a request that must not be served, and sets the path of any other to its plain form.
    fn apply<B>(&self, request: &mut Request<B>) {
        let judged = self.judge(request.method(), request.version(), request.uri(), request.headers());
        match decoded(request.uri().path()) {
            Ok(path) if path == request.uri().path() => {}
            Ok(path) => *request.uri_mut() = with_path(request.uri(), path),
            Err(problem) => {
                // So that no route matches, and the log does not report one.
                *request.uri_mut() = Uri::from_static(NOWHERE);
                request.extensions_mut().insert(Refused(problem));
            }
        }
        // A problem with the caller takes precedence.
        if let Err(problem) = judged {
            request.extensions_mut().insert(Refused(problem));
        }
    }

    fn judge(&self, method: &Method, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let named = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(host),
            // As RFC 9112, section 3.2, requires. No browser omits it; clients of HTTP/1.0 may.
            (None, _) if version < Version::HTTP_11 => None,
            _ => return Err(Problem::new(Kind::InvalidRequest, "Send the header Host, once (RFC 9112, section 3.2).")),
        };
        // An absolute target names the host as well. A proxy may believe either, so both must be ours.
        let target = uri.authority().map(|authority| authority.as_str().as_bytes());
        for asked in named.into_iter().chain(target) {
            let asked = std::str::from_utf8(asked).ok().and_then(host).ok_or_else(|| misdirected(None))?;
            if !self.is_asked_for(&asked) {
                return Err(misdirected(Some(&asked)));
            }
        }
        for origin in headers.get_all(ORIGIN) {
            if !self.may_call(origin, named) {
                return Err(cross_origin(origin));
            }
        }
        // Browsers send an `Origin` with everything that is not GET or HEAD. If one did not, this header still shows
        // that another site's page sent the request. (A link to a GET may be on any page, and no other page can read
        // its response.)
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if !method.is_safe() && !matches!(site, None | Some(b"same-origin" | b"none")) {
            return Err(cross_origin(&HeaderValue::from_static("another site")));
        }
        // A page may omit the type when it cannot send JSON's without a preflight request.
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        if headers.contains_key(ORIGIN) && has_body && !headers.contains_key(CONTENT_TYPE) {
            let detail = "A body that a web page sends needs a type: Content-Type: application/json.";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        Ok(())
    }

    /// Whether the registry is known by this host. The port in it is ignored: in front of a container or a tunnel it is
    /// another one, and a page's own name does not depend on it.
    fn is_asked_for(&self, asked: &str) -> bool {
        if asked == "localhost" || self.names.iter().any(|name| name == asked) {
            return true;
        }
        // If it listens on every address, it cannot know the machine's own (it may be behind another one's). Only a
        // page that is served from an address has that address for its name.
        asked.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip == self.listening || self.listening.is_unspecified()
        })
    }

    /// Whether pages of this origin may call: those of the very address that is called, and of the allowed hosts.
    fn may_call(&self, origin: &HeaderValue, asked: Option<&[u8]>) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let Some((_, authority)) = origin.split_once("://") else { return false };
        let same = asked.is_some_and(|asked| asked.eq_ignore_ascii_case(authority.as_bytes()));
        same || host(authority).is_some_and(|host| self.allowed.contains(&host))
    }
}

/// The host of `host` or `host:port`, in the form in which hosts are compared.
pub(crate) fn host(text: &str) -> Option<String> {
    let authority = Authority::try_from(text).ok().filter(|_| !text.contains('@'))?;
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    Some(host.to_owned()).filter(|host| !host.is_empty())
}

fn with_path(uri: &Uri, path: String) -> Uri {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static(NOWHERE))
}

fn misdirected(asked: Option<&str>) -> Problem {
    let detail = match asked {
        Some(name) => format!(
            "This registry does not answer to the name {name}. Call it by the address that it listens on, or start it with \
             --allow-host {name} (or with {name} in PORTMASTER_ALLOW_HOST)."
        ),
        None => "The name in the header Host cannot be read. Call the registry by the address that it listens on."
            .to_owned(),
    };
    Problem::new(Kind::MisdirectedRequest, detail)
}

fn cross_origin(origin: &HeaderValue) -> Problem {
    let origin = origin.to_str().unwrap_or("that origin");
    let detail = format!(
        "Web pages of {origin} may not call this registry. To let them, start it with their host in --allow-host (or in \
         PORTMASTER_ALLOW_HOST). Programs other than browsers need no Origin: leave it out."
    );
    Problem::new(Kind::CrossOrigin, detail)
}

/// A service that forwards the requests that the rules allow, and answers the others with the problem.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    rules: Arc<Rules>,
    inner: S,
}

impl<S> Guard<S> {
    pub(crate) fn new(rules: &Arc<Rules>, inner: S) -> Self {
        Self { rules: Arc::clone(rules), inner }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Guard<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<B>) -> S::Future {
        self.rules.apply(&mut request);
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of problem with which a request is refused; none if it is served.
    fn kind(rules: &Rules, method: &str, headers: &[(&str, &str)]) -> Option<Kind> {
        let mut request = Request::builder().method(method).uri("/v1/services");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        rules.apply(&mut request);
        request.extensions().get::<Refused>().map(|Refused(problem)| problem.kind())
    }

    fn rules(listen: &str, listening: &str, allowed: &[&str]) -> Rules {
        let allowed: Vec<_> = allowed.iter().map(|name| host(name).unwrap()).collect();
        Rules::new(listen, listening.parse().unwrap(), &allowed)
    }

    #[test]
    fn the_registry_goes_by_its_address_and_the_names_it_is_given() {
        let local = rules("127.0.0.1:8080", "127.0.0.1", &["Ports.Example.com", "192.0.2.3"]);
        let named = rules("build-host:8080", "192.0.2.7", &[]);
        let everywhere = rules("0.0.0.0:8080", "0.0.0.0", &[]);
        for (rules, good, bad) in [
            (
                &local,
                &[
                    "127.0.0.1:8080",
                    "127.0.0.1",
                    "127.8.8.8:1",
                    "localhost",
                    "LOCALHOST.:8080",
                    "[::1]:8080",
                    "ports.example.com:443",
                    "192.0.2.3:8080",
                    "PORTS.example.com.",
                ][..],
                &[
                    "evil.example",
                    "evil.example:8080",
                    "localhost.evil.example",
                    "ports.example.com.evil.example",
                    "127.0.0.1.evil.example",
                    "192.0.2.7",
                    "0.0.0.0:8080",
                    "user@localhost",
                    "",
                    "a b",
                    "local host",
                    "localhost:80:80",
                    "example.com",
                ][..],
            ),
            (&named, &["build-host", "192.0.2.7:8080", "localhost"], &["192.0.2.8", "evil.example", "build-host.evil"]),
            (
                &everywhere,
                &["192.0.2.9:8080", "[2001:db8::1]", "0.0.0.0:8080", "localhost"],
                &["evil.example", "portmaster"],
            ),
        ] {
            for host in good {
                assert_eq!(kind(rules, "GET", &[("host", host)]), None, "{host}");
            }
            for host in bad {
                assert_eq!(kind(rules, "GET", &[("host", host)]), Some(Kind::MisdirectedRequest), "{host}");
            }
        }
        assert_eq!(kind(&local, "GET", &[]), Some(Kind::InvalidRequest));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(kind(&local, "GET", &twice), Some(Kind::InvalidRequest));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let rules = rules("127.0.0.1:8080", "127.0.0.1", &["ports.example.com"]);
        for (host, origin, expected) in [
            ("localhost:8080", "http://localhost:8080", None),
            ("127.0.0.1:8080", "http://127.0.0.1:8080", None),
            ("localhost:8080", "https://ports.example.com", None),
            ("ports.example.com", "https://ports.example.com:8443", None),
            // Another server on this machine is another origin.
            ("localhost:8080", "http://localhost:3000", Some(Kind::CrossOrigin)),
            ("localhost:8080", "http://localhost", Some(Kind::CrossOrigin)),
            ("localhost:8080", "http://127.0.0.1:8080", Some(Kind::CrossOrigin)),
            ("localhost:8080", "http://evil.example", Some(Kind::CrossOrigin)),
            ("localhost:8080", "null", Some(Kind::CrossOrigin)),
            ("localhost:8080", "", Some(Kind::CrossOrigin)),
            ("localhost:8080", "localhost:8080", Some(Kind::CrossOrigin)),
            ("localhost:8080", "http://ports.example.com@evil.example", Some(Kind::CrossOrigin)),
            ("evil.example", "http://evil.example", Some(Kind::MisdirectedRequest)),
        ] {
            for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                assert_eq!(kind(&rules, method, &[("host", host), ("origin", origin)]), expected, "{host} {origin}");
            }
        }
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
        assert_eq!(kind(&rules, "POST", &two), Some(Kind::CrossOrigin));
        for (site, expected) in [
            ("cross-site", Some(Kind::CrossOrigin)),
            ("same-site", Some(Kind::CrossOrigin)),
            ("same-origin", None),
            ("none", None),
        ] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site)];
            assert_eq!(kind(&rules, "POST", &headers), expected, "{site}");
            assert_eq!(kind(&rules, "GET", &headers), None, "a link to a page: {site}");
        }
    }

    #[test]
    fn a_page_says_what_its_body_is() {
        let rules = rules("127.0.0.1:8080", "127.0.0.1", &[]);
        let page = [("host", "localhost"), ("origin", "http://localhost"), ("content-length", "2")];
        assert_eq!(kind(&rules, "POST", &page), Some(Kind::UnsupportedMediaType));
        assert_eq!(kind(&rules, "POST", &[page[0], page[1]]), None);
        assert_eq!(kind(&rules, "POST", &[page[0], page[1], page[2], ("content-type", "application/json")]), None);
        assert_eq!(kind(&rules, "POST", &[page[0], page[2]]), None, "programs may leave it out");
    }

    #[test]
    fn paths_are_decoded_before_they_are_routed() {
        let rules = rules("127.0.0.1:8080", "127.0.0.1", &[]);
        let served = |target: &str| {
            let mut request = Request::builder().uri(target).header("host", "localhost").body(()).unwrap();
            rules.apply(&mut request);
            (request.uri().to_string(), request.extensions().get::<Refused>().is_some())
        };
        assert_eq!(served("/v1/services/%64jango?limit=%31"), ("/v1/services/django?limit=%31".to_owned(), false));
        assert_eq!(served("/v1/services/%2e%2e?a=b"), (NOWHERE.to_owned(), true));
        assert_eq!(served("http://localhost/v1/%73ervices"), ("http://localhost/v1/services".to_owned(), false));
        assert!(served("http://evil.example/v1/services").1);
    }
}
