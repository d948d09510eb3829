//! Services, and the marks on them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Description, Port, PortRange, ServiceId, Timestamp};

/// How a service chooses its ports; the allocator says when each is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The lowest free port.
    #[default]
    Lowest,
    /// From a hash of the instance name onwards.
    Hashed,
    /// Any free port, each as likely.
    Random,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Lowest, Self::Hashed, Self::Random];

    /// The strategy's word, in items and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lowest => "lowest",
            Self::Hashed => "hashed",
            Self::Random => "random",
        }
    }

    /// The strategy of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == word)
    }
}

/// A random value that no other write of any service has, so that no later service of the same name can be mistaken for
/// this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Uuid);

impl Version {
    /// A version that no other write has.
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

/// What the holder of a mark is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Delete the service.
    Delete,
    /// Give up a part of its range, or all of it for another.
    Shrink,
}

/// Says that ports of a service are being given up. Offers keep out of those from the moment the mark stands, so that
/// whoever set it can look for live claims there once and be sure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What it is for.
    pub change: Change,
    /// When it began: a hint for the reconciler, which leaves young marks alone.
    pub since: Timestamp,
    /// The ports that stay on offer meanwhile.
    pub keep: Option<PortRange>,
}

/// A service: who it is and which ports it hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace, and its name in it.
    pub id: ServiceId,
    /// What it is for.
    pub description: Description,
    /// The ports that are its own.
    pub range: PortRange,
    /// How it chooses among them.
    pub strategy: Strategy,
    /// When it was created.
    pub created: Timestamp,
    /// Which content this is: the service's `ETag`. A mark does not change it.
    pub version: Version,
    /// Which writing of the item this is, marks included. Every write is conditional on the one that was read, and makes
    /// a new one, so that nothing that was ever read comes back, and a write that arrives late finds that it is.
    pub revision: Version,
    /// Whether ports are being given up.
    pub mark: Option<Mark>,
}

impl Service {
    /// The ports it may hand out now: its range, less what a mark gives up.
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
