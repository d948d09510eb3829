//! The history and the events, from the table's stream.

use std::process::ExitCode;

fn main() -> ExitCode {
    portmaster_functions::record_history()
}
