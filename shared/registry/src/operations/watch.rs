//! Of which services the reconciler tells how full they are, beyond writing it down.

use std::fmt;
use std::str::FromStr;

use super::Registry;
use portmaster_domain::{Namespace, ServiceId, ServiceName};

/// What the reconciler tells of how full the services are. Each metric with a service's name is one more to pay for, so
/// there are at most a hundred of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// From how many percent on a range is nearly full, which is logged.
    pub nearly_full: u32,
    /// Services that are full by design: of these it is not logged, and they are not among the fullest.
    pub except: Vec<Watched>,
    /// Of how many of the fullest services there is a metric.
    pub fullest: usize,
    /// Services of which there is one in any case.
    pub named: Vec<Watched>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { nearly_full: 90, except: Vec::new(), fullest: 0, named: Vec::new() }
    }
}

impl Watch {
    pub(super) fn is_nearly_full(&self, per_mille: usize) -> bool {
        per_mille >= self.nearly_full as usize * 10
    }

    pub(super) fn is_excepted(&self, service: &ServiceId) -> bool {
        self.except.iter().any(|watched| watched.is(service))
    }

    pub(super) fn is_named(&self, service: &ServiceId) -> bool {
        self.named.iter().any(|watched| watched.is(service))
    }
}

/// Services by namespace and name, as in `team-a/web`; `*` in place of either stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    namespace: Option<Namespace>,
    service: Option<ServiceName>,
}

impl Watched {
    /// Whether this service is among them.
    #[must_use]
    pub fn is(&self, service: &ServiceId) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
            && self.service.as_ref().is_none_or(|name| *name == service.name)
    }
}

/// A text that names no services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("services are written as namespace/service, where either may be *, as in team-a/web or team-a/*")]
pub struct InvalidWatched;

impl FromStr for Watched {
    type Err = InvalidWatched;

    fn from_str(text: &str) -> Result<Self, InvalidWatched> {
        fn part<'a, T: TryFrom<&'a str>>(text: &'a str) -> Result<Option<T>, InvalidWatched> {
            if text == "*" { Ok(None) } else { T::try_from(text).map(Some).map_err(|_| InvalidWatched) }
        }
        let (namespace, service) = text.split_once('/').ok_or(InvalidWatched)?;
        Ok(Self { namespace: part(namespace)?, service: part(service)? })
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.as_ref().map_or("*", |namespace| namespace.as_str());
        write!(f, "{namespace}/{}", self.service.as_ref().map_or("*", |service| service.as_str()))
    }
}

impl Registry {
    /// Returns the same registry, whose reconciler tells this of how full the services are.
    #[must_use]
    pub fn with_watch(self, watch: Watch) -> Self {
        Self { watch: watch.into(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_with_their_namespace() {
        let service = |namespace: &str, name: &str| {
            ServiceId::new(namespace.try_into().unwrap(), ServiceName::try_from(name).unwrap())
        };
        let (web, api) = (service("team-a", "web"), service("team-b", "api"));
        for (text, is_web, is_api) in
            [("team-a/web", true, false), ("team-a/*", true, false), ("*/api", false, true), ("*/*", true, true)]
        {
            let watched: Watched = text.parse().unwrap();
            assert_eq!((watched.is(&web), watched.is(&api), watched.to_string()), (is_web, is_api, text.to_owned()));
        }
        for bad in ["", "web", "/", "team-a/", "/web", "team-a/web/x", "Team/web*", "**/web"] {
            assert_eq!(bad.parse::<Watched>(), Err(InvalidWatched), "{bad}");
        }
    }
}
