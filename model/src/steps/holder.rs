//! The calls of holders: accept, reject, release (`operations/offers.rs`, `operations/ports.rs`).

use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::table::{Instance, Name, Port, PortItem, Secret, ServiceId};
use crate::world::{Of, Script};
use crate::writes::{Removal, Reply, Write};

impl Step<'_> {
    fn offer_of(&self, of: Of) -> Option<(Secret, Port)> {
        match of {
            Of::Call(call) => self.state.calls[call].got,
            Of::Claim(claim) => self.protocol.world.claims.get(claim).map(|claim| (claim.secret, claim.port)),
        }
    }

    pub(super) fn begin_accept(&mut self, of: Of, service: ServiceId) -> bool {
        let Some((secret, port)) = self.offer_of(of) else { return false };
        self.send_by_clock(Write::Accept { port, secret, service, now: 0, stamp: 0, ahead: false });
        true
    }

    pub(super) fn accepted(&mut self, secret: Secret, service: ServiceId, reply: Reply) {
        let again = matches!(reply, Reply::Not(Some(item)) if item.secret == secret
            && item.service == service
            && item.accepted.is_some()
            && self.has(Condition::AcceptAgain));
        let yes = reply == Reply::Done || again;
        if let Some(told) = self.state.history.find(secret) {
            let wrong = if yes {
                told.accept_told = true;
                told.reject_told && !told.ended
            } else {
                told.accept_told && !told.ended && told.service == service
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
            Reply::Not(Some(item)) if item.secret == secret => doubt && !self.has(Condition::RejectTold),
            Reply::Not(_) => doubt,
            _ => true,
        };
        if yes && let Some(told) = self.state.history.find(secret) {
            told.reject_told = true;
            let wrong = told.accepted.is_some() && !told.ended;
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
        let Script::ReleaseName { service, .. } = self.script() else { return false };
        self.send_by_clock(Write::ReleaseClaim { port, secret, service, sent: 0, seen: false });
        true
    }

    pub(super) fn begin_release_port(&mut self, service: ServiceId, port: Port) -> bool {
        self.send_by_clock(Write::ReleasePort { port, service, sent: 0 });
        true
    }

    /// If the allocation seems to begin after the release was sent, it is released as it was seen: by its secret, and
    /// by the time at which it began.
    pub(super) fn released(&mut self, port: Port, service: ServiceId, wanted: Option<Secret>, reply: Reply) {
        match reply {
            Reply::Not(Some(PortItem { service: its, secret, accepted: Some(sent), .. }))
                if its == service && wanted.is_none_or(|wanted| wanted == secret) =>
            {
                self.send(Write::ReleaseClaim { port, secret, service, sent, seen: true }, Then::End);
            }
            _ => self.done(),
        }
    }
}
