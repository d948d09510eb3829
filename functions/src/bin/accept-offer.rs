//! `POST /v1/services/{service}/offers/{secret}/accept`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::accept_offer)
}
