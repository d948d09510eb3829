//! Offers: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{
    Claim, Expiry, Holding, InstanceName, Labels, Owner, Port, Principal, Secret, ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::labels::LabelMap;
use crate::name::Name;
use crate::parse::{Checked, Faults, choice};
use crate::{Fault, HoldSeconds, LeaseSeconds};

/// The instance that asks for a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The instance that asks for a port.")]
pub struct NewOffer {
    /// The instance's name, unique among the live ones of its service. Not digits alone.
    #[schema(value_type = Name, example = "web-01")]
    pub name: InstanceName,
    /// The very port that it wants; any port if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u16>, minimum = 1024, maximum = 49151, example = 5060)]
    pub port: Option<Port>,
    /// Who will hold the port: any text by which its callers recognize themselves. Printable ASCII, not `*`.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// Notes beside the port: at most 8, together at most 256 characters.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LabelMap>)]
    pub labels: Option<Labels>,
}

impl Checked for NewOffer {}

/// How an offer is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "How an offer is accepted.")]
pub struct Acceptance {
    /// For how many seconds the port is wanted; as the service has it if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
}

impl Checked for Acceptance {}

/// Why an offer is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(description = "Why an offer is rejected.")]
pub enum Reason {
    /// Somebody uses the port on the host: nobody is to have it for a while.
    InUse,
    /// Its holder does not want it. The same as no reason.
    Unwanted,
}

choice!(Reason: "in-use" => Self::InUse, "unwanted" => Self::Unwanted);

/// How an offer is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "How an offer is rejected.")]
pub struct Rejection {
    /// Why. With `in-use` the port goes into quarantine.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Reason>)]
    pub reason: Option<Reason>,
    /// For how many seconds nobody is to have the port; as the service has it if not given. Only with `in-use`.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, example = 600)]
    pub quarantine_seconds: Option<HoldSeconds>,
}

impl Checked for Rejection {
    fn between_fields(body: &Value) -> Vec<Fault> {
        let given = |field: &str| body.get(field).filter(|value| !value.is_null());
        let in_use = given("reason").is_some_and(|reason| reason == "in-use");
        if given("quarantine_seconds").is_some() && !in_use {
            let detail = "is only for a port that is in use: it needs \"reason\": \"in-use\"";
            return vec![Fault::in_body("#/quarantine_seconds", detail)];
        }
        Vec::new()
    }
}

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
    /// Who will hold the port, if the caller said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// What the caller noted beside it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = LabelMap, required = false)]
    pub labels: Labels,
    /// Who called, as IAM knows it; absent on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "arn:aws:sts::123456789012:assumed-role/deploy/run-17")]
    pub principal: Option<Principal>,
}

impl From<&Claim> for ListedOffer {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.clone(),
            name: claim.name.clone(),
            port: claim.port,
            created: claim.created,
            expires_at: claim.expires_at(),
            owner: claim.owner.clone(),
            labels: claim.labels.clone(),
            principal: claim.principal.clone(),
        }
    }
}

impl From<&Holding> for Offer {
    fn from(holding: &Holding) -> Self {
        Self { listed: ListedOffer::from(&holding.claim), secret: holding.secret }
    }
}
