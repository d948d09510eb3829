//! The ports of a set: several names of one service, which are claimed at once.
//!
//! The search for them has the phases of any [`Search`], asks for the same evidence, and is bounded in the same way.

use rand::{Rng, RngExt as _};

use super::evidence::Evidence;
use super::places::{Need, Places};
use super::{Knowledge, Proposal, Search, WINDOW};
use crate::allocator::PortSet;
use crate::{InstanceName, Port, PortRange, Strategy, Timestamp};

/// From which lost race on there is a crowd; a single loss may be to anybody. A set then draws all of its candidates
/// anew, since those that were kept would lie across the places among which the others draw: keeping them for longer took
/// more tries in every crowd. It also draws from more places, since the crowd may be larger than the preferred ones.
const CROWD: u32 = 2;

/// The search for the ports of a set.
///
/// The names of the set are known by their numbers, from 0. A name may hold its port already, see [`SetSearch::hold`];
/// the others get candidates. After the first lost race, a set whose ports need not follow each other keeps the candidates
/// that were not lost.
#[derive(Clone, Debug)]
pub struct SetSearch {
    /// The phases and the evidence. Its name is the first of the set.
    pub(super) search: Search,
    members: Members,
}

/// The ports of the names, as far as they have been found.
#[derive(Clone, Debug)]
struct Members {
    ports: Vec<Member>,
    contiguous: bool,
}

/// The port of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// None yet.
    Open,
    /// It was proposed, and is not known to be lost.
    Candidate(Port),
    /// The name has it already.
    Held(Port),
}

impl Member {
    fn port(self) -> Option<Port> {
        match self {
            Self::Open => None,
            Self::Candidate(port) | Self::Held(port) => Some(port),
        }
    }
}

/// A place for the names that have neither a port nor a candidate.
struct Picked {
    /// Their ports, in order.
    ports: Vec<Port>,
    /// Where the first of the places begins among which `lowest` drew, if a window shows all of these.
    lowest: Option<Port>,
}

impl SetSearch {
    /// The search for the ports of so many names; `first` is the first of them.
    #[must_use]
    pub fn new(strategy: Strategy, first: InstanceName, size: usize, contiguous: bool) -> Self {
        let members = Members { ports: vec![Member::Open; size], contiguous };
        Self { search: Search::new(strategy, first), members }
    }

    /// The part that it has in common with the search for a single port: for [`Knowledge::wants_hint`].
    #[must_use]
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// Records that the name with this number has this port, so that no candidate is needed for it. The other ports of a
    /// contiguous set follow from it. Returns whether the set can still be had: the held ports of a contiguous set may
    /// not be in their places, or leave no place for the others, and no two names hold one port. Then nothing is recorded.
    #[must_use]
    pub fn hold(&mut self, name: usize, port: Port) -> bool {
        self.members.hold(name, port)
    }

    /// Records that the name with this number does not hold its port any more, or that it never did.
    pub fn let_go(&mut self, name: usize) {
        if let Some(member) = self.members.ports.get_mut(name) {
            *member = Member::Open;
        }
        self.members.open_candidates(|_, contiguous| contiguous);
    }

    /// Records that other callers have these ports, or are writing to them. The candidates among them are replaced;
    /// those of a contiguous set all are, and after the first loss those of any set. Otherwise like
    /// [`Search::record_lost_race`].
    pub fn record_lost_race(&mut self, lost: &[Port]) {
        self.search.record_lost_race();
        let anew = self.search.losses >= CROWD;
        self.members.open_candidates(|port, contiguous| anew || contiguous || lost.contains(&port));
    }

    /// Allows reserved ports, as [`Search::ignore_reservations`] does: the whole range was read, and the set fits.
    pub fn ignore_reservations(&mut self) {
        self.search.ignore_reservations();
    }

    /// Whether there is room for what the set needs beside the ports it holds, in a range in which exactly these ports
    /// are taken and those are barred.
    #[must_use]
    pub fn fits(&self, range: PortRange, taken: &PortSet, barred: &PortSet) -> bool {
        let mut members = self.members.clone();
        members.open_candidates(|_, _| true);
        members.fit(PortSet::in_none([taken, barred], range), range, range)
    }
}

impl Members {
    fn hold(&mut self, name: usize, port: Port) -> bool {
        let Some(member) = self.ports.get(name).copied() else { return false };
        if member == Member::Held(port) {
            return true;
        }
        // Two names may remember the same port, one after the other; only one of them can have it.
        if self.ports.contains(&Member::Held(port)) {
            return false;
        }
        if self.contiguous {
            let Some(base) = port.index().checked_sub(name) else { return false };
            let agrees = |(other, member): (usize, &Member)| match member {
                Member::Held(port) => other == name || port.index() == base + other,
                Member::Open | Member::Candidate(_) => true,
            };
            let ends = Port::at(base + self.ports.len() - 1).is_some();
            if !ends || !self.ports.iter().enumerate().all(agrees) {
                return false;
            }
        }
        self.open_candidates(|candidate, contiguous| contiguous || candidate == port);
        self.ports[name] = Member::Held(port);
        true
    }

    /// Gives up the candidates that are to be given up, judged by the port and by whether the set is contiguous.
    fn open_candidates(&mut self, which: impl Fn(Port, bool) -> bool) {
        for member in &mut self.ports {
            if matches!(*member, Member::Candidate(port) if which(port, self.contiguous)) {
                *member = Member::Open;
            }
        }
    }

    /// The numbers of the names that have neither a port nor a candidate.
    fn open(&self) -> impl Iterator<Item = usize> {
        self.ports.iter().enumerate().filter(|(_, member)| **member == Member::Open).map(|(name, _)| name)
    }

    /// The candidates, with the numbers of their names.
    fn candidates(&self) -> impl Iterator<Item = (usize, Port)> {
        self.ports.iter().enumerate().filter_map(|(name, member)| match member {
            Member::Candidate(port) => Some((name, *port)),
            Member::Open | Member::Held(_) => None,
        })
    }

    /// Where a contiguous set begins of which some ports are held.
    fn base(&self) -> Option<usize> {
        let base = |(name, member): (usize, &Member)| match member {
            Member::Held(port) => port.index().checked_sub(name),
            Member::Open | Member::Candidate(_) => None,
        };
        self.ports.iter().enumerate().find_map(base).filter(|_| self.contiguous)
    }

    /// The places for the names that have neither a port nor a candidate, in this part of the range. These ports of
    /// the range are free.
    ///
    /// They are numbered in the whole range, so that processes that have looked at different parts of it want the same
    /// place or have nothing to do with each other. If none of them lies in this part altogether, the part may have
    /// room all the same.
    fn places(&self, mut free: PortSet, within: PortRange, range: PortRange) -> Places {
        if let Some(base) = self.base() {
            let ports = self.open().filter_map(|name| Port::at(base + name)).collect();
            return Places::exactly(ports, &free);
        }
        self.ports.iter().filter_map(|member| member.port()).for_each(|port| free.remove(port));
        let need = Need { size: self.ports.len(), open: self.open().count(), contiguous: self.contiguous };
        let places = Places::of(need, &free, range);
        if within == range {
            return places;
        }
        let inside = places.within(within);
        if inside.count() > 0 {
            return inside;
        }
        let mut part = PortSet::default();
        part.insert_range(within);
        free.retain_all(&part);
        Places::of(need, &free, range)
    }

    /// Whether there is a place for the names that have neither a port nor a candidate, or no such name.
    fn fit(&self, free: PortSet, within: PortRange, range: PortRange) -> bool {
        self.open().next().is_none() || self.places(free, within, range).count() > 0
    }

    /// Gives up the candidates that are not free any more, as far as is known; all of them if the set is contiguous.
    fn reconsider(&mut self, free: &PortSet) {
        let is_free = |port| free.contains(port);
        let all_free = self.candidates().all(|(_, port)| is_free(port));
        self.open_candidates(|port, contiguous| if contiguous { !all_free } else { !is_free(port) });
    }
}

impl Knowledge {
    /// The next step of the search for the ports of a set. A candidate is a list of the numbers of the names that do not
    /// hold a port yet, each with the port to claim for it: all of them, also those that an earlier call proposed. Each
    /// is reserved until [`Knowledge::unreserve`], which the caller does for all of them before it asks again.
    pub fn propose_set(
        &mut self,
        set: &mut SetSearch,
        random: &mut impl Rng,
        now: Timestamp,
    ) -> Proposal<Vec<(usize, Port)>> {
        self.advance(now);
        let SetSearch { search, members } = set;
        self.from_the_bottom = (search.strategy == Strategy::Lowest).then_some(members.ports.len());
        members.reconsider(&self.free(search).ports(self.range));
        let fits = |search: &Search, part| members.fit(self.free(search).ports(self.range), part, self.range);
        let Some(within) = self.scope(search, fits) else { return self.ask_for(search, Evidence::WholeRange, now) };
        let Some(picked) = self.pick_place(search, members, within, random) else { return Proposal::Full };
        search.start = picked.ports.first().copied().or(search.start);
        if let Some(evidence) = self.evidence_for_all(search, members, &picked, now) {
            return self.ask_for(search, evidence, now);
        }
        self.has_proposed = true;
        let open: Vec<_> = members.open().collect();
        for (name, port) in open.into_iter().zip(picked.ports) {
            members.ports[name] = Member::Candidate(port);
        }
        members.candidates().for_each(|(_, port)| self.reserved.insert(port));
        Proposal::Candidate(members.candidates().collect())
    }

    /// A place for what the set still needs in this part of the range; none if there is no room for it.
    ///
    /// `lowest` draws at random from the first *w* places; without a crowd, *w* is 1. See [`Knowledge::width`]. `hashed`
    /// takes the first place from a hash of the name on; after each loss another hash selects one of them. `random` draws
    /// among all of them. The last two keep to the preferred places until there is a [`CROWD`].
    fn pick_place(
        &self,
        search: &Search,
        members: &Members,
        within: PortRange,
        random: &mut impl Rng,
    ) -> Option<Picked> {
        if members.open().next().is_none() {
            return Some(Picked { ports: Vec::new(), lowest: None });
        }
        let places = members.places(self.free(search).ports(self.range), within, self.range);
        let count = if search.losses < CROWD { places.preferred() } else { places.count() };
        if count == 0 {
            return None;
        }
        let size = members.ports.len();
        let width = self.width(search.losses, size).min(places.count());
        let n = match search.strategy {
            Strategy::Lowest if width == 1 => 0,
            Strategy::Lowest => random.random_range(0..width),
            Strategy::Hashed if search.losses == 0 => places.at_or_after(self.hashed_slot(search, size)).unwrap_or(0),
            // The remainder fits, as the count does.
            Strategy::Hashed => (search.hash() % count as u64) as usize,
            Strategy::Random => match search.start {
                Some(start) => places.at_or_after(start).unwrap_or(0),
                None => random.random_range(0..count),
            },
        };
        let is_seen_at_once = search.strategy == Strategy::Lowest && width * size <= WINDOW;
        let lowest = places.nth(0).first().copied().filter(|_| is_seen_at_once);
        Some(Picked { ports: places.nth(n).to_vec(), lowest })
    }

    /// The evidence that must be read before these candidates may be tried, if any. The one about which least is known
    /// stands for all of them, but a window starts where it shows as many of them as it can.
    fn evidence_for_all(
        &self,
        search: &Search,
        members: &Members,
        picked: &Picked,
        now: Timestamp,
    ) -> Option<Evidence> {
        let all: Vec<_> = picked.ports.iter().copied().chain(members.candidates().map(|(_, port)| port)).collect();
        let is_unknown = |port: &&Port| !self.seen.contains(**port);
        let is_hinted = |port: &&Port| self.hinted.contains(**port);
        let doubtful = *all.iter().find(is_unknown).or_else(|| all.iter().find(is_hinted)).or(all.first())?;
        // No more items than ports lie between the two, so the window reaches the doubtful one.
        let reaches = |port: &Port| *port <= doubtful && doubtful.index() - port.index() < WINDOW;
        let start = all.iter().copied().filter(reaches).min().unwrap_or(doubtful);
        match self.evidence(search, doubtful, now)? {
            // `lowest` draws among the first places, so it looks at all of them. If a crowd of large sets takes more
            // than a window shows, all of them would see the same few places, so each looks at its own.
            Evidence::LookAfterLoss(_) => Some(Evidence::LookAfterLoss(picked.lowest.unwrap_or(start).min(start))),
            evidence => Some(evidence.starting_by(start)),
        }
    }

    /// The aligned slot at which `hashed` starts: the hash of the name modulo the number of slots.
    fn hashed_slot(&self, search: &Search, size: usize) -> Port {
        let slots = (self.range.size() / size).max(1);
        // The remainder fits, as the number of slots does.
        let slot = (search.hash() % slots as u64) as usize;
        Port::at(self.range.start().index() + slot * size).unwrap_or(self.range.start())
    }
}
