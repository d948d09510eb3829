//! Offers: ask, accept, reject, list.

use http::{HeaderName, Method};
use portmaster_domain::{Secret, ServiceName};
use portmaster_wire::{Acceptance, ListedOffer, NewOffer, Offer, Port, Rejection, path};

use super::Filter;
use crate::request::Request;
use crate::{Answer, Client, Error, Pages};

impl Client {
    /// Asks for an offer. Each call has an idempotency key of its own, so that a repetition gets the same offer.
    ///
    /// # Errors
    ///
    /// Among the problems: `name-taken`, `port-taken`, `port-not-in-range` and `range-exhausted`.
    pub async fn create_offer(&self, service: &ServiceName, wanted: &NewOffer) -> Result<Answer<Offer>, Error> {
        let path = path::offers(&self.service_id(service));
        let request = Request::new(self, "ask for an offer", Method::POST, &path).json(wanted)?;
        let key = HeaderName::from_static("idempotency-key");
        self.fetch(&request.header(key, &uuid::Uuid::new_v4().to_string())?).await
    }

    /// Accepts an offer: it becomes a port.
    ///
    /// # Errors
    ///
    /// Among the problems: `offer-not-found` and `offer-expired`.
    pub async fn accept(&self, service: &ServiceName, secret: Secret, how: &Acceptance) -> Result<Answer<Port>, Error> {
        let path = path::accept(&self.service_id(service), secret);
        self.fetch(&Request::new(self, "accept an offer", Method::POST, &path).json(how)?).await
    }

    /// Rejects an offer. With the reason *in use* its port goes into quarantine.
    ///
    /// # Errors
    ///
    /// Among the problems: `offer-not-found`, unless this very call has rejected it in an attempt whose answer was lost,
    /// and `offer-accepted`.
    pub async fn reject(&self, service: &ServiceName, secret: Secret, why: &Rejection) -> Result<(), Error> {
        let path = path::reject(&self.service_id(service), secret);
        self.send(&Request::new(self, "reject an offer", Method::POST, &path).json(why)?.ends()).await.map(|_| ())
    }

    /// Lists the offers of a service, without their secrets.
    pub fn list_offers(&self, service: &ServiceName, filter: &Filter) -> Pages<ListedOffer> {
        let path = path::offers(&self.service_id(service));
        Pages::new(self, Request::new(self, "list offers", Method::GET, &path).query(filter.pairs()))
    }
}
