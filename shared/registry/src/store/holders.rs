//! What holders do with their claims, and what ends claims without them: each is one conditional write to one Port item.
//!
//! A call often has to take the terms of a claim for granted, because it reads neither the claim nor its service. The
//! terms are then part of the condition. A wrong guess fails, the loser is shown the item, and the second send is exact.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue};

use super::condition::{Condition, Value, update_only_if};
use super::item::{Item, Key, number, text};
use super::port_item::{claim, occupant, stored};
use super::rules::{self, Rule};
use super::send::{Doubt, send, send_once};
use super::transact::{OnContention, Transacted, Transaction};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{
    Claim, ClaimState, Clock, Expiry, Holding, Labels, Lease, Namespace, Occupant, Owner, Port, Secret, ServiceId,
    StateKind, Terms, Timestamp,
};

/// The outcome of an accept.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// The offer is an allocation from now on.
    Now(Claim),
    /// The offer was accepted before, with this secret.
    Before(Claim),
    /// The condition failed; the item as it is, if there is one.
    Not(Option<Occupant>),
}

/// The outcome of a renewal.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// The allocation as it is from now on.
    Now(Claim),
    /// The condition failed; the item as it is, if there is one.
    Not(Option<Occupant>),
}

/// The outcome of a removal.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum Removed {
    /// The claim is gone, by this send or, in all likelihood, by an earlier one whose response was lost.
    Now,
    /// The condition failed; the item as it is, if there is one.
    Not(Option<Occupant>),
}

impl Removed {
    /// The outcome of a write whose condition failed, given what has the port and the secret of the claim that it was
    /// to end, if it knew one. If that claim is not there any more and an earlier send may have ended it, that is what
    /// the caller is told: it asked for the claim to be gone, and its request found it.
    fn not(found: Option<Occupant>, doubt: Doubt, secret: Option<Secret>) -> Self {
        let is_there = found.as_ref().is_some_and(|found| secret.is_none_or(|secret| found.has(secret)));
        if doubt == Doubt::Earlier && !is_there { Self::Now } else { Self::Not(found) }
    }
}

/// The latest time at which an allocation that is to be released may have begun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BeganBy<'a> {
    /// The time of sending, read again for each send.
    Sending(&'a Clock),
    /// The beginning that was read.
    Seen(Timestamp),
}

impl BeganBy<'_> {
    fn read(self) -> Timestamp {
        match self {
            Self::Sending(clock) => clock.now(),
            Self::Seen(moment) => moment,
        }
    }
}

/// In whose name a port is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// In anybody's: whoever holds it.
    Anybody,
    /// In its holder's: this owner's, or without one. A port that has another holder stays.
    Holder(Option<&'a Owner>),
}

impl By<'_> {
    /// Whether it may release this claim.
    #[must_use]
    pub fn may_end(self, claim: &Claim) -> bool {
        match self {
            Self::Anybody => true,
            Self::Holder(owner) => owner == claim.owner.as_ref(),
        }
    }
}

/// The terms that a claim is taken to have, and the lease that is computed from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Under {
    /// The terms that the item is taken to have.
    pub(crate) found: Terms,
    /// The terms that it has from then on: others only for a claim that is adopted, whose maker had not seen those of
    /// the service when it made it.
    pub(crate) terms: Terms,
    /// For how many seconds, from each send on; none: without an end, or as it stands.
    pub(crate) seconds: Option<u32>,
    /// Without seconds: the lease as it was read, which is to stay. What strangers wait for after it follows the terms.
    pub(crate) stays: Option<Lease>,
    /// By how many seconds clocks may differ.
    pub(crate) margin: u32,
}

impl Under {
    /// The terms as they are, and this lease.
    pub(crate) fn of(terms: Terms, seconds: Option<u32>, margin: u32) -> Self {
        Self { found: terms, terms, seconds, stays: None, margin }
    }

    fn lease(self, now: Timestamp) -> Option<Lease> {
        match self.seconds {
            Some(seconds) => Some(self.terms.lease_from(now, seconds, self.margin)),
            None => self.stays.map(|lease| Lease {
                expires_at: lease.until.plus(self.terms.hold(self.margin)).max(lease.expires_at),
                ..lease
            }),
        }
    }
}

/// The allocation that a renewal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The one with this secret. With `confirms`, its service was seen to offer its port after it was made.
    Secret { secret: Secret, confirms: bool },
    /// Whatever allocation of the service began before the renewal was sent.
    Number,
}

/// A renewal, or new labels for an allocation whose time stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) port: Port,
    pub(crate) meant: Meant,
    pub(crate) owner: Option<&'a Owner>,
    /// The lease; without seconds, its time stays as it is.
    pub(crate) under: Under,
    /// New labels, in place of the old ones.
    pub(crate) labels: Option<&'a Labels>,
}

/// For whom a lapsed allocation is made gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// For its own holder, by whose clock it is over.
    Own(Timestamp),
    /// For anybody else. The time is earlier than now by the margin.
    Over(Timestamp),
}

/// The attributes of an allocation that do not outlast it.
const HOLDERS: &str = "#secret, #labels, #principal, #accepted, #confirmed, #lease, #put";

impl Table {
    /// Turns an offer into an allocation, with these labels instead of its own, if any are given: one conditional write.
    ///
    /// No other request can interfere: only the holder of the secret passes, and nobody else ever has that secret (5).
    /// A claim that was taken over, rejected or removed is absent, or carries another secret. A dead claim does not
    /// pass, even before TTL has removed it. If this clock is late and finds it alive, the item is still there under
    /// the same secret, so nobody else holds the port (1), and the Instance still points to it (2). An allocation does
    /// not pass, so a second accept never sets a lease back that was renewed.
    ///
    /// The clock is read at each send. The write may be throttled for seconds before it is done. An `accepted` from
    /// before that would let a release that had already ended, and whose copy arrives later, hit this allocation. And
    /// an offer that expires meanwhile is no longer accepted.
    pub(crate) async fn accept(
        &self,
        call: &Call,
        service: &ServiceId,
        (port, secret): (Port, Secret),
        (under, labels): (Under, Option<&Labels>),
        clock: &Clock,
    ) -> Result<Accepted, StoreError> {
        let (result, doubt) = send(call, &self.name, || {
            let (change, condition) = acceptance(service, secret, under, labels, clock.now());
            self.change(&Key::port(&service.namespace, port), change, condition)
                .return_values(ReturnValue::AllNew)
                .send()
        })
        .await?;
        let found = match changed(result.map(|output| output.attributes))? {
            Ok(item) => return claim(item).map(Accepted::Now),
            Err(found) => found,
        };
        Ok(match found {
            Some(Occupant { claim, secret: Some(its) })
                if its == secret && claim.service == service.name && claim.state.kind() == StateKind::Allocated =>
            {
                match doubt {
                    // Accepted by this call's own first send, in all likelihood.
                    Doubt::Earlier => Accepted::Now(claim),
                    Doubt::None => Accepted::Before(claim),
                }
            }
            other => Accepted::Not(other),
        })
    }

    /// Accepts the offers of a set, all of them or none: the writes of [`Table::accept`] in one transaction, each under
    /// the terms of its offer. Returns the allocations, in the order of the offers; none if an offer is not one any more,
    /// be it that an earlier call of its owner has accepted it.
    pub(crate) async fn accept_all(
        &self,
        call: &Call,
        service: &ServiceId,
        offers: &[Holding],
        (under, labels): (Under, Option<&Labels>),
        clock: &Clock,
    ) -> Result<Option<Vec<Claim>>, StoreError> {
        let (now, terms) = (clock.now(), under.terms);
        let mut transaction = Transaction::new().stamped_by(clock);
        for Holding { claim, secret } in offers {
            let under = Under { found: claim.terms, ..under };
            let labels = labels.filter(|labels| **labels != claim.labels);
            let (change, condition) = acceptance(service, *secret, under, labels, now);
            let key = Key::port(&service.namespace, claim.port);
            transaction = transaction.update(self, claim.port, &key, change.expression(), condition)?;
        }
        let began = match self.transact(call, transaction, OnContention::Wait).await? {
            Transacted::Done(began) => began.unwrap_or(now),
            Transacted::Cancelled(_) => return Ok(None),
        };
        let state = ClaimState::Allocated { accepted: began, lease: under.lease(now) };
        let accepted = |Holding { claim, .. }: &Holding| {
            let labels = labels.unwrap_or(&claim.labels).clone();
            Claim { state, terms, labels, confirmed: true, ..claim.clone() }
        };
        Ok(Some(offers.iter().map(accepted).collect()))
    }

    /// Renews a lease: one conditional write.
    ///
    /// - *By its secret*, it can only mean that very allocation, and once that is gone, no copy of the request has an
    ///   effect, however late it is: a release takes the secret off the item.
    /// - *By its number*, it means an allocation of the service and the owner that began before it was sent. A copy that
    ///   arrives after a release finds no allocation, and one that arrives after the next tenure began finds one that
    ///   began too late.
    /// - It never shortens: a lease that is longer already does not pass, which the caller takes for success.
    /// - A lease that is over by this clock does not pass. If this clock is slow and passes it, the item still carries
    ///   its secret, so nobody else has taken over: whoever does overwrites the item, or takes the secret off.
    /// - Without `confirms`, only an allocation that some caller may have been told of passes. Otherwise a claim that a
    ///   deletion could not see any more would live on.
    ///
    /// The clock is read at each send.
    pub(crate) async fn renew(
        &self,
        call: &Call,
        service: &ServiceId,
        renewal: &Renewal<'_>,
        clock: &Clock,
    ) -> Result<Renewed, StoreError> {
        let Renewal { port, meant, owner, under, labels } = *renewal;
        let (result, _) = send(call, &self.name, || {
            let now = clock.now();
            let mut change = Change::default();
            let mut rules = vec![rules::RENEW_ALLOCATED, rules::RENEW_LIVE];
            let mut values = vec![(":allocated", text(StateKind::Allocated.as_str())), (":now", number(now.seconds()))];
            match meant {
                Meant::Secret { secret, confirms } => {
                    rules.push(rules::RENEW_SECRET);
                    values.push((":secret", text(secret.expose())));
                    if !confirms {
                        rules.push(rules::RENEW_CONFIRMED);
                    }
                }
                Meant::Number => {
                    rules.extend([rules::RENEW_SERVICE, rules::RENEW_SENT, rules::RENEW_CONFIRMED]);
                    values.push((":service", text(service.name.as_str())));
                    values.push((":sent", number(now.millis())));
                }
            }
            rules.push(owner_rule(owner, rules::RENEW_OWNER, rules::RENEW_UNOWNED));
            values.extend(owner_value(owner));
            if let Some(lease) = under.lease(now) {
                change.set_lease(lease);
                rules.push(rules::RENEW_LONGER);
                values.push((":until", number(lease.until.seconds())));
            }
            if under.lease(now).is_some() || under.found != under.terms {
                rules.push(terms_rule(under.found, rules::RENEW_TERMS, rules::RENEW_NO_TERMS));
                values.extend(terms_value(under.found));
            }
            change.set_terms(under);
            change.set("#confirmed = :to_confirmed", AttributeValue::Bool(true));
            change.set_labels(labels);
            self.change(&Key::port(&service.namespace, port), change, Condition::all(&rules, values))
                .return_values(ReturnValue::AllNew)
                .send()
        })
        .await?;
        Ok(match changed(result.map(|output| output.attributes))? {
            Ok(item) => Renewed::Now(claim(item)?),
            Err(found) => Renewed::Not(found),
        })
    }

    /// Removes an offer: one conditional write. Only its secret passes, and only while it is a live offer: an
    /// allocation that a faster accept made of it stays. The clock is read at each send: *live* refers to the time of
    /// the write, not to the time at which the call began.
    pub(crate) async fn reject(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        secret: Secret,
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let live = || still_offered(service, secret, clock.now());
        self.remove(call, &Key::port(&service.namespace, port), Some(secret), live).await
    }

    /// Puts the port of an offer aside, because it is in use on the host: one conditional write, under the conditions of
    /// [`Table::reject`]. The secret goes, so the claim is gone for ever.
    pub(crate) async fn quarantine(
        &self,
        call: &Call,
        service: &ServiceId,
        (port, secret): (Port, Secret),
        seconds: u32,
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let (result, doubt) = send(call, &self.name, || {
            let now = clock.now();
            let mut change = Change::to(StateKind::Quarantined, Expiry::after(now, seconds.into()));
            change.remove("#owner");
            let condition = still_offered(service, secret, now);
            self.change(&Key::port(&service.namespace, port), change, condition).send()
        })
        .await?;
        ended(result.map(|output| output.attributes), doubt, Some(secret))
    }

    /// Withdraws an allocation that this process made and of which no caller was told: one conditional write. Whoever else
    /// told a caller of it has set `confirmed` before, in a write that this one would see.
    ///
    /// If the claim may follow a lease that still runs by a slower clock, on this port or on another one of the name, the
    /// port goes on cooling, as after a lease that was over when the claim was made: nothing else shows any more that the
    /// name is not free. `cooled` is the margin then. Otherwise the item goes.
    pub(crate) async fn withdraw(
        &self,
        call: &Call,
        namespace: &Namespace,
        Holding { claim, secret }: &Holding,
        cooled: Option<u32>,
    ) -> Result<Removed, StoreError> {
        let key = Key::port(namespace, claim.port);
        let untold = || {
            let rules = [rules::WITHDRAW_SECRET, rules::WITHDRAW_UNCONFIRMED];
            Condition::all(&rules, [(":secret", text(secret.expose()))])
        };
        let Some(margin) = cooled else { return self.remove(call, &key, Some(*secret), untold).await };
        let (told, until) = withdrawn_until(claim, margin);
        let (result, doubt) = send(call, &self.name, || {
            let mut change = Change::to(StateKind::Cooling, until);
            change.set("#lease_until = :to_lease_until", number(told.seconds()));
            self.change(&key, change, untold()).send()
        })
        .await?;
        ended(result.map(|output| output.attributes), doubt, Some(*secret))
    }

    /// Removes a dead claim on a port: one conditional write, so that a claim that a slower clock accepted or renewed
    /// meanwhile, or that was made since, stays. The owner of the dead one does not matter: a new claim would overwrite
    /// it as well.
    ///
    /// `now` is the time at which the claim was judged, in every send: whatever was dead then is dead for ever, and a
    /// later time would remove more than the read before it found dead.
    pub(crate) async fn remove_dead(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
        let still = || Condition::all(&[rules::REMOVE_STILL], [(":now", number(now.seconds()))]);
        self.remove(call, &Key::port(namespace, port), None, still).await
    }

    /// Makes a lapsed allocation gone before strangers may have its port: takes its secret off, so that no clock lets
    /// its holder renew it any more. The port stays held until the same time as before.
    ///
    /// The time is that of the judgement in every send: what was over then is over, unless it was renewed since, and
    /// then the condition fails.
    pub(crate) async fn lapse(
        &self,
        call: &Call,
        namespace: &Namespace,
        (port, secret): (Port, Secret),
        lapse: Lapse,
    ) -> Result<Removed, StoreError> {
        let (rule, value) = match lapse {
            Lapse::Own(now) => (rules::LAPSE_OWN, (":now", number(now.seconds()))),
            Lapse::Over(past) => (rules::LAPSE_OVER, (":past", number(past.seconds()))),
        };
        let (result, _) = send(call, &self.name, || {
            let mut change = Change::default();
            change.set("#state = :to_state", text(StateKind::Cooling.as_str()));
            change.remove(HOLDERS);
            let condition =
                Condition::all(&[rules::LAPSE_SECRET, rule], [(":secret", text(secret.expose())), value.clone()]);
            self.change(&Key::port(namespace, port), change, condition).send()
        })
        .await?;
        // Not only whether it is gone counts, but also which time its lease had when it went.
        ended(result.map(|output| output.attributes), Doubt::None, Some(secret))
    }

    /// Ends a cool-down or a quarantine before its time: one conditional write.
    pub(crate) async fn lift(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
        past: Timestamp,
    ) -> Result<Removed, StoreError> {
        let held = || {
            let values = [
                (":cooling", text(StateKind::Cooling.as_str())),
                (":quarantined", text(StateKind::Quarantined.as_str())),
                (":past", number(past.seconds())),
            ];
            Condition::all(&[rules::LIFT], values)
        };
        self.remove(call, &Key::port(namespace, port), None, held).await
    }

    /// Releases the allocation that an Instance points to. The secret is unique and identifies the allocation, so the
    /// release is idempotent.
    ///
    /// `began_by` is the latest time at which the allocation may have begun. Otherwise a copy of the request that
    /// arrives late would hit a claim that was an offer when the call was answered ("no such port") and that was
    /// accepted since. Only allocations have an `accepted`.
    ///
    /// Without a cool-down the item goes. With one it stays as a port that is cooling, without secret and owner: the
    /// allocation is gone for ever either way, and a renewal that arrives late finds neither.
    pub(crate) async fn release_claim(
        &self,
        call: &Call,
        namespace: &Namespace,
        (port, secret): (Port, Secret),
        began_by: BeganBy<'_>,
        (by, terms): (By<'_>, Terms),
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let same = || {
            let mut rules = vec![
                rules::RELEASE_SECRET,
                rules::RELEASE_SENT,
                terms_rule(terms, rules::RELEASE_TERMS, rules::RELEASE_NO_TERMS),
            ];
            let mut values = vec![(":secret", text(secret.expose())), (":sent", number(began_by.read().millis()))];
            values.extend(terms_value(terms));
            if let By::Holder(owner) = by {
                rules.push(owner_rule(owner, rules::RELEASE_OWNER, rules::RELEASE_UNOWNED));
                values.extend(owner_value(owner));
            }
            Condition::all(&rules, values)
        };
        let key = Key::port(namespace, port);
        if terms.cooldown == 0 {
            return self.remove(call, &key, Some(secret), same).await;
        }
        let (result, doubt) =
            send(call, &self.name, || self.change(&key, Change::cooled(clock.now(), terms), same()).send()).await?;
        ended(result.map(|output| output.attributes), doubt, Some(secret))
    }

    /// Releases whatever allocation of the service is on the port: one conditional write, which names nothing unique.
    ///
    /// A retry after a lost response could release the *next* holder's allocation, so it is not retried. And should it
    /// arrive late, long after the call gave up, the condition that the allocation began before it was sent protects
    /// the next holder's. (If an acceptor's clock was ahead, that condition fails although it should not; the caller
    /// then knows the secret.) The clock is read at each send: a throttled request is sent again, and releases whatever
    /// is allocated then.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the response was lost.
    pub(crate) async fn release_port(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        (by, terms): (By<'_>, Terms),
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let still = |now: Timestamp| {
            let mut rules = vec![
                rules::RELEASE_PORT_SERVICE,
                rules::RELEASE_PORT_SENT,
                terms_rule(terms, rules::RELEASE_PORT_TERMS, rules::RELEASE_PORT_NO_TERMS),
            ];
            let mut values = vec![(":service", text(service.name.as_str())), (":sent", number(now.millis()))];
            values.extend(terms_value(terms));
            if let By::Holder(owner) = by {
                rules.push(owner_rule(owner, rules::RELEASE_PORT_OWNER, rules::RELEASE_PORT_UNOWNED));
                values.extend(owner_value(owner));
            }
            Condition::all(&rules, values)
        };
        let key = Key::port(&service.namespace, port);
        if terms.cooldown == 0 {
            let result = send_once(call, &self.name, || self.deletion(&key, still(clock.now())).send()).await?;
            return removed(result.map(drop), Doubt::None, None);
        }
        let result = send_once(call, &self.name, || {
            let now = clock.now();
            self.change(&key, Change::cooled(now, terms), still(now)).send()
        })
        .await?;
        ended(result.map(|output| output.attributes), Doubt::None, None)
    }

    /// A conditional DeleteItem of a Port item that may be retried.
    async fn remove(
        &self,
        call: &Call,
        key: &Key,
        secret: Option<Secret>,
        condition: impl Fn() -> Condition,
    ) -> Result<Removed, StoreError> {
        let (result, doubt) = self.delete_if(call, key, condition).await?;
        removed(result, doubt, secret)
    }

    /// Builds a conditional UpdateItem.
    fn change(&self, key: &Key, change: Change, condition: Condition) -> UpdateItemFluentBuilder {
        let request = self.client.update_item().table_name(&self.name).set_key(Some(key.attributes()));
        let (expression, values) = change.expression();
        update_only_if(request, &expression, values, condition).return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}

/// As if the lease of a withdrawn claim had been over when it was made: until when it was told, and when a stranger may
/// have the port.
pub(crate) fn withdrawn_until(claim: &Claim, margin: u32) -> (Expiry, Expiry) {
    // Whatever lease the claim came back after was over in this second.
    let told = Expiry::after(Timestamp::from_millis(claim.created.seconds() * 1000), 0);
    (told, told.plus(claim.terms.hold(margin)))
}

/// What an UpdateItem changes.
#[derive(Debug, Default)]
struct Change {
    set: Vec<&'static str>,
    values: Vec<Value>,
    remove: Vec<&'static str>,
}

impl Change {
    /// The end of a claim of which something remains: this state, until then.
    fn to(kind: StateKind, until: Expiry) -> Self {
        let mut change = Self::default();
        change.set("#state = :to_state", text(kind.as_str()));
        change.set("#expires_at = :to_expires_at", number(until.seconds()));
        change.remove(HOLDERS);
        change
    }

    /// A release with a cool-down.
    fn cooled(now: Timestamp, terms: Terms) -> Self {
        let mut change = Self::to(StateKind::Cooling, Expiry::after(now, terms.cooldown.into()));
        change.remove("#owner, #lease_until");
        change
    }

    /// Sets an attribute: `#attribute = :value`.
    fn set(&mut self, assignment: &'static str, value: AttributeValue) {
        let name = assignment.rsplit(' ').next().unwrap_or(assignment);
        self.set.push(assignment);
        self.values.push((name, value));
    }

    fn set_lease(&mut self, lease: Lease) {
        self.set("#lease = :to_lease", number(lease.seconds.into()));
        self.set("#lease_until = :to_lease_until", number(lease.until.seconds()));
        self.set("#expires_at = :to_expires_at", number(lease.expires_at.seconds()));
    }

    /// Sets the terms, if they are to be others.
    fn set_terms(&mut self, Under { found, terms, .. }: Under) {
        match stored(terms) {
            _ if found == terms => {}
            Some(terms) => self.set("#terms = :to_terms", text(terms.to_string())),
            None => self.remove("#terms"),
        }
    }

    /// Replaces the labels, if there are to be others.
    fn set_labels(&mut self, labels: Option<&Labels>) {
        match labels {
            Some(labels) if labels.is_empty() => self.remove("#labels"),
            Some(labels) => self.set("#labels = :to_labels", map_of(labels)),
            None => {}
        }
    }

    fn remove(&mut self, attributes: &'static str) {
        self.remove.push(attributes);
    }

    fn expression(self) -> (String, Vec<Value>) {
        let mut expression = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            expression.push_str(&format!(" REMOVE {}", self.remove.join(", ")));
        }
        (expression, self.values)
    }
}

/// The change that accepts an offer, and its condition.
fn acceptance(
    service: &ServiceId,
    secret: Secret,
    under: Under,
    labels: Option<&Labels>,
    now: Timestamp,
) -> (Change, Condition) {
    let mut change = Change::default();
    change.set("#state = :to_state", text(StateKind::Allocated.as_str()));
    change.set("#accepted = :to_accepted", number(now.millis()));
    change.set("#confirmed = :to_confirmed", AttributeValue::Bool(true));
    match under.lease(now) {
        Some(lease) => change.set_lease(lease),
        None => change.remove("#expires_at"),
    }
    change.set_terms(under);
    change.set_labels(labels);
    let rules = [
        rules::ACCEPT_SECRET,
        rules::ACCEPT_SERVICE,
        rules::ACCEPT_OFFERED,
        rules::ACCEPT_LIVE,
        terms_rule(under.found, rules::ACCEPT_TERMS, rules::ACCEPT_NO_TERMS),
    ];
    let values = live_offer(service, secret, now).into_iter().chain(terms_value(under.found));
    (change, Condition::all(&rules, values))
}

/// The rule that demands these terms.
fn terms_rule(terms: Terms, equal: Rule, absent: Rule) -> Rule {
    if stored(terms).is_some() { equal } else { absent }
}

fn terms_value(terms: Terms) -> Option<Value> {
    stored(terms).map(|terms| (":terms", text(terms.to_string())))
}

/// The rule that demands this owner.
pub(super) fn owner_rule(owner: Option<&Owner>, equal: Rule, absent: Rule) -> Rule {
    if owner.is_some() { equal } else { absent }
}

pub(super) fn owner_value(owner: Option<&Owner>) -> Option<Value> {
    owner.map(|owner| (":owner", text(owner.as_str())))
}

fn map_of(labels: &Labels) -> AttributeValue {
    AttributeValue::M(labels.iter().map(|(key, value)| (key.to_owned(), text(value))).collect())
}

/// The values by which its holder identifies a live offer.
fn live_offer(service: &ServiceId, secret: Secret, now: Timestamp) -> [Value; 4] {
    [
        (":secret", text(secret.expose())),
        (":service", text(service.name.as_str())),
        (":offered", text(StateKind::Offered.as_str())),
        (":now", number(now.seconds())),
    ]
}

/// The condition of a rejection.
fn still_offered(service: &ServiceId, secret: Secret, now: Timestamp) -> Condition {
    let rules = [rules::REJECT_SECRET, rules::REJECT_SERVICE, rules::REJECT_OFFERED, rules::REJECT_LIVE];
    Condition::all(&rules, live_offer(service, secret, now))
}

/// The result of a conditional UpdateItem: the new attributes, or the item whose condition failed.
fn changed(result: Result<Option<Item>, UpdateItemError>) -> Result<Result<Item, Option<Occupant>>, StoreError> {
    match result {
        Ok(attributes) => Ok(Ok(attributes.unwrap_or_default())),
        Err(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            Ok(Err(failed.item.filter(|item| !item.is_empty()).map(occupant).transpose()?))
        }
        Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
    }
}

/// The result of a conditional UpdateItem that ends a claim.
fn ended(
    result: Result<Option<Item>, UpdateItemError>,
    doubt: Doubt,
    secret: Option<Secret>,
) -> Result<Removed, StoreError> {
    Ok(match changed(result)? {
        Ok(_) => Removed::Now,
        Err(found) => Removed::not(found, doubt, secret),
    })
}

/// The result of a conditional DeleteItem.
fn removed(result: Result<(), DeleteItemError>, doubt: Doubt, secret: Option<Secret>) -> Result<Removed, StoreError> {
    match result {
        Ok(()) => Ok(Removed::Now),
        Err(DeleteItemError::ConditionalCheckFailedException(failed)) => {
            let found = failed.item.filter(|item| !item.is_empty()).map(occupant).transpose()?;
            Ok(Removed::not(found, doubt, secret))
        }
        Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
    }
}
