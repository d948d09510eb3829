//! The terms on which a service gives out ports: leases, cool-down, quarantine.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expiry, Timestamp};

/// How long an allocation may be leased at most, in seconds: 30 days.
pub const MAX_LEASE_SECONDS: u32 = 30 * 24 * 60 * 60;

/// How long a cool-down or a quarantine may last at most, in seconds: a week.
pub const MAX_HOLD_SECONDS: u32 = 7 * 24 * 60 * 60;

/// The terms of a service. A claim keeps those under which it was made, so that an accept, a renewal and a release need
/// not read the service; a change of them applies to the claims that are made after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Terms {
    /// The default lease of an allocation, in seconds; none: it lasts until it is released.
    pub lease: Option<u32>,
    /// The longest lease, in seconds. Where there is one, every allocation is leased.
    pub max_lease: Option<u32>,
    /// For how many seconds after a release or a lapsed lease nobody but the same name may have the port.
    pub cooldown: u32,
    /// For how many seconds nobody may have a port that was rejected as in use.
    pub quarantine: u32,
}

impl Terms {
    /// How long a quarantine lasts unless the service or the caller says otherwise, in seconds.
    pub const QUARANTINE_SECONDS: u32 = 60 * 60;

    /// The lease, in seconds, that somebody gets who asks for this one, or for none in particular: the default where
    /// nothing is asked for, and never more than the maximum. None: an allocation without an end.
    #[must_use]
    pub fn grant(self, asked: Option<u32>) -> Option<u32> {
        let wanted = asked.or(self.lease);
        match (wanted, self.max_lease) {
            (Some(wanted), Some(max)) => Some(wanted.min(max)),
            (None, max) => max,
            (wanted, None) => wanted,
        }
    }

    /// For how many seconds everybody else waits longer than a holder was told, given the margin.
    #[must_use]
    pub fn hold(self, margin: u32) -> u32 {
        self.cooldown.max(margin)
    }

    /// A lease of this many seconds from now on.
    #[must_use]
    pub fn lease_from(self, now: Timestamp, seconds: u32, margin: u32) -> Lease {
        let until = Expiry::after(now, seconds.into());
        Lease { until, expires_at: until.plus(self.hold(margin)), seconds }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: None, max_lease: None, cooldown: 0, quarantine: Self::QUARANTINE_SECONDS }
    }
}

/// A text that is not [`Terms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("terms are four numbers, or - for none, separated by slashes")]
pub struct InvalidTerms;

/// `900/3600/60/3600`: lease, longest lease, cool-down, quarantine. The form of terms in an item; two terms are equal if
/// their texts are.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, max_lease, cooldown, quarantine } = self;
        for seconds in [lease, max_lease] {
            match seconds {
                Some(seconds) => write!(f, "{seconds}/")?,
                None => f.write_str("-/")?,
            }
        }
        write!(f, "{cooldown}/{quarantine}")
    }
}

impl TryFrom<String> for Terms {
    type Error = InvalidTerms;

    fn try_from(text: String) -> Result<Self, InvalidTerms> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| InvalidTerms);
        let optional = |text: &str| if text == "-" { Ok(None) } else { number(text).map(Some) };
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [lease, max_lease, cooldown, quarantine] => Ok(Self {
                lease: optional(lease)?,
                max_lease: optional(max_lease)?,
                cooldown: number(cooldown)?,
                quarantine: number(quarantine)?,
            }),
            _ => Err(InvalidTerms),
        }
    }
}

impl From<Terms> for String {
    fn from(terms: Terms) -> Self {
        terms.to_string()
    }
}

/// The time of an allocation that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What the holder was told: it may use the port until then.
    pub until: Expiry,
    /// When a stranger may have the port: later by the margin, or by the cool-down if that is longer.
    pub expires_at: Expiry,
    /// For how many seconds it was granted the last time: a renewal that asks for nothing in particular gets as much.
    pub seconds: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grant_is_bounded_by_the_maximum() {
        let terms = |lease, max_lease| Terms { lease, max_lease, ..Terms::default() };
        assert_eq!(terms(None, None).grant(None), None);
        assert_eq!(terms(None, None).grant(Some(60)), Some(60));
        assert_eq!(terms(Some(30), None).grant(None), Some(30));
        assert_eq!(terms(Some(30), None).grant(Some(60)), Some(60));
        assert_eq!(terms(None, Some(45)).grant(None), Some(45));
        assert_eq!(terms(Some(30), Some(45)).grant(None), Some(30));
        assert_eq!(terms(Some(90), Some(45)).grant(None), Some(45));
        assert_eq!(terms(Some(30), Some(45)).grant(Some(60)), Some(45));
    }

    #[test]
    fn strangers_wait_for_the_margin_or_the_cooldown() {
        let now = Timestamp::from_millis(1_000);
        let lease = |cooldown| Terms { cooldown, ..Terms::default() }.lease_from(now, 60, 10);
        assert_eq!(lease(0).until.seconds(), 61);
        assert_eq!(lease(0).expires_at.seconds(), 71);
        assert_eq!(lease(300).expires_at.seconds(), 361);
    }

    proptest! {
        #[test]
        fn terms_come_back(lease: Option<u32>, max_lease: Option<u32>, cooldown: u32, quarantine: u32) {
            let terms = Terms { lease, max_lease, cooldown, quarantine };
            prop_assert_eq!(Terms::try_from(terms.to_string()), Ok(terms));
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = Terms::try_from(text);
        }
    }
}
