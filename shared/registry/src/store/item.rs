//! Keys, and items in the SDK's form.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use portmaster_domain::{InstanceName, Namespace, Port, ServiceId};

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

/// The partition of all Namespace items.
pub(crate) const NAMESPACES: &str = "NAMESPACES";

impl Key {
    pub(crate) fn namespace(name: &Namespace) -> Self {
        Self { pk: NAMESPACES.to_owned(), sk: name.to_string() }
    }

    pub(crate) fn service(service: &ServiceId) -> Self {
        Self { pk: namespace_partition(&service.namespace), sk: format!("{SERVICE_PREFIX}{}", service.name) }
    }

    pub(crate) fn ranges(namespace: &Namespace) -> Self {
        Self { pk: namespace_partition(namespace), sk: "RANGES".to_owned() }
    }

    pub(crate) fn port(namespace: &Namespace, port: Port) -> Self {
        Self { pk: port_partition(namespace), sk: port_sort(port) }
    }

    pub(crate) fn instance(service: &ServiceId, name: &InstanceName) -> Self {
        Self { pk: of_service("INSTANCE", service), sk: name.to_string() }
    }

    pub(crate) fn request(service: &ServiceId, digest: &str) -> Self {
        Self { pk: of_service("REQUEST", service), sk: digest.to_owned() }
    }

    pub(crate) fn hint(service: &ServiceId) -> Self {
        Self { pk: of_service("HINT", service), sk: "TAKEN".to_owned() }
    }

    pub(crate) fn usage(service: &ServiceId) -> Self {
        Self { pk: usage_partition(&service.namespace), sk: service.name.to_string() }
    }

    /// The key in the SDK's form.
    pub(crate) fn attributes(&self) -> Item {
        HashMap::from([("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))])
    }

    /// The key of an item that was read.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let part = |name: &str| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: part("pk")?, sk: part("sk")? })
    }

    /// The namespace that its item is in.
    pub(crate) fn namespace_of(&self) -> Result<Namespace, StoreError> {
        let namespace = self.pk.strip_prefix("N#").and_then(|rest| rest.split('#').next());
        namespace
            .and_then(|namespace| Namespace::try_from(namespace).ok())
            .ok_or_else(|| damaged(self, &"its partition key has no namespace"))
    }

    /// The key in a form that may be logged: a Request's sort key is left out.
    pub(crate) fn shown(&self) -> String {
        if self.pk.contains("#REQUEST#") { format!("{} …", self.pk) } else { format!("{} {}", self.pk, self.sk) }
    }
}

pub(crate) fn namespace_partition(namespace: &Namespace) -> String {
    format!("N#{namespace}")
}

/// The partition of one kind of a service's items.
fn of_service(kind: &str, ServiceId { namespace, name }: &ServiceId) -> String {
    format!("N#{namespace}#{kind}#{name}")
}

pub(crate) fn port_partition(namespace: &Namespace) -> String {
    format!("N#{namespace}#PORT")
}

/// The partition of the usage of a namespace's services. It looks like that of hints of a service with a name that no
/// service has, since an older reconciler lets hints be, and reports a kind of item that it does not know.
pub(crate) fn usage_partition(namespace: &Namespace) -> String {
    format!("N#{namespace}#HINT#*")
}

/// Five digits, so that the order of the text is the numeric order.
pub(crate) fn port_sort(port: Port) -> String {
    format!("{:05}", port.get())
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Builds an item from this key and these attributes.
pub(crate) fn encode(key: &Key, attributes: impl Serialize) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(attributes).map_err(|error| damaged(key, &error))?;
    item.extend(key.attributes());
    Ok(item)
}

/// The attributes of an item that was read. It may have more than are asked for.
pub(crate) fn decode<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let key = Key::of(&item).ok_or_else(without_key)?;
    decode_at(&key, item)
}

/// The same, for an item whose key has been read already.
pub(crate) fn decode_at<T: DeserializeOwned>(key: &Key, item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| damaged(key, &error))
}

pub(crate) fn damaged(key: &Key, reason: &dyn ToString) -> StoreError {
    StoreError::Damaged { key: key.shown(), reason: reason.to_string() }
}

pub(crate) fn without_key() -> StoreError {
    StoreError::Damaged { key: "(without a key)".to_owned(), reason: "no key".to_owned() }
}
