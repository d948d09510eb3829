//! Allocations: found by port and by name, and released.

use super::{Error, Registry};
use crate::Call;
use crate::store::{BeganBy, Doubt, Removed, StoreError};
use portmaster_domain::{Claim, Holding, InstanceName, Namespace, Port, ServiceId, StateKind};

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
        let claim = found.map(|holding| holding.claim).filter(|claim| claim.service == service.name);
        self.allocation(claim, not_found(Some(service), wanted))
    }

    /// The claim that a name's Instance points to, if that claim still exists.
    async fn claim_of(&self, call: &Call, service: &ServiceId, name: &InstanceName) -> Result<Option<Holding>, Error> {
        let Some(instance) = self.table.instance(call, service, name).await? else { return Ok(None) };
        let found = self.table.port(call, &service.namespace, instance.port).await?;
        Ok(found.filter(|found| found.secret == instance.secret))
    }

    /// The allocation of a port, whatever its service.
    ///
    /// # Errors
    /// [`Error::PortNotFound`], [`Error::Store`].
    pub async fn find_port(&self, call: &Call, namespace: &Namespace, port: Port) -> Result<Claim, Error> {
        let found = self.table.port(call, namespace, port).await?;
        self.allocation(found.map(|holding| holding.claim), not_found(None, &PortOrName::Port(port)))
    }

    /// Returns the claim if it is a live allocation; otherwise the error, with the live offer if the claim is one.
    fn allocation(&self, claim: Option<Claim>, mut not_found: Error) -> Result<Claim, Error> {
        match claim.filter(|claim| claim.state.holds_name(self.now())) {
            Some(claim) if claim.state.kind() == StateKind::Allocated => Ok(claim),
            other => {
                if let Error::PortNotFound { offered, .. } = &mut not_found {
                    *offered = other.map(Box::new);
                }
                Err(not_found)
            }
        }
    }

    /// Releases an allocation: one conditional write by port, and one read before it by name.
    ///
    /// # Errors
    /// [`Error::PortNotFound`], [`Error::Store`].
    pub async fn release(&self, call: &Call, service: &ServiceId, wanted: &PortOrName) -> Result<(), Error> {
        let (port, removed) = match wanted {
            PortOrName::Port(port) => (*port, self.release_by_port(call, service, *port).await?),
            PortOrName::Name(name) => {
                let instance = self.table.instance(call, service, name).await?;
                let Some(instance) = instance else { return Err(not_found(Some(service), wanted)) };
                let (place, began_by) = ((instance.port, instance.secret), BeganBy::Sending(&self.clock));
                let removed = self.table.release_claim(call, &service.namespace, place, began_by).await?;
                let removed = match removed {
                    // In doubt, and the port has another holder by now: the earlier send released it.
                    Removed::Not(Some(found), Doubt::Earlier) if found.secret != instance.secret => Removed::Now,
                    // The allocation seems to have begun after this was sent, so some clock is ahead.
                    Removed::Not(Some(found), _)
                        if found.secret == instance.secret && self.is_allocated(service, &found) =>
                    {
                        self.release_seen(call, &service.namespace, &found).await?
                    }
                    removed => removed,
                };
                (instance.port, removed)
            }
        };
        match removed {
            // In the second case the claim is gone, and an earlier send of this call may have removed it.
            Removed::Now | Removed::Not(None, Doubt::Earlier) => {
                self.memory.place(service).learn(|knowledge| knowledge.record_free(port));
                Ok(())
            }
            Removed::Not(..) => Err(not_found(Some(service), wanted)),
        }
    }

    /// Releases by port, which names nothing unique, so the request is sent once. If its response is lost, a read
    /// decides: if the port is no longer allocated, it was released. If it is allocated, it may already be the next
    /// holder's, so the outcome stays unknown.
    ///
    /// If the allocation seems to have begun after the release was sent, some clock is ahead; it is then released by
    /// its secret.
    async fn release_by_port(&self, call: &Call, service: &ServiceId, port: Port) -> Result<Removed, Error> {
        let is_ours = |found: &Holding| self.is_allocated(service, found);
        match self.table.release_port(call, service, port, &self.clock).await {
            Err(StoreError::Unknown { last }) => {
                match self.table.port(&call.extended(), &service.namespace, port).await {
                    Ok(found) if !found.as_ref().is_some_and(is_ours) => Ok(Removed::Now),
                    Ok(_) | Err(_) => Err(StoreError::Unknown { last }.into()),
                }
            }
            Ok(Removed::Not(Some(found), _)) if is_ours(&found) => {
                self.release_seen(call, &service.namespace, &found).await
            }
            result => Ok(result?),
        }
    }

    fn is_allocated(&self, service: &ServiceId, found: &Holding) -> bool {
        found.claim.service == service.name && found.claim.is_allocation(self.now())
    }

    /// Releases exactly the allocation that was read.
    async fn release_seen(&self, call: &Call, namespace: &Namespace, found: &Holding) -> Result<Removed, Error> {
        let Holding { claim, secret } = found;
        let (place, began) = ((claim.port, *secret), BeganBy::Seen(claim.allocated_at()));
        Ok(self.table.release_claim(call, namespace, place, began).await?)
    }
}

fn not_found(service: Option<&ServiceId>, wanted: &PortOrName) -> Error {
    Error::PortNotFound { service: service.cloned(), wanted: wanted.to_string(), offered: None }
}
