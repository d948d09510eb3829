//! What can be written on the command line.

mod bulk;
pub mod mistakes;
mod namespaces;
mod operators;
mod ports;
mod release;
mod run;
mod services;
mod tools;
pub mod values;
mod watching;

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::{
    ArgAction, ArgMatches, Command as Clap, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};
use portmaster_client::Client;
use portmaster_client::domain::{Namespace, Owner};

pub use self::bulk::ImportArgs;
pub use self::namespaces::{NamespaceArgs, NamespaceCommand};
pub use self::operators::{OffersArgs, QuarantineArgs, QuarantineCommand};
pub use self::ports::{FindArgs, ListArgs, MapArgs, RenewArgs, ShowArgs, TakeArgs};
pub use self::release::ReleaseArgs;
pub use self::run::{OnLost, RunArgs};
pub use self::services::{ServiceArgs, ServiceCommand, ServiceContentArgs};
pub use self::tools::{CompletionsArgs, ManArgs};
pub use self::watching::{HistoryArgs, Subject, UiArgs, WatchArgs};

/// Gives ports to commands, jobs and pipelines, from a Portmaster registry.
///
/// Every option can also be set by the variable that its help names, and by a file: `portmaster.toml` in the working
/// directory, or the user's, `~/.config/portmaster/portmaster.toml`. The command line comes first, then the variable,
/// then the working directory's file, then the user's.
#[derive(Debug, Parser)]
#[command(
    name = "portmaster",
    version,
    max_term_width = 100,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 the registry refused it, or could not be reached; 2 the command line or a \
                  setting is wrong; `portmaster run` has others, see its help."
)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The registry
    #[arg(long, global = true, value_name = "URL", default_value = Client::LOCAL)]
    pub url: String,
    /// The port space
    #[arg(long, global = true, value_name = "NAME", default_value = "default", value_parser = values::namespace)]
    pub namespace: Namespace,
    /// Who holds the port; by default the job, as its CI system names it, or else user and host
    #[arg(long, global = true, value_name = "OWNER", value_parser = values::owner)]
    pub owner: Option<Owner>,
    /// Which of the jobs of a matrix this is, for the default owner and name (on GitHub: strategy.job-index)
    #[arg(long, global = true, value_name = "INDEX")]
    pub job_index: Option<String>,
    /// The AWS role to assume, with the job's identity token if it has one
    #[arg(long, global = true, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// The registry's AWS region, if its URL does not say; requests are then signed
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// The AWS profile with which requests are signed
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// How results are printed
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Print nothing but results, errors and warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Report each request and each repetition on standard error
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Whether messages are in colour; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = clap::ColorChoice::Auto)]
    pub color: clap::ColorChoice,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// As the API has it; errors too, as problem documents
    Json,
    /// Variables, for `eval` in a shell
    Env,
    /// Outputs of the step, appended to the file that GITHUB_OUTPUT names
    Github,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a port, run a command with it, and give it back when the command ends
    Run(RunArgs),
    /// Take a port, or keep the one that the name has
    Take(TakeArgs),
    /// Renew the lease of a port
    Renew(RenewArgs),
    /// Give a port back, or many
    Release(ReleaseArgs),
    /// Show a port of a service
    Show(ShowArgs),
    /// List the ports of a service
    List(ListArgs),
    /// Show who holds a port
    Find(FindArgs),
    /// Show how full a service's range is
    Map(MapArgs),
    /// Create, change, show and delete services
    Service(ServiceArgs),
    /// Create, show and delete namespaces, which are port spaces of their own
    Namespace(NamespaceArgs),
    /// End quarantines
    Quarantine(QuarantineArgs),
    /// List the open offers of a service
    Offers(OffersArgs),
    /// Claim ports that are in use already, from a file
    Import(ImportArgs),
    /// Show who had a port and when, or which ports a name had
    History(HistoryArgs),
    /// Show what happens, as it happens
    Watch(WatchArgs),
    /// Show the registry in a browser
    Ui(UiArgs),
    /// Check, in order, what a call needs: the URL, DNS, TLS, the clock, the identity, its rights, the table
    Doctor,
    /// Print a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Print a manual page
    Man(ManArgs),
}

impl Args {
    /// Reads what was parsed, and decides where two options exclude each other: the command line comes before variables
    /// and files.
    ///
    /// # Errors
    ///
    /// As for every mistake in a command line.
    pub fn settled(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::from_arg_matches(matches)?;
        let Some((_, own)) = matches.subcommand() else { return Ok(args) };
        let settled = match &mut args.command {
            Command::Run(run) => run.settle(own),
            Command::Release(release) => release.settle(own),
            _ => Ok(()),
        };
        settled.map(|()| args).map_err(|reason| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{reason}\n")))
    }
}

/// The options that are not settings: they say what to do, and not how.
const NOT_SETTINGS: [&str; 2] = ["help", "version"];

/// The whole command line, with a variable for each option. An empty variable counts as absent: CI systems set those
/// whose value is missing.
pub fn command(variable: impl Fn(&str) -> Option<String> + Copy) -> Clap {
    with_variables(Args::command(), variable)
}

/// The variable of an option.
pub(crate) fn variable_of(long: &str) -> String {
    format!("PORTMASTER_{}", long.to_uppercase().replace('-', "_"))
}

fn with_variables(command: Clap, variable: impl Fn(&str) -> Option<String> + Copy) -> Clap {
    let is_release = command.get_name() == "release";
    let command = command.mut_args(|arg| {
        let Some(long) = arg.get_long().filter(|long| !NOT_SETTINGS.contains(long)) else { return arg };
        if is_release && release::FILTERS.contains(&arg.get_id().as_str()) {
            return arg;
        }
        let name = variable_of(long);
        let arg = match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
            ArgAction::Count => arg.value_parser(values::count),
            _ => arg,
        };
        // Beside a Service of its own name Kubernetes sets PORTMASTER_PORT=tcp://10.0.0.1:80 in every container.
        let is_link = |value: &str| name == "PORTMASTER_PORT" && value.contains("://");
        match variable(&name) {
            Some(value) if value.is_empty() || is_link(&value) => arg,
            _ => arg.env(name).hide_env_values(true),
        }
    });
    command.mut_subcommands(|subcommand| with_variables(subcommand, variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command(|_| None).debug_assert();
    }
}
