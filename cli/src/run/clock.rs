//! The time by which a lease is kept: nobody sets it, and it goes on while the machine sleeps.
//!
//! The date of this host may be wrong and may jump, and so may the registry's. A lease is therefore never compared with
//! a date: the registry says how long it is, and it is counted from the moment at which it was asked for. Tokio's own
//! time stands still while a laptop sleeps, and the lease does not.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, as the time since the machine started.
pub(super) type Moment = Duration;

/// For how long this process sleeps without looking whether the machine has slept.
const LOOK: Duration = Duration::from_secs(5);

/// The time now.
pub(super) fn now() -> Moment {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // This one counts the machine's sleep on macOS.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Waits until then.
pub(super) async fn sleep_until(then: Moment) {
    while let Some(left) = then.checked_sub(now()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
