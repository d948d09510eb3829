//! `quarantine` and `offers`: for operators.

use clap::Subcommand;
use portmaster_client::domain::{Port, ServiceName};

use super::values;

/// Ends quarantines.
#[derive(Clone, Debug, clap::Args)]
pub struct QuarantineArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: QuarantineCommand,
}

/// What to do with quarantines.
#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineCommand {
    /// End the quarantine or the cool-down of a port, so that anybody may get it
    End {
        /// The service
        #[arg(value_parser = values::service)]
        service: ServiceName,
        /// The port
        #[arg(value_parser = values::port)]
        port: Port,
    },
}

/// Lists the open offers of a service, by port.
#[derive(Clone, Debug, clap::Args)]
pub struct OffersArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
}
