//! Service items, and the transactions that change them together with Ranges.

use aws_sdk_dynamodb::operation::query::QueryOutput;
use serde::{Deserialize, Serialize};

use super::access::Keys;
use super::condition::Condition;
use super::item::{Item, Key, SERVICE_PREFIX, decode_at, encode, namespace_partition, text, without_key};
use super::port_item::stored;
use super::ports::Freshness;
use super::ranges::Ranges;
use super::rules::{self, Rule};
use super::transact::{OnContention, Reason, Transacted, Transaction};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::allocator::PortSet;
use portmaster_domain::{
    Description, Mark, Namespace, PortRange, Reserved, Service, ServiceId, ServiceName, Strategy, Terms, Timestamp,
    Version,
};

#[derive(Serialize, Deserialize)]
struct ServiceItem {
    name: ServiceName,
    description: Description,
    range: PortRange,
    strategy: Strategy,
    created: Timestamp,
    version: Version,
    revision: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
    /// Absent where all are the defaults, as in items of older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Terms>,
    #[serde(default, skip_serializing_if = "Reserved::is_empty")]
    reserved: Reserved,
}

impl From<Service> for ServiceItem {
    fn from(service: Service) -> Self {
        let Service { id: ServiceId { name, .. }, description, range, strategy, created, .. } = service;
        let Service { terms, reserved, version, revision, mark, .. } = service;
        let terms = stored(terms);
        Self { name, description, range, strategy, created, version, revision, mark, terms, reserved }
    }
}

/// A Service item as it was read.
pub(crate) fn service(item: Item) -> Result<Service, StoreError> {
    let key = Key::of(&item).ok_or_else(without_key)?;
    let ServiceItem { name, description, range, strategy, created, version, revision, mark, terms, reserved } =
        decode_at(&key, item)?;
    let id = ServiceId { namespace: key.namespace_of()?, name };
    let terms = terms.unwrap_or_default();
    Ok(Service { id, description, range, strategy, terms, reserved, created, version, revision, mark })
}

/// The outcome of a write of a Service alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// The write stands.
    Done,
    /// The service has changed since it was read.
    Changed,
}

/// The outcome of a write of a Service and Ranges.
#[derive(Debug)]
pub(crate) enum Rewritten {
    /// Both writes stand.
    Done,
    /// The service has changed since it was read; here it is, if it still exists.
    ServiceChanged(Option<Box<Service>>),
    /// Some other service's range has changed since Ranges was read.
    RangesChanged,
    /// The namespace does not exist.
    NamespaceAbsent,
}

/// Why a Service alone is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewriting {
    /// To change its content.
    Content,
    /// To mark it.
    Mark,
    /// To take a mark off.
    Unmark,
}

impl Table {
    /// Reads a service consistently.
    pub(crate) async fn service(&self, call: &Call, id: &ServiceId) -> Result<Option<Service>, StoreError> {
        self.get(call, &Key::service(id)).await?.map(service).transpose()
    }

    /// Reads services by name, consistently, starting after the one given: at most `limit`, and whether there may be
    /// more.
    pub(crate) async fn services(
        &self,
        call: &Call,
        namespace: &Namespace,
        after: Option<&ServiceName>,
        limit: usize,
    ) -> Result<(Vec<Service>, bool), StoreError> {
        let start = after.map(|name| Key::service(&ServiceId::new(namespace.clone(), name.clone())).attributes());
        let output = self.query_services(call, namespace, start, limit).await?;
        let more = output.last_evaluated_key.is_some();
        let services = output.items.unwrap_or_default().into_iter().map(service).collect::<Result<_, _>>()?;
        Ok((services, more))
    }

    /// Reads every service of a namespace.
    pub(crate) async fn all_services(&self, call: &Call, namespace: &Namespace) -> Result<Vec<Service>, StoreError> {
        let (mut services, mut more) = self.services(call, namespace, None, 1000).await?;
        while more {
            let last = services.last().map(|service: &Service| service.id.name.clone());
            let (next, still) = self.services(call, namespace, last.as_ref(), 1000).await?;
            more = still && !next.is_empty();
            services.extend(next);
        }
        Ok(services)
    }

    /// Reads every service of a namespace consistently; returns those that this version can read, and how many it
    /// cannot. For the reconciler, which must still find the marks of the readable ones.
    pub(crate) async fn readable_services(
        &self,
        call: &Call,
        namespace: &Namespace,
    ) -> Result<(Vec<Service>, usize), StoreError> {
        let (mut services, mut unreadable, mut start) = (Vec::new(), 0, None);
        loop {
            let output = self.query_services(call, namespace, start, 1000).await?;
            for item in output.items.unwrap_or_default() {
                match service(item) {
                    Ok(service) => services.push(service),
                    Err(_) => unreadable += 1,
                }
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok((services, unreadable));
            }
        }
    }

    async fn query_services(
        &self,
        call: &Call,
        namespace: &Namespace,
        start: Option<Item>,
        limit: usize,
    ) -> Result<QueryOutput, StoreError> {
        let partition = namespace_partition(namespace);
        self.query(call, (&partition, Keys::Beginning(SERVICE_PREFIX)), start, limit, Freshness::Consistent).await
    }

    /// Creates a service and claims its range.
    ///
    /// Of two creations of one name, the second finds the item. Two creations of overlapping ranges both write on
    /// condition of the version of Ranges that they read, so the second is cancelled, reads again, and sees the overlap
    /// (3). Of a creation and the deletion of its namespace, one comes second and fails: see
    /// [`Table::delete_namespace`].
    pub(crate) async fn create_service(
        &self,
        call: &Call,
        new: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let absent = Condition::all(&[rules::CREATE_ABSENT], []);
        let mut write = Transaction::new().put(self, Part::Service, encode_service(new)?, absent)?;
        if !new.id.namespace.is_default() {
            let exists = Condition::all(&[rules::CREATE_NAMESPACE], []);
            write = write.check(self, Part::Namespace, &Key::namespace(&new.id.namespace), exists)?;
        }
        let mut claimed = seen.claimed.clone();
        claimed.insert_range(new.range);
        self.with_ranges(call, &new.id.namespace, write, (seen, &claimed), Some(new)).await
    }

    /// Replaces a service's content and its range. Both items must be as they were read.
    pub(crate) async fn resize_service(
        &self,
        call: &Call,
        old: &Service,
        new: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let write =
            Transaction::new().put(self, Part::Service, encode_service(new)?, as_read(rules::RESIZE_AS_READ, old))?;
        let mut claimed = seen.claimed.clone();
        claimed.remove_range(old.range);
        claimed.insert_range(new.range);
        self.with_ranges(call, &new.id.namespace, write, (seen, &claimed), Some(new)).await
    }

    /// Deletes a service that is marked, and gives up its range.
    ///
    /// The deletion is conditional on the mark being the one that was set: an attempt that overtook this one has set
    /// another, and the claims that this one read may be long out of date (4).
    pub(crate) async fn delete_service(
        &self,
        call: &Call,
        marked: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let as_marked = as_read(rules::DELETE_AS_READ, marked);
        let write = Transaction::new().delete(self, Part::Service, &Key::service(&marked.id), as_marked)?;
        let mut claimed = seen.claimed.clone();
        claimed.remove_range(marked.range);
        self.with_ranges(call, &marked.id.namespace, write, (seen, &claimed), None).await
    }

    /// Rewrites a service that was read, its range unchanged: new content, a mark, or a mark taken off. Conditional on
    /// the content and the mark that were read, so one of two writers finds out.
    pub(crate) async fn rewrite_service(
        &self,
        call: &Call,
        rewriting: Rewriting,
        old: &Service,
        new: &Service,
    ) -> Result<Marked, StoreError> {
        let rule = match rewriting {
            Rewriting::Content => rules::CONTENT_AS_READ,
            Rewriting::Mark => rules::MARK_AS_READ,
            Rewriting::Unmark => rules::UNMARK_AS_READ,
        };
        match self.put_if(call, &encode_service(new)?, &as_read(rule, old)).await? {
            Ok(()) => Ok(Marked::Done),
            Err(found) => {
                // This call's own write, whose response was lost.
                let own = found.map(service).transpose()?.as_ref() == Some(new);
                Ok(if own { Marked::Done } else { Marked::Changed })
            }
        }
    }

    async fn with_ranges(
        &self,
        call: &Call,
        namespace: &Namespace,
        write: Transaction<Part>,
        (seen, claimed): (&Ranges, &PortSet),
        intended: Option<&Service>,
    ) -> Result<Rewritten, StoreError> {
        let (ranges, unchanged) = seen.replaced_by(namespace, claimed);
        let write = write.put(self, Part::Ranges, ranges, unchanged)?;
        let mut reasons = match self.transact(call, write, OnContention::Wait).await? {
            Transacted::Done(_) => return Ok(Rewritten::Done),
            Transacted::Cancelled(reasons) => reasons,
        };
        if reasons.take(Part::Namespace).is_failed() {
            return Ok(Rewritten::NamespaceAbsent);
        }
        match reasons.take(Part::Service).try_map(service)? {
            // This call's own write, whose response was lost: its revision belongs to no other write.
            Reason::Failed(found) if found.is_some() && found.as_ref() == intended => Ok(Rewritten::Done),
            Reason::Failed(found) => Ok(Rewritten::ServiceChanged(found.map(Box::new))),
            Reason::None | Reason::Contended | Reason::Throttled => Ok(Rewritten::RangesChanged),
        }
    }
}

/// The parts of a change of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The service.
    Service,
    /// The Ranges item of the namespace.
    Ranges,
    /// The namespace.
    Namespace,
}

/// The condition that a Service is as it was read: content, mark and all. Revisions are random, so none that was ever
/// read can come back, in the same service or in a later one of the same name.
fn as_read(rule: Rule, old: &Service) -> Condition {
    Condition::all(&[rule], [(":revision", text(old.revision.to_string()))])
}

fn encode_service(service: &Service) -> Result<Item, StoreError> {
    encode(&Key::service(&service.id), ServiceItem::from(service.clone()))
}
