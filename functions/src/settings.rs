//! A function's settings.

use portmaster_http::log::LEVELS;
use portmaster_http::target::plain;
use portmaster_registry::{History, InvalidWatched, Registry, Watch, Watched, is_url};

use crate::{Gateway, Scope};

/// The settings that a function reads from its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `TABLE_NAME`: the registry's table. There is no default.
    pub table: String,
    /// `OFFER_SECONDS`: how long an offer lives; 1,800 if it is not set.
    pub offer_seconds: u32,
    /// `PORTMASTER_MARGIN_SECONDS`: by how much everybody else waits longer than the holder of a lease was told; 10 if it
    /// is not set.
    pub margin_seconds: u32,
    /// `NEARLY_FULL_PERCENT`, `NEARLY_FULL_EXCEPT`, `USAGE_METRICS_FULLEST` and `USAGE_METRICS_FOR`: what the reconciler
    /// tells of how full the services are. 90, none, 0 and none if they are not set.
    pub watch: Watch,
    /// `HISTORY_TABLE`: the table of tenures. None are kept if it is not set.
    pub history_table: Option<String>,
    /// `HISTORY_DAYS`: for how many days a tenure is kept after its end; 400 if it is not set.
    pub history_days: u32,
    /// `EVENT_BUS_NAME`: the event bus to which events are sent; none if it is not set.
    pub event_bus: Option<String>,
    /// `LOG_LEVEL`: how much to log; `info` if it is not set.
    pub log_level: String,
    /// `STACK_NAME`: distinguishes this deployment's metrics from another's. Without it no metrics are written.
    pub stack: Option<String>,
    /// `DYNAMODB_ENDPOINT`: the URL of another DynamoDB than that of AWS.
    pub endpoint: Option<String>,
    /// `CUSTOM_RESOURCE_PORTS` and `CUSTOM_RESOURCE_SERVICES`: what stacks may make; nothing if they are not set.
    pub scope: Scope,
    /// `CUSTOM_RESOURCE_ANSWERS_TO`: how a URL for CloudFormation's answers may begin that is not S3's, for emulators of
    /// AWS.
    pub answers_to: Option<String>,
    /// The gateway in front of the function.
    pub gateway: Gateway,
}

/// A setting that is wrong, described in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// `TABLE_NAME` is not set.
    #[error("the environment variable TABLE_NAME is not set; it names the registry's DynamoDB table")]
    NoTable,
    /// `TABLE_NAME` is not the name of a table (*Amazon DynamoDB Developer Guide*, "Naming rules").
    #[error("the environment variable TABLE_NAME must have 3 to 255 characters, of A-Z a-z 0-9 _ - and ., not {0:?}")]
    Table(String),
    /// `OFFER_SECONDS` is not a lifetime.
    #[error("the environment variable OFFER_SECONDS must be a whole number from 1 to {max}, not {0:?}", max = Registry::MAX_OFFER_SECONDS)]
    OfferSeconds(String),
    /// `PORTMASTER_MARGIN_SECONDS` is not a margin.
    #[error("the environment variable PORTMASTER_MARGIN_SECONDS must be a whole number from 0 to {max}, not {0:?}", max = Registry::MAX_MARGIN_SECONDS)]
    MarginSeconds(String),
    /// `NEARLY_FULL_PERCENT` is no percentage.
    #[error("the environment variable NEARLY_FULL_PERCENT must be a whole number from 1 to 100, not {0:?}")]
    NearlyFull(String),
    /// `USAGE_METRICS_FULLEST` is no number of metrics.
    #[error("the environment variable USAGE_METRICS_FULLEST must be a whole number from 0 to 100, not {0:?}")]
    Fullest(String),
    /// `NEARLY_FULL_EXCEPT` or `USAGE_METRICS_FOR` is no list of services.
    #[error("in the environment variable {0}, {error}, with commas between them; {1:?} is not", error = InvalidWatched)]
    Watched(&'static str, String),
    /// `HISTORY_TABLE` is not the name of a table.
    #[error(
        "the environment variable HISTORY_TABLE must have 3 to 255 characters, of A-Z a-z 0-9 _ - and ., not {0:?}"
    )]
    HistoryTable(String),
    /// `HISTORY_DAYS` is no number of days.
    #[error("the environment variable HISTORY_DAYS must be a whole number from 0 to {max}, not {0:?}", max = History::MAX_DAYS)]
    HistoryDays(String),
    /// `LOG_LEVEL` is not a level.
    #[error("the environment variable LOG_LEVEL must be one of {levels}, not {0:?}", levels = LEVELS.join(", "))]
    LogLevel(String),
    /// `DYNAMODB_ENDPOINT` is not a URL.
    #[error(
        "the environment variable DYNAMODB_ENDPOINT must be a URL such as http://127.0.0.1:8000, or empty for AWS, not {0:?}"
    )]
    Endpoint(String),
    /// `CUSTOM_RESOURCE_ANSWERS_TO` is not a URL.
    #[error(
        "the environment variable CUSTOM_RESOURCE_ANSWERS_TO must be the beginning of an emulator's URLs, such as \
         http://127.0.0.1:4566/, or empty for AWS, not {0:?}"
    )]
    AnswersTo(String),
    /// `API_MAPPING` is not the key of a mapping.
    #[error(
        "the environment variable API_MAPPING must be the key of an API mapping, of A-Z a-z 0-9 . _ ~ - and single slashes \
         between them, or empty, not {0:?}"
    )]
    Mapping(String),
    /// `SERVE_DEFAULT_ROUTE` is neither true nor false.
    #[error("the environment variable SERVE_DEFAULT_ROUTE must be true or false, not {0:?}")]
    ServeDefaultRoute(String),
}

impl Settings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Returns [`SettingsError`] for the first setting that is wrong.
    pub fn from_environment() -> Result<Self, SettingsError> {
        Self::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let table = variable("TABLE_NAME").filter(|table| !table.is_empty()).ok_or(SettingsError::NoTable)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_table = |table: &str| (3..=255).contains(&table.len()) && table.bytes().all(allowed);
        if !is_table(&table) {
            return Err(SettingsError::Table(table));
        }
        let history_table = variable("HISTORY_TABLE").filter(|table| !table.is_empty());
        if let Some(table) = history_table.as_ref().filter(|table| !is_table(table)) {
            return Err(SettingsError::HistoryTable(table.clone()));
        }
        let history_days = match variable("HISTORY_DAYS") {
            None => History::DAYS,
            Some(text) => match text.parse() {
                Ok(days @ 0..=History::MAX_DAYS) => days,
                _ => return Err(SettingsError::HistoryDays(text)),
            },
        };
        let event_bus = variable("EVENT_BUS_NAME").filter(|name| !name.is_empty());
        let offer_seconds = match variable("OFFER_SECONDS") {
            None => Registry::OFFER_SECONDS,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=Registry::MAX_OFFER_SECONDS) => seconds,
                _ => return Err(SettingsError::OfferSeconds(text)),
            },
        };
        let margin_seconds = match variable("PORTMASTER_MARGIN_SECONDS") {
            None => Registry::MARGIN_SECONDS,
            Some(text) => match text.parse() {
                Ok(seconds @ 0..=Registry::MAX_MARGIN_SECONDS) => seconds,
                _ => return Err(SettingsError::MarginSeconds(text)),
            },
        };
        let watch = watch(&variable)?;
        let log_level = match variable("LOG_LEVEL") {
            None => "info".to_owned(),
            Some(level) if LEVELS.contains(&level.to_ascii_lowercase().as_str()) => level.to_ascii_lowercase(),
            Some(level) => return Err(SettingsError::LogLevel(level)),
        };
        let stack = variable("STACK_NAME").filter(|stack| !stack.is_empty());
        let endpoint = variable("DYNAMODB_ENDPOINT").filter(|url| !url.is_empty());
        if let Some(url) = endpoint.as_ref().filter(|url| !is_url(url)) {
            return Err(SettingsError::Endpoint(url.clone()));
        }
        let mapping = variable("API_MAPPING").filter(|key| !key.is_empty());
        if let Some(key) = mapping.as_ref().filter(|key| key.ends_with('/') || plain(&format!("/{key}")).is_err()) {
            return Err(SettingsError::Mapping(key.clone()));
        }
        let serve_default_route = match variable("SERVE_DEFAULT_ROUTE").as_deref() {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(other) => return Err(SettingsError::ServeDefaultRoute(other.to_owned())),
        };
        let scope = Scope {
            ports: services("CUSTOM_RESOURCE_PORTS", &variable)?,
            services: services("CUSTOM_RESOURCE_SERVICES", &variable)?,
        };
        let answers_to = variable("CUSTOM_RESOURCE_ANSWERS_TO").filter(|url| !url.is_empty());
        // With a slash behind its host, so that no other host begins like it.
        if let Some(url) = answers_to.as_ref().filter(|url| !is_url(url) || url.matches('/').count() < 3) {
            return Err(SettingsError::AnswersTo(url.clone()));
        }
        let gateway = Gateway { mapping, serve_default_route, ..Gateway::default() };
        Ok(Self {
            table,
            offer_seconds,
            margin_seconds,
            watch,
            history_table,
            history_days,
            event_bus,
            log_level,
            stack,
            endpoint,
            scope,
            answers_to,
            gateway,
        })
    }
}

/// Reads what the reconciler tells of how full the services are.
fn watch(variable: &impl Fn(&str) -> Option<String>) -> Result<Watch, SettingsError> {
    let usual = Watch::default();
    let nearly_full = match variable("NEARLY_FULL_PERCENT") {
        None => usual.nearly_full,
        Some(text) => match text.parse() {
            Ok(percent @ 1..=100) => percent,
            _ => return Err(SettingsError::NearlyFull(text)),
        },
    };
    let fullest = match variable("USAGE_METRICS_FULLEST") {
        None => usual.fullest,
        Some(text) => match text.parse() {
            Ok(fullest @ 0..=100) => fullest,
            _ => return Err(SettingsError::Fullest(text)),
        },
    };
    let list = |name: &'static str| services(name, variable);
    Ok(Watch { nearly_full, except: list("NEARLY_FULL_EXCEPT")?, fullest, named: list("USAGE_METRICS_FOR")? })
}

/// Reads a list of services.
fn services(name: &'static str, variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<Watched>, SettingsError> {
    let text = variable(name).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| SettingsError::Watched(name, part.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Settings::parse(find)
    }

    #[test]
    fn only_the_table_has_no_default() {
        let settings = parse(&[("TABLE_NAME", "portmaster")]).unwrap();
        assert_eq!((settings.offer_seconds, settings.log_level.as_str()), (1800, "info"));
        assert_eq!(settings.margin_seconds, 10);
        assert_eq!(settings.watch, Watch::default());
        assert_eq!((settings.scope, settings.answers_to), (Scope::default(), None));
        assert_eq!((settings.history_table, settings.history_days, settings.event_bus), (None, 400, None));
        assert_eq!((settings.stack, settings.endpoint, settings.gateway), (None, None, Gateway::default()));
        assert_eq!(parse(&[]), Err(SettingsError::NoTable));
        assert_eq!(parse(&[("TABLE_NAME", "")]), Err(SettingsError::NoTable));
    }

    #[test]
    fn a_wrong_setting_is_named_in_one_line() {
        for (name, value) in [
            ("TABLE_NAME", "a table"),
            ("OFFER_SECONDS", "0"),
            ("OFFER_SECONDS", "-5"),
            ("OFFER_SECONDS", "30m"),
            ("OFFER_SECONDS", ""),
            ("OFFER_SECONDS", "2592001"),
            ("PORTMASTER_MARGIN_SECONDS", "-1"),
            ("PORTMASTER_MARGIN_SECONDS", "10s"),
            ("PORTMASTER_MARGIN_SECONDS", ""),
            ("PORTMASTER_MARGIN_SECONDS", "3601"),
            ("NEARLY_FULL_PERCENT", "0"),
            ("NEARLY_FULL_PERCENT", "101"),
            ("NEARLY_FULL_PERCENT", "90%"),
            ("NEARLY_FULL_EXCEPT", "web"),
            ("USAGE_METRICS_FULLEST", "101"),
            ("USAGE_METRICS_FULLEST", "all"),
            ("USAGE_METRICS_FOR", "team-a/"),
            ("CUSTOM_RESOURCE_PORTS", "web"),
            ("CUSTOM_RESOURCE_SERVICES", "*"),
            ("CUSTOM_RESOURCE_ANSWERS_TO", "http://127.0.0.1:4566"),
            ("CUSTOM_RESOURCE_ANSWERS_TO", "127.0.0.1/"),
            ("HISTORY_TABLE", "a history"),
            ("HISTORY_DAYS", "-1"),
            ("HISTORY_DAYS", "3654"),
            ("HISTORY_DAYS", ""),
            ("LOG_LEVEL", "loud"),
            ("DYNAMODB_ENDPOINT", "localhost:8000"),
            ("DYNAMODB_ENDPOINT", "ftp://localhost"),
            ("API_MAPPING", "/registry"),
            ("API_MAPPING", "registry/"),
            ("API_MAPPING", "a/../b"),
            ("API_MAPPING", "ports?"),
            ("SERVE_DEFAULT_ROUTE", "yes"),
        ] {
            let line = parse(&[(name, value), ("TABLE_NAME", "portmaster")]).unwrap_err().to_string();
            assert!(line.contains(name) && line.contains(value) && !line.contains('\n'), "{line}");
        }
        for margin in ["0", "3600"] {
            let settings = parse(&[("TABLE_NAME", "portmaster"), ("PORTMASTER_MARGIN_SECONDS", margin)]).unwrap();
            assert_eq!(settings.margin_seconds.to_string(), margin);
        }
        let variables = [
            ("TABLE_NAME", "portmaster"),
            ("NEARLY_FULL_PERCENT", "75"),
            ("NEARLY_FULL_EXCEPT", ""),
            ("USAGE_METRICS_FULLEST", "10"),
            ("USAGE_METRICS_FOR", "default/web, team-a/*"),
        ];
        let watch = parse(&variables).unwrap().watch;
        assert_eq!((watch.nearly_full, watch.fullest, watch.except.len()), (75, 10, 0));
        assert_eq!(watch.named.iter().map(ToString::to_string).collect::<Vec<_>>(), ["default/web", "team-a/*"]);
        assert_eq!(parse(&[("TABLE_NAME", "portmaster"), ("LOG_LEVEL", "DEBUG")]).unwrap().log_level, "debug");
    }
}
