//! What is printed, and how.

mod env;
mod failure;
mod happened;
mod harmless;
mod shown;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use clap::ColorChoice;
use serde::Serialize;

use crate::Failure;
use crate::args::{Format, Global};

pub use self::env::Pairs;
pub(crate) use self::failure::{fault, help};
pub use self::happened::Happened;
use self::harmless::harmless;
pub use self::shown::Said;
pub use self::table::Table;

/// How lines begin that stand between those of another program.
const OURS: &str = "portmaster: ";

/// Prints results on standard output, and everything else on standard error.
#[derive(Clone, Debug)]
pub struct Voice {
    format: Format,
    quiet: bool,
    color: ColorChoice,
    /// Whether its lines stand between those of another program, and so have to say whose they are.
    between: bool,
}

/// What a command returns.
pub trait Shown: Serialize {
    /// For people.
    fn table(&self) -> Table;

    /// As variables and outputs; there are none where nothing has a name.
    fn pairs(&self) -> Pairs {
        Pairs::default()
    }
}

impl Voice {
    /// The voice of these options; `between` the lines of another program, or alone.
    #[must_use]
    pub fn new(global: &Global, between: bool) -> Self {
        Self { format: global.output, quiet: global.quiet, color: global.color, between }
    }

    /// The voice of a program that does not know its options yet.
    #[must_use]
    pub fn plain(between: bool) -> Self {
        Self { format: Format::Table, quiet: false, color: ColorChoice::Auto, between }
    }

    /// Prints a result.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where `GITHUB_OUTPUT` is needed and absent, and [`Failure::Other`] where standard output, or
    /// the file that it names, cannot be written.
    pub fn show(&self, result: &impl Shown) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(&result.table().to_string()),
            Format::Json => {
                let text = serde_json::to_string_pretty(result).map_err(|reason| Failure::Other(reason.to_string()))?;
                self.print(&format!("{text}\n"))
            }
            Format::Env => self.print(&result.pairs().for_shell()),
            Format::Github => result.pairs().for_github(std::env::var_os("GITHUB_OUTPUT")),
        }
    }

    /// Finds out, before anything is done, whether there will be a place for the result.
    ///
    /// # Errors
    ///
    /// As for [`Voice::show`], where it can be known.
    pub fn check(&self) -> Result<(), Failure> {
        match self.format {
            Format::Github => env::open(std::env::var_os("GITHUB_OUTPUT")).map(drop),
            Format::Table | Format::Json | Format::Env => Ok(()),
        }
    }

    /// Whether it can print a result of several things.
    #[must_use]
    pub fn shows_many(&self) -> bool {
        matches!(self.format, Format::Table | Format::Json)
    }

    /// Prints one of many results that come one after another: a line each, and in JSON an object a line.
    ///
    /// # Returns
    ///
    /// Whether anybody still reads.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] where standard output cannot be written.
    pub fn show_line(&self, happened: &Happened) -> Result<bool, Failure> {
        let line = match self.format {
            Format::Json => serde_json::to_string(happened).map_err(|reason| Failure::Other(reason.to_string()))?,
            _ => happened.line(),
        };
        written(&format!("{line}\n"))
    }

    /// Prints text that has a format of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] where standard output cannot be written.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        // Whoever reads may have read enough.
        written(text).map(|_| ())
    }

    /// Says what is good to know, unless `--quiet` was given.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.between(text);
        }
    }

    /// Says what the user has to know, between the lines of another program, from which it has to be told.
    pub fn between(&self, text: &str) {
        self.say(&format!("{OURS}{}\n", harmless(text)));
    }

    /// Says what the user has to know.
    pub fn warn(&self, text: &str) {
        let warning = self.styled("warning", anstyle::AnsiColor::Yellow);
        self.say(&format!("{}{warning}: {}\n", self.begin(), harmless(text)));
    }

    /// Reports a failure, with what to do next. Returns the exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Reported => {}
            failure if self.format == Format::Json => self.say(&format!("{}\n", failure::document(failure))),
            failure => {
                let (begin, error) = (self.begin(), self.styled("error", anstyle::AnsiColor::Red));
                let text = match failure {
                    // These are this program's own words, and may be several lines.
                    Failure::Usage(text) => text.clone(),
                    failure => harmless(&failure::said(failure)),
                };
                let next = failure::next(failure).into_iter().map(|(label, text)| {
                    format!("{begin}  {}: {}\n", self.styled(label, anstyle::AnsiColor::Cyan), harmless(&text))
                });
                self.say(&format!("{begin}{error}: {text}\n{}", next.collect::<String>()));
            }
        }
        ExitCode::from(failure.code())
    }

    fn begin(&self) -> &'static str {
        if self.between { OURS } else { "" }
    }

    fn say(&self, text: &str) {
        let choice = match self.color {
            ColorChoice::Auto => anstream::AutoStream::choice(&std::io::stderr()),
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        // Standard error may be gone; there is nobody to tell then.
        let _ = anstream::AutoStream::new(std::io::stderr(), choice).write_all(text.as_bytes());
    }

    /// A styled word. The stream takes the style off again where there are to be no colours.
    fn styled(&self, word: &str, color: anstyle::AnsiColor) -> String {
        let style = anstyle::Style::new().bold().fg_color(Some(color.into()));
        format!("{style}{word}{style:#}")
    }
}

/// Writes to standard output. Returns whether anybody still reads: `head`, for example, does not when it has enough.
fn written(text: &str) -> Result<bool, Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(reason) if reason.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(reason) => Err(Failure::Other(format!("standard output: {reason}"))),
    }
}
