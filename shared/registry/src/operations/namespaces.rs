//! Namespaces: the port spaces that services are in. The namespace `default` always exists.

use super::{Error, Listed, Registry};
use crate::Call;
use crate::store::{Deleted, backoff, wait};
use portmaster_domain::{Description, Namespace, NamespaceInfo, PortRange, ServiceId, ServiceName, Version};

/// How many services the refusal of a deletion names.
const SHOWN: usize = 10;

/// How often a deletion that finds ports of no service looks again.
const DOUBTS: u32 = 5;

impl Registry {
    /// Creates a namespace, or changes its description. Returns it, and whether it is new.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put_namespace(
        &self,
        call: &Call,
        name: &Namespace,
        description: Description,
    ) -> Result<(NamespaceInfo, bool), Error> {
        let made = (self.clock.now(), Version::unique());
        loop {
            let found = self.table.create_namespace(call, name, &description, made).await?;
            let Some(found) = found else {
                let created = NamespaceInfo { name: name.clone(), description, made: Some(made) };
                // It existed before, without an item.
                return Ok((created, !name.is_default()));
            };
            let Some(as_read) = found.made.filter(|_| found.description != description) else {
                return Ok((found, false));
            };
            if self.table.describe_namespace(call, name, &description, as_read).await? {
                return Ok((NamespaceInfo { description, ..found }, false));
            }
            // It was deleted meanwhile.
        }
    }

    /// Returns a namespace.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::Store`].
    pub async fn get_namespace(&self, call: &Call, name: &Namespace) -> Result<NamespaceInfo, Error> {
        match self.table.namespace(call, name).await? {
            Some(found) => Ok(found),
            None if name.is_default() => Ok(NamespaceInfo::implied()),
            None => Err(Error::NamespaceNotFound { namespace: name.clone() }),
        }
    }

    /// Lists namespaces by name, starting after the one given.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_namespaces(
        &self,
        call: &Call,
        after: Option<&Namespace>,
        limit: usize,
    ) -> Result<Listed<NamespaceInfo, Namespace>, Error> {
        let (mut items, mut more) = self.table.namespaces(call, after, limit).await?;
        let implied = NamespaceInfo::implied();
        // The namespace `default` has its place in the list without an item, too.
        let is_here = after.is_none_or(|after| *after < implied.name)
            && (!more || items.last().is_some_and(|last| implied.name < last.name));
        if let (Err(place), true) = (items.binary_search_by(|item| item.name.cmp(&implied.name)), is_here) {
            items.insert(place, implied);
            more |= items.len() > limit;
            items.truncate(limit);
        }
        let next = items.last().filter(|_| more).map(|last| last.name.clone());
        Ok(Listed { items, next })
    }

    /// Deletes a namespace that has no services.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::NamespaceInUse`], [`Error::Store`].
    pub async fn delete_namespace(&self, call: &Call, name: &Namespace) -> Result<(), Error> {
        let in_use =
            |services: Vec<ServiceName>, more: bool| Error::NamespaceInUse { namespace: name.clone(), services, more };
        if name.is_default() {
            return Err(in_use(Vec::new(), false));
        }
        let mut waits = backoff();
        let mut doubts = 0;
        loop {
            let seen = self.table.ranges(call, name).await?;
            let (services, more) = self.table.services(call, name, None, SHOWN).await?;
            if !services.is_empty() {
                return Err(in_use(services.into_iter().map(|service| service.id.name).collect(), more));
            }
            if seen.claimed.count(PortRange::ALL) > 0 {
                // A service is being created or deleted, and only a part of that transaction is visible yet. If that
                // does not change, Ranges is damaged, and the reconciler will repair it.
                doubts += 1;
                if doubts > DOUBTS {
                    return Err(in_use(Vec::new(), true));
                }
                wait(call, &mut waits, "a change of a service's range").await?;
                continue;
            }
            match self.table.delete_namespace(call, name, &seen).await? {
                Deleted::Now => return Ok(()),
                Deleted::Absent => return Err(Error::NamespaceNotFound { namespace: name.clone() }),
                Deleted::RangesChanged => wait(call, &mut waits, "a change of a service's range").await?,
            }
        }
    }

    /// That there is no such service; or no such namespace, which is a better answer.
    pub(super) async fn no_service(&self, call: &Call, service: &ServiceId) -> Error {
        match self.has_namespace(call, &service.namespace).await {
            Err(error @ Error::NamespaceNotFound { .. }) => error,
            // Also where that could not be read: that there is no such service is known.
            Ok(()) | Err(_) => Error::ServiceNotFound { service: service.clone() },
        }
    }

    /// Makes sure that a namespace exists, before something in it is said to be missing.
    pub(super) async fn has_namespace(&self, call: &Call, namespace: &Namespace) -> Result<(), Error> {
        if namespace.is_default() { Ok(()) } else { self.get_namespace(call, namespace).await.map(drop) }
    }
}
