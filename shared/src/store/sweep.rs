//! Reading the whole table page by page, for the reconciler, and remembering how far it got.

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, ReturnConsumedCapacity, TransactWriteItem};

use super::claim::refused;
use super::item::{Item, Key, SERVICE_PREFIX, text};
use super::names::{Pointer, pointer};
use super::ports::holding;
use super::requests::{Replay, replay};
use super::schema::health_key;
use super::send::send;
use super::services::service;
use super::transact::{OnContention, Transacted};
use super::{Call, StoreError, Table};
use crate::domain::{Holding, InstanceName, Namespace, Service, ServiceName};

/// An item, as the reconciler sees it.
#[derive(Debug)]
pub(crate) enum Found {
    /// A Port item.
    Port(Namespace, Holding),
    /// An Instance item, with its key.
    Pointer(Namespace, Key, Pointer),
    /// A Request item, with its key.
    Request(Key, Replay),
    /// A Service item.
    Service(Namespace, Box<Service>),
    /// A Ranges item.
    Ranges(Namespace),
    /// A Hint item. It is nobody's evidence, and TTL takes it.
    Hint,
    /// The reconciler's own.
    Checkpoint,
    /// Something this version does not write, or cannot read.
    Unreadable(StoreError),
}

/// Where a sweep goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint(Key);

/// A part of the whole table.
#[derive(Debug)]
pub(crate) struct SweepPage {
    /// Each with the place of the next one after it.
    pub(crate) items: Vec<(Checkpoint, Found)>,
    /// Where to go on.
    pub(crate) next: Option<Checkpoint>,
}

fn checkpoint_key() -> Key {
    Key { pk: "RECONCILER".to_owned(), sk: "CHECKPOINT".to_owned() }
}

fn classify(item: Item) -> Found {
    let Some(key) = Key::of(&item) else {
        return Found::Unreadable(StoreError::Damaged {
            key: "(without a key)".to_owned(),
            reason: "no key".to_owned(),
        });
    };
    let unknown = || {
        let reason = "no item of the registry has such a key".to_owned();
        Found::Unreadable(StoreError::Damaged { key: key.shown(), reason })
    };
    if key == checkpoint_key() {
        return Found::Checkpoint;
    }
    if key == health_key() {
        // As with a hint: nobody's evidence, and TTL takes it.
        return Found::Hint;
    }
    let mut parts = key.pk.split('#');
    let (Some("N"), Some(namespace)) = (parts.next(), parts.next()) else { return unknown() };
    let Ok(namespace) = Namespace::try_from(namespace) else { return unknown() };
    let found = match (parts.next(), parts.next(), parts.next()) {
        (Some("PORT"), None, None) => holding(item).map(|holding| Found::Port(namespace, holding)),
        (Some("INSTANCE"), Some(service), None) => {
            match (ServiceName::try_from(service), InstanceName::try_from(key.sk.as_str())) {
                (Ok(_), Ok(_)) => pointer(item).map(|pointer| Found::Pointer(namespace, key.clone(), pointer)),
                _ => return unknown(),
            }
        }
        (Some("REQUEST"), Some(_), None) => replay(item).map(|replay| Found::Request(key.clone(), replay)),
        (Some("HINT"), Some(_), None) => Ok(Found::Hint),
        (None, None, None) if key.sk == "RANGES" => Ok(Found::Ranges(namespace)),
        (None, None, None) if key.sk.starts_with(SERVICE_PREFIX) => {
            service(item).map(|service| Found::Service(namespace, Box::new(service)))
        }
        _ => return unknown(),
    };
    found.unwrap_or_else(Found::Unreadable)
}

impl Table {
    /// One page of the whole table, in DynamoDB's order, and where the next one starts.
    ///
    /// Eventually consistent, at half the price: whatever is removed for it is removed on a condition that repeats it.
    pub(crate) async fn sweep_page(
        &self,
        call: &Call,
        from: Option<&Checkpoint>,
        limit: usize,
    ) -> Result<SweepPage, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .scan()
                .table_name(&self.name)
                .set_exclusive_start_key(from.map(|Checkpoint(key)| key.attributes()))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        let next = output.last_evaluated_key.as_ref().and_then(Key::of).map(Checkpoint);
        let items = output.items.unwrap_or_default().into_iter();
        let items = items.filter_map(|item| Some((Checkpoint(Key::of(&item)?), classify(item)))).collect();
        Ok(SweepPage { items, next })
    }

    /// Where the last sweep stopped, if it did not finish.
    pub(crate) async fn checkpoint(&self, call: &Call) -> Result<Option<Checkpoint>, StoreError> {
        let Some(item) = self.get(call, &checkpoint_key()).await? else { return Ok(None) };
        let part = |name: &str| item.get(name)?.as_s().ok().cloned();
        Ok(part("next_pk").zip(part("next_sk")).map(|(pk, sk)| Checkpoint(Key { pk, sk })))
    }

    /// Remembers where the next sweep goes on; from the beginning where it is none.
    ///
    /// Unconditional: two sweeps at once only mean that a part of the table is swept twice or later.
    pub(crate) async fn save_checkpoint(&self, call: &Call, next: Option<&Checkpoint>) -> Result<(), StoreError> {
        let mut item = checkpoint_key().attributes();
        if let Some(Checkpoint(key)) = next {
            item.insert("next_pk".to_owned(), text(&key.pk));
            item.insert("next_sk".to_owned(), text(&key.sk));
        }
        self.put(call, &item).await
    }

    /// Removes the allocation of a service that does not exist. Both halves of the evidence are conditions: the service
    /// is absent, and the item still has the allocation's secret (under which it stays one). Gives whether it was
    /// removed.
    pub(crate) async fn remove_orphan(
        &self,
        call: &Call,
        namespace: &Namespace,
        holding: &Holding,
    ) -> Result<bool, StoreError> {
        let service = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(Key::service(namespace, &holding.claim.service).attributes()))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", "pk")
            .build()
            .map_err(refused)?;
        let port = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(Key::port(namespace, holding.claim.port).attributes()))
            .condition_expression("#secret = :secret")
            .expression_attribute_names("#secret", "secret")
            .expression_attribute_values(":secret", text(holding.secret.expose()))
            .build()
            .map_err(refused)?;
        let items = vec![
            TransactWriteItem::builder().condition_check(service).build(),
            TransactWriteItem::builder().delete(port).build(),
        ];
        Ok(matches!(self.transact(call, items, OnContention::Wait).await?, Transacted::Done))
    }
}
