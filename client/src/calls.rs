//! The calls, one file for each kind of thing.

mod about;
mod bulk;
mod events;
mod history;
mod namespaces;
mod offers;
mod pass;
mod ports;
mod services;

pub use self::events::{Events, Told};
pub use self::history::Span;
pub use self::pass::Passed;

use http::header::{self, HeaderName};
use portmaster_domain::{InstanceName, Labels, Owner};
use portmaster_wire::NamePrefix;

use crate::request::Request;
use crate::retry::Repeat;
use crate::{Client, Error};

/// What must hold for a call to change anything; else it is 412 `precondition-failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It must not exist (`If-None-Match: *`).
    Absent,
    /// It must exist (`If-Match: *`).
    Present,
    /// It must be this version, which an [`Answer`](crate::Answer) has as its `etag`. For services.
    Version(String),
}

/// Who releases a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Its owner.
    Owner(Owner),
    /// A caller without an owner, for a port that has none.
    Nobody,
    /// Anybody, whoever its owner is. For operators.
    Anybody,
}

impl From<Option<Owner>> for Holder {
    fn from(owner: Option<Owner>) -> Self {
        owner.map_or(Self::Nobody, Self::Owner)
    }
}

/// Which ports or offers a list has: those that pass every filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// How their names begin.
    pub name_prefix: Option<NamePrefix>,
    /// Who holds them.
    pub owner: Option<Owner>,
    /// Labels that they have, among others.
    pub labels: Labels,
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let prefix = self.name_prefix.iter().map(|prefix| ("name_prefix", prefix.as_str().to_owned()));
        let owner = self.owner.iter().map(|owner| ("owner", owner.to_string()));
        let labels = self.labels.iter().map(|(key, value)| ("label", format!("{key}:{value}")));
        prefix.chain(owner).chain(labels).chain([("limit", "1000".to_owned())]).collect()
    }
}

impl Request {
    /// With a precondition a second call cannot tell its own success from another's, so it is not sent blindly.
    fn under(mut self, precondition: &Precondition) -> Result<Self, Error> {
        let (name, value): (HeaderName, &str) = match precondition {
            Precondition::None => return Ok(self),
            Precondition::Absent => (header::IF_NONE_MATCH, "*"),
            Precondition::Present => (header::IF_MATCH, "*"),
            Precondition::Version(version) => (header::IF_MATCH, version),
        };
        self.repeat = Repeat::IfUnread;
        self.header(name, value)
    }

    /// For a call that ends something: if a repetition does not find it, the first one has ended it.
    fn ends(mut self) -> Self {
        self.gone_is_done = true;
        self
    }
}

impl Client {
    fn service_id(&self, service: &portmaster_domain::ServiceName) -> portmaster_domain::ServiceId {
        portmaster_domain::ServiceId::new(self.namespace.clone(), service.clone())
    }
}

/// A name as a path has it.
fn by_name(name: &InstanceName) -> crate::PortOrName {
    name.clone().into()
}
