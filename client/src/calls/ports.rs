//! Ports: ensure, renew, release, read.

use http::Method;
use portmaster_domain::{InstanceName, Port as Number, ServiceName};
use portmaster_wire::{FoundPort, NewPort, NewSet, Port, Renewal, Set, path};

use super::{Filter, Holder, Precondition, by_name};
use crate::request::Request;
use crate::{Answer, Client, Error, Pages, PortOrName};

impl Client {
    /// Ensures that a name has a port. The answer says whether it [is new](Answer::created); the same owner gets the
    /// port that the name has already, with its lease extended.
    ///
    /// # Errors
    ///
    /// Among the problems: `name-taken`, `port-taken`, `port-not-in-range`, `range-exhausted` (with
    /// [`Error::retry_after`] where a port comes back by itself) and, with a precondition, `precondition-failed`.
    pub async fn put_port(
        &self,
        service: &ServiceName,
        name: &InstanceName,
        wanted: &NewPort,
        precondition: Precondition,
    ) -> Result<Answer<Port>, Error> {
        let path = path::port(&self.service_id(service), by_name(name));
        let request = Request::new(self, "put a port", Method::PUT, &path).under(&precondition)?.json(wanted)?;
        self.fetch(&request).await
    }

    /// Ensures that several names have ports, all or none of them. The ports are in the order of the names.
    ///
    /// # Errors
    ///
    /// Among the problems: `name-taken` and `range-exhausted`.
    pub async fn put_set(&self, service: &ServiceName, wanted: &NewSet) -> Result<Answer<Set>, Error> {
        let path = path::sets(&self.service_id(service));
        self.fetch(&Request::new(self, "put a set", Method::POST, &path).json(wanted)?).await
    }

    /// Renews the lease of a port. It is never shortened.
    ///
    /// # Errors
    ///
    /// Among the problems: `port-not-found`, `not-the-owner` and `lease-expired`. With each of them the port is lost.
    pub async fn renew(
        &self,
        service: &ServiceName,
        port: &PortOrName,
        renewal: &Renewal,
    ) -> Result<Answer<Port>, Error> {
        let path = path::renew(&self.service_id(service), port);
        self.fetch(&Request::new(self, "renew a port", Method::POST, &path).json(renewal)?).await
    }

    /// Releases a port.
    ///
    /// # Errors
    ///
    /// Among the problems: `port-not-found`, unless this very call has released it in an attempt whose answer was lost,
    /// and `not-the-owner`.
    pub async fn release(&self, service: &ServiceName, port: &PortOrName, holder: &Holder) -> Result<(), Error> {
        let path = path::port(&self.service_id(service), port);
        let owner = match holder {
            Holder::Owner(owner) => Some(owner.to_string()),
            Holder::Nobody => None,
            Holder::Anybody => Some("*".to_owned()),
        };
        let request = Request::new(self, "release a port", Method::DELETE, &path).ends();
        self.send(&request.query(owner.map(|owner| ("owner", owner)))).await.map(|_| ())
    }

    /// Reads a port of a service.
    ///
    /// # Errors
    ///
    /// Among the problems: `port-not-found`, which says more where the port is offered, cooling or in quarantine.
    pub async fn get_port(&self, service: &ServiceName, port: &PortOrName) -> Result<Answer<Port>, Error> {
        let path = path::port(&self.service_id(service), port);
        self.fetch(&Request::new(self, "read a port", Method::GET, &path)).await
    }

    /// Lists the ports of a service, by number.
    pub fn list_ports(&self, service: &ServiceName, filter: &Filter) -> Pages<Port> {
        let path = path::ports(&self.service_id(service));
        Pages::new(self, Request::new(self, "list ports", Method::GET, &path).query(filter.pairs()))
    }

    /// Finds out what has a port, whatever its service. Cooling and quarantined ports are found too.
    ///
    /// # Errors
    ///
    /// Among the problems: `port-not-found`, which says to whom the port is offered, if it is.
    pub async fn find_port(&self, port: Number) -> Result<Answer<FoundPort>, Error> {
        let path = path::any_port(&self.namespace, port);
        self.fetch(&Request::new(self, "find a port", Method::GET, &path)).await
    }

    /// Ends the quarantine or the cool-down of a port. For operators.
    ///
    /// # Errors
    ///
    /// Among the problems: `port-not-found`, where the port is neither cooling nor in quarantine.
    pub async fn end_quarantine(&self, service: &ServiceName, port: Number) -> Result<(), Error> {
        let path = path::quarantine(&self.service_id(service), port);
        self.send(&Request::new(self, "end a quarantine", Method::DELETE, &path).ends()).await.map(|_| ())
    }
}
