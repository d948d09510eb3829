//! `GET /health`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_shared::http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::health)
}
