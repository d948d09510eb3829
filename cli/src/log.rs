//! The log of `--verbose`.

use std::io::Write;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Global;

/// Writes the log to standard error, where it was asked for; `between` the lines of another program.
///
/// Only this project's own lines are ever written: libraries for HTTP and AWS may log headers, and so signatures and
/// tokens, at their most verbose.
pub(crate) fn start(global: &Global, between: bool) {
    if global.verbose == 0 {
        return;
    }
    let level = LevelFilter::DEBUG;
    let ours = Targets::new().with_targets([("portmaster_client", level), ("portmaster_cli", level)]);
    let lines = tracing_subscriber::fmt::layer();
    let lines = lines.with_writer(move || Lines { between }).with_ansi(false).with_target(false);
    // Only a second log in this process would be refused.
    let _ = tracing_subscriber::registry().with(lines.with_filter(ours)).try_init();
}

/// Standard error, where a line between those of another program says whose it is.
struct Lines {
    between: bool,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let whose: &[u8] = if self.between { b"portmaster: " } else { b"" };
        // The library writes a line at a time. In one piece, so that nothing comes between.
        std::io::stderr().write_all(&[whose, line].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
