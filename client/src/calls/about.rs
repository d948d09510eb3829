//! About the registry itself.

use http::Method;
use portmaster_wire::Health;

use crate::request::Request;
use crate::{Answer, Client, Error};

impl Client {
    /// Asks whether the registry and its table answer.
    ///
    /// # Errors
    ///
    /// Among the problems: `unavailable`, whose detail says why.
    pub async fn health(&self) -> Result<Answer<Health>, Error> {
        self.fetch(&Request::new(self, "read the health", Method::GET, "/health")).await
    }

    /// Reads the version of the registry's API, from its OpenAPI document.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub async fn version(&self) -> Result<Answer<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Document {
            info: Info,
        }
        #[derive(serde::Deserialize)]
        struct Info {
            version: String,
        }
        let document: Answer<Document> =
            self.fetch(&Request::new(self, "read the document", Method::GET, "/v1/openapi.json")).await?;
        Ok(document.map(|document| document.info.version))
    }
}
