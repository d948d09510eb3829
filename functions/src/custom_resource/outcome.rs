//! The outcome of an event, before it is an answer to anybody.

use portmaster_domain::{InstanceName, Port, ServiceId};
use portmaster_http::Problem;
use portmaster_registry::Error;
use serde_json::Value;

use super::identity::Identity;

/// What became of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the resource is called from now on; none if its properties do not say, or if it was only deleted.
    pub(super) identity: Option<Identity>,
    pub(super) result: Result<Done, Failure>,
    pub(super) about: About,
}

/// What the line in the log says that it was about.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) service: Option<ServiceId>,
    pub(super) name: Option<InstanceName>,
    pub(super) ports: Vec<Port>,
}

/// A success.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// One word for the log.
    pub(super) word: &'static str,
    /// What others can read of the resource, in the order of their names in the documentation.
    pub(super) attributes: Vec<(String, Value)>,
    /// How many ports were given.
    pub(super) made: usize,
    /// How many ports were released.
    pub(super) released: usize,
    /// What an operator should know although all is well.
    pub(super) warning: Option<String>,
}

impl Done {
    /// Done, and there is nothing to read of the resource.
    pub(super) fn nothing(word: &'static str) -> Self {
        Self { word, ..Self::default() }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Failure {
    /// One word for the log: a problem's kind, or one of this module's.
    pub(super) word: &'static str,
    /// What happened and what to do next.
    pub(super) reason: String,
    /// For the log alone.
    pub(super) cause: Option<String>,
}

impl Failure {
    /// A failure of this word.
    pub(super) fn new(word: &'static str, reason: impl Into<String>) -> Self {
        Self { word, reason: reason.into(), cause: None }
    }

    /// Properties that have to be corrected.
    pub(super) fn invalid(faults: &[String]) -> Self {
        Self::new("invalid-properties", format!("Correct the properties of the resource: {}.", faults.join("; ")))
    }
}

impl From<Error> for Failure {
    /// In the words of the API, whose problems say what to do.
    fn from(error: Error) -> Self {
        let problem = Problem::from(error);
        Self {
            word: problem.kind().slug(),
            reason: problem.detail().to_owned(),
            cause: problem.cause().map(str::to_owned),
        }
    }
}
