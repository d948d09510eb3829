//! Service items, and the transactions that change them together with Ranges.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{
    Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use serde::{Deserialize, Serialize};

use super::item::{Item, Key, SERVICE_PREFIX, decode, encode, namespace_of, namespace_partition, text};
use super::ranges::Ranges;
use super::send::send;
use super::transact::{OnContention, Reason, Transacted};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::allocator::PortSet;
use portmaster_domain::{
    Description, Mark, Namespace, PortRange, Service, ServiceId, ServiceName, Strategy, Timestamp, Version,
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
}

impl From<Service> for ServiceItem {
    fn from(service: Service) -> Self {
        let Service { id: ServiceId { name, .. }, description, range, strategy, created, version, revision, mark } =
            service;
        Self { name, description, range, strategy, created, version, revision, mark }
    }
}

/// A Service item as it was read.
pub(crate) fn service(item: Item) -> Result<Service, StoreError> {
    let namespace = namespace_of(&item)?;
    let ServiceItem { name, description, range, strategy, created, version, revision, mark } = decode(item)?;
    let id = ServiceId { namespace, name };
    Ok(Service { id, description, range, strategy, created, version, revision, mark })
}

/// What became of a write of a Service alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It stands.
    Done,
    /// The service has changed since it was read.
    Changed,
}

/// What became of a write of a Service and Ranges.
#[derive(Debug)]
pub(crate) enum Rewritten {
    /// Both stand.
    Done,
    /// The service has changed since it was read; as it is now, if it still exists.
    ServiceChanged(Option<Box<Service>>),
    /// Some other service's range has changed since Ranges was read.
    RangesChanged,
}

/// The condition that a Service is as it was read: content, mark and all. Revisions are random, so nothing that was ever
/// read can come back, in the same service or in a later one of the same name.
const AS_READ: &str = "#revision = :revision";

impl Table {
    /// A service, read consistently.
    pub(crate) async fn service(&self, call: &Call, id: &ServiceId) -> Result<Option<Service>, StoreError> {
        self.get(call, &Key::service(id)).await?.map(service).transpose()
    }

    /// Services by name, read consistently, from after the one given: at most `limit`, and whether there may be more.
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

    /// Every service of a namespace.
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

    /// Every service of a namespace that this version can read, read consistently, and how many it cannot: for the
    /// reconciler, which must find the marks of the others all the same.
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
        let (result, _) = send(call, &self.name, || {
            self.client
                .query()
                .table_name(&self.name)
                .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#pk", "pk")
                .expression_attribute_names("#sk", "sk")
                .expression_attribute_values(":pk", text(namespace_partition(namespace)))
                .expression_attribute_values(":prefix", text(SERVICE_PREFIX))
                .set_exclusive_start_key(start.clone())
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        result.map_err(|error| StoreError::Refused { reason: error.to_string() })
    }

    /// Creates a service and claims its range.
    ///
    /// Two creations of one name: the second finds the item. Two of overlapping ranges: both wrote on condition of the
    /// version of Ranges that they had read, so the second is cancelled, reads again, and sees the overlap (3).
    pub(crate) async fn create_service(
        &self,
        call: &Call,
        new: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(self.encode_service(new)?))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", "pk")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(StoreError::from)?;
        let mut claimed = seen.claimed.clone();
        claimed.insert_range(new.range);
        self.with_ranges(
            call,
            &new.id.namespace,
            TransactWriteItem::builder().put(put).build(),
            (seen, &claimed),
            Some(new),
        )
        .await
    }

    /// Replaces a service by its new content, and its range by the new one. What was read of both must still be so.
    pub(crate) async fn resize_service(
        &self,
        call: &Call,
        old: &Service,
        new: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(self.encode_service(new)?))
            .condition_expression(AS_READ)
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":revision", text(old.revision.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(StoreError::from)?;
        let mut claimed = seen.claimed.clone();
        claimed.remove_range(old.range);
        claimed.insert_range(new.range);
        self.with_ranges(
            call,
            &new.id.namespace,
            TransactWriteItem::builder().put(put).build(),
            (seen, &claimed),
            Some(new),
        )
        .await
    }

    /// Deletes a service that is marked, and gives its range up.
    ///
    /// Conditional on the mark being the very one that was set: whoever overtook this attempt has set another, and what
    /// this one saw when it looked for live claims may be long out of date (4).
    pub(crate) async fn delete_service(
        &self,
        call: &Call,
        marked: &Service,
        seen: &Ranges,
    ) -> Result<Rewritten, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(Key::service(&marked.id).attributes()))
            .condition_expression(AS_READ)
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":revision", text(marked.revision.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(StoreError::from)?;
        let delete = TransactWriteItem::builder().delete(delete).build();
        let mut claimed = seen.claimed.clone();
        claimed.remove_range(marked.range);
        self.with_ranges(call, &marked.id.namespace, delete, (seen, &claimed), None).await
    }

    /// Writes a service in place of the one that was read, its range unchanged: new content, a mark, or a mark taken
    /// off. Conditional on the content and the mark that were read, so of two writers one finds out.
    pub(crate) async fn rewrite_service(
        &self,
        call: &Call,
        old: &Service,
        new: &Service,
    ) -> Result<Marked, StoreError> {
        let item = self.encode_service(new)?;
        let (result, _) = send(call, &self.name, || {
            self.client
                .put_item()
                .table_name(&self.name)
                .set_item(Some(item.clone()))
                .condition_expression(AS_READ)
                .expression_attribute_names("#revision", "revision")
                .expression_attribute_values(":revision", text(old.revision.to_string()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let found = match result {
            Ok(_) => return Ok(Marked::Done),
            Err(PutItemError::ConditionalCheckFailedException(failed)) => {
                failed.item.filter(|item| !item.is_empty()).map(service).transpose()?
            }
            Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
        };
        // Our own write, whose reply was lost.
        Ok(if found.as_ref() == Some(new) { Marked::Done } else { Marked::Changed })
    }

    async fn with_ranges(
        &self,
        call: &Call,
        namespace: &Namespace,
        write: TransactWriteItem,
        (seen, claimed): (&Ranges, &PortSet),
        intended: Option<&Service>,
    ) -> Result<Rewritten, StoreError> {
        let put =
            TransactWriteItem::builder().put(seen.put(self, namespace, claimed).map_err(StoreError::from)?).build();
        let reasons = match self.transact(call, vec![write, put], OnContention::Wait).await? {
            Transacted::Done => return Ok(Rewritten::Done),
            Transacted::Cancelled(reasons) => reasons,
        };
        match reasons.into_iter().next().unwrap_or(Reason::None).try_map(service)? {
            // Our own write, whose reply was lost: the revision in it is nobody else's.
            Reason::Failed(found) if found.is_some() && found.as_ref() == intended => Ok(Rewritten::Done),
            Reason::Failed(found) => Ok(Rewritten::ServiceChanged(found.map(Box::new))),
            Reason::None | Reason::Contended | Reason::Throttled => Ok(Rewritten::RangesChanged),
        }
    }

    fn encode_service(&self, service: &Service) -> Result<Item, StoreError> {
        encode(&Key::service(&service.id), ServiceItem::from(service.clone()))
    }
}
