//! Allocations: found by port and by name, and released.

use super::{Error, Registry};
use crate::Call;
use crate::store::{BeganBy, By, Removed, StoreError};
use portmaster_domain::{Claim, Expiry, InstanceName, Namespace, Occupant, Port, ServiceId, StateKind};

/// How an allocation is named in a path: by its port, or by its holder. A name is never all digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOrName {
    /// By its port.
    Port(Port),
    /// By its holder.
    Name(InstanceName),
}

impl std::fmt::Display for PortOrName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Registry {
    /// An allocation of a service: one read by port, two by name.
    ///
    /// # Errors
    /// [`Error::PortNotFound`], [`Error::Store`].
    pub async fn get_port(&self, call: &Call, service: &ServiceId, wanted: &PortOrName) -> Result<Claim, Error> {
        let found = match wanted {
            PortOrName::Port(port) => self.table.port(call, &service.namespace, *port).await?,
            PortOrName::Name(name) => self.claim_of(call, service, name).await?,
        };
        let claim = found.map(|found| found.claim).filter(|claim| claim.service == service.name);
        self.allocation(claim, wanted.not_found(Some(service)))
    }

    /// The claim that a name's Instance points to, if that claim still exists.
    pub(super) async fn claim_of(
        &self,
        call: &Call,
        service: &ServiceId,
        name: &InstanceName,
    ) -> Result<Option<Occupant>, Error> {
        let Some(instance) = self.table.instance(call, service, name).await? else { return Ok(None) };
        let found = self.table.port(call, &service.namespace, instance.port).await?;
        Ok(found.filter(|found| found.has(instance.secret)))
    }

    /// What keeps a port from others, whatever its service: an allocation, a cool-down or a quarantine. A lease that is
    /// over while strangers still have to wait is shown as the cool-down that it is.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`]; [`Error::PortNotFound`], with the offer if the port is only offered;
    /// [`Error::Store`].
    pub async fn find_port(&self, call: &Call, namespace: &Namespace, port: Port) -> Result<Claim, Error> {
        let found = self.table.port(call, namespace, port).await?;
        let now = self.now();
        match found.map(|found| found.claim.seen_at(now)).filter(|claim| claim.state.occupies_port(now)) {
            Some(claim) if matches!(claim.state.kind(), StateKind::Cooling | StateKind::Quarantined) => Ok(claim),
            claim => {
                if claim.is_none() {
                    self.has_namespace(call, namespace).await?;
                }
                self.allocation(claim, PortOrName::Port(port).not_found(None))
            }
        }
    }

    /// Returns the claim if it is a live allocation; otherwise the error, with what has the port instead.
    fn allocation(&self, claim: Option<Claim>, mut not_found: Error) -> Result<Claim, Error> {
        let now = self.now();
        match claim.filter(|claim| claim.state.occupies_port(now)) {
            Some(claim) if claim.is_allocation(now) => Ok(claim),
            other => {
                if let Error::PortNotFound { offered, .. } = &mut not_found {
                    *offered = other.map(|claim| Box::new(claim.seen_at(now)));
                }
                Err(not_found)
            }
        }
    }

    /// Releases an allocation in somebody's name: one conditional write by port, and one read before it by name. If this
    /// process does not know the terms of the service yet, which say whether a cool-down begins, it may take one more
    /// write.
    ///
    /// # Errors
    /// [`Error::PortNotFound`], [`Error::NotTheOwner`], [`Error::Store`].
    pub async fn release(
        &self,
        call: &Call,
        service: &ServiceId,
        wanted: &PortOrName,
        by: By<'_>,
    ) -> Result<(), Error> {
        let (port, removed) = match wanted {
            PortOrName::Port(port) => (*port, self.release_by_port(call, service, *port, by).await?),
            PortOrName::Name(name) => {
                let instance = self.table.instance(call, service, name).await?;
                let Some(instance) = instance else { return Err(wanted.not_found(Some(service))) };
                let (place, began_by) = ((instance.port, instance.secret), BeganBy::Sending(&self.clock));
                let on = (by, self.memory.terms(service));
                let table = &self.table;
                let removed = table.release_claim(call, &service.namespace, place, began_by, on, &self.clock).await?;
                let removed = match removed {
                    // The allocation seems to have begun after this was sent, so some clock is ahead; or it is another's;
                    // or its terms are others than this process took them for.
                    Removed::Not(Some(found)) if found.has(instance.secret) && is_allocated(service, &found) => {
                        self.release_seen(call, service, found, by).await?
                    }
                    removed => removed,
                };
                (instance.port, removed)
            }
        };
        match removed {
            Removed::Now => {
                self.record_end(service, port, self.memory.terms(service).cooldown);
                Ok(())
            }
            Removed::Not(..) => Err(wanted.not_found(Some(service))),
        }
    }

    /// Records that this process has released this claim.
    pub(super) fn record_release(&self, service: &ServiceId, claim: &Claim) {
        let cooldown = if claim.state.kind() == StateKind::Allocated { claim.terms.cooldown } else { 0 };
        self.record_end(service, claim.port, cooldown);
    }

    /// Records that this process has ended a claim, whose port is free from now on, or after so many seconds.
    pub(super) fn record_end(&self, service: &ServiceId, port: Port, held: u32) {
        let now = self.now();
        self.memory.place(service).learn(|knowledge| match held {
            0 => knowledge.record_free(port),
            seconds => knowledge.record_hold(port, Expiry::after(now, seconds.into())),
        });
    }

    /// Ends a cool-down or a quarantine by hand: the port of the service may be given out at once.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::PortNotInRange`] if the port is not the
    /// service's, [`Error::NotHeld`], [`Error::Store`].
    pub async fn lift(&self, call: &Call, service: &ServiceId, port: Port) -> Result<(), Error> {
        let found = self.get_service(call, service).await?;
        if !found.range.contains(port) {
            return Err(Error::PortNotInRange { service: service.clone(), port, range: found.range });
        }
        match self.table.lift(call, &service.namespace, port, self.past()).await? {
            Removed::Now => {
                self.memory.place(service).learn(|knowledge| knowledge.record_free(port));
                Ok(())
            }
            Removed::Not(found) => {
                let now = self.now();
                let claim = found.map(|found| found.claim).filter(|claim| claim.state.occupies_port(now));
                let claim = claim.map(|claim| Box::new(claim.seen_at(now)));
                let lapsed = claim.as_ref().and_then(|claim| claim.state.lapsed_at());
                let free_at = lapsed.map(|until| until.plus(self.margin));
                Err(Error::NotHeld { service: service.clone(), port, claim, free_at })
            }
        }
    }

    /// Releases by port, which names nothing unique, so the request is sent once. If its response is lost, a read
    /// decides: if the port is no longer allocated, it was released. If it is allocated, it may already be the next
    /// holder's, so the outcome stays unknown.
    ///
    /// If the allocation seems to have begun after the release was sent, some clock is ahead; it is then released by
    /// its secret.
    async fn release_by_port(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        by: By<'_>,
    ) -> Result<Removed, Error> {
        let is_ours = |found: &Occupant| is_allocated(service, found);
        let on = (by, self.memory.terms(service));
        match self.table.release_port(call, service, port, on, &self.clock).await {
            Err(StoreError::Unknown { last }) => {
                match self.table.port(&call.extended(), &service.namespace, port).await {
                    Ok(found) if !found.as_ref().is_some_and(is_ours) => Ok(Removed::Now),
                    Ok(_) | Err(_) => Err(StoreError::Unknown { last }.into()),
                }
            }
            Ok(Removed::Not(Some(found))) if is_ours(&found) => self.release_seen(call, service, found, by).await,
            result => Ok(result?),
        }
    }

    /// Releases exactly the allocation that was read, if it is his in whose name it is released.
    pub(super) async fn release_seen(
        &self,
        call: &Call,
        service: &ServiceId,
        found: Occupant,
        by: By<'_>,
    ) -> Result<Removed, Error> {
        let Occupant { claim, secret: Some(secret) } = found else { return Ok(Removed::Not(None)) };
        if !by.may_end(&claim) {
            return Err(Error::NotTheOwner { service: service.clone(), claim: Box::new(claim) });
        }
        self.memory.remember_terms(service, claim.terms);
        let (place, began) = ((claim.port, secret), BeganBy::Seen(claim.allocated_at()));
        let on = (by, claim.terms);
        Ok(self.table.release_claim(call, &service.namespace, place, began, on, &self.clock).await?)
    }
}

/// Whether it is an allocation of the service, its lease over or not.
fn is_allocated(service: &ServiceId, found: &Occupant) -> bool {
    found.claim.service == service.name && found.claim.state.kind() == StateKind::Allocated
}

impl PortOrName {
    /// The error that there is no such allocation.
    pub(super) fn not_found(&self, service: Option<&ServiceId>) -> Error {
        Error::PortNotFound { service: service.cloned(), wanted: self.to_string(), offered: None }
    }
}
