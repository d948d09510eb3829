//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use portmaster_registry::{History, Registry, is_url};

/// A registry of network ports, on this machine.
///
/// It keeps its data in a folder, in an embedded DynamoDB; `--in-memory` forgets it at the end, and
/// `--dynamodb-endpoint` uses another DynamoDB. Every option is also an environment variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "portmasterd", version, about, long_about)]
pub struct Options {
    /// Where to listen. Whoever reaches this address may do everything: there is no authentication here.
    #[arg(long, env = "PORTMASTER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: String,

    /// Another name that the registry is called by, as in the header Host: behind a reverse proxy, or by other
    /// containers. Several are separated by commas. Web pages of such a host may call, too.
    #[arg(long, env = "PORTMASTER_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = host)]
    pub allow_host: Vec<String>,

    /// The folder for the data; made if it is not there.
    #[arg(long, env = "PORTMASTER_DATA", value_name = "DIR", default_value = "./.portmaster")]
    pub data: PathBuf,

    /// Keep the data in memory only.
    #[arg(long, env = "PORTMASTER_IN_MEMORY", value_parser = clap::builder::BoolishValueParser::new())]
    pub in_memory: bool,

    /// How many seconds an offer lives, at least; up to 2592000, which is 30 days.
    #[arg(
        long,
        env = "PORTMASTER_OFFER_SECONDS",
        value_name = "N",
        default_value_t = Registry::OFFER_SECONDS,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(Registry::MAX_OFFER_SECONDS)),
    )]
    pub offer_seconds: u32,

    /// By how many seconds everybody else waits longer than the holder of a lease was told, because clocks differ; up to
    /// 3600. Every process over one table needs the same.
    #[arg(
        long = "margin",
        env = "PORTMASTER_MARGIN_SECONDS",
        value_name = "SECONDS",
        default_value_t = Registry::MARGIN_SECONDS,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(Registry::MAX_MARGIN_SECONDS)),
    )]
    pub margin_seconds: u32,

    /// How many days the record of a port's holder is kept after the port was given back; 0 keeps no history. Only with
    /// its own database.
    #[arg(
        long,
        env = "PORTMASTER_HISTORY_DAYS",
        value_name = "N",
        default_value_t = History::DAYS,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(History::MAX_DAYS)),
    )]
    pub history_days: u32,

    /// Another DynamoDB, real or emulated. Region and credentials come from the environment, as for every AWS tool.
    #[arg(
        long,
        env = "PORTMASTER_DYNAMODB_ENDPOINT",
        value_name = "URL",
        conflicts_with = "in_memory",
        value_parser = endpoint,
    )]
    pub dynamodb_endpoint: Option<String>,

    /// Let the embedded DynamoDB listen too, for functions on this machine (sam local). Whoever reaches this address may
    /// read and change everything, secrets too. Without this option it has no socket.
    #[arg(
        long,
        env = "PORTMASTER_DATABASE_LISTEN",
        value_name = "ADDR",
        conflicts_with = "dynamodb_endpoint",
        value_parser = address,
    )]
    pub database_listen: Option<String>,

    /// The table there. It must exist.
    #[arg(long, env = "PORTMASTER_TABLE", value_name = "NAME", default_value = "portmaster")]
    pub table: String,

    /// Whether a browser finds a page at `/`, and whether that offers to release ports and to end quarantines. It does
    /// so through the API, which is open to everybody who reaches this server, with or without a page.
    #[arg(long, env = "PORTMASTER_PAGE", value_name = "WHAT", value_enum, default_value_t = Page::Read)]
    pub page: Page,

    /// How much to log.
    #[arg(
        long,
        env = "PORTMASTER_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        value_parser = clap::builder::PossibleValuesParser::new(portmaster_http::log::LEVELS),
    )]
    pub log_level: String,
}

/// What the page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// There is none.
    Off,
    /// To look at.
    Read,
    /// Also to release ports, and to end quarantines.
    Write,
}

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("an address is a host and a port, for example 127.0.0.1:8080".to_owned()),
    }
}

fn host(text: &str) -> Result<String, String> {
    let plain = crate::guard::host(text).filter(|host| !host.contains('*'));
    plain.ok_or_else(|| "a host is a name, for example ports.example.com, without https:// before it".to_owned())
}

fn endpoint(text: &str) -> Result<String, String> {
    match is_url(text) {
        true => Ok(text.to_owned()),
        false => Err("an endpoint is a URL, for example http://127.0.0.1:8000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn hosts_are_named_one_by_one_or_together() {
        let parse = |arguments: &[&str]| Options::try_parse_from(["portmaster"].iter().chain(arguments));
        let options = parse(&["--allow-host", "a.example,B.example:443", "--allow-host", "portmaster"]).unwrap();
        assert_eq!(options.allow_host, ["a.example", "b.example", "portmaster"]);
        for bad in ["https://a.example", "*", "*.example.com", "", "a b", "a.example,"] {
            assert!(parse(&["--allow-host", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_margin_has_bounds() {
        let parse = |margin: &str| Options::try_parse_from(["portmaster", "--margin", margin]);
        assert_eq!(Options::try_parse_from(["portmaster"]).unwrap().margin_seconds, 10);
        assert_eq!((parse("0").unwrap().margin_seconds, parse("3600").unwrap().margin_seconds), (0, 3600));
        for bad in ["3601", "-1", "10s", "1.5", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_option_is_an_environment_variable_too() {
        let command = Options::command();
        for argument in
            command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            let expected = format!("PORTMASTER_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
        }
    }
}
