//! The key by which a caller marks a request as a repetition.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The value of an `Idempotency-Key` header: 1 to 255 printable ASCII characters.
///
/// Together with the body it retrieves the offer again, secret included, so it does not print itself, and the table
/// holds a hash.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// A text that is not an idempotency key, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdempotencyKey {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It has more than 255 characters.
    #[error("must have at most 255 characters")]
    TooLong,
    /// It is not printable ASCII, or is a quoted string that does not end.
    #[error("must be printable ASCII, plain or as a quoted string (RFC 9651, section 3.3.3)")]
    Malformed,
}

impl IdempotencyKey {
    /// Parses a key.
    ///
    /// # Errors
    /// [`InvalidIdempotencyKey`], which names the reason.
    pub fn new(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        if text.is_empty() {
            Err(InvalidIdempotencyKey::Empty)
        } else if text.len() > 255 {
            Err(InvalidIdempotencyKey::TooLong)
        } else if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdempotencyKey::Malformed)
        }
    }

    /// The key's SHA-256, in base64url: the form in which the table stores it.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&[self.0.as_bytes()])
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// The hash of what a request asked for: two requests with the same key must agree in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of these fields; each is hashed with its length, so that no two lists collide.
    #[must_use]
    pub fn of(fields: &[&str]) -> Self {
        Self(digest(&fields.iter().map(|field| field.as_bytes()).collect::<Vec<_>>()))
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            prop_assert_eq!(IdempotencyKey::new(&text).is_ok(), printable && (1..=255).contains(&text.len()));
        }
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = IdempotencyKey::new("build-4711").unwrap();
        assert!(!format!("{key:?} {}", key.digest()).contains("4711"));
    }

    #[test]
    fn fingerprints_see_where_fields_end() {
        assert_ne!(Fingerprint::of(&["ab", "c"]), Fingerprint::of(&["a", "bc"]));
        assert_eq!(Fingerprint::of(&["a", "b"]), Fingerprint::of(&["a", "b"]));
    }
}
