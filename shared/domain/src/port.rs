//! Ports and ranges of ports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A port that the registry may hand out: 1024–49151.
///
/// The system ports lie below and the dynamic ports, which a system assigns itself, above (RFC 6335, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Port(u16);

/// A number that is not a [`Port`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port is a whole number from {} to {}", Port::MIN.get(), Port::MAX.get())]
pub struct InvalidPort;

impl Port {
    /// The lowest port.
    pub const MIN: Self = Self(1024);
    /// The highest port.
    pub const MAX: Self = Self(49151);
    /// How many ports there are.
    pub const COUNT: usize = (Self::MAX.0 - Self::MIN.0) as usize + 1;

    /// The port with this number.
    ///
    /// # Errors
    /// [`InvalidPort`] outside 1024–49151.
    pub const fn new(number: u16) -> Result<Self, InvalidPort> {
        if number < Self::MIN.0 || number > Self::MAX.0 { Err(InvalidPort) } else { Ok(Self(number)) }
    }

    /// The port's number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The port's place among all ports, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 - Self::MIN.0) as usize
    }

    /// The port at this place, the inverse of [`Port::index`].
    #[must_use]
    pub const fn at(index: usize) -> Option<Self> {
        if index < Self::COUNT {
            // `index` is below 48,128, so it fits.
            Some(Self(Self::MIN.0 + index as u16))
        } else {
            None
        }
    }

    /// The port after this one, if there is one.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::at(self.index() + 1)
    }

    /// The port before this one, if there is one.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.index().checked_sub(1) {
            Some(index) => Self::at(index),
            None => None,
        }
    }
}

impl TryFrom<u16> for Port {
    type Error = InvalidPort;

    fn try_from(number: u16) -> Result<Self, InvalidPort> {
        Self::new(number)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ports `start..=end`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct PortRange {
    start: Port,
    end: Port,
}

/// The two ends of what should have been a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("start ({start}) must be below end ({end})")]
pub struct InvalidRange {
    /// The first port.
    pub start: Port,
    /// The last port.
    pub end: Port,
}

#[derive(Serialize, Deserialize)]
struct Bounds {
    start: Port,
    end: Port,
}

impl TryFrom<Bounds> for PortRange {
    type Error = InvalidRange;

    fn try_from(bounds: Bounds) -> Result<Self, InvalidRange> {
        Self::new(bounds.start, bounds.end)
    }
}

impl From<PortRange> for Bounds {
    fn from(range: PortRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl PortRange {
    /// Every port there is.
    pub const ALL: Self = Self { start: Port::MIN, end: Port::MAX };

    /// The range from `start` to `end`, both included.
    ///
    /// # Errors
    /// [`InvalidRange`] when `start` is above `end`.
    pub const fn new(start: Port, end: Port) -> Result<Self, InvalidRange> {
        if start.0 > end.0 { Err(InvalidRange { start, end }) } else { Ok(Self { start, end }) }
    }

    /// A range that a service may have: `start` is below `end`, as in django-portmaster.
    ///
    /// # Errors
    /// [`InvalidRange`] otherwise.
    pub const fn of_service(start: Port, end: Port) -> Result<Self, InvalidRange> {
        if start.0 >= end.0 { Err(InvalidRange { start, end }) } else { Ok(Self { start, end }) }
    }

    /// The first port.
    #[must_use]
    pub const fn start(self) -> Port {
        self.start
    }

    /// The last port.
    #[must_use]
    pub const fn end(self) -> Port {
        self.end
    }

    /// How many ports it has, at least one.
    #[must_use]
    pub const fn size(self) -> usize {
        self.end.index() - self.start.index() + 1
    }

    /// Whether the port lies inside.
    #[must_use]
    pub fn contains(self, port: Port) -> bool {
        self.start <= port && port <= self.end
    }

    /// Whether every port of `other` lies inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The ports in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }

    /// The ports of this range that are not in `other`: at most one stretch on either side of it.
    #[must_use]
    pub fn without(self, other: Self) -> Vec<Self> {
        let Some(common) = self.intersection(other) else { return vec![self] };
        let below = common.start.previous().and_then(|end| Self::new(self.start, end).ok());
        let above = common.end.next().and_then(|start| Self::new(start, self.end).ok());
        below.into_iter().chain(above).collect()
    }

    /// The part from `port` to the end, if `port` lies inside.
    #[must_use]
    pub fn starting_at(self, port: Port) -> Option<Self> {
        self.contains(port).then_some(Self { start: port, end: self.end })
    }

    /// The range in stretches of at most `size` ports.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = Self> {
        (self.start.index()..=self.end.index()).step_by(size.max(1)).filter_map(move |first| {
            let last = (first + size.max(1) - 1).min(self.end.index());
            Self::new(Port::at(first)?, Port::at(last)?).ok()
        })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn port() -> impl Strategy<Value = Port> {
        (Port::MIN.get()..=Port::MAX.get()).prop_map(|number| Port::new(number).unwrap())
    }

    fn range() -> impl Strategy<Value = PortRange> {
        (port(), port()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
    }

    proptest! {
        #[test]
        fn only_1024_to_49151_are_ports(number: u16) {
            prop_assert_eq!(Port::new(number).is_ok(), (1024..=49151).contains(&number));
        }

        #[test]
        fn index_and_at_are_inverse(port in port()) {
            prop_assert_eq!(Port::at(port.index()), Some(port));
        }

        #[test]
        fn set_operations_agree_with_membership(a in range(), b in range(), p in port()) {
            let both = a.intersection(b);
            prop_assert_eq!(both.is_some_and(|r| r.contains(p)), a.contains(p) && b.contains(p));
            let rest = a.without(b);
            prop_assert_eq!(rest.iter().filter(|r| r.contains(p)).count(), usize::from(a.contains(p) && !b.contains(p)));
            prop_assert_eq!(a.covers(b), b.without(a).is_empty());
        }

        #[test]
        fn chunks_cover_once(a in range(), size in 1usize..60_000, p in port()) {
            let hits = a.chunks(size).filter(|chunk| chunk.contains(p)).count();
            prop_assert_eq!(hits, usize::from(a.contains(p)));
            prop_assert!(a.chunks(size).all(|chunk| chunk.size() <= size));
        }
    }
}
