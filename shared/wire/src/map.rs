//! A picture of a service's range.

use portmaster_domain::{Expiry, Port, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every port of a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "What every port of a service is, as it was a moment ago.")]
pub struct Map {
    /// The service.
    #[schema(value_type = String, example = "django")]
    pub service: ServiceName,
    /// The first port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5009)]
    pub end: Port,
    /// How many ports the range has.
    #[schema(example = 10)]
    pub size: usize,
    /// How many ports are in each state.
    pub counts: Counts,
    /// How many free ports stand next to each other at most.
    #[schema(example = 6)]
    pub largest_free_run: usize,
    /// When the first port comes back by itself, unless it is renewed before (RFC 3339, UTC); absent if none does.
    #[serde(default, with = "crate::instant::expiry", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, example = "2026-11-22T10:30:00Z")]
    pub next_expiry: Option<Expiry>,
    /// The ports, from the first to the last.
    pub runs: Vec<Run>,
    /// How many ports one block of the runs has, if the range has too many runs to show each of them: a block has the
    /// state that most of its ports are in. Absent where the runs are exact. The counts always are.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schema(required = false, example = 2)]
    pub block: usize,
}

/// How many ports are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "How many ports are in each state.")]
pub struct Counts {
    /// Nobody has them.
    pub free: usize,
    /// Offered, and not accepted yet.
    pub offered: usize,
    /// Allocated.
    pub allocated: usize,
    /// Cooling after a release or a lapsed lease.
    pub cooling: usize,
    /// In quarantine.
    pub quarantined: usize,
    /// Free, but only given to callers that ask for them by number.
    pub reserved: usize,
}

impl From<portmaster_domain::Counts> for Counts {
    fn from(counts: portmaster_domain::Counts) -> Self {
        let portmaster_domain::Counts { free, offered, allocated, cooling, quarantined, reserved } = counts;
        Self { free, offered, allocated, cooling, quarantined, reserved }
    }
}

/// Neighbouring ports in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MapRun, description = "Neighbouring ports in one state.")]
pub struct Run {
    /// The first port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5000)]
    pub start: Port,
    /// The last port.
    #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5003)]
    pub end: Port,
    /// Their state.
    pub state: MapState,
}

/// The state of a port in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(description = "The state of a port in a map.")]
pub enum MapState {
    /// Nobody has it.
    Free,
    /// Offered, and not accepted yet.
    Offered,
    /// Allocated.
    Allocated,
    /// Cooling after a release or a lapsed lease.
    Cooling,
    /// In quarantine.
    Quarantined,
    /// Free, but only given to callers that ask for it by number.
    Reserved,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(block: &usize) -> bool {
    *block == 1
}
