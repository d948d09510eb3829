//! The operations of an offer's holder: read, accept, reject.

use super::{Error, Registry};
use crate::Call;
use crate::store::{Accepted, Doubt, Removed};
use portmaster_domain::{Claim, Holding, Secret, ServiceId, StateKind};

impl Registry {
    /// Returns a live offer.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::Store`].
    pub async fn get_offer(&self, call: &Call, service: &ServiceId, secret: Secret) -> Result<Holding, Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        let found = self.table.port(call, &service.namespace, port).await?;
        match found.filter(|found| found.secret == secret && found.claim.service == service.name) {
            Some(holding) if holding.claim.is_offer(self.clock.now()) => Ok(holding),
            Some(holding) if holding.claim.state.kind() == StateKind::Allocated => {
                Err(Error::OfferNotFound { service: service.clone(), accepted: Some(port) })
            }
            _ => Err(no_offer(service)),
        }
    }

    /// Accepts an offer: one conditional write. Returns the allocation, and whether it was this call that accepted it.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::OfferExpired`], [`Error::Store`].
    pub async fn accept(&self, call: &Call, service: &ServiceId, secret: Secret) -> Result<(Claim, bool), Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        match self.table.accept(call, service, port, secret, &self.clock).await? {
            Accepted::Now(claim) => {
                self.memory.place(service).learn(|knowledge| knowledge.record_acceptance(port));
                Ok((claim, true))
            }
            Accepted::Before(claim) => Ok((claim, false)),
            Accepted::Not(Some(found)) if found.secret == secret && found.claim.service == service.name => {
                Err(Error::OfferExpired { port })
            }
            Accepted::Not(_) => Err(no_offer(service)),
        }
    }

    /// Rejects an offer. One conditional write.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::OfferAccepted`], [`Error::Store`].
    pub async fn reject(&self, call: &Call, service: &ServiceId, secret: Secret) -> Result<(), Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        match self.table.reject(call, service, port, secret, &self.clock).await? {
            Removed::Now => {}
            Removed::Not(Some(found), _) if found.secret == secret && found.claim.service == service.name => {
                return Err(match found.claim.state.kind() {
                    StateKind::Allocated => Error::OfferAccepted { port },
                    // The offer has expired, so it is reported as if it had never existed.
                    StateKind::Offered => no_offer(service),
                });
            }
            // It is gone, and an earlier send of this call may have removed it.
            Removed::Not(_, Doubt::Earlier) => {}
            Removed::Not(_, Doubt::None) => return Err(no_offer(service)),
        }
        self.memory.place(service).learn(|knowledge| knowledge.record_free(port));
        Ok(())
    }
}

fn no_offer(service: &ServiceId) -> Error {
    Error::OfferNotFound { service: service.clone(), accepted: None }
}
