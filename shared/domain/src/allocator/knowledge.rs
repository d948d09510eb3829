//! One process's knowledge of one service's ports, and the candidates that it proposes from it.
//!
//! An offer calls [`Knowledge::propose`], reads the evidence that it asks for, and calls it again until it has a
//! candidate. Each call takes three steps:
//!
//! 1. The search's [`Phase`] says where to pick: [`Knowledge::scope`].
//! 2. A candidate is picked there, purely from what is known: [`Knowledge::pick`] in `pick.rs`.
//! 3. If what is known is not good enough for a try, evidence is asked for: [`Knowledge::evidence`] in `evidence.rs`.
//!
//! ```text
//!                              Candidate
//!                                  ▲
//!   Search::new ─────────────► FromMemory ◄──────────────────────────────────┐
//!                                  │             the look shows a free port: picked there, this once;
//!        a race is lost,           │             or LOOKS of them show none: the whole range is read
//!        in any phase              ▼                                         │
//!                               RaceLost ────── a look is asked for ─────► FromLook ─┐
//!                                                                            ▲       │ it shows none:
//!                                                                            └───────┘ another one is asked for
//! ```
//!
//! Evidence is asked for in this order of precedence, and a search remembers what it has asked for, see
//! [`Asked`](search::Asked):
//!
//! - `DueWindow`: there was no read within [`REFRESH_MILLIS`]. One window from where the last one ended; in a process
//!   that knows nothing yet, `hashed` and `random` have another one read from the candidate on. Once in a search, in
//!   any phase: it takes the place of a look that `FromLook` would ask for, and in `RaceLost` the look still follows.
//! - `LookAfterLoss`: the phase is `RaceLost`. A window from the lowest free port on for `lowest`, otherwise from the
//!   candidate.
//! - `FurtherLook`: the phase is `FromLook`, and the last look shows nothing free. A window from the candidate on.
//! - `WholeRange`: part of the range is unknown, and this process has proposed before. Once in a search, and once
//!   within [`REFRESH_MILLIS`]; never for `lowest`.
//! - `Unknown`: the candidate is unknown. A window from it on; if the search had one, the whole range.
//! - `OnlyHinted`: it would be the process's first candidate, and only a hint covers it. A window from it on; after
//!   [`LOOKS`] of them, the whole range.
//!
//! A set of ports ([`Knowledge::propose_set`] in `set.rs`) takes the same three steps. It picks *places* (`places.rs`)
//! in which all of its ports are free, and the port about which least is known stands for it when evidence is asked for.
//!
//! Learning from reads, claims and other processes, and forgetting with time, is in `observe.rs`.

mod deadlines;
mod evidence;
mod observe;
mod pick;
mod places;
mod search;
mod set;

use std::collections::HashMap;

use rand::Rng;

use deadlines::Deadlines;
use evidence::Evidence;
use search::Phase;
pub use search::Search;
pub use set::SetSearch;

use super::PortSet;
use crate::{Claim, Expiry, Port, PortRange, Strategy, Timestamp};

/// How many items a window reads at most: about 100 KB, or 12 read units if eventual consistency is enough.
pub const WINDOW: usize = 512;

/// How many windows an offer reads after a lost race, each where it believes a port to be free, before it reads the
/// whole range. In a range of tens of thousands of ports that takes as many read units as eighty windows.
const LOOKS: u8 = 4;

/// How long a window is believed before the next offer reads another: a port that was released elsewhere is available
/// again within seconds.
pub const REFRESH_MILLIS: i64 = 5_000;

/// After so long without an offer, the memory is worthless.
const FORGET_MILLIS: i64 = 60_000;

/// A round trip in milliseconds, until one has been measured.
const FIRST_ROUND_TRIP: f64 = 15.0;

/// A taken port, as a response of the table showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The port.
    pub port: Port,
    /// When it was claimed, by the claimant's clock.
    pub created: Timestamp,
    /// When the claim ends, if it ends by itself.
    pub expires_at: Option<Expiry>,
}

impl From<&Claim> for Holder {
    fn from(claim: &Claim) -> Self {
        Self { port: claim.port, created: claim.created, expires_at: claim.expires_at() }
    }
}

/// Another process's view of a whole range, some time ago. Any of it may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The range.
    pub range: PortRange,
    /// The ports of the range that were taken.
    pub taken: PortSet,
    /// When they were read.
    pub seen: Timestamp,
}

/// The next step of a search for a port, or of one for the ports of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal<C = Port> {
    /// Claim this port, or these. Each is reserved for the caller until [`Knowledge::unreserve`].
    Candidate(C),
    /// Read up to [`WINDOW`] items from the start of this stretch, and of the other one at the same time if there is
    /// one; pass the result to [`Knowledge::observe`], and ask again.
    Look(PortRange, Option<PortRange>),
    /// Read the whole range, pass the result to [`Knowledge::observe`], and ask again.
    LookAll,
    /// Every port that is not barred is believed taken, or there is no room for the set among the ports that are not.
    /// Only a consistent read of the whole range can confirm that.
    Full,
}

/// This process's knowledge of one range. Any of it may be out of date.
#[derive(Debug)]
pub struct Knowledge {
    range: PortRange,
    /// Ports that were read, or that a lost race revealed.
    seen: PortSet,
    /// Those of them that only a hint covers.
    hinted: PortSet,
    /// Ports believed taken.
    taken: PortSet,
    /// Ports that a call in this process is trying at this moment.
    reserved: PortSet,
    /// Ports that are only given to a caller who asks for them by number: never proposed, whatever is known of them.
    barred: PortSet,
    /// When the claims that are believed to stand end.
    deadlines: Deadlines,
    /// Claims of other processes within the last few round trips, by port: a measure of the crowd.
    recent: HashMap<Port, Timestamp>,
    /// Ports that other callers were writing to when this process tried them, and when that was: a read may be too
    /// early to show their holders.
    contended: HashMap<Port, Timestamp>,
    /// Claims of this process, which do not count as a crowd: when they were made, and when they were answered.
    own: HashMap<Port, (Timestamp, Timestamp)>,
    /// When those of them that are too old to matter were last forgotten.
    pruned: Timestamp,
    /// The reads so far.
    reads: Reads,
    /// With `lowest`, the windows that are due only need to reach the lowest run of so many free ports.
    from_the_bottom: Option<usize>,
    /// Whether a candidate has been proposed before.
    has_proposed: bool,
    /// When this memory was last used.
    used: Option<Timestamp>,
    /// A claim's round trip in milliseconds, smoothed.
    round_trip: f64,
    /// How many ports this process has freed.
    frees: u64,
}

/// The reads of a range, and their times.
#[derive(Debug)]
struct Reads {
    /// When the last read was made.
    last: Option<Timestamp>,
    /// The ports it covered.
    covered: PortRange,
    /// The start of the next window that is due.
    cursor: Port,
    /// How old the latest read of the whole range is, by this process or another.
    whole: Option<Timestamp>,
    /// When a call last went to read the whole range.
    whole_asked: Option<Timestamp>,
}

impl Reads {
    fn none(range: PortRange) -> Self {
        Self { last: None, covered: range, cursor: range.start(), whole: None, whole_asked: None }
    }
}

impl Knowledge {
    /// The memory of a process that knows nothing yet.
    #[must_use]
    pub fn new(range: PortRange) -> Self {
        Self {
            range,
            seen: PortSet::default(),
            hinted: PortSet::default(),
            taken: PortSet::default(),
            reserved: PortSet::default(),
            barred: PortSet::default(),
            deadlines: Deadlines::default(),
            recent: HashMap::new(),
            contended: HashMap::new(),
            own: HashMap::new(),
            pruned: Timestamp::from_millis(0),
            reads: Reads::none(range),
            from_the_bottom: None,
            has_proposed: false,
            used: None,
            round_trip: FIRST_ROUND_TRIP,
            frees: 0,
        }
    }

    /// The same memory for another range: what was seen of the old one is forgotten, but not what this process did
    /// itself.
    #[must_use]
    pub fn with_range(self, range: PortRange) -> Self {
        let Self { reserved, barred, own, round_trip, frees, .. } = self;
        Self { reserved, barred, own, round_trip, frees, ..Self::new(range) }
    }

    /// Sets the ports that are never proposed, in place of those that were before. What was seen of them stays: they
    /// may be held by whoever asked for them by number. Ports outside of the range do not matter.
    pub fn bar(&mut self, barred: PortSet) {
        self.barred = barred;
    }

    /// How many ports this process has freed so far.
    #[must_use]
    pub fn frees(&self) -> u64 {
        self.frees
    }

    /// The range that this memory is about.
    #[must_use]
    pub fn range(&self) -> PortRange {
        self.range
    }

    /// Whether a [`Hint`] is worth reading along with the windows that the search is about to ask for: the windows may
    /// not show everything, and either nothing is known or a race was lost.
    #[must_use]
    pub fn wants_hint(&self, search: &Search) -> bool {
        let is_cold = self.reads.last.is_none() && self.range.size() > WINDOW;
        is_cold || (search.phase == Phase::RaceLost && self.reads.whole.is_some())
    }

    /// The hint for other processes, once this process has seen everything.
    #[must_use]
    pub fn hint(&self, seen: Timestamp) -> Hint {
        Hint { range: self.range, taken: self.taken.clone(), seen }
    }

    /// The next step of a search.
    pub fn propose(&mut self, search: &mut Search, random: &mut impl Rng, now: Timestamp) -> Proposal {
        self.advance(now);
        self.from_the_bottom = (search.strategy == Strategy::Lowest).then_some(1);
        let fits = |search: &Search, part| self.free(search).any(part);
        let Some(within) = self.scope(search, fits) else { return self.ask(search, Evidence::WholeRange, now) };
        let Some(candidate) = self.pick(search, within, random) else { return Proposal::Full };
        search.start = Some(candidate);
        if let Some(evidence) = self.evidence(search, candidate, now) {
            return self.ask(search, evidence, now);
        }
        self.has_proposed = true;
        self.reserved.insert(candidate);
        Proposal::Candidate(candidate)
    }

    /// The part in which a search picks: the whole range, but after a lost race the part that the look covered. If
    /// what is wanted does not fit there, the phase decides whether another look follows. If none does, there is nothing
    /// to pick from until the whole range has been read.
    fn scope(&self, search: &mut Search, fits: impl Fn(&Search, PortRange) -> bool) -> Option<PortRange> {
        let Phase::FromLook { looks } = search.phase else { return Some(self.range) };
        if fits(search, self.reads.covered) {
            search.phase = Phase::FromMemory;
            return Some(self.reads.covered);
        }
        // The proposal is `Full`, and the search stays where it is.
        if !fits(search, self.range) {
            return Some(self.range);
        }
        if looks >= LOOKS {
            search.phase = Phase::FromMemory;
            return None;
        }
        search.phase = Phase::FromLook { looks: looks + 1 };
        Some(self.range)
    }

    /// Ends a reservation: the candidate's claim has been answered, one way or the other.
    pub fn unreserve(&mut self, port: Port) {
        self.reserved.remove(port);
    }
}

#[cfg(test)]
mod tests;
