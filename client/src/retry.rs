//! Which calls are repeated, when, and how often.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::StatusCode;

use crate::error::Error;

/// Which failures a call may be repeated after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// After every failure that passes: a second call has the effect of the first.
    Always,
    /// Only where the first call had no effect for certain: it was not sent, or it was refused unread.
    IfUnread,
}

/// How often a call is repeated, at most. With the waits below that takes five seconds or so, unless `Retry-After` says
/// otherwise: whoever has mistyped a host should hear of it soon.
const REPETITIONS: usize = 4;

/// The waits between repetitions, each up to twice as long by chance, so that a crowd of callers spreads out.
pub(crate) fn waits() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(150))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(REPETITIONS)
        .with_jitter()
        .build()
}

/// What a failure says about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is final.
    Final,
    /// It passes, and the call had no effect.
    Unread,
    /// It passes, and nobody knows whether the call had an effect.
    Ambiguous,
}

/// Judges a failure.
pub(crate) fn judge(error: &Error) -> Verdict {
    let by_status = |status: StatusCode| match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Verdict::Unread,
        status if status.is_server_error() => Verdict::Ambiguous,
        _ => Verdict::Final,
    };
    match error {
        // A certificate that is not trusted will not be trusted in a second.
        Error::Unreachable(unreachable) if unreachable.stage == crate::Stage::Tls => Verdict::Final,
        Error::Unreachable(unreachable) if unreachable.stage.is_before_sending() => Verdict::Unread,
        Error::Unreachable(_) => Verdict::Ambiguous,
        Error::Problem(problem) => by_status(problem.status),
        Error::Denied(denied) => by_status(denied.status),
        Error::Unexpected(unexpected) => by_status(unexpected.status),
        Error::Credentials(_) | Error::Invalid(_) => Verdict::Final,
    }
}

impl Verdict {
    /// Whether a call of this kind is repeated after such a failure.
    pub(crate) fn allows(self, repeat: Repeat) -> bool {
        match self {
            Self::Final => false,
            Self::Unread => true,
            Self::Ambiguous => repeat == Repeat::Always,
        }
    }
}
