//! A claim on a port: an offer, or the allocation it became.

use serde::{Deserialize, Serialize};

use super::{Expiry, InstanceName, Port, Secret, ServiceName, Timestamp};

/// What a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimState {
    /// Held until it is accepted, rejected, or its expiry passes.
    Offered,
    /// Accepted; the API calls it a *port*.
    Allocated,
}

impl ClaimState {
    /// The state's word, in items and answers.
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
    /// Offered or allocated.
    pub state: ClaimState,
    /// When it was offered.
    pub created: Timestamp,
    /// When it was accepted.
    pub accepted: Option<Timestamp>,
    /// When it ends, if it ends by itself.
    pub expires_at: Option<Expiry>,
}

impl Claim {
    /// Whether it is live at `now`: it has no expiry, or one still to come. The item may exist long after.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expiry| !expiry.has_passed(now))
    }

    /// Whether it is a live offer.
    #[must_use]
    pub fn is_offer(&self, now: Timestamp) -> bool {
        self.state == ClaimState::Offered && self.is_live(now)
    }

    /// Whether it is a live allocation.
    #[must_use]
    pub fn is_allocation(&self, now: Timestamp) -> bool {
        self.state == ClaimState::Allocated && self.is_live(now)
    }

    /// When an allocation began: its acceptance.
    #[must_use]
    pub fn allocated_at(&self) -> Timestamp {
        self.accepted.unwrap_or(self.created)
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
