//! Durations in requests, in whole seconds: each has its bounds in its type.

use deserr::{DeserializeError as _, Deserr, ErrorKind, IntoValue, Value, ValueKind, ValuePointerRef, take_cf_content};
use portmaster_domain::{MAX_HOLD_SECONDS, MAX_LEASE_SECONDS};
use serde::{Deserialize, Serialize};

use crate::parse::{Faults, fault};

/// A number of whole seconds from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Seconds<const MIN: u32, const MAX: u32>(u32);

/// How long a lease lasts.
pub type LeaseSeconds = Seconds<1, MAX_LEASE_SECONDS>;

/// How long a cool-down or a quarantine lasts; 0 is none at all.
pub type HoldSeconds = Seconds<0, MAX_HOLD_SECONDS>;

/// A number that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    min: u32,
    max: u32,
}

impl std::fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "must be a whole number of seconds from {} to {}", self.min, self.max)
    }
}

impl std::error::Error for OutOfBounds {}

impl<const MIN: u32, const MAX: u32> Seconds<MIN, MAX> {
    const BOUNDS: OutOfBounds = OutOfBounds { min: MIN, max: MAX };

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<u32> for Seconds<MIN, MAX> {
    type Error = OutOfBounds;

    fn try_from(number: u32) -> Result<Self, OutOfBounds> {
        if (MIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err(Self::BOUNDS) }
    }
}

impl<const MIN: u32, const MAX: u32> From<Seconds<MIN, MAX>> for u32 {
    fn from(seconds: Seconds<MIN, MAX>) -> Self {
        seconds.0
    }
}

impl<const MIN: u32, const MAX: u32> Deserr<Faults> for Seconds<MIN, MAX> {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, location: ValuePointerRef<'_>) -> Result<Self, Faults> {
        let out_of_bounds = || fault::<V, Faults>(Self::BOUNDS, location);
        match value {
            Value::Integer(number) => {
                u32::try_from(number).ok().and_then(|number| Self::try_from(number).ok()).ok_or_else(out_of_bounds)
            }
            // As for ports: some readers take 60.0 for 60 and others do not.
            Value::Float(number) if number.fract() == 0.0 && (f64::from(MIN)..=f64::from(MAX)).contains(&number) => {
                let message = format!("must be written without a decimal point or an exponent: {number}");
                Err(fault::<V, Faults>(message, location))
            }
            Value::NegativeInteger(_) | Value::Float(_) => Err(out_of_bounds()),
            actual => {
                let accepted = &[ValueKind::Integer];
                let error = ErrorKind::IncorrectValueKind { actual, accepted };
                Err(take_cf_content(Faults::error::<V>(None, error, location)))
            }
        }
    }
}
