//! Finding out that a range is full. The whole of it is read consistently before anybody is told so, or was a moment ago.

use super::super::memory::Full;
use super::super::reads::Everything;
use super::super::{Error, Occupancy};
use super::{Attempt, Found};
use portmaster_domain::{PortRange, StateKind, Timestamp};

impl Attempt<'_> {
    /// Reads the whole range, because nothing less has helped. Where it is full, that is told, or what was found instead.
    pub(super) async fn look_at_all(&mut self, range: PortRange, now: Timestamp) -> Result<Option<Found>, Error> {
        let everything = self.see_everything(range).await?;
        if !everything.is_full(range, self.registry.clock.now()) {
            self.hint = self.place.with(|remembered| remembered.knowledge.hint(now));
            return Ok(None);
        }
        // The read was consistent, so where it is the service's whole range it need not be read again. For the mark see
        // `just_exhausted`.
        let service = self.look_at_service().await?;
        if service.mark.is_none() && service.range == range {
            return self.exhausted(range, &everything).await;
        }
        Ok(None)
    }

    /// Every port is believed to be taken.
    pub(super) async fn seems_full(&mut self, range: PortRange) -> Result<Option<Found>, Error> {
        if let Some(found) = self.just_exhausted(range).await? {
            return Ok(Some(found));
        }
        self.make_sure_of_exhaustion().await
    }

    /// This process has read the whole range a moment ago, and it was full: then that is the answer, unless the service
    /// has changed, or the name or the key have one of the ports. A caller that insists would otherwise cost a read of
    /// everything each time.
    async fn just_exhausted(&mut self, range: PortRange) -> Result<Option<Found>, Error> {
        let Some(full) = self.place.full(range, self.registry.clock.now(), self.registry.full_for) else {
            return Ok(None);
        };
        let service = self.look_at_service().await?;
        // Under a mark it waits for the outcome, which may give the caller a better answer. That the range is full
        // would be true all the same, since that is how it was read, so only the wait shows that the mark is asked.
        if service.mark.is_some() || service.range != range {
            return Ok(None);
        }
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        let now = self.registry.clock.now();
        let seconds_to_next_expiry = full.until.map(|until| until.seconds_left(now));
        let occupancy = Occupancy { seconds_to_next_expiry, remembered: true, ..full.occupancy };
        Err(Error::RangeExhausted { service: self.service.clone(), occupancy })
    }

    /// The service and its whole range are read consistently, to be sure.
    async fn make_sure_of_exhaustion(&mut self) -> Result<Option<Found>, Error> {
        let range = self.read_whole_service().await?;
        let everything = self.see_everything(range).await?;
        if everything.is_full(range, self.registry.clock.now()) {
            return self.exhausted(range, &everything).await;
        }
        // There is a free port; if only ones that other calls here are trying, then after them.
        if let Some(search) = &mut self.search {
            search.ignore_reservations();
        }
        tokio::time::sleep(self.registry.chance.pause(1..20)).await;
        Ok(None)
    }

    /// The whole range is taken. The name may hold one of the ports itself, or the key may have made one of the offers;
    /// then that is the answer.
    async fn exhausted(&mut self, range: PortRange, everything: &Everything) -> Result<Option<Found>, Error> {
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        let now = self.registry.clock.now();
        let taken = || everything.taken(now);
        let own =
            |kind| taken().filter(|claim| claim.service == self.service.name && claim.state.kind() == kind).count();
        let (offered, allocated) = (own(StateKind::Offered), own(StateKind::Allocated));
        let until = taken().filter_map(|claim| claim.state.expires_at()).min();
        let occupancy = Occupancy {
            size: range.size(),
            offered,
            allocated,
            foreign: taken().count() + everything.unreadable.len() - offered - allocated,
            seconds_to_next_expiry: until.map(|until| until.seconds_left(now)),
            remembered: false,
        };
        self.place.saw_full(Full { range, asked: everything.asked, occupancy, until });
        Err(Error::RangeExhausted { service: self.service.clone(), occupancy })
    }

    /// The claim that the key or the name have: where the range is full, no claim is sent whose condition would tell.
    async fn has_one_of_them(&mut self) -> Result<Option<Found>, Error> {
        if let Some(found) = self.made_by_key().await? {
            return Ok(Some(found));
        }
        match self.registry.table.instance(self.call, self.service, self.name).await? {
            Some(instance) => self.judge_old_claim(instance).await,
            None => Ok(None),
        }
    }
}
