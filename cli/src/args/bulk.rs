//! `import`.

use std::path::PathBuf;

use portmaster_client::domain::ServiceName;

use super::values;

/// Claims ports that are in use already.
///
/// The file has a port in each line: CSV with the header `name,port` and, if wanted, `owner` and one column
/// `label.KEY` for each label; or JSON Lines with `{"name": …, "port": …, "owner": …, "labels": {…}}`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The service
    #[arg(value_parser = values::service)]
    pub service: ServiceName,
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only say what would be imported
    #[arg(long)]
    pub dry_run: bool,
}
