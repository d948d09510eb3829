//! A namespace: one port space, with its own services and its own ports.

use super::{Description, Namespace, Timestamp, Version};

/// A namespace that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name.
    pub name: Namespace,
    /// Its purpose, in its owner's words.
    pub description: Description,
    /// When it was created, and a mark of that write. The namespace `default` has neither until somebody describes it.
    pub made: Option<(Timestamp, Version)>,
}

impl NamespaceInfo {
    /// The namespace `default`, which always exists.
    #[must_use]
    pub fn implied() -> Self {
        Self { name: Namespace::default(), description: Description::default(), made: None }
    }
}
