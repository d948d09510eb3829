//! What a command ends with when it fails.

use portmaster_client::Error;

/// Why a command failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The registry refused a call, or was not reached. Exit code 1.
    #[error("{0}")]
    Call(#[from] Error),
    /// The command line, a variable, or a file is wrong. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Something else. Exit code 1.
    #[error("{0}")]
    Other(String),
    /// It has been reported already. Exit code 1.
    #[error("reported")]
    Reported,
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Call(Error::Invalid(_)) | Self::Usage(_) => 2,
            Self::Call(_) | Self::Other(_) | Self::Reported => 1,
        }
    }
}
