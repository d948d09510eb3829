//! Reading the service: before a port is chosen, if nothing is remembered of it, and after each claim.

use super::super::Error;
use super::super::scene::Withdrawn;
use super::{Attempt, Found, Goal, Origin};
use crate::store::{Instance, NameRule};
use portmaster_domain::{Claim, Holding, Service};

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
        let patience = self.scene.patience();
        loop {
            let service = match self.scene.current_service().await {
                Ok(service) => service,
                Err(error) => {
                    // The offer is returned to no caller. If a retry may find it, it stays as long as its service may
                    // exist.
                    if !self.is_found_again() || (error.is_of_no_service() && !replayed) {
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
                if self.rule == NameRule::Gone(holding.secret) && !service.reserved.contains(port) {
                    // The port is as good as before, or cooling for this very name.
                    self.affinity = Some(Instance { port, secret: holding.secret, gone_since: None });
                    self.rule = NameRule::Free;
                }
                return Ok(false);
            }
            if !service.range.contains(port) {
                if replayed && service.mark.is_none() {
                    // Its maker has died, or is about to withdraw it.
                    return Err(self.scene.name_has(holding.claim.clone()));
                }
                if !replayed {
                    self.withdraw(holding).await?;
                    return Ok(false);
                }
            }
            // The port is being given up. If the claim preceded the other call's read, the mark will go.
            if let Err(error) = self.scene.wait_for_change(patience).await {
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
        let is_put = matches!(self.goal, Goal::Port { .. });
        let is_ours = self.is_own(holding.secret);
        let withdrawn = self.scene.withdraw(&self.scene.call.extended(), holding, is_ours).await?;
        self.affinity = None;
        match withdrawn {
            // Another call of its owner has told of it, or may have until it ended. So it is judged as that call's: what
            // stands is adopted if it may be.
            Withdrawn::Not(_) | Withdrawn::Before if is_put => self.rule = NameRule::Free,
            // The claim was found by its key, and is somebody's by now: it is not ours to withdraw.
            Withdrawn::Not(claim) => return Err(self.scene.name_has(claim)),
            Withdrawn::Now | Withdrawn::Before => self.rule = NameRule::Gone(holding.secret),
        }
        self.made.retain(|made| *made != holding.secret);
        if let Some(request) = &mut self.request {
            request.replaces = Some(holding.secret);
        }
        Ok(())
    }
}
