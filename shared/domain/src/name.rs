//! Names and descriptions.

use std::fmt;

use serde::{Deserialize, Serialize};

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
            let _ = Description::try_from(text);
        }
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
