//! The outcome of a request: one word for the log, and its share of the metrics.

use super::{Kind, Problem};
use portmaster_domain::{Claim, InstanceName, Port, Secret};
use portmaster_registry::{Meter, metrics};

/// The outcome of a request, where its status does not show it. A handler puts it into the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Offered,
    Replayed,
    Accepted {
        leased: bool,
    },
    AcceptedAgain,
    Rejected,
    /// Rejected, and put into quarantine.
    Quarantined,
    /// A PUT gave a port, or a set several.
    Put {
        ports: usize,
        leased: bool,
    },
    /// A PUT or a set found what it asks for.
    Kept {
        leased: bool,
    },
    Renewed {
        leased: bool,
    },
    Released,
    /// Several were released at once.
    ReleasedAll {
        ports: usize,
    },
    /// Several would be.
    WouldRelease,
    /// Ports in use were imported, so many of them with a lease; others may have been there already.
    Imported {
        ports: usize,
        leases: usize,
    },
    /// They would be.
    WouldImport,
    /// A quarantine or a cool-down was ended by hand.
    Lifted,
}

impl Outcome {
    /// The word for it in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Replayed => "replayed",
            Self::Accepted { .. } => "accepted",
            Self::AcceptedAgain => "accepted-again",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
            Self::Put { .. } => "put",
            Self::Kept { .. } => "kept",
            Self::Renewed { .. } => "renewed",
            Self::Released => "released",
            Self::ReleasedAll { .. } => "released-all",
            Self::WouldRelease => "would-release",
            Self::Imported { .. } => "imported",
            Self::WouldImport => "would-import",
            Self::Lifted => "lifted",
        }
    }

    /// What it adds to the metrics.
    fn counts(self) -> Vec<(&'static str, u64)> {
        let many = |ports: usize| u64::try_from(ports).unwrap_or(u64::MAX);
        match self {
            Self::Offered => vec![(metrics::OFFERS, 1)],
            Self::Replayed => vec![(metrics::REPLAYS, 1)],
            Self::Accepted { leased } => vec![(metrics::ACCEPTS, 1), (metrics::LEASES_GRANTED, leased.into())],
            Self::Rejected => vec![(metrics::REJECTS, 1)],
            Self::Quarantined => vec![(metrics::REJECTS, 1), (metrics::QUARANTINES, 1)],
            Self::Put { ports, leased: false } => vec![(metrics::PUTS, many(ports))],
            Self::Put { ports, leased: true } => {
                vec![(metrics::PUTS, many(ports)), (metrics::LEASES_GRANTED, many(ports))]
            }
            Self::Kept { leased } | Self::Renewed { leased } => vec![(metrics::LEASES_RENEWED, leased.into())],
            Self::Released => vec![(metrics::RELEASES, 1)],
            Self::Imported { ports, leases } => {
                vec![(metrics::PUTS, many(ports)), (metrics::LEASES_GRANTED, many(leases))]
            }
            Self::ReleasedAll { ports } => vec![(metrics::RELEASES, many(ports))],
            Self::AcceptedAgain | Self::WouldRelease | Self::WouldImport | Self::Lifted => Vec::new(),
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
pub(super) fn count(outcome: Option<Outcome>, problem: Option<&Problem>, meter: &Meter) {
    for (name, times) in outcome.map(Outcome::counts).unwrap_or_default() {
        metrics::count(name, times);
    }
    match problem.map(Problem::kind) {
        Some(Kind::OfferExpired) => metrics::count(metrics::EXPIRIES_SEEN, 1),
        Some(Kind::LeaseExpired) => metrics::count(metrics::LEASES_LOST, 1),
        Some(Kind::RangeExhausted) => {
            metrics::count(metrics::EXHAUSTIONS, 1);
            metrics::count(metrics::COOLDOWNS_IN_THE_WAY, problem.is_some_and(Problem::is_held_back).into());
        }
        _ => {}
    }
    metrics::meter(meter);
}
