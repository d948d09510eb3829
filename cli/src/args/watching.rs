//! `ui`.

/// Shows the registry in a browser: what is full, what has a port and until when, and what happens.
///
/// It serves the page on this machine alone, at an address that can be opened once, and passes on the page's calls,
/// signed like those of the other commands. It ends with ^C.
#[derive(Clone, Debug, clap::Args)]
pub struct UiArgs {
    /// Let the page release ports and end quarantines; without it, it only reads
    #[arg(long)]
    pub write: bool,
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
}
