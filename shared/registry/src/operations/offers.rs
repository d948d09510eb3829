//! What may be done with an offer: look at it, list, accept, reject.

use super::{Error, Listed, Registry};
use crate::Call;
use crate::store::{Accepted, Doubt, Filter, Removed};
use portmaster_domain::{Claim, ClaimState, Holding, Port, PortRange, Secret, ServiceId, Timestamp};

/// How many items a page of a list looks at, at least: claims of the other state are filtered out by DynamoDB.
const PAGE: usize = 100;

/// How many items one request looks at, at most, before it answers with what it has: some 80 read units, or 160 where
/// names are as long as they may be. Whoever asks for a thousand of what is not there pays no more than that.
const LOOKED_AT: usize = 16 * PAGE;

impl Registry {
    /// A live offer.
    ///
    /// # Errors
    /// [`Error::OfferNotFound`], [`Error::Store`].
    pub async fn get_offer(&self, call: &Call, service: &ServiceId, secret: Secret) -> Result<Holding, Error> {
        let Some(port) = secret.port() else { return Err(no_offer(service)) };
        let found = self.table.port(call, &service.namespace, port).await?;
        match found.filter(|found| found.secret == secret && found.claim.service == service.name) {
            Some(holding) if holding.claim.is_offer(self.clock.now()) => Ok(holding),
            Some(holding) if holding.claim.state == ClaimState::Allocated => {
                Err(Error::OfferNotFound { service: service.clone(), accepted: Some(port) })
            }
            _ => Err(no_offer(service)),
        }
    }

    /// Accepts an offer; gives the allocation, and whether this call made it one. One conditional write.
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
                return Err(match found.claim.state {
                    ClaimState::Allocated => Error::OfferAccepted { port },
                    // Expired: as if it had never been.
                    ClaimState::Offered => no_offer(service),
                });
            }
            // Gone, and an earlier send of this call may have done it.
            Removed::Not(_, Doubt::Earlier) => {}
            Removed::Not(_, Doubt::None) => return Err(no_offer(service)),
        }
        self.memory.place(service).learn(|knowledge| knowledge.record_free(port));
        Ok(())
    }

    /// The live claims of a service in one state, by port, from a port onwards. A page comes up short where
    /// 1,600 items, which is what one request looks at, did not fill it.
    ///
    /// # Errors
    /// [`Error::ServiceNotFound`], [`Error::Store`].
    pub async fn list_claims(
        &self,
        call: &Call,
        service: &ServiceId,
        state: ClaimState,
        from: Option<Port>,
        limit: usize,
    ) -> Result<Listed<Claim, Port>, Error> {
        let Some(found) = self.table.service(call, service).await? else {
            return Err(Error::ServiceNotFound { service: service.clone() });
        };
        let now = self.clock.now();
        let mut rest = rest_of(found.range, from);
        let filter = Filter { service: &service.name, state, now };
        let mut items = Vec::new();
        let mut left = LOOKED_AT;
        while left > 0 {
            let Some(part) = rest else { break };
            let look = limit.max(PAGE).min(left);
            left -= look;
            let page = self.table.live_claims(call, &service.namespace, part, look, &filter).await?;
            items.extend(page.items);
            rest = page.next.and_then(|next| part.starting_at(next));
            if items.len() > limit || (items.len() == limit && rest.is_some()) {
                items.truncate(limit);
                rest = items
                    .last()
                    .and_then(|last: &Claim| last.port.next())
                    .and_then(|next| found.range.starting_at(next));
                break;
            }
        }
        Ok(Listed { items, next: rest.map(PortRange::start) })
    }

    /// Whether a claim is live by this registry's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The part of a range that a cursor has not passed; a cursor may be older than the range.
fn rest_of(range: PortRange, from: Option<Port>) -> Option<PortRange> {
    match from {
        None => Some(range),
        Some(port) => PortRange::new(port, Port::MAX).ok().and_then(|rest| rest.intersection(range)),
    }
}

fn no_offer(service: &ServiceId) -> Error {
    Error::OfferNotFound { service: service.clone(), accepted: None }
}
