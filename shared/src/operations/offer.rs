//! Making an offer.
//!
//! Act on the memory, confirm at the source. The claim comes first, on a port that the memory believes free; then the
//! Service is read consistently. If it is gone, closing, or no longer covers the port, the claim is withdrawn. A deleter
//! does the mirror image: it marks the service, *then* looks for live claims. Whichever comes second sees the first, so
//! no offer that anybody was told of outlives its service, and there is no lock that all offers would have to share.

use std::time::Duration;

use futures::future::{TryFutureExt as _, join, try_join, try_join_all};
use tokio::time::{Instant, sleep_until, timeout};

use super::memory::{Full, Place, Reservation};
use super::reads::{holder, unknown};
use super::{Error, Occupancy, Registry};
use crate::allocator::{Hint, Holder, Knowledge, Proposal, Search};
use crate::domain::{
    Claim, ClaimState, Expiry, Fingerprint, Holding, IdempotencyKey, InstanceName, Namespace, Port, PortRange, Secret,
    Service, ServiceName, Timestamp,
};
use crate::store::{
    Call, ClaimWrite, Claimed, Losses, NameRule, Pointer, Reason, Removed, Replay, RequestKey, RequestWrite, Sighting,
};

/// How long an offer waits for a deletion or a shrinking to end, one way or the other.
const CLOSING: Duration = Duration::from_secs(2);

/// How long a claim waits for its hint to be written: as long as it takes itself, more or less.
const TELLING: Duration = Duration::from_millis(100);

/// An offer, and whether its caller had it before.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The offer.
    pub holding: Holding,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// One offer in the making.
struct Attempt<'a> {
    registry: &'a Registry,
    call: &'a Call,
    namespace: &'a Namespace,
    service: &'a ServiceName,
    name: &'a InstanceName,
    place: Place,
    search: Option<Search>,
    /// On what grounds the name may be written, as far as is known.
    rule: NameRule,
    /// The name's last claim, while its port is being tried again.
    affinity: Option<Pointer>,
    request: Option<RequestWrite>,
    /// What this call saw of the whole range and others do not know yet.
    hint: Option<Hint>,
    /// Claims of this very call whose fate is not certain. A transaction that was given up as lost may yet arrive; the
    /// name then points to it, and it is ours.
    made: Vec<Holding>,
}

/// A whole range, as it was read.
struct Everything {
    /// When the read began.
    asked: Instant,
    claims: Vec<Sighting>,
    /// Ports whose items cannot be read: somebody may hold them.
    unreadable: usize,
}

impl Everything {
    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Sighting> {
        self.claims.iter().filter(move |claim| claim.is_live(now))
    }

    fn is_full(&self, range: PortRange, now: Timestamp) -> bool {
        self.live(now).count() + self.unreadable >= range.size()
    }
}

/// What the search came to.
enum Choice {
    /// A port to claim.
    Port(Reservation),
    /// No port is free, but the request's offer was made before, by another one with its key or by this very one.
    Found { holding: Box<Holding>, replayed: bool },
}

/// What follows from a claim that was not made.
enum Next {
    Again,
    /// It was made after all, earlier.
    Ours(Box<Holding>),
    /// Another request with this key has made it.
    Replayed(Box<Holding>),
}

impl Next {
    fn found(self) -> Option<Choice> {
        match self {
            Self::Again => None,
            Self::Ours(holding) => Some(Choice::Found { holding, replayed: false }),
            Self::Replayed(holding) => Some(Choice::Found { holding, replayed: true }),
        }
    }
}

impl Registry {
    /// Offers a port to an instance.
    ///
    /// A new name, warm: one transaction of two items and one consistent read, whatever the range and however full.
    ///
    /// # Errors
    /// [`Error::ServiceNotFound`], [`Error::NameTaken`], [`Error::RangeExhausted`], [`Error::IdempotencyKeyReused`],
    /// [`Error::ServiceClosing`], and [`Error::Store`].
    pub async fn offer(
        &self,
        call: &Call,
        namespace: &Namespace,
        service: &ServiceName,
        name: &InstanceName,
        key: Option<&IdempotencyKey>,
    ) -> Result<Offered, Error> {
        let request = key.map(|key| RequestWrite {
            key: RequestKey { digest: key.digest(), fingerprint: Fingerprint::of(&[name.as_str()]) },
            replaces: None,
        });
        let place = self.memory.place(namespace, service);
        let attempt = Attempt {
            registry: self,
            call,
            namespace,
            service,
            name,
            place,
            search: None,
            rule: NameRule::Free,
            affinity: None,
            request,
            hint: None,
            made: Vec::new(),
        };
        attempt.run().await
    }
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Offered, Error> {
        loop {
            let range = match self.place.range() {
                Some(range) => range,
                None => self.read_service().await?,
            };
            let candidate = match self.affinity {
                Some(pointer) if range.contains(pointer.port) => Choice::Port(self.place.reservation(pointer.port)),
                _ => self.choose().await?,
            };
            let candidate = match candidate {
                Choice::Port(candidate) => candidate,
                Choice::Found { holding, replayed } if self.confirm(&holding, replayed).await? => {
                    return Ok(Offered { holding: *holding, replayed });
                }
                Choice::Found { .. } => continue,
            };
            let holding = self.new_claim(candidate.port);
            self.made.push(holding.clone());
            self.call.count(|meter| meter.tries += 1);
            let sent = Instant::now();
            let write = ClaimWrite {
                namespace: self.namespace,
                holding: &holding,
                name: match self.rule {
                    // The dead claim is on this very port, and will be overwritten.
                    NameRule::Dead(at, _) if at == candidate.port => NameRule::Free,
                    rule => rule,
                },
                request: self.request.as_ref(),
                now: self.registry.clock.now(),
            };
            // The hint goes along with the claim, so nobody waits for it.
            let claimed = match join(self.registry.table.claim(self.call, &write), self.tell()).await.0 {
                Ok(claimed) => claimed,
                Err(error) => {
                    // It may stand all the same. With a key it will be found again; without one, nobody can.
                    if self.request.is_none() {
                        let _ = self.withdraw(&holding).await;
                    }
                    return Err(error.into());
                }
            };
            let next = match claimed {
                Claimed::Made => {
                    let (holder, now) = (Holder::from(&holding.claim), self.registry.clock.now());
                    let round_trip = sent.elapsed().as_secs_f64() * 1000.0;
                    self.place.learn(|knowledge| knowledge.claimed(holder, round_trip, now));
                    Next::Ours(Box::new(holding))
                }
                Claimed::Lost(losses) => self.learn(candidate.port, *losses).await?,
            };
            self.hint = None;
            drop(candidate);
            let (holding, replayed) = match next {
                Next::Again => continue,
                Next::Ours(holding) => (holding, false),
                Next::Replayed(holding) => (holding, true),
            };
            if self.confirm(&holding, replayed).await? {
                return Ok(Offered { holding: *holding, replayed });
            }
        }
    }

    /// Tells other processes what this call saw of the whole range. Whether that succeeds does not matter.
    async fn tell(&self) {
        let Some(hint) = &self.hint else { return };
        let put = self.registry.table.put_hint(self.call, self.namespace, self.service, hint);
        let _ = timeout(TELLING, put).await;
    }

    fn new_claim(&self, port: Port) -> Holding {
        let now = self.registry.clock.now();
        let claim = Claim {
            service: self.service.clone(),
            name: self.name.clone(),
            port,
            state: ClaimState::Offered,
            created: now,
            accepted: None,
            expires_at: Some(Expiry::after(now, self.registry.offer_seconds.into())),
        };
        Holding { claim, secret: Secret::generate(port) }
    }

    /// Reads the service; gives the range that is on offer, once some is.
    async fn read_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.look_at_service().await?;
            if let Some(range) = service.offered_range() {
                return Ok(range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    /// The range, once nobody is giving up a part of it: that may come back.
    async fn read_whole_service(&mut self) -> Result<PortRange, Error> {
        let patience = self.patience();
        loop {
            let service = self.look_at_service().await?;
            if service.mark.is_none() {
                return Ok(service.range);
            }
            self.wait_for_change(patience).await?;
        }
    }

    async fn look_at_service(&self) -> Result<Service, Error> {
        match self.registry.table.service(self.call, self.namespace, self.service).await? {
            Some(service) => {
                self.place.saw(&service);
                Ok(service)
            }
            None => {
                self.place.forget();
                Err(Error::ServiceNotFound { service: self.service.clone() })
            }
        }
    }

    fn patience(&self) -> Instant {
        (Instant::now() + CLOSING).min(self.call.deadline())
    }

    /// Somebody is deleting or shrinking the service: waits a little.
    async fn wait_for_change(&self, patience: Instant) -> Result<(), Error> {
        let until = Instant::now() + self.registry.chance.pause(20..60);
        if until >= patience {
            return Err(Error::ServiceClosing { service: self.service.clone() });
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Asks the allocator, and reads what it wants read.
    async fn choose(&mut self) -> Result<Choice, Error> {
        loop {
            let Some((range, strategy)) = self.place.range().zip(self.place.strategy()) else {
                self.read_service().await?;
                continue;
            };
            let search = self.search.get_or_insert_with(|| Search::new(strategy, self.name.clone()));
            let now = self.registry.clock.now();
            let proposed = self.registry.chance.draw(|random| {
                self.place.with(|remembered| {
                    let wants_hint = remembered.knowledge.wants_hint(search);
                    (remembered.knowledge.propose(search, random, now), wants_hint)
                })
            });
            match proposed {
                None => {}
                Some((Proposal::Candidate(port), _)) => return Ok(Choice::Port(self.place.reservation(port))),
                Some((Proposal::Look(part, other), wants_hint)) => {
                    let parts = std::iter::once(part).chain(other);
                    let looks = parts.map(|part| self.registry.look(self.call, self.namespace, part));
                    let hint = async {
                        let table = &self.registry.table;
                        if wants_hint { table.hint(self.call, self.namespace, self.service).await } else { Ok(None) }
                    };
                    let (windows, hint) = try_join(try_join_all(looks), hint.map_err(Error::from)).await?;
                    let seen = self.registry.clock.now();
                    self.place.learn(|knowledge| {
                        // The windows are newer.
                        if let Some(hint) = &hint {
                            knowledge.told(hint, seen);
                        }
                        for (covered, holders) in &windows {
                            knowledge.saw(*covered, holders, now, seen);
                        }
                    });
                }
                Some((Proposal::LookAll, _)) => {
                    let everything = self.see_everything(range).await?;
                    if !everything.is_full(range, self.registry.clock.now()) {
                        self.hint = self.place.with(|remembered| remembered.knowledge.hint(now));
                        continue;
                    }
                    // The read was consistent, so where it is the service's whole range it need not be read again. For
                    // the mark see `just_exhausted`.
                    let service = self.look_at_service().await?;
                    if service.mark.is_none()
                        && service.range == range
                        && let Some(found) = self.exhausted(range, &everything).await?
                    {
                        return Ok(found);
                    }
                }
                Some((Proposal::Full, _)) => {
                    if let Some(found) = self.just_exhausted(range).await? {
                        return Ok(found);
                    }
                    if let Some(found) = self.make_sure_of_exhaustion().await? {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Reads a whole range consistently.
    async fn see_everything(&self, range: PortRange) -> Result<Everything, Error> {
        let (began, asked) = (Instant::now(), self.registry.clock.now());
        let (claims, unreadable) = self.registry.look_everywhere(self.call, self.namespace, range).await?;
        let holders: Vec<_> = claims.iter().map(holder).chain(unreadable.iter().map(|port| unknown(*port))).collect();
        let seen = self.registry.clock.now();
        self.place.learn(|knowledge| knowledge.saw(range, &holders, asked, seen));
        Ok(Everything { asked: began, claims, unreadable: unreadable.len() })
    }

    /// This process has read the whole range a moment ago, and it was full: then that is the answer, unless the service
    /// has changed, or the name or the key have one of the ports. A caller that insists would otherwise cost a read of
    /// everything each time.
    async fn just_exhausted(&mut self, range: PortRange) -> Result<Option<Choice>, Error> {
        let Some(full) = self.place.full(range, self.registry.clock.now(), self.registry.full_for) else {
            return Ok(None);
        };
        let service = self.look_at_service().await?;
        // Under a mark it waits for the outcome, which may give the caller a better answer. That the range is full
        // would be true all the same, since that is how it was read, so only the wait shows that the mark is asked.
        if service.mark.is_some() || service.range != range {
            return Ok(None);
        }
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        let now = self.registry.clock.now();
        let seconds_to_next_expiry = full.until.map(|until| until.seconds_left(now));
        let occupancy = Occupancy { seconds_to_next_expiry, remembered: true, ..full.occupancy };
        Err(Error::RangeExhausted { service: self.service.clone(), occupancy })
    }

    /// The service and its whole range are read consistently, to be sure.
    async fn make_sure_of_exhaustion(&mut self) -> Result<Option<Choice>, Error> {
        let range = self.read_whole_service().await?;
        let everything = self.see_everything(range).await?;
        if everything.is_full(range, self.registry.clock.now()) {
            return self.exhausted(range, &everything).await;
        }
        // There is a free port; if only ones that other calls here are trying, then after them.
        if let Some(search) = &mut self.search {
            search.insist();
        }
        tokio::time::sleep(self.registry.chance.pause(1..20)).await;
        Ok(None)
    }

    /// The whole range is taken. The name may hold one of the ports itself, or the key may have made one of the offers;
    /// then that is the answer.
    async fn exhausted(&mut self, range: PortRange, everything: &Everything) -> Result<Option<Choice>, Error> {
        if let Some(found) = self.has_one_of_them().await? {
            return Ok(Some(found));
        }
        let now = self.registry.clock.now();
        let live = || everything.live(now);
        let own = |state| live().filter(|claim| claim.service == *self.service && claim.state == state).count();
        let (offered, allocated) = (own(ClaimState::Offered), own(ClaimState::Allocated));
        let until = live().filter_map(|claim| claim.expires_at).min();
        let occupancy = Occupancy {
            size: range.size(),
            offered,
            allocated,
            foreign: live().count() + everything.unreadable - offered - allocated,
            seconds_to_next_expiry: until.map(|until| until.seconds_left(now)),
            remembered: false,
        };
        self.place.saw_full(Full { range, asked: everything.asked, occupancy, until });
        Err(Error::RangeExhausted { service: self.service.clone(), occupancy })
    }

    /// The claim that the key or the name have: where the range is full, no claim is sent whose condition would tell.
    async fn has_one_of_them(&mut self) -> Result<Option<Choice>, Error> {
        if let Some(found) = self.made_by_key().await?.and_then(Next::found) {
            return Ok(Some(found));
        }
        if let Some(pointer) = self.registry.table.pointer(self.call, self.namespace, self.service, self.name).await? {
            let judged = self.judge_old_claim(pointer).await?;
            if let Some(found) = judged.and_then(Next::found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What follows from the reasons for which a claim on `port` was not made.
    async fn learn(&mut self, port: Port, losses: Losses) -> Result<Next, Error> {
        let Losses { port: port_reason, name, request, dead } = losses;
        if let Reason::Failed(Some(replay)) = &request
            && let Some(next) = self.learn_of_request(replay.clone()).await?
        {
            return Ok(next);
        }
        if let (Reason::Failed(_), NameRule::Dead(at, secret)) = (&dead, self.rule) {
            // It was removed, overwritten or accepted meanwhile; look again what holds now.
            let pointer = Pointer { port: at, secret, gone_since: None };
            if let Some(next) = self.judge_old_claim(pointer).await? {
                return Ok(next);
            }
        }
        let name_failed = name.is_failed();
        if matches!(name, Reason::Contended)
            || matches!(request, Reason::Contended)
            || matches!(dead, Reason::Contended)
        {
            self.pause().await;
        }
        match name {
            Reason::None | Reason::Contended | Reason::Throttled => {}
            Reason::Failed(None) => self.rule = NameRule::Free,
            Reason::Failed(Some(pointer)) => {
                if let Some(ours) = self.made.iter().find(|made| made.secret == pointer.secret) {
                    // A claim of ours that arrived after all. Only its Port item says that it stands.
                    let found = self.registry.table.settled_port(self.call, self.namespace, pointer.port).await?;
                    if found.is_some_and(|found| found.secret == pointer.secret) {
                        return Ok(Next::Ours(Box::new(ours.clone())));
                    }
                    self.rule = NameRule::Gone(pointer.secret);
                } else if self.place.range().is_some_and(|range| range.contains(pointer.port)) && pointer.port != port {
                    // Affinity: the port this name had, if nobody else has it.
                    self.affinity = Some(pointer);
                    self.rule = NameRule::Free;
                } else if let Some(next) = self.judge_old_claim(pointer).await? {
                    return Ok(next);
                }
            }
        }
        let now = self.registry.clock.now();
        match port_reason {
            Reason::None | Reason::Throttled => {}
            Reason::Contended => {
                self.lost(|knowledge| knowledge.contended(port, now));
                if self.affinity.is_some() {
                    self.pause().await;
                }
            }
            Reason::Failed(None) => {
                self.lost(|knowledge| knowledge.learn(unknown(port), now));
                if let Some(pointer) = self.affinity.filter(|pointer| pointer.port == port)
                    && let Some(next) = self.judge_old_claim(pointer).await?
                {
                    return Ok(next);
                }
            }
            Reason::Failed(Some(holding)) => {
                let affinity = self.affinity.filter(|pointer| pointer.port == port && !name_failed);
                if affinity.is_some_and(|pointer| pointer.secret == holding.secret) {
                    return self.name_taken(holding).await;
                }
                let holder = Holder::from(&holding.claim);
                match affinity {
                    // Another holder has the port the name had. That tells nothing of a crowd.
                    Some(pointer) => {
                        self.place.learn(|knowledge| knowledge.learn(holder, now));
                        if let Some(next) = self.judge_old_claim(pointer).await? {
                            return Ok(next);
                        }
                    }
                    None => self.lost(|knowledge| knowledge.learn(holder, now)),
                }
            }
        }
        Ok(Next::Again)
    }

    /// The key was used before.
    async fn learn_of_request(&mut self, replay: Replay) -> Result<Option<Next>, Error> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let found = self.registry.table.settled_port(self.call, self.namespace, replay.port).await?;
        let now = self.registry.clock.now();
        let Some(mut holding) = found.filter(|found| found.secret == replay.secret && found.claim.is_live(now)) else {
            // What it made is dead, so the key is as good as new.
            request.replaces = Some(replay.secret);
            return Ok(None);
        };
        if request.key.fingerprint != replay.fingerprint {
            return Err(Error::IdempotencyKeyReused);
        }
        // The same offer again, as it was given, even where it has been accepted since.
        holding.claim.expires_at = replay.offered_until;
        let ours = self.made.iter().any(|made| made.secret == holding.secret);
        Ok(Some(if ours { Next::Ours(Box::new(holding)) } else { Next::Replayed(Box::new(holding)) }))
    }

    /// The name had a claim on a port that is not to be tried again: is it live, dead, or gone?
    async fn judge_old_claim(&mut self, pointer: Pointer) -> Result<Option<Next>, Error> {
        self.affinity = None;
        let found = self.registry.table.settled_port(self.call, self.namespace, pointer.port).await?;
        let now = self.registry.clock.now();
        self.rule = match found.filter(|found| found.secret == pointer.secret) {
            None => NameRule::Gone(pointer.secret),
            Some(holding) if holding.claim.is_live(now) => return self.name_taken(holding).await.map(Some),
            Some(_) => NameRule::Dead(pointer.port, pointer.secret),
        };
        Ok(None)
    }

    /// The name has a live claim: that is the answer, unless this very call made it (a transaction that was given up as
    /// lost has arrived), or this request's key.
    async fn name_taken(&mut self, found: Holding) -> Result<Next, Error> {
        if let Some(ours) = self.made.iter().find(|made| made.secret == found.secret) {
            return Ok(Next::Ours(Box::new(ours.clone())));
        }
        match self.made_by_key().await? {
            Some(next) => Ok(next),
            None => Err(Error::NameTaken { claim: Box::new(found.claim) }),
        }
    }

    /// What this request's key made, if it was sent with one, the key is remembered, and the claim is live.
    async fn made_by_key(&mut self) -> Result<Option<Next>, Error> {
        let Some(request) = &self.request else { return Ok(None) };
        let made = self.registry.table.request(self.call, self.namespace, self.service, &request.key).await?;
        let now = self.registry.clock.now();
        match made.filter(|made| !made.expires_at.has_passed(now)) {
            Some(replay) => self.learn_of_request(replay).await,
            None => Ok(None),
        }
    }

    fn lost(&mut self, learn: impl FnOnce(&mut Knowledge)) {
        self.call.count(|meter| meter.lost_races += 1);
        self.place.learn(learn);
        if let Some(search) = &mut self.search {
            search.lost();
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(self.registry.chance.pause(5..25)).await;
    }

    /// The look after the claim. Gives whether the offer stands; if not, it has been withdrawn, and another may be made.
    ///
    /// Only who made a claim takes it back: who was merely shown it cannot know what its maker has told.
    async fn confirm(&mut self, holding: &Holding, replayed: bool) -> Result<bool, Error> {
        let patience = self.patience();
        loop {
            let service = match self.look_at_service().await {
                Ok(service) => service,
                Err(error) => {
                    // Nobody will be told of the offer. With a key it may be found again, so it stays while its service
                    // may exist.
                    if self.request.is_none() || (matches!(error, Error::ServiceNotFound { .. }) && !replayed) {
                        let _ = self.withdraw(holding).await;
                    }
                    return Err(error);
                }
            };
            let port = holding.claim.port;
            if service.may_offer(port) {
                return Ok(true);
            }
            if !service.range.contains(port) {
                if replayed && service.mark.is_none() {
                    // Its maker has died, or is about to take it back.
                    return Err(Error::NameTaken { claim: Box::new(holding.claim.clone()) });
                }
                if !replayed {
                    self.withdraw(holding).await?;
                    return Ok(false);
                }
            }
            // The port is being given up. If the claim came before the other's look, the mark will go.
            if let Err(error) = self.wait_for_change(patience).await {
                if self.request.is_none() {
                    let _ = self.withdraw(holding).await;
                }
                return Err(error);
            }
        }
    }

    /// Takes back a claim that nobody was told of. From then on it is gone, and the name's pointer stale.
    async fn withdraw(&mut self, holding: &Holding) -> Result<(), Error> {
        let port = holding.claim.port;
        let call = self.call.extended();
        let clock = &self.registry.clock;
        let removed =
            self.registry.table.reject(&call, self.namespace, self.service, port, holding.secret, clock).await?;
        if let Removed::Not(Some(found), _) = removed
            && found.secret == holding.secret
        {
            // A claim found by its key that its holder has accepted: not ours to take back.
            return Err(Error::NameTaken { claim: Box::new(found.claim) });
        }
        self.place.learn(|knowledge| knowledge.freed(port));
        self.made.retain(|made| made.secret != holding.secret);
        self.affinity = None;
        self.rule = NameRule::Gone(holding.secret);
        if let Some(request) = &mut self.request {
            request.replaces = Some(holding.secret);
        }
        Ok(())
    }
}
