//! Request bodies: JSON, of a limited size, arriving in time.

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use deserr::Deserr;
use portmaster_registry::Call;
use portmaster_wire::parse::{Checked, Faults, Unreadable, parse};

use super::observe::too_large;
use super::{Kind, Problem};

/// The maximum size of a body.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be left out: an empty one, of whatever type, is `{}`, and so is `null`.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Sync,
    T: Deserr<Faults> + Checked,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        is_plain_json(request.headers())?;
        let bytes = read(request).await?;
        parse(&bytes).map(Self).map_err(Problem::from)
    }
}

impl<S, T> FromRequest<S> for OptionalBody<T>
where
    S: Sync,
    T: Deserr<Faults> + Checked + Default,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // Some clients declare a type, a form's for example, although they send nothing. So the body comes first.
        let declared = is_plain_json(request.headers());
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        declared?;
        if bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self).map_err(Problem::from)
    }
}

/// Checks that a body is declared as JSON, or not at all, and is not compressed.
fn is_plain_json(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(declared) = headers.get(header::CONTENT_TYPE)
        && !declared.to_str().is_ok_and(is_json)
    {
        let detail = "Send the body as JSON, with the header Content-Type: application/json.";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail).header(header::ACCEPT, "application/json"));
    }
    // Nothing would check the real size of a compressed body, so none is accepted.
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "The body is sent with a Content-Encoding, and compressed bodies are not accepted. Send plain \
                      JSON, without that header.";
        let problem = Problem::new(Kind::UnsupportedMediaType, detail);
        return Err(problem.header(header::ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}

/// Reads a body, if it is small enough and arrives in time.
async fn read(request: Request) -> Result<Bytes, Problem> {
    let deadline = request.extensions().get::<Call>().map(Call::deadline);
    let body = to_bytes(request.into_body(), MAX_BYTES);
    let read = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, body).await,
        None => Ok(body.await),
    };
    let Ok(read) = read else {
        let detail = "The body did not arrive in the time that a request may take. Nothing was changed. Send it again; \
                      if that does not help, check that the number of bytes sent matches Content-Length.";
        return Err(Problem::new(Kind::RequestTimeout, detail));
    };
    read.map_err(|error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = source {
            if error.is::<http_body_util::LengthLimitError>() {
                return too_large();
            }
            source = error.source();
        }
        Problem::new(Kind::MalformedJson, "The body ended before it was complete. Send it again.")
    })
}

/// `application/json`, or another type with the suffix `+json`, with any parameters (RFC 6838, section 4.2.8).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl From<Unreadable> for Problem {
    fn from(body: Unreadable) -> Self {
        match body {
            Unreadable::NotJson(detail) => Self::new(Kind::MalformedJson, detail),
            Unreadable::Faulty(faults) => Self::invalid(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use portmaster_wire::Renewal;

    use super::*;

    async fn optional(content_type: Option<&str>, body: &'static str) -> Result<Renewal, Problem> {
        let mut request = Request::new(axum::body::Body::from(body));
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        OptionalBody::from_request(request, &()).await.map(|OptionalBody(body)| body)
    }

    /// Callers of before send none, some of them with a type.
    #[tokio::test]
    async fn a_body_may_be_left_out() {
        for content_type in [None, Some("application/json"), Some("application/x-www-form-urlencoded")] {
            assert_eq!(optional(content_type, "").await.unwrap(), Renewal::default());
        }
        for same in ["{}", " {} ", "null", " null\n"] {
            assert_eq!(optional(None, same).await.unwrap(), Renewal::default(), "{same}");
        }
        let given = optional(Some("application/json"), r#"{"lease_seconds":60}"#).await.unwrap();
        assert_eq!(given.lease_seconds.map(portmaster_wire::Seconds::get), Some(60));
    }

    #[tokio::test]
    async fn a_body_that_is_there_is_read_strictly() {
        let kind = async |content_type, body| optional(content_type, body).await.unwrap_err().kind();
        assert_eq!(kind(Some("text/plain"), "{}").await, Kind::UnsupportedMediaType);
        assert_eq!(kind(None, "lease_seconds=60").await, Kind::MalformedJson);
        assert_eq!(kind(None, " ").await, Kind::MalformedJson);
        assert_eq!(kind(None, r#"{"lease_second":60}"#).await, Kind::InvalidRequest);
        assert_eq!(kind(None, "[]").await, Kind::InvalidRequest);
    }

    #[test]
    fn media_types_are_read_as_rfc_6838_has_them() {
        for json in ["application/json", "application/JSON ; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "json", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "+json"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
