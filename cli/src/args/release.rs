//! `release`.

use clap::parser::ValueSource;
use clap::{ArgMatches, ValueEnum};
use portmaster_client::PortOrName;
use portmaster_client::domain::ServiceName;
use portmaster_client::wire::{HeldState, NamePrefix};

use super::values::{self, LabelsParser, SomeLabels};

/// Gives a port back, or many.
///
/// Without a NAME it is the job's port. With --all, --label or --name-prefix it is every port of the owner that passes
/// all of these filters.
#[derive(Clone, Debug, clap::Args)]
pub struct ReleaseArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The port, or the name that has it; by default the job's
    #[arg(value_name = "NAME", value_parser = values::port_or_name, conflicts_with_all = FILTERS)]
    pub port_or_name: Option<PortOrName>,
    /// Release it even if another owner holds it
    #[arg(long)]
    pub any_owner: bool,
    /// Succeed if there is no such port
    #[arg(long)]
    pub if_exists: bool,
    /// Release all ports that the owner has in the service
    #[arg(long)]
    pub all: bool,
    /// Release the ports whose names begin like this
    #[arg(long, value_name = "TEXT", value_parser = values::name_prefix)]
    pub name_prefix: Option<NamePrefix>,
    /// Release the ports with this label; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = LabelsParser)]
    pub labels: Vec<SomeLabels>,
    /// With these filters, what to release: ports, or offers whose holder is gone
    #[arg(long, value_name = "STATES", value_enum, value_delimiter = ',')]
    pub states: Vec<StateArg>,
    /// With these filters, only show what would be released
    #[arg(long)]
    pub dry_run: bool,
}

/// The options that make of one port many. They have to be on the command line: a variable that is there for another
/// command, such as `PORTMASTER_LABEL` for `run`, must not turn the release of a port into that of many.
pub(super) const FILTERS: [&str; 5] = ["all", "name_prefix", "labels", "states", "dry_run"];

/// What can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// Ports
    Allocated,
    /// Offers
    Offered,
}

impl From<StateArg> for HeldState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Allocated => Self::Allocated,
            StateArg::Offered => Self::Offered,
        }
    }
}

impl ReleaseArgs {
    /// Whether it is about many ports.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        self.all || self.name_prefix.is_some() || !self.labels.is_empty()
    }

    /// Drops what is not on the command line of what has to be.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        self.all &= given("all");
        self.name_prefix = self.name_prefix.take().filter(|_| given("name_prefix"));
        if !given("labels") {
            self.labels.clear();
        }
        // Likewise what widens them.
        self.any_owner &= !self.is_bulk() || given("any_owner");
        if !self.is_bulk() && (given("states") || given("dry_run")) {
            return Err("--states and --dry-run are for many ports: give --all, --label or --name-prefix".to_owned());
        }
        if self.all && self.any_owner && self.name_prefix.is_none() && self.labels.is_empty() {
            return Err(
                "--all with --any-owner would be every port of the service: give --label or --name-prefix, or \
                        whose ports are meant with --owner"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
