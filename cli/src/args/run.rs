//! `portmaster run`.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgMatches, ValueEnum};
use portmaster_client::domain::{InstanceName, Port, ServiceName};
use portmaster_client::wire::LeaseSeconds;

use super::values::{self, LabelsParser, SomeLabels};

/// Takes a port, runs a command with it, and gives it back when the command ends.
///
/// The command finds the port in the variable PORT. The lease is renewed while the command runs; if this program or its
/// machine dies, the port comes back by itself when the lease is over.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: the command's own; 128 and the signal's number, if a signal ended it; 124 the lease was \
                  lost; 125 the command was not started: there was no port, or an option or a setting is wrong; 126 \
                  the command cannot be executed; 127 it is not found."
)]
pub struct RunArgs {
    /// The service, whose range the port is from
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The name that has the port; by default the job's
    #[arg(value_parser = values::name)]
    pub name: Option<InstanceName>,
    /// For how long the port is leased; it is renewed at a third of that
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = values::lease)]
    pub lease: LeaseSeconds,
    /// How long to wait for a port, where all are taken
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = values::duration)]
    pub wait: Duration,
    /// Several ports, by what they are for: `http,grpc` sets PORT_HTTP, PORT_GRPC, and PORT to the first. All or none
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub ports: Vec<String>,
    /// Several ports are to be neighbours
    #[arg(long)]
    pub contiguous: bool,
    /// Request this exact port
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub port: Option<Port>,
    /// The variable in which the command finds its port
    #[arg(long, value_name = "NAME", default_value = "PORT")]
    pub env: String,
    /// How long the command may take to end after a signal, before it is killed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration)]
    pub grace: Duration,
    /// Do not try whether something else on this machine uses the port
    #[arg(long)]
    pub no_probe: bool,
    /// What happens to the command when the lease is lost
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnLost::Stop)]
    pub on_lost: OnLost,
    /// A note beside the port; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = LabelsParser)]
    pub labels: Vec<SomeLabels>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What happens to a command whose lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLost {
    /// It is stopped: somebody else may have its port
    Stop,
    /// It goes on, with a warning
    Keep,
}

impl RunArgs {
    /// Decides between --port and --ports: the command line comes before a variable, and that before a file.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), String> {
        if self.port.is_none() || self.ports.is_empty() {
            return Ok(());
        }
        match matches.value_source("port").cmp(&matches.value_source("ports")) {
            Ordering::Less => self.port = None,
            Ordering::Greater => self.ports.clear(),
            Ordering::Equal => {
                return Err("--port is for one port, and --ports for several; give one of them".to_owned());
            }
        }
        Ok(())
    }
}
