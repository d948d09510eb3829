//! The calls of holders: accept, reject, release (`operations/offers.rs`, `operations/ports.rs`).

use super::{Goal, Pc, Step, Then};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::table::{Instance, Name, Phase, Port, PortItem, Secret, ServiceId, Tick};
use crate::world::{By, Of, Script};
use crate::writes::{Removal, Reply, Write};

impl Step<'_> {
    fn offer_of(&self, of: Of) -> Option<(Secret, Port)> {
        match of {
            Of::Call(call) => self.state.calls[call].got,
            Of::Claim(claim) => self.protocol.world.claims.get(claim).map(|claim| (claim.secret, claim.port)),
        }
    }

    pub(super) fn begin_accept(&mut self, of: Of, service: ServiceId, lease: Option<Tick>) -> bool {
        let Some((secret, port)) = self.offer_of(of) else { return false };
        let cools = self.state.calls[self.call].guess;
        self.send_by_clock(Write::accept((port, secret), service, lease, cools));
        true
    }

    pub(super) fn accepted(&mut self, write: Write, secret: Secret, service: ServiceId, reply: Reply) {
        let now = self.now();
        let Write::Accept { port, .. } = write else { return };
        let own = match reply {
            Reply::Not(item) => item.filter(|item| item.has(secret) && item.service == service),
            _ => None,
        };
        if let (Some(item), Write::Accept { cools, .. }) = (own, write)
            && item.phase == Phase::Offered
            && item.is_live(now)
            && item.cools != cools
        {
            // The terms were not what it took them for.
            let Write::Accept { lease, .. } = write else { return };
            let cools = item.cools;
            let again =
                Write::Accept { port, secret, service, now: 0, stamp: 0, ahead: false, lease, cools, terms: cools };
            return self.send_by_clock(again);
        }
        let again = own.filter(|item| item.phase == Phase::Allocated && self.has(Condition::AcceptAgain));
        if let Some(item) = again.filter(|item| item.is_lapsed(now)) {
            return self.make_gone(item, port, true, Then::Lapsed(Goal::Lost(secret)));
        }
        if let Some(item) = again {
            let told = self.told(&item, port, secret);
            self.state.history.show(told);
        }
        let yes = reply == Reply::Done || again.is_some();
        let fastest = self.protocol.fastest(self.state);
        if let Some(told) = self.state.history.find(secret) {
            let wrong = if yes {
                told.accept_told = true;
                told.reject_told && !told.ended
            } else {
                let lasts = told.lease.is_none_or(|until| until > fastest);
                told.accept_told && !told.ended && told.service == service && lasts
            };
            self.state.history.flag(Property::Secrets, wrong);
        }
        self.done();
    }

    pub(super) fn begin_reject(&mut self, of: Of, service: ServiceId) -> bool {
        let Some((secret, port)) = self.offer_of(of) else { return false };
        self.send_by_clock(Write::Reject { port, secret, service, now: 0, why: Removal::Rejected });
        true
    }

    pub(super) fn rejected(&mut self, secret: Secret, reply: Reply, doubt: bool) {
        let yes = match reply {
            Reply::Not(Some(item)) if item.has(secret) => doubt && !self.has(Condition::RejectTold),
            Reply::Not(_) => doubt,
            _ => true,
        };
        let fastest = self.protocol.fastest(self.state);
        if yes && let Some(told) = self.state.history.find(secret) {
            told.reject_told = true;
            // In doubt, a lease that is over already may be taken for a rejection.
            let lasts = told.lease.is_none_or(|until| until > fastest);
            let wrong = told.accepted.is_some() && !told.ended && lasts;
            self.state.history.flag(Property::Secrets, wrong);
        }
        self.done();
    }

    pub(super) fn begin_release_name(&mut self, service: ServiceId, name: Name) -> bool {
        match self.instance(service, name) {
            Some(instance) => self.goto(Pc::Release(instance)),
            None => self.done(),
        }
        true
    }

    /// Releases by an Instance that was read some time ago.
    pub(super) fn release(&mut self, Instance { port, secret, .. }: Instance) -> bool {
        let Script::ReleaseName { service, by, .. } = self.script() else { return false };
        let cools = self.state.calls[self.call].guess;
        self.send_by_clock(Write::ReleaseClaim { port, secret, service, sent: 0, seen: false, by, cools, now: 0 });
        true
    }

    pub(super) fn begin_release_port(&mut self, service: ServiceId, port: Port, by: By) -> bool {
        let cools = self.state.calls[self.call].guess;
        self.send_by_clock(Write::ReleasePort { port, service, sent: 0, by, cools, now: 0 });
        true
    }

    /// If the allocation seems to begin after the release was sent, or has other terms, it is released as it was seen:
    /// by its secret, by the time at which it began, and by its terms.
    pub(super) fn released(&mut self, port: Port, service: ServiceId, wanted: Option<Secret>, reply: Reply) {
        let (Script::ReleaseName { by, .. } | Script::ReleasePort { by, .. }) = self.script() else { return };
        match reply {
            Reply::Not(Some(PortItem {
                service: its,
                secret: Some(secret),
                accepted: Some(sent),
                cools,
                owner,
                ..
            })) if its == service && wanted.is_none_or(|wanted| wanted == secret) && by.may(owner) => {
                let write = Write::ReleaseClaim { port, secret, service, sent, seen: true, by, cools, now: 0 };
                self.send(write, Then::End);
            }
            _ => self.done(),
        }
    }
}
