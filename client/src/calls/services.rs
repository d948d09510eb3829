//! Services: ensure, change, read, list, delete; and the map.

use http::Method;
use portmaster_domain::ServiceName;
use portmaster_wire::{Map, Service, ServiceContent, ServicePatch, path};

use super::Precondition;
use crate::request::Request;
use crate::{Answer, Client, Error, Pages};

impl Client {
    /// Ensures that a service exists with this content. The answer says whether it [is new](Answer::created).
    ///
    /// # Errors
    ///
    /// Among the problems: `range-overlap`, `range-in-use` and, with a precondition, `precondition-failed`.
    pub async fn put_service(
        &self,
        service: &ServiceName,
        content: &ServiceContent,
        precondition: Precondition,
    ) -> Result<Answer<Service>, Error> {
        let path = path::service(&self.service_id(service));
        let request = Request::new(self, "put a service", Method::PUT, &path).under(&precondition)?.json(content)?;
        self.fetch(&request).await
    }

    /// Changes some fields of a service.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`, `range-overlap`, `range-in-use` and `precondition-failed`.
    pub async fn patch_service(
        &self,
        service: &ServiceName,
        patch: &ServicePatch,
        precondition: Precondition,
    ) -> Result<Answer<Service>, Error> {
        let path = path::service(&self.service_id(service));
        let request = Request::new(self, "change a service", Method::PATCH, &path).under(&precondition)?.json(patch)?;
        self.fetch(&request).await
    }

    /// Reads a service.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`.
    pub async fn get_service(&self, service: &ServiceName) -> Result<Answer<Service>, Error> {
        let path = path::service(&self.service_id(service));
        self.fetch(&Request::new(self, "read a service", Method::GET, &path)).await
    }

    /// Reads a service, and how full it was when the reconciler last came by, if it has.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`.
    pub async fn get_service_and_usage(&self, service: &ServiceName) -> Result<Answer<Service>, Error> {
        let path = path::service(&self.service_id(service));
        let request = Request::new(self, "read a service", Method::GET, &path);
        self.fetch(&request.query([("usage", "true".to_owned())])).await
    }

    /// Lists the services, by name.
    pub fn list_services(&self) -> Pages<Service> {
        let request = Request::new(self, "list services", Method::GET, &path::services(&self.namespace));
        Pages::new(self, request.query([("limit", "1000".to_owned())]))
    }

    /// Lists the services, by name, with how full each was when the reconciler last came by, if it has.
    pub fn list_services_and_usage(&self) -> Pages<Service> {
        let request = Request::new(self, "list services", Method::GET, &path::services(&self.namespace));
        Pages::new(self, request.query([("limit", "1000".to_owned()), ("usage", "true".to_owned())]))
    }

    /// Deletes a service that has no ports.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`, `service-in-use` and `precondition-failed`.
    pub async fn delete_service(&self, service: &ServiceName, precondition: Precondition) -> Result<(), Error> {
        let path = path::service(&self.service_id(service));
        let request = Request::new(self, "delete a service", Method::DELETE, &path).under(&precondition)?;
        self.send(&request.ends()).await.map(|_| ())
    }

    /// Reads what every port of a service is.
    ///
    /// # Errors
    ///
    /// Among the problems: `service-not-found`.
    pub async fn map(&self, service: &ServiceName) -> Result<Answer<Map>, Error> {
        let path = path::map(&self.service_id(service));
        self.fetch(&Request::new(self, "read a map", Method::GET, &path)).await
    }
}
