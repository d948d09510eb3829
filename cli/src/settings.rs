//! The files that can set options: `portmaster.toml` in the working directory, and the user's.
//!
//! A top-level key is an option of every command, and a table is a command's own options, under their names on the
//! command line:
//!
//! ```toml
//! url = "https://ports.example.com"
//!
//! [run]
//! lease = "30m"
//! label = ["team=shop"]
//! ```
//!
//! What a file sets becomes the option's default. So the command line and the variables come first, without any code
//! here, and `--help` shows what applies.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::{Table, Value};

use crate::args::mistakes;

/// The name of both files.
pub const FILE: &str = "portmaster.toml";

/// The options that decide where signed requests go, as whom, and whose ports they are about. A pull request can change
/// the working directory's file, and must not direct the requests of the job that builds it.
const NOT_IN_CI: [&str; 6] = ["url", "role-arn", "profile", "region", "namespace", "owner"];

/// The variables by which CI systems show themselves. Most of them set `CI`, and not all.
const CI: [&str; 6] = ["GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "CODEBUILD_BUILD_ID", "TF_BUILD", "BUILDKITE"];

/// Whether a CI system runs this.
pub fn is_in_ci(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| {
        variable(name).is_some_and(|value| !["", "false", "0"].contains(&value.to_ascii_lowercase().as_str()))
    };
    is_set("CI") || CI.into_iter().any(is_set)
}

/// What the files say, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    files: Vec<(PathBuf, Table)>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for Invalid {}

impl Settings {
    /// Reads both files, where they exist. Returns what to warn of as well.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a file that cannot be read, or is not TOML.
    pub fn load(variable: impl Fn(&str) -> Option<String>) -> Result<(Self, Vec<String>), Invalid> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".config"));
        let user = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let user = user.map(|folder| folder.join("portmaster").join(FILE));
        Self::of(user.as_deref(), Path::new(FILE), is_in_ci(variable))
    }

    /// Reads these two files, where they exist.
    fn of(user: Option<&Path>, here: &Path, is_in_ci: bool) -> Result<(Self, Vec<String>), Invalid> {
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        match user.map(|path| (path, read(path))) {
            Some((path, Ok(Some(table)))) => files.push((path.to_owned(), table)),
            // Another user's home, say, in which this user is not to look. The file is for comfort.
            Some((path, Err(Unread::Forbidden))) => {
                warnings.push(format!("{} may not be read, and is ignored", path.display()));
            }
            Some((_, Err(Unread::Invalid(invalid)))) => return Err(invalid),
            None | Some((_, Ok(None))) => {}
        }
        let here_is = match read(here) {
            Ok(table) => table,
            // It is there, and somebody wants it to be obeyed.
            Err(Unread::Forbidden) if here.symlink_metadata().is_ok() => {
                return Err(Invalid { path: here.to_owned(), reason: "it may not be read".to_owned() });
            }
            // Whether it is there cannot be seen, since this user may not search the working directory.
            Err(Unread::Forbidden) => None,
            Err(Unread::Invalid(invalid)) => return Err(invalid),
        };
        if let Some(mut table) = here_is {
            let left_out = NOT_IN_CI.iter().filter(|key| is_in_ci && table.remove(**key).is_some());
            warnings.extend(left_out.map(|key| {
                let variable = format!("PORTMASTER_{}", key.to_uppercase().replace('-', "_"));
                format!(
                    "{key} in ./{FILE} is ignored in CI, because a change under review could redirect requests or change \
                     whose they are; set {variable} in the job"
                )
            }));
            files.push((here.to_owned(), table));
        }
        Ok((Self { files }, warnings))
    }

    /// Makes what the files say the defaults of a command line.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for an option that there is not, and for a value that is not one.
    pub fn apply(&self, command: Command) -> Result<Command, Invalid> {
        let mut command = command;
        for (path, table) in &self.files {
            let wrong = |reason| Invalid { path: path.clone(), reason };
            command = apply(command, table, "").map_err(wrong)?;
        }
        Ok(command)
    }
}

/// Why a file was not read.
enum Unread {
    /// This user may not.
    Forbidden,
    Invalid(Invalid),
}

/// Reads a file; none if there is no such file, which includes what cannot be one: below /dev/null, or a directory.
fn read(path: &Path) -> Result<Option<Table>, Unread> {
    use std::io::ErrorKind;
    let wrong = |reason: String| Unread::Invalid(Invalid { path: path.to_owned(), reason });
    match std::fs::read_to_string(path) {
        // The message has the line, and points at the place.
        Ok(text) => text.parse().map(Some).map_err(|error: toml::de::Error| wrong(error.to_string())),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => Ok(None),
            ErrorKind::PermissionDenied => Err(Unread::Forbidden),
            _ => Err(wrong(error.to_string())),
        },
    }
}

fn apply(mut command: Command, table: &Table, within: &str) -> Result<Command, String> {
    for (key, value) in table {
        if let Value::Table(options) = value {
            if command.find_subcommand(key).is_none() {
                return Err(format!("[{within}{key}] is no command"));
            }
            let mut outcome = Ok(());
            command = command.mut_subcommand(key, |subcommand| {
                let unchanged = subcommand.clone();
                apply(subcommand, options, &format!("{within}{key}.")).unwrap_or_else(|reason| {
                    outcome = Err(reason);
                    unchanged
                })
            });
            outcome?;
            continue;
        }
        let options = || command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help"));
        let Some(option) = options().find(|arg| arg.get_long() == Some(key)) else {
            let known: Vec<_> = options().filter_map(clap::Arg::get_long).filter(|long| *long != "version").collect();
            return Err(format!("{within}{key} is no option here; there are {}", known.join(", ")));
        };
        let (id, values) = (option.get_id().clone(), values(value).ok_or(format!("{within}{key} must be a text"))?);
        let parses = option.get_possible_values();
        if let Some(wrong) = values
            .iter()
            .find(|value| !parses.is_empty() && !parses.iter().any(|possible| possible.matches(value, false)))
        {
            let known: Vec<_> = parses.iter().map(clap::builder::PossibleValue::get_name).collect();
            return Err(format!("{within}{key} is {wrong:?}, and must be one of {}", known.join(", ")));
        }
        // As clap would find out, which would blame the command line.
        let wrong = |value: &String| Some((value.clone(), mistakes::of_value(option, value)?));
        if let Some((value, why)) = values.iter().find_map(wrong) {
            return Err(format!("{within}{key} is {value:?}, and {why}"));
        }
        command = command.mut_arg(id, |arg| arg.default_values(values));
    }
    Ok(command)
}

/// A value as the command line would have it; none if it could not.
fn values(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Array(all) => all.iter().map(|one| values(one).filter(|one| one.len() == 1)?.pop()).collect(),
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches as _, Parser as _};

    use super::*;
    use crate::args::{Args, command};

    fn parsed(user: &str, here: &str, line: &[&str], is_in_ci: bool) -> Result<(Args, Vec<String>), String> {
        let folder = tempfile::tempdir().unwrap();
        let files = [("user.toml", user), ("here.toml", here)].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        let (settings, warnings) =
            Settings::of(Some(&files[0]), &files[1], is_in_ci).map_err(|invalid| invalid.reason)?;
        let command = settings.apply(command(|_| None)).map_err(|invalid| invalid.reason)?;
        let line = ["portmaster"].iter().chain(line);
        let matches = command.try_get_matches_from(line).map_err(|mistake| mistake.to_string())?;
        Ok((Args::from_arg_matches(&matches).unwrap(), warnings))
    }

    const FIND: &[&str] = &["find", "5000"];

    #[test]
    fn the_working_directory_comes_before_the_user() {
        let (user, here) = ("url = 'https://user.example'\nquiet = true", "url = 'https://here.example'");
        let (args, warnings) = parsed(user, here, FIND, false).unwrap();
        assert_eq!((args.global.url.as_str(), args.global.quiet), ("https://here.example", true));
        assert!(warnings.is_empty());
        let line = ["--url", "https://line.example", "find", "5000"];
        assert_eq!(parsed(user, here, &line, false).unwrap().0.global.url, "https://line.example");
    }

    #[test]
    fn in_ci_the_working_directory_does_not_say_where_requests_go() {
        let (user, here) = ("url = 'https://user.example'", "url = 'https://evil.example'\nrole-arn = 'arn:evil'");
        let (args, warnings) = parsed(user, here, FIND, true).unwrap();
        assert_eq!((args.global.url.as_str(), args.global.role_arn), ("https://user.example", None));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with("url in ./portmaster.toml is ignored in CI"), "{warnings:?}");
        assert!(warnings[1].contains("PORTMASTER_ROLE_ARN"), "{warnings:?}");
        // Nor as whom, nor whose ports they are about. How they look it may say.
        let here = "region = 'eu-west-1'\nprofile = 'evil'\nnamespace = 'evil'\nowner = 'evil'\noutput = 'json'";
        let (args, warnings) = parsed("", here, FIND, true).unwrap();
        assert_eq!((args.global.region, args.global.profile, args.global.owner), (None, None, None));
        assert!(args.global.namespace.is_default() && args.global.output == crate::args::Format::Json);
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert_eq!(parsed("", here, FIND, false).unwrap().0.global.profile.as_deref(), Some("evil"));
    }

    #[test]
    fn each_ci_system_is_one() {
        let is_in_ci = |name: &str, value: &str| super::is_in_ci(|asked| (asked == name).then(|| value.to_owned()));
        for name in CI.into_iter().chain(["CI"]) {
            assert!(is_in_ci(name, "true") && !is_in_ci(name, "") && !is_in_ci(name, "false"), "{name}");
        }
        assert!(is_in_ci("TF_BUILD", "True") && !is_in_ci("CI", "0") && !is_in_ci("HOME", "/root"));
    }

    #[test]
    fn what_cannot_be_a_file_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        for path in [folder.path().join(FILE), "/dev/null/.config/portmaster/portmaster.toml".into()] {
            let (settings, warnings) = Settings::of(Some(&path), &path, false).unwrap();
            assert!(settings.files.is_empty() && warnings.is_empty(), "{path:?}");
        }
    }

    /// As another user, since root may read everything; where there is no root, as this one.
    #[test]
    fn what_may_not_be_read_is_ignored_where_it_is_the_users() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "quiet = true").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::read(&path).is_ok() {
            return;
        }
        let missing = Path::new("/nonexistent/portmaster.toml");
        let (settings, warnings) = Settings::of(Some(&path), missing, false).unwrap();
        assert!(settings.files.is_empty() && warnings[0].contains("may not be read"), "{warnings:?}");
        assert!(Settings::of(None, &path, false).is_err());
    }

    #[test]
    fn a_table_is_a_commands() {
        let here = "[run]\nlease = '30m'\nlabel = ['team=shop', 'a=b']\nno-probe = true\n[service.put]\ncooldown = 60";
        let line = ["run", "web", "--", "true"];
        let crate::args::Command::Run(run) = parsed("", here, &line, false).unwrap().0.command else { panic!() };
        assert_eq!((run.lease.get(), run.labels.len(), run.no_probe), (1800, 2, true));
    }

    #[test]
    fn a_flag_is_true_or_false_even_if_it_can_be_given_twice() {
        for (here, expected) in [("verbose = true", 1), ("verbose = false", 0), ("verbose = 2", 2)] {
            assert_eq!(parsed("", here, FIND, false).unwrap().0.global.verbose, expected, "{here}");
        }
    }

    #[test]
    fn what_a_file_gets_wrong_is_named() {
        for (here, expected) in [
            ("colour = 'never'", "colour is no option here; there are url, namespace"),
            ("[walk]\nlease = '1m'", "[walk] is no command"),
            ("[run]\nspeed = 1", "run.speed is no option here; there are lease"),
            ("url = 1.5", "url must be a text"),
            ("output = 'xml'", "output is \"xml\", and must be one of table, json, env, github"),
            ("[run]\nlease = '31d'", "run.lease is \"31d\", and must be from 1s to 30d"),
            ("owner = '*'", "owner is \"*\", and "),
            ("verbose = 'loud'", "verbose is \"loud\", and must be true, false, or a small number"),
            ("url = ", "TOML parse error at line 1"),
        ] {
            let reason = parsed("", here, FIND, false).unwrap_err();
            assert!(reason.starts_with(expected), "{reason}");
        }
    }

    #[test]
    fn without_files_nothing_changes() {
        let missing = Path::new("/nonexistent/portmaster.toml");
        let (settings, warnings) = Settings::of(Some(missing), missing, true).unwrap();
        assert!(settings.files.is_empty() && warnings.is_empty());
        assert!(Args::try_parse_from(["portmaster", "find", "5000"]).is_ok());
    }
}
