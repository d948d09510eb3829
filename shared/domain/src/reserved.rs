//! The ports that a service gives only to those who ask for them by number.

use serde::{Deserialize, Serialize};

use super::allocator::PortSet;
use super::{Port, PortRange};

/// A list of reserved ports that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have at most {} entries; a stretch of ports is one entry", Reserved::MAX)]
pub struct TooManyReserved;

/// Reserved ports, as stretches in the order in which they were given. Those outside the service's range have no
/// meaning until the range comes to cover them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PortRange>", into = "Vec<PortRange>")]
pub struct Reserved(Vec<PortRange>);

impl Reserved {
    /// How many stretches there are at most.
    pub const MAX: usize = 100;

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a port is reserved.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        self.0.iter().any(|stretch| stretch.contains(port))
    }

    /// The stretches.
    #[must_use]
    pub fn stretches(&self) -> &[PortRange] {
        &self.0
    }

    /// The ports as a set.
    #[must_use]
    pub fn ports(&self) -> PortSet {
        let mut ports = PortSet::default();
        self.0.iter().for_each(|stretch| ports.insert_range(*stretch));
        ports
    }
}

impl TryFrom<Vec<PortRange>> for Reserved {
    type Error = TooManyReserved;

    fn try_from(stretches: Vec<PortRange>) -> Result<Self, TooManyReserved> {
        if stretches.len() > Self::MAX { Err(TooManyReserved) } else { Ok(Self(stretches)) }
    }
}

impl From<Reserved> for Vec<PortRange> {
    fn from(reserved: Reserved) -> Self {
        reserved.0
    }
}
