//! An offer: claim, evaluate the losses, confirm, return (`operations/offer.rs`).

use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::history::Told;
use crate::properties::Property;
use crate::table::{Instance, Name, Port, PortItem, Request, Secret, Service, ServiceId, Tick, contains, members};
use crate::world::Script;
use crate::writes::{KeyWrite, Losses, Removal, Reply, Rule, Write};

/// The continuation after a claim was judged, if the claim is not the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum After {
    /// Evaluates the other reasons for which a claim was not made.
    Learn(Losses),
    /// Refuses because the name is taken; `untrue` if it is not.
    Taken { untrue: bool },
    /// Refuses because the range is full.
    Full,
}

impl Step<'_> {
    fn asked(&self) -> (ServiceId, Name, bool) {
        match self.script() {
            Script::Offer { service, name, key } => (service, name, key),
            _ => (0, 0, false),
        }
    }

    /// Any port is a candidate, since a memory may believe anything; while a name's old port is tried, only that port.
    pub(super) fn choose(&mut self, choice: u8) -> bool {
        let (service, name, key) = self.asked();
        let now = self.now();
        let offering = self.state.calls[self.call].offer;
        if choice == self.protocol.world.ports {
            return self.choose_none(service, key, now);
        }
        let port = choice;
        if offering.tries == self.protocol.world.tries {
            self.done();
            // One choice is enough.
            return choice == 0;
        }
        if offering.affinity.is_some_and(|instance| instance.port != port) {
            return false;
        }
        if !self.has(Condition::LookAfter) && !self.may_offer(self.service(service), port) {
            return false;
        }
        let secret = 4 + self.call as u8 * 4 + self.fresh();
        let offering = &mut self.state.calls[self.call].offer;
        offering.made[usize::from(offering.tries)] = Some((secret, now + self.protocol.world.life));
        offering.tries += 1;
        let (rule, replaces) = (offering.rule, offering.replaces);
        let key = key.then_some(KeyWrite { replaces, expires: now + self.protocol.world.key_life });
        self.send(Write::Claim { port, service, name, secret, rule, key, now }, Then::End);
        true
    }

    /// The range is full according to a consistent read (`make_sure_of_exhaustion`).
    fn choose_none(&mut self, service: ServiceId, key: bool, now: Tick) -> bool {
        if self.state.calls[self.call].offer.affinity.is_some() {
            return false;
        }
        let Some(found) = self.service(service).filter(|found| found.keep.is_none()) else { return false };
        if !members(found.range).all(|port| self.port(port).is_some_and(|item| item.is_live(now))) {
            return false;
        }
        self.goto(if key { Pc::ReadKey(After::Full) } else { Pc::ReadInstance });
        true
    }

    /// Continues after a claim.
    pub(super) fn claimed(&mut self, write: Write, reply: Reply) {
        let Write::Claim { port, secret, now, .. } = write else { return };
        match reply {
            Reply::Lost(losses) => self.learn(losses),
            _ => self.confirm(secret, port, now + self.protocol.world.life, false),
        }
    }

    fn is_own(&self, secret: Secret) -> Option<Tick> {
        let made = self.state.calls[self.call].offer.made;
        made.into_iter().flatten().find(|(made, _)| *made == secret).map(|(_, expires)| expires)
    }

    /// Evaluates the reasons for which a claim was not made, one after the other.
    fn learn(&mut self, mut losses: Losses) {
        if let Some(request) = losses.request.take() {
            return self.goto(Pc::JudgeKey(request, After::Learn(losses)));
        }
        let rule = self.state.calls[self.call].offer.rule;
        if std::mem::take(&mut losses.dead)
            && let Rule::Dead(port, secret) = rule
        {
            // Read again what holds now.
            let instance = Instance { port, secret, gone_since: None };
            return self.goto(Pc::JudgeOld(instance, After::Learn(losses)));
        }
        if let Some(instance) = losses.name.take() {
            return if self.is_own(instance.secret).is_some() && self.has(Condition::OwnByInstance) {
                self.goto(Pc::JudgeOwn(instance, losses));
            } else if instance.port != losses.at {
                // The next step depends on whether the remembered range covers it.
                self.goto(Pc::NameUsed(instance, losses));
            } else {
                self.goto(Pc::JudgeOld(instance, After::Learn(losses)));
            };
        }
        if let Some(item) = losses.port.take() {
            let affinity = self.state.calls[self.call].offer.affinity;
            if let Some(instance) = affinity.filter(|instance| instance.port == losses.at && !losses.name_failed) {
                return if instance.secret == item.secret {
                    self.name_taken(item, losses.at);
                } else {
                    self.goto(Pc::JudgeOld(instance, After::Learn(losses)));
                };
            }
        }
        self.goto(Pc::Choose);
    }

    /// The name was used on another port: that port is tried again, or its claim is judged.
    pub(super) fn name_used(&mut self, instance: Instance, losses: Losses, choice: u8) -> bool {
        if choice == 0 {
            let offering = &mut self.state.calls[self.call].offer;
            offering.affinity = Some(instance);
            offering.rule = Rule::Free;
            self.learn(losses);
        } else {
            self.goto(Pc::JudgeOld(instance, After::Learn(losses)));
        }
        true
    }

    /// The key was used before (`learn_of_request`).
    pub(super) fn judge_key(&mut self, request: Request, after: After) -> bool {
        let (_, name, _) = self.asked();
        let Some(found) = self.settled(request.port, Condition::KeySettled) else { return false };
        let now = self.now();
        let found = found.filter(|item| {
            (item.secret == request.secret || !self.has(Condition::KeySecret))
                && (item.is_live(now) || !self.has(Condition::KeyLive))
                && self.has(Condition::KeyDead)
        });
        match found {
            None => {
                self.state.calls[self.call].offer.replaces = Some(request.secret);
                self.go_on(after);
            }
            Some(_) if request.body != name && self.has(Condition::KeyBody) => self.done(),
            Some(item) => {
                self.state.history.flag(Property::Answers, !item.is_live(now));
                let replayed = self.is_own(item.secret).is_none();
                let expires = item.expires.unwrap_or(now);
                self.confirm(item.secret, request.port, expires, replayed);
            }
        }
        true
    }

    fn go_on(&mut self, after: After) {
        match after {
            After::Learn(losses) => self.learn(losses),
            After::Taken { untrue } => {
                self.state.history.flag(Property::Answers, untrue);
                self.done();
            }
            After::Full => self.goto(Pc::ReadInstance),
        }
    }

    /// A claim of this very call that arrived late: its Port item shows whether it stands.
    pub(super) fn judge_own(&mut self, instance: Instance, losses: Losses) -> bool {
        let Some(found) = self.settled(instance.port, Condition::JudgeSettled) else { return false };
        let stands = found.is_some_and(|item| item.secret == instance.secret);
        match self.is_own(instance.secret) {
            Some(expires) if stands || !self.has(Condition::OwnStands) => {
                self.state.history.flag(Property::Answers, !stands);
                self.confirm(instance.secret, instance.port, expires, false);
            }
            _ => {
                self.state.calls[self.call].offer.rule = Rule::Gone(instance.secret);
                self.learn(losses);
            }
        }
        true
    }

    /// Judges whether the name's last claim is live, dead, or gone (`judge_old_claim`).
    pub(super) fn judge_old(&mut self, instance: Instance, after: After) -> bool {
        let Some(found) = self.settled(instance.port, Condition::JudgeSettled) else { return false };
        let now = self.now();
        let found = found.filter(|item| item.secret == instance.secret || !self.has(Condition::JudgeSecret));
        let rule = match found {
            Some(item) if item.is_live(now) => {
                self.state.calls[self.call].offer.affinity = None;
                self.name_taken(item, instance.port);
                return true;
            }
            Some(_) if self.has(Condition::DeadIsNotGone) => Rule::Dead(instance.port, instance.secret),
            _ => Rule::Gone(instance.secret),
        };
        let offering = &mut self.state.calls[self.call].offer;
        offering.affinity = None;
        offering.rule = rule;
        match after {
            After::Learn(losses) => self.learn(losses),
            // The range is full.
            _ => self.done(),
        }
        true
    }

    /// The name has a live claim: that is the result, unless this request's key made the claim.
    fn name_taken(&mut self, item: PortItem, port: Port) {
        let (service, name, key) = self.asked();
        if let Some(expires) = self.is_own(item.secret).filter(|_| self.has(Condition::OwnAnswered)) {
            return self.confirm(item.secret, port, expires, false);
        }
        let untrue = (item.service, item.name) != (service, name) || self.is_own(item.secret).is_some();
        let after = After::Taken { untrue };
        if key {
            self.goto(Pc::ReadKey(after));
        } else {
            self.go_on(after);
        }
    }

    pub(super) fn read_key(&mut self, after: After) -> bool {
        match self.request().filter(|request| request.expires > self.now()) {
            Some(request) => self.goto(Pc::JudgeKey(request, after)),
            None => self.go_on(after),
        }
        true
    }

    pub(super) fn read_instance(&mut self) -> bool {
        let (service, name, _) = self.asked();
        match self.instance(service, name) {
            Some(instance) => self.goto(Pc::JudgeOld(instance, After::Full)),
            None => self.done(),
        }
        true
    }

    /// Continues with the confirmation of the claim.
    fn confirm(&mut self, secret: Secret, port: Port, expires: Tick, replayed: bool) {
        let looks = self.has(Condition::LookExists)
            && self.has(Condition::LookAfter)
            && (self.has(Condition::LookAtReplay) || !replayed);
        if looks {
            self.goto(Pc::Look { secret, port, expires, replayed });
        } else {
            self.show(secret, port, expires);
        }
    }

    fn may_offer(&self, service: Option<Service>, port: Port) -> bool {
        service.is_some_and(|service| {
            let marked = if self.has(Condition::LookAtMark) { service.keep } else { None };
            match marked {
                Some(keep) => contains(keep, port),
                None => contains(service.range, port) || !self.has(Condition::LookAtRange),
            }
        })
    }

    /// The confirmation after the claim (`confirm`).
    pub(super) fn look(&mut self, secret: Secret, port: Port, expires: Tick, replayed: bool, choice: u8) -> bool {
        let (id, _, key) = self.asked();
        let service = match self.state.stale {
            Some(stale) if choice == 1 => stale.service(id),
            _ => self.service(id),
        };
        if self.may_offer(service, port) {
            self.show(secret, port, expires);
            return true;
        }
        let withdraws = !replayed || !self.has(Condition::ReplayStays);
        // Its maker has shown it to nobody; a replay cannot know that.
        let why = if replayed { Removal::NotConfirmed } else { Removal::OutOfRange };
        match service {
            None if !key || withdraws => self.withdraw(secret, port, why, true),
            None => self.done(),
            Some(service) if !contains(service.range, port) => {
                if withdraws {
                    self.withdraw(secret, port, why, replayed);
                } else if service.keep.is_none() {
                    self.done();
                } else {
                    return false;
                }
            }
            // The port is being given up: wait for the outcome.
            Some(_) => return false,
        }
        true
    }

    /// The confirmation failed, or waited too long. Without a key nobody can find the claim again.
    pub(super) fn give_up_look(&mut self, secret: Secret, port: Port, replayed: bool) {
        let (_, _, key) = self.asked();
        if !key || (!self.has(Condition::KeyedStays) && !replayed) {
            self.withdraw(secret, port, Removal::NotConfirmed, true);
        } else {
            self.done();
        }
    }

    fn show(&mut self, secret: Secret, port: Port, expires: Tick) {
        let (service, name, key) = self.asked();
        // A replay returns what the item says, so the item's name must be the caller's.
        let whose = self.state.table.port(port).filter(|item| item.secret == secret).map_or(name, |item| item.name);
        self.state.history.flag(Property::Keys, whose != name);
        let key_until = self.state.table.request.filter(|request| key && request.secret == secret);
        self.state.history.show(Told {
            secret,
            port,
            service,
            name,
            expires,
            key_until: key_until.map(|request| request.expires),
            accepted: None,
            accept_told: false,
            reject_told: false,
            ended: false,
        });
        self.state.calls[self.call].got = Some((secret, port));
        self.done();
    }

    pub(super) fn withdraw(&mut self, secret: Secret, port: Port, why: Removal, last: bool) {
        let (service, _, _) = self.asked();
        let now = self.now();
        self.send(Write::Reject { port, secret, service, now, why }, Then::Withdraw { last });
    }

    pub(super) fn withdrawn(&mut self, write: Write, reply: Reply, last: bool) {
        let Write::Reject { secret, .. } = write else { return };
        let stands = matches!(reply, Reply::Not(Some(item)) if item.secret == secret);
        if last || (stands && self.has(Condition::WithdrawnIsGone)) {
            return self.done();
        }
        let (_, _, key) = self.asked();
        let offering = &mut self.state.calls[self.call].offer;
        for made in &mut offering.made {
            *made = made.filter(|(made, _)| *made != secret);
        }
        offering.affinity = None;
        offering.rule = Rule::Gone(secret);
        if key {
            offering.replaces = Some(secret);
        }
        self.goto(Pc::Choose);
    }
}
