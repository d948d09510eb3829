//! Clocks that go with Tokio's time, which a test pauses: simulated time passes when nothing else can happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portmaster_domain::{Clock, Given, Timestamp};
use tokio::time::Instant;

/// The time that a clock in simulated time shows at its start, in milliseconds since the Unix epoch; the value does not
/// matter.
pub const EPOCH: i64 = 1_800_000_000_000;

/// A clock that showed [`EPOCH`] and `skew` milliseconds more at `started`.
#[must_use]
pub fn clock_since(started: Instant, skew: i64) -> Clock {
    Clock::Given(Given::new(move || Timestamp::from_millis(EPOCH + skew + millis_since(started))))
}

/// The simulated time of this thread as a clock.
#[must_use]
pub fn clock() -> Clock {
    thread_local! {
        /// Paused time belongs to one thread, and advances from when that thread's runtime was created.
        static START: Instant = Instant::now();
    }
    Clock::Given(Given::new(|| Timestamp::from_millis(EPOCH + START.with(|start| millis_since(*start)))))
}

/// How many milliseconds of Tokio's time have passed.
#[must_use]
pub fn millis_since(started: Instant) -> i64 {
    i64::try_from(Instant::now().saturating_duration_since(started).as_millis()).unwrap()
}

/// A time that stands still until a test moves it, for tests that are about single seconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<AtomicI64>);

impl Standing {
    /// A clock that shows [`EPOCH`], the time that has passed since, and `skew` milliseconds more.
    #[must_use]
    pub fn clock(&self, skew: i64) -> Clock {
        let passed = Arc::clone(&self.0);
        Clock::Given(Given::new(move || Timestamp::from_millis(EPOCH + passed.load(Ordering::Relaxed) + skew)))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}
