//! Leases: renewing one, and losing one.

use super::scene::{Scene, again};
use super::{Error, PortOrName, Registry};
use crate::Call;
use crate::store::{Lapse, Meant, Removed, Renewal, Renewed, Under};
use portmaster_domain::allocator::Holder;
use portmaster_domain::{Claim, Holding, Owner, Port, Secret, ServiceId, StateKind, Terms};

impl Registry {
    /// Renews the lease of a port: one conditional write by its number, if `lease` says for how long; otherwise a read
    /// comes first, and by name another one. A renewal never shortens.
    ///
    /// A port without a lease is returned as it is. A lease that is over is lost, and the caller is told so only once no
    /// other clock lets it renew that lease any more.
    ///
    /// # Errors
    /// [`Error::PortNotFound`], [`Error::NotTheOwner`], [`Error::LeaseExpired`], [`Error::NamespaceNotFound`],
    /// [`Error::ServiceNotFound`], [`Error::ServiceClosing`], [`Error::Store`].
    pub async fn renew(
        &self,
        call: &Call,
        service: &ServiceId,
        wanted: &PortOrName,
        owner: Option<&Owner>,
        lease: Option<u32>,
    ) -> Result<Claim, Error> {
        let (port, mut meant) = match wanted {
            PortOrName::Port(port) => (*port, Meant::Number),
            PortOrName::Name(name) => {
                let instance = self.table.instance(call, service, name).await?;
                let Some(instance) = instance else { return Err(wanted.not_found(Some(service))) };
                (instance.port, Meant::Secret { secret: instance.secret, confirms: false })
            }
        };
        let mut known = match lease {
            Some(_) => None,
            None => {
                let found = self.table.port(call, &service.namespace, port).await?;
                found.map(|found| found.claim).filter(|claim| claim.state.kind() == StateKind::Allocated)
            }
        };
        // The terms of the service, if it was read.
        let mut agreed = None;
        loop {
            let terms = known.as_ref().map_or_else(|| self.memory.terms(service), |claim: &Claim| claim.terms);
            let seconds = match &known {
                // Only to be confirmed: it lasts longer than it would from now on.
                Some(claim) if agreed.is_some_and(|agreed| self.is_long_enough(claim, lease, agreed)) => None,
                Some(claim) => again(claim, lease, agreed.unwrap_or(terms)),
                None => terms.grant(lease),
            };
            let stays = known.as_ref().and_then(Claim::lease);
            let under = Under { terms: agreed.unwrap_or(terms), stays, ..Under::of(terms, seconds, self.margin) };
            let renewal = Renewal { port, meant, owner, under, labels: None };
            let found = match self.table.renew(call, service, &renewal, &self.clock).await? {
                Renewed::Now(claim) => {
                    self.memory.remember_terms(service, claim.terms);
                    let (holder, now) = (Holder::from(&claim), self.now());
                    self.memory.place(service).learn(|knowledge| knowledge.observe_holder(holder, now));
                    return Ok(claim);
                }
                Renewed::Not(found) => found,
            };
            let Some((claim, secret)) = found
                .filter(|found| found.claim.service == service.name && found.claim.state.kind() == StateKind::Allocated)
                .filter(|found| !matches!(meant, Meant::Secret { secret, .. } if !found.has(secret)))
                .and_then(|found| found.secret.map(|secret| (found.claim, secret)))
            else {
                return Err(wanted.not_found(Some(service)));
            };
            if claim.owner.as_ref() != owner {
                return Err(Error::NotTheOwner { service: service.clone(), claim: Box::new(claim) });
            }
            if !claim.state.holds_name(self.now()) {
                if self.lose(call, service, (port, secret)).await? {
                    return Err(Error::LeaseExpired { service: service.clone(), port, name: claim.name });
                }
                continue;
            }
            if !claim.confirmed && claim.lease().is_some() {
                // It was made by a PUT of which nobody may have heard. The service is seen after it, so the write that
                // follows may say that it is confirmed.
                agreed = Some(self.look(call, service, &Holding { claim: claim.clone(), secret }).await?);
                meant = Meant::Secret { secret, confirms: true };
            } else if self.is_long_enough(&claim, lease, claim.terms) {
                return Ok(claim);
            } else {
                // The terms were others than this process took them for, or a clock is ahead.
                meant = Meant::Secret { secret, confirms: false };
            }
            known = Some(claim);
        }
    }

    /// Whether a renewal would not make a lease any longer; or there is none to be made longer.
    fn is_long_enough(&self, claim: &Claim, asked: Option<u32>, terms: Terms) -> bool {
        let Some((lease, seconds)) = claim.lease().zip(again(claim, asked, terms)) else { return true };
        terms.lease_from(self.now(), seconds, self.margin).until < lease.until
    }

    /// Makes a lapsed allocation gone for its own holder, who is to be told that it is lost. Returns false if it was
    /// renewed meanwhile.
    pub(super) async fn lose(&self, call: &Call, service: &ServiceId, place: (Port, Secret)) -> Result<bool, Error> {
        let lapsed = self.table.lapse(call, &service.namespace, place, Lapse::Own(self.now())).await?;
        Ok(match lapsed {
            Removed::Now => true,
            Removed::Not(found) => !found.is_some_and(|found| found.has(place.1)),
        })
    }

    /// Reads the service of a claim that exists and that nobody may have been told of, and returns its terms if it offers
    /// the port. If it never will, the claim is withdrawn, unless somebody was told of it after all.
    async fn look(&self, call: &Call, service: &ServiceId, holding: &Holding) -> Result<Terms, Error> {
        let (scene, port) = (Scene::new(self, call, service), holding.claim.port);
        let patience = scene.patience();
        loop {
            let refusal = match scene.current_service().await {
                Ok(found) if found.may_offer(port) => return Ok(found.terms),
                Ok(found) if found.mark.is_some() => {
                    scene.wait_for_change(patience).await?;
                    continue;
                }
                Ok(_) => PortOrName::Port(port).not_found(Some(service)),
                Err(error) if error.is_of_no_service() => error,
                Err(error) => return Err(error),
            };
            scene.withdraw(&call.extended(), holding, false).await?;
            return Err(refusal);
        }
    }
}
