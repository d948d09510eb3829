//! Leases: renewal, adoption by a PUT, and the end of a lease that is over (`operations/lease.rs`, `operations/put.rs`).

use super::{After, Found, Pc, Step, Then};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::table::{Instance, Name, Owner, Phase, Port, PortItem, Secret, ServiceId, Tick};
use crate::world::Script;
use crate::writes::{Renewal, Reply, Rule, Write};

/// What a call goes on with once a lapsed claim is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// It claims the name anew.
    Claim(Instance, After),
    /// It answers that the lease is lost.
    Lost(Secret),
}

impl Renewal {
    /// By the secret, after a look at the service.
    pub(super) fn of(port: Port, service: ServiceId, owner: Option<Owner>, secret: Secret) -> Self {
        Self {
            port,
            service,
            owner,
            secret: Some(secret),
            looked: true,
            lease: 0,
            at_least: 0,
            cools: false,
            terms: false,
            sent: 0,
            now: 0,
        }
    }
}

impl Step<'_> {
    pub(super) fn begin_renew_name(
        &mut self,
        service: ServiceId,
        name: Name,
        owner: Option<Owner>,
        lease: Tick,
    ) -> bool {
        let cools = self.state.calls[self.call].guess;
        match self.instance(service, name) {
            Some(Instance { port, secret, .. }) => {
                let by = Renewal::of(port, service, owner, secret);
                self.send_by_clock(Write::Renew(Renewal { looked: false, lease, cools, terms: cools, ..by }));
            }
            None => self.done(),
        }
        true
    }

    pub(super) fn begin_renew_port(
        &mut self,
        service: ServiceId,
        port: Port,
        owner: Option<Owner>,
        lease: Tick,
    ) -> bool {
        let cools = self.state.calls[self.call].guess;
        let by = Renewal { secret: None, looked: false, ..Renewal::of(port, service, owner, 0) };
        self.send_by_clock(Write::Renew(Renewal { lease, cools, terms: cools, ..by }));
        true
    }

    /// A renewal after a look at the service.
    pub(super) fn renew_looked(&mut self, renewal: Renewal) {
        self.send(Write::Renew(renewal), Then::End);
    }

    pub(super) fn renewed(&mut self, renewal: Renewal, reply: Reply) {
        let Renewal { port, service, owner, secret, looked, lease, .. } = renewal;
        if self.is_set() {
            return self.gathered(Write::Renew(renewal), reply);
        }
        let found = match reply {
            Reply::Renewed(item) => return self.tell(&item, port),
            Reply::Not(found) => found,
            _ => return self.done(),
        };
        let puts = matches!(self.script(), Script::Put { .. });
        let now = self.now();
        let meant = found.filter(|item| {
            item.phase == Phase::Allocated
                && secret.is_none_or(|secret| item.has(secret))
                && (secret.is_some() || item.service == service)
        });
        let Some((item, its)) = meant.and_then(|item| Some((item, item.secret?))) else {
            return match secret {
                Some(secret) if puts => self.judge_again(port, secret),
                _ => self.answer_lost(&renewal),
            };
        };
        if item.owner != owner {
            self.done();
        } else if item.is_lapsed(now) {
            if puts {
                self.judge_again(port, its);
            } else if self.has(Condition::LapseFirst) {
                self.make_gone(item, port, true, Then::Lapsed(Goal::Lost(its)));
            } else {
                self.state.history.lose(its);
                self.done();
            }
        } else if item.lease_until.is_none_or(|until| until > now + lease)
            && (item.confirmed || (looked && !self.has(Condition::ConfirmLonger)))
        {
            // It is longer already.
            self.tell(&item, port);
        } else if !item.confirmed && !looked {
            let expires = item.lease_until.unwrap_or(0);
            self.confirm(its, port, expires, Found::Unconfirmed { cools: item.cools });
        } else {
            // As it was seen.
            let at_least = item.lease_until.unwrap_or(0);
            let terms = if looked { renewal.terms } else { item.cools };
            let exact = Renewal { secret: Some(its), cools: item.cools, terms, at_least, ..renewal };
            self.send_by_clock(Write::Renew(exact));
        }
    }

    /// A PUT without a lease tells an allocation as it stands, but confirms it where nobody has.
    pub(super) fn stands_as_told(&mut self, renewal: Renewal) {
        let Renewal { port, secret, .. } = renewal;
        match self.state.table.port(port).filter(|item| item.secret == secret) {
            Some(item) if item.confirmed || !self.has(Condition::ConfirmLonger) => self.tell(&item, port),
            Some(item) => {
                let at_least = item.lease_until.unwrap_or(0);
                self.renew_looked(Renewal { at_least, ..renewal });
            }
            None => self.done(),
        }
    }

    /// The caller is told what the item says.
    fn tell(&mut self, item: &PortItem, port: Port) {
        if let Some(secret) = item.secret {
            let told = self.told(item, port, secret);
            let history = &mut self.state.history;
            let lost = history.find(secret).is_some_and(|told| told.lost_told);
            history.flag(Property::Lost, lost);
            history.show(told);
            history.forget_earlier(secret);
            self.state.calls[self.call].got = Some((secret, port));
        }
        self.done();
    }

    /// The answer to a renewal is that there is no such allocation.
    fn answer_lost(&mut self, renewal: &Renewal) {
        let Renewal { port, service, owner, secret, .. } = *renewal;
        let lost: Vec<_> = (self.state.history.told.iter())
            .filter(|told| told.accepted.is_some())
            .filter(|told| match secret {
                Some(secret) => told.secret == secret,
                None => (told.port, told.service, told.owner) == (port, service, owner) && told.lease.is_some(),
            })
            .map(|told| told.secret)
            .collect();
        lost.into_iter().for_each(|secret| self.state.history.lose(secret));
        self.done();
    }

    /// A lease that ended by this time is over for everybody.
    pub(super) fn past(&self) -> Tick {
        let margin = if self.has(Condition::GoneByMargin) { self.protocol.margin() } else { 0 };
        self.now() - margin
    }

    /// Makes a lapsed claim gone: for its own holder at once, otherwise past the margin.
    pub(super) fn make_gone(&mut self, item: PortItem, port: Port, own: bool, then: Then) {
        let now = self.now();
        let Some(secret) = item.secret else { return self.done() };
        self.send(Write::Lapse { port, secret, name: item.name, owner: item.owner, own, now }, then);
    }

    pub(super) fn lapsed(&mut self, write: Write, reply: Reply, goal: Goal) {
        let Write::Lapse { port, .. } = write else { return };
        match (goal, reply) {
            (Goal::Claim(instance, after), Reply::Done) => self.judged(Rule::Gone(instance.secret), after),
            (Goal::Claim(instance, after), _) => self.goto(Pc::JudgeOld(instance, after)),
            // It was renewed meanwhile.
            (Goal::Lost(secret), Reply::Not(Some(item))) if item.has(secret) => self.tell(&item, port),
            (Goal::Lost(secret), _) => {
                self.state.history.lose(secret);
                self.done();
            }
        }
    }

    /// The answer to a PUT's accept of its own offer, or of one that it adopts.
    pub(super) fn adopted(&mut self, write: Write, reply: Reply) {
        let Write::Accept { port, secret, .. } = write else { return };
        match reply {
            Reply::Done => {
                self.state.calls[self.call].got = Some((secret, port));
                self.done();
            }
            Reply::Not(Some(item))
                if item.has(secret) && item.phase == Phase::Allocated && item.is_held(self.now()) =>
            {
                self.tell(&item, port);
            }
            _ => self.judge_again(port, secret),
        }
    }
}
