//! `run`.

use std::process::ExitCode;

use crate::args::RunArgs;
use crate::{Context, Failure};

pub(super) async fn run(context: &Context<'_>, args: RunArgs) -> Result<ExitCode, Failure> {
    let _ = (context, args);
    Err(Failure::Other("this build has no `run`".to_owned()))
}
