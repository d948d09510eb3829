//! Problem documents (RFC 9457).

use std::borrow::Cow;

use problem_details::ProblemDetails;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A problem document: `type`, `status`, `title`, `detail` and `instance`, with the members that this API adds.
pub type ProblemDocument = ProblemDetails<Members>;

/// The members that this API's problems add to RFC 9457.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Every mistake in the request, if the request is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Members of some kinds: `port`, `state`, `conflicts` and so on.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The place of a mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// In the body: a JSON Pointer as a URI fragment (RFC 6901, section 6).
    Pointer(String),
    /// In the query or in the path.
    Parameter(Cow<'static, str>),
    /// In a header.
    Header(Cow<'static, str>),
}

/// One mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    /// Where it is.
    pub at: At,
    /// The expected form.
    pub detail: String,
}

impl Fault {
    /// In the body, at a JSON Pointer as a URI fragment: `#/name`.
    #[must_use]
    pub fn in_body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { at: At::Pointer(pointer.into()), detail: detail.into() }
    }

    /// In a parameter of the query or of the path.
    #[must_use]
    pub fn in_parameter(parameter: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { at: At::Parameter(parameter.into()), detail: detail.into() }
    }

    /// In a header.
    #[must_use]
    pub fn in_header(header: &'static str, detail: impl Into<String>) -> Self {
        Self { at: At::Header(header.into()), detail: detail.into() }
    }
}
