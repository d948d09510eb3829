//! Port sets: several names whose ports come all or none.

use deserr::Deserr;
use portmaster_domain::{InstanceName, Labels, Owner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::labels::LabelMap;
use crate::name::Name;
use crate::parse::{Checked, Faults, distinct_names};
use crate::{Fault, LeaseSeconds, Port};

/// The names that are to have ports, all or none of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The names that are to have ports, all or none of them.")]
pub struct NewSet {
    /// 2 to 32 names, all different.
    #[schema(value_type = Vec<Name>, min_items = 2, max_items = 32, example = json!(["web", "metrics", "admin"]))]
    pub names: Vec<InstanceName>,
    /// Who holds the ports. Names that this owner holds already keep theirs.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, example = "gh/our-org/shop/1234567/deploy/0")]
    pub owner: Option<Owner>,
    /// For how many seconds the ports are wanted; as the service has it if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2592000, example = 3600)]
    pub lease_seconds: Option<LeaseSeconds>,
    /// Whether the ports are to be neighbours, in the order of the names; false if not given.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    pub contiguous: Option<bool>,
    /// Notes beside each port: at most 8, together at most 256 characters.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LabelMap>)]
    pub labels: Option<Labels>,
}

impl NewSet {
    /// How many names a set has.
    pub const NAMES: std::ops::RangeInclusive<usize> = 2..=32;
}

impl Checked for NewSet {
    fn between_fields(body: &Value) -> Vec<Fault> {
        distinct_names(body, &Self::NAMES)
    }
}

/// A port set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A port set.")]
pub struct Set {
    /// The ports, in the order of the names.
    pub ports: Vec<Port>,
}
