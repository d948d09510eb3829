//! Tenures: who had a port, from when to when, and how that ended.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{InstanceName, Labels, Namespace, Owner, Port, Principal, Secret, ServiceId, Timestamp};

/// The name of a tenure in its history: 32 hexadecimal digits.
///
/// It is made from the tenure's secret, so every image of the same tenure has the same one, and it does not reveal the
/// secret: half of a SHA-256, over 106 random bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenureId(String);

/// A text that is not the name of a tenure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenure is named by 32 hexadecimal digits")]
pub struct InvalidTenureId;

impl TenureId {
    /// How many digits one has.
    const DIGITS: usize = 32;

    /// The tenure of this secret.
    #[must_use]
    pub fn of(namespace: &Namespace, port: Port, secret: Secret) -> Self {
        Self(digest(&["tenure", namespace.as_str(), &port.to_string(), &secret.expose()]))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name made from these parts, by which the same parts are recognized: 32 hexadecimal digits.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new_with_prefix("portmaster");
    for part in parts {
        // No part contains it, so different parts are different inputs.
        hash.update([0]);
        hash.update(part);
    }
    // The first half: two digits a byte. In one piece, since each change of a port makes several of these.
    let first = hash.finalize().iter().take(TenureId::DIGITS / 2).fold(0, |sum, byte| sum << 8 | u128::from(*byte));
    format!("{first:0digits$x}", digits = TenureId::DIGITS)
}

impl TryFrom<String> for TenureId {
    type Error = InvalidTenureId;

    fn try_from(text: String) -> Result<Self, InvalidTenureId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == Self::DIGITS && text.bytes().all(is_digit) { Ok(Self(text)) } else { Err(InvalidTenureId) }
    }
}

impl From<TenureId> for String {
    fn from(TenureId(text): TenureId) -> Self {
        text
    }
}

impl fmt::Display for TenureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a tenure ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// An allocation was released.
    Released,
    /// An offer was rejected, or an operator freed it.
    Rejected,
    /// An offer was not accepted in time.
    OfferExpired,
    /// The lease of an allocation was not renewed in time.
    LeaseLapsed,
    /// An offer was rejected because the port is in use on the host.
    Quarantined,
    /// The registry withdrew a claim that no caller was told of.
    Withdrawn,
    /// The reconciler removed an allocation whose service does not exist.
    Removed,
    /// It is over, and nothing says how.
    Unknown,
}

impl End {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Rejected => "rejected",
            Self::OfferExpired => "offer-expired",
            Self::LeaseLapsed => "lease-lapsed",
            Self::Quarantined => "quarantined",
            Self::Withdrawn => "withdrawn",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

/// One claim from its beginning to its end, as history keeps it: never with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Its name.
    pub id: TenureId,
    /// The service, with its namespace.
    pub service: ServiceId,
    /// The instance.
    pub name: InstanceName,
    /// The port.
    pub port: Port,
    /// Who held it, if the caller said so.
    pub owner: Option<Owner>,
    /// What the caller noted beside it.
    pub labels: Labels,
    /// Who called, if the platform says so.
    pub principal: Option<Principal>,
    /// When it was offered, or made by a PUT.
    pub offered: Timestamp,
    /// When it became an allocation; none if it never did.
    pub allocated: Option<Timestamp>,
    /// When it ended, if it has and if that is known.
    pub ended: Option<Timestamp>,
    /// How it ended; none if it has not.
    pub end: Option<End>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_is_named_by_its_secret_and_its_place() {
        let namespace = Namespace::default();
        let (port, other) = (Port::new(5000).unwrap(), Port::new(5001).unwrap());
        let secret = Secret::generate(port);
        let id = TenureId::of(&namespace, port, secret);
        assert_eq!(id, TenureId::of(&namespace, port, secret));
        assert_ne!(id, TenureId::of(&namespace, other, secret));
        assert_ne!(id, TenureId::of(&Namespace::try_from("team-a").unwrap(), port, secret));
        assert_ne!(id, TenureId::of(&namespace, port, Secret::generate(port)));
        assert_eq!(TenureId::try_from(id.to_string()), Ok(id.clone()));
        // Nothing of the secret is left in it.
        let hidden = secret.expose().replace('-', "");
        assert!((0..=24).all(|at| !id.as_str().contains(&hidden[at..at + 8])));
        for bad in ["", "0", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert_eq!(TenureId::try_from(bad.to_owned()), Err(InvalidTenureId), "{bad}");
        }
    }

    /// They are in tables, in journals and on event buses: a later version must make the same ones.
    #[test]
    fn a_name_stays_what_it_is() {
        assert_eq!(digest(&["tenure", "default", "5000", "x"]), "ebb5895f2b51cd96e37e50240e843d91");
        assert_eq!(digest(&["event", "1862"]), "000713fb7e40acfcb47e6bed41d448e3");
    }

    #[test]
    fn the_words_are_those_in_items() {
        for end in [
            End::Released,
            End::Rejected,
            End::OfferExpired,
            End::LeaseLapsed,
            End::Quarantined,
            End::Withdrawn,
            End::Removed,
            End::Unknown,
        ] {
            let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(end.as_str());
            assert_eq!(End::deserialize(word), Ok(end));
        }
    }
}
