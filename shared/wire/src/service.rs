//! Services: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{Description, Port, PortRange, ServiceName, Strategy, Terms, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::name::Name;
use crate::parse::{Checked, Faults};
use crate::reserved::Entry;
use crate::{Fault, HoldSeconds, LeaseSeconds, Patch, Reserved, Usage};

/// A service to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "A service to be created.")]
pub struct NewService {
    /// Unique, case-sensitive.
    #[schema(value_type = Name)]
    pub name: ServiceName,
    /// Its purpose.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024, example = "Django service")]
    pub description: Option<Description>,
    /// The first port; below `end`.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 10000)]
    pub end: Port,
    /// How ports are chosen; `lowest` if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StrategyWord>)]
    pub strategy: Option<Strategy>,
    /// For how many seconds a port is allocated unless the caller says otherwise; if null or not given, until it is
    /// released.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
    /// For how many seconds a port is allocated at most; if null or not given, there is no limit. Where there is one,
    /// every allocation has a lease.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 86400)]
    pub max_lease_seconds: Option<LeaseSeconds>,
    /// For how many seconds after a release or a lapsed lease only the same name may have the port; 0 if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, example = 60)]
    pub cooldown_seconds: Option<HoldSeconds>,
    /// For how many seconds nobody may have a port that was rejected as in use; 3600 if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, example = 3600)]
    pub quarantine_seconds: Option<HoldSeconds>,
    /// Ports that are only given to callers that ask for them by number; none if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Entry>>, max_items = 100)]
    pub reserved: Option<Reserved>,
}

/// What a service is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The content of a service. A field that is not given gets its default.")]
pub struct ServiceContent {
    /// If given, the name in the path.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<ServiceName>,
    /// Its purpose.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024, example = "Django service")]
    pub description: Option<Description>,
    /// The first port; below `end`.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 10000)]
    pub end: Port,
    /// How ports are chosen; `lowest` if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StrategyWord>)]
    pub strategy: Option<Strategy>,
    /// For how many seconds a port is allocated unless the caller says otherwise; if null or not given, until it is
    /// released.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
    /// For how many seconds a port is allocated at most; if null or not given, there is no limit. Where there is one,
    /// every allocation has a lease.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 86400)]
    pub max_lease_seconds: Option<LeaseSeconds>,
    /// For how many seconds after a release or a lapsed lease only the same name may have the port; 0 if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, example = 60)]
    pub cooldown_seconds: Option<HoldSeconds>,
    /// For how many seconds nobody may have a port that was rejected as in use; 3600 if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, example = 3600)]
    pub quarantine_seconds: Option<HoldSeconds>,
    /// Ports that are only given to callers that ask for them by number; none if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Entry>>, max_items = 100)]
    pub reserved: Option<Reserved>,
    /// As a GET returned it; a PUT does not change it.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, read_only)]
    pub created: Option<String>,
}

/// What to change in a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The changes to a service (RFC 7396); null restores a default.")]
pub struct ServicePatch {
    /// If given, the name in the path: a service keeps its name.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>, required = false)]
    pub name: Option<ServiceName>,
    /// Its purpose.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<String>, max_length = 1024, required = false, example = "Django service")]
    pub description: Patch<Description>,
    /// The first port; below the last.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, required = false, example = 5000)]
    pub start: Patch<Port>,
    /// The last port.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, required = false, example = 12000)]
    pub end: Patch<Port>,
    /// How ports are chosen.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<StrategyWord>, required = false)]
    pub strategy: Patch<Strategy>,
    /// For how many seconds a port is allocated unless the caller says otherwise; null: until it is released.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, required = false, example = 3600)]
    pub lease_seconds: Patch<LeaseSeconds>,
    /// For how many seconds a port is allocated at most; null: there is no limit.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, required = false, example = 86400)]
    pub max_lease_seconds: Patch<LeaseSeconds>,
    /// For how many seconds after a release or a lapsed lease only the same name may have the port.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, required = false, example = 60)]
    pub cooldown_seconds: Patch<HoldSeconds>,
    /// For how many seconds nobody may have a port that was rejected as in use.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604800, required = false, example = 3600)]
    pub quarantine_seconds: Patch<HoldSeconds>,
    /// Ports that are only given to callers that ask for them by number.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[schema(value_type = Option<Vec<Entry>>, max_items = 100, required = false)]
    pub reserved: Patch<Reserved>,
}

/// Checks that `start` is below `end`, where both are ports; their types report everything else.
fn order(body: &Value) -> Vec<Fault> {
    let port = |name: &str| {
        body.get(name).and_then(Value::as_u64).and_then(|number| Port::new(u16::try_from(number).ok()?).ok())
    };
    match (port("start"), port("end")) {
        (Some(start), Some(end)) => match PortRange::of_service(start, end) {
            Ok(_) => Vec::new(),
            Err(invalid) => vec![Fault::in_body("#/start", invalid.to_string())],
        },
        _ => Vec::new(),
    }
}

impl Checked for NewService {
    fn between_fields(body: &Value) -> Vec<Fault> {
        order(body)
    }
}

impl ServiceContent {
    /// The service of this name with this content.
    #[must_use]
    pub fn named(self, name: ServiceName) -> NewService {
        let Self { name: _, description, start, end, strategy, created: _, .. } = self;
        let Self { lease_seconds, max_lease_seconds, cooldown_seconds, quarantine_seconds, reserved, .. } = self;
        NewService {
            name,
            description,
            start,
            end,
            strategy,
            lease_seconds,
            max_lease_seconds,
            cooldown_seconds,
            quarantine_seconds,
            reserved,
        }
    }
}

impl Checked for ServiceContent {
    fn between_fields(body: &Value) -> Vec<Fault> {
        order(body)
    }
}

impl Checked for ServicePatch {
    fn between_fields(body: &Value) -> Vec<Fault> {
        let mut faults = order(body);
        for field in ["start", "end"] {
            if body.get(field).is_some_and(Value::is_null) {
                faults.push(Fault::in_body(format!("#/{field}"), "cannot be removed; every service has a range"));
            }
        }
        faults
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A service.")]
pub struct Service {
    /// Its name.
    #[schema(value_type = String, example = "django")]
    pub name: ServiceName,
    /// Its purpose; empty if none was given.
    #[schema(value_type = String, example = "Django service")]
    pub description: Description,
    /// The first port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 10000)]
    pub end: Port,
    /// How ports are chosen.
    #[schema(value_type = StrategyWord)]
    pub strategy: Strategy,
    /// For how many seconds a port is allocated unless its caller says otherwise; absent: until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, minimum = 1, maximum = 2592000, required = false, example = 3600)]
    pub lease_seconds: Option<u32>,
    /// For how many seconds a port is allocated at most; absent: there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, minimum = 1, maximum = 2592000, required = false, example = 86400)]
    pub max_lease_seconds: Option<u32>,
    /// For how many seconds after a release or a lapsed lease only the same name may have the port; absent: 0.
    #[serde(default, skip_serializing_if = "is_no_cooldown")]
    #[schema(minimum = 0, maximum = 604800, required = false, example = 60)]
    pub cooldown_seconds: u32,
    /// For how many seconds nobody may have a port that was rejected as in use; absent: 3600.
    #[serde(default = "usual_quarantine", skip_serializing_if = "is_usual_quarantine")]
    #[schema(minimum = 0, maximum = 604800, required = false, example = 7200)]
    pub quarantine_seconds: u32,
    /// Ports that are only given to callers that ask for them by number; absent: none.
    #[serde(default, skip_serializing_if = "Reserved::is_empty")]
    #[schema(value_type = Vec<Entry>, max_items = 100, required = false)]
    pub reserved: Reserved,
    /// When it was created (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    pub created: Timestamp,
    /// How full it was a while ago, if that was asked for with `usage=true`, and if the reconciler has come by since
    /// the service was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub usage: Option<Usage>,
}

impl From<&portmaster_domain::Service> for Service {
    fn from(service: &portmaster_domain::Service) -> Self {
        Self {
            name: service.id.name.clone(),
            description: service.description.clone(),
            start: service.range.start(),
            end: service.range.end(),
            strategy: service.strategy,
            lease_seconds: service.terms.lease,
            max_lease_seconds: service.terms.max_lease,
            cooldown_seconds: service.terms.cooldown,
            quarantine_seconds: service.terms.quarantine,
            reserved: service.reserved.clone().into(),
            created: service.created,
            usage: None,
        }
    }
}

/// Defaults are left out, so that a service without any of the later fields is what it always was.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no_cooldown(seconds: &u32) -> bool {
    *seconds == Terms::default().cooldown
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_quarantine(seconds: &u32) -> bool {
    *seconds == usual_quarantine()
}

fn usual_quarantine() -> u32 {
    Terms::QUARANTINE_SECONDS
}

/// How a service chooses its ports.
#[derive(ToSchema)]
#[schema(as = Strategy, rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
enum StrategyWord {
    /// The lowest free port.
    Lowest,
    /// From a hash of the instance name onwards.
    Hashed,
    /// Any free port, each as likely.
    Random,
}
