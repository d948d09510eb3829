//! The operations of an offer's holder: read, accept, reject.

use super::{Error, Registry};
use crate::Call;
use crate::store::{Accepted, Removed, Under};
use portmaster_domain::{Claim, Holding, Occupant, Secret, ServiceId, StateKind};

/// Why an offer is rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rejection {
    /// Its holder does not want it.
    #[default]
    Unwanted,
    /// Somebody uses the port on the host: nobody is to have it for so many seconds, by default for as many as the
    /// service says.
    InUse {
        /// For how many seconds.
        quarantine: Option<u32>,
    },
}

impl Registry {
    /// Returns a live offer.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::Store`].
    pub async fn get_offer(&self, call: &Call, service: &ServiceId, secret: Secret) -> Result<Holding, Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        let found = self.table.port(call, &service.namespace, port).await?;
        match found.filter(|found| found.has(secret) && found.claim.service == service.name) {
            Some(Occupant { claim, .. }) if claim.is_offer(self.clock.now()) => Ok(Holding { claim, secret }),
            Some(Occupant { claim, .. }) if claim.state.kind() == StateKind::Allocated => {
                Err(Error::OfferNotFound { service: service.clone(), accepted: Some(port) })
            }
            _ => Err(no_offer(service)),
        }
    }

    /// Accepts an offer: one conditional write, if this process knows the terms of the service, otherwise perhaps two.
    /// Returns the allocation, and whether it was this call that accepted it.
    ///
    /// The allocation is leased for so many seconds, if the caller says so or if the service has it so.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::OfferExpired`], [`Error::LeaseExpired`] if it was accepted before and its
    /// lease is over, [`Error::Store`].
    pub async fn accept(
        &self,
        call: &Call,
        service: &ServiceId,
        secret: Secret,
        lease: Option<u32>,
    ) -> Result<(Claim, bool), Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        let mut terms = self.memory.terms(service);
        loop {
            let under = Under::of(terms, terms.grant(lease), self.margin);
            match self.table.accept(call, service, (port, secret), (under, None), &self.clock).await? {
                Accepted::Now(claim) => {
                    self.memory.remember_terms(service, claim.terms);
                    self.memory.place(service).learn(|knowledge| {
                        knowledge.record_acceptance(port, claim.expires_at());
                    });
                    return Ok((claim, true));
                }
                Accepted::Before(claim) if claim.state.holds_name(self.now()) => return Ok((claim, false)),
                Accepted::Before(claim) => {
                    if self.lose(call, service, (port, secret)).await? {
                        return Err(Error::LeaseExpired { service: service.clone(), port, name: claim.name });
                    }
                }
                Accepted::Not(Some(found)) if found.has(secret) && found.claim.service == service.name => {
                    if !found.claim.is_offer(self.now()) || found.claim.terms == terms {
                        return Err(Error::OfferExpired { port });
                    }
                    // It was made under other terms than this process took for granted.
                    terms = found.claim.terms;
                }
                Accepted::Not(_) => return Err(no_offer(service)),
            }
        }
    }

    /// Rejects an offer. One conditional write; a read comes before it if the port goes into quarantine for as long as
    /// the service says.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::OfferAccepted`], [`Error::Store`].
    pub async fn reject(
        &self,
        call: &Call,
        service: &ServiceId,
        secret: Secret,
        reason: Rejection,
    ) -> Result<(), Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        let (removed, quarantine) = match reason {
            Rejection::Unwanted => (self.table.reject(call, service, port, secret, &self.clock).await?, None),
            Rejection::InUse { quarantine } => {
                let seconds = match quarantine {
                    Some(seconds) => seconds,
                    None => {
                        let found = self.table.port(call, &service.namespace, port).await?;
                        found.map(|found| found.claim.terms).unwrap_or_default().quarantine
                    }
                };
                let place = (port, secret);
                (self.table.quarantine(call, service, place, seconds, &self.clock).await?, Some(seconds))
            }
        };
        match removed {
            Removed::Now => {}
            Removed::Not(Some(found)) if found.has(secret) && found.claim.service == service.name => {
                return Err(match found.claim.state.kind() {
                    StateKind::Allocated => Error::OfferAccepted { port },
                    // The offer has expired, so it is reported as if it had never existed.
                    _ => no_offer(service),
                });
            }
            Removed::Not(_) => return Err(no_offer(service)),
        }
        self.record_end(service, port, quarantine.unwrap_or_default());
        Ok(())
    }
}

fn no_offer(service: &ServiceId) -> Error {
    Error::OfferNotFound { service: service.clone(), accepted: None }
}
