//! Keeping a lease: when it is renewed, and when it counts as lost.

use std::time::Duration;

use super::clock::{Moment, now, sleep_until};

/// A lease as its holder reckons it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// When it was asked for. The registry counts from when it answered, which is later: the difference is on the safe
    /// side.
    pub(super) since: Moment,
    /// How long it is.
    pub(super) length: Duration,
}

impl Lease {
    /// When to renew it: after a third of it, so that two more attempts fit in, and a little earlier by chance, so that
    /// the jobs of a matrix that began together do not call together for ever.
    fn renewal(self, chance: f64) -> Moment {
        self.since + (self.length / 3).mul_f64(0.8 + 0.2 * chance)
    }

    /// When it counts as lost if nobody answers: so early that the command, which is given `ending` to end, is gone when
    /// the lease is over. A short lease is kept for two thirds all the same.
    fn last(self, ending: Duration) -> Moment {
        self.since + self.length - ending.min(self.length / 3)
    }
}

/// What a renewal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The lease has this length from when the renewal was sent.
    Extended(Duration),
    /// The registry said that the port belongs to nobody or to another holder, for this reason.
    Lost(String),
    /// Nobody answered, or only that it was too much, for this reason; and when to try again, if that was said.
    Unanswered(String, Option<Duration>),
}

/// The first wait after a renewal that nobody answered. Each one is twice as long as the last, up to a tenth of the
/// lease or [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How long a renewal may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Renews a lease until it is lost; returns why. `warn` is told of the first renewal in a row that nobody answered, and
/// of the one that was answered at last.
pub(super) async fn keep<R>(mut lease: Lease, ending: Duration, renew: impl Fn() -> R, warn: impl Fn(&str)) -> String
where
    R: Future<Output = Renewal>,
{
    loop {
        sleep_until(lease.renewal(fastrand::f64())).await;
        lease = match extend(lease, ending, &renew, &warn).await {
            Ok(lease) => lease,
            Err(why) => return why,
        };
    }
}

/// Renews a lease once, in as many attempts as its time allows.
async fn extend<R>(
    lease: Lease,
    ending: Duration,
    renew: &impl Fn() -> R,
    warn: &impl Fn(&str),
) -> Result<Lease, String>
where
    R: Future<Output = Renewal>,
{
    let last = lease.last(ending);
    let (mut wait, mut failed) = (FIRST_WAIT, false);
    loop {
        let sent = now();
        // After the sleep of a laptop even the first attempt is late, and the registry's answer is still worth having:
        // perhaps nobody has taken the port.
        let patience = last.saturating_sub(sent).max(lease.length / 6).min(PATIENCE);
        let (why, asked) = match tokio::time::timeout(patience, renew()).await {
            Ok(Renewal::Extended(length)) => {
                if failed {
                    warn("the lease is renewed again");
                }
                return Ok(Lease { since: sent, length });
            }
            Ok(Renewal::Lost(why)) => return Err(why),
            Ok(Renewal::Unanswered(why, asked)) => (why, asked),
            Err(_) => ("no answer in time".to_owned(), None),
        };
        if now() >= last {
            return Err(format!("it could not be renewed before its end: {why}"));
        }
        if !failed {
            warn(&format!(
                "the lease could not be renewed yet, which is tried again until shortly before its end: {why}"
            ));
            failed = true;
        }
        let pause = asked.unwrap_or(wait).mul_f64(1.0 + 0.5 * fastrand::f64());
        wait = (wait * 2).min(LONGEST_WAIT).min(lease.length / 10).max(FIRST_WAIT);
        // Whatever the wait, there is one more attempt at the very end.
        sleep_until((now() + pause).min(last)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_lease_is_renewed_by_a_third_and_given_up_in_time_for_the_command_to_end() {
        let lease = Lease { since: seconds(1000), length: seconds(900) };
        assert_eq!((lease.renewal(0.0), lease.renewal(1.0)), (seconds(1240), seconds(1300)));
        assert_eq!(lease.last(seconds(6)), seconds(1894));
        // With a lease that is shorter than the command may take to end, there is still time for renewals.
        let short = Lease { since: seconds(1000), length: seconds(6) };
        assert_eq!((short.renewal(1.0), short.last(seconds(6))), (seconds(1002), seconds(1004)));
    }

    #[tokio::test]
    async fn what_the_registry_says_is_lost_is_lost_at_once_and_silence_only_at_the_end() {
        // The time of all of it has passed when the test begins, so that nothing waits.
        let over = Lease { since: now().saturating_sub(seconds(3600)), length: seconds(60) };
        let lost = keep(over, seconds(6), || async { Renewal::Lost("404".to_owned()) }, |_| {}).await;
        assert_eq!(lost, "404");
        let silent = keep(over, seconds(6), || async { Renewal::Unanswered("refused".to_owned(), None) }, |_| {}).await;
        assert_eq!(silent, "it could not be renewed before its end: refused");
    }

    #[tokio::test]
    async fn a_lease_that_is_renewed_after_an_outage_goes_on_and_its_holder_hears_of_it() {
        use std::cell::{Cell, RefCell};
        let (calls, said) = (Cell::new(0), RefCell::new(Vec::new()));
        let renew = || {
            calls.set(calls.get() + 1);
            let call = calls.get();
            async move {
                match call {
                    1 | 2 => Renewal::Unanswered("refused".to_owned(), Some(Duration::ZERO)),
                    // As if the renewal's time had passed as well.
                    3 => Renewal::Extended(Duration::ZERO),
                    _ => Renewal::Lost("gone".to_owned()),
                }
            }
        };
        let due = Lease { since: now().saturating_sub(seconds(400)), length: seconds(900) };
        assert_eq!(keep(due, seconds(6), renew, |text| said.borrow_mut().push(text.to_owned())).await, "gone");
        let said = said.into_inner();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("refused") && said[1] == "the lease is renewed again", "{said:?}");
    }
}
