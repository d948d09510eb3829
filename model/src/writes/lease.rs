//! The writes of leases: renewal, lapse, and the withdrawal of an allocation.

use super::{Key, Removal, Renewal, Reply, Write};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::steps::Step;
use crate::table::{Phase, PortItem};

impl Step<'_> {
    pub(super) fn renew(&mut self, renewal: Renewal) -> Option<Reply> {
        let Renewal { port, service, owner, secret, looked, lease, at_least, cools, terms, sent, now } = renewal;
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let until = (now + lease).max(at_least);
        let Some(item) = found.filter(|item| {
            let meant = match secret {
                Some(secret) => self.holds(Condition::RenewSecret, item.has(secret)),
                None => {
                    self.holds(Condition::RenewService, item.service == service)
                        && self.holds(Condition::RenewSent, item.accepted.is_some_and(|accepted| accepted <= sent))
                }
            };
            meant
                && self.holds(Condition::RenewAllocated, item.phase == Phase::Allocated)
                && self.holds(Condition::RenewOwner, item.owner == owner)
                && self.holds(Condition::RenewLive, item.lease_until.is_some_and(|until| until > now))
                && self.holds(Condition::RenewLonger, item.lease_until.is_some_and(|old| old <= until))
                && (looked || self.holds(Condition::RenewConfirmed, item.confirmed))
                && self.holds(Condition::RenewTerms, item.cools == cools)
        }) else {
            return Some(Reply::Not(found));
        };
        let expires = Some(until + self.protocol.hold(terms));
        let renewed = PortItem { lease_until: Some(until), expires, confirmed: true, cools: terms, ..item };
        self.state.table.ports[usize::from(port)] = Some(renewed);
        self.flag_renewal(&item, &renewal);
        Some(Reply::Renewed(renewed))
    }

    /// A renewal may extend an allocation of its owner and service that its sender can mean, and that nobody was told
    /// is lost.
    fn flag_renewal(&mut self, item: &PortItem, renewal: &Renewal) {
        let closed = self.state.calls[self.call].closed;
        let history = &mut self.state.history;
        let told = item.secret.and_then(|secret| history.find(secret).copied());
        let began = told.and_then(|told| told.accepted);
        let meant = item.service == renewal.service
            && match renewal.secret {
                Some(secret) => item.has(secret),
                None => closed.is_none_or(|closed| began.is_some_and(|began| began <= closed)),
            };
        history.flag(Property::Owners, item.owner != renewal.owner || !meant);
        history.flag(Property::Lost, told.is_none_or(|told| told.lost_told || told.ended && told.shown));
    }

    pub(super) fn lapse(&mut self, write: &Write) -> Option<Reply> {
        let Write::Lapse { port, secret, name, owner, own, now } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let past = now - self.protocol.margin();
        let Some(item) = found.filter(|item| {
            let over = |by| item.lease_until.is_some_and(|until| until <= by);
            self.holds(Condition::LapseSecret, item.has(secret))
                && if own {
                    self.holds(Condition::LapseOwn, over(now))
                } else {
                    self.holds(Condition::LapseOver, over(past))
                }
        }) else {
            return Some(Reply::Not(found));
        };
        self.state.table.ports[usize::from(port)] = Some(item.cooling());
        let slowest = self.protocol.slowest(self.state);
        let wrong = if own {
            !(item.owner == owner && item.name == name && item.lease_until.is_some_and(|until| until <= now))
        } else {
            item.lease_until.is_none_or(|until| until > slowest)
        };
        self.state.history.flag(Property::Leases, wrong && item.secret.is_some());
        Some(Reply::Done)
    }

    pub(super) fn withdraw_allocation(&mut self, write: &Write) -> Option<Reply> {
        let Write::Withdraw { port, secret, why, created, cools, follows } = *write else { return None };
        self.free(Key::Port(port))?;
        let found = self.state.table.port(port);
        let Some(item) = found.filter(|item| {
            self.holds(Condition::WithdrawSecret, item.has(secret))
                && self.holds(Condition::WithdrawUnconfirmed, !item.confirmed)
        }) else {
            return Some(Reply::Not(found));
        };
        // The claim may have come back to a port whose former lease still runs by a slower clock.
        let expires = Some(created + self.protocol.hold(cools));
        let left = PortItem { lease_until: Some(created), expires, ..item.cooling() };
        let stays = follows && self.has(Condition::WithdrawCools);
        self.state.table.ports[usize::from(port)] = stays.then_some(left);
        // What nobody was told of ends here; if somebody was, that is wrong.
        if let Some(told) = self.state.history.find(secret).filter(|told| !told.shown)
            && item.has(secret)
            && !item.confirmed
            && why != Removal::NotConfirmed
        {
            told.ended = true;
        }
        Some(Reply::Done)
    }
}
