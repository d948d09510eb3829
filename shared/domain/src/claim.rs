//! A claim on a port: an offer, or the allocation it became.

use serde::{Deserialize, Serialize};

use super::{Expiry, InstanceName, Port, Secret, ServiceName, Timestamp};

/// The state of a claim, and when it ends.
///
/// Two questions are asked of it, whose answers may come to differ: whether it occupies its port for a stranger
/// ([`ClaimState::occupies_port`]), and whether it holds its name ([`ClaimState::holds_name`]).
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
        /// When it ends by itself. This version writes none, but understands one that a later version wrote.
        expires_at: Option<Expiry>,
    },
}

impl ClaimState {
    /// The state without its times.
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

    /// Whether nobody else may have the port at `now`. The item may exist long after that.
    #[must_use]
    pub fn occupies_port(self, now: Timestamp) -> bool {
        self.lasts(now)
    }

    /// Whether its instance still has it at `now`, and so may have no other port.
    #[must_use]
    pub fn holds_name(self, now: Timestamp) -> bool {
        self.lasts(now)
    }

    /// The answer to both questions, as long as a claim ends for everybody at the same time.
    fn lasts(self, now: Timestamp) -> bool {
        self.expires_at().is_none_or(|expiry| !expiry.has_passed(now))
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
}

impl StateKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Allocated => "allocated",
        }
    }
}

/// One instance's claim on one port, without its secret: the form in which lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The service whose range the port was in.
    pub service: ServiceName,
    /// The instance that holds it.
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

    /// When an allocation began: its acceptance. For an offer, when it was made.
    #[must_use]
    pub const fn allocated_at(&self) -> Timestamp {
        match self.state {
            ClaimState::Offered { .. } => self.created,
            ClaimState::Allocated { accepted, .. } => accepted,
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
