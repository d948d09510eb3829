//! `service`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use portmaster_client::domain::{Port, ServiceName, Strategy};
use portmaster_client::wire::{HoldSeconds, LeaseSeconds};

use super::values;

/// Creates, changes, shows and deletes services.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ServiceCommand,
}

/// What to do with services.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// Make services as a file says, created or changed; others are left alone
    Apply {
        /// A file of YAML, JSON or TOML: a service, a list of them, or a list called `services`; - is standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Create a service, or change an existing one into this
    Put(ServiceContentArgs),
    /// List the services
    List {
        /// Show how full each was when the reconciler last came by, the fullest first
        #[arg(long)]
        usage: bool,
    },
    /// Show a service
    Show {
        /// The service
        #[arg(value_parser = values::service)]
        service: ServiceName,
        /// Show also how full it was when the reconciler last came by, and in how many days it may be full
        #[arg(long)]
        usage: bool,
    },
    /// Delete a service that has no ports
    Delete {
        /// The service
        #[arg(value_parser = values::service)]
        service: ServiceName,
    },
}

/// What a service is to be. What is not given gets its default.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceContentArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The first port
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub start: Port,
    /// The last port
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub end: Port,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// How ports are chosen
    #[arg(long, value_name = "HOW", value_enum)]
    pub strategy: Option<StrategyArg>,
    /// The lease of a port whose caller asks for none in particular
    #[arg(long, value_name = "DURATION", value_parser = values::lease)]
    pub default_lease: Option<LeaseSeconds>,
    /// The longest lease
    #[arg(long, value_name = "DURATION", value_parser = values::lease)]
    pub max_lease: Option<LeaseSeconds>,
    /// How long after its release only the same name gets a port
    #[arg(long, value_name = "DURATION", value_parser = values::hold)]
    pub cooldown: Option<HoldSeconds>,
    /// How long nobody gets a port that was in use on its host
    #[arg(long, value_name = "DURATION", value_parser = values::hold)]
    pub quarantine: Option<HoldSeconds>,
    /// A port that is only given to a caller that asks for it by number, or a range of them, as in 5070-5079; can be
    /// given several times
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub reserved: Vec<String>,
}

/// How ports are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// The lowest free port
    Lowest,
    /// From a hash of the name onwards
    Hashed,
    /// Any free port
    Random,
}

impl From<StrategyArg> for Strategy {
    fn from(strategy: StrategyArg) -> Self {
        match strategy {
            StrategyArg::Lowest => Self::Lowest,
            StrategyArg::Hashed => Self::Hashed,
            StrategyArg::Random => Self::Random,
        }
    }
}
