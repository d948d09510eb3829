//! One offer's search for a port: its phase, and the evidence it has asked for so far. The only transitions are here
//! and in [`Knowledge::scope`].
//!
//! [`Knowledge::scope`]: super::Knowledge::scope

use sha2::{Digest as _, Sha256};

use super::evidence::Evidence;
use crate::{InstanceName, Port, Strategy};

/// One offer's search for a port.
#[derive(Clone, Debug)]
pub struct Search {
    pub(super) strategy: Strategy,
    pub(super) name: InstanceName,
    /// The phase of the search.
    pub(super) phase: Phase,
    /// The evidence it has asked for.
    pub(super) asked: Asked,
    /// Races lost so far.
    pub(super) losses: u32,
    /// The last candidate since the last lost race: `random` continues from there and does not draw again.
    pub(super) start: Option<Port>,
    /// Whether it also tries the ports that other calls in this process are trying: once a read of the whole table has
    /// shown no other free port.
    pub(super) ignores_reservations: bool,
}

/// The phase of a search: its next candidate is picked from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything that is remembered.
    FromMemory,
    /// Nothing yet: a race was lost, so the memory is out of date, and a look comes before the next try.
    RaceLost,
    /// The result of the look after a lost race, and nothing that was only remembered before.
    FromLook {
        /// How many looks there have been since the race was lost.
        looks: u8,
    },
}

/// The evidence that a search has asked for. A lost race resets the phase, but never this: it bounds what one offer
/// reads, whatever happens and even if the range is changed meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// The window that was due.
    pub(super) due_window: bool,
    /// A window from a candidate on: one that did not help is followed by the whole range.
    pub(super) at_candidate: bool,
    /// How many candidates were looked at because only a hint called them free.
    pub(super) hinted: u8,
    /// The whole range.
    pub(super) whole_range: bool,
}

impl Search {
    /// The search of an offer for this name.
    #[must_use]
    pub fn new(strategy: Strategy, name: InstanceName) -> Self {
        Self {
            strategy,
            name,
            phase: Phase::FromMemory,
            asked: Asked::default(),
            losses: 0,
            start: None,
            ignores_reservations: false,
        }
    }

    /// Records that another caller was faster. This process's memory is out of date, and other callers are active at
    /// this moment, so a look comes before the next try. It costs a third of another lost race, and shows where they
    /// are.
    pub fn record_lost_race(&mut self) {
        self.losses += 1;
        self.start = None;
        self.phase = Phase::RaceLost;
    }

    /// Allows reserved ports: the whole range was read and has a free port, though perhaps one that a call in this
    /// process is trying.
    pub fn ignore_reservations(&mut self) {
        self.ignores_reservations = true;
    }

    /// The first eight bytes of SHA-256 over the name (and, after losses, their number). It is the same on every machine
    /// and in every version.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = Sha256::new_with_prefix(self.name.as_str());
        if self.losses > 0 {
            hash.update(self.losses.to_be_bytes());
        }
        hash.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Records that the caller is asked to read this.
    pub(super) fn record_asked(&mut self, evidence: Evidence) {
        let asked = &mut self.asked;
        match evidence {
            Evidence::DueWindow { candidate, .. } => {
                asked.due_window = true;
                asked.at_candidate |= candidate.is_some();
            }
            Evidence::LookAfterLoss(_) => {
                asked.at_candidate = true;
                self.phase = Phase::FromLook { looks: 1 };
            }
            // `Knowledge::scope` has counted it.
            Evidence::FurtherLook(_) => {}
            Evidence::Unknown(_) => asked.at_candidate = true,
            Evidence::OnlyHinted(_) => {
                asked.at_candidate = true;
                asked.hinted += 1;
            }
            Evidence::WholeRange => asked.whole_range = true,
        }
    }
}
