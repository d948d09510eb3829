//! Services, and the marks on them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Description, Port, PortRange, Reserved, ServiceId, Terms, Timestamp};

/// How a service chooses its ports. The module `allocator` says when each strategy is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The lowest free port.
    #[default]
    Lowest,
    /// The first free port from a hash of the instance name on.
    Hashed,
    /// Any free port, all equally likely.
    Random,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Lowest, Self::Hashed, Self::Random];

    /// The strategy's word, in items and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lowest => "lowest",
            Self::Hashed => "hashed",
            Self::Random => "random",
        }
    }

    /// The strategy with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == word)
    }
}

/// A random value that is unique to one write of one service, so that a later service of the same name cannot be
/// mistaken for an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Uuid);

impl Version {
    /// Generates a unique version.
    #[must_use]
    pub fn unique() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The change that a mark announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Delete the service.
    Delete,
    /// Give up a part of its range, or exchange all of it for another.
    Shrink,
}

/// Announces that ports of a service are being given up. Offers avoid those ports from the moment the mark stands, so
/// the call that set it only needs to look for live claims there once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The announced change.
    pub change: Change,
    /// When it was set: a hint for the reconciler, which leaves young marks alone.
    pub since: Timestamp,
    /// The ports that stay on offer meanwhile.
    pub keep: Option<PortRange>,
}

/// A service: its name and the ports it hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace, and its name in it.
    pub id: ServiceId,
    /// Its description.
    pub description: Description,
    /// The ports that it owns.
    pub range: PortRange,
    /// How it chooses among its ports.
    pub strategy: Strategy,
    /// Its leases, its cool-down and its quarantine.
    pub terms: Terms,
    /// The ports that it only gives to those who ask for them by number.
    pub reserved: Reserved,
    /// When it was created.
    pub created: Timestamp,
    /// The version of its content: the service's `ETag`. A mark does not change it.
    pub version: Version,
    /// The version of the item, marks included. Every write is conditional on the revision that was read and makes a
    /// new one, so no revision ever recurs, and a late write fails its condition.
    pub revision: Version,
    /// The mark, if ports are being given up.
    pub mark: Option<Mark>,
}

impl Service {
    /// The ports it may hand out now: its range, minus the ports that a mark gives up.
    #[must_use]
    pub fn offered_range(&self) -> Option<PortRange> {
        self.mark.as_ref().map_or(Some(self.range), |mark| mark.keep)
    }

    /// Whether it may hand out this port now.
    #[must_use]
    pub fn may_offer(&self, port: Port) -> bool {
        self.offered_range().is_some_and(|range| range.contains(port))
    }
}
