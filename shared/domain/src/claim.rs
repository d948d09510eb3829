//! A claim on a port: an offer, or the allocation it became.

use serde::{Deserialize, Serialize};

use super::{Expiry, InstanceName, Port, Secret, ServiceName, Timestamp};

/// What a claim is, and until when.
///
/// What follows from it is asked in two questions, since they need not have the same answer for ever: whether it occupies
/// its port for a stranger ([`ClaimState::occupies_port`]), and whether it holds its name ([`ClaimState::holds_name`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Held until it is accepted, rejected, or its expiry passes.
    Offered {
        /// When it ends by itself.
        expires_at: Expiry,
    },
    /// Accepted; the API calls it a *port*.
    Allocated {
        /// When it was accepted.
        accepted: Timestamp,
        /// When it ends by itself. This version writes none; one that comes later may, and is understood.
        expires_at: Option<Expiry>,
    },
}

impl ClaimState {
    /// Which of the states it is.
    #[must_use]
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Offered { .. } => StateKind::Offered,
            Self::Allocated { .. } => StateKind::Allocated,
        }
    }

    /// When it ends by itself, if it does.
    #[must_use]
    pub const fn expires_at(self) -> Option<Expiry> {
        match self {
            Self::Offered { expires_at } => Some(expires_at),
            Self::Allocated { expires_at, .. } => expires_at,
        }
    }

    /// Whether nobody else may have the port at `now`. The item may exist long after.
    #[must_use]
    pub fn occupies_port(self, now: Timestamp) -> bool {
        match self {
            Self::Offered { expires_at } => !expires_at.has_passed(now),
            Self::Allocated { expires_at, .. } => expires_at.is_none_or(|expiry| !expiry.has_passed(now)),
        }
    }

    /// Whether it is somebody's at `now`: the instance has its port in it, and may have no other.
    #[must_use]
    pub fn holds_name(self, now: Timestamp) -> bool {
        match self {
            Self::Offered { expires_at } => !expires_at.has_passed(now),
            Self::Allocated { expires_at, .. } => expires_at.is_none_or(|expiry| !expiry.has_passed(now)),
        }
    }
}

/// A state without its times: the word for it in items, filters and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// See [`ClaimState::Offered`].
    Offered,
    /// See [`ClaimState::Allocated`].
    Allocated,
}

impl StateKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Allocated => "allocated",
        }
    }
}

/// One instance's claim on one port, without its secret: what a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The service whose range the port was in.
    pub service: ServiceName,
    /// Who holds it.
    pub name: InstanceName,
    /// The port.
    pub port: Port,
    /// When it was offered.
    pub created: Timestamp,
    /// Offered or allocated, and until when.
    pub state: ClaimState,
}

impl Claim {
    /// When it ends, if it ends by itself.
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

    /// When an allocation began: its acceptance. Of an offer, when it was made.
    #[must_use]
    pub const fn allocated_at(&self) -> Timestamp {
        match self.state {
            ClaimState::Offered { .. } => self.created,
            ClaimState::Allocated { accepted, .. } => accepted,
        }
    }
}

/// A claim together with the secret that proves it: what its holder, and only its holder, is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The claim.
    pub claim: Claim,
    /// The holder's proof.
    pub secret: Secret,
}
