//! `namespace`.

use clap::Subcommand;
use portmaster_client::domain::Namespace;

use super::values;

/// Creates, shows and deletes namespaces.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NamespaceCommand,
}

/// What to do with namespaces.
#[derive(Clone, Debug, Subcommand)]
pub enum NamespaceCommand {
    /// Create a namespace, or change its description
    Put {
        /// The namespace
        #[arg(value_parser = values::namespace)]
        name: Namespace,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List the namespaces
    List,
    /// Show a namespace
    Show {
        /// The namespace
        #[arg(value_parser = values::namespace)]
        name: Namespace,
    },
    /// Delete a namespace that has no services
    Delete {
        /// The namespace
        #[arg(value_parser = values::namespace)]
        name: Namespace,
    },
}
