//! Releasing many claims at once, by what they have in common.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::lists::{LOOKED_AT, rest_of};
use super::{Error, ListFilter, Registry};
use crate::Call;
use crate::store::{By, Removed};
use portmaster_domain::{Claim, InstanceName, Occupant, Port, PortRange, ServiceId, StateKind};

/// How many claims one call releases at most. What it looks at is bounded as in a list.
pub const RELEASED_AT_ONCE: usize = 200;

/// How many are released at the same time.
const WRITES: usize = 8;

/// What is to be released: everything that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRelease {
    /// These names, if any are given; otherwise any.
    pub names: Vec<InstanceName>,
    /// What the claims have in common.
    pub filter: ListFilter,
    /// Whether allocations are meant.
    pub allocated: bool,
    /// Whether offers are meant, whose secrets may be lost.
    pub offered: bool,
    /// Where to begin: the end of the call before.
    pub from: Option<Port>,
    /// Whether only to say what would be released.
    pub dry_run: bool,
}

/// What was released, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The claims, as they were, by port.
    pub claims: Vec<Claim>,
    /// Where the next call begins, if there may be more.
    pub next: Option<Port>,
}

impl BulkRelease {
    fn includes(&self, claim: &Claim) -> bool {
        let is_meant = match claim.state.kind() {
            StateKind::Offered => self.offered,
            StateKind::Allocated => self.allocated,
            StateKind::Cooling | StateKind::Quarantined => false,
        };
        is_meant && (self.names.is_empty() || self.names.contains(&claim.name)) && self.filter.includes(claim)
    }
}

impl Registry {
    /// Releases the live claims of a service that pass a filter, whoever holds them. Each is released by its own secret,
    /// so nothing is released that was not seen to pass. Looks at 1,600 items and releases 200 claims at most, and says
    /// where it stopped.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::Store`].
    pub async fn release_all(&self, call: &Call, service: &ServiceId, wanted: &BulkRelease) -> Result<Released, Error> {
        let found = self.get_service(call, service).await?;
        let mut rest = rest_of(found.range, wanted.from);
        let (mut chosen, mut left) = (Vec::new(), LOOKED_AT);
        while let Some(part) = rest.filter(|_| left > 0 && chosen.len() < RELEASED_AT_ONCE) {
            let page = self.table.holdings(call, &service.namespace, part, Some(left)).await?;
            left = left.saturating_sub(page.items.len() + page.unreadable.len());
            rest = page.next.and_then(|next| part.starting_at(next));
            let now = self.now();
            let live = |found: &Occupant| found.claim.service == service.name && found.claim.state.holds_name(now);
            chosen.extend(page.items.into_iter().filter(|found| live(found) && wanted.includes(&found.claim)));
        }
        if chosen.len() > RELEASED_AT_ONCE {
            let cut = chosen.get(RELEASED_AT_ONCE).map(|found: &Occupant| found.claim.port);
            chosen.truncate(RELEASED_AT_ONCE);
            rest = cut.and_then(|port| found.range.starting_at(port));
        }
        let next = rest.map(PortRange::start);
        if wanted.dry_run {
            return Ok(Released { claims: chosen.into_iter().map(|found| found.claim).collect(), next });
        }
        let releases = chosen.into_iter().map(|found| self.release_one(call, service, found));
        let released: Vec<_> = stream::iter(releases).buffered(WRITES).try_collect().await?;
        Ok(Released { claims: released.into_iter().flatten().collect(), next })
    }

    /// Releases exactly this claim. Returns none if it is gone by now, or is another's.
    async fn release_one(&self, call: &Call, service: &ServiceId, found: Occupant) -> Result<Option<Claim>, Error> {
        let (claim, port) = (found.claim.clone(), found.claim.port);
        let removed = match found {
            Occupant { secret: None, .. } => return Ok(None),
            Occupant { claim, secret: Some(secret) } if claim.state.kind() == StateKind::Offered => {
                self.table.reject(call, service, port, secret, &self.clock).await?
            }
            found => self.release_seen(call, service, found, By::Anybody).await?,
        };
        if !matches!(removed, Removed::Now) {
            return Ok(None);
        }
        self.record_release(service, &claim);
        Ok(Some(claim))
    }
}
