//! Moving in: ports that are in use already.

use std::collections::HashSet;

use deserr::Deserr;
use portmaster_domain::{InstanceName, Labels, Owner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::labels::LabelMap;
use crate::name::Name;
use crate::parse::{Checked, Faults};
use crate::{Fault, Port};

/// Ports that names have, by somebody else's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "Ports that names have, by somebody else's records.")]
pub struct Import {
    /// 1 to 200 of them; no name and no port appears twice.
    #[schema(min_items = 1, max_items = 200)]
    pub ports: Vec<PortInUse>,
    /// Whether only to say what would be imported; false if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    pub dry_run: Option<bool>,
}

/// A port in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "A port in use.")]
pub struct PortInUse {
    /// The instance that has it.
    #[schema(value_type = Name)]
    pub name: InstanceName,
    /// The port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5003)]
    pub port: portmaster_domain::Port,
    /// Who holds it.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "team-a")]
    pub owner: Option<Owner>,
    /// Notes beside it: at most 8, together at most 256 characters.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LabelMap>)]
    pub labels: Option<Labels>,
}

impl Import {
    /// How many ports it has at most.
    pub const MAX: usize = 200;
}

impl Checked for Import {
    fn between_fields(body: &Value) -> Vec<Fault> {
        let Some(ports) = body.get("ports").and_then(Value::as_array) else { return Vec::new() };
        let mut faults = Vec::new();
        if !(1..=Self::MAX).contains(&ports.len()) {
            let detail = format!("must have 1 to {} ports, not {}", Self::MAX, ports.len());
            faults.push(Fault::in_body("#/ports", detail));
        }
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        for (index, port) in ports.iter().enumerate() {
            if port.get("name").and_then(Value::as_str).is_some_and(|name| !names.insert(name)) {
                faults.push(Fault::in_body(format!("#/ports/{index}/name"), "appears twice; a name has one port"));
            }
            if port.get("port").and_then(Value::as_u64).is_some_and(|number| !numbers.insert(number)) {
                faults.push(Fault::in_body(format!("#/ports/{index}/port"), "appears twice; a port has one name"));
            }
        }
        faults
    }
}

/// What was imported, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "What was imported, or would be.")]
pub struct Imported {
    /// The ports that their names have now; with `dry_run`, those that they have already.
    pub imported: Vec<Port>,
    /// With `dry_run`: the ports that would be imported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub importable: Vec<PortInUse>,
    /// The others, each with the reason. Nothing of them was changed.
    pub conflicts: Vec<Conflict>,
}

/// A port that could not be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A port that could not be imported.")]
pub struct Conflict {
    #[allow(missing_docs, reason = "the document would show it beside the members, and there is no such member")]
    #[serde(flatten)]
    pub port: PortInUse,
    /// The kind of problem.
    #[schema(example = "/problems/port-taken")]
    pub r#type: String,
    /// What is in the way, and what to do.
    #[schema(example = "Port 5003 is held by web of django without an owner until it is released.")]
    pub detail: String,
}
