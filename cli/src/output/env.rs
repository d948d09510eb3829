//! Results as variables of a shell, and as outputs of a step on GitHub.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;

use super::harmless::harmless;
use crate::Failure;

/// Names and values. A name is lower case with underscores, as in `expires_at`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Those that have a value, with control characters as their escapes.
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        Self(pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), harmless(&value?)))).collect())
    }

    /// Assignments for a shell: `PORT` alone has no prefix, since that is what programs look for.
    pub(super) fn for_shell(&self) -> String {
        let line = |(name, value): &(String, String)| {
            let name = if name == "port" { "PORT".to_owned() } else { format!("PORT_{}", name.to_uppercase()) };
            format!("{name}={}\n", quoted(value))
        };
        self.0.iter().map(line).collect()
    }

    /// Appends them to GitHub's file.
    pub(super) fn for_github(&self, file: Option<OsString>) -> Result<(), Failure> {
        let mut text = String::new();
        for (name, value) in &self.0 {
            // There is no line break in it any more, with which a value could begin another output.
            text.push_str(&format!("{}={value}\n", name.replace('_', "-")));
        }
        let (path, mut file) = open(file)?;
        file.write_all(text.as_bytes()).map_err(|reason| Failure::Other(format!("{path}: {reason}")))
    }
}

/// Opens GitHub's file for what is to be appended. Returns its path as well, for messages.
pub(super) fn open(file: Option<OsString>) -> Result<(String, File), Failure> {
    let path = file.filter(|file| !file.is_empty()).ok_or_else(|| {
        let reason = "-o github appends to the file that GITHUB_OUTPUT names, and there is no such variable";
        Failure::Usage(reason.to_owned())
    })?;
    let opened = File::options().append(true).create(true).open(&path);
    let path = path.to_string_lossy().into_owned();
    opened.map(|file| (path.clone(), file)).map_err(|reason| Failure::Other(format!("{path}: {reason}")))
}

/// A word of a shell, in single quotes where it needs them.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~-/:@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        let value = "a b'; echo $(id) `id` \"x\" \\";
        let pairs = Pairs::of([("port", Some("5000".to_owned())), ("owner", Some(value.to_owned())), ("none", None)]);
        let script = format!("{}printf '%s|%s' \"$PORT\" \"$PORT_OWNER\"", pairs.for_shell());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("5000|{value}"));
    }

    #[test]
    fn a_step_gets_outputs_after_those_it_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "before=1\n").unwrap();
        let pairs =
            Pairs::of([("port", Some("5000".to_owned())), ("expires_at", Some("2026-11-30T10:00:00Z".to_owned()))]);
        pairs.for_github(Some(file.path().into())).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "before=1\nport=5000\nexpires-at=2026-11-30T10:00:00Z\n");
        assert!(pairs.for_github(None).is_err());
    }
}
