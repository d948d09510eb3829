//! `GET /problems/{kind}` and `GET /v1/openapi.json`, and the response to every request that no other function's route
//! matches: an unknown path, or a known one with a method that it lacks.

use std::process::ExitCode;

fn main() -> ExitCode {
    portmaster_functions::serve_pages_and_the_rest()
}
