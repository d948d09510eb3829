//! What one process knows of one service's ports, and the candidate it proposes from that.

use std::collections::{BTreeSet, HashMap};

use rand::{Rng, RngExt as _};
use sha2::{Digest as _, Sha256};

use super::PortSet;
use crate::{Claim, Expiry, InstanceName, Port, PortRange, Strategy, Timestamp};

/// How many ports there are to draw from for each claim that was seen in the last four round trips. About a third as many
/// are under way and not seen yet, so that one in twenty to thirty draws meets another one. A larger one would leave the ports less
/// dense, a smaller one would cost tries.
const SPREAD: usize = 8;

/// How many items a window reads at most: about 100 KB, or 12 read units where eventual consistency is enough.
pub const WINDOW: usize = 512;

/// How many windows an offer reads after a lost race, each where it believes a port to be free, before it reads the whole
/// range. In a range of tens of thousands of ports that takes as many read units as eighty windows.
const LOOKS: u8 = 4;

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
        Self { port: claim.port, created: claim.created, expires_at: claim.expires_at() }
    }
}

/// What another process saw of a whole range, some time ago. Every bit of it may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The range.
    pub range: PortRange,
    /// Its ports that were taken.
    pub taken: PortSet,
    /// When they were read.
    pub seen: Timestamp,
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

/// What a lost race calls for, before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outrun {
    /// Nothing: none was lost, or it has been seen to.
    No,
    /// A look.
    Look,
    /// To try what that look shows, the first or a further one, and nothing that was only believed before.
    Heed(u8),
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
    /// What a lost race still calls for.
    outrun: Outrun,
    /// Whether a window was read at an unknown candidate: one that did not help is followed by the whole range.
    looked: bool,
    /// How many candidates that only a hint called free were looked at.
    verified: u8,
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
            outrun: Outrun::No,
            looked: false,
            verified: 0,
            saw_all: false,
            desperate: false,
        }
    }

    /// Another caller was faster. What this process knew is out of date, and others are about at this very moment: so a
    /// look comes before the next try. It costs a third of what another lost race would, and shows where they are.
    pub fn lost(&mut self) {
        self.losses += 1;
        self.drawn = None;
        self.outrun = Outrun::Look;
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
    /// Of these, which nobody but a hint speaks of.
    hinted: PortSet,
    /// Ports believed taken.
    taken: PortSet,
    /// Ports that a call in this process is trying right now.
    reserved: PortSet,
    /// When a believed holder's claim ends: `deadlines` in order of time, `ends` by port. They hold the same pairs, one
    /// for each port at most: an offer may live for 30 days, and most are accepted or rejected within seconds.
    deadlines: BTreeSet<(Expiry, Port)>,
    ends: HashMap<Port, Expiry>,
    /// Claims of other processes within the last few round trips, by port: how crowded it is.
    recent: HashMap<Port, Timestamp>,
    /// Ports that others were writing to when this process tried them, and when that was: a read may be too early to show
    /// who has them.
    contended: HashMap<Port, Timestamp>,
    /// Claims of this process, which are no crowd: when they were made, and when that was known.
    own: HashMap<Port, (Timestamp, Timestamp)>,
    /// When those of them that are too old to matter were last forgotten.
    pruned: Timestamp,
    /// What the last look covered.
    covered: PortRange,
    /// How old the latest sight of the whole range is, by oneself or by another.
    whole: Option<Timestamp>,
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
    /// How many ports this process has freed.
    frees: u64,
}

impl Knowledge {
    /// Nothing known yet.
    #[must_use]
    pub fn new(range: PortRange) -> Self {
        Self {
            range,
            seen: PortSet::default(),
            hinted: PortSet::default(),
            taken: PortSet::default(),
            reserved: PortSet::default(),
            deadlines: BTreeSet::new(),
            ends: HashMap::new(),
            recent: HashMap::new(),
            contended: HashMap::new(),
            own: HashMap::new(),
            pruned: Timestamp::from_millis(0),
            covered: range,
            whole: None,
            cursor: range.start(),
            from_the_bottom: false,
            has_proposed: false,
            whole_asked: None,
            refreshed: None,
            used: None,
            round_trip: FIRST_ROUND_TRIP,
            frees: 0,
        }
    }

    /// The same for another range: what was seen of the old one is forgotten, but not what this process did itself.
    #[must_use]
    pub fn with_range(self, range: PortRange) -> Self {
        let Self { reserved, own, round_trip, frees, .. } = self;
        Self { reserved, own, round_trip, frees, ..Self::new(range) }
    }

    /// How many ports this process has freed so far.
    #[must_use]
    pub fn frees(&self) -> u64 {
        self.frees
    }

    /// The range it is about.
    #[must_use]
    pub fn range(&self) -> PortRange {
        self.range
    }

    /// Whether a [`Hint`] is worth reading along with the windows that the search is about to ask for: they may not show
    /// everything, and nothing is known or a race was lost.
    #[must_use]
    pub fn wants_hint(&self, search: &Search) -> bool {
        let cold = self.refreshed.is_none() && self.range.size() > WINDOW;
        cold || (search.outrun == Outrun::Look && self.whole.is_some())
    }

    /// The next step of a search.
    ///
    /// `lowest` draws at random from the lowest *w* free ports; alone, *w* is 1. See `width`. `hashed` takes
    /// the first free port from a hash of the name on; after each loss another hash says which of the free ports.
    /// `random` draws among all free ports. After a lost race each of them looks again before it tries again.
    pub fn propose(&mut self, search: &mut Search, random: &mut impl Rng, now: Timestamp) -> Proposal {
        self.advance(now);
        self.from_the_bottom = search.strategy == Strategy::Lowest;
        let none = PortSet::default();
        let reserved = if search.desperate { &none } else { &self.reserved };
        let free = self.taken.count_in_neither(reserved, self.range);
        if free == 0 {
            return Proposal::Full;
        }
        // After a lost race it is what the look covered that counts; and where that has nothing free, everything.
        let mut part = self.range;
        let mut here = free;
        if let Outrun::Heed(looks) = search.outrun {
            search.outrun = Outrun::No;
            let covered = self.taken.count_in_neither(reserved, self.covered);
            match looks {
                _ if covered > 0 => (part, here) = (self.covered, covered),
                LOOKS.. => return self.look_all(search, now),
                _ => search.outrun = Outrun::Heed(looks + 1),
            }
        }
        let from = |start: Port| {
            let above = part.starting_at(start);
            above
                .and_then(|above| self.taken.nth_in_neither(reserved, above, 0))
                .or_else(|| self.taken.nth_in_neither(reserved, part, 0))
        };
        let candidate = match search.strategy {
            Strategy::Lowest => {
                let width = self.width(search.losses).min(here);
                let nth = if width == 1 { 0 } else { random.random_range(0..width) };
                self.taken.nth_in_neither(reserved, part, nth)
            }
            Strategy::Hashed if search.losses == 0 => from(self.hashed(search)),
            // Where what is free lies in one place, everybody's next free port is the same one: who lost goes by its own
            // hash among the free ports.
            Strategy::Hashed => self.taken.nth_in_neither(reserved, part, self.hashed(search).index() % here),
            Strategy::Random => match search.drawn {
                Some(start) => from(start),
                None => self.taken.nth_in_neither(reserved, part, random.random_range(0..here)),
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
        if let Outrun::Heed(_) = search.outrun
            && let Some(part) = self.range.starting_at(candidate)
        {
            return Proposal::Look(part, None);
        }
        if search.outrun == Outrun::Look {
            search.outrun = Outrun::Heed(1);
            search.looked = true;
            // `lowest` draws among the lowest free ports, so it looks at all of them; the others where they would go.
            let lowest_free = self.taken.nth_in_neither(&none, self.range, 0).unwrap_or(candidate);
            let from = if self.from_the_bottom { lowest_free } else { candidate };
            if let Some(part) = self.range.starting_at(from) {
                return Proposal::Look(part, None);
            }
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
        // The first offer does not rely on a hint alone: it looks, and so sees who else is about. Later ones do as they do
        // with all that is remembered. Where the hint is out of date it is as after a lost race: a few looks, then everything.
        if !self.has_proposed && self.hinted.contains(candidate) {
            search.verified += 1;
            search.looked = true;
            return match self.range.starting_at(candidate) {
                Some(part) if search.verified <= LOOKS => Proposal::Look(part, None),
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
        self.hinted.remove_range(covered);
        self.taken.remove_range(covered);
        for (port, (_, answered)) in &self.own {
            if covered.contains(*port) && *answered >= asked {
                self.taken.insert(*port);
            }
        }
        let horizon = self.horizon();
        for (port, at) in &self.contended {
            if covered.contains(*port) && now.millis() - at.millis() <= horizon {
                self.taken.insert(*port);
            }
        }
        for holder in holders.iter().filter(|holder| covered.contains(holder.port)) {
            // What this process is trying at this moment is its own, though it has not been told so yet.
            self.believe(*holder, self.reserved.contains(holder.port), now);
        }
        self.ends.retain(|port, expiry| {
            let stays = !covered.contains(*port) || self.taken.contains(*port);
            if !stays {
                self.deadlines.remove(&(*expiry, *port));
            }
            stays
        });
        self.covered = covered;
        if covered == self.range {
            self.whole = Some(asked);
        }
        self.refreshed = Some(now);
        self.used = Some(now);
        // The next one goes on where this one ended.
        let lowest_free = self.taken.nth_in_neither(&self.reserved, self.range, 0);
        let last = lowest_free.filter(|_| self.from_the_bottom).unwrap_or(self.range.end());
        self.cursor = covered.end().next().filter(|next| *next <= last).unwrap_or(self.range.start());
    }

    /// Another process saw this. It is believed where this one has seen nothing itself, or found a port free longer ago; if
    /// it is not too old, and not by a clock that disagrees by as much.
    pub fn told(&mut self, hint: &Hint, now: Timestamp) {
        let old = (now.millis() - hint.seen.millis()).abs() >= FORGET_MILLIS;
        if hint.range != self.range || old || self.whole.is_some_and(|whole| whole >= hint.seen) {
            return;
        }
        self.whole = Some(hint.seen);
        let mut unseen = PortSet::default();
        unseen.insert_range(self.range);
        unseen.remove_all(&self.seen);
        self.hinted.insert_all(&unseen);
        self.seen.insert_range(self.range);
        self.taken.remove_all(&self.hinted);
        self.taken.insert_all(&hint.taken);
    }

    /// What this process knows, for others, once it has seen everything.
    #[must_use]
    pub fn hint(&self, seen: Timestamp) -> Hint {
        Hint { range: self.range, taken: self.taken.clone(), seen }
    }

    /// A claim stands on the port.
    pub fn learn(&mut self, holder: Holder, now: Timestamp) {
        if self.range.contains(holder.port) {
            self.seen.insert(holder.port);
            self.hinted.remove(holder.port);
            self.believe(holder, false, now);
        }
    }

    /// Another caller is writing to the port at this moment.
    pub fn contended(&mut self, port: Port, now: Timestamp) {
        self.contended.insert(port, now);
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
        self.ends_at(port, None);
    }

    /// Nobody holds the port any more.
    pub fn freed(&mut self, port: Port) {
        self.frees += 1;
        self.taken.remove(port);
        self.ends_at(port, None);
        self.own.remove(&port);
    }

    /// The claim on the port ends by itself then, or never.
    fn ends_at(&mut self, port: Port, expiry: Option<Expiry>) {
        let old = match expiry {
            Some(expiry) => self.ends.insert(port, expiry),
            None => self.ends.remove(&port),
        };
        if old != expiry {
            if let Some(old) = old {
                self.deadlines.remove(&(old, port));
            }
            self.deadlines.extend(expiry.map(|expiry| (expiry, port)));
        }
    }

    fn believe(&mut self, holder: Holder, is_own: bool, now: Timestamp) {
        match holder.expires_at {
            Some(expiry) if expiry.has_passed(now) => return self.freed(holder.port),
            expiry => self.ends_at(holder.port, expiry),
        }
        self.taken.insert(holder.port);
        let is_own = is_own || self.own.get(&holder.port).is_some_and(|(created, _)| *created == holder.created);
        if !is_own && self.is_recent(holder.created, now) {
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
        while let Some((expiry, port)) = self.deadlines.first().copied() {
            if !expiry.has_passed(now) {
                break;
            }
            self.freed(port);
        }
        let horizon = self.horizon();
        self.recent.retain(|_, created| (now.millis() - created.millis()).abs() <= horizon);
        self.contended.retain(|_, at| now.millis() - at.millis() <= horizon);
        // A busy process has thousands of these: it does not walk them for every offer.
        if (now.millis() - self.pruned.millis()).abs() >= REFRESH_MILLIS {
            self.pruned = now;
            self.own.retain(|_, (created, _)| now.millis() - created.millis() <= horizon.max(REFRESH_MILLIS));
        }
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

    /// From how many of the lowest free ports `lowest` draws: [`SPREAD`] times as many as other processes claimed within
    /// the last four round trips. So the table itself says how crowded it is.
    ///
    /// That is enough for callers who share nothing and begin at the very same moment, when nothing can be seen yet: all
    /// but one lose on the first port, look, see one claim and draw from [`SPREAD`] ports; those who lose again see these
    /// claims as well and draw from some [`SPREAD`]² ports. The choice widens as fast as the crowd fills it, and no
    /// further: who lost to few stays close. Widening by the number of losses alone, which cannot tell 8 callers from 800,
    /// took more tries and left larger gaps.
    ///
    /// A race lost to an old claim, which this process just did not know of, is no crowd and widens nothing. The number of
    /// losses only counts from the second on, for the case that clocks disagree and a crowd does not look like one.
    fn width(&self, losses: u32) -> usize {
        let despite_clocks = 4usize.saturating_pow(losses.saturating_sub(1));
        despite_clocks.max(SPREAD * self.recent.len())
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
