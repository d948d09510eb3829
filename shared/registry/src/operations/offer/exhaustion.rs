//! Finding out that a range is full. No caller is told so unless this process reads the whole range consistently, or
//! did a moment ago.

use super::super::Error;
use super::super::reads::Everything;
use super::{Attempt, Found};
use crate::store::NameRule;
use portmaster_domain::{PortRange, Reserved, Timestamp};

impl Attempt<'_> {
    /// Reads the whole range because nothing less has helped. If it is full, reports that or returns what was found
    /// instead.
    pub(super) async fn read_whole_range(&mut self, range: PortRange, now: Timestamp) -> Result<Option<Found>, Error> {
        let everything = self.scene.read_everything(range).await?;
        if !self.is_full(&everything, range) {
            self.hint = self.scene.place.with(|remembered| remembered.knowledge.hint(now));
            return Ok(None);
        }
        // The read was consistent, so if it covered the service's whole range it need not be repeated. `just_exhausted`
        // says why the mark matters.
        let service = self.scene.current_service().await?;
        if service.mark.is_none() && service.range == range {
            return self.exhausted(range, &everything).await;
        }
        Ok(None)
    }

    /// Handles a range whose every port is believed taken.
    pub(super) async fn seems_full(&mut self, range: PortRange) -> Result<Option<Found>, Error> {
        if let Some(found) = self.just_exhausted(range).await? {
            return Ok(Some(found));
        }
        if self.affinity.is_some() {
            return Ok(None);
        }
        self.make_sure_of_exhaustion().await
    }

    /// Answers from memory if this process read the whole range a moment ago and it was full, unless the service has
    /// changed, or the name or the key has one of the ports. Otherwise a caller that keeps retrying would cost a full
    /// read each time.
    async fn just_exhausted(&mut self, range: PortRange) -> Result<Option<Found>, Error> {
        let remembered = || self.scene.place.full(range, self.scene.registry.now(), self.scene.registry.full_for);
        if remembered().is_none() {
            return Ok(None);
        }
        let service = self.scene.current_service().await?;
        // If the service has changed, other ports may be reserved.
        let Some(full) = remembered() else { return Ok(None) };
        // Under a mark the offer waits for the outcome, which may give the caller a better response. That the range is
        // full would be true all the same, since that is how it was read, so only the wait shows that the mark is
        // checked.
        if service.mark.is_some() || service.range != range {
            return Ok(None);
        }
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        if self.affinity.is_some() {
            return Ok(None);
        }
        let occupancy = full.remembered(self.scene.registry.clock.now());
        Err(Error::RangeExhausted { service: self.scene.service.clone(), occupancy: Box::new(occupancy) })
    }

    /// Reads the service and its whole range consistently, to be sure.
    async fn make_sure_of_exhaustion(&mut self) -> Result<Option<Found>, Error> {
        let range = self.scene.read_whole_service().await?;
        let everything = self.scene.read_everything(range).await?;
        if self.is_full(&everything, range) {
            return self.exhausted(range, &everything).await;
        }
        // There is a free port. If other calls of this process are trying all such ports, this call tries them too,
        // after a pause.
        if let Some(search) = &mut self.search {
            search.ignore_reservations();
        }
        tokio::time::sleep(self.scene.registry.chance.pause(1..20)).await;
        Ok(None)
    }

    /// Handles a range that is wholly taken. If the name itself holds one of the ports, or the key made one of the
    /// offers, that is the response.
    async fn exhausted(&mut self, range: PortRange, everything: &Everything) -> Result<Option<Found>, Error> {
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        if self.affinity.is_some() {
            return Ok(None);
        }
        let full = everything.full(&self.scene.service.name, range, &self.reserved(), self.scene.registry.clock.now());
        self.scene.place.remember_full(full);
        Err(Error::RangeExhausted { service: self.scene.service.clone(), occupancy: Box::new(full.occupancy) })
    }

    fn is_full(&self, everything: &Everything, range: PortRange) -> bool {
        everything.is_full(range, &self.reserved(), self.scene.registry.now())
    }

    /// The ports that the service only gives to those who ask for them by number, as far as is remembered.
    fn reserved(&self) -> Reserved {
        self.scene.place.with(|remembered| remembered.reserved.clone()).unwrap_or_default()
    }

    /// Finds the claim that the key or the name has. On a full range no claim is sent whose failed condition would show
    /// it.
    async fn has_one_of_them(&mut self) -> Result<Option<Found>, Error> {
        if let Some(found) = self.made_by_key().await? {
            return Ok(Some(found));
        }
        let Some(instance) =
            self.scene.registry.table.instance(self.scene.call, self.scene.service, &self.asked.name).await?
        else {
            return Ok(None);
        };
        let found = self.judge_old_claim(instance).await?;
        // The name's own port may be one of those that only this name may have: released, or lapsed. It is tried once.
        let covers = || self.scene.place.range().is_some_and(|range| range.contains(instance.port));
        if found.is_none() && self.may_return && !self.came_back && covers() {
            self.came_back = true;
            self.affinity = Some(instance);
            self.rule = NameRule::Free;
        }
        Ok(found)
    }
}
