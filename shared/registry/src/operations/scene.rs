//! What a claim is made in: the service, the process's memory of it, and the call. Shared by offers, PUTs and sets.

use std::time::Duration;

use futures::future::{TryFutureExt as _, try_join, try_join_all};
use tokio::time::{Instant, sleep_until};

use super::memory::Place;
use super::offer::Asked;
use super::{Error, Registry, reads};
use crate::Call;
use crate::store::{Freshness, Lapse, Meant, Removed, Renewal, Renewed, Under, withdrawn_until};
use portmaster_domain::allocator::Holder;
use portmaster_domain::{
    Claim, ClaimState, Expiry, Holding, InstanceName, Port, PortRange, Secret, Service, ServiceId, StateKind, Terms,
    Timestamp,
};

/// How long a claim waits for a deletion or a shrinking to end, either way.
const CLOSING: Duration = Duration::from_secs(2);

/// What a claim is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// An offer.
    Offer,
    /// A port, for so many seconds if the caller says so.
    Port { lease: Option<u32> },
}

/// See the module.
pub(super) struct Scene<'a> {
    pub(super) registry: &'a Registry,
    pub(super) call: &'a Call,
    pub(super) service: &'a ServiceId,
    pub(super) place: Place,
    /// The end of a lease of the same owner that a faster clock made gone. See [`Scene::now`].
    pub(super) not_before: Option<Timestamp>,
    /// Whether one of this call's claims may follow a lease that, by a slower clock, its holder may still rely on.
    pub(super) follows: bool,
}

/// How a name may be claimed while, by some clock, its owner may still rely on a lease of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Early {
    /// The lease that the claim is to have, in seconds.
    pub(super) lease: u32,
    /// When the earlier lease ends, if a faster clock has made it gone.
    pub(super) not_before: Option<Timestamp>,
}

/// The outcome of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// The claim is gone, and nobody was told of it.
    Now,
    /// It was gone already.
    Before,
    /// It is somebody's by now, and was left alone.
    Not(Claim),
}

impl<'a> Scene<'a> {
    pub(super) fn new(registry: &'a Registry, call: &'a Call, service: &'a ServiceId) -> Self {
        Self { registry, call, service, place: registry.memory.place(service), not_before: None, follows: false }
    }

    /// The time of a claim: what this process's clock shows, or the end of a lease that a faster clock has found over.
    ///
    /// So a claim always ends later than the lease that it follows, also if it is withdrawn at once; and until the margin
    /// after that, nobody but the same owner gets the name. No clock within the margin is behind a time that another one
    /// has shown by more than that.
    pub(super) fn now(&self) -> Timestamp {
        self.not_before.map_or_else(|| self.registry.now(), |end| self.registry.now().max(end))
    }

    /// Earlier than the time of a claim by the margin.
    pub(super) fn past(&self) -> Timestamp {
        self.now().minus_seconds(self.registry.margin)
    }

    /// How this caller may claim the name of an allocation whose lease is over by this clock, or was made gone by a
    /// faster one, before that is so by every clock. None: it has to wait.
    ///
    /// Only the same owner may, as it is the same holder, and only with a lease. What is not leased may end at any time,
    /// and if it is on another port, nothing would show any more that the name's holder may still rely on the old one.
    pub(super) fn early(&self, asked: &Asked, goal: Goal, claim: &Claim) -> Option<Early> {
        let Goal::Port { lease } = goal else { return None };
        if claim.owner != asked.owner {
            return None;
        }
        let had = claim.lease().map(|lease| lease.seconds.max(1));
        let lease = self.place.terms().grant(lease).or(had)?;
        let not_before = claim.state.lapsed_at().map(Expiry::instant);
        Some(Early { lease, not_before })
    }

    /// Keeps to that in every claim of this call from now on.
    pub(super) fn claim_early(&mut self, Early { lease, not_before }: Early, goal: &mut Goal) {
        *goal = Goal::Port { lease: Some(lease) };
        self.not_before = self.not_before.max(not_before);
        self.follows = true;
    }

    /// A claim on this port, as it is to stand. A PUT with a lease claims an allocation; without one it claims an offer,
    /// which it accepts: should this process die before it tells anybody, nothing else would end it.
    pub(super) fn new_claim(&self, asked: &Asked, goal: Goal, port: Port) -> Holding {
        let now = self.now();
        let terms = self.place.terms();
        let offered = ClaimState::Offered { expires_at: Expiry::after(now, self.registry.offer_seconds.into()) };
        let grant = match goal {
            Goal::Offer => None,
            Goal::Port { lease } => terms.grant(lease),
        };
        let state = match grant {
            Some(seconds) => {
                let lease = Some(terms.lease_from(now, seconds, self.registry.margin));
                ClaimState::Allocated { accepted: now, lease }
            }
            None => offered,
        };
        let claim = Claim {
            service: self.service.name.clone(),
            name: asked.name.clone(),
            port,
            created: now,
            state,
            owner: asked.owner.clone(),
            labels: asked.labels.clone().unwrap_or_default(),
            principal: self.call.principal().cloned(),
            terms,
            confirmed: false,
            by_put: goal != Goal::Offer && grant.is_none(),
        };
        Holding { claim, secret: Secret::generate(port) }
    }

    /// The refusal of a name that has this claim.
    pub(super) fn name_has(&self, claim: Claim) -> Error {
        let claim = claim.seen_at(self.registry.now());
        let free_at = claim.state.lapsed_at().map(|until| until.plus(self.registry.margin));
        Error::NameTaken { service: self.service.clone(), claim: Box::new(claim), free_at }
    }

    /// Reads the service.
    pub(super) async fn current_service(&self) -> Result<Service, Error> {
        match self.registry.table.service(self.call, self.service).await? {
            Some(service) => {
                self.place.remember(&service);
                Ok(service)
            }
            None => {
                self.place.forget();
                Err(self.registry.no_service(self.call, self.service).await)
            }
        }
    }

    /// Reads the service until some range is on offer, and returns that range.
    pub(super) async fn read_service(&self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.current_service().await?;
            if let Some(range) = service.offered_range() {
                return Ok(range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    /// Returns the range once no part of it is being given up: that part may come back.
    pub(super) async fn read_whole_service(&self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.current_service().await?;
            if service.mark.is_none() {
                return Ok(service.range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    /// Until when this call waits for another one that is deleting or shrinking the service.
    pub(super) fn patience(&self) -> Instant {
        (Instant::now() + CLOSING).min(self.call.deadline())
    }

    /// Waits a little while another call is deleting or shrinking the service.
    pub(super) async fn wait_for_change(&self, patience: Instant) -> Result<(), Error> {
        let until = Instant::now() + self.registry.chance.pause(20..60);
        if until >= patience {
            return Err(Error::ServiceClosing { service: self.service.clone() });
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Waits a little before another try.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(self.registry.chance.pause(5..25)).await;
    }

    /// Reads windows, and the hint along with them where it may help. One round trip.
    pub(super) async fn read_windows(
        &self,
        parts: impl Iterator<Item = PortRange>,
        wants_hint: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let looks = parts.map(|part| self.registry.read_window(self.call, &self.service.namespace, part));
        let hint =
            async { if wants_hint { self.registry.table.hint(self.call, self.service).await } else { Ok(None) } };
        let (windows, hint) = try_join(try_join_all(looks), hint.map_err(Error::from)).await?;
        let seen = self.registry.clock.now();
        self.place.learn(|knowledge| {
            // The windows are newer than the hint.
            if let Some(hint) = &hint {
                knowledge.apply_hint(hint, seen);
            }
            for (covered, holders) in &windows {
                knowledge.observe(*covered, holders, now, seen);
            }
        });
        Ok(())
    }

    /// Reads a whole range consistently.
    pub(super) async fn read_everything(&self, range: PortRange) -> Result<reads::Everything, Error> {
        let asked = self.registry.clock.now();
        let namespace = &self.service.namespace;
        let everything = self.registry.read_everywhere(self.call, namespace, range, Freshness::Consistent).await?;
        let seen = self.registry.clock.now();
        self.place.learn(|knowledge| knowledge.observe(range, &everything.holders(), asked, seen));
        Ok(everything)
    }

    /// Whether a cool-down is of this name.
    pub(super) fn is_cooling_for(&self, name: &InstanceName, claim: &Claim) -> bool {
        claim.state.kind() == StateKind::Cooling && (&claim.service, &claim.name) == (&self.service.name, name)
    }

    /// Whether a holder of the name may still rely on the port by what it was told: its lease was made gone early, and by
    /// another clock its time may still run.
    pub(super) fn is_gone_early(&self, name: &InstanceName, claim: &Claim) -> bool {
        self.is_cooling_for(name, claim)
            && claim.state.lapsed_at().is_some_and(|told| !told.has_passed(self.registry.past()))
    }

    /// How a claim may be made gone for this caller, if its lease is over: at once for the same owner, and for another
    /// once the margin is over, too.
    pub(super) fn lapse_of(&self, asked: &Asked, claim: &Claim) -> Option<Lapse> {
        let (now, past) = (self.registry.now(), self.registry.past());
        let lease = claim.lease()?;
        if lease.until.has_passed(past) {
            Some(Lapse::Over(past))
        } else if lease.until.has_passed(now) && claim.owner == asked.owner {
            Some(Lapse::Own(now))
        } else {
            None
        }
    }

    /// Whether a PUT may take this claim for its own: a port of the same owner, or the offer that an earlier PUT of the
    /// same owner left behind. An offer that was asked for as such is its caller's to accept, who alone has the secret.
    pub(super) fn may_adopt(&self, asked: &Asked, claim: &Claim) -> bool {
        let now = self.registry.now();
        claim.owner == asked.owner
            && asked.port.is_none_or(|port| port == claim.port)
            && (claim.is_allocation(now) || (claim.by_put && claim.is_offer(now)))
    }

    /// Renews what a name has, and returns it to be told. It was confirmed, and the write says so: whoever made it and
    /// has told nobody may not withdraw it any more. `agreed` are the terms of the service. Returns none if it is gone.
    pub(super) async fn extend(
        &self,
        asked: &Asked,
        Holding { claim, secret }: &Holding,
        lease: Option<u32>,
        agreed: Terms,
    ) -> Result<Option<Claim>, Error> {
        // What its maker had not seen of the service applies to a claim of which nobody was told.
        let terms = if claim.confirmed { claim.terms } else { agreed };
        let mut under =
            Under { found: claim.terms, ..Under::of(terms, again(claim, lease, terms), self.registry.margin) };
        loop {
            let renewal = Renewal {
                port: claim.port,
                meant: Meant::Secret { secret: *secret, confirms: true },
                owner: asked.owner.as_ref(),
                under,
                labels: asked.labels.as_ref(),
            };
            let found = match self.registry.table.renew(self.call, self.service, &renewal, &self.registry.clock).await?
            {
                Renewed::Now(claim) => return Ok(Some(claim)),
                Renewed::Not(found) => found.filter(|found| found.has(*secret)),
            };
            match found {
                // Its time is longer already, or has no end, and stays as it is.
                Some(found)
                    if under.seconds.is_some()
                        && found.claim.terms == under.found
                        && found.claim.is_allocation(self.registry.now()) =>
                {
                    if found.claim.confirmed && asked.labels.is_none() {
                        return Ok(Some(found.claim));
                    }
                    (under.seconds, under.stays) = (None, found.claim.lease());
                }
                _ => return Ok(None),
            }
        }
    }

    /// Withdraws a claim of which no caller was told, unless it is somebody's by now. Of an allocation, a cool-down stays
    /// if it may follow a lease that still runs by a slower clock: this call knows that of its own claims only.
    pub(super) async fn withdraw(&self, call: &Call, holding: &Holding, is_ours: bool) -> Result<Withdrawn, Error> {
        let Holding { claim, secret } = holding;
        let (table, clock, margin) = (&self.registry.table, &self.registry.clock, self.registry.margin);
        let is_allocated = claim.state.kind() == StateKind::Allocated;
        if is_allocated && claim.confirmed {
            return Ok(Withdrawn::Not(claim.clone()));
        }
        let cools = is_allocated && (self.follows || !is_ours);
        let removed = if is_allocated {
            let cooled = cools.then_some(margin);
            table.withdraw(call, &self.service.namespace, holding, cooled).await?
        } else {
            table.reject(call, self.service, claim.port, *secret, clock).await?
        };
        Ok(match removed {
            Removed::Now => {
                self.place.learn(|knowledge| match withdrawn_until(claim, margin) {
                    (_, until) if cools => knowledge.record_hold(claim.port, until),
                    _ => knowledge.record_free(claim.port),
                });
                Withdrawn::Now
            }
            Removed::Not(Some(found)) if found.has(*secret) => Withdrawn::Not(found.claim),
            Removed::Not(found) => {
                let now = self.registry.now();
                self.place.learn(|knowledge| match &found {
                    Some(found) => knowledge.observe_holder(Holder::from(&found.claim), now),
                    None => knowledge.record_free(claim.port),
                });
                Withdrawn::Before
            }
        })
    }
}

/// Records when a claim began that was made a moment ago, if it is an allocation.
pub(super) fn begin(holding: &mut Holding, began: Option<Timestamp>) {
    if let (ClaimState::Allocated { accepted, .. }, Some(began)) = (&mut holding.claim.state, began) {
        *accepted = began;
    }
}

/// For how many seconds an allocation is renewed: for as many as are asked for, within its terms, or else for as many as
/// the last time. None: it has no end, and is given none.
pub(super) fn again(claim: &Claim, asked: Option<u32>, Terms { max_lease, .. }: Terms) -> Option<u32> {
    let lease = claim.lease()?;
    let wanted = asked.unwrap_or(lease.seconds).max(1);
    Some(max_lease.map_or(wanted, |max| wanted.min(max)))
}
