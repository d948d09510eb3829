//! Reading the whole table page by page, for the reconciler, and remembering how far it got.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{Get, ReturnConsumedCapacity, TransactGetItem};
use serde::{Deserialize, Serialize};

use super::access::Keys;
use super::condition::{Condition, names, update_only_if};
use super::images::ENDING;
use super::instances::{Instance, instance};
use super::item::{Item, Key, NAMESPACES, SERVICE_PREFIX, damaged, port_partition, text, without_key};
use super::port_item::{occupant, port_of};
use super::ports::Freshness;
use super::requests::{Replay, replay};
use super::schema::health_key;
use super::send::{backoff, send, wait};
use super::services::service;
use super::transact::{OnContention, Reason, Transacted, Transaction, read};
use super::{StoreError, Table, rules};
use crate::Call;
use portmaster_domain::{End, Holding, InstanceName, Namespace, Occupant, Port, Secret, ServiceId, ServiceName};

/// How many items one transaction may read: DynamoDB's limit.
pub(crate) const SETTLED_AT_ONCE: usize = 100;

/// An item, as the reconciler classifies it.
#[derive(Debug)]
pub(crate) enum Found {
    /// A Port item. All ports of a namespace are read together: [`Table::sweep_ports`].
    Port(Namespace),
    /// An Instance item, with its key.
    Instance(Namespace, Key, Instance),
    /// A Request item, with its key.
    Request(Key, Replay),
    /// A Service item. All services of a namespace are read together, when a run comes to it.
    Service(Namespace),
    /// A Ranges item.
    Ranges(Namespace),
    /// A Hint or a Usage item. It is evidence of nothing, and TTL removes it.
    Hint,
    /// A Namespace item.
    Namespace,
    /// The reconciler's own item.
    Checkpoint,
    /// An item that this version does not write, or cannot read.
    Unreadable(StoreError),
}

/// The state that one run leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The last item that was read; none if the sweep starts at the beginning.
    pub(crate) after: Option<Key>,
    /// The last namespace with which a run began; none if the next run begins with the first one. A version that does
    /// not know this field drops it, and then the first ones come again.
    pub(crate) begun: Option<Namespace>,
    /// The fullest services, as they were last seen; the fullest first. Dropped likewise, and then found anew.
    pub(crate) fullest: Vec<Fullness>,
}

/// How full a service was when the reconciler last came by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fullness {
    /// Its namespace.
    pub(crate) namespace: Namespace,
    /// Its name.
    pub(crate) service: ServiceName,
    /// How full, in tenths of a percent.
    pub(crate) per_mille: usize,
}

/// A part of the whole table, or of a namespace's ports.
#[derive(Debug)]
pub(crate) struct SweepPage<T> {
    /// In DynamoDB's order.
    pub(crate) items: Vec<T>,
    /// The last item that was read, if there are more after it.
    pub(crate) next: Option<Key>,
    /// The last item.
    pub(crate) last: Option<Key>,
}

/// An item of the partition of a namespace's ports.
#[derive(Debug)]
pub(crate) struct SweptPort {
    /// The port, if its key is one.
    pub(crate) port: Option<Port>,
    /// What it says, if this version can read it.
    pub(crate) occupant: Result<Occupant, StoreError>,
}

impl<T> SweepPage<T> {
    fn new(items: Option<Vec<Item>>, next: Option<&Item>, read: impl FnMut(Item) -> T) -> Self {
        let items = items.unwrap_or_default();
        let last = items.last().and_then(Key::of);
        Self { items: items.into_iter().map(read).collect(), next: next.and_then(Key::of), last }
    }
}

fn checkpoint_key() -> Key {
    Key { pk: "RECONCILER".to_owned(), sk: "CHECKPOINT".to_owned() }
}

fn classify(item: Item) -> Found {
    let Some(key) = Key::of(&item) else {
        return Found::Unreadable(without_key());
    };
    let unknown = || {
        let reason = "no item of the registry has such a key".to_owned();
        Found::Unreadable(StoreError::Damaged { key: key.shown(), reason })
    };
    if key == checkpoint_key() {
        return Found::Checkpoint;
    }
    if key == health_key() {
        // As with a readable hint: it is evidence of nothing, and TTL removes it.
        return Found::Hint;
    }
    if key.pk == NAMESPACES {
        return super::namespaces::namespace(item).map_or_else(Found::Unreadable, |_| Found::Namespace);
    }
    let mut parts = key.pk.split('#');
    let (Some("N"), Some(namespace)) = (parts.next(), parts.next()) else { return unknown() };
    let Ok(namespace) = Namespace::try_from(namespace) else { return unknown() };
    let found = match (parts.next(), parts.next(), parts.next()) {
        (Some("PORT"), None, None) => Ok(Found::Port(namespace)),
        (Some("INSTANCE"), Some(service), None) => {
            match (ServiceName::try_from(service), InstanceName::try_from(key.sk.as_str())) {
                (Ok(_), Ok(_)) => instance(item).map(|instance| Found::Instance(namespace, key.clone(), instance)),
                _ => return unknown(),
            }
        }
        (Some("REQUEST"), Some(_), None) => replay(item).map(|replay| Found::Request(key.clone(), replay)),
        (Some("HINT"), Some(_), None) => Ok(Found::Hint),
        (None, None, None) if key.sk == "RANGES" => Ok(Found::Ranges(namespace)),
        (None, None, None) if key.sk.starts_with(SERVICE_PREFIX) => service(item).map(|_| Found::Service(namespace)),
        _ => return unknown(),
    };
    found.unwrap_or_else(Found::Unreadable)
}

impl Table {
    /// Reads one page of the whole table with the items' keys, in DynamoDB's order, after the given item, whether or not that still exists.
    ///
    /// The read is eventually consistent, at half the price: every removal that rests on it repeats the evidence as a
    /// condition.
    pub(crate) async fn sweep_page(
        &self,
        call: &Call,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<SweepPage<(Option<Key>, Found)>, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .scan()
                .table_name(&self.name)
                .set_exclusive_start_key(after.map(Key::attributes))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        let classified = |item: Item| (Key::of(&item), classify(item));
        Ok(SweepPage::new(output.items, output.last_evaluated_key.as_ref(), classified))
    }

    /// Reads one page of the partition of a namespace's ports, whatever is in it, in the order of the ports, after the
    /// given item. Eventually consistent, like [`Table::sweep_page`].
    pub(crate) async fn sweep_ports(
        &self,
        call: &Call,
        namespace: &Namespace,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<SweepPage<SweptPort>, StoreError> {
        let (partition, after) = (port_partition(namespace), after.map(Key::attributes));
        let output = self.query(call, (&partition, Keys::All), after, limit, Freshness::Eventual).await?;
        let swept = |item: Item| SweptPort { port: port_of(&item).ok(), occupant: occupant(item) };
        Ok(SweepPage::new(output.items, output.last_evaluated_key.as_ref(), swept))
    }

    /// Whether a key is in the partition of a namespace's ports.
    pub(crate) fn is_port_of(namespace: &Namespace, key: &Key) -> bool {
        key.pk == port_partition(namespace)
    }

    /// Reads the secrets of these ports, at most [`SETTLED_AT_ONCE`] of them and each once, in one transaction (see
    /// [`Table::get_settled`]). The result is none for a port that has no item.
    ///
    /// A port that is being written to at this moment, or whose item has no readable secret, is left out: nothing can
    /// be concluded about it. So one busy port delays nothing else.
    pub(crate) async fn settled_secrets(
        &self,
        call: &Call,
        ports: impl IntoIterator<Item = (Namespace, Port)>,
    ) -> Result<HashMap<(Namespace, Port), Option<Secret>>, StoreError> {
        // The key is read too, so that an item without a secret is not mistaken for an absent one.
        const SECRET: &str = "#pk, #secret";
        let mut left = Vec::new();
        for (namespace, port) in ports {
            let get = Get::builder()
                .table_name(&self.name)
                .set_key(Some(Key::port(&namespace, port).attributes()))
                .projection_expression(SECRET)
                .set_expression_attribute_names(Some(names(SECRET)));
            let get = TransactGetItem::builder().get(get.build().map_err(StoreError::from)?).build();
            left.push(((namespace, port), get));
        }
        let mut waits = backoff();
        while !left.is_empty() {
            let (result, _) = send(call, &self.name, || {
                self.client
                    .transact_get_items()
                    .set_transact_items(Some(left.iter().map(|(_, get)| get.clone()).collect()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await?;
            let cancelled = match result {
                Ok(output) => {
                    let items = output.responses.unwrap_or_default().into_iter().map(|response| response.item);
                    let settled = left.into_iter().zip(items).filter_map(|((port, _), item)| {
                        let secret = match item.filter(|item| !item.is_empty()) {
                            None => None,
                            Some(item) => Some(Secret::parse(item.get("secret")?.as_s().ok()?).ok()?),
                        };
                        Some((port, secret))
                    });
                    return Ok(settled.collect());
                }
                Err(TransactGetItemsError::TransactionCanceledException(cancelled)) => cancelled,
                Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
            };
            let reasons = cancelled.cancellation_reasons.unwrap_or_default().into_iter().map(read);
            let reasons = reasons.collect::<Result<Vec<_>, _>>()?;
            let asked = left.len();
            let mut reasons = reasons.into_iter();
            left.retain(|_| reasons.next() != Some(Reason::Contended));
            if left.len() == asked {
                wait(call, &mut waits, "throttling").await?;
            }
            call.count(|meter| meter.retries += 1);
        }
        Ok(HashMap::new())
    }

    /// Reads the checkpoint of the last run.
    pub(crate) async fn checkpoint(&self, call: &Call) -> Result<Checkpoint, StoreError> {
        let Some(item) = self.get(call, &checkpoint_key()).await? else { return Ok(Checkpoint::default()) };
        let part = |name: &str| item.get(name)?.as_s().ok().cloned();
        let after = part("next_pk").zip(part("next_sk")).map(|(pk, sk)| Key { pk, sk });
        let begun = part("begun").and_then(|name| Namespace::try_from(name).ok());
        let fullest = item.get("fullest").cloned().and_then(|list| serde_dynamo::from_attribute_value(list).ok());
        Ok(Checkpoint { after, begun, fullest: fullest.unwrap_or_default() })
    }

    /// Saves where the next run continues.
    ///
    /// Unconditional: two sweeps at once only mean that a part of the table is swept twice, or later.
    pub(crate) async fn save_checkpoint(&self, call: &Call, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut item = checkpoint_key().attributes();
        if let Some(key) = &checkpoint.after {
            item.insert("next_pk".to_owned(), text(&key.pk));
            item.insert("next_sk".to_owned(), text(&key.sk));
        }
        if let Some(namespace) = &checkpoint.begun {
            item.insert("begun".to_owned(), text(namespace.as_str()));
        }
        let fullest = serde_dynamo::to_attribute_value(&checkpoint.fullest);
        item.insert("fullest".to_owned(), fullest.map_err(|error| damaged(&checkpoint_key(), &error))?);
        self.put(call, &item).await
    }

    /// Removes the allocation of a service that does not exist. Both halves of the evidence are conditions: the service
    /// is absent, and the item still has the allocation's secret (under which it stays an allocation). Returns whether
    /// it was removed.
    pub(crate) async fn remove_orphan(
        &self,
        call: &Call,
        namespace: &Namespace,
        holding: &Holding,
    ) -> Result<bool, StoreError> {
        self.note_removal(call, namespace, holding).await?;
        let service = Key::service(&ServiceId::new(namespace.clone(), holding.claim.service.clone()));
        let absent = Condition::all(&[rules::ORPHAN_SERVICE], []);
        let same = Condition::all(&[rules::ORPHAN_SECRET], [(":secret", text(holding.secret.expose()))]);
        let transaction = Transaction::new().check(self, Orphan::Service, &service, absent)?.delete(
            self,
            Orphan::Port,
            &Key::port(namespace, holding.claim.port),
            same,
        )?;
        Ok(matches!(self.transact(call, transaction, OnContention::Wait).await?, Transacted::Done(_)))
    }
}

/// What the item of an orphan says before it goes, for history: its removal looks like a release.
const REMOVED: &str = End::Removed.as_str();

impl Table {
    /// Notes on an orphan that it is about to be removed, if it still is the one that was read: otherwise the update would
    /// create an item, or mark another's. No condition and no decision looks at the note. If the removal does not follow,
    /// because the service exists again, history may later call the end of this allocation "removed" although it was
    /// released.
    async fn note_removal(&self, call: &Call, namespace: &Namespace, holding: &Holding) -> Result<(), StoreError> {
        let key = Key::port(namespace, holding.claim.port);
        let (result, _) = send(call, &self.name, || {
            let same = Condition::all(&[rules::ORPHAN_NOTE], [(":secret", text(holding.secret.expose()))]);
            let request = self.client.update_item().table_name(&self.name).set_key(Some(key.attributes()));
            update_only_if(request, &format!("SET #{ENDING} = :ending"), [(":ending", text(REMOVED))], same)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        match result {
            Ok(_) | Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
        }
    }
}

/// The parts of the removal of an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orphan {
    Service,
    Port,
}
