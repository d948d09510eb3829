//! Judging the earlier claims of this name and this key.
//!
//! Instances and Requests only point to Port items, which alone are the truth. They were written in one transaction
//! with those, so the Port item is read in a transaction as well (`settled_port`): otherwise it might still look as it
//! did before.

use super::super::Error;
use super::{Attempt, Expected, Found, Goal, Origin};
use crate::store::{Instance, Lapse, NameRule, Removed, Replay};
use portmaster_domain::{Claim, Holding, Occupant, Secret};

impl Attempt<'_> {
    /// Judges the name's claim on a port that is not to be tried again: live, lapsed, dead, or gone.
    ///
    /// A lapsed claim that this caller need not wait for is made gone first, by a write that fails if its holder has
    /// renewed it since: otherwise a slower clock would still let it, and the name would have two ports.
    pub(super) async fn judge_old_claim(&mut self, instance: Instance) -> Result<Option<Found>, Error> {
        self.affinity = None;
        let Instance { port, secret, .. } = instance;
        let namespace = &self.scene.service.namespace;
        let mut found = self.scene.registry.table.settled_port(self.scene.call, namespace, port).await?;
        self.may_return = found.as_ref().is_some_and(|found| self.scene.is_cooling_for(&self.asked.name, &found.claim));
        loop {
            let occupant = match found {
                Some(occupant) if occupant.has(secret) => occupant,
                found => return self.gone(found, secret),
            };
            if !occupant.claim.state.occupies_port(self.scene.registry.now()) {
                self.rule = NameRule::Dead(port, secret);
                return Ok(None);
            }
            let lapse = match self.scene.lapse_of(self.asked, &occupant.claim) {
                Some(lapse @ Lapse::Over(_)) => lapse,
                Some(lapse @ Lapse::Own(_)) if self.may_claim_early(&occupant.claim) => lapse,
                _ => return self.name_taken(occupant.claim, secret).await,
            };
            found = match self.scene.registry.table.lapse(self.scene.call, namespace, (port, secret), lapse).await? {
                Removed::Now => {
                    self.may_return = true;
                    None
                }
                Removed::Not(found) => found,
            };
        }
    }

    /// Handles a claim of the name that is gone, given what its port has now.
    fn gone(&mut self, found: Option<Occupant>, secret: Secret) -> Result<Option<Found>, Error> {
        if let Some(Occupant { claim, .. }) = found
            && self.scene.is_gone_early(&self.asked.name, &claim)
            && !self.may_claim_early(&claim)
        {
            return Err(self.scene.name_has(claim));
        }
        self.rule = NameRule::Gone(secret);
        Ok(None)
    }

    /// Whether this call may claim the name although, by some clock, this lease of it is not over. If so, what it claims
    /// is such that it may.
    fn may_claim_early(&mut self, claim: &Claim) -> bool {
        let early = self.scene.early(self.asked, self.goal, claim);
        if let Some(early) = early {
            self.scene.claim_early(early, &mut self.goal);
        }
        early.is_some()
    }

    /// Judges an Instance that points to a claim of this call, which arrived after all. Only its Port item shows that
    /// it stands.
    pub(super) async fn judge_own_claim(&mut self, instance: Instance) -> Result<Option<Found>, Error> {
        let found = self
            .scene
            .registry
            .table
            .settled_port(self.scene.call, &self.scene.service.namespace, instance.port)
            .await?;
        match found {
            Some(found) if found.has(instance.secret) => {
                Ok(Some(Found::ours(Holding { claim: found.claim, secret: instance.secret })))
            }
            found => self.gone(found, instance.secret),
        }
    }

    /// Handles a claim that the name has. That is the response, unless the claim was made by this call (a transaction
    /// that was given up as lost has arrived) or under this request's key, or a PUT of its owner adopts it. Returns none
    /// if it has lapsed by now, and another try may follow.
    pub(super) async fn name_taken(&mut self, claim: Claim, secret: Secret) -> Result<Option<Found>, Error> {
        if self.is_own(secret) {
            return Ok(Some(Found::ours(Holding { claim, secret })));
        }
        if let Some(made) = self.made_by_key().await? {
            return Ok(Some(made));
        }
        match self.scene.lapse_of(self.asked, &claim) {
            Some(Lapse::Own(_)) if !self.may_claim_early(&claim) => return Err(self.scene.name_has(claim)),
            Some(_) => return Ok(None),
            None => {}
        }
        match self.goal {
            Goal::Port { .. }
                if self.expected == Expected::Nothing && claim.is_allocation(self.scene.registry.now()) =>
            {
                Err(Error::HasPort { service: self.scene.service.clone(), claim: Box::new(claim) })
            }
            Goal::Port { .. } if self.scene.may_adopt(self.asked, &claim) => {
                let holding = Box::new(Holding { claim, secret });
                Ok(Some(Found { holding, origin: Origin::Adopted, offered_until: None }))
            }
            _ => Err(self.scene.name_has(claim)),
        }
    }

    /// Returns what this request's key made, if the request has a key, the key is remembered, and the claim is live.
    pub(super) async fn made_by_key(&mut self) -> Result<Option<Found>, Error> {
        let Some(request) = &self.request else { return Ok(None) };
        let made = self.scene.registry.table.request(self.scene.call, self.scene.service, &request.key).await?;
        let now = self.scene.registry.clock.now();
        match made.filter(|made| !made.expires_at.has_passed(now)) {
            Some(replay) => self.judge_replay(replay).await,
            None => Ok(None),
        }
    }

    /// Judges the claim that the key made when it was used before.
    pub(super) async fn judge_replay(&mut self, replay: Replay) -> Result<Option<Found>, Error> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let found =
            self.scene.registry.table.settled_port(self.scene.call, &self.scene.service.namespace, replay.port).await?;
        let now = self.scene.registry.clock.now();
        let lives = |found: &Occupant| found.has(replay.secret) && found.claim.state.holds_name(now);
        let Some(holding) = found.filter(lives).and_then(Occupant::holding) else {
            // The claim it made is dead, so the key is as good as new.
            request.replaces = Some(replay.secret);
            return Ok(None);
        };
        if request.key.fingerprint != replay.fingerprint {
            return Err(Error::IdempotencyKeyReused);
        }
        let origin = if self.is_own(holding.secret) { Origin::Made } else { Origin::Replayed };
        Ok(Some(Found { holding: Box::new(holding), origin, offered_until: replay.offered_until }))
    }
}
