//! A claim on a port: an offer, the allocation it became, and what keeps the port from others after that.

use serde::{Deserialize, Serialize};

use super::{Expiry, InstanceName, Labels, Lease, Owner, Port, Principal, Secret, ServiceName, Terms, Timestamp};

/// The state of a claim, and when it ends.
///
/// Two questions are asked of it, with different answers: whether it occupies its port for a stranger
/// ([`ClaimState::occupies_port`]), and whether it holds its name ([`ClaimState::holds_name`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Held until it is accepted, rejected, or its expiry passes.
    Offered {
        /// When it ends by itself.
        expires_at: Expiry,
    },
    /// Accepted, or made by a PUT; the API calls it a *port*.
    Allocated {
        /// When it began.
        accepted: Timestamp,
        /// When it ends by itself; none if it lasts until it is released.
        lease: Option<Lease>,
    },
    /// Released, or lapsed and made gone: nobody holds it, and only the same name of the same service may have the port
    /// before `until`.
    Cooling {
        /// When a stranger may have the port.
        until: Expiry,
        /// After a lapsed lease, what its holder had been told: before that and the margin are over, the name may only
        /// come back under the same owner.
        lease_until: Option<Expiry>,
    },
    /// Rejected as in use on the host: nobody may have the port before `until`, the same name included.
    Quarantined {
        /// When anybody may have the port.
        until: Expiry,
    },
}

impl ClaimState {
    /// The state without its times.
    #[must_use]
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Offered { .. } => StateKind::Offered,
            Self::Allocated { .. } => StateKind::Allocated,
            Self::Cooling { .. } => StateKind::Cooling,
            Self::Quarantined { .. } => StateKind::Quarantined,
        }
    }

    /// When a stranger may have the port, if that comes by itself.
    #[must_use]
    pub const fn expires_at(self) -> Option<Expiry> {
        match self {
            Self::Offered { expires_at } => Some(expires_at),
            Self::Allocated { lease: Some(lease), .. } => Some(lease.expires_at),
            Self::Allocated { lease: None, .. } => None,
            Self::Cooling { until, .. } | Self::Quarantined { until } => Some(until),
        }
    }

    /// What the holder of the claim was told: until when it may use the port. None if that has no end, or if nobody
    /// holds it.
    #[must_use]
    pub const fn told_until(self) -> Option<Expiry> {
        match self {
            Self::Offered { expires_at } => Some(expires_at),
            Self::Allocated { lease: Some(lease), .. } => Some(lease.until),
            Self::Allocated { lease: None, .. } | Self::Cooling { .. } | Self::Quarantined { .. } => None,
        }
    }

    /// Whether no stranger may have the port at `now`. The item may exist long after that.
    #[must_use]
    pub fn occupies_port(self, now: Timestamp) -> bool {
        self.expires_at().is_none_or(|expiry| !expiry.has_passed(now))
    }

    /// Whether its instance still has it at `now`, by what it was told.
    #[must_use]
    pub fn holds_name(self, now: Timestamp) -> bool {
        matches!(self, Self::Offered { .. } | Self::Allocated { .. })
            && self.told_until().is_none_or(|until| !until.has_passed(now))
    }

    /// When the lease of a cooling port ended, if it was one that ended by itself or was made gone.
    #[must_use]
    pub const fn lapsed_at(self) -> Option<Expiry> {
        match self {
            Self::Cooling { lease_until, .. } => lease_until,
            _ => None,
        }
    }

    /// Whether it is an allocation whose lease is over by `now`, while strangers still may not have the port.
    #[must_use]
    pub fn is_lapsed(self, now: Timestamp) -> bool {
        matches!(self, Self::Allocated { .. }) && !self.holds_name(now) && self.occupies_port(now)
    }

    /// The state as everybody but its holder sees it at `now`: a lapsed allocation is a port that is cooling, whether or
    /// not somebody has made it gone yet.
    #[must_use]
    pub fn seen_at(self, now: Timestamp) -> Self {
        match self {
            Self::Allocated { lease: Some(lease), .. } if self.is_lapsed(now) => {
                Self::Cooling { until: lease.expires_at, lease_until: Some(lease.until) }
            }
            _ => self,
        }
    }
}

/// A state without its times: its word in items, filters and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// See [`ClaimState::Offered`].
    Offered,
    /// See [`ClaimState::Allocated`].
    Allocated,
    /// See [`ClaimState::Cooling`].
    Cooling,
    /// See [`ClaimState::Quarantined`].
    Quarantined,
}

impl StateKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Allocated => "allocated",
            Self::Cooling => "cooling",
            Self::Quarantined => "quarantined",
        }
    }
}

/// One instance's claim on one port, without its secret: the form in which lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The service whose range the port was in.
    pub service: ServiceName,
    /// The instance that holds it, or held it.
    pub name: InstanceName,
    /// The port.
    pub port: Port,
    /// When it was offered, or made.
    pub created: Timestamp,
    /// Its state, and until when.
    pub state: ClaimState,
    /// Who holds it, if its caller said so.
    pub owner: Option<Owner>,
    /// What its caller noted beside it.
    pub labels: Labels,
    /// Who called, if the platform says so.
    pub principal: Option<Principal>,
    /// The terms of the service under which it was made.
    pub terms: Terms,
    /// Whether, after it was made, its service was seen to offer the port: before that, no caller was told of it. Always
    /// true of an allocation that was accepted; an offer is looked at before it is told, and does not need it.
    pub confirmed: bool,
    /// Whether a PUT made the offer: only then may a PUT of the same owner adopt it.
    pub by_put: bool,
}

impl Claim {
    /// When a stranger may have its port, if that comes by itself.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Expiry> {
        self.state.expires_at()
    }

    /// Whether it is a live offer.
    #[must_use]
    pub fn is_offer(&self, now: Timestamp) -> bool {
        self.state.kind() == StateKind::Offered && self.state.holds_name(now)
    }

    /// Whether it is a live allocation.
    #[must_use]
    pub fn is_allocation(&self, now: Timestamp) -> bool {
        self.state.kind() == StateKind::Allocated && self.state.holds_name(now)
    }

    /// The claim with its state [as everybody sees it](ClaimState::seen_at).
    #[must_use]
    pub fn seen_at(self, now: Timestamp) -> Self {
        Self { state: self.state.seen_at(now), ..self }
    }

    /// When an allocation began: its acceptance. For anything else, when it was made.
    #[must_use]
    pub const fn allocated_at(&self) -> Timestamp {
        match self.state {
            ClaimState::Allocated { accepted, .. } => accepted,
            _ => self.created,
        }
    }

    /// The lease of an allocation that has one.
    #[must_use]
    pub const fn lease(&self) -> Option<Lease> {
        match self.state {
            ClaimState::Allocated { lease, .. } => lease,
            _ => None,
        }
    }
}

/// A claim together with the secret that proves it: shown to its holder and to nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The claim.
    pub claim: Claim,
    /// The holder's proof.
    pub secret: Secret,
}

/// What keeps a port from others, as it was read: a claim with its secret, or a cool-down or a quarantine, of which
/// nobody has a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The claim.
    pub claim: Claim,
    /// The holder's proof, if there is a holder.
    pub secret: Option<Secret>,
}

impl Occupant {
    /// Whether it is the claim of this secret.
    #[must_use]
    pub fn has(&self, secret: Secret) -> bool {
        self.secret == Some(secret)
    }

    /// The claim with its secret, if it has one.
    #[must_use]
    pub fn holding(self) -> Option<Holding> {
        let Self { claim, secret } = self;
        secret.map(|secret| Holding { claim, secret })
    }
}
