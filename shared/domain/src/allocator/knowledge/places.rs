//! The places in a range where a set of ports fits. Nothing is changed here, and nobody is asked.
//!
//! ```text
//!   range, in slots of 4   ├───────┼───────┼───────┼───────┼───────┼──
//!   free                   □ □ □ □ ■ □ □ □ □ □ □ ■ □ □ □ □ □ ■ □ □ □ □
//!   aligned                1                       2
//!   unaligned runs                   3
//!   scattered                                4 4 4         4   5 5 5 5
//! ```
//!
//! Sets of the same size that all take *aligned slots* tile the range: two of them want the same slot or have nothing to
//! do with each other. Sets that took any run would leave gaps of less than a set between them. So the aligned slots
//! come first; a contiguous set takes other runs, and another set takes scattered ports, once no slot is free. Both are
//! numbered from what is left beside the free slots, again in pieces of the same size, so that sets which know the same
//! want the same piece or have nothing to do with each other here too.

use super::pick::Free;
use crate::allocator::PortSet;
use crate::{Port, PortRange};

/// What a set still needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// How many ports the whole set has.
    pub(super) size: usize,
    /// How many of them are still to be found.
    pub(super) open: usize,
    /// Whether they follow each other.
    pub(super) contiguous: bool,
}

/// The places where what a set needs is free, in order of preference.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Their ports: each place has the next `open` ones.
    ports: Vec<Port>,
    /// How many ports a place has.
    open: usize,
    /// How many places there are for as long as there is no crowd; at least one if there are any.
    preferred: usize,
}

impl Places {
    /// The places among these free ports of this range.
    pub(super) fn of(need: Need, free: &PortSet, range: PortRange) -> Self {
        let Need { size, open, contiguous } = need;
        let mut starts = free.clone();
        starts.retain_runs(size);
        let slots = range.chunks(size).map(PortRange::start).filter(|port| starts.contains(*port));
        let aligned: Vec<_> = slots.flat_map(|first| run(first, size)).collect();
        let mut rest = free.clone();
        aligned.iter().for_each(|port| rest.remove(*port));
        let (first, then): (Vec<_>, Vec<_>) = if contiguous {
            (aligned, tiles(rest, size).into_iter().flat_map(|first| run(first, size)).collect())
        } else if open == size {
            (aligned, rest.ports(range).collect())
        } else {
            // What completes a set breaks a slot only if nothing else is left.
            (rest.ports(range).collect(), aligned)
        };
        let preferred = first.len() / open;
        let mut ports = first;
        ports.extend(then);
        ports.truncate(ports.len() / open * open);
        Self { open, preferred: if preferred > 0 { preferred } else { ports.len() / open }, ports }
    }

    /// The one place that these ports are, if all of them are free.
    pub(super) fn exactly(ports: Vec<Port>, free: &PortSet) -> Self {
        if ports.iter().all(|port| free.contains(*port)) {
            Self { open: ports.len(), ports, preferred: 1 }
        } else {
            Self::default()
        }
    }

    /// The places that lie in this part altogether.
    pub(super) fn within(&self, part: PortRange) -> Self {
        let (mut ports, mut preferred) = (Vec::new(), 0);
        for (n, place) in self.all().enumerate().filter(|(_, place)| place.iter().all(|port| part.contains(*port))) {
            ports.extend_from_slice(place);
            preferred += usize::from(n < self.preferred);
        }
        let count = ports.len() / self.open.max(1);
        Self { ports, open: self.open, preferred: if preferred > 0 { preferred } else { count } }
    }

    fn all(&self) -> impl Iterator<Item = &[Port]> {
        // Without a place, `open` may be zero.
        self.ports.chunks_exact(self.open.max(1))
    }

    /// How many places there are.
    pub(super) fn count(&self) -> usize {
        self.all().count()
    }

    /// How many of them are to be preferred while there is no crowd.
    pub(super) fn preferred(&self) -> usize {
        self.preferred
    }

    /// The `n`-th place, from 0; empty if there are fewer.
    pub(super) fn nth(&self, n: usize) -> &[Port] {
        self.all().nth(n).unwrap_or_default()
    }

    /// The number of the place that begins at this port, or else of the first one after it among the preferred ones.
    pub(super) fn at_or_after(&self, port: Port) -> Option<usize> {
        let here = self.all().position(|place| place.first() == Some(&port));
        here.or_else(|| self.all().take(self.preferred).position(|place| place.first() > Some(&port)))
    }
}

/// The ports of a run.
fn run(first: Port, length: usize) -> impl Iterator<Item = Port> {
    (first.index()..first.index() + length).filter_map(Port::at)
}

/// The first ports of runs of free ports that have nothing to do with each other: each begins where a stretch of free
/// ports begins, or where another run ends.
fn tiles(free: PortSet, length: usize) -> Vec<Port> {
    let mut starts = free;
    starts.retain_runs(length);
    let mut next = 0;
    let is_tile = |port: &Port| {
        let is_tile = port.index() >= next;
        if is_tile {
            next = port.index() + length;
        }
        is_tile
    };
    starts.ports(PortRange::ALL).filter(is_tile).collect()
}

impl Free<'_> {
    /// The first port of the lowest run of so many free ports.
    pub(super) fn run(self, within: PortRange, length: usize) -> Option<Port> {
        let mut starts = self.ports(within);
        starts.retain_runs(length);
        starts.ports(within).next()
    }
}
