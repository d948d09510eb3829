//! The log of `--verbose`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Global;

/// Writes the log to standard error, where it was asked for.
///
/// Only this project's own lines are ever written: libraries for HTTP and AWS may log headers, and so signatures and
/// tokens, at their most verbose.
pub(crate) fn start(global: &Global) {
    let level = match global.verbose {
        0 => return,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = Targets::new().with_targets([("portmaster_client", level), ("portmaster_cli", level)]);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    // Only a second log in this process would be refused.
    let _ = tracing_subscriber::registry().with(lines.with_filter(ours)).try_init();
}
