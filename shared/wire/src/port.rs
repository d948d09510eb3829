//! Ports: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{Claim, Expiry, InstanceName, Labels, Owner, Principal, ServiceName, StateKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::LeaseSeconds;
use crate::labels::LabelMap;
use crate::parse::{Checked, Faults};

/// The port that a name is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The port that a name is to have. No field is required.")]
pub struct NewPort {
    /// Who holds the port: any text by which its callers recognize themselves. Printable ASCII, not `*`. A port that
    /// the name has already is only kept for the same owner.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// For how many seconds the port is wanted; as the service has it if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
    /// The very port that is wanted; any port if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u16>, minimum = 1024, maximum = 49151, example = 5060)]
    pub port: Option<portmaster_domain::Port>,
    /// Notes beside the port: at most 8, together at most 256 characters. If not given, a port that the name has
    /// already keeps those it has.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LabelMap>)]
    pub labels: Option<Labels>,
}

impl Checked for NewPort {}

/// A longer lease for a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "A longer lease for a port.")]
pub struct Renewal {
    /// Who holds the port, if it has an owner.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// For how many seconds from now on; as long as the last time if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
}

impl Checked for Renewal {}

/// An allocated port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "An allocated port.")]
pub struct Port {
    /// The service.
    #[schema(value_type = String, example = "django")]
    pub service: ServiceName,
    /// The instance that holds it.
    #[schema(value_type = String, example = "web-01")]
    pub name: InstanceName,
    /// The port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub port: portmaster_domain::Port,
    /// When its offer was accepted, or a PUT gave it (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:05.000Z")]
    pub created: Timestamp,
    /// When its lease ends unless it is renewed (RFC 3339, UTC); absent where it has no lease.
    #[serde(default, with = "crate::instant::expiry", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, example = "2026-11-22T11:00:05Z")]
    pub expires_at: Option<Expiry>,
    /// Who holds it, if the caller said so.
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

impl From<&Claim> for Port {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.clone(),
            name: claim.name.clone(),
            port: claim.port,
            created: claim.allocated_at(),
            // For whoever holds it: what that holder was told. For a port that nobody holds: when somebody else may.
            expires_at: match claim.state.kind() {
                StateKind::Offered | StateKind::Allocated => claim.state.told_until(),
                StateKind::Cooling | StateKind::Quarantined => claim.expires_at(),
            },
            owner: claim.owner.clone(),
            labels: claim.labels.clone(),
            principal: claim.principal.clone(),
        }
    }
}

/// A port with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A port with its state.")]
pub struct FoundPort {
    #[allow(missing_docs, reason = "the document would show it beside the members, and there is no such member")]
    #[serde(flatten)]
    pub port: Port,
    /// `allocated`; or `cooling` or `quarantined`: nobody holds it, and `expires_at` says when others may have it. In the
    /// list of released ports also `offered`; where one port is looked for, an offered one is a problem.
    #[schema(value_type = String, example = "allocated")]
    pub state: StateKind,
}

impl From<&Claim> for FoundPort {
    fn from(claim: &Claim) -> Self {
        Self { port: Port::from(claim), state: claim.state.kind() }
    }
}
