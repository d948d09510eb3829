//! Who runs: the job, as its CI system names it.
//!
//! The owner is the same however often the job's steps are retried, and different for every other job: so a retry
//! gets the same port, and nobody else does. What changes with each attempt is in the labels.

mod ci;
mod parts;

use portmaster_client::domain::{InstanceName, Owner};

use self::parts::Parts;

/// The job that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    system: System,
    owner: Owner,
    name: Option<InstanceName>,
    labels: Vec<(String, String)>,
}

/// What runs the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI/CD.
    GitLab,
    /// Jenkins.
    Jenkins,
    /// A shell.
    Plain,
}

impl System {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub Actions",
            Self::GitLab => "GitLab CI/CD",
            Self::Jenkins => "Jenkins",
            Self::Plain => "a shell",
        }
    }
}

impl Identity {
    /// The job of this environment. The index tells the jobs of a matrix apart.
    #[must_use]
    pub fn of(variable: &impl Fn(&str) -> Option<String>, index: Option<&str>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (system, parts, labels) = ci::detect(&variable, index);
        let name = (system != System::Plain).then(|| parts.name());
        Self { system, owner: parts.owner(), name, labels }
    }

    /// What runs the job.
    #[must_use]
    pub const fn system(&self) -> System {
        self.system
    }

    /// Who holds the job's ports, as in `gh/our-org/shop/1234567/deploy/0`.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The name that has the job's port; none in a shell, where two commands at once have to differ.
    #[must_use]
    pub const fn name(&self) -> Option<&InstanceName> {
        self.name.as_ref()
    }

    /// A name that no other process has: for a command that runs once, in a shell. Its host and its number are for
    /// people. They do not tell it from a process of another container, which may have the same of both.
    #[must_use]
    pub fn name_of_process(&self) -> InstanceName {
        crate::run::unique(&Parts::new("sh", [ci::host(), format!("{}", std::process::id())]).name())
    }

    /// The job's labels, the most useful first.
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }
}
