//! `PUT /v1/namespaces/{namespace}`

use std::process::ExitCode;

use portmaster_functions::serve;
use portmaster_http::endpoint;

fn main() -> ExitCode {
    serve(endpoint::put_namespace)
}
