//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use portmaster_wire::{Fault, Kind};
use serde_json::{Map, Value};

/// What went wrong with a call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry refused the call, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The gateway in front of the registry answered in its place: mostly it refused the call because of who calls.
    #[error("{0}")]
    Denied(Denied),
    /// There was no answer.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// There was an answer, and it is not one of Portmaster's.
    #[error("{0}")]
    Unexpected(Unexpected),
    /// The call could not be signed.
    #[error("{0}")]
    Credentials(String),
    /// The client was built with something that it cannot work with.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The kind of the registry's problem, if it is one.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.problem().and_then(|problem| problem.kind)
    }

    /// The registry's problem, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// When to try again, if the answer said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            Self::Denied(denied) => denied.retry_after,
            Self::Unexpected(unexpected) => unexpected.retry_after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later, without anybody doing anything about it: nothing answered, or what
    /// answered was overloaded or broken. Such a call has been repeated already, until its deadline.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        let passes = |status: StatusCode| {
            status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
        };
        match self {
            Self::Unreachable(_) => true,
            Self::Problem(problem) => passes(problem.status),
            Self::Denied(denied) => passes(denied.status),
            Self::Unexpected(unexpected) => passes(unexpected.status),
            Self::Credentials(_) | Self::Invalid(_) => false,
        }
    }

    /// Whether nobody knows if the call has changed anything: it may have arrived, and no answer says what came of it.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        crate::retry::judge(self) == crate::retry::Verdict::Ambiguous
    }
}

/// A problem document (RFC 9457) of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// The kind; none if it is one that a later registry has.
    pub kind: Option<Kind>,
    /// The same few words for every problem of the kind.
    pub title: String,
    /// What happened, and what to do next.
    pub detail: String,
    /// The id of the request, which the registry's log has as well.
    pub instance: Option<String>,
    /// Every mistake in the request, if the request is at fault.
    pub errors: Vec<Fault>,
    /// All other members: `port`, `state`, `owner` and so on.
    pub more: Map<String, Value>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The whole document, as it came.
    pub document: Value,
}

impl Problem {
    /// Reads a problem document; none if it is not one.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(body).ok()?;
        let mut members = document.as_object()?.clone();
        let slug = members.remove("type")?.as_str()?.rsplit_once("/problems/")?.1.to_owned();
        let mut text = |member: &str| members.remove(member).and_then(|value| value.as_str().map(str::to_owned));
        let (title, detail, instance) = (text("title")?, text("detail").unwrap_or_default(), text("instance"));
        members.remove("status");
        let errors = members.remove("errors").and_then(|errors| serde_json::from_value(errors).ok());
        Some(Self {
            status,
            kind: Kind::named(&slug),
            title,
            detail,
            instance,
            errors: errors.unwrap_or_default(),
            more: members,
            retry_after: retry_after(headers),
            document,
        })
    }

    /// A member that is a text.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.more.get(member)?.as_str()
    }

    /// The port that the problem is about, where it names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.more.get("port")?.as_u64()?.try_into().ok()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { write!(f, "{}", self.title) } else { write!(f, "{}: {}", self.title, self.detail) }
    }
}

/// An answer of API Gateway's own: it refused the call before any function of the registry saw it, or it says that the
/// function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The status: 401, 403, 404, 413 or 429; 500, 502, 503 or 504 if the function failed or was too slow.
    pub status: StatusCode,
    /// The gateway's words, without what it repeats of the request.
    pub message: String,
    /// The call, as in `PUT a port`.
    pub call: &'static str,
    /// The id of the request, which the gateway's log has as well.
    pub request_id: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Denied {
    /// Reads the gateway's own answer, which is `{"message": …}`; none if it is another one.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8], call: &'static str) -> Option<Self> {
        let gateway = ["apigw-requestid", "x-amzn-requestid", "x-amzn-errortype"];
        let is_error = status.is_client_error() || status.is_server_error();
        if !is_error || !gateway.iter().any(|name| headers.contains_key(*name)) {
            return None;
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        let message = body.get("message").or_else(|| body.get("Message"))?.as_str()?;
        // To a wrong signature AWS answers with the canonical request, and so with the session's token.
        let end = ["The Canonical String", "\n"].iter().filter_map(|mark| message.find(mark)).min();
        let message = message.get(..end.unwrap_or(message.len())).unwrap_or_default().trim();
        let id = ["apigw-requestid", "x-amzn-requestid"].iter().find_map(|name| headers.get(*name));
        Some(Self {
            status,
            message: message.chars().take(400).collect(),
            call,
            request_id: id.and_then(|id| id.to_str().ok()).map(str::to_owned),
            retry_after: retry_after(headers),
        })
    }

    /// Whether the call was let through, and the function behind the gateway failed or was too slow.
    #[must_use]
    pub fn is_of_the_function(&self) -> bool {
        self.status.is_server_error()
    }

    /// Whether it is about a token of AWS that has expired.
    pub(crate) fn is_of_an_expired_token(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
            && self.message.contains("security token")
            && self.message.contains("expired")
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, status, message, .. } = self;
        if self.is_of_the_function() {
            write!(f, "the function that has to {call} failed or was too slow ({status}): {message}")
        } else {
            write!(f, "the gateway refused to {call} ({status}): {message}")
        }
    }
}

/// How far a call came that had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The host's name has no address.
    Name,
    /// There was no connection.
    Connect,
    /// There was a connection, and no agreement about TLS: mostly a certificate that is not trusted.
    Tls,
    /// It was sent, or may have been, and there was no answer in time.
    Timeout,
    /// The connection was lost before the answer was complete.
    Lost,
}

impl Stage {
    /// Whether the registry cannot have seen the call.
    #[must_use]
    pub fn is_before_sending(self) -> bool {
        matches!(self, Self::Name | Self::Connect | Self::Tls)
    }
}

/// A call that had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// How far it came.
    pub stage: Stage,
    /// Where the registry should be: scheme, host and port.
    pub origin: String,
    /// The reason, in the words of the library that noticed.
    pub reason: String,
}

impl Unreachable {
    pub(crate) fn new(origin: &str, error: reqwest::Error) -> Self {
        // The URL may contain an offer's secret.
        let error = error.without_url();
        let (mut reasons, mut stage) = (Vec::new(), if error.is_connect() { Stage::Connect } else { Stage::Lost });
        if error.is_timeout() && !error.is_connect() {
            stage = Stage::Timeout;
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if is_of_tls(cause) {
                stage = Stage::Tls;
            }
            let text = cause.to_string();
            if text.starts_with("dns error") {
                stage = Stage::Name;
            }
            if !reasons.contains(&text) {
                reasons.push(text);
            }
            source = cause.source();
        }
        Self { stage, origin: origin.to_owned(), reason: reasons.pop().unwrap_or_default() }
    }
}

/// Whether an error is one of TLS. An I/O error is not the source of what it wraps, but its face: so it is looked into.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = || error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped().is_some_and(|wrapped| is_of_tls(wrapped))
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, origin, reason } = self;
        match stage {
            Stage::Name => write!(f, "the name in {origin} has no address: {reason}"),
            Stage::Connect => write!(f, "cannot connect to {origin}: {reason}"),
            Stage::Tls => write!(f, "no secure connection to {origin}: {reason}"),
            Stage::Timeout => write!(f, "{origin} did not answer in time"),
            Stage::Lost => write!(f, "the connection to {origin} was lost: {reason}"),
        }
    }
}

/// An answer that is not one of Portmaster's, such as a proxy's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// The status.
    pub status: StatusCode,
    /// Where the registry should be: scheme, host and port.
    pub origin: String,
    /// What is wrong with the answer. The body is left out: whoever answers may repeat what was sent.
    pub reason: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Unexpected {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, origin: &str, reason: Option<String>) -> Self {
        let named = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let reason = reason.unwrap_or_else(|| {
            let kind = named(header::CONTENT_TYPE).unwrap_or("no type");
            let by = named(header::SERVER).map(|server| format!(", from {server}")).unwrap_or_default();
            match (status.is_redirection(), named(header::LOCATION)) {
                (true, Some(_)) => format!("a redirection{by}, which is not followed; use the registry's own URL"),
                _ => format!("a body of {kind}{by}"),
            }
        });
        Self { status, origin: origin.to_owned(), reason, retry_after: retry_after(headers) }
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what answered at {} is not Portmaster ({}): {}", self.origin, self.status, self.reason)
    }
}

/// Reads `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3), which is compared with `Date`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let there = date(headers)?;
    let then = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
    Some(Duration::from_millis(u64::try_from(then - there.millis()).unwrap_or(0)))
}

/// Reads `Date`.
pub(crate) fn date(headers: &HeaderMap) -> Option<portmaster_domain::Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let millis = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
    Some(portmaster_domain::Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_has_two_forms() {
        assert_eq!(retry_after(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
        let dates = [("date", "Mon, 30 Nov 2026 10:00:00 GMT"), ("retry-after", "Mon, 30 Nov 2026 10:01:30 GMT")];
        assert_eq!(retry_after(&headers(&dates)), Some(Duration::from_secs(90)));
        let past = [("date", "Mon, 30 Nov 2026 10:00:00 GMT"), ("retry-after", "Mon, 30 Nov 2026 09:00:00 GMT")];
        assert_eq!(retry_after(&headers(&past)), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "Mon, 30 Nov 2026 10:01:30 GMT"] {
            assert_eq!(retry_after(&headers(&[("retry-after", bad)])), None, "{bad:?}");
        }
    }

    #[test]
    fn a_gateways_answer_does_not_repeat_the_session_token() {
        let message = "The request signature we calculated does not match the signature you provided.\n\nThe Canonical \
                       String for this request should have been\n'GET\n/\n\nx-amz-security-token:TOKEN'";
        let body = serde_json::json!({ "message": message }).to_string();
        let of = headers(&[("x-amzn-requestid", "1")]);
        let denied = Denied::read(StatusCode::FORBIDDEN, &of, body.as_bytes(), "read a port").unwrap();
        assert_eq!(denied.message, "The request signature we calculated does not match the signature you provided.");
        assert!(!format!("{denied:?} {denied}").contains("TOKEN"));
        let other = Denied::read(StatusCode::FORBIDDEN, &HeaderMap::new(), body.as_bytes(), "read a port");
        assert_eq!(other, None, "only a gateway's answer is one");
    }

    #[test]
    fn a_function_that_failed_is_not_another_server() {
        for (status, message) in [(500, "Internal Server Error"), (503, "Service Unavailable")] {
            let (body, status) = (format!(r#"{{"message":"{message}"}}"#), StatusCode::from_u16(status).unwrap());
            let of = headers(&[("apigw-requestid", "abc=")]);
            let failed = Denied::read(status, &of, body.as_bytes(), "put a port").unwrap();
            assert!(failed.is_of_the_function() && failed.request_id.as_deref() == Some("abc="));
            assert!(failed.to_string().starts_with("the function that has to put a port failed"), "{failed}");
            let error = Error::Denied(failed);
            assert!(error.is_temporary() && error.is_ambiguous());
            assert_eq!(Denied::read(status, &HeaderMap::new(), body.as_bytes(), "put a port"), None);
        }
    }
}
