//! Namespaces: ensure, read, list, delete.

use http::Method;
use portmaster_domain::Namespace as Name;
use portmaster_wire::{Namespace, NamespaceContent, path};

use crate::request::Request;
use crate::{Answer, Client, Error, Pages};

impl Client {
    /// Ensures that a namespace exists with this content. The answer says whether it [is new](Answer::created).
    ///
    /// # Errors
    ///
    /// As for every call.
    pub async fn put_namespace(&self, name: &Name, content: &NamespaceContent) -> Result<Answer<Namespace>, Error> {
        self.fetch(&Request::new(self, "put a namespace", Method::PUT, &path::namespace(name)).json(content)?).await
    }

    /// Reads a namespace.
    ///
    /// # Errors
    ///
    /// Among the problems: `namespace-not-found`.
    pub async fn get_namespace(&self, name: &Name) -> Result<Answer<Namespace>, Error> {
        self.fetch(&Request::new(self, "read a namespace", Method::GET, &path::namespace(name))).await
    }

    /// Lists the namespaces, by name.
    pub fn list_namespaces(&self) -> Pages<Namespace> {
        let request = Request::new(self, "list namespaces", Method::GET, &path::namespaces());
        Pages::new(self, request.query([("limit", "1000".to_owned())]))
    }

    /// Deletes a namespace that has no services.
    ///
    /// # Errors
    ///
    /// Among the problems: `namespace-not-found` and `namespace-in-use`.
    pub async fn delete_namespace(&self, name: &Name) -> Result<(), Error> {
        let request = Request::new(self, "delete a namespace", Method::DELETE, &path::namespace(name)).ends();
        self.send(&request).await.map(|_| ())
    }
}
