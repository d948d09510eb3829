//! One call of the registry: how long it may take, and what it has cost so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portmaster_domain::Principal;
use tokio::time::Instant;

/// How long cleaning up may take beyond a deadline. Code that sets deadlines must leave this much time after them.
pub const CLEAN_UP: Duration = Duration::from_millis(500);

/// One call's deadline and meter. Clones share both.
#[derive(Clone, Debug)]
pub struct Call {
    deadline: Instant,
    meter: Arc<Mutex<Meter>>,
    principal: Option<Principal>,
}

/// The cost of a call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meter {
    /// Requests sent to DynamoDB, retries included.
    pub requests: u32,
    /// Of these, how many were sent again after a conflict, throttling, or a fault.
    pub retries: u32,
    /// Read capacity units that DynamoDB reported.
    pub read_units: f64,
    /// Write capacity units that DynamoDB reported. It reports none for a write that failed its condition.
    pub write_units: f64,
    /// Candidates that an offer tried to claim.
    pub tries: u32,
    /// Of these, how many another caller held.
    pub lost_races: u32,
}

impl Call {
    /// A call that may take this long from now.
    #[must_use]
    pub fn within(duration: Duration) -> Self {
        Self { deadline: Instant::now() + duration, meter: Arc::default(), principal: None }
    }

    /// Returns the same call, made by this principal.
    #[must_use]
    pub fn by(self, principal: Option<Principal>) -> Self {
        Self { principal, ..self }
    }

    /// Who makes it, if the platform says so.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Returns the same call with a little more time if its own is over, so that it can clean up after itself.
    #[must_use]
    pub fn extended(&self) -> Self {
        Self { deadline: self.deadline.max(Instant::now() + CLEAN_UP), ..self.clone() }
    }

    /// The time by which it must have been answered.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether there is no time left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Returns its cost so far.
    #[must_use]
    pub fn meter(&self) -> Meter {
        *self.lock()
    }

    /// Updates the meter.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Meter)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        // A meter is consistent after every statement, so one that a panic left behind is as good as any.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
