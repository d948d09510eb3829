//! Namespaces: request and response bodies.

use deserr::Deserr;
use portmaster_domain::{Description, Namespace as Name, NamespaceInfo, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::parse::{Checked, Faults};

/// What a namespace is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Deserr, ToSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schema(description = "The content of a namespace. A field that is not given gets its default.")]
pub struct NamespaceContent {
    /// Its purpose.
    #[deserr(default)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024, example = "The hosts of team A")]
    pub description: Option<Description>,
}

impl Checked for NamespaceContent {}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A namespace: a port space of its own.")]
pub struct Namespace {
    /// Its name.
    #[schema(value_type = String, example = "team-a")]
    pub name: Name,
    /// Its purpose; empty if none was given.
    #[schema(value_type = String, example = "The hosts of team A")]
    pub description: Description,
    /// When it was created (RFC 3339, UTC). Absent for `default`, which always exists, until somebody describes it.
    #[serde(default, with = "crate::instant::optional_millis", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, example = "2026-11-22T10:00:00.000Z")]
    pub created: Option<Timestamp>,
}

impl From<&NamespaceInfo> for Namespace {
    fn from(NamespaceInfo { name, description, made }: &NamespaceInfo) -> Self {
        Self { name: name.clone(), description: description.clone(), created: made.map(|(created, _)| created) }
    }
}
