//! `completions` and `man`.

use std::path::PathBuf;

use clap_complete::Shell;

/// Prints a script that completes commands and options in a shell.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints a manual page, in the format of man.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// Of this command, as in `service put`; of the whole program if not given
    pub command: Vec<String>,
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}
