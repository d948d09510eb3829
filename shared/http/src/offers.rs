//! `/v1/services/{service}/offers`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deserr::Deserr;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{Body, Checked, Faults};
use super::headers::idempotency_key;
use super::outcome::{About, Outcome};
use super::page::{self, Page};
use super::path::{self, Segments};
use super::ports::PortAnswer;
use super::problem::{both, problems};
use super::services::Name;
use super::{Api, Problem};
use portmaster_domain::{Claim, ClaimState, Expiry, Holding, InstanceName, Namespace, Port};
use portmaster_registry::Call;

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Who wants a port.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(as = NewOffer, description = "Who wants a port.")]
pub(super) struct NewOffer {
    /// The instance's name, unique among the live ones of its service. Not digits alone.
    #[schema(value_type = Name, example = "web-01")]
    name: InstanceName,
}

impl Checked for NewOffer {}

/// An offer, for its holder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Offer, description = "An offer, for its holder.")]
pub(super) struct OfferAnswer {
    #[serde(flatten)]
    listed: ListedOffer,
    /// What the holder accepts or rejects the offer with. Nobody else is ever shown it.
    #[schema(format = Uuid, example = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f")]
    secret: String,
}

/// An offer, for everybody: without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(description = "An offer, for everybody: without its secret.")]
pub(super) struct ListedOffer {
    /// The service.
    #[schema(example = "django")]
    service: String,
    /// Who holds it.
    #[schema(example = "web-01")]
    name: String,
    /// The port.
    #[schema(minimum = 1024, maximum = 49151, example = 5000)]
    port: u16,
    /// When it was made (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    created: String,
    /// When it ends unless it is accepted (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-11-22T10:30:00Z")]
    expires_at: Option<String>,
}

impl From<&Claim> for ListedOffer {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.to_string(),
            name: claim.name.to_string(),
            port: claim.port.get(),
            created: claim.created.to_rfc3339(),
            expires_at: claim.expires_at.map(Expiry::to_rfc3339),
        }
    }
}

impl From<&Holding> for OfferAnswer {
    fn from(holding: &Holding) -> Self {
        Self { listed: ListedOffer::from(&holding.claim), secret: holding.secret.expose() }
    }
}

problems!(CreateProblems: MalformedJson, RequestTimeout, UnsupportedMediaType, NotFound, ServiceNotFound, NameTaken,
    RangeExhausted, IdempotencyKeyReused, ServiceClosing);
problems!(ListProblems: NotFound, ServiceNotFound);
problems!(GetProblems: NotFound, ServiceNotFound, OfferNotFound);
problems!(AcceptProblems: NotFound, ServiceNotFound, OfferNotFound, OfferExpired);
problems!(RejectProblems: NotFound, ServiceNotFound, OfferNotFound, OfferAccepted);

/// Ask for a port.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers", operation_id = "createOffer", tag = "offers",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same key and body give the same offer again while it lives; 1 to 255 printable characters."),
    ),
    request_body = NewOffer,
    responses(
        (status = 201, description = "The offer. Accept it before it expires.", body = OfferAnswer, headers(
            ("Location" = String, description = "Its path."),
            ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key made it."))),
        CreateProblems,
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    call: Call,
    Segments(service): Segments<String>,
    headers: HeaderMap,
    body: Result<Body<NewOffer>, Problem>,
) -> Result<Response, Problem> {
    let service = path::service(&service)?;
    let (Body(NewOffer { name }), key) = both(body, idempotency_key(&headers))?;
    let offered = api.registry.offer(&call, &Namespace::default(), &service, &name, key.as_ref()).await;
    let about = About { port: None, name: Some(name) };
    let offered = offered.map_err(|error| Problem::from(error).regarding(about))?;
    let location = format!("/v1/services/{service}/offers/{}", offered.holding.secret.expose());
    let outcome = if offered.replayed { Outcome::Replayed } else { Outcome::Offered };
    let (answer, about) = (OfferAnswer::from(&offered.holding), About::from(&offered.holding.claim));
    let mut response = (StatusCode::CREATED, Extension(outcome), Extension(about), Json(answer)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    if offered.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// List the live offers of a service, by port, without their secrets.
#[utoipa::path(
    get, path = "/v1/services/{service}/offers", operation_id = "listOffers", tag = "offers",
    params(("service" = String, Path, description = "The service's name."), Page<Port>),
    responses(
        (status = 200, description = "A page of the offers; it may come up short.", body = Vec<ListedOffer>, headers(
            ("Link" = String, description = "The next page, where there is one (RFC 8288)."))),
        ListProblems,
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    call: Call,
    Segments(service): Segments<String>,
    page: Page<Port>,
) -> Result<Response, Problem> {
    page::of_claims::<ListedOffer>(&api, &call, &service, &page, ClaimState::Offered, "offers").await
}

/// Read an offer.
#[utoipa::path(
    get, path = "/v1/services/{service}/offers/{secret}", operation_id = "getOffer", tag = "offers",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("secret" = String, Path, description = "The offer's secret."),
    ),
    responses((status = 200, description = "The offer.", body = OfferAnswer), GetProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    Segments(segments): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let (service, secret) = path::offer(&segments)?;
    let holding = api.registry.get_offer(&call, &Namespace::default(), &service, secret).await?;
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Extension(About::from(&holding.claim)), Json(OfferAnswer::from(&holding))).into_response())
}

/// Accept an offer.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers/{secret}/accept", operation_id = "acceptOffer", tag = "offers",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("secret" = String, Path, description = "The offer's secret."),
    ),
    responses(
        (status = 201, description = "The port is the instance's.", body = PortAnswer, headers(
            ("Location" = String, description = "Its path."))),
        (status = 200, description = "It was accepted before; the same answer.", body = PortAnswer, headers(
            ("Location" = String, description = "Its path."))),
        AcceptProblems,
    )
)]
pub(super) async fn accept(
    State(api): State<Api>,
    call: Call,
    Segments(segments): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let (service, secret) = path::offer(&segments)?;
    let (claim, first) = api.registry.accept(&call, &Namespace::default(), &service, secret).await?;
    let (status, outcome) =
        if first { (StatusCode::CREATED, Outcome::Accepted) } else { (StatusCode::OK, Outcome::AcceptedAgain) };
    let about = About::from(&claim);
    let mut response = (status, Extension(outcome), Extension(about), Json(PortAnswer::from(&claim))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/services/{service}/ports/{}", claim.port)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Reject an offer.
#[utoipa::path(
    post, path = "/v1/services/{service}/offers/{secret}/reject", operation_id = "rejectOffer", tag = "offers",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("secret" = String, Path, description = "The offer's secret."),
    ),
    responses((status = 204, description = "It is gone."), RejectProblems)
)]
pub(super) async fn reject(
    State(api): State<Api>,
    call: Call,
    Segments(segments): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let (service, secret) = path::offer(&segments)?;
    api.registry.reject(&call, &Namespace::default(), &service, secret).await?;
    Ok((StatusCode::NO_CONTENT, Extension(Outcome::Rejected)).into_response())
}

/// Delete an offer: another way to reject it.
#[utoipa::path(
    delete, path = "/v1/services/{service}/offers/{secret}", operation_id = "deleteOffer", tag = "offers",
    params(
        ("service" = String, Path, description = "The service's name."),
        ("secret" = String, Path, description = "The offer's secret."),
    ),
    responses((status = 204, description = "It is gone."), RejectProblems)
)]
pub(super) async fn delete(
    api: State<Api>,
    call: Call,
    segments: Segments<(String, String)>,
) -> Result<Response, Problem> {
    reject(api, call, segments).await
}
