//! What is asked for, in the same form whoever asks: CloudFormation or Terraform.

use serde_json::{Map, Value};

/// The properties of a resource, as they were written.
pub(super) type Properties = Map<String, Value>;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    /// Its word in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `Custom::PortmasterPort`.
    Port,
    /// `Custom::PortmasterService`.
    Service,
}

impl Resource {
    const ALL: [Self; 2] = [Self::Port, Self::Service];

    /// Its type, as templates name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Port => "Custom::PortmasterPort",
            Self::Service => "Custom::PortmasterService",
        }
    }

    /// The kind of this type.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(" and ");
            format!("There is no such resource type. This function makes {all}; correct the ResourceType.")
        })
    }
}

/// Whose resource it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// A stack's. CloudFormation deletes by itself what an update has replaced, by its physical id.
    Stack {
        /// The stack's id.
        id: String,
        /// The stack's name.
        stack: String,
        /// The last part of the stack's id, which no other stack ever has.
        guid: String,
        /// The resource's name in the template.
        logical_id: String,
        /// What an earlier answer called it; or a text of CloudFormation's own, if it has heard no answer.
        physical_id: Option<String>,
    },
    /// Terraform's. Nobody deletes what an update has replaced, unless the update does.
    Terraform,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) action: Action,
    pub(super) resource: Resource,
    pub(super) maker: Maker,
    /// What is wanted; for a deletion, what there is.
    pub(super) wanted: Properties,
    /// What was wanted before an update.
    pub(super) before: Option<Properties>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names() {
        for resource in Resource::ALL {
            assert_eq!(Resource::named(resource.name()), Ok(resource));
        }
        assert!(Resource::named("Custom::Port").unwrap_err().contains("Custom::PortmasterPort"));
    }
}
