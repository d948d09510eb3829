//! `/v1/services/{service}/offers`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use portmaster_domain::{Port, StateKind};
use portmaster_registry::{Asked, Call};
use portmaster_wire::{self as wire, Acceptance, NewOffer, Reason, Rejection, Seconds, path};

use super::body::{Body, OptionalBody};
use super::filter::Filter;
use super::headers::{self, idempotency_key};
use super::outcome::{About, Outcome};
use super::paging::{self, Page};
use super::path::{InService, OfOffer};
use super::problem::{both, problems};
use super::{Api, Problem};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

problems!(CreateProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, NameTaken,
    PortTaken, PortNotInRange, RangeExhausted, IdempotencyKeyReused, ServiceClosing);
problems!(ListProblems: NotFound, ServiceNotFound);
problems!(GetProblems: NotFound, ServiceNotFound, OfferNotFound);
problems!(AcceptProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, OfferNotFound,
    OfferExpired, LeaseExpired);
problems!(RejectProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, OfferNotFound,
    OfferAccepted);
problems!(DeleteProblems: NotFound, ServiceNotFound, OfferNotFound, OfferAccepted);

/// Ask for a port.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers", operation_id = "createOffer", tag = "offers",
    params(
        InService,
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same key and body give the same offer again while it lives; 1 to 255 printable characters."),
    ),
    request_body = NewOffer,
    responses(
        (status = 201, description = "The offer. Accept it before it expires.", body = wire::Offer, headers(
            ("Location" = String, description = "Its path."),
            ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key made it."))),
        CreateProblems,
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    headers: HeaderMap,
    body: Result<Body<NewOffer>, Problem>,
) -> Result<Response, Problem> {
    let (Body(NewOffer { name, port, owner, labels }), key) = both(body, idempotency_key(&headers))?;
    let about = About { port: None, name: Some(name.clone()) };
    let asked = Asked { name, port, owner, labels };
    let offered = api.registry.offer(&call, &service, asked, key.as_ref()).await;
    let offered = offered.map_err(|error| Problem::from(error).regarding(about))?;
    let outcome = if offered.replayed { Outcome::Replayed } else { Outcome::Offered };
    let (answer, about) = (wire::Offer::from(&offered.holding), About::from(&offered.holding.claim));
    let mut response = (StatusCode::CREATED, Extension(outcome), Extension(about), Json(answer)).into_response();
    let headers = response.headers_mut();
    headers::set(headers, header::LOCATION, &path::offer(&service, offered.holding.secret));
    if offered.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// List the live offers of a service, by port, without their secrets.
#[utoipa::path(
    get, path = "/v1/services/{service}/offers", operation_id = "listOffers", tag = "offers",
    params(InService, Page<Port>, Filter),
    responses(
        (status = 200, description = "A page of the offers; it may come up short.", body = Vec<wire::ListedOffer>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    page: Result<Page<Port>, Problem>,
    filter: Result<Filter, Problem>,
    InService(service): InService,
) -> Result<Response, Problem> {
    let wanted = both(page, filter)?;
    paging::of_claims::<wire::ListedOffer>(&api, &call, &service, &wanted, StateKind::Offered).await
}

/// Read an offer.
#[utoipa::path(
    get, path = "/v1/services/{service}/offers/{secret}", operation_id = "getOffer", tag = "offers",
    params(OfOffer),
    responses((status = 200, description = "The offer.", body = wire::Offer), GetProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    OfOffer { service, secret }: OfOffer,
) -> Result<Response, Problem> {
    let holding = api.registry.get_offer(&call, &service, secret).await?;
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Extension(About::from(&holding.claim)), Json(wire::Offer::from(&holding))).into_response())
}

/// Accept an offer.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers/{secret}/accept", operation_id = "acceptOffer", tag = "offers",
    params(OfOffer),
    request_body = Option<Acceptance>,
    responses(
        (status = 201, description = "The port, which is allocated to the instance.", body = wire::Port, headers(
            ("Location" = String, description = "Its path."))),
        (status = 200, description = "It was accepted before: the same port, as it is now.", body = wire::Port, headers(
            ("Location" = String, description = "Its path."))),
        AcceptProblems,
    )
)]
pub(super) async fn accept(
    State(api): State<Api>,
    call: Call,
    OfOffer { service, secret }: OfOffer,
    OptionalBody(Acceptance { lease_seconds }): OptionalBody<Acceptance>,
) -> Result<Response, Problem> {
    let lease = lease_seconds.map(Seconds::get);
    let (claim, first) = api.registry.accept(&call, &service, secret, lease).await?;
    let (status, outcome) = if first {
        (StatusCode::CREATED, Outcome::Accepted { leased: claim.lease().is_some() })
    } else {
        (StatusCode::OK, Outcome::AcceptedAgain)
    };
    let about = About::from(&claim);
    let mut response = (status, Extension(outcome), Extension(about), Json(wire::Port::from(&claim))).into_response();
    headers::set(response.headers_mut(), header::LOCATION, &path::port(&service, claim.port));
    Ok(response)
}

/// Reject an offer.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers/{secret}/reject", operation_id = "rejectOffer", tag = "offers",
    params(OfOffer),
    request_body = Option<Rejection>,
    responses((status = 204, description = "It is gone."), RejectProblems)
)]
pub(super) async fn reject(
    State(api): State<Api>,
    call: Call,
    OfOffer { service, secret }: OfOffer,
    OptionalBody(Rejection { reason, quarantine_seconds }): OptionalBody<Rejection>,
) -> Result<Response, Problem> {
    let (why, outcome) = match reason {
        Some(Reason::InUse) => {
            let quarantine = quarantine_seconds.map(Seconds::get);
            (portmaster_registry::Rejection::InUse { quarantine }, Outcome::Quarantined)
        }
        Some(Reason::Unwanted) | None => (portmaster_registry::Rejection::Unwanted, Outcome::Rejected),
    };
    api.registry.reject(&call, &service, secret, why).await?;
    Ok((StatusCode::NO_CONTENT, Extension(outcome)).into_response())
}

/// Delete an offer: another way to reject it.
#[utoipa::path(
    delete, path = "/v1/services/{service}/offers/{secret}", operation_id = "deleteOffer", tag = "offers",
    params(OfOffer),
    responses((status = 204, description = "It is gone."), DeleteProblems)
)]
pub(super) async fn delete(
    State(api): State<Api>,
    call: Call,
    OfOffer { service, secret }: OfOffer,
) -> Result<Response, Problem> {
    api.registry.reject(&call, &service, secret, portmaster_registry::Rejection::Unwanted).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Rejected)).into_response())
}
