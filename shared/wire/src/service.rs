//! Services: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{Description, Port, PortRange, ServiceName, Strategy, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::name::Name;
use crate::parse::{Checked, Faults};
use crate::{Fault, Patch};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// When it was created (RFC 3339, UTC).
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    pub created: Timestamp,
}

impl From<&portmaster_domain::Service> for Service {
    fn from(service: &portmaster_domain::Service) -> Self {
        Self {
            name: service.id.name.clone(),
            description: service.description.clone(),
            start: service.range.start(),
            end: service.range.end(),
            strategy: service.strategy,
            created: service.created,
        }
    }
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
