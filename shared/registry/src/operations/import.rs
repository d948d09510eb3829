//! Moving in: ports that others have given out already, claimed for the names that use them.

use futures::stream::{self, StreamExt as _};

use super::{Asked, Error, Expected, Registry};
use crate::Call;
use portmaster_domain::{Claim, InstanceName, Labels, Owner, Port, Service, ServiceId};

/// How many are claimed at the same time.
const WRITES: usize = 8;

/// A port that a name has, by somebody else's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The name.
    pub name: InstanceName,
    /// The port.
    pub port: Port,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Notes beside it.
    pub labels: Option<Labels>,
}

/// What became of one import.
#[derive(Debug)]
pub enum Imported {
    /// The name has the port: by this call or an earlier one.
    Has(Box<Claim>),
    /// The name may have the port, and nothing was done.
    Could,
    /// It cannot have it, for this reason, and nothing was changed.
    Conflict(Error),
}

impl Registry {
    /// Claims each port for its name, if both are free, and returns what became of each, in their order. What is there
    /// is never overwritten: a name that has the port already, of the same owner, keeps it as it is. So the call can be
    /// repeated. Each is a claim of its own, with the lease that the service gives by default, if any. With `dry_run`
    /// nothing is claimed.
    ///
    /// # Errors
    /// [`Error::ServiceNotFound`], [`Error::ServiceClosing`], [`Error::Store`]. What was imported until then stays.
    pub async fn import(
        &self,
        call: &Call,
        service: &ServiceId,
        imports: Vec<Import>,
        dry_run: bool,
    ) -> Result<Vec<Imported>, Error> {
        let found = self.get_service(call, service).await?;
        let each = imports.into_iter().map(|import| {
            let found = &found;
            async move {
                if dry_run {
                    self.judge_import(call, found, import).await
                } else {
                    self.import_one(call, service, import).await
                }
            }
        });
        let all: Vec<_> = stream::iter(each).buffered(WRITES).collect().await;
        all.into_iter().collect()
    }

    async fn import_one(&self, call: &Call, service: &ServiceId, import: Import) -> Result<Imported, Error> {
        let Import { name, port, owner, labels } = import;
        let asked = Asked { name, port: Some(port), owner, labels };
        match self.put_port(call, service, &asked, None, Expected::Nothing).await {
            Ok(put) => Ok(Imported::Has(Box::new(put.claim().clone()))),
            Err(Error::HasPort { claim, .. }) if claim.port == port && claim.owner == asked.owner => {
                Ok(Imported::Has(claim))
            }
            Err(Error::HasPort { service, claim }) => {
                Ok(Imported::Conflict(Error::NameTaken { service, claim, free_at: None }))
            }
            Err(conflict @ (Error::NameTaken { .. } | Error::PortTaken { .. } | Error::PortNotInRange { .. })) => {
                Ok(Imported::Conflict(conflict))
            }
            Err(error) => Err(error),
        }
    }

    /// What would become of an import, as far as it can be seen now.
    async fn judge_import(&self, call: &Call, service: &Service, import: Import) -> Result<Imported, Error> {
        let Import { name, port, owner, .. } = import;
        let id = &service.id;
        if !service.range.contains(port) {
            let (service, range) = (id.clone(), service.range);
            return Ok(Imported::Conflict(Error::PortNotInRange { service, port, range }));
        }
        let now = self.now();
        if let Some(found) = self.claim_of(call, id, &name).await?
            && found.claim.state.holds_name(now)
        {
            if found.claim.is_allocation(now) && found.claim.port == port && found.claim.owner == owner {
                return Ok(Imported::Has(Box::new(found.claim)));
            }
            let (service, claim) = (id.clone(), Box::new(found.claim));
            return Ok(Imported::Conflict(Error::NameTaken { service, claim, free_at: None }));
        }
        let found = self.table.port(call, &id.namespace, port).await?.map(|found| found.claim.seen_at(now));
        match found.filter(|claim| claim.state.occupies_port(now)) {
            Some(claim) if claim.service != id.name || claim.name != name => {
                Ok(Imported::Conflict(Error::PortTaken { service: id.clone(), port, claim: Some(Box::new(claim)) }))
            }
            _ => Ok(Imported::Could),
        }
    }
}
