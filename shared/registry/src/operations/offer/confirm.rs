//! Looking at the service: before a port is chosen, where nothing is remembered of it, and after each claim.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::Error;
use super::{Attempt, Found};
use crate::store::{NameRule, Removed};
use portmaster_domain::{Holding, PortRange, Service};

/// How long an offer waits for a deletion or a shrinking to end, one way or the other.
const CLOSING: Duration = Duration::from_secs(2);

impl Attempt<'_> {
    /// The look after the claim. Gives whether the offer stands; if not, it has been withdrawn, and another may be made.
    ///
    /// Only the call that made a claim takes it back: one that was merely shown it cannot know what its maker has told.
    pub(super) async fn confirm(&mut self, Found { holding, replayed, .. }: &Found) -> Result<bool, Error> {
        let patience = self.patience();
        loop {
            let service = match self.look_at_service().await {
                Ok(service) => service,
                Err(error) => {
                    // Nobody will be told of the offer. With a key it may be found again, so it stays while its service
                    // may exist.
                    if self.request.is_none() || (matches!(error, Error::ServiceNotFound { .. }) && !*replayed) {
                        let _ = self.withdraw(holding).await;
                    }
                    return Err(error);
                }
            };
            let port = holding.claim.port;
            if service.may_offer(port) {
                return Ok(true);
            }
            if !service.range.contains(port) {
                if *replayed && service.mark.is_none() {
                    // Its maker has died, or is about to take it back.
                    return Err(Error::NameTaken {
                        service: self.service.clone(),
                        claim: Box::new(holding.claim.clone()),
                    });
                }
                if !*replayed {
                    self.withdraw(holding).await?;
                    return Ok(false);
                }
            }
            // The port is being given up. If the claim came before the other's look, the mark will go.
            if let Err(error) = self.wait_for_change(patience).await {
                if self.request.is_none() {
                    let _ = self.withdraw(holding).await;
                }
                return Err(error);
            }
        }
    }

    /// Takes back a claim that nobody was told of. From then on it is gone, and the name's pointer stale.
    pub(super) async fn withdraw(&mut self, holding: &Holding) -> Result<(), Error> {
        let port = holding.claim.port;
        let call = self.call.extended();
        let clock = &self.registry.clock;
        let removed = self.registry.table.reject(&call, self.service, port, holding.secret, clock).await?;
        if let Removed::Not(Some(found), _) = removed
            && found.secret == holding.secret
        {
            // A claim found by its key that its holder has accepted: not ours to take back.
            return Err(Error::NameTaken { service: self.service.clone(), claim: Box::new(found.claim) });
        }
        self.place.learn(|knowledge| knowledge.record_free(port));
        self.made.retain(|made| made.secret != holding.secret);
        self.affinity = None;
        self.rule = NameRule::Gone(holding.secret);
        if let Some(request) = &mut self.request {
            request.replaces = Some(holding.secret);
        }
        Ok(())
    }

    /// Reads the service; gives the range that is on offer, once some is.
    pub(super) async fn read_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.look_at_service().await?;
            if let Some(range) = service.offered_range() {
                return Ok(range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    /// The range, once nobody is giving up a part of it: that may come back.
    pub(super) async fn read_whole_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.look_at_service().await?;
            if service.mark.is_none() {
                return Ok(service.range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    pub(super) async fn look_at_service(&self) -> Result<Service, Error> {
        match self.registry.table.service(self.call, self.service).await? {
            Some(service) => {
                self.place.saw(&service);
                Ok(service)
            }
            None => {
                self.place.forget();
                Err(Error::ServiceNotFound { service: self.service.clone() })
            }
        }
    }

    fn patience(&self) -> Instant {
        (Instant::now() + CLOSING).min(self.call.deadline())
    }

    /// Somebody is deleting or shrinking the service: waits a little.
    pub(super) async fn wait_for_change(&self, patience: Instant) -> Result<(), Error> {
        let until = Instant::now() + self.registry.chance.pause(20..60);
        if until >= patience {
            return Err(Error::ServiceClosing { service: self.service.clone() });
        }
        sleep_until(until).await;
        Ok(())
    }
}
