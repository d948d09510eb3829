//! Offers: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{Claim, Expiry, Holding, InstanceName, Port, Secret, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name::Name;
use crate::parse::{Checked, Faults};

/// The instance that asks for a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The instance that asks for a port.")]
pub struct NewOffer {
    /// The instance's name, unique among the live ones of its service. Not digits alone.
    #[schema(value_type = Name, example = "web-01")]
    pub name: InstanceName,
}

impl Checked for NewOffer {}

/// An offer as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "An offer as its holder sees it.")]
pub struct Offer {
    #[allow(missing_docs, reason = "the document would show it beside the members, and there is no such member")]
    #[serde(flatten)]
    pub listed: ListedOffer,
    /// The holder's proof, with which the offer is accepted or rejected. Nobody else is ever shown it.
    #[serde(with = "portmaster_domain::exposed")]
    #[schema(value_type = String, format = Uuid, example = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f")]
    pub secret: Secret,
}

/// An offer as everybody may see it: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "An offer as everybody may see it: without its secret.")]
pub struct ListedOffer {
    /// The service.
    #[schema(value_type = String, example = "django")]
    pub service: ServiceName,
    /// The instance that holds it.
    #[schema(value_type = String, example = "web-01")]
    pub name: InstanceName,
    /// The port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub port: Port,
    /// When it was made (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    pub created: Timestamp,
    /// When it ends unless it is accepted (RFC 3339, UTC).
    #[serde(default, with = "crate::instant::expiry")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T10:30:00Z")]
    pub expires_at: Option<Expiry>,
}

impl From<&Claim> for ListedOffer {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.clone(),
            name: claim.name.clone(),
            port: claim.port,
            created: claim.created,
            expires_at: claim.expires_at(),
        }
    }
}

impl From<&Holding> for Offer {
    fn from(holding: &Holding) -> Self {
        Self { listed: ListedOffer::from(&holding.claim), secret: holding.secret }
    }
}
