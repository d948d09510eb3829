//! The last steps of a PUT: to accept what was claimed as an offer, or to renew what the name has.

use super::super::Error;
use super::{Attempt, Found, Goal, Origin, Put};
use crate::store::{Accepted, NameRule, Under};
use portmaster_domain::allocator::Holder;
use portmaster_domain::{Claim, Holding, Occupant, StateKind};

impl Attempt<'_> {
    /// Ends a PUT with this claim, which is confirmed. Returns none if the claim is gone by now, and another try is to
    /// follow.
    pub(super) async fn finish(&mut self, found: Found, lease: Option<u32>) -> Result<Option<Put>, Error> {
        let Found { holding, origin, .. } = found;
        let put = match (holding.claim.state.kind(), origin) {
            (StateKind::Allocated, Origin::Made) => Some(Put::Made(holding.claim)),
            (StateKind::Allocated, _) => {
                let agreed = self.agreed.unwrap_or(holding.claim.terms);
                self.scene.extend(self.asked, &holding, lease, agreed).await?.map(Put::Kept)
            }
            _ => self.accept(&holding).await?.map(Put::Made),
        };
        match &put {
            Some(put) => {
                let (holder, now) = (Holder::from(put.claim()), self.scene.registry.now());
                self.scene.place.learn(|knowledge| knowledge.observe_holder(holder, now));
            }
            None => self.start_over(),
        }
        Ok(put)
    }

    /// For `If-Match: *`: keeps what the name has, and claims nothing.
    pub(super) async fn keep(&mut self) -> Result<Put, Error> {
        let Goal::Port { lease } = self.goal else { return Err(self.has_no_port().await) };
        loop {
            let table = &self.scene.registry.table;
            let instance = table.instance(self.scene.call, self.scene.service, &self.asked.name).await?;
            let Some(instance) = instance else { return Err(self.has_no_port().await) };
            let found = table.settled_port(self.scene.call, &self.scene.service.namespace, instance.port).await?;
            let Some(holding) = found.filter(|found| found.has(instance.secret)).and_then(Occupant::holding) else {
                return Err(self.has_no_port().await);
            };
            if !holding.claim.is_allocation(self.scene.registry.now()) {
                return Err(self.has_no_port().await);
            }
            if !self.scene.may_adopt(self.asked, &holding.claim) {
                return Err(self.scene.name_has(holding.claim));
            }
            let found = Found { holding: Box::new(holding), origin: Origin::Adopted, offered_until: None };
            if self.confirm(&found).await?
                && let Some(put) = self.finish(found, lease).await?
            {
                return Ok(put);
            }
        }
    }

    /// That the name has no port; or that there is no such service, which is a better answer.
    async fn has_no_port(&self) -> Error {
        match self.scene.current_service().await {
            Ok(_) => Error::HasNoPort { service: self.scene.service.clone(), name: self.asked.name.clone() },
            Err(error) => error,
        }
    }

    /// Whatever was known of the name is out of date.
    fn start_over(&mut self) {
        self.affinity = None;
        self.rule = NameRule::Free;
    }

    /// Accepts the offer that a PUT without a lease claimed. Only then is anybody told, so that an offer that its maker
    /// left behind is nobody's loss.
    async fn accept(&self, Holding { claim, secret }: &Holding) -> Result<Option<Claim>, Error> {
        let (table, clock) = (&self.scene.registry.table, &self.scene.registry.clock);
        let terms = self.agreed.unwrap_or(claim.terms);
        let Goal::Port { lease } = self.goal else { return Ok(None) };
        let under = Under { found: claim.terms, ..Under::of(terms, terms.grant(lease), self.scene.registry.margin) };
        // The offer may be one that an earlier PUT of the owner left behind, with other labels.
        let on = (under, self.asked.labels.as_ref().filter(|labels| **labels != claim.labels));
        match table.accept(self.scene.call, self.scene.service, (claim.port, *secret), on, clock).await? {
            Accepted::Now(claim) => Ok(Some(claim)),
            // What another call of the owner has accepted is renewed, as whatever else the name has.
            Accepted::Before(_) | Accepted::Not(_) => Ok(None),
        }
    }
}
