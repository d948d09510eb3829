//! The reconciler, on a schedule.

use std::process::ExitCode;

fn main() -> ExitCode {
    portmaster_functions::reconcile()
}
