//! Reading how full services were when the reconciler last came by.

use std::collections::HashMap;

use super::{Error, Registry};
use crate::Call;
use portmaster_domain::{Namespace, Service, ServiceId, ServiceName, Usage};

impl Registry {
    /// Reads a service, and how full it was when the reconciler last came by, if it has: in parallel, so one round trip,
    /// and half a read unit more than the service alone.
    ///
    /// # Errors
    /// [`Error::ServiceNotFound`], [`Error::NamespaceNotFound`], [`Error::Store`].
    pub async fn get_service_and_usage(&self, call: &Call, id: &ServiceId) -> Result<(Service, Option<Usage>), Error> {
        let usage = async { Ok(self.table.usage(call, id).await?) };
        let (service, usage) = futures::future::try_join(self.get_service(call, id), usage).await?;
        let usage = usage.filter(|usage| is_of(usage, &service));
        Ok((service, usage))
    }

    /// Reads how full these services of a namespace were, which are a page of a list, in its order: half a read unit for
    /// some twenty of them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn usages(
        &self,
        call: &Call,
        namespace: &Namespace,
        services: &[Service],
    ) -> Result<HashMap<ServiceName, Usage>, Error> {
        let (Some(first), Some(last)) = (services.first(), services.last()) else { return Ok(HashMap::new()) };
        let mut found = self.table.usages(call, namespace, Some((&first.id.name, &last.id.name))).await?;
        let known: HashMap<_, _> = services.iter().map(|service| (&service.id.name, service)).collect();
        found.retain(|name, usage| known.get(name).is_some_and(|service| is_of(usage, service)));
        Ok(found)
    }
}

/// Whether a usage is this service's, and not that of an earlier one of the same name.
fn is_of(usage: &Usage, service: &Service) -> bool {
    usage.created == service.created
}
