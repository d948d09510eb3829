//! Names and descriptions.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A text that is not a name, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It has more than 64 characters.
    #[error("must have at most 64 characters")]
    TooLong,
    /// It has a character outside `A-Z a-z 0-9 . _ ~ -`.
    #[error("must not have {0:?} in it; it may have letters and digits (A-Z a-z 0-9), with . _ ~ - between them")]
    BadCharacter(char),
    /// It begins with one of `. _ ~ -`.
    #[error("must begin with a letter or a digit (A-Z a-z 0-9), not with {0:?}")]
    BadStart(char),
    /// It ends with one of `. _ ~ -`.
    #[error("must end with a letter or a digit (A-Z a-z 0-9), not with {0:?}")]
    BadEnd(char),
    /// It is an instance name of digits alone.
    #[error("must have at least one character that is not a digit, so that it cannot be taken for a port")]
    AllDigits,
}

/// Checks the rule for every name: the unreserved characters of RFC 3986, so that a name is its own URL segment.
fn check(text: &str) -> Result<(), InvalidName> {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return Err(InvalidName::Empty);
    };
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._~-".contains(*c)) {
        return Err(InvalidName::BadCharacter(bad));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(InvalidName::BadStart(first));
    }
    if !last.is_ascii_alphanumeric() {
        return Err(InvalidName::BadEnd(last));
    }
    if text.len() > 64 {
        return Err(InvalidName::TooLong);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        ///
        /// `[A-Za-z0-9]`, then up to 62 of `[A-Za-z0-9._~-]`, ending in `[A-Za-z0-9]`; case-sensitive.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                check(&text)?;
                let extra: fn(&str) -> Result<(), InvalidName> = $check;
                extra(&text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a separate port space.
    Namespace,
    |_| Ok(())
);
name!(
    /// The name of a service.
    ServiceName,
    |_| Ok(())
);
name!(
    /// The name of an instance of a service. At least one character is not a digit.
    InstanceName,
    |text| if text.bytes().all(|byte| byte.is_ascii_digit()) { Err(InvalidName::AllDigits) } else { Ok(()) }
);

impl InstanceName {
    /// How many characters a name has at most.
    const MAX: usize = 64;

    /// The name of one of several ports: this name, and what the port is for, as in `job-17-http`. A name may be as long
    /// as a name can be; then its end gives way to a hash of it, so that names that differ there still differ.
    ///
    /// # Errors
    /// [`InvalidName`] if the part cannot end a name.
    pub fn with_part(&self, part: &str) -> Result<Self, InvalidName> {
        let whole = format!("{self}-{part}");
        let text = match Self::MAX.checked_sub(part.len() + HASH) {
            Some(kept) if whole.len() > Self::MAX => format!("{}-{part}", shortened(&self.0, &self.0, kept)),
            _ => whole,
        };
        Self::try_from(text)
    }

    /// A name made of any text: the characters that no name has give way to hyphens. Where the name is not exactly the
    /// text, its end is a hash of it, so that texts that differ give names that differ.
    ///
    /// # Errors
    /// [`InvalidName`] if that makes no name, as for a text of digits alone.
    pub fn made_of(text: &str) -> Result<Self, InvalidName> {
        if let Ok(name) = Self::try_from(text) {
            return Ok(name);
        }
        let valid = |c: char| if c.is_ascii_alphanumeric() || "._~-".contains(c) { c } else { '-' };
        let replaced: String = text.chars().map(valid).collect();
        let plain = replaced.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        Self::try_from(shortened(plain, text, Self::MAX - HASH + 1))
    }
}

/// How long a hash is in a name, with a hyphen on each side.
const HASH: usize = 18;

/// The beginning of a text of ASCII characters, and a hash of `whole`.
fn shortened(text: &str, whole: &str, kept: usize) -> String {
    let hash: String = Sha256::digest(whole).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kept = text.get(..kept.min(text.len())).unwrap_or_default();
    match kept.trim_end_matches(|end: char| !end.is_ascii_alphanumeric()) {
        "" => hash,
        kept => format!("{kept}-{hash}"),
    }
}

impl Default for Namespace {
    /// The namespace `default`, which always exists and has the short paths.
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl Namespace {
    const DEFAULT: &str = "default";

    /// Whether it is the namespace `default`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }
}

/// One service: its namespace and its name in it. A name means nothing without its namespace, so the two travel
/// together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// The port space in which it owns ports.
    pub namespace: Namespace,
    /// Its name, unique in the namespace.
    pub name: ServiceName,
}

impl ServiceId {
    /// The service of this name in this namespace.
    #[must_use]
    pub fn new(namespace: Namespace, name: ServiceName) -> Self {
        Self { namespace, name }
    }
}

impl From<ServiceName> for ServiceId {
    /// The service of this name in the namespace `default`.
    fn from(name: ServiceName) -> Self {
        Self { namespace: Namespace::default(), name }
    }
}

impl fmt::Display for ServiceId {
    /// Formats as `django`, or `hosts/django` if the namespace is not the default one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_default() {
            write!(f, "{}/", self.namespace)?;
        }
        self.name.fmt(f)
    }
}

/// The purpose of a service, in its owner's words: at most 1,024 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

/// A text that is not a description, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDescription {
    /// It has more than 1,024 characters.
    #[error("must have at most {} characters", Description::MAX_CHARACTERS)]
    TooLong,
    /// It has a control character other than line feed, carriage return and tab.
    #[error("must have no control characters besides line breaks and tabs")]
    ControlCharacter,
}

impl Description {
    /// How many characters (Unicode scalar values) a description may have.
    pub const MAX_CHARACTERS: usize = 1024;

    /// The description itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Description {
    type Error = InvalidDescription;

    fn try_from(text: String) -> Result<Self, InvalidDescription> {
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(InvalidDescription::TooLong);
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(InvalidDescription::ControlCharacter);
        }
        Ok(Self(text))
    }
}

impl From<Description> for String {
    fn from(description: Description) -> Self {
        description.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule of the API's documentation, restated by hand.
    fn allowed(text: &str) -> bool {
        let edge = |c: char| c.is_ascii_alphanumeric();
        let inner = |c: char| edge(c) || matches!(c, '.' | '_' | '~' | '-');
        (1..=64).contains(&text.chars().count())
            && text.chars().all(inner)
            && text.starts_with(edge)
            && text.ends_with(edge)
    }

    proptest! {
        #[test]
        fn names_follow_the_rule(text in "[A-Za-z0-9._~/ é-]{0,70}") {
            prop_assert_eq!(ServiceName::try_from(text.as_str()).is_ok(), allowed(&text));
            let digits = text.chars().all(|c| c.is_ascii_digit());
            prop_assert_eq!(InstanceName::try_from(text.as_str()).is_ok(), allowed(&text) && !digits);
        }

        #[test]
        fn any_text_is_answered(text: String) {
            prop_assert_eq!(ServiceName::try_from(text.as_str()).is_ok(), allowed(&text));
            let _ = InstanceName::made_of(&text);
            let _ = Description::try_from(text);
        }
    }

    #[test]
    fn every_name_can_have_parts() {
        let of = |name: &str, part: &str| InstanceName::try_from(name).unwrap().with_part(part);
        assert_eq!(of("job-17", "http").unwrap().as_str(), "job-17-http");
        let long = format!("{}-{}", "a".repeat(40), "b".repeat(23));
        let (http, grpc) = (of(&long, "http").unwrap(), of(&long, "grpc").unwrap());
        assert_ne!(http, grpc);
        assert!(http.as_str().starts_with(&"a".repeat(40)) && http.as_str().ends_with("-http"), "{http}");
        let other = of(&format!("{}-{}", "a".repeat(40), "c".repeat(23)), "http").unwrap();
        assert_ne!(http, other, "names that differ at the end still differ");
        for bad in ["", "-", "a b", &"x".repeat(64)] {
            assert!(of("job", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_made_of_texts() {
        let of = |text: &str| InstanceName::made_of(text).map(String::from);
        assert_eq!(of("shop-Port").as_deref(), Ok("shop-Port"));
        let long = of(&"a".repeat(65)).unwrap();
        assert!(long.len() == 64 && long.starts_with(&"a".repeat(47)), "{long}");
        assert_ne!(long, of(&"a".repeat(66)).unwrap());
        assert!(of("preview/42").unwrap().starts_with("preview-42-"));
        assert_ne!(of("a b"), of("a/b"));
        assert!(of("").is_ok() && of("é").is_ok());
    }

    #[test]
    fn lengths_are_exact() {
        assert!(ServiceName::try_from("a".repeat(64)).is_ok());
        assert_eq!(ServiceName::try_from("a".repeat(65)), Err(InvalidName::TooLong));
        assert!(Description::try_from("é".repeat(1024)).is_ok());
        assert_eq!(Description::try_from("é".repeat(1025)), Err(InvalidDescription::TooLong));
        assert_eq!(Description::try_from("a\0b".to_owned()), Err(InvalidDescription::ControlCharacter));
    }
}
