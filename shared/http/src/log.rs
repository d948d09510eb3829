//! The log: one JSON object a line, on standard error.

use std::str::FromStr as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The names of the levels, from nothing to everything.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log. Only the registry's own events follow `level`, one of [`LEVELS`]; of the libraries only errors are
/// logged, since at their lower levels they print requests, which contain secrets. The registry logs the relevant ones
/// of their warnings itself.
///
/// If another log has already been started, as in tests, that one stays.
pub fn start(level: &str) {
    start_with(level, std::io::stderr);
}

/// Starts the log with another writer, which receives each line whole.
pub fn start_with(level: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let level = LevelFilter::from_str(level).unwrap_or(LevelFilter::INFO);
    let libraries = level.min(LevelFilter::ERROR);
    let targets = Targets::new().with_default(libraries).with_target("portmaster", level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer);
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}
