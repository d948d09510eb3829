//! The claims that callers were shown: the part of a state that no item holds, and that the properties are about.

use crate::properties::Property;
use crate::table::{Moment, Name, Owner, PORTS, Port, Secret, ServiceId, Tick};

/// What the slowest and the fastest clock show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) slowest: Tick,
    pub(crate) fastest: Tick,
}

/// A claim that a caller was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    pub(crate) secret: Secret,
    pub(crate) port: Port,
    pub(crate) service: ServiceId,
    pub(crate) name: Name,
    pub(crate) owner: Option<Owner>,
    /// Whether a caller was shown it. An allocation that a PUT claims is here from its claim on.
    pub(crate) shown: bool,
    pub(crate) expires: Tick,
    /// Until when its key must return it again, if it was made with one.
    pub(crate) key_until: Option<Tick>,
    /// When it became an allocation.
    pub(crate) accepted: Option<Moment>,
    /// Until when its holder was told that it has it; none without a lease.
    pub(crate) lease: Option<Tick>,
    /// Whether its port must cool down after its lease.
    pub(crate) cools: bool,
    pub(crate) accept_told: bool,
    pub(crate) reject_told: bool,
    /// A renewal was answered: it is lost.
    pub(crate) lost_told: bool,
    /// Rejected, released, withdrawn by its maker, told as lost, or taken over by its own holder: the caller that was
    /// shown it no longer has it.
    pub(crate) ended: bool,
    /// The later claim of its own holder that ended it, while that claim is no allocation that a caller was shown. So
    /// long, whoever was shown this one may rely on it until its lease is over by its clock.
    pub(crate) superseded: Option<Secret>,
}

/// Strangers may not have a released port before this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cooldown {
    pub(crate) service: ServiceId,
    pub(crate) name: Name,
    pub(crate) until: Tick,
}

/// All claims that were shown to callers, by secret, and the violations seen on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    pub(crate) told: Vec<Told>,
    /// The cool-downs of released ports.
    pub(crate) cooldowns: [Option<Cooldown>; PORTS],
    /// Claims withdrawn by their makers before any caller was shown them.
    withdrawn: u64,
    /// Properties of single steps that were violated.
    broken: u16,
}

impl History {
    pub(crate) fn find(&mut self, secret: Secret) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.secret == secret)
    }

    /// Records that a caller was shown a claim, perhaps again, and perhaps with a later end.
    pub(crate) fn show(&mut self, new: Told) {
        if let Some(told) = self.find(new.secret) {
            told.lease = if told.shown { told.lease.max(new.lease) } else { new.lease };
            told.shown = true;
        } else {
            self.put(new);
        }
    }

    /// Records that a PUT claimed an allocation, which no caller was shown yet.
    pub(crate) fn put(&mut self, new: Told) {
        if self.find(new.secret).is_none() {
            let ended = self.withdrawn & (1 << new.secret) != 0;
            let place = self.told.partition_point(|other| other.secret < new.secret);
            self.told.insert(place, Told { ended, ..new });
        }
    }

    /// Ends a claim: no caller that was shown it may rely on it any more.
    pub(crate) fn end(&mut self, secret: Secret) {
        match self.find(secret) {
            Some(told) => told.ended = true,
            None => self.withdrawn |= 1 << secret,
        }
    }

    /// The holder knows of this allocation, or has released it, and relies on no earlier one.
    pub(crate) fn forget_earlier(&mut self, secret: Secret) {
        for told in self.told.iter_mut().filter(|told| told.superseded == Some(secret)) {
            told.superseded = None;
        }
    }

    /// A caller is answered that a claim is lost.
    pub(crate) fn lose(&mut self, secret: Secret) {
        if let Some(told) = self.find(secret) {
            told.lost_told = true;
            told.ended = true;
            told.superseded = None;
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
    /// Whether a caller that was shown it may rely on it: it is an allocation that some clock does not find lapsed, or
    /// an offer that no clock considers dead.
    pub(crate) fn stands(&self, clocks: Clocks) -> bool {
        self.shown
            && !self.ended
            && match (self.accepted, self.lease) {
                (Some(_), Some(until)) => until > clocks.slowest,
                (Some(_), None) => true,
                (None, _) => self.expires > clocks.fastest,
            }
    }

    /// Whether a caller that was shown it may rely on it although its own holder has claimed anew: that claim was told
    /// to nobody as an allocation, and some clock finds the lease live.
    pub(crate) fn lingers(&self, clocks: Clocks) -> bool {
        self.shown && self.superseded.is_some() && self.lease.is_some_and(|until| until > clocks.slowest)
    }

    pub(crate) fn is_of(&self, service: ServiceId, name: Name, owner: Option<Owner>) -> bool {
        (self.service, self.name, self.owner) == (service, name, owner)
    }
}
