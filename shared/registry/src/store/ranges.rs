//! The Ranges item: which ports of a namespace belong to some service.
//!
//! It only says which service may hand out which port; the Port items alone say who *holds* a port. It is written in
//! the same transaction as the Service whose range changes, on condition of its version, so two services that are
//! created or resized at once cannot both get a port (3).

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::condition::Condition;
use super::item::{Item, Key, damaged, number};
use super::rules::{self, Rule};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::Namespace;
use portmaster_domain::allocator::PortSet;

/// The claimed ports of a namespace, as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ranges {
    /// Every port that belongs to a service.
    pub(crate) claimed: PortSet,
    /// How often the item was written; none if there is no item yet. It is never deleted, so no version recurs.
    version: Option<i64>,
}

impl Ranges {
    fn read(item: &Item) -> Result<Self, StoreError> {
        let key = Key::of(item).unwrap_or(Key { pk: "N#…".to_owned(), sk: "RANGES".to_owned() });
        let bits = item.get("bits").and_then(|bits| bits.as_b().ok());
        let claimed = bits.and_then(|bits| PortSet::from_bytes(bits.as_ref()));
        let version = item.get("version").and_then(|version| version.as_n().ok()?.parse().ok());
        match (claimed, version) {
            (Some(claimed), Some(version)) => Ok(Self { claimed, version: Some(version) }),
            _ => Err(damaged(&key, &"it has no bitmap of 6,016 bytes and a version")),
        }
    }

    fn item(&self, namespace: &Namespace, claimed: &PortSet) -> Item {
        let mut item = Key::ranges(namespace).attributes();
        item.insert("bits".to_owned(), AttributeValue::B(Blob::new(claimed.to_bytes())));
        item.insert("version".to_owned(), number(self.version.unwrap_or(0) + 1));
        item
    }

    /// The item that replaces what was read by `claimed`, and its condition: that nobody else has written since.
    pub(crate) fn replaced_by(&self, namespace: &Namespace, claimed: &PortSet) -> (Item, Condition) {
        (self.item(namespace, claimed), self.unchanged(rules::RANGES_VERSION, rules::RANGES_ABSENT))
    }

    pub(super) fn unchanged(&self, version_rule: Rule, absent_rule: Rule) -> Condition {
        match self.version {
            None => Condition::all(&[absent_rule], []),
            Some(version) => Condition::all(&[version_rule], [(":version", number(version))]),
        }
    }
}

impl Table {
    /// Reads the claimed ports of a namespace consistently: 2 read units.
    pub(crate) async fn ranges(&self, call: &Call, namespace: &Namespace) -> Result<Ranges, StoreError> {
        match self.get(call, &Key::ranges(namespace)).await? {
            Some(item) => Ranges::read(&item),
            None => Ok(Ranges::default()),
        }
    }

    /// Replaces a bitmap that disagrees with the services by one built from scratch. Every change of a range writes
    /// this item in its own transaction, so if the version is still the one that was read *before* the services were,
    /// then the services are still as they were read. This assumes that no transaction was partly visible at the time,
    /// which the caller ensures by reading both twice. Returns whether the bitmap was written.
    pub(crate) async fn rebuild_ranges(
        &self,
        call: &Call,
        namespace: &Namespace,
        seen: &Ranges,
        claimed: &PortSet,
    ) -> Result<bool, StoreError> {
        let unchanged = seen.unchanged(rules::REBUILD_VERSION, rules::REBUILD_ABSENT);
        Ok(self.put_if(call, &seen.item(namespace, claimed), &unchanged).await?.is_ok())
    }
}
