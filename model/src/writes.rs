//! Every conditional write of the store, as DynamoDB performs it: atomically, or not at all.
//!
//! A failed condition returns the item, as `ALL_OLD` does. While another transaction on the same item is partly
//! visible, a write waits.

mod claim;
mod lease;
mod namespace;

use crate::conditions::Condition;
use crate::history::{Cooldown, Told};
use crate::properties::Property;
use crate::steps::Step;
use crate::table::{
    Instance, Key, Moment, Name, Owner, Phase, Port, PortItem, Ports, Ranges, Request, Secret, Service, ServiceId,
    Tick, Veil,
};
use crate::world::{By, Script};

/// The grounds on which the name may be written (`NameRule`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    #[default]
    Free,
    Gone(Secret),
    Dead(Port, Secret),
}

/// The Request that a claim also writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyWrite {
    pub(crate) replaces: Option<Secret>,
    pub(crate) expires: Tick,
}

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// An offer of POST.
    Offer,
    /// An offer of PUT.
    Put,
    /// An allocation with a lease of so many ticks.
    Lease(Tick),
}

/// A name and the port that is claimed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) port: Port,
    pub(crate) name: Name,
    pub(crate) secret: Secret,
    pub(crate) rule: Rule,
    /// Whether the name may come back to the port although it is not free.
    pub(crate) returns: bool,
}

/// What the parts of a claim have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub(crate) service: ServiceId,
    pub(crate) owner: Option<Owner>,
    pub(crate) kind: Kind,
    pub(crate) cools: bool,
    pub(crate) now: Tick,
    /// The beginning of an allocation, or a later one if the clock is ahead.
    pub(crate) stamp: Moment,
    pub(crate) ahead: bool,
}

/// Why a Service alone is rewritten: it decides which condition applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Content,
    Mark,
    Unmark,
}

/// Why an offer is removed by its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Removal {
    /// Its holder rejects it.
    Rejected,
    /// Its maker has seen that its service, or its port in the range, is gone.
    OutOfRange,
    /// Its maker could not confirm it.
    NotConfirmed,
}

/// The write by which a service's range changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resize {
    Create(Service),
    Change { revision: u8, new: Service },
    Delete { revision: u8 },
}

/// A conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    /// Of one name, or of two in one transaction.
    Claim {
        part: Part,
        second: Option<Part>,
        common: Common,
        key: Option<KeyWrite>,
    },
    /// `stamp`: the time of the acceptance that it writes, or a later one if the clock is ahead. `cools`: what the
    /// terms are taken for; `terms`: what they become.
    Accept {
        port: Port,
        secret: Secret,
        service: ServiceId,
        now: Tick,
        stamp: Moment,
        ahead: bool,
        lease: Option<Tick>,
        cools: bool,
        terms: bool,
    },
    /// Of both offers of a set.
    AcceptSet {
        offers: [(Port, Secret); 2],
        service: ServiceId,
        now: Tick,
        stamp: Moment,
        ahead: bool,
        cools: bool,
    },
    Renew(Renewal),
    Lapse {
        port: Port,
        secret: Secret,
        name: Name,
        owner: Option<Owner>,
        /// Whether for its own holder.
        own: bool,
        now: Tick,
    },
    /// Removes an allocation that its maker told nobody of.
    Withdraw {
        port: Port,
        secret: Secret,
        why: Removal,
        /// When it was claimed.
        created: Tick,
        cools: bool,
        /// Whether it may follow a lease that still runs by a slower clock.
        follows: bool,
    },
    Reject {
        port: Port,
        secret: Secret,
        service: ServiceId,
        now: Tick,
        why: Removal,
    },
    RemoveDead {
        port: Port,
        secret: Option<Secret>,
        now: Tick,
    },
    /// `seen`: conditional on the beginning that was seen, and not on the time when it was sent.
    ReleaseClaim {
        port: Port,
        secret: Secret,
        service: ServiceId,
        sent: Moment,
        seen: bool,
        by: By,
        cools: bool,
        now: Tick,
    },
    ReleasePort {
        port: Port,
        service: ServiceId,
        sent: Moment,
        by: By,
        cools: bool,
        now: Tick,
    },
    Rewrite {
        service: ServiceId,
        revision: u8,
        new: Service,
        why: Why,
    },
    Resize {
        service: ServiceId,
        resize: Resize,
        ranges: Ranges,
    },
    NoteGone {
        service: ServiceId,
        name: Name,
        secret: Secret,
        now: Tick,
    },
    RemoveInstance {
        service: ServiceId,
        name: Name,
        secret: Secret,
    },
    RemoveRequest {
        now: Tick,
    },
    /// What it notes is for history, and no step reads it.
    NoteOrphan {
        port: Port,
        secret: Secret,
        service: ServiceId,
    },
    RemoveOrphan {
        port: Port,
        secret: Secret,
        service: ServiceId,
    },
    Rebuild {
        ranges: Ranges,
    },
    /// `by`: the call, as the item's version shows it.
    CreateNamespace {
        by: u8,
    },
    /// `version`: that of Ranges as it was read.
    DeleteNamespace {
        version: u8,
    },
}

/// What an accept writes.
#[derive(Clone, Copy, Debug)]
struct Acceptance {
    secret: Secret,
    service: ServiceId,
    now: Tick,
    stamp: Moment,
    ahead: bool,
    lease: Option<Tick>,
    terms: bool,
}

/// A renewal of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Renewal {
    pub(crate) port: Port,
    pub(crate) service: ServiceId,
    pub(crate) owner: Option<Owner>,
    /// None: by number.
    pub(crate) secret: Option<Secret>,
    /// Whether the service was looked at first.
    pub(crate) looked: bool,
    pub(crate) lease: Tick,
    /// The lease that was seen: it is not made shorter.
    pub(crate) at_least: Tick,
    /// What the terms are taken for, and what they become.
    pub(crate) cools: bool,
    pub(crate) terms: bool,
    pub(crate) sent: Moment,
    pub(crate) now: Tick,
}

impl Write {
    /// An accept of this offer, which leaves the terms as they are taken to be. The clock is read when it is sent.
    pub(crate) fn accept((port, secret): (Port, Secret), service: ServiceId, lease: Option<Tick>, cools: bool) -> Self {
        Self::accept_under((port, secret), service, lease, (cools, cools))
    }

    /// The same; the terms are taken to be the first, and become the second.
    pub(crate) fn accept_under(
        (port, secret): (Port, Secret),
        service: ServiceId,
        lease: Option<Tick>,
        (cools, terms): (bool, bool),
    ) -> Self {
        Self::Accept { port, secret, service, now: 0, stamp: 0, ahead: false, lease, cools, terms }
    }

    /// Whether it is a TransactWriteItems, with a token.
    pub(crate) fn has_token(&self) -> bool {
        matches!(
            self,
            Self::Claim { .. }
                | Self::AcceptSet { .. }
                | Self::Resize { .. }
                | Self::RemoveOrphan { .. }
                | Self::DeleteNamespace { .. }
        )
    }
}

/// The reasons for which a claim was not made, item by item (`Losses`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Losses {
    /// The name whose part failed: the first one. What failed in the other is found later.
    pub(crate) of: Name,
    pub(crate) port: Option<PortItem>,
    pub(crate) name: Option<Instance>,
    /// Whether the name was among the reasons, even after it has been judged.
    pub(crate) name_failed: bool,
    pub(crate) request: Option<Request>,
    pub(crate) dead: bool,
    pub(crate) at: Port,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    /// A claim was not made.
    Lost(Losses),
    /// A Port item's condition failed; the item as it is.
    Not(Option<PortItem>),
    /// A lease was renewed; the item as it is now.
    Renewed(PortItem),
    /// A Service's condition failed; the item as it is.
    Changed(Option<Service>),
    /// Ranges had another version.
    RangesChanged,
    /// There is a namespace, which this call created.
    NamespaceExists(u8),
    NamespaceAbsent,
}

impl Step<'_> {
    /// Performs a write, unless a partly visible transaction is in its way. With `veil`, the number of the call that
    /// gets the response, a transaction becomes partly visible.
    pub(crate) fn apply(&mut self, write: &Write, veil: Option<u8>) -> Option<Reply> {
        let before = self.state.table;
        let reply = match *write {
            Write::Claim { part, second, common, key } => self.claim(part, second, common, key)?,
            Write::Accept { .. } => self.accept(write)?,
            Write::AcceptSet { .. } => self.accept_set(write)?,
            Write::Renew(renewal) => self.renew(renewal)?,
            Write::Lapse { .. } => self.lapse(write)?,
            Write::Withdraw { .. } => self.withdraw_allocation(write)?,
            Write::Reject { .. } => self.reject(write)?,
            Write::RemoveDead { port, now, .. } => self.remove_dead(port, now)?,
            Write::ReleaseClaim { .. } => self.release_claim(write)?,
            Write::ReleasePort { .. } => self.release_port(write)?,
            Write::Rewrite { service, revision, new, why } => self.rewrite(service, revision, new, why)?,
            Write::Resize { service, resize, ranges } => self.resize(service, resize, ranges)?,
            Write::NoteGone { .. } | Write::RemoveInstance { .. } => self.sweep_name(write)?,
            Write::RemoveRequest { now } => self.remove_request(now)?,
            Write::NoteOrphan { port, secret, .. } => self.note_orphan(port, secret)?,
            Write::RemoveOrphan { port, secret, service } => self.remove_orphan(port, secret, service)?,
            Write::Rebuild { ranges } => self.rebuild(ranges)?,
            Write::CreateNamespace { by } => self.create_namespace(by)?,
            Write::DeleteNamespace { version } => self.delete_namespace(version)?,
        };
        if let Some(owner) = veil
            && self.protocol.world.halves
            && self.state.veil.is_none()
            && write.has_token()
        {
            let keys = before.differences(&self.state.table);
            // A transaction that changes one item is never partly visible.
            if keys.count_ones() > 1 {
                self.state.veil = Some(Veil { old: before, keys, owner });
            }
        }
        Some(reply)
    }

    /// Whether another transaction on this item is partly visible.
    pub(crate) fn is_contended(&self, key: Key) -> bool {
        self.state.veil.is_some_and(|veil| veil.keys & key.bit() != 0)
    }

    /// None while another transaction is writing to the item.
    fn free(&self, key: Key) -> Option<()> {
        (!self.is_contended(key)).then_some(())
    }

    /// Whether a condition holds, or the mutant lacks it.
    fn holds(&self, condition: Condition, holds: bool) -> bool {
        holds || !self.protocol.has(condition)
    }

    fn accept(&mut self, write: &Write) -> Option<Reply> {
        let Write::Accept { port, secret, service, now, stamp, ahead, lease, cools, terms } = *write else {
            return None;
        };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| self.accepts(item, secret, service, now, cools)) else {
            return Some(Reply::Not(found));
        };
        self.state.moment += 1;
        Some(self.accept_item(item, port, Acceptance { secret, service, now, stamp, ahead, lease, terms }))
    }

    fn accepts(&self, item: &PortItem, secret: Secret, service: ServiceId, now: Tick, cools: bool) -> bool {
        self.holds(Condition::AcceptSecret, item.has(secret))
            && self.holds(Condition::AcceptService, item.service == service)
            && self.holds(Condition::AcceptOffered, item.phase == Phase::Offered)
            // An absent attribute is not greater than anything.
            && self.holds(Condition::AcceptLive, item.expires.is_some_and(|expires| expires > now))
            && self.holds(Condition::AcceptTerms, item.cools == cools)
    }

    fn accept_item(&mut self, item: PortItem, port: Port, by: Acceptance) -> Reply {
        let Acceptance { secret, service, now, stamp, ahead, lease, terms } = by;
        let until = lease.map(|lease| now + lease);
        let expires = until.map(|until| until + self.protocol.hold(terms));
        let clocks = self.protocol.clocks(self.state);
        let right = self.protocol.cools(service);
        // A PUT has not the secret from its holder, so the offer must be a PUT's, and its owner's.
        let (foreign, hijacked) = match self.script() {
            Script::Put { owner, .. } | Script::Set { owner, .. } => (item.owner != owner, !item.put),
            _ => (false, false),
        };
        let state = &mut *self.state;
        state.history.flag(Property::Owners, foreign);
        state.history.flag(Property::Secrets, hijacked);
        // An accept of what its holder has accepted already is no harm by itself.
        let live = item.expires.is_some_and(|expires| expires > now);
        state.history.flag(Property::Secrets, !item.has(secret) || item.service != service || !live);
        // A clock that is ahead shows a time by which the accept will have been performed.
        let shown = if ahead { stamp + 2 } else { stamp };
        let accepted = PortItem {
            phase: Phase::Allocated,
            accepted: Some(shown),
            lease_until: until,
            expires,
            put: false,
            confirmed: true,
            cools: terms,
            ..item
        };
        state.table.ports[usize::from(port)] = Some(accepted);
        // An accept that was long in flight began when it was performed, however old its stamp. But if a release may be
        // long in flight at the same time, it may hit it: the risk that the design names.
        let moment = if self.protocol.world.late > 1 { stamp } else { state.moment };
        let Some(secret) = item.secret else { return Reply::Done };
        if let Some(told) = state.history.find(secret) {
            // A second accept does not change what was told.
            if told.accepted.is_none() {
                told.accepted = Some(moment);
                told.lease = until;
                told.cools = right;
            }
            // Other callers may have found it dead, and used its key for another claim.
            told.key_until = told.key_until.filter(|_| told.expires > clocks.fastest);
            state.history.forget_earlier(secret);
        } else if item.put {
            // Whatever becomes of the response, a PUT of the same owner returns it from here on.
            let told = self.told(&accepted, port, secret);
            self.state.history.put(Told { accepted: Some(moment), ..told });
            self.state.history.forget_earlier(secret);
        }
        Reply::Done
    }

    /// What a caller is shown of an item.
    pub(crate) fn told(&self, item: &PortItem, port: Port, secret: Secret) -> Told {
        Told {
            secret,
            port,
            service: item.service,
            name: item.name,
            owner: item.owner,
            shown: true,
            expires: item.expires.unwrap_or(0),
            key_until: None,
            accepted: item.accepted,
            lease: item.lease_until,
            cools: self.protocol.cools(item.service),
            accept_told: item.accepted.is_some(),
            reject_told: false,
            lost_told: false,
            ended: false,
            superseded: None,
        }
    }

    fn accept_set(&mut self, write: &Write) -> Option<Reply> {
        let Write::AcceptSet { offers, service, now, stamp, ahead, cools } = *write else { return None };
        let mut items = [None; 2];
        for (place, (port, secret)) in offers.into_iter().enumerate() {
            let found = self.state.table.port(port).filter(|_| !self.is_contended(Key::Port(port)));
            items[place] = found.filter(|item| self.accepts(item, secret, service, now, cools));
            if items[place].is_none() && !self.is_contended(Key::Port(port)) {
                return Some(Reply::Not(self.state.table.port(port)));
            }
        }
        let [Some(first), Some(second)] = items else { return None };
        self.state.moment += 1;
        for ((port, secret), item) in offers.into_iter().zip([first, second]) {
            let by = Acceptance { secret, service, now, stamp, ahead, lease: None, terms: cools };
            self.accept_item(item, port, by);
        }
        Some(Reply::Done)
    }

    fn reject(&mut self, write: &Write) -> Option<Reply> {
        let Write::Reject { port, secret, service, now, why } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::RejectSecret, item.has(secret))
                && self.holds(Condition::RejectService, item.service == service)
                && self.holds(Condition::RejectOffered, item.phase == Phase::Offered)
                && self.holds(Condition::RejectLive, item.expires.is_some_and(|expires| expires > now))
        }) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = None;
        let live = item.phase == Phase::Offered && item.expires.is_some_and(|expires| expires > now);
        let right = item.has(secret) && item.service == service && live;
        self.state.history.flag(Property::Secrets, !right);
        // A claim that its maker withdraws because the confirmation failed may have been shown by a replay; then that
        // is wrong.
        if right && why != Removal::NotConfirmed {
            self.state.history.end(secret);
        }
        Some(Reply::Done)
    }

    fn remove_dead(&mut self, port: Port, now: Tick) -> Option<Reply> {
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| self.holds(Condition::RemoveStill, !item.is_live(now))) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = None;
        let wrong = item.is_live(self.protocol.fastest(self.state));
        self.flag_sweep(wrong);
        Some(Reply::Done)
    }

    fn release_claim(&mut self, write: &Write) -> Option<Reply> {
        let Write::ReleaseClaim { port, secret, service, sent, by, cools, now, .. } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::ReleaseSecret, item.has(secret))
                && self.holds(Condition::ReleaseSent, item.accepted.is_some_and(|accepted| accepted <= sent))
                && self.holds(Condition::ReleaseOwner, by.may(item.owner))
                && self.holds(Condition::ReleaseTerms, item.cools == cools)
        }) else {
            return Some(Reply::Not(found));
        };
        self.release_item(item, port, service, by, cools, now);
        Some(Reply::Done)
    }

    fn release_port(&mut self, write: &Write) -> Option<Reply> {
        let Write::ReleasePort { port, service, sent, by, cools, now } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            // An absent attribute is not smaller than anything.
            self.holds(Condition::ReleasePortService, item.service == service)
                && self.holds(Condition::ReleasePortSent, item.accepted.is_some_and(|accepted| accepted <= sent))
                && self.holds(Condition::ReleasePortOwner, by.may(item.owner))
                && self.holds(Condition::ReleasePortTerms, item.cools == cools)
        }) else {
            return Some(Reply::Not(found));
        };
        self.release_item(item, port, service, by, cools, now);
        Some(Reply::Done)
    }

    /// Removes the item, or lets its port cool down.
    fn release_item(&mut self, item: PortItem, port: Port, service: ServiceId, by: By, cools: bool, now: Tick) {
        let until = now + self.protocol.cooldown();
        let left = if !cools {
            None
        } else if self.protocol.has(Condition::ReleaseStrips) {
            Some(PortItem { owner: None, lease_until: None, expires: Some(until), ..item.cooling() })
        } else {
            // The lease is only made to end.
            Some(PortItem { lease_until: Some(now), expires: Some(until), ..item })
        };
        self.state.table.ports[usize::from(port)] = left;
        self.ended_by_release(item, port, service, by, until);
    }

    /// A release may end one allocation of its service, and none that began after the release was over, nor another
    /// owner's.
    fn ended_by_release(&mut self, item: PortItem, port: Port, service: ServiceId, by: By, until: Tick) {
        self.state.history.flag(Property::Owners, !by.may(item.owner));
        let Some(secret) = item.secret else { return };
        let process = &mut self.state.calls[self.call];
        let told = self.state.history.find(secret);
        let began = told.as_ref().and_then(|told| told.accepted);
        let in_time =
            item.accepted.is_some() && began.is_some_and(|began| process.closed.is_none_or(|closed| began <= closed));
        if item.service == service && in_time && !process.released {
            process.released = true;
            if let Some(told) = told.filter(|told| told.cools && told.shown) {
                // The release's own cool-down, in place of the lease's.
                told.cools = false;
                self.state.history.cooldowns[usize::from(port)] =
                    Some(Cooldown { service: item.service, name: item.name, until });
            }
            self.state.history.end(secret);
            self.state.history.forget_earlier(secret);
        }
    }

    fn rewrite(&mut self, service: ServiceId, revision: u8, new: Service, why: Why) -> Option<Reply> {
        self.free(Key::Service(service))?;
        let condition = match why {
            Why::Content => Condition::ContentAsRead,
            Why::Mark => Condition::MarkAsRead,
            Why::Unmark => Condition::UnmarkAsRead,
        };
        let found = self.state.table.service(service);
        if !self.holds(condition, found.is_some_and(|found| found.revision == revision)) {
            let own = found == Some(new) && self.protocol.has(Condition::OwnMark);
            return Some(if own { Reply::Done } else { Reply::Changed(found) });
        }
        self.state.table.services[usize::from(service)] = Some(new);
        Some(Reply::Done)
    }

    fn resize(&mut self, service: ServiceId, resize: Resize, ranges: Ranges) -> Option<Reply> {
        let found = self.state.table.service(service);
        let as_read = |revision| found.is_some_and(|found| found.revision == revision);
        let (holds, new) = match resize {
            Resize::Create(new) => (self.holds(Condition::CreateAbsent, found.is_none()), Some(new)),
            Resize::Change { revision, new } => (self.holds(Condition::ResizeAsRead, as_read(revision)), Some(new)),
            Resize::Delete { revision } => (self.holds(Condition::DeleteAsRead, as_read(revision)), None),
        };
        // Only the namespace is ever written by the transaction that deletes it, so that one is never partly visible.
        if matches!(resize, Resize::Create(_))
            && !self.holds(Condition::CreateNamespace, self.state.table.namespace.is_some())
        {
            return Some(Reply::NamespaceAbsent);
        }
        let contended = (self.is_contended(Key::Service(service)), self.is_contended(Key::Ranges));
        if !contended.0 && !holds {
            let own = found.is_some() && found == new;
            return Some(if own && self.protocol.has(Condition::OwnService) {
                Reply::Done
            } else {
                Reply::Changed(found)
            });
        }
        let now = self.state.table.ranges;
        if !contended.1 && !self.holds(Condition::RangesVersion, now.version == ranges.version) {
            return Some(Reply::RangesChanged);
        }
        if contended.0 || contended.1 {
            return None;
        }
        self.state.table.services[usize::from(service)] = new;
        // Ranges as it was read, with the next version.
        self.state.table.ranges = Ranges { bits: ranges.bits, version: ranges.version + 1 };
        Some(Reply::Done)
    }

    fn sweep_name(&mut self, write: &Write) -> Option<Reply> {
        let (Write::NoteGone { service, name, secret, .. } | Write::RemoveInstance { service, name, secret }) = *write
        else {
            return None;
        };
        self.free(Key::Name(service, name))?;
        let found = self.state.table.name(service, name);
        let same = found.is_some_and(|found| found.secret == secret);
        if let Write::NoteGone { now, .. } = *write {
            if !self.holds(Condition::NoteSecret, same) {
                return Some(Reply::Done);
            }
            // An update of an absent item creates it: an Instance without port and secret, which nobody can read.
            self.state.history.flag(Property::Survival, found.is_none());
            self.state.table.names[usize::from(service)][usize::from(name)] =
                found.map(|found| Instance { gone_since: Some(now), ..found });
        } else {
            if !self.holds(Condition::InstanceSecret, same) {
                return Some(Reply::Done);
            }
            let slowest = self.protocol.slowest(self.state);
            let live = found.is_some_and(|found| {
                self.state.table.port(found.port).is_some_and(|item| item.has(found.secret) && item.is_live(slowest))
            });
            self.flag_sweep(live);
            self.state.table.names[usize::from(service)][usize::from(name)] = None;
        }
        Some(Reply::Done)
    }

    fn remove_request(&mut self, now: Tick) -> Option<Reply> {
        self.free(Key::Request)?;
        if let Some(found) = self.state.table.request
            && self.holds(Condition::RequestOver, found.expires <= now)
        {
            self.flag_sweep(found.expires > self.protocol.fastest(self.state));
            self.state.table.request = None;
        }
        Some(Reply::Done)
    }

    fn note_orphan(&mut self, port: Port, secret: Secret) -> Option<Reply> {
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        if self.holds(Condition::OrphanNote, found.is_some_and(|found| found.has(secret))) {
            // An update of an absent item creates it: a Port item that nobody can read, and that never ends.
            self.state.history.flag(Property::Survival, found.is_none());
        }
        Some(Reply::Done)
    }

    fn remove_orphan(&mut self, port: Port, secret: Secret, service: ServiceId) -> Option<Reply> {
        let absent = self.state.table.service(service).is_none();
        if self.is_contended(Key::Service(service)) || self.is_contended(Key::Port(port)) {
            return None;
        }
        if let Some(item) = self.state.table.port(port)
            && self.holds(Condition::OrphanService, absent)
            && self.holds(Condition::OrphanSecret, item.has(secret))
        {
            self.state.table.ports[usize::from(port)] = None;
            let in_use = self.state.table.service(item.service).is_some();
            self.flag_sweep(in_use);
            if let Some(secret) = item.secret.filter(|_| !in_use) {
                self.state.history.end(secret);
            }
        }
        Some(Reply::Done)
    }

    fn rebuild(&mut self, ranges: Ranges) -> Option<Reply> {
        self.free(Key::Ranges)?;
        if self.holds(Condition::RebuildVersion, self.state.table.ranges.version == ranges.version) {
            self.state.table.ranges = Ranges { bits: ranges.bits, version: ranges.version + 1 };
        }
        Some(Reply::Done)
    }

    fn flag_sweep(&mut self, wrong: bool) {
        let sweeps: Script = self.protocol.world.calls[self.call].script;
        self.state.history.flag(Property::Reconciler, wrong && sweeps.sweeps());
    }
}

/// Ranges after a service gives up one set of ports and gets another.
pub(crate) fn with(ranges: Ranges, gives: Ports, gets: Ports) -> Ranges {
    Ranges { bits: (ranges.bits & !gives) | gets, ..ranges }
}
