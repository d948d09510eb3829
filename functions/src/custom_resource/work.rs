//! An event and what it is dealt with, and the part of a deletion that is the same for every kind of resource.

use portmaster_domain::ServiceId;
use portmaster_registry::{Call, Registry};

use super::forsaken::Forsaken;
use super::identity::Identity;
use super::outcome::{Done, Failure};
use super::request::{Maker, Properties, Request};
use super::scope::Scope;
use super::stacks::Stacks;

/// An event, and what it is dealt with.
pub(super) struct Work<'a> {
    pub(super) registry: &'a Registry,
    pub(super) stacks: &'a Stacks,
    pub(super) scope: &'a Scope,
    pub(super) call: &'a Call,
    pub(super) request: &'a Request,
}

/// What a deletion is of.
#[derive(Debug)]
pub(super) enum Held {
    /// Resources that somebody heard of.
    Known(Vec<Identity>),
    /// One that its stack never heard of.
    Forsaken(Identity),
    /// Nothing, or nothing that can be told.
    Nothing(Done),
}

impl Work<'_> {
    /// What a deletion is of, if properties name resources in this way and may name those of these services.
    pub(super) async fn held(
        &self,
        identity_of: impl Fn(&Properties, &Maker) -> Option<Identity>,
        allowed: impl Fn(&Scope, &ServiceId) -> Result<(), Failure>,
    ) -> Held {
        let maker = &self.request.maker;
        let Maker::Stack { physical_id, .. } = maker else {
            // Terraform says what there is, and after an update of which it heard no good, what it wanted before.
            let mut held = Vec::new();
            for properties in [Some(&self.request.wanted), self.request.before.as_ref()].into_iter().flatten() {
                held.extend(identity_of(properties, maker).filter(|found| !held.contains(found)));
            }
            return Held::Known(held);
        };
        let physical_id = physical_id.as_deref().unwrap_or_default();
        if let Some(identity) = Identity::parse(physical_id) {
            return Held::Known(vec![identity]);
        }
        let named = identity_of(&self.request.wanted, maker);
        let named = named.filter(|named| allowed(self.scope, &named.service).is_ok());
        match Forsaken::judge(self.stacks, maker, physical_id, named).await {
            Forsaken::It(identity) => Held::Forsaken(identity),
            Forsaken::Nothing => Held::Nothing(Done::nothing("unknown-resource")),
            Forsaken::Unclear(warning) => Held::Nothing(Done { warning: Some(warning), ..Done::nothing("unclear") }),
        }
    }
}
