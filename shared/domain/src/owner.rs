//! Who holds a port, and what is noted beside it: owner, principal, labels.
//!
//! The bounds keep a Port item with everything at its maximum below 1 KB, so that no call's capacity units depend on
//! them; a test of the registry shows it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether every character is printable ASCII.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A text that is not an owner, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOwner {
    /// It has no characters.
    #[error("must not be empty; leave it out if there is no owner")]
    Empty,
    /// It has more than 128 characters.
    #[error("must have at most 128 characters")]
    TooLong,
    /// It has a character that is not printable ASCII, or begins or ends with a space.
    #[error("must be printable ASCII, and neither begin nor end with a space")]
    Malformed,
    /// It is `*`, which stands for anybody.
    #[error("must not be *, which stands for anybody where a port is released")]
    Anybody,
}

/// Who holds a port: an opaque text that the caller chooses, such as `gh/our-org/shop/1234567/deploy/0`. It is not a
/// secret. Two callers with the same owner are the same holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

impl Owner {
    /// How many characters one has at most.
    pub const MAX: usize = 128;

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Owner {
    type Error = InvalidOwner;

    fn try_from(text: String) -> Result<Self, InvalidOwner> {
        if text.is_empty() {
            Err(InvalidOwner::Empty)
        } else if text == "*" {
            Err(InvalidOwner::Anybody)
        } else if !is_printable(&text) || text.trim() != text {
            Err(InvalidOwner::Malformed)
        } else if text.len() > Self::MAX {
            Err(InvalidOwner::TooLong)
        } else {
            Ok(Self(text))
        }
    }
}

impl TryFrom<&str> for Owner {
    type Error = InvalidOwner;

    fn try_from(text: &str) -> Result<Self, InvalidOwner> {
        Self::try_from(text.to_owned())
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who called, as IAM knows it: the ARN of a user or of a role's session. The platform says so; no caller chooses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(String);

impl Principal {
    /// How many characters of one are kept: more than the ARN of a role's session has (a role's and a session's name
    /// have 64 characters at most). Only the ARN of a user with a long path has more.
    pub const MAX: usize = 176;

    /// The principal with this ARN, cut to [`Principal::MAX`] characters; none if the text is empty or not printable.
    #[must_use]
    pub fn new(arn: &str) -> Option<Self> {
        let kept = arn.get(..arn.len().min(Self::MAX)).unwrap_or_default();
        (!kept.is_empty() && is_printable(kept)).then(|| Self(kept.to_owned()))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Labels that are not valid, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// There are more than 8.
    #[error("must be at most 8 labels")]
    TooMany,
    /// A key is not one.
    #[error("must have keys of 1 to 32 characters out of a-z 0-9 . _ -")]
    BadKey,
    /// A value is not one.
    #[error("must have values of at most 64 characters, all of them printable ASCII")]
    BadValue,
    /// Together they are too long.
    #[error("must have at most 256 characters in all keys and values together")]
    TooLong,
}

/// Labels by key: at most 8, with at most 256 characters in all keys and values together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// How many there are at most.
    pub const MAX: usize = 8;

    /// How many characters a key has at most.
    pub const MAX_KEY: usize = 32;

    /// How many characters a value has at most.
    pub const MAX_VALUE: usize = 64;

    /// How many characters all keys and values have at most, together.
    pub const MAX_TOTAL: usize = 256;

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has every one of these, with the same values.
    #[must_use]
    pub fn contains(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    /// The labels, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether a text is a key.
    #[must_use]
    pub fn is_key(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        (1..=Self::MAX_KEY).contains(&text.len()) && text.bytes().all(allowed)
    }

    /// Whether a text is a value.
    #[must_use]
    pub fn is_value(text: &str) -> bool {
        text.len() <= Self::MAX_VALUE && is_printable(text)
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidLabels;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, InvalidLabels> {
        if labels.len() > Self::MAX {
            Err(InvalidLabels::TooMany)
        } else if !labels.keys().all(|key| Self::is_key(key)) {
            Err(InvalidLabels::BadKey)
        } else if !labels.values().all(|value| Self::is_value(value)) {
            Err(InvalidLabels::BadValue)
        } else if labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > Self::MAX_TOTAL {
            Err(InvalidLabels::TooLong)
        } else {
            Ok(Self(labels))
        }
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, InvalidLabels> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>().try_into()
    }

    #[test]
    fn owners_have_bounds() {
        assert!(Owner::try_from("gh/our-org/shop/1234567/deploy/0").is_ok());
        assert!(Owner::try_from("a".repeat(128)).is_ok());
        assert_eq!(Owner::try_from("a".repeat(129)), Err(InvalidOwner::TooLong));
        assert_eq!(Owner::try_from(""), Err(InvalidOwner::Empty));
        assert_eq!(Owner::try_from("*"), Err(InvalidOwner::Anybody));
        for bad in [" a", "a ", "a\nb", "ü", "\u{7f}"] {
            assert_eq!(Owner::try_from(bad), Err(InvalidOwner::Malformed), "{bad:?}");
        }
        assert!(Owner::try_from("two words").is_ok());
    }

    #[test]
    fn a_long_principal_is_cut() {
        assert_eq!(Principal::new(&"a".repeat(500)).unwrap().as_str().len(), Principal::MAX);
        assert_eq!(Principal::new(""), None);
        assert_eq!(Principal::new("arn:ü"), None);
    }

    #[test]
    fn labels_have_bounds() {
        assert!(labels(&[("run", "17"), ("git.branch", "feature/x y"), ("empty", "")]).is_ok());
        assert_eq!(labels(&[("Run", "17")]), Err(InvalidLabels::BadKey));
        assert_eq!(labels(&[("", "17")]), Err(InvalidLabels::BadKey));
        assert_eq!(labels(&[("run", "a\tb")]), Err(InvalidLabels::BadValue));
        assert_eq!(labels(&[("run", &"a".repeat(65))]), Err(InvalidLabels::BadValue));
        let keys: Vec<_> = (0..9).map(|n| format!("k{n}")).collect();
        let some = |count: usize, value: &'static str| {
            labels(&keys[..count].iter().map(|key| (key.as_str(), value)).collect::<Vec<_>>())
        };
        assert!(some(8, "v").is_ok());
        assert_eq!(some(9, "v"), Err(InvalidLabels::TooMany));
        let thirty = "a".repeat(30).leak();
        assert!(some(8, thirty).is_ok());
        assert_eq!(some(8, "a".repeat(31).leak()), Err(InvalidLabels::TooLong));
    }

    #[test]
    fn labels_contain_others() {
        let all = labels(&[("run", "17"), ("leg", "0")]).unwrap();
        assert!(all.contains(&labels(&[("run", "17")]).unwrap()) && all.contains(&Labels::default()));
        assert!(!all.contains(&labels(&[("run", "18")]).unwrap()));
        assert!(!all.contains(&labels(&[("job", "17")]).unwrap()));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = (Owner::try_from(text.as_str()), Principal::new(&text), labels(&[(&text, &text)]));
        }
    }
}
