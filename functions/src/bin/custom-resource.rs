//! CloudFormation's custom resources and Terraform's invocations: ports and services that live as long as what asks for
//! them.

use std::process::ExitCode;

fn main() -> ExitCode {
    portmaster_functions::custom_resource()
}
