//! Lists of claims.

use super::{Error, Listed, Registry};
use crate::Call;
use crate::store::Filter;
use portmaster_domain::{Claim, Labels, Owner, Port, PortRange, ServiceId, StateKind};

/// How many items a page of a list reads at least: DynamoDB filters out the claims in the other state.
const PAGE: usize = 100;

/// How many items one request reads at most before it answers with what it has: some 80 read units, or 160 where names
/// are as long as they may be. A caller that asks for a thousand claims that do not exist pays no more than that.
pub(super) const LOOKED_AT: usize = 16 * PAGE;

/// The claims that a list includes, or that are released together. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// How the instance's name begins.
    pub name_prefix: Option<String>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Labels that it has, among others.
    pub labels: Labels,
}

impl ListFilter {
    /// Whether a claim passes it.
    #[must_use]
    pub fn includes(&self, claim: &Claim) -> bool {
        self.name_prefix.as_ref().is_none_or(|prefix| claim.name.as_str().starts_with(prefix.as_str()))
            && self.owner.as_ref().is_none_or(|owner| claim.owner.as_ref() == Some(owner))
            && claim.labels.contains(&self.labels)
    }
}

impl Registry {
    /// Lists the live claims of a service in one state that pass a filter, by port, from a port onwards. A page is short
    /// if the 1,600 items that one request reads at most did not fill it.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::Store`].
    pub async fn list_claims(
        &self,
        call: &Call,
        service: &ServiceId,
        state: StateKind,
        wanted: &ListFilter,
        from: Option<Port>,
        limit: usize,
    ) -> Result<Listed<Claim, Port>, Error> {
        let found = self.get_service(call, service).await?;
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
            items.extend(page.items.into_iter().filter(|claim| wanted.includes(claim)));
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
}

/// The part of a range that a cursor has not passed. A cursor may be older than the range.
pub(super) fn rest_of(range: PortRange, from: Option<Port>) -> Option<PortRange> {
    match from {
        None => Some(range),
        Some(port) => PortRange::new(port, Port::MAX).ok().and_then(|rest| rest.intersection(range)),
    }
}
