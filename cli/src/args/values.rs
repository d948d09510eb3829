//! Values on the command line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::parser::ValueSource;
use clap::{Arg, Command};
use portmaster_client::PortOrName;
use portmaster_client::domain::{Clock, InstanceName, Labels, Namespace, Owner, Port, ServiceName, Timestamp};
use portmaster_client::wire::{HoldSeconds, LeaseSeconds, NamePrefix};

/// A label, `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What one `--label` has, or the variable in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SomeLabels(Vec<Label>);

/// Reads labels: one of an option, whose value may have commas, and several of a variable, between commas.
#[derive(Clone, Copy, Debug)]
pub struct LabelsParser;

impl TypedValueParser for LabelsParser {
    type Value = SomeLabels;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<SomeLabels, clap::Error> {
        TypedValueParser::parse_ref(&label, command, arg, value).map(|label| SomeLabels(vec![label]))
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<SomeLabels, clap::Error> {
        match value.to_str().filter(|_| source == ValueSource::EnvVariable) {
            Some(all) => {
                let each = all.split(',').map(|one| TypedValueParser::parse_ref(&label, command, arg, OsStr::new(one)));
                each.collect::<Result<_, _>>().map(SomeLabels)
            }
            None => self.parse_ref(command, arg, value),
        }
    }
}

/// The labels of all options, by key.
#[must_use]
pub fn map_of(all: &[SomeLabels]) -> BTreeMap<String, String> {
    all.iter().flat_map(|SomeLabels(some)| some).map(|label| (label.key.clone(), label.value.clone())).collect()
}

/// Reads a namespace.
///
/// # Errors
///
/// What a namespace has to be.
pub fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::try_from(text).map_err(|invalid| invalid.to_string())
}

/// Reads an owner.
///
/// # Errors
///
/// What an owner has to be.
pub fn owner(text: &str) -> Result<Owner, String> {
    Owner::try_from(text).map_err(|invalid| invalid.to_string())
}

/// Reads a service's name.
///
/// # Errors
///
/// What a name has to be.
pub fn service(text: &str) -> Result<ServiceName, String> {
    ServiceName::try_from(text).map_err(|invalid| invalid.to_string())
}

/// Reads an instance's name.
///
/// # Errors
///
/// What a name has to be.
pub fn name(text: &str) -> Result<InstanceName, String> {
    InstanceName::try_from(text).map_err(|invalid| invalid.to_string())
}

/// Reads a port or a name.
///
/// # Errors
///
/// What a port or a name has to be.
pub fn port_or_name(text: &str) -> Result<PortOrName, String> {
    text.parse().map_err(|invalid: portmaster_client::InvalidTarget| invalid.to_string())
}

/// Reads the beginning of names.
///
/// # Errors
///
/// What it has to be.
pub fn name_prefix(text: &str) -> Result<NamePrefix, String> {
    NamePrefix::try_from(text.to_owned()).map_err(|invalid| invalid.to_string())
}

/// Reads a port.
///
/// # Errors
///
/// What a port has to be.
pub fn port(text: &str) -> Result<Port, String> {
    Port::new(text.parse().unwrap_or(0)).map_err(|invalid| invalid.to_string())
}

/// Reads a label.
///
/// # Errors
///
/// What a label has to be.
pub fn label(text: &str) -> Result<Label, String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    if !Labels::is_key(key) {
        return Err("must have a key of 1 to 32 characters out of a-z 0-9 . _ -".to_owned());
    }
    if !Labels::is_value(value) {
        return Err("must have a value of at most 64 characters, all of them printable ASCII".to_owned());
    }
    Ok(Label { key: key.to_owned(), value: value.to_owned() })
}

/// Reads a duration: `90s`, `15m`, `1h30m`, `7d`, or a number of seconds.
///
/// # Errors
///
/// What a duration has to be.
pub fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || "must be a duration, as in 90s, 15m, 1h30m or 7d".to_owned();
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut total, mut number) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(malformed()),
        };
        let count: u64 = std::mem::take(&mut number).parse().map_err(|_| malformed())?;
        total = count.checked_mul(unit).and_then(|seconds| total.checked_add(seconds)).ok_or_else(malformed)?;
    }
    if text.is_empty() || !number.is_empty() { Err(malformed()) } else { Ok(Duration::from_secs(total)) }
}

fn whole_seconds(text: &str) -> Result<u32, String> {
    Ok(u32::try_from(duration(text)?.as_secs()).unwrap_or(u32::MAX))
}

/// Reads the length of a lease.
///
/// # Errors
///
/// What it has to be.
pub fn lease(text: &str) -> Result<LeaseSeconds, String> {
    LeaseSeconds::try_from(whole_seconds(text)?).map_err(|_| "must be from 1s to 30d".to_owned())
}

/// Reads the length of a cool-down or a quarantine.
///
/// # Errors
///
/// What it has to be.
pub fn hold(text: &str) -> Result<HoldSeconds, String> {
    HoldSeconds::try_from(whole_seconds(text)?).map_err(|_| "must be from 0s to 7d".to_owned())
}

/// Reads how often a flag is given, which in a variable or a file may be said like that of any other flag.
///
/// # Errors
///
/// What it has to be.
pub fn count(text: &str) -> Result<u8, String> {
    match text {
        "true" | "yes" | "on" => Ok(1),
        "false" | "no" | "off" => Ok(0),
        number => number.parse().map_err(|_| "must be true, false, or a small number".to_owned()),
    }
}

/// Reads a time: as in RFC 3339, or how long ago it was.
///
/// # Errors
///
/// What a time has to be.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        let millis = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(Clock::System.now().millis().saturating_sub(millis)));
    }
    Timestamp::from_rfc3339(text).map_err(|_| {
        let what = "must be a time, as in 2026-11-24T14:05:00Z or 2026-11-24T15:05:00+01:00, or how long ago it was, as in \
                    2h or 7d";
        what.to_owned()
    })
}

/// Writes a duration as it can be read: `1h30m`.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            text.push_str(&format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("1h30m", 5_400), ("7d", 604_800), ("45", 45)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(duration(&show(Duration::from_secs(seconds))), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(show(Duration::from_secs(90)), "1m30s");
        for bad in ["", "m", "1x", "-1s", "1.5h", "1h30", "99999999999999999999d", "1 h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(lease("0s").is_err() && lease("31d").is_err() && lease("30d").is_ok());
        assert!(hold("0s").is_ok() && hold("8d").is_err());
    }

    #[test]
    fn a_time_is_a_time_or_how_long_ago_it_was() {
        let there = Timestamp::from_millis(1_795_529_100_000);
        assert_eq!(instant("2026-11-24T14:05:00Z"), Ok(there));
        assert_eq!(instant("2026-11-24T15:05:00+01:00"), Ok(there));
        // The clock goes on between the three readings, so the time is between what the first and the last allow.
        let before = Clock::System.now().millis();
        let two_hours_ago = instant("2h").unwrap().millis();
        let after = Clock::System.now().millis();
        assert!((before..=after).contains(&(two_hours_ago + 7_200_000)), "{two_hours_ago} from {before} to {after}");
        for bad in ["", "yesterday", "2026-11-24", "2026-11-24 14:05", "2026-11-24T14:05:00", "2x"] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_have_a_key_and_a_value() {
        assert_eq!(label("run=17=b"), Ok(Label { key: "run".to_owned(), value: "17=b".to_owned() }));
        for bad in ["run", "=17", "Run=17", "run=ü"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
