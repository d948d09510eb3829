//! The reconciler, item by item (`operations/reconcile.rs`).
//!
//! Its scan is eventually consistent. Here it reads the current item and acts on it at any later time, which is
//! equivalent. It asks no clock how old a mark is: any mark may be taken off at any time.
//!
//! An Instance whose claim an earlier read of the ports shows is left alone. That is no step here: it is equivalent to
//! a reconciler that stopped before it, and however old the read is, it removes nothing.

use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::table::{Instance, Phase, Port, PortItem, Ranges, SERVICES};
use crate::world::Script;
use crate::writes::Write;

/// A comparison of Ranges with the services, in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Comparison {
    /// Ranges as it was read.
    seen: Option<Ranges>,
    /// The ranges of the services read so far, and how many were read.
    claimed: u8,
    next: u8,
    /// Ranges as the first comparison saw it.
    first: Option<Ranges>,
}

impl Step<'_> {
    /// Reads its next item.
    pub(super) fn scan(&mut self) -> bool {
        match self.script() {
            Script::SweepPort { port } => self.scan_port(port),
            Script::SweepName { service, name } => match self.instance(service, name) {
                Some(Instance { gone_since: Some(since), secret, .. }) if self.has(Condition::SweepGrace) => {
                    // The note was made after a settled read, and a claim that is gone stays gone.
                    if self.now() - since < 1 {
                        self.done();
                    } else {
                        self.send(Write::RemoveInstance { service, name, secret }, Then::End);
                    }
                }
                Some(instance) => self.goto(Pc::SweepJudge(instance)),
                None => self.done(),
            },
            Script::SweepRequest => {
                let now = self.now();
                match self.request() {
                    Some(request) if request.expires <= now => self.send(Write::RemoveRequest { now }, Then::End),
                    _ => self.done(),
                }
            }
            Script::SweepMark { service } => match self.service(service).filter(|service| service.keep.is_some()) {
                Some(marked) => self.unmark(marked, Then::End),
                None => return false,
            },
            _ => return self.compare(Comparison::default()),
        }
        true
    }

    fn scan_port(&mut self, port: Port) {
        let now = self.now();
        match self.port(port) {
            Some(item) if !item.is_live(now) => {
                self.send(Write::RemoveDead { port, secret: item.secret, now }, Then::End);
            }
            Some(item) if item.is_lapsed(self.past()) => {
                self.make_gone(item, port, false, Then::End);
            }
            Some(item) if item.phase == Phase::Allocated => self.goto(Pc::LookForService(item, port)),
            _ => self.done(),
        }
    }

    pub(super) fn look_for_service(&mut self, item: PortItem, port: Port) -> bool {
        match (self.service(item.service), item.secret) {
            (None, Some(secret)) => {
                self.send(Write::NoteOrphan { port, secret, service: item.service }, Then::End);
            }
            _ => self.done(),
        }
        true
    }

    pub(super) fn sweep_judge(&mut self, instance: Instance) -> bool {
        let Script::SweepName { service, name } = self.script() else { return false };
        let Some(found) = self.settled(instance.port, Condition::SweepSettled) else { return false };
        let now = self.now();
        let stands = found
            .is_some_and(|item| item.has(instance.secret) && (self.has(Condition::SweepGone) || item.is_live(now)));
        let secret = instance.secret;
        if stands {
            self.done();
        } else if self.has(Condition::SweepGrace) {
            self.send(Write::NoteGone { service, name, secret, now }, Then::End);
        } else {
            self.send(Write::RemoveInstance { service, name, secret }, Then::End);
        }
        true
    }

    /// Reads Ranges first, then the services, one after the other; twice.
    pub(super) fn compare(&mut self, mut comparison: Comparison) -> bool {
        let ranges_first = self.has(Condition::RebuildOrder);
        if comparison.first.is_some() && comparison.seen.is_none() && comparison.next == 0 {
            // A second later, a transaction that was partly visible is wholly visible.
            if self.state.veil.is_some() {
                return false;
            }
        }
        let services_left = usize::from(comparison.next) < SERVICES;
        if comparison.seen.is_none() && (ranges_first || !services_left) {
            comparison.seen = Some(self.ranges());
        } else if services_left {
            comparison.claimed |= self.service(comparison.next).map_or(0, |service| service.range);
            comparison.next += 1;
        }
        let Some(seen) = comparison.seen.filter(|_| usize::from(comparison.next) == SERVICES) else {
            self.goto(Pc::Compare(comparison));
            return true;
        };
        let claimed = comparison.claimed;
        if claimed == seen.bits || comparison.first.is_some_and(|first| first != seen) {
            self.done();
        } else if comparison.first.is_none() && self.has(Condition::RebuildTwice) {
            self.goto(Pc::Compare(Comparison { first: Some(seen), ..Comparison::default() }));
        } else {
            self.send(Write::Rebuild { ranges: Ranges { bits: claimed, ..seen } }, Then::End);
        }
        true
    }
}
