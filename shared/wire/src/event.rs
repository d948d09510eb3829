//! Events: the details of one, as an event bus and server-sent events have it. `docs/events.md` has the schemas.

use portmaster_domain::{
    End, InstanceName, Labels, Namespace, Owner, Port, Principal, ServiceName, TenureId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Something that has happened. Never with a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version of the schema: 1. A later one may have more members under the same version.
    pub version: u32,
    /// The name of the event. One that is told twice has the same name twice.
    pub id: String,
    /// What has happened, such as `Port Allocated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    #[serde(with = "crate::instant::millis")]
    pub time: Timestamp,
    /// The namespace of the service.
    pub namespace: Namespace,
    /// The service that it is about.
    pub service: ServiceName,
    /// The instance, if it is about a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<InstanceName>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Who held it, if the caller said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What the caller noted beside it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Who called, as IAM knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// When the port was offered.
    #[serde(default, with = "crate::instant::optional_millis", skip_serializing_if = "Option::is_none")]
    pub offered: Option<Timestamp>,
    /// When it was allocated, if it was.
    #[serde(default, with = "crate::instant::optional_millis", skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Timestamp>,
    /// How the tenure ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<End>,
    /// The name of the tenure, as in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenure: Option<TenureId>,
    /// The first port of the service, if it is about a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Port>,
    /// The last port of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Port>,
    /// How full a range is, if it is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<EventUsage>,
}

/// How full a range is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventUsage {
    /// In percent of the ports that may be given to a caller that asks for any port.
    pub percent: f64,
    /// How many of these ports are taken.
    pub taken: usize,
    /// How many are free.
    pub free: usize,
}

impl Event {
    /// The version of the schemas.
    pub const VERSION: u32 = 1;
}
