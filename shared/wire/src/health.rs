//! The health of the registry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "The state of the registry.")]
pub struct Health {
    /// Always `ok`; anything else is a problem.
    #[schema(value_type = String, example = "ok")]
    pub status: Cow<'static, str>,
}
