//! The history: a table of its own, in which every tenure is one item.
//!
//! | | |
//! |---|---|
//! | pk | `N#<ns>#PORT#<port, 5 digits>` |
//! | sk | `<beginning in milliseconds, 14 digits>.<tenure>` |
//! | `holder` | `N#<ns>#NAME#<service>#<name>`: the key of the index by name, with the same sort key |
//! | `sequence` | the number of the change that was written last, with zeros before it |
//! | `expires_at` | when TTL removes it; absent while the tenure lasts |
//!
//! The index has the keys only, so that a change of a tenure that is known already is not paid for twice; a list by name
//! reads the items themselves. Nothing but the readers of history reads the table, and nothing but its writer writes it.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, KeysAndAttributes, Projection,
    ProjectionType, ReturnConsumedCapacity, ScalarAttributeType,
};
use serde::{Deserialize, Serialize};

use super::access::Keys;
use super::condition::{Condition, names};
use super::item::{Item, Key, damaged, decode_at, encode, number, port_sort, text, without_key};
use super::ports::Freshness;
use super::rules::Rule;
use super::send::{Metered, backoff, send, wait};
use super::{StoreError, Table};
use crate::Call;
use crate::history::{Attributes, Sequence};
use portmaster_domain::{
    End, Expiry, InstanceName, Labels, Namespace, Owner, Port, Principal, ServiceId, ServiceName, Tenure, TenureId,
    Timestamp,
};

/// The index by name.
const BY_NAME: &str = "by-name";

/// Greater than the sort key of any tenure, which begins with a digit.
const AFTER_ALL: &str = ":";

/// How many items DynamoDB reads by their keys at once.
const AT_ONCE: usize = 100;

/// Nothing is known of the tenure that is as late as this. Of two changes that arrive in the wrong order, the later one
/// stays. (Not among the rules of the protocol: no decision rests on it.)
const LATER: Rule = Rule("attribute_not_exists(#pk) OR #sequence < :sequence");

/// The table of tenures.
#[derive(Clone, Debug)]
pub struct History(Table);

/// Whose history is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryOf {
    /// That of a port, whichever services it belonged to.
    Port(Namespace, Port),
    /// That of a name of a service, whether or not the service still exists.
    Name(ServiceId, InstanceName),
}

/// Where a list of tenures goes on: behind this tenure, which began then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind(String);

/// The tenures of a page, the newest first, and where the next page goes on.
pub(crate) type Tenures = (Vec<Tenure>, Option<Behind>);

#[derive(Serialize, Deserialize)]
struct TenureItem {
    service: ServiceName,
    name: InstanceName,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    offered: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

impl Metered for BatchGetItemOutput {
    fn record(&self, call: &Call) {
        let units: f64 = self.consumed_capacity().iter().filter_map(|capacity| capacity.capacity_units()).sum();
        call.count(|meter| meter.read_units += units);
    }
}

impl Behind {
    /// Behind this tenure.
    pub(crate) fn of(tenure: &Tenure) -> Self {
        Self(key_of(tenure).sk)
    }

    /// Reads the form in which a cursor has it; none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (began, tenure) = text.split_once('.')?;
        let is_time = began.len() == 14 && began.bytes().all(|byte| byte.is_ascii_digit());
        (is_time && TenureId::try_from(tenure.to_owned()).is_ok()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of a sort key. (Nothing that is not damaged begins before 1970.)
fn began(at: Timestamp) -> String {
    format!("{:014}", at.millis().max(0))
}

fn partition(namespace: &Namespace, port: Port) -> String {
    format!("N#{namespace}#PORT#{}", port_sort(port))
}

fn holder(service: &ServiceId, name: &InstanceName) -> String {
    format!("N#{}#NAME#{}#{name}", service.namespace, service.name)
}

fn key_of(tenure: &Tenure) -> Key {
    let Tenure { id, service, port, offered, .. } = tenure;
    Key { pk: partition(&service.namespace, *port), sk: format!("{}.{id}", began(*offered)) }
}

/// A tenure as it was read.
fn tenure(item: Item) -> Result<Tenure, StoreError> {
    let key = Key::of(&item).ok_or_else(without_key)?;
    let port = key.pk.rsplit('#').next().and_then(|port| port.parse().ok()).and_then(|port| Port::new(port).ok());
    let id = key.sk.split_once('.').and_then(|(_, id)| TenureId::try_from(id.to_owned()).ok());
    let (Some(port), Some(id)) = (port, id) else { return Err(damaged(&key, &"its key is of no tenure")) };
    let TenureItem { service, name, owner, labels, principal, offered, allocated, ended, end } = decode_at(&key, item)?;
    let service = ServiceId::new(key.namespace_of()?, service);
    Ok(Tenure { id, service, name, port, owner, labels, principal, offered, allocated, ended, end })
}

impl History {
    /// For how many days a tenure is kept after its end, unless a setting says otherwise.
    pub const DAYS: u32 = 400;

    /// The most days that make sense: ten years.
    pub const MAX_DAYS: u32 = 3_653;

    /// The history in this table. Nothing is sent yet.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// The table's name.
    #[must_use]
    pub fn table_name(&self) -> &str {
        self.0.name()
    }

    /// Creates the table, with its index and TTL on, unless it exists.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB refuses or does not answer.
    pub async fn create(&self, call: &Call) -> Result<(), StoreError> {
        let key = |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let attribute = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let attributes = ["pk", "sk", "holder"].map(attribute).into_iter().collect::<Result<Vec<_>, _>>()?;
        let index = GlobalSecondaryIndex::builder()
            .index_name(BY_NAME)
            .key_schema(key("holder", KeyType::Hash)?)
            .key_schema(key("sk", KeyType::Range)?)
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()?;
        let (pk, sk) = (key("pk", KeyType::Hash)?, key("sk", KeyType::Range)?);
        let Table { client, name } = &self.0;
        let created = send(call, name, || {
            client
                .create_table()
                .table_name(name)
                .billing_mode(BillingMode::PayPerRequest)
                .key_schema(pk.clone())
                .key_schema(sk.clone())
                .set_attribute_definitions(Some(attributes.clone()))
                .global_secondary_indexes(index.clone())
                .send()
        })
        .await?;
        match created.0 {
            Ok(_) | Err(CreateTableError::ResourceInUseException(_)) => {}
            Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
        }
        self.0.ready(call).await
    }

    /// The item of a tenure, which TTL removes so many days after its end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be encoded.
    pub fn item(tenure: &Tenure, sequence: &Sequence, days: u32) -> Result<Attributes, StoreError> {
        let key = key_of(tenure);
        let Tenure { service, name, owner, labels, principal, offered, allocated, ended, end, .. } = tenure.clone();
        let by_name = holder(&service, &name);
        let service = service.name;
        let attributes = TenureItem { service, name, owner, labels, principal, offered, allocated, ended, end };
        let mut item = encode(&key, attributes)?;
        item.insert("holder".to_owned(), text(by_name));
        item.insert("sequence".to_owned(), text(sequence.as_str()));
        if let Some(ended) = ended {
            item.insert("expires_at".to_owned(), number(Expiry::after(ended, i64::from(days) * 86_400).seconds()));
        }
        Ok(item)
    }

    /// Writes a tenure, unless a later change of it was written before: one conditional write. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB refuses or does not answer.
    pub async fn record(
        &self,
        call: &Call,
        tenure: &Tenure,
        sequence: &Sequence,
        days: u32,
    ) -> Result<bool, StoreError> {
        let item = Self::item(tenure, sequence, days)?;
        let later = Condition::all(&[LATER], [(":sequence", text(sequence.as_str()))]);
        Ok(self.0.put_if(call, &item, &later).await?.is_ok())
    }

    /// Reads tenures, the newest first: those that began by a time, behind a cursor. Eventually consistent: half a read
    /// unit for each 4 KB by port, and half a unit for each tenure by name.
    pub(crate) async fn read(
        &self,
        call: &Call,
        of: &HistoryOf,
        by: Option<Timestamp>,
        behind: Option<&Behind>,
        limit: usize,
    ) -> Result<Tenures, StoreError> {
        let (attribute, value) = match of {
            HistoryOf::Port(namespace, port) => ("pk", partition(namespace, *port)),
            HistoryOf::Name(service, name) => ("holder", holder(service, name)),
        };
        // A character that is greater than the one between the time and the tenure.
        let latest = by.map(|by| format!("{}/", began(by)));
        let bound = latest.into_iter().chain(behind.map(|Behind(behind)| behind.clone())).min();
        let condition = match bound {
            Some(_) => format!("#{attribute} = :of AND #sk < :bound"),
            None => format!("#{attribute} = :of"),
        };
        let values: Item = [(":of", Some(value)), (":bound", bound)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), text(value?))))
            .collect();
        let Table { client, name } = &self.0;
        let (result, _) = send(call, name, || {
            client
                .query()
                .table_name(name)
                .set_index_name((attribute == "holder").then(|| BY_NAME.to_owned()))
                .key_condition_expression(&condition)
                .set_expression_attribute_names(Some(names(&condition)))
                .set_expression_attribute_values(Some(values.clone()))
                .scan_index_forward(false)
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        let more = output.last_evaluated_key.as_ref().and_then(Key::of).map(|key| Behind(key.sk));
        let items = output.items.unwrap_or_default();
        let items = if attribute == "holder" { self.by_key(call, &items).await? } else { items };
        Ok((items.into_iter().map(tenure).collect::<Result<_, _>>()?, more))
    }

    /// A tenure as it is by now, and the one that followed it on its port, if they are there: half a read unit.
    pub(crate) async fn again(
        &self,
        call: &Call,
        one: &Tenure,
    ) -> Result<(Option<Tenure>, Option<Tenure>), StoreError> {
        let Key { pk, sk } = key_of(one);
        let keys = Keys::Between(&sk, AFTER_ALL);
        let page = self.0.query(call, (&pk, keys), None, 2, Freshness::Eventual).await?;
        let found = page.items.unwrap_or_default().into_iter().map(tenure).collect::<Result<Vec<_>, _>>()?;
        let (itself, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.id == one.id);
        Ok((itself.into_iter().next(), others.into_iter().next()))
    }

    /// Reads these items, in their order. Those that are gone meanwhile are left out.
    async fn by_key(&self, call: &Call, keys: &[Item]) -> Result<Vec<Item>, StoreError> {
        let Table { client, name } = &self.0;
        let wanted: Vec<Key> = keys.iter().filter_map(Key::of).collect();
        let mut found = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            let mut left: Vec<Item> = some.iter().map(Key::attributes).collect();
            let mut waits = backoff();
            while !left.is_empty() {
                let keys = KeysAndAttributes::builder().set_keys(Some(left)).build()?;
                let (result, _) = send(call, name, || {
                    client
                        .batch_get_item()
                        .request_items(name, keys.clone())
                        .return_consumed_capacity(ReturnConsumedCapacity::Total)
                        .send()
                })
                .await?;
                let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
                for item in output.responses.unwrap_or_default().into_values().flatten() {
                    if let Some(key) = Key::of(&item) {
                        found.insert((key.pk, key.sk), item);
                    }
                }
                let rest = output.unprocessed_keys.unwrap_or_default().into_values().next();
                left = rest.map(|rest| rest.keys).unwrap_or_default();
                if !left.is_empty() {
                    wait(call, &mut waits, "throttling").await?;
                }
            }
        }
        Ok(wanted.into_iter().filter_map(|key| found.remove(&(key.pk, key.sk))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_comes_back_as_it_was_written_and_stays_small() {
        let long = |length: usize| "n".repeat(length);
        let service = ServiceId::new(Namespace::try_from(long(64)).unwrap(), ServiceName::try_from(long(64)).unwrap());
        let labels: std::collections::BTreeMap<_, _> = (0..8).map(|n| (format!("k{n}"), long(30))).collect();
        let port = Port::new(49151).unwrap();
        let at = Timestamp::from_millis(1_800_000_000_123);
        let secret = portmaster_domain::Secret::generate(port);
        let written = Tenure {
            id: TenureId::of(&service.namespace, port, secret),
            service,
            name: InstanceName::try_from(long(64)).unwrap(),
            port,
            owner: Some(Owner::try_from(long(128)).unwrap()),
            labels: labels.try_into().unwrap(),
            principal: Principal::new(&long(256)),
            offered: at,
            allocated: Some(at),
            ended: Some(at),
            end: Some(End::Released),
        };
        let item = History::item(&written, &Sequence::from(7), 400).unwrap();
        assert_eq!(tenure(item.clone()).unwrap(), written);
        assert_eq!(item["expires_at"], number(1_800_000_001 + 400 * 86_400));
        assert!(!format!("{item:?}").contains(&secret.expose()));
        let open = Tenure { ended: None, end: None, ..written };
        assert!(!History::item(&open, &Sequence::from(7), 400).unwrap().contains_key("expires_at"));
        let behind = Behind::parse(&key_of(&open).sk).unwrap();
        assert_eq!(behind.to_string(), key_of(&open).sk);
        for bad in ["", ".", "1.2", "01800000000123", "0180000000012x.00000000000000000000000000000000"] {
            assert_eq!(Behind::parse(bad), None, "{bad}");
        }
    }
}
