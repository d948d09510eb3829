//! Instants, expiries, and clocks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instant is written as in RFC 3339")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The instant this many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch: what [`Expiry`] is compared with.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant this many seconds earlier.
    #[must_use]
    pub const fn minus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_sub(seconds as i64 * 1000))
    }

    /// Parses a text in RFC 3339, in any zone, cutting off everything finer than a millisecond.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] if it is not one.
    pub fn from_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        DateTime::parse_from_rfc3339(text).map(|instant| Self(instant.timestamp_millis())).map_err(|_| InvalidTimestamp)
    }

    /// The instant as RFC 3339 in UTC, to the millisecond.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        format(self.0, SecondsFormat::Millis)
    }
}

/// When a claim ends, in whole seconds since the Unix epoch, as DynamoDB's TTL requires.
///
/// A claim is live while its expiry lies after the current second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expiry(i64);

impl Expiry {
    /// The first expiry at least `seconds` after `now`.
    #[must_use]
    pub const fn after(now: Timestamp, seconds: i64) -> Self {
        Self(now.0.saturating_add(999).div_euclid(1000).saturating_add(seconds))
    }

    /// The expiry this many seconds later.
    #[must_use]
    pub const fn plus(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as i64))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// The expiry as an instant.
    #[must_use]
    pub const fn instant(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(1000))
    }

    /// Whether it has passed by `now`.
    #[must_use]
    pub const fn has_passed(self, now: Timestamp) -> bool {
        self.0 <= now.seconds()
    }

    /// How many seconds are left at `now`, at least zero.
    #[must_use]
    pub const fn seconds_left(self, now: Timestamp) -> u64 {
        let left = self.0.saturating_sub(now.seconds());
        if left < 0 { 0 } else { left.unsigned_abs() }
    }

    /// The expiry as RFC 3339 in UTC, to the second.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        format(self.instant().0, SecondsFormat::Secs)
    }
}

fn format(millis: i64, precision: SecondsFormat) -> String {
    // Only a damaged item can hold an instant beyond the calendar (year 262,000); it is shown as the epoch.
    DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default().to_rfc3339_opts(precision, true)
}

/// The source of the current time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// The system's clock, moved by this many milliseconds: for tests in which time passes or clocks disagree.
    Shifted(Arc<AtomicI64>),
    /// A clock that stands still: for code that must not depend on how fast a machine is.
    Fixed(Timestamp),
    /// A clock that the caller supplies: for tests whose time is not the machine's.
    Given(Given),
}

/// See [`Clock::Given`].
#[derive(Clone)]
pub struct Given(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Given {
    /// A clock that reads this function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(…)")
    }
}

impl Clock {
    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let system = || Utc::now().timestamp_millis();
        match self {
            Self::System => Timestamp(system()),
            Self::Shifted(shift) => Timestamp(system().saturating_add(shift.load(Ordering::Relaxed))),
            Self::Fixed(now) => *now,
            Self::Given(Given(now)) => now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_passes_at_its_second() {
        let now = Timestamp::from_millis(10_999);
        let expiry = Expiry::after(now, 5);
        assert_eq!(expiry.seconds(), 16);
        assert_eq!(Expiry::after(Timestamp::from_millis(11_000), 5), expiry);
        assert!(!expiry.has_passed(Timestamp::from_millis(15_999)));
        assert!(expiry.has_passed(Timestamp::from_millis(16_000)));
        assert_eq!(expiry.seconds_left(now), 6);
        assert_eq!(expiry.seconds_left(Timestamp::from_millis(99_000)), 0);
    }

    #[test]
    fn times_are_rfc3339_in_utc() {
        assert_eq!(Timestamp::from_millis(1_504_880_199_277).to_rfc3339(), "2017-09-08T14:16:39.277Z");
        assert_eq!(Expiry::after(Timestamp::from_millis(1_504_880_199_277), 1).to_rfc3339(), "2017-09-08T14:16:41Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_rfc3339(), "1970-01-01T00:00:00.000Z");
    }
}
