//! The paths of the API, each written down once: for `Location` and `Link`, for the advice in problems, and for
//! clients. Nothing in them needs encoding, since names consist of RFC 3986's unreserved characters.

use std::fmt::Display;

use portmaster_domain::{Namespace, Secret, ServiceId};

/// The namespaces.
#[must_use]
pub fn namespaces() -> String {
    "/v1/namespaces".to_owned()
}

/// A namespace.
#[must_use]
pub fn namespace(namespace: &Namespace) -> String {
    format!("{}/{namespace}", namespaces())
}

/// The services of a namespace.
#[must_use]
pub fn services(namespace: &Namespace) -> String {
    format!("{}/services", base(namespace))
}

/// A service.
#[must_use]
pub fn service(service: &ServiceId) -> String {
    format!("{}/{}", services(&service.namespace), service.name)
}

/// The offers of a service.
#[must_use]
pub fn offers(service: &ServiceId) -> String {
    format!("{}/offers", self::service(service))
}

/// An offer. The path contains its secret, so the path is a secret too.
#[must_use]
pub fn offer(service: &ServiceId, secret: Secret) -> String {
    format!("{}/{}", offers(service), secret.expose())
}

/// The path to accept an offer.
#[must_use]
pub fn accept(service: &ServiceId, secret: Secret) -> String {
    format!("{}/accept", offer(service, secret))
}

/// The path to reject an offer.
#[must_use]
pub fn reject(service: &ServiceId, secret: Secret) -> String {
    format!("{}/reject", offer(service, secret))
}

/// The allocated ports of a service.
#[must_use]
pub fn ports(service: &ServiceId) -> String {
    format!("{}/ports", self::service(service))
}

/// An allocated port of a service, by its number or by its holder's name.
#[must_use]
pub fn port(service: &ServiceId, port_or_name: impl Display) -> String {
    format!("{}/{port_or_name}", ports(service))
}

/// The path to renew the lease of a port.
#[must_use]
pub fn renew(service: &ServiceId, port_or_name: impl Display) -> String {
    format!("{}/renew", port(service, port_or_name))
}

/// The path to make port sets.
#[must_use]
pub fn sets(service: &ServiceId) -> String {
    format!("{}/sets", self::service(service))
}

/// The path to release many ports at once.
#[must_use]
pub fn release(service: &ServiceId) -> String {
    format!("{}/release", self::service(service))
}

/// The path to import ports that are in use.
#[must_use]
pub fn import(service: &ServiceId) -> String {
    format!("{}/import", self::service(service))
}

/// The map of a service's range.
#[must_use]
pub fn map(service: &ServiceId) -> String {
    format!("{}/map", self::service(service))
}

/// The quarantine or the cool-down of a port of a service.
#[must_use]
pub fn quarantine(service: &ServiceId, port: portmaster_domain::Port) -> String {
    format!("{}/quarantine/{port}", self::service(service))
}

/// A port, whatever its service.
#[must_use]
pub fn any_port(namespace: &Namespace, port: portmaster_domain::Port) -> String {
    format!("{}/ports/{port}", base(namespace))
}

/// The history of a port, whatever its services.
#[must_use]
pub fn port_history(namespace: &Namespace, port: portmaster_domain::Port) -> String {
    format!("{}/history", any_port(namespace, port))
}

/// The history of a service's names.
#[must_use]
pub fn service_history(service: &ServiceId) -> String {
    format!("{}/history", self::service(service))
}

/// The events of a registry on one machine, as they happen.
#[must_use]
pub fn events() -> String {
    "/v1/events".to_owned()
}

/// The beginning of every path of a namespace.
fn base(namespace: &Namespace) -> String {
    if namespace.is_default() { "/v1".to_owned() } else { self::namespace(namespace) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_namespace_has_the_short_paths() {
        let id = |namespace: &str| {
            ServiceId::new(namespace.try_into().unwrap(), portmaster_domain::ServiceName::try_from("django").unwrap())
        };
        assert_eq!(service(&id("default")), "/v1/services/django");
        assert_eq!(port(&id("default"), "web-01"), "/v1/services/django/ports/web-01");
        assert_eq!(port(&id("host-7"), 5000), "/v1/namespaces/host-7/services/django/ports/5000");
        assert_eq!(any_port(&id("host-7").namespace, portmaster_domain::Port::MIN), "/v1/namespaces/host-7/ports/1024");
    }
}
