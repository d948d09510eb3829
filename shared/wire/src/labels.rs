//! Labels and the beginnings of names.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The rule for labels, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(
    as = Labels,
    description = "Labels by key: at most 8, and at most 256 characters in all keys and values together. A key has 1 to 32 \
                   characters out of a-z 0-9 . _ -, a value at most 64 printable ASCII characters.",
    example = json!({ "run": "17" })
)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct LabelMap(BTreeMap<String, String>);

/// How names begin: 1 to 64 characters with which a name may begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePrefix(String);

/// A text with which no name begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPrefix;

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be how a name begins: 1 to 64 letters, digits and . _ ~ -, the first of them a letter or a digit",
        )
    }
}

impl std::error::Error for InvalidPrefix {}

impl NamePrefix {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NamePrefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= 64 && text.bytes().all(in_names) { Ok(Self(text)) } else { Err(InvalidPrefix) }
    }
}

impl From<NamePrefix> for String {
    fn from(prefix: NamePrefix) -> Self {
        prefix.0
    }
}
