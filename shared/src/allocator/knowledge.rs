//! What one process knows of one service's ports, and the candidate it proposes from that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::{Rng, RngExt as _};
use sha2::{Digest as _, Sha256};

use super::PortSet;
use crate::domain::{Claim, Expiry, InstanceName, Port, PortRange, Strategy, Timestamp};

/// How many items a window reads at most: about 100 KB, or 12 read units where eventual consistency is enough.
pub const WINDOW: usize = 512;

/// How long a window is believed before the next offer reads another: within seconds, a port that was released
/// elsewhere comes back.
pub const REFRESH_MILLIS: i64 = 5_000;

/// After so long without an offer, what is remembered is worth nothing.
const FORGET_MILLIS: i64 = 60_000;

/// A round trip in milliseconds as long as none was measured.
const FIRST_ROUND_TRIP: f64 = 15.0;

/// What an answer of the table told of a port that is taken.
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
        Self { port: claim.port, created: claim.created, expires_at: claim.expires_at }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Claim this port. It is reserved for the asker until [`Knowledge::release`].
    Candidate(Port),
    /// Read up to [`WINDOW`] items from the start of this stretch, and of the other one at the same time if there is one;
    /// tell [`Knowledge::saw`], and ask again.
    Look(PortRange, Option<PortRange>),
    /// Read the whole range, tell [`Knowledge::saw`], and ask again.
    LookAll,
    /// Every port is believed taken. Only a consistent read of the whole range can say whether that is true.
    Full,
}

/// One offer's search for a port.
#[derive(Clone, Debug)]
pub struct Search {
    strategy: Strategy,
    name: InstanceName,
    /// Races lost so far.
    losses: u32,
    /// Where `random` starts, drawn once between two losses.
    drawn: Option<Port>,
    /// Whether the window that was due has been read.
    refreshed: bool,
    /// Whether a window was read at an unknown candidate: one that did not help is followed by the whole range.
    looked: bool,
    /// Whether the whole range was read.
    saw_all: bool,
    /// Whether to try even the ports that other calls in this process are trying: set once the table itself has been
    /// read as a whole and showed nothing else.
    desperate: bool,
}

impl Search {
    /// The search of an offer for this name.
    #[must_use]
    pub fn new(strategy: Strategy, name: InstanceName) -> Self {
        Self {
            strategy,
            name,
            losses: 0,
            drawn: None,
            refreshed: false,
            looked: false,
            saw_all: false,
            desperate: false,
        }
    }

    /// Another caller was faster.
    pub fn lost(&mut self) {
        self.losses += 1;
        self.drawn = None;
    }

    /// The whole range was read and has a free port, though perhaps one that a call in this process is trying.
    pub fn insist(&mut self) {
        self.desperate = true;
    }
}

/// What this process knows of one range. Every bit of it may be out of date.
#[derive(Debug)]
pub struct Knowledge {
    range: PortRange,
    /// Ports that were read, or learned of from a lost race.
    seen: PortSet,
    /// Ports believed taken.
    taken: PortSet,
    /// Ports that a call in this process is trying right now.
    reserved: PortSet,
    /// When a believed holder's claim ends: `deadlines` in order of time, `ends` by port, which says which are current.
    deadlines: BinaryHeap<Reverse<(Expiry, Port)>>,
    ends: HashMap<Port, Expiry>,
    /// Claims of other processes within the last few round trips, by port: how crowded it is.
    recent: HashMap<Port, Timestamp>,
    /// Claims of this process, which are no crowd: when they were made, and when that was known.
    own: HashMap<Port, (Timestamp, Timestamp)>,
    /// Where the next window that is due starts.
    cursor: Port,
    /// Whether those windows need only go as far as the lowest free port: with `lowest`.
    from_the_bottom: bool,
    /// Whether a candidate has been proposed before.
    has_proposed: bool,
    /// When a call last went to read the whole range.
    whole_asked: Option<Timestamp>,
    /// When the last window was read, and when this was last of use.
    refreshed: Option<Timestamp>,
    used: Option<Timestamp>,
    /// A claim's round trip in milliseconds, smoothed.
    round_trip: f64,
}

impl Knowledge {
    /// Nothing known yet.
    #[must_use]
    pub fn new(range: PortRange) -> Self {
        Self {
            range,
            seen: PortSet::default(),
            taken: PortSet::default(),
            reserved: PortSet::default(),
            deadlines: BinaryHeap::new(),
            ends: HashMap::new(),
            recent: HashMap::new(),
            own: HashMap::new(),
            cursor: range.start(),
            from_the_bottom: false,
            has_proposed: false,
            whole_asked: None,
            refreshed: None,
            used: None,
            round_trip: FIRST_ROUND_TRIP,
        }
    }

    /// The same for another range: what was seen of the old one is forgotten, but not what this process did itself.
    #[must_use]
    pub fn with_range(self, range: PortRange) -> Self {
        let Self { reserved, own, round_trip, .. } = self;
        Self { reserved, own, round_trip, ..Self::new(range) }
    }

    /// The range it is about.
    #[must_use]
    pub fn range(&self) -> PortRange {
        self.range
    }

    /// The next step of a search.
    ///
    /// `lowest` draws at random from the lowest *w* free ports. Alone, *w* is 1. Two things widen it: every lost race
    /// (times 8), and what has been seen: *w* is at least four times the number of ports that other processes claimed
    /// within the last four round trips. So the table itself says how crowded it is. `hashed` starts at a hash of the
    /// name, another one after each loss, and takes the first free port from there. `random` draws among all free ports.
    pub fn propose(&mut self, search: &mut Search, random: &mut impl Rng, now: Timestamp) -> Proposal {
        self.advance(now);
        self.from_the_bottom = search.strategy == Strategy::Lowest;
        let none = PortSet::default();
        let reserved = if search.desperate { &none } else { &self.reserved };
        let free = self.taken.count_in_neither(reserved, self.range);
        if free == 0 {
            return Proposal::Full;
        }
        let from = |start: Port| {
            let above = self.range.starting_at(start);
            above
                .and_then(|part| self.taken.nth_in_neither(reserved, part, 0))
                .or_else(|| self.taken.nth_in_neither(reserved, self.range, 0))
        };
        let candidate = match search.strategy {
            Strategy::Lowest => {
                let width = self.width(search.losses).min(free);
                let nth = if width == 1 { 0 } else { random.random_range(0..width) };
                self.taken.nth_in_neither(reserved, self.range, nth)
            }
            Strategy::Hashed => from(self.hashed(search)),
            Strategy::Random => match search.drawn {
                Some(start) => from(start),
                None => self.taken.nth_in_neither(reserved, self.range, random.random_range(0..free)),
            },
        };
        let Some(candidate) = candidate else { return Proposal::Full };
        search.drawn = Some(candidate);

        // A window that is due is read before the choice, once: afterwards the clock has been set anew. The first one
        // starts at the beginning, and where fewer than `WINDOW` ports are taken it shows all of them.
        if self.refreshed.is_none_or(|at| now.millis() - at.millis() >= REFRESH_MILLIS) && !search.refreshed {
            search.refreshed = true;
            // Where little is taken the first window shows everything; where much is, it shows nothing of the candidate.
            let other = if self.refreshed.is_none() && !self.from_the_bottom {
                search.looked = true;
                self.range.starting_at(candidate)
            } else {
                None
            };
            return Proposal::Look(self.range.starting_at(self.cursor).unwrap_or(self.range), other);
        }
        // More is taken than windows show, and this process is asked again: each name, each draw may meet what is unknown,
        // so now it is worth reading everything, once. `lowest` needs no more than what lies below its candidate.
        let asked = self.whole_asked.is_some_and(|at| now.millis() - at.millis() < REFRESH_MILLIS);
        let incomplete = !self.from_the_bottom && self.seen.count(self.range) < self.range.size();
        if incomplete && self.has_proposed && !search.saw_all && !asked {
            return self.look_all(search, now);
        }
        if !self.seen.contains(candidate) {
            // One window helps this call, unless it has had one. For `lowest` that was the first one, all of it taken.
            let had_one = search.looked || (self.from_the_bottom && search.refreshed);
            search.looked = true;
            return match self.range.starting_at(candidate) {
                Some(part) if !had_one => Proposal::Look(part, None),
                _ => self.look_all(search, now),
            };
        }
        self.has_proposed = true;
        self.reserved.insert(candidate);
        Proposal::Candidate(candidate)
    }

    fn look_all(&mut self, search: &mut Search, now: Timestamp) -> Proposal {
        search.saw_all = true;
        self.whole_asked = Some(now);
        Proposal::LookAll
    }

    /// A candidate's claim has been answered, one way or the other.
    pub fn release(&mut self, port: Port) {
        self.reserved.remove(port);
    }

    /// The table was read, by a request sent at `asked`: in `covered`, exactly these were taken. A claim of this process
    /// that was answered since then may be younger than the read, so it stays.
    pub fn saw(&mut self, covered: PortRange, holders: &[Holder], asked: Timestamp, now: Timestamp) {
        let Some(covered) = covered.intersection(self.range) else { return };
        self.seen.insert_range(covered);
        self.taken.remove_range(covered);
        for (port, (_, answered)) in &self.own {
            if covered.contains(*port) && *answered >= asked {
                self.taken.insert(*port);
            }
        }
        for holder in holders.iter().filter(|holder| covered.contains(holder.port)) {
            self.believe(*holder, now);
        }
        self.ends.retain(|port, _| !covered.contains(*port) || self.taken.contains(*port));
        self.refreshed = Some(now);
        self.used = Some(now);
        // The next one goes on where this one ended.
        let lowest_free = self.taken.nth_in_neither(&self.reserved, self.range, 0);
        let last = lowest_free.filter(|_| self.from_the_bottom).unwrap_or(self.range.end());
        self.cursor = covered.end().next().filter(|next| *next <= last).unwrap_or(self.range.start());
    }

    /// A claim stands on the port.
    pub fn learn(&mut self, holder: Holder, now: Timestamp) {
        if self.range.contains(holder.port) {
            self.seen.insert(holder.port);
            self.believe(holder, now);
        }
    }

    /// Another caller is writing to the port at this moment.
    pub fn contended(&mut self, port: Port, now: Timestamp) {
        self.learn(Holder { port, created: now, expires_at: Some(Expiry::after(now, 1)) }, now);
    }

    /// This process has claimed the port.
    pub fn claimed(&mut self, holder: Holder, round_trip_millis: f64, now: Timestamp) {
        self.own.insert(holder.port, (holder.created, now));
        self.learn(holder, now);
        self.round_trip += (round_trip_millis - self.round_trip) / 8.0;
    }

    /// The claim on the port has become an allocation: it no longer ends by itself.
    pub fn accepted(&mut self, port: Port) {
        self.ends.remove(&port);
    }

    /// Nobody holds the port any more.
    pub fn freed(&mut self, port: Port) {
        self.taken.remove(port);
        self.ends.remove(&port);
        self.own.remove(&port);
    }

    fn believe(&mut self, holder: Holder, now: Timestamp) {
        match holder.expires_at {
            Some(expiry) if expiry.has_passed(now) => return self.freed(holder.port),
            Some(expiry) => {
                if self.ends.insert(holder.port, expiry) != Some(expiry) {
                    self.deadlines.push(Reverse((expiry, holder.port)));
                }
            }
            None => {
                self.ends.remove(&holder.port);
            }
        }
        self.taken.insert(holder.port);
        // What this process is trying at this moment is its own as well, though it has not been told so yet.
        let own = self.own.get(&holder.port).is_some_and(|(created, _)| *created == holder.created)
            || self.reserved.contains(holder.port);
        if !own && self.is_recent(holder.created, now) {
            self.recent.insert(holder.port, holder.created);
        }
    }

    /// Lets time pass: claims end, crowds disperse, and what has not been used for long is forgotten.
    fn advance(&mut self, now: Timestamp) {
        if self.used.is_some_and(|used| now.millis() - used.millis() >= FORGET_MILLIS) {
            let reserved = std::mem::take(&mut self.reserved);
            *self = Self { reserved, round_trip: self.round_trip, ..Self::new(self.range) };
        }
        self.used = Some(now);
        while let Some(Reverse((expiry, port))) = self.deadlines.peek().copied() {
            if !expiry.has_passed(now) {
                break;
            }
            self.deadlines.pop();
            // Another claim may have followed on the same port; then this deadline is an old one.
            if self.ends.get(&port) == Some(&expiry) {
                self.freed(port);
            }
        }
        let horizon = self.horizon();
        self.recent.retain(|_, created| (now.millis() - created.millis()).abs() <= horizon);
        self.own.retain(|_, (created, _)| now.millis() - created.millis() <= horizon.max(REFRESH_MILLIS));
    }

    /// How far back a claim counts as part of a crowd: four round trips.
    fn horizon(&self) -> i64 {
        // Between 8 and 400 milliseconds, so that the conversion is exact enough.
        (self.round_trip * 4.0).clamp(8.0, 400.0) as i64
    }

    fn is_recent(&self, created: Timestamp, now: Timestamp) -> bool {
        // On either side: a clock that is ahead must not make a crowd of one for as long as it is ahead.
        (now.millis() - created.millis()).abs() <= self.horizon()
    }

    fn width(&self, losses: u32) -> usize {
        8usize.saturating_pow(losses).max(4 * self.recent.len()).max(1)
    }

    /// Where `hashed` starts: the first eight bytes of SHA-256 over the name (and, after losses, their number), modulo
    /// the size of the range. It is the same on every machine and in every version.
    fn hashed(&self, search: &Search) -> Port {
        let mut hash = Sha256::new_with_prefix(search.name.as_str());
        if search.losses > 0 {
            hash.update(search.losses.to_be_bytes());
        }
        let first = hash.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // The size is at most 48,128, so the remainder fits.
        let offset = (first % self.range.size() as u64) as usize;
        Port::at(self.range.start().index() + offset).unwrap_or(self.range.start())
    }
}

#[cfg(test)]
mod tests;
