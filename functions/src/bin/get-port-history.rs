//! `GET /v1/ports/{port}/history`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::get_port_history)
}
