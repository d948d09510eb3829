//! `PUT /v1/services/{service}/ports/{port_or_name}`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::put_port)
}
