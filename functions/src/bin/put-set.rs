//! `POST /v1/services/{service}/sets`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::put_set)
}
