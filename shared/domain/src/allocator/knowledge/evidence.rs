//! The reads that must precede a try. An unknown port is never tried, since a lost race costs more than a look.

use super::search::Phase;
use super::{Knowledge, LOOKS, Proposal, REFRESH_MILLIS, Search};
use crate::{Port, Strategy, Timestamp};

/// The evidence to read, and the reason. A window is named by the port at which it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The window that is due: the first of all, or another one after [`REFRESH_MILLIS`].
    DueWindow {
        /// The port where it starts.
        cursor: Port,
        /// Another window from here on, at the same time.
        candidate: Option<Port>,
    },
    /// After a lost race, a window that shows where the other callers are.
    LookAfterLoss(Port),
    /// That look showed nothing free: another one, at a port that is believed free.
    FurtherLook(Port),
    /// The candidate is unknown.
    Unknown(Port),
    /// Only a hint covers the candidate.
    OnlyHinted(Port),
    /// The whole range.
    WholeRange,
}

impl Evidence {
    /// The same, but each window that starts above `start` starts there: for candidates of which it is the lowest.
    pub(super) fn starting_by(self, start: Port) -> Self {
        match self {
            Self::DueWindow { cursor, candidate } => {
                Self::DueWindow { cursor, candidate: candidate.map(|port| port.min(start)) }
            }
            Self::LookAfterLoss(port) => Self::LookAfterLoss(port.min(start)),
            Self::FurtherLook(port) => Self::FurtherLook(port.min(start)),
            Self::Unknown(port) => Self::Unknown(port.min(start)),
            Self::OnlyHinted(port) => Self::OnlyHinted(port.min(start)),
            Self::WholeRange => Self::WholeRange,
        }
    }
}

impl Knowledge {
    /// The evidence that this search must read before it may try the candidate, if any. The order is the order of
    /// precedence.
    pub(super) fn evidence(&self, search: &Search, candidate: Port, now: Timestamp) -> Option<Evidence> {
        if let Some(window) = self.due_window(search, candidate, now) {
            return Some(window);
        }
        match search.phase {
            Phase::RaceLost => return Some(Evidence::LookAfterLoss(self.where_others_are(search, candidate))),
            Phase::FromLook { .. } => return Some(Evidence::FurtherLook(candidate)),
            Phase::FromMemory => {}
        }
        if self.is_worth_reading_whole(search, now) {
            return Some(Evidence::WholeRange);
        }
        let asked = search.asked;
        if !self.seen.contains(candidate) {
            // One window helps this call, unless it has had one. For `lowest` that was the first one, all of it taken.
            let had_one = asked.at_candidate || (search.strategy == Strategy::Lowest && asked.due_window);
            return Some(if had_one { Evidence::WholeRange } else { Evidence::Unknown(candidate) });
        }
        // The first offer does not rely on a hint alone: it looks, and so sees which other callers are active. Later
        // ones rely on it as on everything remembered. If the hint is out of date, the course is that after a lost
        // race: a few looks, then everything.
        if !self.has_proposed && self.hinted.contains(candidate) {
            return Some(if asked.hinted < LOOKS { Evidence::OnlyHinted(candidate) } else { Evidence::WholeRange });
        }
        None
    }

    /// The window that is due, which is read before the choice, once: afterwards the time of the last read is new. The
    /// first one starts at the beginning, and if fewer than [`WINDOW`](super::WINDOW) ports are taken it shows all of
    /// them.
    fn due_window(&self, search: &Search, candidate: Port, now: Timestamp) -> Option<Evidence> {
        let is_fresh = self.reads.last.is_some_and(|at| now.millis() - at.millis() < REFRESH_MILLIS);
        if is_fresh || search.asked.due_window {
            return None;
        }
        // If little is taken, the first window shows everything; if much is taken, it shows nothing about the
        // candidate.
        let is_cold = self.reads.last.is_none() && search.strategy != Strategy::Lowest;
        Some(Evidence::DueWindow { cursor: self.reads.cursor, candidate: is_cold.then_some(candidate) })
    }

    /// The port to look at after a loss: `lowest` draws among the lowest free ports, so it looks at all of them; the
    /// other strategies look at their candidate.
    fn where_others_are(&self, search: &Search, candidate: Port) -> Port {
        match search.strategy {
            Strategy::Lowest => self.free_but_for_reservations().nth(self.range, 0).unwrap_or(candidate),
            Strategy::Hashed | Strategy::Random => candidate,
        }
    }

    /// Whether the whole range is worth reading. More is taken than windows show, and another offer has come to this
    /// process: each name and each draw may meet an unknown port, so now it pays to read everything, once. `lowest`
    /// only needs the ports below its candidate.
    fn is_worth_reading_whole(&self, search: &Search, now: Timestamp) -> bool {
        let is_being_read = self.reads.whole_asked.is_some_and(|at| now.millis() - at.millis() < REFRESH_MILLIS);
        search.strategy != Strategy::Lowest
            && self.has_proposed
            && !search.asked.whole_range
            && !is_being_read
            && self.seen.count(self.range) < self.range.size()
    }

    /// Proposes to read the evidence, and remembers that it was asked for.
    pub(super) fn ask(&mut self, search: &mut Search, evidence: Evidence, now: Timestamp) -> Proposal {
        self.ask_for(search, evidence, now)
    }

    /// The same for any kind of candidate.
    pub(super) fn ask_for<C>(&mut self, search: &mut Search, evidence: Evidence, now: Timestamp) -> Proposal<C> {
        search.record_asked(evidence);
        // Every one of these ports is in the range.
        let window = |from: Port| self.range.starting_at(from).unwrap_or(self.range);
        match evidence {
            Evidence::DueWindow { cursor, candidate } => Proposal::Look(window(cursor), candidate.map(window)),
            Evidence::LookAfterLoss(from)
            | Evidence::FurtherLook(from)
            | Evidence::Unknown(from)
            | Evidence::OnlyHinted(from) => Proposal::Look(window(from), None),
            Evidence::WholeRange => {
                self.reads.whole_asked = Some(now);
                Proposal::LookAll
            }
        }
    }
}
