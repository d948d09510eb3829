//! Ports: response bodies.

use portmaster_domain::{Claim, InstanceName, ServiceName, StateKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// When its offer was accepted (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:05.000Z")]
    pub created: Timestamp,
}

impl From<&Claim> for Port {
    fn from(claim: &Claim) -> Self {
        Self {
            service: claim.service.clone(),
            name: claim.name.clone(),
            port: claim.port,
            created: claim.allocated_at(),
        }
    }
}

/// An allocated port with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "An allocated port with its state.")]
pub struct FoundPort {
    #[allow(missing_docs, reason = "the document would show it beside the members, and there is no such member")]
    #[serde(flatten)]
    pub port: Port,
    /// The state of the port. A port that is only offered is answered by a problem, whose `state` is `offered`.
    #[schema(value_type = String, example = "allocated")]
    pub state: StateKind,
}
