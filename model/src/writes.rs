//! Every conditional write of the store, as DynamoDB performs it: atomically, or not at all.
//!
//! A failed condition returns the item, as `ALL_OLD` does. While another transaction on the same item is partly
//! visible, a write waits.

use crate::conditions::Condition;
use crate::properties::Property;
use crate::steps::Step;
use crate::table::{
    Instance, Key, Moment, Name, Port, PortItem, Ports, Ranges, Request, Secret, Service, ServiceId, Tick, Veil,
};
use crate::world::Script;

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
    Claim {
        port: Port,
        service: ServiceId,
        name: Name,
        secret: Secret,
        rule: Rule,
        key: Option<KeyWrite>,
        now: Tick,
    },
    /// `stamp`: the time of the acceptance that it writes, or a later one if the clock is ahead.
    Accept {
        port: Port,
        secret: Secret,
        service: ServiceId,
        now: Tick,
        stamp: Moment,
        ahead: bool,
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
        secret: Secret,
        now: Tick,
    },
    /// `seen`: conditional on the beginning that was seen, and not on the time when it was sent.
    ReleaseClaim {
        port: Port,
        secret: Secret,
        service: ServiceId,
        sent: Moment,
        seen: bool,
    },
    ReleasePort {
        port: Port,
        service: ServiceId,
        sent: Moment,
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
    RemoveOrphan {
        port: Port,
        secret: Secret,
        service: ServiceId,
    },
    Rebuild {
        ranges: Ranges,
    },
}

impl Write {
    /// Whether it is a TransactWriteItems, with a token.
    pub(crate) fn has_token(&self) -> bool {
        matches!(self, Self::Claim { .. } | Self::Resize { .. } | Self::RemoveOrphan { .. })
    }
}

/// The reasons for which a claim was not made, item by item (`Losses`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Losses {
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
    /// A Service's condition failed; the item as it is.
    Changed(Option<Service>),
    /// Ranges had another version.
    RangesChanged,
}

impl Step<'_> {
    /// Performs a write, unless a partly visible transaction is in its way. With `veil`, the number of the call that
    /// gets the response, a transaction becomes partly visible.
    pub(crate) fn apply(&mut self, write: &Write, veil: Option<u8>) -> Option<Reply> {
        let before = self.state.table;
        let reply = match *write {
            Write::Claim { .. } => self.claim(write)?,
            Write::Accept { .. } => self.accept(write)?,
            Write::Reject { .. } => self.reject(write)?,
            Write::RemoveDead { port, now, .. } => self.remove_dead(port, now)?,
            Write::ReleaseClaim { .. } => self.release_claim(write)?,
            Write::ReleasePort { port, service, sent } => self.release_port(port, service, sent)?,
            Write::Rewrite { service, revision, new, why } => self.rewrite(service, revision, new, why)?,
            Write::Resize { service, resize, ranges } => self.resize(service, resize, ranges)?,
            Write::NoteGone { .. } | Write::RemoveInstance { .. } => self.sweep_name(write)?,
            Write::RemoveRequest { now } => self.remove_request(now)?,
            Write::RemoveOrphan { port, secret, service } => self.remove_orphan(port, secret, service)?,
            Write::Rebuild { ranges } => self.rebuild(ranges)?,
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

    fn claim(&mut self, write: &Write) -> Option<Reply> {
        let Write::Claim { port, service, name, secret, rule, key, now } = *write else { return None };
        let table = self.state.table;
        // The dead claim is on this very port, and will be overwritten.
        let rule = if matches!(rule, Rule::Dead(at, _) if at == port) { Rule::Free } else { rule };
        let mut losses = Losses { at: port, ..Losses::default() };
        let mut contended = false;
        let mut failed = false;

        if self.is_contended(Key::Port(port)) {
            contended = true;
        } else if let Some(item) = table.port(port).filter(|item| item.is_live(now))
            && self.protocol.has(Condition::PortIfDead)
        {
            failed = true;
            losses.port = Some(item);
        }

        if self.is_contended(Key::Name(service, name)) {
            contended = true;
        } else if let Some(instance) = table.name(service, name) {
            let holds = match rule {
                Rule::Free => self.holds(Condition::NameFree, instance.port == port),
                Rule::Gone(was) | Rule::Dead(_, was) => self.holds(Condition::NameAsJudged, instance.secret == was),
            };
            if !holds {
                failed = true;
                losses.name_failed = true;
                losses.name = Some(instance);
            }
        }

        if let Some(key) = key {
            if self.is_contended(Key::Request) {
                contended = true;
            } else if let Some(request) = table.request.filter(|request| request.expires > now) {
                let holds = match key.replaces {
                    None => self.holds(Condition::KeyNew, false),
                    Some(was) => self.holds(Condition::KeyAsJudged, request.secret == was),
                };
                if !holds {
                    failed = true;
                    losses.request = Some(request);
                }
            }
        }

        let removes = match rule {
            Rule::Dead(at, _) if self.protocol.has(Condition::DeadIsRemoved) => Some(at),
            _ => None,
        };
        if let Some(at) = removes {
            if self.is_contended(Key::Port(at)) {
                contended = true;
            } else if !table.port(at).is_some_and(|item| self.holds(Condition::DeadStill, !item.is_live(now))) {
                failed = true;
                losses.dead = true;
            }
        }

        if failed {
            if losses.port.is_some_and(|item| item.secret == secret) && self.protocol.has(Condition::OwnClaim) {
                return Some(Reply::Done);
            }
            return Some(Reply::Lost(losses));
        }
        if contended {
            return None;
        }
        let expires = self.protocol.has(Condition::OfferExpires).then_some(now + self.protocol.world.life);
        let table = &mut self.state.table;
        table.ports[usize::from(port)] = Some(PortItem { service, name, secret, accepted: None, expires });
        table.names[usize::from(service)][usize::from(name)] = Some(Instance { port, secret, gone_since: None });
        if let Some(key) = key {
            // Once its claim is dead, the key is as good as new, even if a slow clock accepts that claim later.
            let fastest = self.state.clock + self.protocol.ahead();
            if let Some(was) = table.request
                && let Some(told) = self.state.history.find(was.secret).filter(|told| !told.stands(fastest))
            {
                told.key_until = None;
            }
            table.request = Some(Request { port, secret, body: name, expires: key.expires });
        }
        if let Some(at) = removes {
            table.ports[usize::from(at)] = None;
        }
        Some(Reply::Done)
    }

    fn accept(&mut self, write: &Write) -> Option<Reply> {
        let Write::Accept { port, secret, service, now, stamp, ahead } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::AcceptSecret, item.secret == secret)
                && self.holds(Condition::AcceptService, item.service == service)
                && self.holds(Condition::AcceptOffered, item.accepted.is_none())
                // An absent attribute is not greater than anything.
                && self.holds(Condition::AcceptLive, item.expires.is_some_and(|expires| expires > now))
        }) else {
            return Some(Reply::Not(found));
        };
        let state = &mut *self.state;
        let live = item.accepted.is_none() && item.expires.is_some_and(|expires| expires > now);
        state.history.flag(Property::Secrets, item.secret != secret || item.service != service || !live);
        state.moment += 1;
        // A clock that is ahead shows a time by which the accept will have been performed.
        let shown = if ahead { stamp + 2 } else { stamp };
        state.table.ports[usize::from(port)] = Some(PortItem { accepted: Some(shown), expires: None, ..item });
        // An accept that was long in flight began when it was performed, however old its stamp. But if a release may be
        // long in flight at the same time, it may hit it: the risk that the design names.
        let moment = if self.protocol.world.late > 1 { stamp } else { state.moment };
        let fastest = state.clock + self.protocol.ahead();
        if let Some(told) = state.history.find(item.secret) {
            told.accepted = Some(moment);
            // Other callers may have found it dead, and used its key for another claim.
            told.key_until = told.key_until.filter(|_| told.expires > fastest);
        }
        Some(Reply::Done)
    }

    fn reject(&mut self, write: &Write) -> Option<Reply> {
        let Write::Reject { port, secret, service, now, why } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::RejectSecret, item.secret == secret)
                && self.holds(Condition::RejectService, item.service == service)
                && self.holds(Condition::RejectOffered, item.accepted.is_none())
                && self.holds(Condition::RejectLive, item.expires.is_some_and(|expires| expires > now))
        }) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = None;
        let live = item.accepted.is_none() && item.expires.is_some_and(|expires| expires > now);
        let right = item.secret == secret && item.service == service && live;
        self.state.history.flag(Property::Secrets, !right);
        // A claim that its maker withdraws because the confirmation failed may have been shown by a replay; then that
        // is wrong.
        if right && why != Removal::NotConfirmed {
            self.state.history.end(item.secret);
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
        let Write::ReleaseClaim { port, secret, service, sent, .. } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::ReleaseSecret, item.secret == secret)
                && self.holds(Condition::ReleaseSent, item.accepted.is_some_and(|accepted| accepted <= sent))
        }) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = None;
        self.ended_by_release(item, service);
        Some(Reply::Done)
    }

    fn release_port(&mut self, port: Port, service: ServiceId, sent: Moment) -> Option<Reply> {
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            // An absent attribute is not smaller than anything.
            self.holds(Condition::ReleasePortService, item.service == service)
                && self.holds(Condition::ReleasePortSent, item.accepted.is_some_and(|accepted| accepted <= sent))
        }) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = None;
        self.ended_by_release(item, service);
        Some(Reply::Done)
    }

    /// A release may end one allocation of its service, and none that began after the release was over.
    fn ended_by_release(&mut self, item: PortItem, service: ServiceId) {
        let process = &mut self.state.calls[self.call];
        let began = self.state.history.find(item.secret).and_then(|told| told.accepted);
        let in_time =
            item.accepted.is_some() && began.is_some_and(|began| process.closed.is_none_or(|closed| began <= closed));
        if item.service == service && in_time && !process.released {
            process.released = true;
            self.state.history.end(item.secret);
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
                self.state
                    .table
                    .port(found.port)
                    .is_some_and(|item| item.secret == found.secret && item.is_live(slowest))
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

    fn remove_orphan(&mut self, port: Port, secret: Secret, service: ServiceId) -> Option<Reply> {
        let absent = self.state.table.service(service).is_none();
        if self.is_contended(Key::Service(service)) || self.is_contended(Key::Port(port)) {
            return None;
        }
        if let Some(item) = self.state.table.port(port)
            && self.holds(Condition::OrphanService, absent)
            && self.holds(Condition::OrphanSecret, item.secret == secret)
        {
            self.state.table.ports[usize::from(port)] = None;
            let in_use = self.state.table.service(item.service).is_some();
            self.flag_sweep(in_use);
            if !in_use {
                self.state.history.end(item.secret);
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
