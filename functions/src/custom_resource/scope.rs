//! What may be made here, by the function's settings: nothing, unless they say so.

use portmaster_domain::ServiceId;
use portmaster_registry::Watched;

use super::outcome::Failure;

/// The services whose ports may be taken, and the services that may be made, changed and deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `CUSTOM_RESOURCE_PORTS`: the services whose ports may be taken.
    pub ports: Vec<Watched>,
    /// `CUSTOM_RESOURCE_SERVICES`: the services that may be made.
    pub services: Vec<Watched>,
}

impl Scope {
    /// Refuses a port of a service that is not listed.
    pub(super) fn ports(&self, service: &ServiceId) -> Result<(), Failure> {
        check(&self.ports, service, "take ports of", "CustomResourcePorts")
    }

    /// Refuses a service that is not listed.
    pub(super) fn services(&self, service: &ServiceId) -> Result<(), Failure> {
        check(&self.services, service, "make, change or delete", "CustomResourceServices")
    }
}

fn check(listed: &[Watched], service: &ServiceId, what: &str, parameter: &str) -> Result<(), Failure> {
    if listed.iter().any(|listed| listed.is(service)) {
        return Ok(());
    }
    let ServiceId { namespace, name } = service;
    Err(Failure::new(
        "not-allowed",
        format!(
            "This registry does not let stacks {what} {namespace}/{name}. Its operator allows it with the parameter \
             {parameter}, and then this has to be tried again.",
        ),
    ))
}
