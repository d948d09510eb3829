//! Namespace items: which port spaces exist. The namespace `default` exists without one.
//!
//! A claim never reads one: a service exists only in a namespace that exists, because the creation of a service checks
//! that in its transaction, and the deletion of a namespace checks that no service was created since it looked.

use serde::{Deserialize, Serialize};

use super::access::Keys;
use super::condition::Condition;
use super::item::{Item, Key, NAMESPACES, damaged, decode_at, encode, text, without_key};
use super::ports::Freshness;
use super::ranges::Ranges;
use super::rules;
use super::send::Doubt;
use super::transact::{OnContention, Reason, Transacted, Transaction};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{Description, Namespace, NamespaceInfo, Timestamp, Version};

#[derive(Serialize, Deserialize)]
struct NamespaceItem {
    description: Description,
    created: Timestamp,
    version: Version,
}

/// A Namespace item as it was read.
pub(super) fn namespace(item: Item) -> Result<NamespaceInfo, StoreError> {
    let key = Key::of(&item).ok_or_else(without_key)?;
    let name = Namespace::try_from(key.sk.as_str()).map_err(|error| damaged(&key, &error))?;
    let NamespaceItem { description, created, version } = decode_at(&key, item)?;
    Ok(NamespaceInfo { name, description, made: Some((created, version)) })
}

fn encode_namespace(
    name: &Namespace,
    description: &Description,
    made: (Timestamp, Version),
) -> Result<Item, StoreError> {
    let (created, version) = made;
    encode(&Key::namespace(name), NamespaceItem { description: description.clone(), created, version })
}

/// The outcome of the deletion of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// It is gone.
    Now,
    /// There was none.
    Absent,
    /// A service was created, changed or deleted in it since its Ranges were read.
    RangesChanged,
}

impl Table {
    /// Reads a namespace consistently. The namespace `default` may have no item.
    pub(crate) async fn namespace(&self, call: &Call, name: &Namespace) -> Result<Option<NamespaceInfo>, StoreError> {
        self.get(call, &Key::namespace(name)).await?.map(namespace).transpose()
    }

    /// Reads namespaces by name, consistently, starting after the one given: at most `limit`, and whether there may be
    /// more.
    pub(crate) async fn namespaces(
        &self,
        call: &Call,
        after: Option<&Namespace>,
        limit: usize,
    ) -> Result<(Vec<NamespaceInfo>, bool), StoreError> {
        let (items, more) = self.query_namespaces(call, after, limit).await?;
        Ok((items.into_iter().map(namespace).collect::<Result<_, _>>()?, more))
    }

    /// The same, as names alone: also of items that this version cannot read.
    pub(crate) async fn names_of_namespaces(
        &self,
        call: &Call,
        after: Option<&Namespace>,
        limit: usize,
    ) -> Result<(Vec<Namespace>, bool), StoreError> {
        let (items, more) = self.query_namespaces(call, after, limit).await?;
        let name = |item: Item| Namespace::try_from(Key::of(&item)?.sk).ok();
        Ok((items.into_iter().filter_map(name).collect(), more))
    }

    async fn query_namespaces(
        &self,
        call: &Call,
        after: Option<&Namespace>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let start = after.map(|name| Key::namespace(name).attributes());
        let output = self.query(call, (NAMESPACES, Keys::All), start, limit, Freshness::Consistent).await?;
        let more = output.last_evaluated_key.is_some();
        Ok((output.items.unwrap_or_default(), more))
    }

    /// Creates a namespace. Returns the one that exists already, if there is one.
    pub(crate) async fn create_namespace(
        &self,
        call: &Call,
        name: &Namespace,
        description: &Description,
        made: (Timestamp, Version),
    ) -> Result<Option<NamespaceInfo>, StoreError> {
        let absent = Condition::all(&[rules::NAMESPACE_NEW], []);
        match self.put_if(call, &encode_namespace(name, description, made)?, &absent).await? {
            Ok(()) => Ok(None),
            Err(found) => {
                let found = found.map(namespace).transpose()?;
                // This call's own write, whose response was lost: its version belongs to no other write.
                Ok(found.filter(|found| found.made.map(|(_, version)| version) != Some(made.1)))
            }
        }
    }

    /// Changes the description of a namespace that was made like this. Returns false if it is not that one any more.
    pub(crate) async fn describe_namespace(
        &self,
        call: &Call,
        name: &Namespace,
        description: &Description,
        made: (Timestamp, Version),
    ) -> Result<bool, StoreError> {
        let same = Condition::all(&[rules::NAMESPACE_AS_READ], [(":version", text(made.1.to_string()))]);
        Ok(self.put_if(call, &encode_namespace(name, description, made)?, &same).await?.is_ok())
    }

    /// Deletes a namespace whose Ranges were read and have no ports.
    ///
    /// Every creation of a service writes Ranges and checks that the namespace exists, both in its one transaction. If
    /// the creation is committed before Ranges was read, Ranges has the service's ports: that is one item, so its ports
    /// and its version are of one moment, whatever else of the transaction is visible yet. If it is committed after that
    /// and before the deletion, the version of Ranges is another one. If the deletion comes first, the creation finds no
    /// namespace. Ranges stays, so that no version of it comes again; so do ports that are cooling.
    pub(crate) async fn delete_namespace(
        &self,
        call: &Call,
        name: &Namespace,
        seen: &Ranges,
    ) -> Result<Deleted, StoreError> {
        let exists = Condition::all(&[rules::NAMESPACE_EXISTS], []);
        let unchanged = seen.unchanged(rules::NAMESPACE_RANGES, rules::NAMESPACE_RANGES_ABSENT);
        let transaction = Transaction::new().delete(self, Part::Namespace, &Key::namespace(name), exists)?.check(
            self,
            Part::Ranges,
            &Key::ranges(name),
            unchanged,
        )?;
        let mut reasons = match self.transact(call, transaction, OnContention::Wait).await? {
            Transacted::Done(_) => return Ok(Deleted::Now),
            Transacted::Cancelled(reasons) => reasons,
        };
        match reasons.take(Part::Namespace) {
            // An earlier send, whose response was lost, has deleted it.
            Reason::Failed(_) if reasons.doubt == Doubt::Earlier => Ok(Deleted::Now),
            Reason::Failed(_) => Ok(Deleted::Absent),
            Reason::None | Reason::Contended | Reason::Throttled => Ok(Deleted::RangesChanged),
        }
    }
}

/// The parts of the deletion of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Namespace,
    Ranges,
}
