//! Releasing many ports at once.

use deserr::Deserr;
use portmaster_domain::{InstanceName, Labels, Owner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::labels::LabelMap;
use crate::name::Name;
use crate::parse::{Checked, Faults, choice, distinct_names};
use crate::{Fault, FoundPort, NamePrefix};

/// What is to be released: everything that passes every filter. At least one filter is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(
    description = "What is to be released: everything that passes every filter. At least one of name_prefix, names, owner and labels is required."
)]
pub struct Release {
    /// How the names begin.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, example = "run-17-")]
    pub name_prefix: Option<NamePrefix>,
    /// 1 to 100 names, all different.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Name>>, min_items = 1, max_items = 100)]
    pub names: Option<Vec<InstanceName>>,
    /// Who holds the ports.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// Labels that the ports have, among others.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LabelMap>)]
    pub labels: Option<Labels>,
    /// Which states are meant; `["allocated"]` if not given. With `offered`, offers whose secret is lost are freed.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<HeldState>>, min_items = 1, max_items = 2)]
    pub states: Option<Vec<HeldState>>,
    /// Whether only to say what would be released; false if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    pub dry_run: Option<bool>,
    /// Where to begin, as the answer before said.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cursor: Option<String>,
}

/// A state that can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(description = "A state that can be released.")]
pub enum HeldState {
    /// Ports.
    Allocated,
    /// Offers.
    Offered,
}

choice!(HeldState: "allocated" => Self::Allocated, "offered" => Self::Offered);

impl Release {
    /// How many names it has at most.
    pub const MAX_NAMES: usize = 100;
}

impl Checked for Release {
    fn between_fields(body: &Value) -> Vec<Fault> {
        let mut faults = distinct_names(body, &(1..=Self::MAX_NAMES));
        let given = |field: &&str| match body.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Object(labels)) => !labels.is_empty(),
            Some(_) => true,
        };
        if body.is_object() && !["name_prefix", "names", "owner", "labels"].iter().any(given) {
            let detail =
                "needs at least one of name_prefix, names, owner and labels: nothing is released without a filter";
            faults.push(Fault::in_body("#", detail));
        }
        if body.get("states").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            faults.push(Fault::in_body("#/states", "must have allocated, offered, or both in it"));
        }
        faults
    }
}

/// What was released, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "What was released, or would be.")]
pub struct Released {
    /// The ports and offers as they were, by port.
    pub released: Vec<FoundPort>,
    /// Whether there may be more. Then send the request again with `cursor`.
    pub more: bool,
    /// Where the next request begins, if there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub cursor: Option<String>,
}
