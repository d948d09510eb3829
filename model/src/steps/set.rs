//! A set: two names that get ports together (`operations/sets.rs`).

use super::offer::Asked;
use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::model::Member;
use crate::properties::Property;
use crate::steps::Found;
use crate::table::{Phase, Port, PortItem, Secret, Tick, members};
use crate::world::Script;
use crate::writes::{Kind, Losses, Part, Removal, Renewal, Reply, Write};

impl Step<'_> {
    pub(crate) fn is_set(&self) -> bool {
        matches!(self.script(), Script::Set { .. })
    }

    /// Any ports are candidates for the names that have none yet, one each.
    pub(super) fn choose_set(&mut self, choice: u8) -> bool {
        let ports = self.protocol.world.ports;
        let mut offering = self.state.calls[self.call].offer;
        let at = usize::from(offering.set.at);
        offering.set.rules[at] = offering.rule;
        offering.affinity = None;
        let missing: Vec<_> = (0..2_u8).filter(|place| offering.set.have[usize::from(*place)].is_none()).collect();
        let pairs = ports * ports;
        if choice >= 2 * pairs {
            return self.set_is_full(choice - 2 * pairs);
        }
        let (choice, returns) = (choice % pairs, choice >= pairs);
        if returns && !self.protocol.world.has_returns() {
            return false;
        }
        offering.follows |= returns;
        let chosen = [choice % ports, choice / ports];
        let once = self.protocol.has(Condition::SetAtOnce);
        let missing = if once { missing } else { missing.into_iter().take(1).collect() };
        if missing.len() == 2 && chosen[0] == chosen[1] || missing.len() == 1 && chosen[1] != 0 {
            return false;
        }
        if offering.tries == self.protocol.world.tries {
            // One choice is enough.
            self.refuse_set();
            return choice <= 1 && !returns;
        }
        let common = self.common();
        let ends = self.ends(common.kind, common.now);
        let mut parts = [None; 2];
        for (place, name) in missing.into_iter().enumerate() {
            let secret = 4 + self.call as u8 * 4 + self.fresh();
            let rule = offering.set.rules[usize::from(name)];
            parts[place] = Some(Part { port: chosen[place], name, secret, rule, returns });
            if let Some(free) = offering.made.iter_mut().find(|made| made.is_none()) {
                *free = Some((secret, ends, common.cools));
            }
        }
        offering.tries += 1;
        self.state.calls[self.call].offer = offering;
        let [Some(part), second] = parts else { return false };
        self.send(Write::Claim { part, second, common, key: None }, Then::End);
        true
    }

    /// No port of the range is left for this name.
    fn set_is_full(&mut self, name: u8) -> bool {
        let set = self.state.calls[self.call].offer.set;
        if set.have[usize::from(name)].is_some() {
            return false;
        }
        let Asked { service, .. } = self.asked();
        let Some(found) = self.service(service).filter(|found| found.keep.is_none()) else { return false };
        let common = self.common();
        if !members(found.range)
            .all(|port| self.port(port).is_some_and(|item| !self.may_take(&item, name, true, &common)))
        {
            return false;
        }
        self.judge_member(name);
        self.goto(Pc::ReadInstance);
        true
    }

    /// From here on the offering is about this name.
    fn judge_member(&mut self, name: u8) {
        let offering = &mut self.state.calls[self.call].offer;
        let at = usize::from(offering.set.at);
        offering.set.rules[at] = offering.rule;
        offering.set.at = name;
        offering.rule = offering.set.rules[usize::from(name)];
    }

    pub(super) fn learn_set(&mut self, losses: Losses) {
        self.judge_member(losses.of);
        self.learn(losses);
    }

    pub(super) fn claimed_set(&mut self, write: Write) {
        let Write::Claim { part, second, common, .. } = write else { return };
        let ends = self.ends(common.kind, common.now);
        for part in [Some(part), second].into_iter().flatten() {
            let how = Found::Made { cools: common.cools };
            let member = Member { secret: part.secret, port: part.port, ends, how, settled: false };
            self.state.calls[self.call].offer.set.have[usize::from(part.name)] = Some(member);
        }
        self.go_on_with_set();
    }

    /// The name that was judged has a claim: of this call, or of a call of the same owner.
    pub(super) fn has_member(&mut self, secret: Secret, port: Port, ends: Tick, how: Found) {
        let set = &mut self.state.calls[self.call].offer.set;
        set.have[usize::from(set.at)] = Some(Member { secret, port, ends, how, settled: false });
        self.go_on_with_set();
    }

    fn go_on_with_set(&mut self) {
        let whole = self.state.calls[self.call].offer.set.have.iter().all(Option::is_some);
        self.goto(if whole { Pc::LookSet } else { Pc::Choose });
    }

    pub(super) fn look_set(&mut self) -> bool {
        let Asked { service, .. } = self.asked();
        let found = self.service(service);
        let have = self.state.calls[self.call].offer.set.have;
        if have.iter().flatten().all(|member| self.may_offer(found, member.port)) {
            self.settle_set();
            return true;
        }
        if found.is_some_and(|found| found.keep.is_some()) {
            // Wait for the outcome.
            return false;
        }
        self.refuse_set();
        true
    }

    /// Writes what is left to be written for the set, and tells it.
    fn settle_set(&mut self) {
        let Asked { service, owner, kind, .. } = self.asked();
        let have = self.state.calls[self.call].offer.set.have;
        let [Some(first), Some(second)] = have else { return self.goto(Pc::Choose) };
        let offered = |member: Member| kind == Kind::Put && !member.settled && matches!(member.how, Found::Made { .. });
        if offered(first) && offered(second) {
            let offers = [(first.port, first.secret), (second.port, second.secret)];
            let write = Write::AcceptSet { offers, service, now: 0, stamp: 0, ahead: false, cools: false };
            return self.send(write, Then::Gather);
        }
        for (name, member) in [first, second].into_iter().enumerate() {
            let Member { secret, port, settled, .. } = member;
            if settled {
                continue;
            }
            let lease = if let Kind::Lease(lease) = kind { Some(lease) } else { None };
            let write = match (member.how, lease) {
                (Found::Allocation { cools }, lease) => Some(Write::Renew(Renewal {
                    lease: lease.unwrap_or(0),
                    cools,
                    terms: cools,
                    ..Renewal::of(port, service, owner, secret)
                })),
                (Found::Offer { cools }, _) | (Found::Made { cools }, None) => {
                    Some(Write::accept((port, secret), service, lease, cools))
                }
                _ => None,
            };
            match write {
                Some(write) => return self.send(write, Then::Gather),
                None => self.settled_member(name, member.ends),
            }
        }
        for member in [first, second] {
            if matches!((member.how, kind), (Found::Made { .. }, Kind::Lease(_))) {
                let name = if member == first { 0 } else { 1 };
                self.judge_member(name);
                self.tell_claim(member.secret, member.port, member.ends);
            }
        }
        self.done();
    }

    fn settled_member(&mut self, name: usize, ends: Tick) {
        if let Some(member) = &mut self.state.calls[self.call].offer.set.have[name] {
            member.settled = true;
            member.ends = ends;
        }
    }

    /// One more of its claims is accepted or renewed, or not.
    pub(super) fn gathered(&mut self, write: Write, reply: Reply) {
        let have = self.state.calls[self.call].offer.set.have;
        let place = |secret| have.iter().position(|member| member.is_some_and(|member| member.secret == secret));
        match (write, reply) {
            (Write::AcceptSet { .. }, Reply::Done) => {
                self.settled_member(0, 0);
                self.settled_member(1, 0);
                self.settle_set();
            }
            (Write::AcceptSet { offers: [(port, secret), _], .. }, _) => self.judge_member_again(0, port, secret),
            (Write::Accept { secret, .. }, Reply::Done) => {
                self.settled_member(place(secret).unwrap_or(0), 0);
                self.settle_set();
            }
            (Write::Renew(Renewal { secret: Some(secret), .. }), Reply::Renewed(item)) => {
                self.renewed_member(place(secret).unwrap_or(0), &item);
            }
            // It is longer already.
            (Write::Renew(Renewal { secret: Some(secret), lease, .. }), Reply::Not(Some(item)))
                if item.has(secret)
                    && item.confirmed
                    && item.phase == Phase::Allocated
                    && item.lease_until.is_none_or(|until| until > self.now() + lease) =>
            {
                self.renewed_member(place(secret).unwrap_or(0), &item);
            }
            // It is longer already, but nobody has confirmed it.
            (Write::Renew(renewal), Reply::Not(Some(item)))
                if item.secret == renewal.secret
                    && item.owner == renewal.owner
                    && !item.confirmed
                    && item.phase == Phase::Allocated
                    && item.is_held(self.now()) =>
            {
                let at_least = item.lease_until.unwrap_or(0);
                self.send(Write::Renew(Renewal { at_least, ..renewal }), Then::Gather);
            }
            (Write::Accept { port, secret, .. }, _) | (Write::Renew(Renewal { port, secret: Some(secret), .. }), _) => {
                self.judge_member_again(place(secret).unwrap_or(0) as u8, port, secret);
            }
            _ => self.done(),
        }
    }

    fn renewed_member(&mut self, name: usize, item: &PortItem) {
        let have = self.state.calls[self.call].offer.set.have;
        if let Some(member) = have[name] {
            let told = self.told(item, member.port, member.secret);
            let lost = self.state.history.find(member.secret).is_some_and(|told| told.lost_told);
            self.state.history.flag(Property::Lost, lost);
            self.state.history.show(told);
            self.state.history.forget_earlier(member.secret);
        }
        self.settled_member(name, 0);
        self.settle_set();
    }

    fn judge_member_again(&mut self, name: u8, port: Port, secret: Secret) {
        self.judge_member(name);
        self.state.calls[self.call].offer.set.have[usize::from(name)] = None;
        self.judge_again(port, secret);
    }

    /// The set is refused: what it has made is withdrawn.
    pub(super) fn refuse_set(&mut self) {
        let have = self.state.calls[self.call].offer.set.have;
        let made = have.iter().position(|member| {
            member.is_some_and(|member| !member.settled && matches!(member.how, Found::Made { .. }))
        });
        let Some(place) = made.filter(|_| self.has(Condition::SetWithdraws)) else {
            // What arrives late stays until it ends by itself, as it would after the answer.
            let late = self.state.late < self.protocol.world.late;
            let left = !late && self.has_own_claim();
            self.state.history.flag(Property::Sets, left);
            return self.done();
        };
        let Some(Member { secret, port, .. }) = self.state.calls[self.call].offer.set.have[place].take() else {
            return;
        };
        let Asked { service, kind, .. } = self.asked();
        let (why, now) = (Removal::OutOfRange, self.now());
        let write = match kind {
            Kind::Lease(lease) => {
                let (ends, cools) = self.made(secret).unwrap_or((now + lease, false));
                let follows = self.state.calls[self.call].offer.follows;
                Write::Withdraw { port, secret, why, created: ends - lease, cools, follows }
            }
            _ => Write::Reject { port, secret, service, now, why },
        };
        self.send(write, Then::Refuse);
    }

    /// A set that had no port for either name has both ports once one is claimed.
    pub(crate) fn flag_half(&mut self) {
        let Script::Set { service, owner, .. } = self.script() else { return };
        if self.state.calls[self.call].offer.set.have.iter().any(Option::is_some) {
            return;
        }
        let held = |name| {
            let mut items = self.state.table.ports.iter().flatten();
            items.any(|item| item.is_of(service, name) && item.owner == owner && item.secret.is_some())
        };
        let half = held(0) != held(1);
        self.state.history.flag(Property::Sets, half);
    }

    /// Whether a claim that this call made is there, and nobody has confirmed it.
    fn has_own_claim(&self) -> bool {
        let first = 4 + self.call as u8 * 4;
        self.state
            .table
            .ports
            .iter()
            .flatten()
            .any(|item| !item.confirmed && item.secret.is_some_and(|secret| (first..first + 4).contains(&secret)))
    }
}
