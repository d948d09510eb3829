//! Moving in: ports that others have given out already, claimed for the names that use them.

use futures::stream::{self, StreamExt as _};

use super::{Asked, Error, Expected, Put, Registry};
use crate::Call;
use crate::store::StoreError;
use portmaster_domain::{Claim, InstanceName, Labels, Owner, Port, Service, ServiceId, StateKind};

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
    /// The name has the port now.
    Made(Box<Claim>),
    /// The name had the port already.
    Had(Box<Claim>),
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
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::ServiceClosing`], [`Error::Store`]. What was
    /// imported until then stays.
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
        let result = match self.put_port(call, service, &asked, None, Expected::Nothing).await {
            Err(Error::HasPort { claim, .. }) if claim.port == port && claim.owner == asked.owner => {
                if claim.confirmed {
                    return Ok(Imported::Had(claim));
                }
                // Its maker may still withdraw it. Whoever tells of it adopts it before, which its maker would see.
                let same = Asked { labels: None, ..asked };
                self.put_port(call, service, &same, None, Expected::Anything).await
            }
            result => result,
        };
        match result {
            Ok(Put::Made(claim)) => Ok(Imported::Made(Box::new(claim))),
            Ok(Put::Kept(claim)) => Ok(Imported::Had(Box::new(claim))),
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
        let (now, past) = (self.now(), self.past());
        // Whether another owner of the name has to wait, because by some clock a lease of it may still run.
        let is_early = |claim: &Claim| {
            claim.owner != owner && claim.state.lapsed_at().is_some_and(|until| !until.has_passed(past))
        };
        let name_taken = |claim: Claim| {
            let free_at = claim.state.lapsed_at().map(|until| until.plus(self.margin));
            Ok(Imported::Conflict(Error::NameTaken { service: id.clone(), claim: Box::new(claim), free_at }))
        };
        if let Some(found) = self.claim_of(call, id, &name).await? {
            let claim = found.claim.seen_at(now);
            let is_its_own = claim.port == port && claim.owner == owner;
            if claim.is_allocation(now) && is_its_own {
                return Ok(Imported::Had(Box::new(claim)));
            }
            // What a PUT of the same owner left behind is adopted.
            let is_left_behind = claim.is_offer(now) && claim.by_put && is_its_own;
            if (claim.state.holds_name(now) && !is_left_behind) || is_early(&claim) {
                return name_taken(claim);
            }
        }
        let taken = |claim: Option<Claim>| {
            let claim = claim.map(Box::new);
            Ok(Imported::Conflict(Error::PortTaken { service: id.clone(), port, claim }))
        };
        let found = match self.table.port(call, &id.namespace, port).await {
            Ok(found) => found.map(|found| found.claim.seen_at(now)),
            // It may be held, for ever.
            Err(StoreError::Damaged { .. }) => return taken(None),
            Err(error) => return Err(error.into()),
        };
        match found.filter(|claim| claim.state.occupies_port(now)) {
            None => Ok(Imported::Could),
            Some(claim) if claim.service != id.name || claim.name != name => taken(Some(claim)),
            Some(claim) if claim.state.kind() == StateKind::Quarantined => taken(Some(claim)),
            Some(claim) if is_early(&claim) => name_taken(claim),
            Some(_) => Ok(Imported::Could),
        }
    }
}
