//! A picture of a service's range: what every port is, in one answer.

use super::{Error, Registry};
use crate::Call;
use crate::store::Freshness;
use portmaster_domain::allocator::PortSet;
use portmaster_domain::{Counts, Expiry, Port, PortRange, Service, ServiceId, StateKind};

/// How many runs a map has at most: some 200 KB as JSON. A range that is more fragmented is shown in blocks.
const RUNS: usize = 4_096;

/// What a port is, in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapState {
    /// Nobody has it.
    Free,
    /// Offered, and not accepted yet.
    Offered,
    /// Allocated; also what cannot be read, because it may be.
    Allocated,
    /// Cooling after a release or a lapsed lease.
    Cooling,
    /// In quarantine.
    Quarantined,
    /// Free, but only given to those who ask for it by number.
    Reserved,
}

impl MapState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Offered, Self::Allocated, Self::Cooling, Self::Quarantined, Self::Reserved];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Offered => "offered",
            Self::Allocated => "allocated",
            Self::Cooling => "cooling",
            Self::Quarantined => "quarantined",
            Self::Reserved => "reserved",
        }
    }
}

impl From<StateKind> for MapState {
    fn from(kind: StateKind) -> Self {
        match kind {
            StateKind::Offered => Self::Offered,
            StateKind::Allocated => Self::Allocated,
            StateKind::Cooling => Self::Cooling,
            StateKind::Quarantined => Self::Quarantined,
        }
    }
}

/// Neighbouring ports in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The ports.
    pub ports: PortRange,
    /// Their state; of a block, the state that most of its ports are in.
    pub state: MapState,
}

/// A picture of a service's range, as it was read a moment ago: eventually consistently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The service.
    pub service: ServiceId,
    /// Its range.
    pub range: PortRange,
    /// How many ports are in each state.
    pub counts: Counts,
    /// How many free ports stand next to each other at most.
    pub largest_free_run: usize,
    /// When the first port comes back by itself, if one does and is not renewed before.
    pub next_expiry: Option<Expiry>,
    /// The ports, from the first to the last.
    pub runs: Vec<Run>,
    /// How many ports one block of the runs has: 1 if the runs are exact. A range that has more than 4,096 runs is shown
    /// in larger blocks; the counts are always exact.
    pub block: usize,
}

impl Registry {
    /// Draws a map of a service's range. It reads every Port item there, eventually consistently: half a read unit for
    /// each 4 KB, in Queries over stretches that run in parallel.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::Store`].
    pub async fn map(&self, call: &Call, service: &ServiceId) -> Result<Map, Error> {
        let found = self.get_service(call, service).await?;
        let everything = self.read_everywhere(call, &service.namespace, found.range, Freshness::Eventual).await?;
        let now = self.now();
        let mut drawing = Drawing::of(&found);
        for claim in everything.taken(now) {
            drawing.set(claim.port, claim.state.seen_at(now).kind().into());
        }
        everything.unreadable.iter().for_each(|port| drawing.set(*port, MapState::Allocated));
        let (runs, block) = drawing.runs(RUNS);
        Ok(Map {
            service: service.clone(),
            range: found.range,
            counts: drawing.counts(),
            largest_free_run: drawing.largest_free_run(),
            next_expiry: everything.next_expiry(now),
            runs,
            block,
        })
    }
}

/// The state of each port of a range.
pub(super) struct Drawing {
    range: PortRange,
    states: Vec<MapState>,
}

impl Drawing {
    /// A range that nobody uses.
    pub(super) fn of(service: &Service) -> Self {
        let range = service.range;
        let reserved: PortSet = service.reserved.ports();
        let ports = (range.start().index()..=range.end().index()).filter_map(Port::at);
        let states =
            ports.map(|port| if reserved.contains(port) { MapState::Reserved } else { MapState::Free }).collect();
        Self { range, states }
    }

    pub(super) fn set(&mut self, port: Port, state: MapState) {
        let place = port.index().checked_sub(self.range.start().index());
        if let Some(known) = place.and_then(|place| self.states.get_mut(place)) {
            *known = state;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for state in &self.states {
            let count = match state {
                MapState::Free => &mut counts.free,
                MapState::Offered => &mut counts.offered,
                MapState::Allocated => &mut counts.allocated,
                MapState::Cooling => &mut counts.cooling,
                MapState::Quarantined => &mut counts.quarantined,
                MapState::Reserved => &mut counts.reserved,
            };
            *count += 1;
        }
        counts
    }

    pub(super) fn largest_free_run(&self) -> usize {
        let runs = self.states.chunk_by(|a, b| a == b);
        runs.filter(|run| run.first() == Some(&MapState::Free)).map(<[_]>::len).max().unwrap_or_default()
    }

    /// The runs, in the smallest blocks in which there are at most `most` of them.
    fn runs(&self, most: usize) -> (Vec<Run>, usize) {
        let mut block = 1;
        loop {
            let runs = self.runs_of_blocks(block);
            if runs.len() <= most || block >= self.states.len() {
                return (runs, block);
            }
            block *= 2;
        }
    }

    fn runs_of_blocks(&self, block: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (number, states) in self.states.chunks(block).enumerate() {
            let first = self.range.start().index() + number * block;
            let ends = Port::at(first).zip(Port::at(first + states.len() - 1));
            let Some(ports) = ends.and_then(|(start, end)| PortRange::new(start, end).ok()) else { continue };
            let most = |state: &MapState| states.iter().filter(|other| *other == state).count();
            let state = MapState::ALL.into_iter().max_by_key(most).unwrap_or(MapState::Free);
            match runs.last_mut() {
                Some(last) if last.state == state => {
                    if let Ok(longer) = PortRange::new(last.ports.start(), ports.end()) {
                        last.ports = longer;
                    }
                }
                _ => runs.push(Run { ports, state }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(states: &[MapState]) -> Drawing {
        let end = Port::at(states.len() - 1).unwrap();
        Drawing { range: PortRange::new(Port::MIN, end).unwrap(), states: states.to_vec() }
    }

    #[test]
    fn neighbours_in_one_state_are_a_run() {
        use MapState::{Allocated, Free, Offered};
        let drawing = drawing(&[Allocated, Allocated, Free, Free, Free, Offered, Free]);
        let (runs, block) = drawing.runs(RUNS);
        let shown: Vec<_> = runs.iter().map(|run| (run.ports.start().index(), run.ports.size(), run.state)).collect();
        assert_eq!((shown, block), (vec![(0, 2, Allocated), (2, 3, Free), (5, 1, Offered), (6, 1, Free)], 1));
        assert_eq!(drawing.counts(), Counts { free: 4, offered: 1, allocated: 2, ..Counts::default() });
        assert_eq!(drawing.largest_free_run(), 3);
    }

    #[test]
    fn a_fragmented_range_is_shown_in_blocks() {
        let states: Vec<_> =
            (0..Port::COUNT).map(|n| if n % 3 == 0 { MapState::Free } else { MapState::Allocated }).collect();
        let drawing = drawing(&states);
        let (runs, block) = drawing.runs(RUNS);
        assert!(runs.len() <= RUNS && block > 1 && block.is_power_of_two(), "{} runs, {block}", runs.len());
        assert_eq!(runs.first().map(|run| run.ports.start()), Some(Port::MIN));
        assert_eq!(runs.last().map(|run| run.ports.end()), Some(Port::MAX));
        assert_eq!(runs.iter().map(|run| run.ports.size()).sum::<usize>(), Port::COUNT);
    }
}
