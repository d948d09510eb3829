//! The names for which a command's ports are taken.
//!
//! **A name that nobody has chosen is not proof of who asks.** The job's name is made of what the CI system says, and
//! that may be the same twice: a `run` within a `run`, a reusable workflow that is called twice, a step that is tried
//! again while what it started the last time still runs. The owner is the same then as well, so the registry would give
//! both the same port, and the first to end would give it back under the other. So with such a name a port is only
//! taken if the name has none; otherwise another name takes another port, and what was there is left to its holder or to
//! its lease. The same job that runs again later asks for the same name first, and so gets the same port again.
//!
//! With a NAME of the user's own the port that it has is theirs.

use portmaster_client::domain::{InstanceName, InvalidName};

/// How long a name can be.
const NAME: usize = 64;
/// A hash of 64 bits and the hyphens around it.
const HASH: usize = 18;

/// Where a name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user gave it: the port that it has, if it has one, is meant.
    Chosen,
    /// It is the job's: another command may have the same one.
    Job,
    /// It is from [`unique`]: nobody else has it.
    Unique,
}

/// One name for each port.
#[derive(Clone, Debug)]
pub struct Names {
    base: InstanceName,
    parts: Vec<String>,
    origin: Origin,
}

/// A part (`--ports http,grpc`) that makes no name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("--ports: with {part}, the name {name} {why}")]
pub struct InvalidPart {
    part: String,
    name: InstanceName,
    why: InvalidName,
}

impl Names {
    /// The names of a command: of its one port, or of one for each part.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] where a part makes no name.
    pub fn new(base: InstanceName, parts: &[String], origin: Origin) -> Result<Self, InvalidPart> {
        let names = Self { base, parts: parts.to_vec(), origin };
        names.all()?;
        // What may be needed later is found out now.
        names.other().all()?;
        Ok(names)
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// The same with 64 random bits.
    pub(super) fn other(&self) -> Self {
        Self { base: unique(&self.base), parts: self.parts.clone(), origin: Origin::Unique }
    }

    /// The names themselves, in the order of the parts.
    pub(super) fn all(&self) -> Result<Vec<InstanceName>, InvalidPart> {
        match self.parts.as_slice() {
            [] => Ok(vec![self.base.clone()]),
            parts => parts.iter().map(|part| self.of_part(part)).collect(),
        }
    }
}

impl Names {
    fn of_part(&self, part: &str) -> Result<InstanceName, InvalidPart> {
        let name = &self.base;
        name.with_part(part).map_err(|why| InvalidPart { part: part.to_owned(), name: name.clone(), why })
    }
}

/// A name that nobody else has, which begins like this one.
#[must_use]
pub fn unique(name: &InstanceName) -> InstanceName {
    let kept: String = name.as_str().chars().take(NAME - HASH + 1).collect();
    let kept = kept.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
    let text = format!("{kept}-{:016x}", fastrand::u64(..));
    // It begins like a name and ends with a letter or a digit, so it is one.
    InstanceName::try_from(text.as_str()).unwrap_or_else(|_| name.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_name_can_be_made_unique() {
        for name in ["a", "job-17", &format!("{}-{}", "a".repeat(46), "b".repeat(17)), &"a.-".repeat(20)[..58]] {
            let base = InstanceName::try_from(name).unwrap();
            let (one, other) = (unique(&base), unique(&base));
            assert!(one != other && one != base, "{one}");
            assert!(one.as_str().starts_with(&name[..name.len().min(40)]), "{one}");
            let names = Names::new(base, &["http".to_owned(), "grpc".to_owned()], Origin::Job).unwrap();
            let (first, others) = (names.all().unwrap(), names.other().all().unwrap());
            assert!(others[0].as_str().ends_with("-http") && others[1].as_str().ends_with("-grpc"), "{others:?}");
            assert!(!others.contains(&first[0]) && others != names.other().all().unwrap(), "{others:?}");
        }
    }
}
