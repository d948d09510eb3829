//! The outcome of a request: one word for the log, and its share of the metrics.

use super::Kind;
use portmaster_domain::{Claim, InstanceName, Port, Secret};
use portmaster_registry::{Meter, metrics};

/// The outcome of a request, where its status does not show it. A handler puts it into the response's extensions.
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

/// The port and the instance that a response is about, for the log. A handler puts it into the response's extensions,
/// and a problem carries it; if neither has it, the path may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) port: Option<Port>,
    pub(super) name: Option<InstanceName>,
}

impl About {
    /// About a port, whoever has it.
    pub(super) fn port(port: Port) -> Self {
        Self { port: Some(port), name: None }
    }

    /// Fills in from `other` what is missing here.
    pub(super) fn or(self, other: Self) -> Self {
        Self { port: self.port.or(other.port), name: self.name.or(other.name) }
    }

    /// The name, unless it must not be logged: a secret in the wrong place is still a secret.
    pub(super) fn loggable_name(&self) -> Option<&str> {
        self.name.as_ref().map(InstanceName::as_str).filter(|name| Secret::parse(name).is_err())
    }
}

impl From<&Claim> for About {
    fn from(claim: &Claim) -> Self {
        Self { port: Some(claim.port), name: Some(claim.name.clone()) }
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
