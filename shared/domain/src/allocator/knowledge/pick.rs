//! Picking a candidate from what is known. Nothing is changed here; [`evidence`](super::evidence) decides whether the
//! memory is good enough for a try.

use std::collections::HashSet;

use rand::{Rng, RngExt as _};

use super::{Knowledge, Search};
use crate::allocator::PortSet;
use crate::{Port, PortRange, Strategy};

/// How many ports there are to draw from for each claim that was seen in the last four round trips. About a third as
/// many are in flight and not seen yet, so one in twenty to thirty draws collides. A larger number would leave the
/// ports less dense; a smaller one would cost tries.
const SPREAD: usize = 8;

/// The ports that a search may try, as far as is known: those in none of these sets.
#[derive(Clone, Copy)]
pub(super) struct Free<'a> {
    taken: &'a PortSet,
    reserved: &'a PortSet,
    barred: &'a PortSet,
}

impl<'a> Free<'a> {
    fn not_in(self) -> [&'a PortSet; 3] {
        [self.taken, self.reserved, self.barred]
    }

    pub(super) fn any(self, within: PortRange) -> bool {
        self.nth(within, 0).is_some()
    }

    fn count(self, within: PortRange) -> usize {
        PortSet::count_in_none(self.not_in(), within)
    }

    /// The `n`-th of them, from 0.
    pub(super) fn nth(self, within: PortRange, n: usize) -> Option<Port> {
        PortSet::nth_in_none(self.not_in(), within, n)
    }

    /// All of them.
    pub(super) fn ports(self, within: PortRange) -> PortSet {
        PortSet::in_none(self.not_in(), within)
    }

    /// The first one from `start` on, or else from the beginning.
    fn first_from(self, start: Port, within: PortRange) -> Option<Port> {
        let above = within.starting_at(start);
        above.and_then(|above| self.nth(above, 0)).or_else(|| self.nth(within, 0))
    }
}

impl Knowledge {
    /// The ports that this search may try, as far as is known.
    pub(super) fn free(&self, search: &Search) -> Free<'_> {
        if search.ignores_reservations { self.free_but_for_reservations() } else { self.free_now() }
    }

    /// The ports that nobody is believed to hold or to try.
    pub(super) fn free_now(&self) -> Free<'_> {
        Free { taken: &self.taken, reserved: &self.reserved, barred: &self.barred }
    }

    /// The ports that are not believed taken, including those that calls in this process are trying.
    pub(super) fn free_but_for_reservations(&self) -> Free<'_> {
        Free { taken: &self.taken, reserved: &self.taken, barred: &self.barred }
    }

    /// A candidate in this part of the range; none if no port is free there.
    ///
    /// `lowest` draws at random from the lowest *w* free ports; without a crowd, *w* is 1. See [`Knowledge::width`].
    /// `hashed` takes the first free port from a hash of the name on; after each loss another hash selects one of the
    /// free ports. `random` draws among all free ports.
    pub(super) fn pick(&self, search: &Search, within: PortRange, random: &mut impl Rng) -> Option<Port> {
        let free = self.free(search);
        let count = free.count(within);
        if count == 0 {
            return None;
        }
        match search.strategy {
            Strategy::Lowest => {
                let width = self.width(search.losses, 1).min(count);
                let n = if width == 1 { 0 } else { random.random_range(0..width) };
                free.nth(within, n)
            }
            Strategy::Hashed if search.losses == 0 => free.first_from(self.hashed(search), within),
            // If the free ports lie in one place, the next free port is the same for everybody, so after a loss a
            // search uses its own hash to select among the free ports.
            Strategy::Hashed => free.nth(within, self.hashed(search).index() % count),
            Strategy::Random => match search.start {
                Some(start) => free.first_from(start, within),
                None => free.nth(within, random.random_range(0..count)),
            },
        }
    }

    /// From how many of the lowest free ports `lowest` draws: [`SPREAD`] times as many as other processes claimed
    /// within the last four round trips. So the table itself shows how crowded it is.
    ///
    /// That is enough for callers who share nothing and start at the same moment, when nothing can be seen yet: all but
    /// one lose on the first port, look, see one claim and draw from [`SPREAD`] ports; those that lose again see these
    /// claims as well and draw from some [`SPREAD`]² ports. The choice widens as fast as the crowd fills it, and no
    /// further: a caller that lost to few stays close. Widening by the number of losses alone, which cannot distinguish
    /// 8 callers from 800, took more tries and left larger gaps.
    ///
    /// A race lost to an old claim that this process merely did not know of does not indicate a crowd and widens
    /// nothing. The number of losses counts only from the second on, in case clocks disagree and a crowd does not look
    /// like one.
    ///
    /// Sets draw among places of `size` ports, so both are counted in slots of that size: a set that was claimed a
    /// moment ago is one claim, and several single ports in one slot are one as well.
    pub(super) fn width(&self, losses: u32, size: usize) -> usize {
        let despite_clocks = 4usize.saturating_pow(losses.saturating_sub(1));
        let crowd = match size {
            1 => self.recent.len(),
            _ => self.recent.keys().map(|port| self.slot(*port, size)).collect::<HashSet<_>>().len(),
        };
        despite_clocks.max(SPREAD * crowd)
    }

    /// The number of the aligned slot of `size` ports in which a port of the range lies.
    fn slot(&self, port: Port, size: usize) -> usize {
        port.index().saturating_sub(self.range.start().index()) / size
    }

    /// The start of `hashed`, modulo the size of the range: see [`Search::hash`].
    pub(super) fn hashed(&self, search: &Search) -> Port {
        // The size is at most 48,128, so the remainder fits.
        let offset = (search.hash() % self.range.size() as u64) as usize;
        Port::at(self.range.start().index() + offset).unwrap_or(self.range.start())
    }
}
