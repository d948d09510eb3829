//! `take`, `renew`, `show`, `list`, `find` and `map`.

use portmaster_client::PortOrName;
use portmaster_client::domain::{InstanceName, Port, ServiceName};
use portmaster_client::wire::{LeaseSeconds, NamePrefix};

use super::values::{self, LabelsParser, SomeLabels};

/// Takes a port, or keeps the one that the name has.
///
/// It can be repeated: the same owner gets the same port, and its lease is extended.
#[derive(Clone, Debug, clap::Args)]
pub struct TakeArgs {
    /// The service, whose range the port is from
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The name that has the port; by default the job's
    #[arg(value_parser = values::name)]
    pub name: Option<InstanceName>,
    /// For how long; as long as the service says if not given, which may be until it is released
    #[arg(long, value_name = "DURATION", value_parser = values::lease)]
    pub lease: Option<LeaseSeconds>,
    /// Request this exact port
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub port: Option<Port>,
    /// A note beside the port; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = LabelsParser)]
    pub labels: Vec<SomeLabels>,
}

/// Renews the lease of a port. It is never shortened.
#[derive(Clone, Debug, clap::Args)]
pub struct RenewArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The port, or the name that has it; by default the job's
    #[arg(value_name = "NAME", value_parser = values::port_or_name)]
    pub port_or_name: Option<PortOrName>,
    /// For how long from now on; as long as the last time if not given
    #[arg(long, value_name = "DURATION", value_parser = values::lease)]
    pub lease: Option<LeaseSeconds>,
}

/// Shows a port of a service.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The port, or the name that has it; by default the job's
    #[arg(value_name = "NAME", value_parser = values::port_or_name)]
    pub port_or_name: Option<PortOrName>,
}

/// Lists the ports of a service, by number.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// Only names that begin like this
    #[arg(long, value_name = "TEXT", value_parser = values::name_prefix)]
    pub name_prefix: Option<NamePrefix>,
    /// Only this owner's ports, the default owner's if none is given with --owner
    #[arg(long)]
    pub mine: bool,
    /// Only ports with this label; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = LabelsParser)]
    pub labels: Vec<SomeLabels>,
}

/// Shows who holds a port, whatever its service.
#[derive(Clone, Debug, clap::Args)]
pub struct FindArgs {
    /// The port
    #[arg(value_parser = values::port)]
    pub port: Port,
}

/// Shows how full a service's range is.
#[derive(Clone, Debug, clap::Args)]
pub struct MapArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
}
