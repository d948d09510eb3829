//! `DELETE /v1/services/{service}/quarantine/{port}`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::end_quarantine)
}
