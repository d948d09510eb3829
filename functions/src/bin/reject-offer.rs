//! `POST /v1/services/{service}/offers/{secret}/reject` and `DELETE /v1/services/{service}/offers/{secret}`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::reject_offer)
}
