//! History: who had a port, and when.

use http::Method;
use portmaster_domain::{InstanceName, Port as Number, ServiceName, Timestamp};
use portmaster_wire::{Tenure, path};

use crate::request::Request;
use crate::{Client, Error, Pages};

/// The part of a history that is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Only tenures that had not ended by then.
    pub from: Option<Timestamp>,
    /// Only tenures that had begun by then.
    pub to: Option<Timestamp>,
}

impl Span {
    fn pairs(self) -> impl Iterator<Item = (&'static str, String)> {
        let times = [("from", self.from), ("to", self.to)];
        times.into_iter().filter_map(|(name, time)| Some((name, time?.to_rfc3339())))
    }
}

impl Client {
    /// Lists who had a port and when, whatever its services, the newest first. Among the problems of its pages:
    /// `history-off`.
    pub fn port_history(&self, port: Number, span: Span) -> Pages<Tenure> {
        let request = Request::new(self, "read a history", Method::GET, &path::port_history(&self.namespace, port));
        Pages::new(self, request.query(span.pairs()))
    }

    /// Finds out who had a port at a time; none if nobody had.
    ///
    /// # Errors
    ///
    /// Among the problems: `history-off`.
    pub async fn port_history_at(&self, port: Number, at: Timestamp) -> Result<Option<Tenure>, Error> {
        let request = Request::new(self, "read a history", Method::GET, &path::port_history(&self.namespace, port));
        self.at(request.query([("at", at.to_rfc3339())])).await
    }

    /// Lists which ports a name of a service had and when, the newest first, also where the service is gone. Among the
    /// problems of its pages: `history-off`.
    pub fn name_history(&self, service: &ServiceName, name: &InstanceName, span: Span) -> Pages<Tenure> {
        let path = path::service_history(&self.service_id(service));
        let request = Request::new(self, "read a history", Method::GET, &path);
        Pages::new(self, request.query([("name", name.to_string())].into_iter().chain(span.pairs())))
    }

    /// Finds out which port a name of a service had at a time; none if it had none.
    ///
    /// # Errors
    ///
    /// Among the problems: `history-off`.
    pub async fn name_history_at(
        &self,
        service: &ServiceName,
        name: &InstanceName,
        at: Timestamp,
    ) -> Result<Option<Tenure>, Error> {
        let path = path::service_history(&self.service_id(service));
        let request = Request::new(self, "read a history", Method::GET, &path);
        self.at(request.query([("name", name.to_string()), ("at", at.to_rfc3339())])).await
    }

    async fn at(&self, request: Request) -> Result<Option<Tenure>, Error> {
        let tenures = self.fetch::<Vec<Tenure>>(&request).await?;
        Ok(tenures.value.into_iter().next())
    }
}
