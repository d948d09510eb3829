//! Judging the earlier claims of this name and this key.
//!
//! Instances and Requests only point to Port items, which alone are the truth. They were written in one transaction
//! with those, so the Port item is read in a transaction as well (`settled_port`): otherwise it might still look as it
//! did before.

use super::super::Error;
use super::{Attempt, Found};
use crate::store::{Instance, NameRule, Replay};
use portmaster_domain::Holding;

impl Attempt<'_> {
    /// Judges the name's claim on a port that is not to be tried again: live, dead, or gone.
    pub(super) async fn judge_old_claim(&mut self, instance: Instance) -> Result<Option<Found>, Error> {
        self.affinity = None;
        let found = self.registry.table.settled_port(self.call, &self.service.namespace, instance.port).await?;
        let now = self.registry.clock.now();
        self.rule = match found.filter(|found| found.secret == instance.secret) {
            None => NameRule::Gone(instance.secret),
            Some(holding) if holding.claim.state.holds_name(now) => return self.name_taken(holding).await.map(Some),
            Some(_) => NameRule::Dead(instance.port, instance.secret),
        };
        Ok(None)
    }

    /// Judges an Instance that points to a claim of this call, which arrived after all. Only its Port item shows that
    /// it stands.
    pub(super) async fn judge_own_claim(&mut self, instance: Instance) -> Result<Option<Found>, Error> {
        let found = self.registry.table.settled_port(self.call, &self.service.namespace, instance.port).await?;
        let stands = found.is_some_and(|found| found.secret == instance.secret);
        match self.own(instance.secret) {
            Some(ours) if stands => Ok(Some(Found::ours(ours.clone()))),
            _ => {
                self.rule = NameRule::Gone(instance.secret);
                Ok(None)
            }
        }
    }

    /// Handles a live claim of the name. That is the response, unless the claim was made by this call (a transaction
    /// that was given up as lost has arrived) or under this request's key.
    pub(super) async fn name_taken(&mut self, found: Holding) -> Result<Found, Error> {
        if let Some(ours) = self.own(found.secret) {
            return Ok(Found::ours(ours.clone()));
        }
        match self.made_by_key().await? {
            Some(made) => Ok(made),
            None => Err(self.name_has(found.claim)),
        }
    }

    /// Returns what this request's key made, if the request has a key, the key is remembered, and the claim is live.
    pub(super) async fn made_by_key(&mut self) -> Result<Option<Found>, Error> {
        let Some(request) = &self.request else { return Ok(None) };
        let made = self.registry.table.request(self.call, self.service, &request.key).await?;
        let now = self.registry.clock.now();
        match made.filter(|made| !made.expires_at.has_passed(now)) {
            Some(replay) => self.judge_replay(replay).await,
            None => Ok(None),
        }
    }

    /// Judges the claim that the key made when it was used before.
    pub(super) async fn judge_replay(&mut self, replay: Replay) -> Result<Option<Found>, Error> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let found = self.registry.table.settled_port(self.call, &self.service.namespace, replay.port).await?;
        let now = self.registry.clock.now();
        let lives = |found: &Holding| found.secret == replay.secret && found.claim.state.holds_name(now);
        let Some(holding) = found.filter(lives) else {
            // The claim it made is dead, so the key is as good as new.
            request.replaces = Some(replay.secret);
            return Ok(None);
        };
        if request.key.fingerprint != replay.fingerprint {
            return Err(Error::IdempotencyKeyReused);
        }
        let replayed = self.own(holding.secret).is_none();
        Ok(Some(Found { holding: Box::new(holding), replayed, offered_until: replay.offered_until }))
    }
}
