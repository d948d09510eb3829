//! Reading many Port items: a window as a hint, or a whole range consistently.

use futures::future::try_join_all;
use tokio::time::Instant;

use super::memory::Full;
use super::{Error, Occupancy, Registry};
use crate::Call;
use crate::store::{Freshness, Sighting};
use portmaster_domain::allocator::{Holder, WINDOW};
use portmaster_domain::{Expiry, Namespace, Port, PortRange, Reserved, ServiceName, StateKind, Timestamp};

/// How many ports each Query over a whole range covers: as many as fill a page of 1 MB with the longest names.
const STRETCH: usize = 3_072;

impl Registry {
    /// Reads up to [`WINDOW`] holders from the start of a stretch, and returns how far they reach. Only a hint.
    pub(super) async fn read_window(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
    ) -> Result<(PortRange, Vec<Holder>), Error> {
        let page = self.table.sightings(call, namespace, part, Some(WINDOW), Freshness::Eventual).await?;
        let holders = page.items.iter().map(holder).chain(page.unreadable.iter().map(|port| unknown(*port)));
        Ok((page.covered, holders.collect()))
    }

    /// Reads a whole range: consistently, if anything is to be concluded from it. The stretches are read at the same
    /// time: one round trip.
    pub(super) async fn read_everywhere(
        &self,
        call: &Call,
        namespace: &Namespace,
        range: PortRange,
        freshness: Freshness,
    ) -> Result<Everything, Error> {
        let asked = Instant::now();
        let stretches = range.chunks(STRETCH).map(|stretch| async move {
            let (mut claims, mut unreadable, mut rest) = (Vec::new(), Vec::new(), Some(stretch));
            while let Some(part) = rest {
                let page = self.table.sightings(call, namespace, part, None, freshness).await?;
                claims.extend(page.items);
                unreadable.extend(page.unreadable);
                rest = page.next.and_then(|next| part.starting_at(next));
            }
            Ok::<_, Error>((claims, unreadable))
        });
        let (claims, unreadable): (Vec<_>, Vec<_>) = try_join_all(stretches).await?.into_iter().unzip();
        Ok(Everything { asked, claims: claims.concat(), unreadable: unreadable.concat() })
    }
}

/// A whole range, as it was read.
pub(super) struct Everything {
    /// When the read began.
    pub(super) asked: Instant,
    /// Every claim on it, dead or alive, by port.
    pub(super) claims: Vec<Sighting>,
    /// Ports whose items cannot be read: they may be held.
    pub(super) unreadable: Vec<Port>,
}

impl Everything {
    /// The claims that keep other names from their ports.
    pub(super) fn taken(&self, now: Timestamp) -> impl Iterator<Item = &Sighting> {
        self.claims.iter().filter(move |claim| claim.state.occupies_port(now))
    }

    /// Whether no port is free, except perhaps reserved ones.
    pub(super) fn is_full(&self, range: PortRange, reserved: &Reserved, now: Timestamp) -> bool {
        let reserved = self.free_and_reserved(range, reserved, now);
        self.taken(now).count() + self.unreadable.len() + reserved >= range.size()
    }

    /// How many reserved ports of the range are free.
    pub(super) fn free_and_reserved(&self, range: PortRange, reserved: &Reserved, now: Timestamp) -> usize {
        if reserved.is_empty() {
            return 0;
        }
        let mut free = reserved.ports();
        self.taken(now).for_each(|claim| free.remove(claim.port));
        self.unreadable.iter().for_each(|port| free.remove(*port));
        free.count(range)
    }

    /// When the first of the ports comes back by itself, if one does.
    pub(super) fn next_expiry(&self, now: Timestamp) -> Option<Expiry> {
        self.taken(now).filter_map(|claim| claim.state.expires_at()).min()
    }

    /// How the ports of the range are taken, as this service sees it.
    pub(super) fn occupancy(
        &self,
        service: &ServiceName,
        range: PortRange,
        reserved: &Reserved,
        now: Timestamp,
    ) -> Occupancy {
        let of = |kind| self.taken(now).filter(move |claim| claim.state.seen_at(now).kind() == kind);
        let own = |kind| of(kind).filter(|claim| claim.service == *service).count();
        let (offered, allocated) = (own(StateKind::Offered), own(StateKind::Allocated));
        let (cooling, quarantined) = (of(StateKind::Cooling).count(), of(StateKind::Quarantined).count());
        Occupancy {
            size: range.size(),
            offered,
            allocated,
            cooling,
            quarantined,
            reserved: self.free_and_reserved(range, reserved, now),
            foreign: (self.taken(now).count() + self.unreadable.len())
                .saturating_sub(offered + allocated + cooling + quarantined),
            seconds_to_next_expiry: self.next_expiry(now).map(|until| until.seconds_left(now)),
            remembered: false,
        }
    }

    /// The same, to be remembered.
    pub(super) fn full(&self, service: &ServiceName, range: PortRange, reserved: &Reserved, now: Timestamp) -> Full {
        let occupancy = self.occupancy(service, range, reserved, now);
        Full { range, asked: self.asked, occupancy, until: self.next_expiry(now) }
    }

    /// The holders, as the allocator sees them.
    pub(super) fn holders(&self) -> Vec<Holder> {
        self.claims.iter().map(holder).chain(self.unreadable.iter().map(|port| unknown(*port))).collect()
    }
}

/// A claim, as the allocator sees it.
fn holder(sighting: &Sighting) -> Holder {
    Holder { port: sighting.port, created: sighting.created, expires_at: sighting.state.expires_at() }
}

/// A port whose item cannot be read: it may be held, for ever.
pub(super) fn unknown(port: Port) -> Holder {
    Holder { port, created: Timestamp::from_millis(0), expires_at: None }
}
