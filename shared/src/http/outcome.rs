//! What came of a request: one word for the log, and what it adds to the metrics.

use super::Kind;
use crate::metrics;
use crate::store::Meter;

/// What came of a request, where its status does not say it. A handler puts it into the answer's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Offered,
    Replayed,
    Accepted,
    AcceptedAgain,
    Rejected,
    Released,
}

impl Outcome {
    /// The word for it in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Replayed => "replayed",
            Self::Accepted => "accepted",
            Self::AcceptedAgain => "accepted-again",
            Self::Rejected => "rejected",
            Self::Released => "released",
        }
    }

    fn metric(self) -> Option<&'static str> {
        match self {
            Self::Offered => Some(metrics::OFFERS),
            Self::Replayed => Some(metrics::REPLAYS),
            Self::Accepted => Some(metrics::ACCEPTS),
            Self::AcceptedAgain => None,
            Self::Rejected => Some(metrics::REJECTS),
            Self::Released => Some(metrics::RELEASES),
        }
    }
}

/// Counts a request that was answered.
pub(super) fn count(outcome: Option<Outcome>, problem: Option<Kind>, meter: &Meter) {
    let refused = match problem {
        Some(Kind::OfferExpired) => Some(metrics::EXPIRIES_SEEN),
        Some(Kind::RangeExhausted) => Some(metrics::EXHAUSTIONS),
        _ => None,
    };
    if let Some(name) = outcome.and_then(Outcome::metric).or(refused) {
        metrics::count(name, 1);
    }
    if meter.tries > 0 {
        metrics::attempts(meter.tries);
    }
    metrics::count(metrics::LOST_RACES, meter.lost_races.into());
    metrics::count(metrics::DYNAMODB_RETRIES, meter.retries.into());
}
