//! An offer: claim, evaluate the losses, confirm, return (`operations/offer.rs`).

use super::{Found, Goal, Pc, Step, Then};
use crate::conditions::Condition;
use crate::history::Told;
use crate::properties::Property;
use crate::table::{
    Instance, Name, Owner, Phase, Port, PortItem, Request, Secret, Service, ServiceId, Tick, contains, members,
};
use crate::world::Script;
use crate::writes::{Common, KeyWrite, Kind, Losses, Part, Removal, Renewal, Reply, Rule, Write};

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) service: ServiceId,
    pub(super) name: Name,
    pub(super) key: bool,
    pub(super) owner: Option<Owner>,
    pub(super) kind: Kind,
}

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
    pub(super) fn asked(&self) -> Asked {
        match self.script() {
            Script::Offer { service, name, key } => Asked { service, name, key, owner: None, kind: Kind::Offer },
            Script::Put { service, name, owner, lease } => {
                Asked { service, name, key: false, owner, kind: lease.map_or(Kind::Put, Kind::Lease) }
            }
            Script::Set { service, owner, lease } => {
                let name = self.state.calls[self.call].offer.set.at;
                Asked { service, name, key: false, owner, kind: lease.map_or(Kind::Put, Kind::Lease) }
            }
            _ => Asked { service: 0, name: 0, key: false, owner: None, kind: Kind::Offer },
        }
    }

    pub(super) fn is_put(&self) -> bool {
        matches!(self.script(), Script::Put { .. })
    }

    pub(super) fn common(&self) -> Common {
        let Asked { service, owner, kind, .. } = self.asked();
        let cools = self.state.calls[self.call].guess;
        Common { service, owner, kind, cools, now: self.claimed_at(), stamp: 0, ahead: false }
    }

    /// The time that a claim takes for now.
    fn claimed_at(&self) -> Tick {
        self.state.calls[self.call].offer.not_before.map_or(self.now(), |end| self.now().max(end))
    }

    /// Until when the holder of a claim has it that is made at this time.
    pub(super) fn ends(&self, kind: Kind, now: Tick) -> Tick {
        match kind {
            Kind::Offer | Kind::Put => now + self.protocol.world.life,
            Kind::Lease(lease) => now + lease,
        }
    }

    /// Any port is a candidate, since a memory may believe anything; while a name's old port is tried, only that port.
    /// Beyond the ports, the same ports as those that the name may come back to.
    pub(super) fn choose(&mut self, choice: u8) -> bool {
        let Asked { service, name, key, kind, .. } = self.asked();
        let now = self.now();
        let offering = self.state.calls[self.call].offer;
        let ports = self.protocol.world.ports;
        if choice == ports {
            return self.choose_none(service, key);
        }
        let (port, returns) = if choice < ports { (choice, false) } else { (choice - ports - 1, true) };
        if offering.affinity.is_some() && !returns && self.protocol.world.has_returns() {
            return false;
        }
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
        let common = self.common();
        let ends = self.ends(kind, common.now);
        let offering = &mut self.state.calls[self.call].offer;
        offering.made[usize::from(offering.tries)] = Some((secret, ends, common.cools));
        offering.tries += 1;
        offering.follows |= returns;
        let (rule, replaces) = (offering.rule, offering.replaces);
        let key = key.then_some(KeyWrite { replaces, expires: now + self.protocol.world.key_life });
        let write = Write::Claim { part: Part { port, name, secret, rule, returns }, second: None, common, key };
        let write = if self.has(Condition::StampAtSend) { write } else { self.by_clock(write) };
        self.send(write, Then::End);
        true
    }

    /// The range is full according to a consistent read (`make_sure_of_exhaustion`).
    fn choose_none(&mut self, service: ServiceId, key: bool) -> bool {
        if self.state.calls[self.call].offer.affinity.is_some() {
            return false;
        }
        let Some(found) = self.service(service).filter(|found| found.keep.is_none()) else { return false };
        let (common, name) = (self.common(), self.asked().name);
        if !members(found.range)
            .all(|port| self.port(port).is_some_and(|item| !self.may_take(&item, name, true, &common)))
        {
            return false;
        }
        self.goto(if key { Pc::ReadKey(After::Full) } else { Pc::ReadInstance });
        true
    }

    /// Continues after a claim.
    pub(super) fn claimed(&mut self, write: Write, reply: Reply) {
        let Write::Claim { part: Part { port, secret, .. }, common, .. } = write else { return };
        match reply {
            Reply::Lost(losses) if self.is_set() => self.learn_set(losses),
            Reply::Lost(losses) => self.learn(losses),
            _ if self.is_set() => self.claimed_set(write),
            _ => {
                let ends = self.ends(common.kind, common.now);
                self.confirm(secret, port, ends, Found::Made { cools: common.cools });
            }
        }
    }

    /// When a claim of this call ends, and how it is confirmed.
    fn is_own(&self, secret: Secret) -> Option<(Tick, Found)> {
        self.made(secret).map(|(expires, cools)| (expires, Found::Made { cools }))
    }

    /// When a claim of this call ends, and the terms that it was made with.
    pub(super) fn made(&self, secret: Secret) -> Option<(Tick, bool)> {
        let made = self.state.calls[self.call].offer.made;
        let (_, expires, cools) = made.into_iter().flatten().find(|(made, ..)| *made == secret)?;
        Some((expires, cools))
    }

    /// Evaluates the reasons for which a claim was not made, one after the other.
    pub(super) fn learn(&mut self, mut losses: Losses) {
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
                return if item.has(instance.secret) && item.is_lapsed(self.now()) {
                    self.judge_found(Some(item), instance, After::Learn(losses));
                } else if item.has(instance.secret) {
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
        let Asked { name, .. } = self.asked();
        let Some(found) = self.settled(request.port, Condition::KeySettled) else { return false };
        let now = self.now();
        let found = found.filter(|item| {
            (item.has(request.secret) || !self.has(Condition::KeySecret))
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
                let secret = item.secret.unwrap_or(request.secret);
                let how = self.is_own(secret).map_or(Found::Replayed, |(_, how)| how);
                let expires = item.expires.unwrap_or(now);
                self.confirm(secret, request.port, expires, how);
            }
        }
        true
    }

    fn go_on(&mut self, after: After) {
        match after {
            After::Learn(losses) => self.learn(losses),
            After::Taken { untrue } => {
                self.state.history.flag(Property::Answers, untrue);
                self.refused();
            }
            After::Full => self.goto(Pc::ReadInstance),
        }
    }

    /// A claim of this very call that arrived late: its Port item shows whether it stands.
    pub(super) fn judge_own(&mut self, instance: Instance, losses: Losses) -> bool {
        let Some(found) = self.settled(instance.port, Condition::JudgeSettled) else { return false };
        let stands = found.is_some_and(|item| item.has(instance.secret));
        match self.is_own(instance.secret) {
            Some((expires, how)) if stands || !self.has(Condition::OwnStands) => {
                self.state.history.flag(Property::Answers, !stands);
                self.confirm(instance.secret, instance.port, expires, how);
            }
            _ => self.judge_found(found, instance, After::Learn(losses)),
        }
        true
    }

    /// Judges whether the name's last claim is live, lapsed, dead, or gone (`judge_old_claim`).
    pub(super) fn judge_old(&mut self, instance: Instance, after: After) -> bool {
        let Some(found) = self.settled(instance.port, Condition::JudgeSettled) else { return false };
        self.state.calls[self.call].offer.affinity = None;
        self.judge_found(found, instance, after);
        true
    }

    fn judge_found(&mut self, item: Option<PortItem>, instance: Instance, after: After) {
        let Asked { service, name, owner, kind, .. } = self.asked();
        let now = self.now();
        let past = now - self.protocol.margin();
        // What is not leased may end before the margin after the lease is over.
        let waits = !matches!(kind, Kind::Lease(_)) && self.has(Condition::OnlyLeasedMoves);
        let found = item.filter(|item| item.has(instance.secret) || !self.has(Condition::JudgeSecret));
        let rule = match found {
            Some(item) if item.is_lapsed(now) && item.is_live(now) => {
                let own = item.owner == owner;
                if (!own || waits) && !item.is_lapsed(self.past()) {
                    return self.name_taken(item, instance.port);
                }
                if own {
                    self.claim_early(None);
                }
                return self.make_gone(item, instance.port, own, Then::Lapsed(Goal::Claim(instance, after)));
            }
            Some(item) if item.is_live(now) => return self.name_taken(item, instance.port),
            Some(_) if self.has(Condition::DeadIsNotGone) => Rule::Dead(instance.port, instance.secret),
            None => {
                // The lease was made gone early, and its holder may not know.
                let cooling = item.filter(|item| item.phase == Phase::Cooling && item.is_of(service, name));
                let early = cooling.filter(|item| item.lease_until.is_some_and(|until| until > past));
                if early
                    .is_some_and(|item| if item.owner == owner { waits } else { self.has(Condition::CoolingHoldsName) })
                {
                    return self.go_on(After::Taken { untrue: false });
                }
                if let Some(item) = early {
                    self.claim_early(item.lease_until);
                }
                Rule::Gone(instance.secret)
            }
            Some(_) => Rule::Gone(instance.secret),
        };
        self.judged(rule, after);
    }

    /// From here on, what this call claims follows a lease of its owner's that still runs by a slower clock, or that a
    /// faster one has found over at this time.
    fn claim_early(&mut self, not_before: Option<Tick>) {
        let protocol = self.protocol;
        let offering = &mut self.state.calls[self.call].offer;
        if protocol.has(Condition::NotBefore) {
            offering.not_before = offering.not_before.max(not_before);
        }
        offering.follows |= protocol.has(Condition::EarlyFollows);
    }

    pub(super) fn judged(&mut self, rule: Rule, after: After) {
        let offering = &mut self.state.calls[self.call].offer;
        offering.affinity = None;
        offering.rule = rule;
        match after {
            After::Learn(losses) => self.learn(losses),
            // The range is full.
            _ => self.refused(),
        }
    }

    fn refused(&mut self) {
        if self.is_set() {
            self.refuse_set();
        } else {
            self.done();
        }
    }

    /// The name has a live claim: that is the result, unless this request's key made the claim, or a PUT of the same
    /// owner.
    fn name_taken(&mut self, item: PortItem, port: Port) {
        let Asked { service, name, key, .. } = self.asked();
        let own = item.secret.and_then(|secret| self.is_own(secret));
        if let Some((secret, (expires, how))) = item.secret.zip(own).filter(|_| self.has(Condition::OwnAnswered)) {
            return self.confirm(secret, port, expires, how);
        }
        if let Some((secret, how)) = item.secret.zip(self.adoptable(&item)) {
            let ends = item.lease_until.or(item.expires).unwrap_or(0);
            return self.confirm(secret, port, ends, how);
        }
        let untrue = !item.is_of(service, name) || own.is_some();
        let after = After::Taken { untrue };
        if key {
            self.goto(Pc::ReadKey(after));
        } else {
            self.go_on(after);
        }
    }

    /// How a PUT takes this claim for its own, if it may.
    fn adoptable(&self, item: &PortItem) -> Option<Found> {
        let Asked { service, name, owner, .. } = self.asked();
        if !self.is_put() && !self.is_set() {
            return None;
        }
        let same = item.is_of(service, name) && (item.owner == owner || !self.has(Condition::AdoptOwner));
        match item.phase {
            _ if !same || !item.is_held(self.now()) => None,
            Phase::Offered if item.put || !self.has(Condition::AdoptPut) => Some(Found::Offer { cools: item.cools }),
            Phase::Allocated => Some(Found::Allocation { cools: item.cools }),
            _ => None,
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
        let Asked { service, name, .. } = self.asked();
        match self.instance(service, name) {
            Some(instance) => self.goto(Pc::JudgeOld(instance, After::Full)),
            None => self.refused(),
        }
        true
    }

    /// Continues with the confirmation of the claim.
    pub(super) fn confirm(&mut self, secret: Secret, port: Port, expires: Tick, how: Found) {
        if self.is_set() {
            return self.has_member(secret, port, expires, how);
        }
        let looks = match how {
            Found::Made { .. } => self.has(Condition::LookExists) && self.has(Condition::LookAfter),
            Found::Replayed => {
                self.has(Condition::LookExists) && self.has(Condition::LookAfter) && self.has(Condition::LookAtReplay)
            }
            Found::Offer { .. } | Found::Allocation { .. } => self.has(Condition::AdoptLook),
            Found::Unconfirmed { .. } => true,
        };
        if looks {
            self.goto(Pc::Look { secret, port, expires, how });
        } else {
            self.confirmed(secret, port, expires, how);
        }
    }

    pub(super) fn may_offer(&self, service: Option<Service>, port: Port) -> bool {
        service.is_some_and(|service| {
            let marked = if self.has(Condition::LookAtMark) { service.keep } else { None };
            match marked {
                Some(keep) => contains(keep, port),
                None => contains(service.range, port) || !self.has(Condition::LookAtRange),
            }
        })
    }

    /// The confirmation after the claim (`confirm`).
    pub(super) fn look(&mut self, secret: Secret, port: Port, expires: Tick, how: Found, choice: u8) -> bool {
        let Asked { key, .. } = self.asked();
        let id = self.looked_at();
        let service = match self.state.stale {
            Some(stale) if choice == 1 => stale.service(id),
            _ => self.service(id),
        };
        if self.may_offer(service, port) {
            self.confirmed(secret, port, expires, how);
            return true;
        }
        let replayed = how == Found::Replayed;
        let withdraws = match how {
            Found::Made { .. } => true,
            Found::Replayed => !self.has(Condition::ReplayStays),
            // Its maker may have told somebody.
            _ => false,
        };
        // Its maker has shown it to nobody; a replay cannot know that.
        let why = if replayed { Removal::NotConfirmed } else { Removal::OutOfRange };
        match service {
            None if withdraws || (replayed && !key) => self.withdraw(secret, port, why, true),
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

    fn looked_at(&self) -> ServiceId {
        match self.script() {
            Script::RenewName { service, .. } | Script::RenewPort { service, .. } => service,
            _ => self.asked().service,
        }
    }

    /// The service offers the port.
    fn confirmed(&mut self, secret: Secret, port: Port, expires: Tick, how: Found) {
        let Asked { service, kind, .. } = self.asked();
        let right = self.protocol.cools(self.looked_at());
        let terms = |cools| if self.has(Condition::AdoptTerms) { right } else { cools };
        let accept = |lease, cools, terms| Write::accept_under((port, secret), service, lease, (cools, terms));
        match how {
            Found::Made { cools } if cools != right && self.has(Condition::LookAtTerms) => {
                self.state.calls[self.call].guess = right;
                self.withdraw(secret, port, Removal::OutOfRange, false);
            }
            Found::Made { cools } if kind == Kind::Put => self.send(accept(None, cools, cools), Then::Adopt),
            Found::Made { .. } | Found::Replayed => self.show(secret, port, expires),
            Found::Offer { cools } => {
                let lease = if let Kind::Lease(lease) = kind { Some(lease) } else { None };
                self.send(accept(lease, cools, terms(cools)), Then::Adopt);
            }
            Found::Allocation { cools } => {
                let Script::Put { owner, .. } = self.script() else { return };
                let renewal = Renewal { cools, terms: terms(cools), ..Renewal::of(port, service, owner, secret) };
                match kind {
                    Kind::Lease(lease) => self.renew_looked(Renewal { lease, ..renewal }),
                    _ => self.stands_as_told(renewal),
                }
            }
            Found::Unconfirmed { cools } => {
                let (Script::RenewName { service, owner, lease, .. } | Script::RenewPort { service, owner, lease, .. }) =
                    self.script()
                else {
                    return;
                };
                let terms = terms(cools);
                self.renew_looked(Renewal { lease, cools, terms, ..Renewal::of(port, service, owner, secret) });
            }
        }
    }

    /// The confirmation failed, or waited too long. Without a key nobody can find the claim again, but a PUT.
    pub(super) fn give_up_look(&mut self, secret: Secret, port: Port, how: Found) {
        let Asked { key, .. } = self.asked();
        let stays = match how {
            Found::Made { .. } if self.is_put() => self.has(Condition::PutStays),
            Found::Made { .. } => key && self.has(Condition::KeyedStays),
            Found::Replayed => key,
            _ => true,
        };
        if stays {
            self.done();
        } else {
            self.withdraw(secret, port, Removal::NotConfirmed, true);
        }
    }

    fn show(&mut self, secret: Secret, port: Port, expires: Tick) {
        self.tell_claim(secret, port, expires);
        self.state.calls[self.call].got = Some((secret, port));
        self.done();
    }

    /// The caller is told of the claim.
    pub(super) fn tell_claim(&mut self, secret: Secret, port: Port, expires: Tick) {
        let Asked { service, name, key, owner, kind } = self.asked();
        // A replay returns what the item says, so the item's name must be the caller's.
        let whose = self.state.table.port(port).filter(|item| item.has(secret)).map_or(name, |item| item.name);
        self.state.history.flag(Property::Keys, whose != name);
        let key_until = self.state.table.request.filter(|request| key && request.secret == secret);
        let leased = matches!(kind, Kind::Lease(_));
        self.state.history.show(Told {
            secret,
            port,
            service,
            name,
            owner,
            shown: true,
            expires,
            key_until: key_until.map(|request| request.expires),
            accepted: None,
            lease: leased.then_some(expires),
            cools: self.protocol.cools(service),
            accept_told: false,
            reject_told: false,
            lost_told: false,
            ended: false,
            superseded: None,
        });
        if leased {
            self.state.history.forget_earlier(secret);
        }
    }

    pub(super) fn withdraw(&mut self, secret: Secret, port: Port, why: Removal, last: bool) {
        let Asked { service, kind, .. } = self.asked();
        let now = self.now();
        let write = match kind {
            Kind::Lease(lease) => {
                let (ends, cools) = self.made(secret).unwrap_or((now + lease, false));
                let follows = self.state.calls[self.call].offer.follows;
                Write::Withdraw { port, secret, why, created: ends - lease, cools, follows }
            }
            Kind::Offer | Kind::Put => Write::Reject { port, secret, service, now, why },
        };
        self.send(write, Then::Withdraw { last });
    }

    pub(super) fn withdrawn(&mut self, write: Write, reply: Reply, last: bool) {
        let (Write::Reject { port, secret, .. } | Write::Withdraw { port, secret, .. }) = write else { return };
        let stands = matches!(reply, Reply::Not(Some(item)) if item.has(secret));
        if matches!(reply, Reply::Not(_)) && !last && self.is_put() {
            // A call of the same owner has told it, or it was told and has ended.
            return self.judge_again(port, secret);
        }
        if last || (stands && self.has(Condition::WithdrawnIsGone)) {
            return self.done();
        }
        let Asked { key, .. } = self.asked();
        let offering = &mut self.state.calls[self.call].offer;
        for made in &mut offering.made {
            *made = made.filter(|(made, ..)| *made != secret);
        }
        offering.affinity = None;
        offering.rule = Rule::Gone(secret);
        if key {
            offering.replaces = Some(secret);
        }
        self.goto(Pc::Choose);
    }

    /// Reads again what holds now.
    pub(super) fn judge_again(&mut self, port: Port, secret: Secret) {
        for made in &mut self.state.calls[self.call].offer.made {
            *made = made.filter(|(made, ..)| *made != secret);
        }
        let instance = Instance { port, secret, gone_since: None };
        self.goto(Pc::JudgeOld(instance, After::Learn(Losses::default())));
    }
}
