//! Keys, and items as the SDK has them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use portmaster_domain::{InstanceName, Namespace, Port, ServiceName};

/// An item, or a key: attribute names and values.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

/// How a Service's sort key begins.
pub(crate) const SERVICE_PREFIX: &str = "SERVICE#";

impl Key {
    pub(crate) fn service(namespace: &Namespace, name: &ServiceName) -> Self {
        Self { pk: namespace_partition(namespace), sk: format!("{SERVICE_PREFIX}{name}") }
    }

    pub(crate) fn ranges(namespace: &Namespace) -> Self {
        Self { pk: namespace_partition(namespace), sk: "RANGES".to_owned() }
    }

    pub(crate) fn port(namespace: &Namespace, port: Port) -> Self {
        Self { pk: port_partition(namespace), sk: port_sort(port) }
    }

    pub(crate) fn instance(namespace: &Namespace, service: &ServiceName, name: &InstanceName) -> Self {
        Self { pk: format!("N#{namespace}#INSTANCE#{service}"), sk: name.to_string() }
    }

    pub(crate) fn request(namespace: &Namespace, service: &ServiceName, digest: &str) -> Self {
        Self { pk: format!("N#{namespace}#REQUEST#{service}"), sk: digest.to_owned() }
    }

    pub(crate) fn hint(namespace: &Namespace, service: &ServiceName) -> Self {
        Self { pk: format!("N#{namespace}#HINT#{service}"), sk: "TAKEN".to_owned() }
    }

    /// The key as the SDK has it.
    pub(crate) fn attributes(&self) -> Item {
        HashMap::from([("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))])
    }

    /// The key of an item that was read.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let part = |name: &str| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: part("pk")?, sk: part("sk")? })
    }

    /// The key in words that a log may hold: a Request's sort key stays out.
    pub(crate) fn shown(&self) -> String {
        if self.pk.contains("#REQUEST#") { format!("{} …", self.pk) } else { format!("{} {}", self.pk, self.sk) }
    }
}

pub(crate) fn namespace_partition(namespace: &Namespace) -> String {
    format!("N#{namespace}")
}

pub(crate) fn port_partition(namespace: &Namespace) -> String {
    format!("N#{namespace}#PORT")
}

/// Five digits, so that the order of the text is the order of the numbers.
pub(crate) fn port_sort(port: Port) -> String {
    format!("{:05}", port.get())
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item of this key and these attributes.
pub(crate) fn encode(key: &Key, attributes: impl Serialize) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(attributes).map_err(|error| damaged(key, &error))?;
    item.extend(key.attributes());
    Ok(item)
}

/// The attributes of an item that was read. It may have more than are asked for.
pub(crate) fn decode<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let key = Key::of(&item);
    serde_dynamo::from_item(item).map_err(|error| match key {
        Some(key) => damaged(&key, &error),
        None => StoreError::Damaged { key: "(without a key)".to_owned(), reason: error.to_string() },
    })
}

pub(crate) fn damaged(key: &Key, reason: &dyn ToString) -> StoreError {
    StoreError::Damaged { key: key.shown(), reason: reason.to_string() }
}
