//! A claim: one transaction for one name, or for the two of a set.

use super::{Common, Key, KeyWrite, Kind, Losses, Part, Reply, Rule};
use crate::conditions::Condition;
use crate::history::Told;
use crate::properties::Property;
use crate::steps::Step;
use crate::table::{Instance, Phase, Port, PortItem, Request};

/// What stands in the way of a part.
#[derive(Clone, Copy, Debug)]
struct Judged {
    losses: Losses,
    failed: bool,
    contended: bool,
    /// The dead claim that is removed.
    removes: Option<Port>,
}

impl Step<'_> {
    /// Whether a claim may put its item in place of this one.
    pub(crate) fn may_take(&self, item: &PortItem, name: u8, returns: bool, common: &Common) -> bool {
        let Common { service, owner, kind, now, .. } = *common;
        let past = now - self.protocol.margin();
        let lapsed = |by| item.lease_until.is_some_and(|until| until <= by);
        !item.is_live(now)
            || (returns
                && self.holds(Condition::ReturnName, item.is_of(service, name))
                && ((item.phase == Phase::Cooling && self.holds(Condition::ReturnCooled, item.lease_until.is_none()))
                    || (lapsed(now)
                        && self.holds(Condition::ReturnOwner, item.owner == owner)
                        && self.holds(Condition::ReturnLeased, matches!(kind, Kind::Lease(_))))
                    || lapsed(if self.has(Condition::ReturnLapsed) { past } else { now })))
    }

    pub(super) fn claim(
        &mut self,
        first: Part,
        second: Option<Part>,
        common: Common,
        key: Option<KeyWrite>,
    ) -> Option<Reply> {
        let mut contended = false;
        let mut removals = [None; 2];
        for (place, part) in [Some(first), second].into_iter().enumerate() {
            let Some(part) = part else { continue };
            let other = if place == 0 { second } else { Some(first) };
            let judged = self.judge_part(part, other, &common, key.filter(|_| place == 0));
            if judged.failed {
                let own = judged.losses.port.is_some_and(|item| item.has(part.secret));
                if own && self.has(Condition::OwnClaim) {
                    return Some(Reply::Done);
                }
                return Some(Reply::Lost(Losses { of: if self.is_set() { part.name } else { 0 }, ..judged.losses }));
            }
            contended |= judged.contended;
            removals[place] = judged.removes;
        }
        if contended {
            return None;
        }
        if matches!(common.kind, Kind::Lease(_)) {
            self.state.moment += 1;
        }
        for part in [Some(first), second].into_iter().flatten() {
            self.put_part(part, &common);
        }
        if let Some(key) = key {
            // Once its claim is dead, the key is as good as new, even if a slow clock accepts that claim later.
            let clocks = self.protocol.clocks(self.state);
            if let Some(was) = self.state.table.request
                && let Some(told) = self.state.history.find(was.secret).filter(|told| !told.stands(clocks))
            {
                told.key_until = None;
            }
            self.state.table.request =
                Some(Request { port: first.port, secret: first.secret, body: first.name, expires: key.expires });
        }
        for at in removals.into_iter().flatten() {
            self.state.table.ports[usize::from(at)] = None;
        }
        self.flag_half();
        Some(Reply::Done)
    }

    fn judge_part(&self, part: Part, other: Option<Part>, common: &Common, key: Option<KeyWrite>) -> Judged {
        let Part { port, name, rule, returns, .. } = part;
        let table = &self.state.table;
        let (service, now) = (common.service, common.now);
        let rule = match rule {
            // The dead claim is on this very port, and will be overwritten.
            Rule::Dead(at, _) if at == port => Rule::Free,
            // The other name is put in its place.
            Rule::Dead(at, was) if other.is_some_and(|other| other.port == at) => Rule::Gone(was),
            rule => rule,
        };
        let mut losses = Losses { at: port, ..Losses::default() };
        let mut contended = false;
        let mut failed = false;

        if self.is_contended(Key::Port(port)) {
            contended = true;
        } else if let Some(item) = table.port(port).filter(|item| !self.may_take(item, name, returns, common))
            && self.protocol.has(Condition::PortIfDead)
        {
            failed = true;
            losses.port = Some(item);
        }

        if self.is_contended(Key::Name(service, name)) {
            contended = true;
        } else if let Some(instance) = table.name(service, name) {
            let holds = match rule {
                Rule::Free => {
                    self.holds(Condition::NameFree, instance.port == port)
                        && (!matches!(common.kind, Kind::Lease(_))
                            || self.holds(Condition::NameNew, instance.secret != part.secret))
                }
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
        Judged { losses, failed, contended, removes }
    }

    fn put_part(&mut self, part: Part, common: &Common) {
        let Part { port, name, secret, .. } = part;
        let Common { service, owner, kind, cools, now, stamp, ahead } = *common;
        self.taken_over(part, common);
        let item = PortItem {
            service,
            name,
            owner,
            secret: Some(secret),
            phase: Phase::Offered,
            accepted: None,
            lease_until: None,
            expires: self.protocol.has(Condition::OfferExpires).then_some(now + self.protocol.world.life),
            put: kind == Kind::Put,
            confirmed: false,
            cools,
        };
        let item = match kind {
            Kind::Lease(lease) => PortItem {
                phase: Phase::Allocated,
                accepted: Some(if ahead { stamp + 2 } else { stamp }),
                lease_until: Some(now + lease),
                expires: Some(now + lease + self.protocol.hold(cools)),
                ..item
            },
            Kind::Put if !self.has(Condition::PutOffers) => {
                PortItem { phase: Phase::Allocated, accepted: Some(stamp), expires: None, put: false, ..item }
            }
            _ => item,
        };
        self.state.table.ports[usize::from(port)] = Some(item);
        self.state.table.names[usize::from(service)][usize::from(name)] =
            Some(Instance { port, secret, gone_since: None });
        if item.phase == Phase::Allocated {
            let told = self.told(&item, port, secret);
            let moment = if self.protocol.world.late > 1 { stamp } else { self.state.moment };
            self.state.history.put(Told { shown: false, accepted: Some(moment), ..told });
        }
    }

    /// What a claim means for those who had the port and the name before it.
    fn taken_over(&mut self, part: Part, common: &Common) {
        let Part { port, name, secret, .. } = part;
        let Common { service, owner, now, .. } = *common;
        let clocks = self.protocol.clocks(self.state);
        let fastest = self.protocol.fastest(self.state);
        let cooldown = self.protocol.cooldown();
        let items = self.state.table.ports;
        let history = &mut self.state.history;
        let mut early = false;
        let place = usize::from(port);
        if let Some(cooling) = history.cooldowns[place] {
            early |= (cooling.service, cooling.name) != (service, name) && cooling.until > fastest;
            history.cooldowns[place] = None;
        }
        for told in &mut history.told {
            if told.port == port && told.cools {
                let same = (told.service, told.name) == (service, name);
                early |= !same && told.shown && told.lease.is_some_and(|until| until + cooldown > fastest);
                // Whoever comes later waits for the new claim.
                told.cools = told.lease.is_none();
            }
            // The same holder, with a new tenure: the old one is over by its clock, or was made gone.
            let gone = items[usize::from(told.port)].is_none_or(|item| !item.has(told.secret));
            if told.is_of(service, name, owner) && told.lease.is_some_and(|until| until <= now || gone) {
                if told.stands(clocks) || told.superseded.is_some() {
                    told.superseded = Some(secret);
                }
                told.ended = true;
            }
        }
        history.flag(Property::Cooldown, early);
    }
}
