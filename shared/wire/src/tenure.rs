//! History: who had a port, from when to when, and how that ended.

use portmaster_domain::{
    End, InstanceName, Labels, Namespace, Owner, Port, Principal, ServiceName, TenureId, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::labels::LabelMap;

/// The time in which a port was an instance's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "The time in which a port was an instance's, from its offer to its end.")]
pub struct Tenure {
    /// The namespace, unless it is `default`.
    #[serde(default, skip_serializing_if = "Namespace::is_default")]
    #[schema(value_type = String, required = false, example = "host-7")]
    pub namespace: Namespace,
    /// The service. It may not exist any more.
    #[schema(value_type = String, example = "django")]
    pub service: ServiceName,
    /// The instance.
    #[schema(value_type = String, example = "web-01")]
    pub name: InstanceName,
    /// The port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub port: Port,
    /// Who held it, if the caller said so.
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
    /// When it was offered, or given by a PUT (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    pub offered: Timestamp,
    /// When its offer was accepted, or a PUT gave it; absent for an offer that was never accepted.
    #[serde(default, with = "crate::instant::optional_millis", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, example = "2026-11-22T10:00:05.000Z")]
    pub allocated: Option<Timestamp>,
    /// When it ended: an offer or a lease that was over by itself, at the time that its holder was told. Absent while it
    /// lasts, and where history has not heard yet how it ended.
    #[serde(default, with = "crate::instant::optional_millis", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, example = "2026-11-22T12:00:00.000Z")]
    pub ended: Option<Timestamp>,
    /// How it ended: `released`, `rejected`, `offer-expired`, `lease-lapsed`, `quarantined`, `withdrawn`, `removed` or
    /// `unknown`; absent while it lasts. Treat a word that you do not know as `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "released")]
    pub end: Option<End>,
    /// A name for this tenure, which no other one has.
    #[schema(value_type = String, example = "5d2c1f0a9b8e7d6c5b4a39281706f5e4")]
    pub tenure: TenureId,
}

impl From<portmaster_domain::Tenure> for Tenure {
    fn from(tenure: portmaster_domain::Tenure) -> Self {
        Self {
            namespace: tenure.service.namespace,
            service: tenure.service.name,
            name: tenure.name,
            port: tenure.port,
            owner: tenure.owner,
            labels: tenure.labels,
            principal: tenure.principal,
            offered: tenure.offered,
            allocated: tenure.allocated,
            ended: tenure.ended,
            end: tenure.end,
            tenure: tenure.id,
        }
    }
}
