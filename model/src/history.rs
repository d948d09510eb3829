//! The claims that callers were shown: the part of a state that no item holds, and that the properties are about.

use crate::properties::Property;
use crate::table::{Moment, Name, Port, Secret, ServiceId, Tick};

/// A claim that a caller was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    pub(crate) secret: Secret,
    pub(crate) port: Port,
    pub(crate) service: ServiceId,
    pub(crate) name: Name,
    pub(crate) expires: Tick,
    /// Until when its key must return it again, if it was made with one.
    pub(crate) key_until: Option<Tick>,
    /// When it became an allocation.
    pub(crate) accepted: Option<Moment>,
    pub(crate) accept_told: bool,
    pub(crate) reject_told: bool,
    /// Rejected, released, or withdrawn by its maker: the caller that was shown it no longer has it.
    pub(crate) ended: bool,
}

/// All claims that were shown to callers, by secret, and the violations seen on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    pub(crate) told: Vec<Told>,
    /// Claims withdrawn by their makers before any caller was shown them.
    withdrawn: u64,
    /// Properties of single steps that were violated.
    broken: u16,
}

impl History {
    pub(crate) fn find(&mut self, secret: Secret) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.secret == secret)
    }

    /// Records that a caller was shown an offer, perhaps again.
    pub(crate) fn show(&mut self, told: Told) {
        if self.find(told.secret).is_none() {
            let ended = self.withdrawn & (1 << told.secret) != 0;
            let place = self.told.partition_point(|other| other.secret < told.secret);
            self.told.insert(place, Told { ended, ..told });
        }
    }

    /// Ends a claim: no caller that was shown it may rely on it any more.
    pub(crate) fn end(&mut self, secret: Secret) {
        match self.find(secret) {
            Some(told) => told.ended = true,
            None => self.withdrawn |= 1 << secret,
        }
    }

    pub(crate) fn flag(&mut self, property: Property, wrong: bool) {
        if wrong {
            self.broken |= property.bit();
        }
    }

    pub(crate) fn is_broken(&self, property: Property) -> bool {
        self.broken & property.bit() != 0
    }
}

impl Told {
    /// Whether a caller that was shown it may rely on it: it is accepted, or no clock considers it dead.
    pub(crate) fn stands(&self, fastest_now: Tick) -> bool {
        !self.ended && (self.accepted.is_some() || self.expires > fastest_now)
    }
}
