//! Many ports at once.

use http::Method;
use portmaster_domain::ServiceName;
use portmaster_wire::{Import, Imported, Release, Released, path};

use crate::request::Request;
use crate::{Answer, Client, Error};

impl Client {
    /// Claims ports that are in use already, up to [`Import::MAX`]. Those that cannot be had are in the answer.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found` and `payload-too-large` (more than 16 KiB).
    pub async fn import(&self, service: &ServiceName, ports: &Import) -> Result<Answer<Imported>, Error> {
        let path = path::import(&self.service_id(service));
        self.fetch(&Request::new(self, "import ports", Method::POST, &path).json(ports)?).await
    }

    /// Releases what passes every filter. If the answer says that there may be more, send it again with its cursor.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`.
    pub async fn release_ports(&self, service: &ServiceName, what: &Release) -> Result<Answer<Released>, Error> {
        let path = path::release(&self.service_id(service));
        self.fetch(&Request::new(self, "release ports", Method::POST, &path).json(what)?).await
    }
}
