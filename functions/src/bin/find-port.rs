//! `GET /v1/ports/{port}`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::find_port)
}
