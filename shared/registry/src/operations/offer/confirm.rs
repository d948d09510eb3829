//! Reading the service: before a port is chosen, if nothing is remembered of it, and after each claim.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::Error;
use super::{Attempt, Found, Origin};
use crate::store::{NameRule, Removed};
use portmaster_domain::{Claim, Holding, PortRange, Service, StateKind};

/// How long an offer waits for a deletion or a shrinking to end, either way.
const CLOSING: Duration = Duration::from_secs(2);

impl Attempt<'_> {
    /// Reads the service after the claim, and returns whether the offer stands. If not, it has been withdrawn, and
    /// another may be made.
    ///
    /// Only the call that made a claim withdraws it: a call that was merely shown the claim cannot know what its maker
    /// has returned.
    ///
    /// A claim that was adopted is an exception as long as nobody was told of it: then its maker has died or is this
    /// owner's other call, and the condition of the withdrawal decides.
    pub(super) async fn confirm(&mut self, Found { holding, origin, .. }: &Found) -> Result<bool, Error> {
        let replayed = *origin == Origin::Replayed || (*origin == Origin::Adopted && holding.claim.confirmed);
        let patience = self.patience();
        loop {
            let service = match self.current_service().await {
                Ok(service) => service,
                Err(error) => {
                    // The offer is returned to no caller. If a retry may find it, it stays as long as its service may
                    // exist.
                    if !self.is_found_again() || (matches!(error, Error::ServiceNotFound { .. }) && !replayed) {
                        let _ = self.withdraw(holding).await;
                    }
                    return Err(error);
                }
            };
            let port = holding.claim.port;
            self.agreed = Some(service.terms);
            if service.may_offer(port) {
                if *origin != Origin::Made || self.is_as_agreed(&holding.claim, &service) {
                    return Ok(true);
                }
                self.withdraw(holding).await?;
                return Ok(false);
            }
            if !service.range.contains(port) {
                if replayed && service.mark.is_none() {
                    // Its maker has died, or is about to withdraw it.
                    return Err(self.name_has(holding.claim.clone()));
                }
                if !replayed {
                    self.withdraw(holding).await?;
                    return Ok(false);
                }
            }
            // The port is being given up. If the claim preceded the other call's read, the mark will go.
            if let Err(error) = self.wait_for_change(patience).await {
                if !self.is_found_again() {
                    let _ = self.withdraw(holding).await;
                }
                return Err(error);
            }
        }
    }

    /// Whether this call's claim is what its service gives out now. It was made by what this process remembered: by
    /// other terms, perhaps, or on a port that is reserved by now.
    fn is_as_agreed(&self, claim: &Claim, service: &Service) -> bool {
        claim.terms == service.terms && (self.asked.port == Some(claim.port) || !service.reserved.contains(claim.port))
    }

    /// Withdraws a claim that was returned to no caller. From then on it is gone, and the name's Instance is stale.
    pub(super) async fn withdraw(&mut self, holding: &Holding) -> Result<(), Error> {
        let port = holding.claim.port;
        let call = self.call.extended();
        let (table, clock) = (&self.registry.table, &self.registry.clock);
        let removed = match holding.claim.state.kind() {
            StateKind::Allocated => table.withdraw(&call, &self.service.namespace, port, holding.secret).await?,
            _ => table.reject(&call, self.service, port, holding.secret, clock).await?,
        };
        if let Removed::Not(Some(found), _) = removed
            && found.has(holding.secret)
        {
            // The claim was found by its key or its owner, and is somebody's by now: it is not ours to withdraw.
            return Err(self.name_has(found.claim));
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

    /// Reads the service until some range is on offer, and returns that range.
    pub(super) async fn read_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.current_service().await?;
            if let Some(range) = service.offered_range() {
                return Ok(range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    /// Returns the range once no part of it is being given up: that part may come back.
    pub(super) async fn read_whole_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.current_service().await?;
            if service.mark.is_none() {
                return Ok(service.range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    pub(super) async fn current_service(&self) -> Result<Service, Error> {
        match self.registry.table.service(self.call, self.service).await? {
            Some(service) => {
                self.place.remember(&service);
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

    /// Waits a little while another call is deleting or shrinking the service.
    pub(super) async fn wait_for_change(&self, patience: Instant) -> Result<(), Error> {
        let until = Instant::now() + self.registry.chance.pause(20..60);
        if until >= patience {
            return Err(Error::ServiceClosing { service: self.service.clone() });
        }
        sleep_until(until).await;
        Ok(())
    }
}
