//! The secret of an offer.

use std::fmt;

use uuid::Uuid;

use super::Port;

/// The proof of an offer's holder: a UUID of version 8 (RFC 9562, section 5.8) that locates itself.
///
/// Its first 16 bits are the port, so that accept and reject go straight to the Port item. Of the other 112 bits, 6 are
/// version and variant; 106 come from the operating system's generator. It is never reused: if another secret is on the
/// port, the claim of this one is gone for ever.
///
/// It implements neither `Display` nor `Serialize`; only [`Secret::expose`] reveals its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(Uuid);

/// A text that is not a UUID. The error does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is a UUID")]
pub struct InvalidSecret;

impl Secret {
    /// Generates a secret for a claim on `port`.
    #[must_use]
    pub fn generate(port: Port) -> Self {
        // A UUID of version 4 is 122 bits from the operating system's generator, with version and variant in the same
        // place as in version 8.
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[..2].copy_from_slice(&port.get().to_be_bytes());
        Self(Uuid::new_v8(bytes))
    }

    /// Parses a secret.
    ///
    /// # Errors
    /// [`InvalidSecret`] if it is not a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidSecret)
    }

    /// The port that it names; none if no registry made it.
    #[must_use]
    pub fn port(self) -> Option<Port> {
        let bytes = self.0.as_bytes();
        if self.0.get_version_num() != 8 {
            return None;
        }
        Port::new(u16::from_be_bytes([bytes[0], bytes[1]])).ok()
    }

    /// Reveals the secret's text: for its holder and the table, and for nobody else.
    #[must_use]
    pub fn expose(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The form of a secret in an item: `#[serde(with = "portmaster_domain::exposed")]`.
pub mod exposed {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::Secret;

    /// Serializes a secret as its text.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&secret.expose())
    }

    /// Deserializes a secret from its text.
    ///
    /// # Errors
    /// The deserializer's, or its own if the text is not a secret.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        Secret::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_secret_knows_its_port(number in 1024u16..=49151) {
            let port = Port::new(number).unwrap();
            let secret = Secret::generate(port);
            prop_assert_eq!(secret.port(), Some(port));
            prop_assert_eq!(Secret::parse(&secret.expose()), Ok(secret));
            prop_assert_ne!(Secret::generate(port), secret);
        }

        #[test]
        fn any_text_is_answered(text: String) {
            if let Ok(secret) = Secret::parse(&text) {
                let _ = secret.port();
            }
        }

        #[test]
        fn any_uuid_is_answered(bytes: [u8; 16]) {
            let secret = Secret::parse(&Uuid::from_bytes(bytes).to_string()).unwrap();
            let number = u16::from_be_bytes([bytes[0], bytes[1]]);
            let ours = bytes[6] >> 4 == 8 && (1024..=49151).contains(&number);
            prop_assert_eq!(secret.port().is_some(), ours);
        }
    }

    #[test]
    fn it_does_not_print_itself() {
        let secret = Secret::generate(Port::MIN);
        let shown = format!("{secret:?}");
        assert_eq!(shown, "Secret(…)");
    }

    #[test]
    fn other_registries_uuids_locate_nothing() {
        let other = Secret::parse("6f8ffc86-d98a-49ba-848a-a7cbaaea9360").unwrap();
        assert_eq!(other.port(), None);
    }
}
