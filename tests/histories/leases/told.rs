//! What must hold of a whole history with leases, whatever its order: of what holders were told, and of what became of
//! the Port items.
//!
//! An operation is judged by its answer and by the true course of the items. All times are true time in milliseconds,
//! unless they are on a clock: a clock shows `skew` more. The rules, each with the tests that break it below:
//!
//! - (a) The times for which different holders were told that a port is theirs never overlap, nor those of different
//!   owners of one name; and what is told is what the item says.
//! - (b) What was lost (404 or 410 to a renewal, a release) is never told again.
//! - (c) No holder is told an earlier end than before.
//! - (d) A released port is given to no other name before its cool-down is over, a lapsed one not before the margin is.
//! - (e) A port in quarantine is given to nobody.
//! - (f) Of a set all names are claimed or none; they are neighbours if that was asked for; a refused one leaves nothing.
//! - (g) No claim that somebody was told of ends without a reason: its time is over, or somebody ended it who may.
//! - (h) Afterwards nothing is held that nobody can have been told of (in `mod.rs`: it takes the table at the end).

use std::collections::BTreeSet;

use super::event::{Act, Answer, Event, Holder, Shown, Wanted, Whose};
use super::timeline::{Change, Item};

/// A history, complete.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    pub events: &'a [Event],
    pub changes: &'a [Change],
    /// How far ahead the slowest and the fastest clock are.
    pub slowest: i64,
    pub fastest: i64,
    /// By how many seconds clocks may differ.
    pub margin: i64,
    /// How long a call may take, in milliseconds.
    pub deadline: i64,
}

/// An answer that tells a holder that it has a port.
#[derive(Clone, Debug)]
struct Tell<'a> {
    event: &'a Event,
    shown: &'a Shown,
}

/// One claim, from when it is made until it is gone.
type Tenure<'a> = (u16, &'a Holder, i64);

impl<'a> Tell<'a> {
    fn tenure(&self) -> Tenure<'a> {
        tenure(self.shown)
    }

    fn is_offer(&self) -> bool {
        self.shown.accepted.is_none()
    }
}

fn tenure(shown: &Shown) -> Tenure<'_> {
    (shown.port, &shown.holder, shown.created)
}

fn is_of(item: &Item, holder: &Holder) -> bool {
    (item.service.as_str(), &item.name, &item.owner) == (holder.service, &holder.name, &holder.owner)
}

fn is_meant(wanted: &Wanted, port: u16, name: &str) -> bool {
    match wanted {
        Wanted::Port(its) => *its == port,
        Wanted::Name(its) => its == name,
    }
}

impl<'a> History<'a> {
    /// Everything that is wrong.
    pub fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let tells = self.tells();
        self.overlaps(&tells, &mut wrong);
        self.presence(&tells, &mut wrong);
        self.losses(&tells, &mut wrong);
        self.shortened(&tells, &mut wrong);
        self.sets(&mut wrong);
        for change in self.changes {
            self.change(change, &mut wrong);
        }
        self.quarantines(&mut wrong);
        wrong
    }

    /// Whether somebody was told of this claim.
    pub fn was_told(&self, item: &Item, port: u16) -> bool {
        self.tells().iter().any(|tell| {
            !tell.is_offer()
                && tell.shown.port == port
                && is_of(item, &tell.shown.holder)
                && tell.shown.created == item.created
        })
    }

    /// Whether a call that was not answered may have made, or accepted, this allocation.
    pub fn may_have_been_made(&self, item: &Item, port: u16) -> bool {
        self.events.iter().filter(|event| event.may_be_late()).any(|event| match &event.act {
            Act::Put { holder, .. } => is_of(item, holder),
            Act::Set { service, names, owner, .. } => {
                item.service == *service && names.contains(&item.name) && item.owner == *owner
            }
            Act::Accept(offer, _) => self
                .offer(*offer)
                .is_some_and(|shown| shown.port == port && is_of(item, &shown.holder) && shown.created == item.created),
            _ => false,
        })
    }

    fn tells(&self) -> Vec<Tell<'a>> {
        let shown = self.events.iter().flat_map(|event| match &event.answer {
            Answer::Has(all) => all.iter().map(|shown| Tell { event, shown }).collect(),
            Answer::Offered(_, shown) => vec![Tell { event, shown }],
            _ => Vec::new(),
        });
        shown.collect()
    }

    fn offer(&self, number: usize) -> Option<&'a Shown> {
        self.events.iter().find_map(|event| match &event.answer {
            Answer::Offered(its, shown) if *its == number => Some(shown),
            _ => None,
        })
    }

    /// Whether an operation may have ended this claim, after it was told.
    fn may_end(&self, event: &Event, tell: &Tell<'_>) -> bool {
        let Shown { holder, port, accepted, .. } = tell.shown;
        let happened = matches!(event.answer, Answer::Done) || event.may_be_late();
        if !happened || (!event.may_be_late() && event.ended < tell.event.began) {
            return false;
        }
        match &event.act {
            Act::Release { service, wanted, whose } => {
                self.began_in_time(*accepted, event)
                    && *service == holder.service
                    && is_meant(wanted, *port, &holder.name)
                    && whose.may_end(holder.owner.as_deref())
            }
            Act::ReleaseAll { service, owner, name, offered } => {
                *service == holder.service
                    && owner.as_ref().is_none_or(|owner| holder.owner.as_ref() == Some(owner))
                    && name.as_ref().is_none_or(|name| holder.name == *name)
                    && (*offered || !tell.is_offer())
                    && event.sent.is_some()
            }
            Act::Reject(offer) | Act::InUse(offer, _) => {
                tell.is_offer() && self.offer(*offer).is_some_and(|shown| tenure(shown) == tell.tenure())
            }
            _ => false,
        }
    }

    /// Whether an allocation began before a release was sent last, by some clock. (One that was seen is released by its
    /// secret, whatever the clocks say.)
    fn began_in_time(&self, accepted: Option<i64>, release: &Event) -> bool {
        let apart = self.fastest - self.slowest;
        accepted.zip(release.sent).is_some_and(|(began, sent)| began <= sent + release.skew + apart)
    }

    /// From when until when the holder could take the port to be its own, because of this answer: until the time that
    /// it was told, by the slowest clock; or until somebody set out to end it.
    fn told(&self, tell: &Tell<'_>) -> (i64, i64) {
        let from = tell.event.ended.millis;
        let skew = if tell.is_offer() { self.fastest } else { self.slowest };
        let mut until = tell.shown.until.map_or(i64::MAX, |until| until * 1000 - skew);
        for event in self.events {
            let is_lost = match &event.act {
                Act::Renew { service, wanted, .. } => {
                    event.answer == Answer::Lost
                        && event.ended > tell.event.began
                        && *service == tell.shown.holder.service
                        && is_meant(wanted, tell.shown.port, &tell.shown.holder.name)
                }
                // Whether it is accepted, and for how long, the answer to that tells.
                Act::Accept(offer, _) if tell.is_offer() => {
                    self.offer(*offer).is_some_and(|shown| tenure(shown) == tell.tenure())
                }
                _ => false,
            };
            if self.may_end(event, tell) {
                until = until.min(event.began.millis);
            } else if is_lost {
                until = until.min(if tell.is_offer() { event.began.millis } else { event.ended.millis });
            }
        }
        (from, until)
    }

    fn overlaps(&self, tells: &[Tell<'_>], wrong: &mut Vec<String>) {
        let times: Vec<_> = tells.iter().map(|tell| self.told(tell)).collect();
        for (i, one) in tells.iter().enumerate() {
            for (j, other) in tells.iter().enumerate().take(i) {
                let (left, right) = (&one.shown.holder, &other.shown.holder);
                let is_one_name = (left.service, &left.name) == (right.service, &right.name);
                if left == right || !(one.shown.port == other.shown.port || is_one_name) {
                    continue;
                }
                let (from, until) = (times[i].0.max(times[j].0), times[i].1.min(times[j].1));
                if from < until {
                    wrong.push(format!(
                        "(a) from {from} until {until} both have it: {:?} and {:?}",
                        one.shown, other.shown
                    ));
                }
            }
        }
    }

    /// Every state that a port had between two moments.
    fn states(&self, port: u16, from: i64, until: i64) -> impl Iterator<Item = &'a Item> {
        let here = self.changes.iter().filter(move |change| change.port == port);
        let mut found = Vec::new();
        for change in here {
            if change.at > until {
                found.extend(change.before.as_ref().filter(|_| found.is_empty()));
                break;
            }
            if change.at >= from {
                found.extend(change.before.as_ref());
                found.extend(change.after.as_ref());
            }
        }
        let last = self.changes.iter().rfind(|change| change.port == port && change.at <= until);
        found.extend(last.and_then(|change| change.after.as_ref()));
        found.into_iter()
    }

    fn presence(&self, tells: &[Tell<'_>], wrong: &mut Vec<String>) {
        let is_there = |event: &Event, shown: &Shown, slack: i64| {
            self.states(shown.port, event.began.millis - slack, event.ended.millis).any(|item| {
                let end = if shown.accepted.is_some() { item.lease_until } else { item.expires_at };
                is_of(item, &shown.holder)
                    && item.secret.is_some()
                    && item.created == shown.created
                    && item.accepted == shown.accepted
                    && end == shown.until
            })
        };
        for tell in tells {
            if !is_there(tell.event, tell.shown, 0) {
                wrong.push(format!("(a) told what the item never said: {:?} in {:?}", tell.shown, tell.event));
            }
        }
        // A read may meet a transaction that is being committed.
        for event in self.events {
            if let Answer::Seen(shown) = &event.answer
                && !is_there(event, shown, 400)
            {
                wrong.push(format!("(a) read what the item never said: {event:?}"));
            }
        }
    }

    fn losses(&self, tells: &[Tell<'_>], wrong: &mut Vec<String>) {
        for event in self.events {
            let (service, wanted, whose) = match (&event.act, &event.answer) {
                (Act::Renew { service, wanted, .. }, Answer::Lost) => (service, wanted, &Whose::Anybodys),
                (Act::Release { service, wanted, whose }, Answer::Done) => (service, wanted, whose),
                _ => continue,
            };
            let meant = |tell: &&Tell<'_>| {
                let Holder { service: its, name, owner } = &tell.shown.holder;
                !tell.is_offer()
                    && its == service
                    && is_meant(wanted, tell.shown.port, name)
                    && whose.may_end(owner.as_deref())
            };
            for before in tells.iter().filter(meant).filter(|tell| tell.event.ended < event.began) {
                let again = |tell: &&Tell<'_>| tell.tenure() == before.tenure() && tell.event.began > event.ended;
                if let Some(again) = tells.iter().find(again) {
                    wrong.push(format!("(b) lost by {event:?}, and told again: {:?}", again.event));
                }
            }
        }
    }

    fn shortened(&self, tells: &[Tell<'_>], wrong: &mut Vec<String>) {
        for before in tells.iter().filter(|tell| !tell.is_offer()) {
            for after in tells.iter().filter(|tell| !tell.is_offer()) {
                let end = |tell: &Tell<'_>| tell.shown.until.unwrap_or(i64::MAX);
                if before.tenure() == after.tenure()
                    && before.event.ended < after.event.began
                    && end(after) < end(before)
                {
                    wrong.push(format!("(c) first {:?}, then {:?}", before.shown, after.shown));
                }
            }
        }
    }

    fn sets(&self, wrong: &mut Vec<String>) {
        for event in self.events {
            let Act::Set { service, names, owner, contiguous, .. } = &event.act else { continue };
            let number = event.began.order as usize;
            if let Answer::Has(all) = &event.answer {
                let told: Vec<_> = all.iter().map(|shown| &shown.holder).collect();
                let wanted = |(name, holder): (&String, &&Holder)| {
                    (holder.service, &holder.name, &holder.owner) == (*service, name, owner)
                };
                if told.len() != names.len() || !names.iter().zip(&told).all(wanted) {
                    wrong.push(format!("(f) other names than those asked for: {event:?}"));
                }
                if *contiguous && !all.windows(2).all(|two| two[0].port + 1 == two[1].port) {
                    wrong.push(format!("(f) no neighbours: {event:?}"));
                }
            }
            // All of its names are claimed at once, except those that had a port since it began.
            let made = |change: &&Change| {
                let secret = |item: &Option<Item>| item.as_ref().and_then(|item| item.secret.clone());
                change.after.as_ref().is_some_and(|item| item.set == Some(number))
                    && secret(&change.before) != secret(&change.after)
            };
            let writes: BTreeSet<_> =
                self.changes.iter().filter(made).map(|change| (change.write, change.at)).collect();
            for (write, at) in writes {
                for name in names {
                    let has = |item: &Item| {
                        (item.service.as_str(), &item.name, &item.owner) == (*service, name, owner)
                            && (item.is_allocated() || item.put)
                    };
                    let claimed = self.changes.iter().filter(made).any(|change| {
                        change.write == write && change.after.as_ref().is_some_and(|item| item.name == *name)
                    });
                    let ports: BTreeSet<_> = self.changes.iter().map(|change| change.port).collect();
                    let had = || ports.iter().any(|port| self.states(*port, event.began.millis, at).any(has));
                    if !claimed && !had() {
                        wrong.push(format!("(f) claimed without {name}: {event:?}"));
                    }
                }
            }
            // Unless time ran out, it takes back what it claimed.
            let in_time = 2 * (event.ended.millis - event.began.millis) < self.deadline;
            if matches!(event.answer, Answer::Refused(_)) && !event.doubt && in_time {
                let ports: BTreeSet<_> = self.changes.iter().map(|change| change.port).collect();
                for port in ports {
                    let last =
                        self.changes.iter().rfind(|change| change.port == port && change.at <= event.ended.millis);
                    let left = last.and_then(|change| change.after.as_ref());
                    if let Some(left) = left
                        && left.set == Some(number)
                        && left.secret.is_some()
                        && !self.is_adopted(port, left, event)
                    {
                        wrong.push(format!("(f) refused, and it left {left:?} at {port}: {event:?}"));
                    }
                }
            }
        }
    }

    /// Whether another call of the same owner may have made a set's claim its own.
    fn is_adopted(&self, port: u16, item: &Item, set: &Event) -> bool {
        self.events.iter().any(|event| {
            let is_other = event.began != set.began && event.began < set.ended && event.ended > set.began;
            is_other
                && match &event.act {
                    Act::Put { holder, .. } => is_of(item, holder),
                    Act::Set { service, names, owner, .. } => {
                        item.service == *service && names.contains(&item.name) && item.owner == *owner
                    }
                    Act::Renew { service, wanted, .. } => {
                        item.service == *service && is_meant(wanted, port, &item.name)
                    }
                    _ => false,
                }
        })
    }

    /// Whether the time of an expiry has come at a true time, by the fastest clock.
    fn is_over(&self, expiry: Option<i64>, at: i64) -> bool {
        expiry.is_some_and(|expiry| expiry * 1000 <= at + self.fastest)
    }

    /// Whether that, and by more than clocks may differ.
    fn is_long_over(&self, expiry: Option<i64>, at: i64) -> bool {
        self.is_over(expiry, at - 1000 * self.margin)
    }

    /// The operations that may have been executed at this moment.
    fn at_work(&self, at: i64) -> impl Iterator<Item = &'a Event> {
        self.events
            .iter()
            .filter(move |event| event.began.millis <= at && (event.may_be_late() || at <= event.ended.millis))
    }

    /// Judges one change of an item.
    fn change(&self, change: &Change, wrong: &mut Vec<String>) {
        let Change { at, port, before, after, .. } = change;
        if let Some(item) = after
            && let (Some(told), Some(until), true) = (item.lease_until, item.expires_at, item.is_allocated())
            && until - told < self.margin
        {
            wrong.push(format!("(d) strangers wait until {until}: {change:?}"));
        }
        let Some(before) = before else { return };
        let keeps = after.as_ref().is_some_and(|after| before.secret.is_some() && after.secret == before.secret);
        if keeps {
            let after = after.as_ref().unwrap();
            if before.is_allocated() && (after.lease_until.unwrap_or(i64::MAX) < before.lease_until.unwrap_or(i64::MAX))
            {
                wrong.push(format!("(c) shorter than it was: {change:?}"));
            }
            return;
        }
        let lifted = || {
            let is_lift = |event: &Event| matches!(event.act, Act::Lift(_, its) if its == *port);
            self.at_work(*at).any(is_lift)
        };
        let same_name =
            after.as_ref().is_some_and(|after| (&after.service, &after.name) == (&before.service, &before.name));
        let same_owner = same_name && after.as_ref().is_some_and(|after| after.owner == before.owner);
        let is_dead = self.is_over(before.expires_at, *at);
        let fine = match before.state.as_str() {
            "cooling" => {
                let comes_back = same_name
                    && (before.lease_until.is_none()
                        || (same_owner && self.is_over(before.lease_until, *at))
                        || self.is_long_over(before.lease_until, *at));
                is_dead || lifted() || (comes_back && after.as_ref().is_some_and(|after| after.secret.is_some()))
            }
            "quarantined" => is_dead || lifted(),
            "allocated" => is_dead || self.may_end_now(change, before, same_owner, same_name, lifted()),
            _ => is_dead || self.offer_may_end_now(change, before),
        };
        if !fine {
            let rule = match before.state.as_str() {
                "cooling" => "(d) came back too early",
                "quarantined" => "(e) a quarantine ended early",
                _ => "(g) ended without a reason",
            };
            wrong.push(format!("{rule}: {change:?}"));
        }
    }

    /// Whether an allocation whose time for strangers is not over may end so.
    fn may_end_now(&self, change: &Change, before: &Item, same_owner: bool, same_name: bool, lifted: bool) -> bool {
        let Change { at, port, after, .. } = change;
        // Nobody was told of it, and its maker withdraws it: where it may follow a lease that still runs, as if its own had
        // been over when it was made. Whether that was left out where it matters shows in (a) and (d).
        let as_if_over = |after: &Item| {
            after.state == "cooling"
                && after.owner == before.owner
                && after.lease_until == Some(before.created / 1000)
                && after.expires_at.is_some_and(|until| until - before.created / 1000 >= self.margin)
        };
        let is_untold = || !before.confirmed && !self.was_told(before, *port);
        if after.as_ref().map_or_else(is_untold, |after| !before.confirmed && as_if_over(after)) {
            return true;
        }
        let is_lapsed = self.is_over(before.lease_until, *at);
        let is_long_lapsed = self.is_long_over(before.lease_until, *at);
        let for_its_owner = || {
            self.at_work(*at).any(|event| match &event.act {
                Act::Put { holder, .. } | Act::Offer(holder) => is_of(before, holder),
                Act::Set { service, names, owner, .. } => {
                    before.service == *service && names.contains(&before.name) && before.owner == *owner
                }
                Act::Renew { service, wanted, owner, .. } => {
                    before.service == *service && is_meant(wanted, *port, &before.name) && before.owner == *owner
                }
                Act::Accept(offer, _) => self.offer(*offer).is_some_and(|shown| {
                    shown.port == *port && is_of(before, &shown.holder) && shown.created == before.created
                }),
                _ => false,
            })
        };
        let released = || {
            self.at_work(*at).filter(|event| self.may_release(event, *port, before)).any(|event| {
                // What is left is a cool-down from then on.
                let cools = 1000 * before.cooldown + event.began.millis + event.skew;
                match after {
                    Some(after) => {
                        after.state == "cooling"
                            && after.lease_until.is_none()
                            && after.expires_at.is_some_and(|until| until * 1000 >= cools)
                    }
                    None => before.cooldown == 0,
                }
            })
        };
        match after {
            Some(after) if after.secret.is_some() => (same_owner && is_lapsed) || (same_name && is_long_lapsed),
            Some(after) if after.lease_until.is_some() => {
                let kept = (after.lease_until, after.expires_at) == (before.lease_until, before.expires_at);
                kept && after.owner == before.owner && (is_long_lapsed || (is_lapsed && for_its_owner()))
            }
            Some(_) => released(),
            None => released() || (lifted && is_long_lapsed),
        }
    }

    /// Whether an operation releases this allocation.
    fn may_release(&self, event: &Event, port: u16, item: &Item) -> bool {
        match &event.act {
            Act::Release { service, wanted, whose } => {
                item.service == *service
                    && is_meant(wanted, port, &item.name)
                    && whose.may_end(item.owner.as_deref())
                    && self.began_in_time(item.accepted, event)
            }
            Act::ReleaseAll { service, owner, name, .. } => {
                item.service == *service
                    && owner.as_ref().is_none_or(|owner| item.owner.as_ref() == Some(owner))
                    && name.as_ref().is_none_or(|name| item.name == *name)
            }
            _ => false,
        }
    }

    /// Whether an offer that is not over may end so: one that a caller was told of only by its caller, or by an operator.
    fn offer_may_end_now(&self, change: &Change, before: &Item) -> bool {
        let is_it = |shown: &Shown| {
            shown.port == change.port && is_of(before, &shown.holder) && shown.created == before.created
        };
        let told = self.events.iter().any(|event| matches!(&event.answer, Answer::Offered(_, shown) if is_it(shown)));
        !told
            || self.at_work(change.at).any(|event| match &event.act {
                Act::Reject(offer) | Act::InUse(offer, _) => self.offer(*offer).is_some_and(is_it),
                Act::ReleaseAll { service, owner, name, offered } => {
                    *offered
                        && before.service == *service
                        && owner.as_ref().is_none_or(|owner| before.owner.as_ref() == Some(owner))
                        && name.as_ref().is_none_or(|name| before.name == *name)
                }
                _ => false,
            })
    }

    /// A port that was certainly put into quarantine is in quarantine, for as long as was asked for.
    fn quarantines(&self, wrong: &mut Vec<String>) {
        for event in self.events.iter().filter(|event| event.answer == Answer::Done && !event.doubt) {
            let Act::InUse(offer, seconds) = event.act else { continue };
            let Some(shown) = self.offer(offer) else { continue };
            let until = event.began.millis + event.skew + 1000 * i64::from(seconds);
            let is_put_aside = |item: &Item| {
                item.state == "quarantined" && item.expires_at.is_some_and(|expiry| expiry * 1000 >= until)
            };
            if !self.states(shown.port, event.began.millis, event.ended.millis).any(is_put_aside) {
                wrong.push(format!("(e) no quarantine after {event:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::linearize::Stamp;
    use super::super::event::If;
    use super::*;

    /// A history by hand: times are in milliseconds, and the order of all moments is that of time. Clocks are up to a
    /// second apart, and that is the margin.
    #[derive(Default)]
    struct Hand {
        events: Vec<Event>,
        changes: Vec<Change>,
    }

    fn holder(name: &str, owner: &str) -> Holder {
        Holder { service: "still", name: name.to_owned(), owner: Some(owner.to_owned()) }
    }

    fn shown(name: &str, owner: &str, port: u16, created: i64, until: Option<i64>) -> Shown {
        Shown { holder: holder(name, owner), port, created, accepted: Some(created), until }
    }

    fn item(shown: &Shown) -> Item {
        Item {
            service: "still".to_owned(),
            name: shown.holder.name.clone(),
            state: if shown.accepted.is_some() { "allocated" } else { "offered" }.to_owned(),
            secret: Some(format!("{} of {}", shown.created, shown.holder.name)),
            owner: shown.holder.owner.clone(),
            lease_until: shown.until.filter(|_| shown.accepted.is_some()),
            expires_at: shown.until.map(|until| until + i64::from(shown.accepted.is_some())),
            accepted: shown.accepted,
            created: shown.created,
            confirmed: shown.accepted.is_some(),
            ..Item::default()
        }
    }

    fn put(shown: &Shown) -> Act {
        Act::Put { holder: shown.holder.clone(), lease: None, port: None, expected: If::Whatever }
    }

    fn renew(shown: &Shown) -> Act {
        let Holder { service, owner, .. } = shown.holder.clone();
        Act::Renew { service, wanted: Wanted::Port(shown.port), owner, lease: None }
    }

    fn release(shown: &Shown, owner: &str) -> Act {
        let whose = Whose::Of(Some(owner.to_owned()));
        Act::Release { service: "still", wanted: Wanted::Port(shown.port), whose }
    }

    impl Hand {
        fn event(&mut self, (began, ended): (i64, i64), act: Act, answer: Answer) -> &mut Self {
            let at = |millis: i64| Stamp { order: u32::try_from(millis).unwrap(), millis };
            let (began, ended) = (at(began), at(ended));
            let sent = Some(began.millis);
            self.events.push(Event { act, skew: 0, began, ended, answer, doubt: false, sent });
            self
        }

        fn doubtful(&mut self) -> &mut Self {
            self.events.last_mut().unwrap().doubt = true;
            self
        }

        fn changes(&mut self, at: i64, port: u16, after: Option<Item>) -> &mut Self {
            let before =
                self.changes.iter().rfind(|change| change.port == port).and_then(|change| change.after.clone());
            let write = usize::try_from(at).unwrap();
            self.changes.push(Change { at, write, port, before, after });
            self
        }

        /// A PUT that is answered 10 ms after its claim was made.
        fn puts(&mut self, shown: &Shown) -> &mut Self {
            self.changes(shown.created, shown.port, Some(item(shown)));
            self.event((shown.created - 10, shown.created + 10), put(shown), Answer::Has(vec![shown.clone()]))
        }

        fn cools(&mut self, at: i64, of: &Shown, until: i64, lease_until: Option<i64>) -> &mut Self {
            let left = Item {
                state: "cooling".to_owned(),
                secret: None,
                lease_until,
                expires_at: Some(until),
                owner: of.holder.owner.clone().filter(|_| lease_until.is_some()),
                ..item(of)
            };
            self.changes(at, of.port, Some(left))
        }

        #[track_caller]
        fn is(&self, rules: &[&str]) {
            let History { .. } = self.history();
            let found = self.history().violations();
            let begin = |(rule, found): (&&str, &String)| found.starts_with(*rule);
            let same = found.len() == rules.len() && rules.iter().zip(&found).all(begin);
            assert!(same, "expected {rules:?}, found {found:#?}");
        }

        fn history(&self) -> History<'_> {
            let Self { events, changes } = self;
            History { events, changes, slowest: 0, fastest: 1_000, margin: 1, deadline: 10_000 }
        }
    }

    #[test]
    fn holders_follow_one_another_only_after_the_margin() {
        let first = shown("web-0", "a", 5000, 1_000, Some(4));
        for (created, rules) in [(4_000, &[][..]), (3_999, &["(g)"]), (3_900, &["(a)", "(g)"])] {
            let second = shown("web-1", "b", 5000, created, Some(9));
            Hand::default().puts(&first).puts(&second).is(rules);
        }
        // The same owner and name are the same holder, for whom its own time is enough.
        let again = shown("web-0", "a", 5000, 3_000, Some(9));
        Hand::default().puts(&first).puts(&again).is(&[]);
        let other_owner = shown("web-0", "b", 5000, 3_000, Some(9));
        Hand::default().puts(&first).puts(&other_owner).is(&["(a)", "(g)"]);
        // One name with two owners on two ports, although one of them has it still.
        let elsewhere = shown("web-0", "b", 5001, 3_000, Some(9));
        Hand::default().puts(&first).puts(&elsewhere).is(&["(a)"]);
    }

    #[test]
    fn a_release_ends_the_time_that_was_told_if_it_may() {
        let (first, second) = (shown("web-0", "a", 5000, 1_000, None), shown("web-1", "b", 5000, 3_000, None));
        let release = |owner: &str| {
            let mut hand = Hand::default();
            hand.puts(&first).event((2_000, 2_020), release(&first, owner), Answer::Done).changes(2_010, 5000, None);
            hand
        };
        release("a").puts(&second).is(&[]);
        release("b").puts(&second).is(&["(a)", "(g)"]);
        // One that began before the allocation does not end it.
        let mut late = Hand::default();
        late.event((500, 520), self::release(&first, "a"), Answer::Open(String::new())).puts(&first);
        late.changes(2_010, 5000, None).is(&[]);
        let much_later = shown("web-0", "a", 5000, 2_000, None);
        let mut late = Hand::default();
        late.event((500, 520), self::release(&first, "a"), Answer::Open(String::new())).puts(&much_later);
        late.changes(3_010, 5000, None).is(&["(g)"]);
    }

    #[test]
    fn what_is_told_is_what_the_item_says() {
        let (told, other) = (shown("web-0", "a", 5000, 1_000, Some(4)), shown("web-0", "a", 5000, 1_000, Some(5)));
        Hand::default()
            .changes(1_000, 5000, Some(item(&told)))
            .event((990, 1_010), put(&told), Answer::Has(vec![other]))
            .is(&["(a)"]);
    }

    #[test]
    fn what_was_lost_stays_lost() {
        let (told, longer) = (shown("web-0", "a", 5000, 1_000, Some(4)), shown("web-0", "a", 5000, 1_000, Some(9)));
        let mut hand = Hand::default();
        hand.puts(&told).event((2_000, 2_020), renew(&told), Answer::Lost);
        hand.is(&[]);
        hand.changes(2_510, 5000, Some(item(&longer)));
        hand.event((2_500, 2_520), renew(&told), Answer::Has(vec![longer.clone()])).is(&["(b)"]);
        let mut hand = Hand::default();
        hand.puts(&told).event((2_000, 2_020), release(&told, "a"), Answer::Done);
        hand.changes(2_510, 5000, Some(item(&longer)));
        hand.event((2_500, 2_520), renew(&told), Answer::Has(vec![longer])).is(&["(b)"]);
    }

    #[test]
    fn no_lease_is_told_shorter_than_before() {
        let (told, shorter) = (shown("web-0", "a", 5000, 1_000, Some(9)), shown("web-0", "a", 5000, 1_000, Some(4)));
        let mut hand = Hand::default();
        hand.puts(&told).changes(2_010, 5000, Some(item(&shorter)));
        hand.event((2_000, 2_020), renew(&told), Answer::Has(vec![shorter])).is(&["(c)", "(c)"]);
    }

    #[test]
    fn a_port_cools_down_before_another_name_has_it() {
        let first = shown("web-0", "a", 5000, 1_000, None);
        let cooling = |until| {
            let mut hand = Hand::default();
            let mut its = item(&first);
            its.cooldown = 5;
            hand.changes(1_000, 5000, Some(its));
            hand.event((990, 1_010), put(&first), Answer::Has(vec![first.clone()]));
            hand.event((2_000, 2_020), release(&first, "a"), Answer::Done).cools(2_010, &first, until, None);
            hand
        };
        let other = |created| shown("web-1", "b", 5000, created, None);
        cooling(7).puts(&other(6_000)).is(&[]);
        cooling(7).puts(&other(5_999)).is(&["(d)"]);
        cooling(7).puts(&shown("web-0", "b", 5000, 2_100, None)).is(&[]);
        // It begins with the release.
        cooling(6).is(&["(g)"]);
        let mut removed = cooling(7);
        removed.changes.pop();
        removed.changes(2_010, 5000, None).is(&["(g)"]);
        // Only what nobody was told of is withdrawn without a trace.
        let unconfirmed = Item { confirmed: false, ..item(&first) };
        let mut withdrawn = Hand::default();
        withdrawn.changes(1_000, 5000, Some(unconfirmed)).changes(2_010, 5000, None).is(&[]);
        withdrawn.event((990, 1_010), put(&first), Answer::Has(vec![first.clone()])).is(&["(g)"]);
        // An operator ends it.
        cooling(7).event((3_000, 3_020), Act::Lift("still", 5000), Answer::Done).changes(3_010, 5000, None).is(&[]);
    }

    #[test]
    fn a_lapsed_lease_keeps_the_margin_for_other_owners_of_its_name() {
        let first = shown("web-0", "a", 5000, 1_000, Some(4));
        let lapsed = |at, by: &str| {
            let mut hand = Hand::default();
            let by = shown("web-0", by, 5000, 1_000, None);
            hand.puts(&first).event((at - 10, at + 10), put(&by), Answer::Open(String::new()));
            hand.cools(at, &first, 5, Some(4));
            hand
        };
        lapsed(3_000, "a").is(&[]);
        lapsed(2_999, "a").is(&["(g)"]);
        lapsed(3_000, "b").is(&["(g)"]);
        lapsed(4_000, "b").is(&[]);
        lapsed(3_000, "a").puts(&shown("web-0", "a", 5000, 3_100, Some(9))).is(&[]);
        lapsed(3_000, "a").puts(&shown("web-0", "b", 5000, 3_100, Some(9))).is(&["(a)", "(d)"]);
        // Strangers wait for the margin, too.
        let mut hasty = item(&first);
        hasty.expires_at = Some(4);
        Hand::default().changes(1_000, 5000, Some(hasty)).is(&["(d)"]);
    }

    #[test]
    fn a_quarantined_port_is_given_to_nobody() {
        let offer = Shown { accepted: None, ..shown("web-0", "a", 5000, 1_000, Some(9)) };
        let rejected = |until| {
            let mut hand = Hand::default();
            hand.changes(1_000, 5000, Some(item(&offer)));
            hand.event((990, 1_010), Act::Offer(offer.holder.clone()), Answer::Offered(0, offer.clone()));
            hand.event((2_000, 2_020), Act::InUse(0, 5), Answer::Done);
            let aside = Item { state: "quarantined".to_owned(), secret: None, expires_at: Some(until), ..item(&offer) };
            hand.changes(2_010, 5000, Some(aside));
            hand
        };
        rejected(7).is(&[]);
        rejected(6).is(&["(e)"]);
        rejected(7).puts(&shown("web-0", "a", 5000, 6_000, None)).is(&[]);
        rejected(7).puts(&shown("web-0", "a", 5000, 5_900, None)).is(&["(e)"]);
    }

    #[test]
    fn a_set_is_whole_or_nothing() {
        let two = |first, second| {
            [shown("web-0", "a", first, 1_000, None), shown("web-1", "a", second, 1_000, None)].map(|shown| {
                let its = Item { set: Some(990), ..item(&shown) };
                (shown, its)
            })
        };
        let act = |contiguous| Act::Set {
            service: "still",
            names: vec!["web-0".to_owned(), "web-1".to_owned()],
            owner: Some("a".to_owned()),
            lease: None,
            contiguous,
        };
        let set = |ports: (u16, u16), contiguous, told: usize, claimed: usize| {
            let mut hand = Hand::default();
            let all = two(ports.0, ports.1);
            for (shown, its) in all.iter().take(claimed) {
                hand.changes(1_000, shown.port, Some(its.clone()));
            }
            let told = all.iter().take(told).map(|(shown, _)| shown.clone()).collect();
            hand.event((990, 1_010), act(contiguous), Answer::Has(told));
            hand
        };
        set((5000, 5001), true, 2, 2).is(&[]);
        set((5000, 5002), false, 2, 2).is(&[]);
        set((5000, 5002), true, 2, 2).is(&["(f)"]);
        set((5000, 5001), true, 1, 2).is(&["(f)"]);
        set((5000, 5001), true, 2, 1).is(&["(a)", "(f)"]);
        let refuse = |hand: &mut Hand| hand.events.last_mut().unwrap().answer = Answer::Refused(String::new());
        let mut refused = set((5000, 5001), true, 2, 2);
        refuse(&mut refused);
        refused.is(&["(f)", "(f)"]);
        // In doubt, the next call of its owner finds it.
        refused.doubtful().is(&[]);
    }

    #[test]
    fn an_offer_that_was_told_ends_by_its_caller_or_its_time() {
        let offer = Shown { accepted: None, ..shown("web-0", "a", 5000, 1_000, Some(4)) };
        let offered = || {
            let mut hand = Hand::default();
            hand.changes(1_000, 5000, Some(item(&offer)));
            hand.event((990, 1_010), Act::Offer(offer.holder.clone()), Answer::Offered(0, offer.clone()));
            hand
        };
        offered().changes(3_000, 5000, None).is(&[]);
        offered().changes(2_000, 5000, None).is(&["(g)"]);
        offered().event((1_990, 2_010), Act::Reject(0), Answer::Done).changes(2_000, 5000, None).is(&[]);
        offered().event((1_990, 2_010), Act::Reject(1), Answer::Done).changes(2_000, 5000, None).is(&["(g)"]);
    }

    #[test]
    fn what_is_left_was_told_or_may_have_been() {
        let made = shown("web-0", "a", 5000, 1_000, None);
        let (mut hand, its) = (Hand::default(), item(&made));
        hand.changes(1_000, 5000, Some(its.clone()));
        let is_explained = |hand: &Hand| {
            let history = hand.history();
            history.was_told(&its, 5000) || history.may_have_been_made(&its, 5000)
        };
        assert!(!is_explained(&hand));
        hand.event((990, 1_010), put(&made), Answer::Refused(String::new()));
        assert!(!is_explained(&hand));
        hand.doubtful();
        assert!(is_explained(&hand));
        let mut hand = Hand::default();
        hand.puts(&made);
        assert!(is_explained(&hand));
    }
}
