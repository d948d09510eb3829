//! Port sets: several names of one service, whose ports are claimed in one transaction.
//!
//! A set takes the steps of a PUT (see `offer`), for all of its names at once: choose ports, claim them, look at the
//! service, tell. Two sets can therefore never hold half of what the other needs. A name whose port is the same owner's
//! keeps it; so a retry finds what the call before it made. Once it stands, each member is a port like any other.
//!
//! What is different from a single claim:
//! - A loss concerns some of the ports. The others are kept as candidates, unless the ports are to be neighbours.
//! - The names' earlier claims are judged before the next try, instead of trying their ports and learning from that: a
//!   failed transaction of many items costs more than a read.

use std::collections::BTreeSet;

use futures::future::{join_all, try_join_all};

use super::memory::Reservation;
use super::scene::{Early, Goal, Scene, Withdrawn, begin};
use super::{Asked, Error, Occupancy, Registry};
use crate::Call;
use crate::store::{ClaimWrite, Claimed, Instance, Lapse, Losses, NameRule, Reason, Removed, Under};
use portmaster_domain::allocator::{Holder, PortSet, Proposal, SetSearch};
use portmaster_domain::{
    Claim, Holding, InstanceName, Labels, Occupant, Owner, Port, Secret, Service, ServiceId, StateKind, Strategy, Terms,
};

/// A set that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSet {
    /// The names, 2 to 32, all different.
    pub names: Vec<InstanceName>,
    /// In whose name it is asked for.
    pub owner: Option<Owner>,
    /// For how many seconds, if the caller says so.
    pub lease: Option<u32>,
    /// Whether the ports are to be neighbours, in the order of the names.
    pub contiguous: bool,
    /// What is to be noted beside each claim.
    pub labels: Option<Labels>,
}

impl NewSet {
    /// How many names one has at most: with two parts for each, and a third for a dead claim in the way, a transaction
    /// stays below DynamoDB's limit of 100.
    pub const MAX: usize = 32;
}

/// A set that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The ports, in the order of the names.
    pub claims: Vec<Claim>,
    /// How many of them this call made; the names had the others.
    pub made: usize,
}

/// One name of a set in the making.
struct Member {
    asked: Asked,
    goal: Goal,
    rule: NameRule,
    /// The name's last claim, once it was met.
    last: Option<Instance>,
    /// The port that the name had, while it is tried again.
    wish: Option<Port>,
    /// Whether that port is not to be tried again.
    gave_up_wish: bool,
    /// What the name has: a claim of the same owner, or of this call.
    has: Option<Holding>,
    /// Whether this call made it.
    is_ours: bool,
    /// The secrets of this call's claims whose outcome is not certain.
    made: Vec<Secret>,
}

/// A set in the making.
struct Attempt<'a> {
    scene: Scene<'a>,
    set: &'a NewSet,
    members: Vec<Member>,
    search: Option<SetSearch>,
    /// This call's claims, from when they are known to have been made until they are withdrawn: whatever becomes of the
    /// call, they are its own to take back.
    claimed: Vec<Holding>,
    /// Whether the names were looked up because there is no room.
    looked_up: bool,
}

/// What an earlier claim of a name means for the set.
enum Judged {
    /// The same owner's, or this call's: the name has a port.
    Has(Holding),
    /// The name may have this port again.
    MayReturn,
    /// The name may be written under this rule, on any port.
    Rule(NameRule),
}

impl Registry {
    /// Makes sure that every one of several names has a port: gives ports to those that have none, all of them or none,
    /// and renews those that the same owner has.
    ///
    /// With a lease, new names and a warm process this takes one transaction of two items for each name and one
    /// consistent read; without a lease, one more transaction.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::NameTaken`],
    /// [`Error::SetDoesNotFit`], [`Error::SetIsScattered`], [`Error::ServiceClosing`], [`Error::Store`].
    pub async fn put_set(&self, call: &Call, service: &ServiceId, set: &NewSet) -> Result<Set, Error> {
        let member = |name: &InstanceName| Member {
            asked: Asked { name: name.clone(), port: None, owner: set.owner.clone(), labels: set.labels.clone() },
            goal: Goal::Port { lease: set.lease },
            rule: NameRule::Free,
            last: None,
            wish: None,
            gave_up_wish: false,
            has: None,
            is_ours: false,
            made: Vec::new(),
        };
        let mut attempt = Attempt {
            scene: Scene::new(self, call, service),
            set,
            members: set.names.iter().map(member).collect(),
            search: None,
            claimed: Vec::new(),
            looked_up: false,
        };
        let result = attempt.run().await;
        if let Err(error) = &result
            && !matches!(error, Error::Store(_) | Error::ServiceClosing { .. })
        {
            // None of them. Where the table did not answer, the owner's retry finds what stands.
            attempt.give_up().await;
        }
        result
    }
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Set, Error> {
        loop {
            if !self.is_complete() {
                let chosen = self.choose().await?;
                if !self.is_complete() && !self.claim(&chosen).await? {
                    continue;
                }
            }
            if let Some(agreed) = self.confirm().await?
                && let Some(claims) = self.finish(agreed).await?
            {
                let made = self.members.iter().filter(|member| member.is_ours).count();
                return Ok(Set { claims, made });
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.has.is_some())
    }

    /// The ports to claim for the names that have none, reserved against the other calls of this process.
    async fn choose(&mut self) -> Result<Vec<(usize, Reservation)>, Error> {
        let mut ignores_reservations = false;
        loop {
            let (range, strategy) = match self.scene.place.range().zip(self.scene.place.strategy()) {
                Some(known) => known,
                None => {
                    self.scene.read_service().await?;
                    continue;
                }
            };
            let mut search = match self.search.take() {
                Some(search) => search,
                None => self.new_search(strategy)?,
            };
            if std::mem::take(&mut ignores_reservations) {
                search.ignore_reservations();
            }
            let now = self.scene.registry.now();
            let proposed = self.scene.registry.chance.draw(|random| {
                self.scene.place.with(|remembered| {
                    let wants_hint = remembered.knowledge.wants_hint(search.search());
                    (remembered.knowledge.propose_set(&mut search, random, now), wants_hint)
                })
            });
            self.search = Some(search);
            match proposed {
                None => {}
                Some((Proposal::Candidate(ports), _)) => {
                    let wishes =
                        self.members.iter().enumerate().filter_map(|(name, member)| Some((name, member.wish?)));
                    let all: Vec<_> = ports.into_iter().chain(wishes).collect();
                    return Ok(all
                        .into_iter()
                        .map(|(name, port)| (name, self.scene.place.reservation(port)))
                        .collect());
                }
                Some((Proposal::Look(part, other), wants_hint)) => {
                    self.scene.read_windows(std::iter::once(part).chain(other), wants_hint, now).await?;
                }
                Some((Proposal::LookAll, _)) => {
                    self.scene.read_everything(range).await?;
                }
                Some((Proposal::Full, _)) => {
                    if self.make_sure_that_it_does_not_fit().await? {
                        return Ok(Vec::new());
                    }
                    ignores_reservations = true;
                }
            }
        }
    }

    /// A search for what is missing beside what the names have.
    fn new_search(&mut self, strategy: Strategy) -> Result<SetSearch, Error> {
        let first = self.set.names.first().cloned().ok_or_else(|| self.does_not_fit(Occupancy::default()))?;
        let mut search = SetSearch::new(strategy, first, self.members.len(), self.set.contiguous);
        self.tell(&mut search)?;
        Ok(search)
    }

    /// Tells a search what the names have, and what they wish for.
    fn tell(&mut self, search: &mut SetSearch) -> Result<(), Error> {
        let mut is_scattered = false;
        for (name, member) in self.members.iter().enumerate() {
            is_scattered |= member.has.as_ref().is_some_and(|has| !search.hold(name, has.claim.port));
        }
        for (name, member) in self.members.iter_mut().enumerate() {
            if member.wish.is_some_and(|port| !search.hold(name, port)) {
                member.give_up_wish();
            }
        }
        if is_scattered { Err(self.is_scattered()) } else { Ok(()) }
    }

    /// Claims these ports. Returns false if the claims were not made, and another try is to follow.
    async fn claim(&mut self, chosen: &[(usize, Reservation)]) -> Result<bool, Error> {
        let (registry, call) = (self.scene.registry, self.scene.call);
        let mut holdings = Vec::with_capacity(chosen.len());
        for (name, reservation) in chosen {
            let Some(member) = self.members.get_mut(*name) else { continue };
            let holding = self.scene.new_claim(&member.asked, member.goal, reservation.port);
            member.made.push(holding.secret);
            holdings.push((*name, holding));
        }
        let wishes = self.members.iter().enumerate().filter(|(_, member)| member.wish.is_some());
        let wishes: BTreeSet<_> = wishes.map(|(name, _)| name).collect();
        self.scene.follows |= !wishes.is_empty();
        call.count(|meter| meter.tries += 1);
        let (now, past) = (self.scene.now(), self.scene.past());
        let rule_of = |name: usize, port: Port| match self.members.get(name).map(|member| member.rule) {
            Some(NameRule::Dead(at, _)) if at == port => NameRule::Free,
            // Another name of the set overwrites the dead claim, on condition that it is dead. A transaction has one
            // part for each item, so there is none that removes it.
            Some(NameRule::Dead(at, secret)) if chosen.iter().any(|(_, other)| other.port == at) => {
                NameRule::Gone(secret)
            }
            rule => rule.unwrap_or(NameRule::Free),
        };
        let writes: Vec<_> = holdings
            .iter()
            .map(|(name, holding)| ClaimWrite {
                service: self.scene.service,
                holding,
                name: rule_of(*name, holding.claim.port),
                request: None,
                now,
                past,
                returns: wishes.contains(name),
            })
            .collect();
        let sent = tokio::time::Instant::now();
        let losses = match registry.table.claim(call, &writes, &registry.clock).await? {
            Claimed::Made(began) => {
                let round_trip = sent.elapsed().as_secs_f64() * 1000.0;
                let holders: Vec<_> = holdings.iter().map(|(_, holding)| Holder::from(&holding.claim)).collect();
                let now = registry.now();
                self.scene.place.learn(|knowledge| knowledge.record_claims(&holders, round_trip, now));
                for (name, mut holding) in holdings {
                    begin(&mut holding, began);
                    if let Some(member) = self.members.get_mut(name) {
                        self.claimed.push(holding.clone());
                        member.has = Some(holding);
                        member.wish = None;
                        member.is_ours = true;
                    }
                }
                return Ok(true);
            }
            Claimed::Lost(losses) => losses,
        };
        self.learn(&holdings, losses).await?;
        Ok(false)
    }

    /// Acts upon the reasons for which the claims were not made.
    async fn learn(&mut self, holdings: &[(usize, Holding)], losses: Vec<Losses>) -> Result<(), Error> {
        let now = self.scene.registry.now();
        let (mut lost, mut contended, mut to_judge) = (Vec::new(), false, Vec::new());
        let mut gave_up = false;
        for ((name, holding), Losses { port: at, instance, dead, .. }) in holdings.iter().zip(losses) {
            let port = holding.claim.port;
            contended |= instance == Reason::Contended || dead == Reason::Contended;
            match at {
                Reason::None | Reason::Throttled => {}
                Reason::Contended => {
                    self.scene.place.learn(|knowledge| knowledge.observe_contention(port, now));
                    lost.push(port);
                }
                Reason::Failed(None) => {
                    let unknown = super::reads::unknown(port);
                    self.scene.place.learn(|knowledge| knowledge.observe_holder(unknown, now));
                    lost.push(port);
                }
                Reason::Failed(Some(Occupant { claim, .. })) => {
                    self.scene.place.learn(|knowledge| knowledge.observe_holder(Holder::from(&claim), now));
                    lost.push(port);
                }
            }
            let Some(member) = self.members.get_mut(*name) else { continue };
            if member.wish == Some(port) && lost.contains(&port) {
                member.give_up_wish();
                gave_up = true;
                to_judge.push(*name);
            }
            if let Reason::Failed(found) = instance {
                member.last = found;
                to_judge.push(*name);
            } else if dead.is_failed() {
                to_judge.push(*name);
            }
        }
        self.scene.call.count(|meter| meter.lost_races += u32::try_from(lost.len()).unwrap_or(u32::MAX));
        if !lost.is_empty()
            && let Some(search) = &mut self.search
        {
            search.record_lost_race(&lost);
        }
        if contended {
            self.scene.pause().await;
        }
        if gave_up {
            // The search takes for held what the names wish for.
            self.adjust_search()?;
        }
        self.judge(to_judge).await
    }

    /// Judges the last claims of these names, all at the same time.
    async fn judge(&mut self, names: Vec<usize>) -> Result<(), Error> {
        let names: BTreeSet<_> = names.into_iter().collect();
        let judged = {
            let this = &*self;
            let judgements = names.iter().filter_map(|name| this.members.get(*name).map(|member| (*name, member)));
            let judgements = judgements.map(|(name, member)| async move {
                match member.last {
                    Some(last) => this.judge_one(member, last).await.map(|judged| (name, judged)),
                    None => Ok((name, (Judged::Rule(NameRule::Free), None))),
                }
            });
            // All of them, so that of several names that are taken the same one is reported each time.
            join_all(judgements).await.into_iter().collect::<Result<Vec<_>, _>>()?
        };
        let mut changed = false;
        for (name, (judged, early)) in judged {
            let Some(member) = self.members.get_mut(name) else { continue };
            if let Some(early) = early {
                self.scene.claim_early(early, &mut member.goal);
            }
            match judged {
                Judged::Has(holding) => {
                    member.wish = None;
                    member.is_ours = member.made.contains(&holding.secret);
                    if member.is_ours && !self.claimed.iter().any(|claimed| claimed.secret == holding.secret) {
                        self.claimed.push(holding.clone());
                    }
                    member.has = Some(holding);
                    changed = true;
                }
                Judged::MayReturn => {
                    member.rule = NameRule::Free;
                    member.wish = member.last.map(|last| last.port);
                    changed = true;
                }
                Judged::Rule(rule) => {
                    changed |= member.wish.take().is_some();
                    member.rule = rule;
                }
            }
        }
        if changed {
            self.adjust_search()?;
        }
        Ok(())
    }

    /// Tells the search anew what the names have, and what they wish for.
    fn adjust_search(&mut self) -> Result<(), Error> {
        let Some(mut search) = self.search.take() else { return Ok(()) };
        (0..self.members.len()).for_each(|name| search.let_go(name));
        let told = self.tell(&mut search);
        self.search = Some(search);
        told
    }

    /// Judges a name's last claim, as `judge_old_claim` does for a single one. Returns also how the name may be claimed,
    /// if its lease is over by less than clocks differ.
    async fn judge_one(&self, member: &Member, last: Instance) -> Result<(Judged, Option<Early>), Error> {
        let (registry, namespace) = (self.scene.registry, &self.scene.service.namespace);
        let Instance { port, secret, .. } = last;
        let in_range = self.scene.place.range().is_some_and(|range| range.contains(port));
        let may_return = in_range && !member.gave_up_wish;
        let returns_or = |rule| if may_return { Judged::MayReturn } else { Judged::Rule(rule) };
        let early = |claim: Claim| match self.scene.early(&member.asked, member.goal, &claim) {
            Some(early) => Ok(Some(early)),
            None => Err(self.scene.name_has(claim)),
        };
        let found = registry.table.settled_port(self.scene.call, namespace, port).await?;
        let now = registry.now();
        let Some(Occupant { claim, secret: its }) = found else {
            return Ok((returns_or(NameRule::Gone(secret)), None));
        };
        if its != Some(secret) {
            let is_cooling = self.scene.is_cooling_for(&member.asked.name, &claim);
            let to_be_had = is_cooling || !claim.state.occupies_port(now);
            let judged =
                if to_be_had { returns_or(NameRule::Gone(secret)) } else { Judged::Rule(NameRule::Gone(secret)) };
            let is_early = self.scene.is_gone_early(&member.asked.name, &claim);
            return Ok((judged, if is_early { early(claim)? } else { None }));
        }
        if member.made.contains(&secret) || self.scene.may_adopt(&member.asked, &claim) {
            return Ok((Judged::Has(Holding { claim, secret }), None));
        }
        if !claim.state.occupies_port(now) {
            return Ok((returns_or(NameRule::Dead(port, secret)), None));
        }
        let Some(lapse) = self.scene.lapse_of(&member.asked, &claim) else { return Err(self.scene.name_has(claim)) };
        let early = if let Lapse::Own(_) = lapse { early(claim)? } else { None };
        if may_return {
            return Ok((Judged::MayReturn, early));
        }
        let judged = match registry.table.lapse(self.scene.call, namespace, (port, secret), lapse).await? {
            // It was renewed meanwhile: the same owner has it, and anybody else waits.
            Removed::Not(Some(Occupant { claim, secret: Some(its) })) if its == secret => {
                if claim.owner != self.set.owner {
                    return Err(self.scene.name_has(claim));
                }
                Judged::Has(Holding { claim, secret })
            }
            Removed::Now | Removed::Not(..) => Judged::Rule(NameRule::Gone(secret)),
        };
        Ok((judged, early))
    }

    /// Reads the service and its whole range consistently, unless this process did a moment ago and no port was free.
    /// Returns true if the names have ports after all, so that nothing is to be claimed; false if there is room, or if
    /// the names have some of the ports.
    async fn make_sure_that_it_does_not_fit(&mut self) -> Result<bool, Error> {
        let range = self.scene.read_whole_service().await?;
        let now = self.scene.registry.now();
        if let Some(full) = self.scene.place.full(range, now, self.scene.registry.full_for) {
            if self.has_some_of_them().await? {
                return Ok(self.is_complete());
            }
            if self.members.iter().all(|member| member.wish.is_none()) {
                return Err(self.does_not_fit(full.remembered(now)));
            }
        }
        let everything = self.scene.read_everything(range).await?;
        let now = self.scene.registry.now();
        let reserved = self.scene.place.with(|remembered| remembered.reserved.clone()).unwrap_or_default();
        let mut taken = PortSet::default();
        everything.taken(now).for_each(|claim| taken.insert(claim.port));
        everything.unreadable.iter().for_each(|port| taken.insert(*port));
        if self.search.as_ref().is_some_and(|search| search.fits(range, &taken, &reserved.ports())) {
            self.scene.pause().await;
            return Ok(false);
        }
        if self.has_some_of_them().await? {
            return Ok(self.is_complete());
        }
        // Ports that the names had may be what keeps the others from standing beside them.
        if self.set.contiguous && self.members.iter().any(|member| member.wish.is_some()) {
            self.members.iter_mut().for_each(Member::give_up_wish);
            self.adjust_search()?;
            return Ok(false);
        }
        let full = everything.full(&self.scene.service.name, range, &reserved, now);
        if everything.is_full(range, &reserved, now) {
            self.scene.place.remember_full(full);
        }
        Err(self.does_not_fit(full.occupancy))
    }

    /// Looks up once what the names have: no claim is sent whose failed condition would show it. Returns true if that is
    /// more than was known.
    async fn has_some_of_them(&mut self) -> Result<bool, Error> {
        if std::mem::replace(&mut self.looked_up, true) {
            return Ok(false);
        }
        let settled =
            |members: &[Member]| members.iter().filter(|member| member.has.is_some() || member.wish.is_some()).count();
        let before = settled(&self.members);
        self.look_up().await?;
        Ok(settled(&self.members) > before)
    }

    /// Reads where the names without a port point to, and judges that.
    async fn look_up(&mut self) -> Result<(), Error> {
        let (table, call, service) = (&self.scene.registry.table, self.scene.call, self.scene.service);
        let without: Vec<_> = (0..self.members.len())
            .filter(|name| self.members.get(*name).is_some_and(|member| member.has.is_none()))
            .collect();
        let reads = without
            .iter()
            .filter_map(|name| self.members.get(*name))
            .map(|member| async { table.instance(call, service, &member.asked.name).await });
        let found = try_join_all(reads).await?;
        for (name, last) in without.iter().zip(found) {
            if let Some(member) = self.members.get_mut(*name) {
                member.last = last;
            }
        }
        self.judge(without).await
    }

    /// Reads the service after the claims. Returns its terms if all of them stand; otherwise what cannot stand is
    /// withdrawn, and another try is to follow.
    async fn confirm(&mut self) -> Result<Option<Terms>, Error> {
        let patience = self.scene.patience();
        loop {
            let service = self.scene.current_service().await?;
            let held = || self.members.iter().filter_map(|member| member.has.as_ref());
            if held().all(|has| service.may_offer(has.claim.port)) && self.is_as_agreed(&service) {
                return Ok(Some(service.terms));
            }
            if held().any(|has| !service.range.contains(has.claim.port)) || !self.is_as_agreed(&service) {
                self.withdraw(&service).await?;
                return Ok(None);
            }
            // Some of the ports are being given up.
            self.scene.wait_for_change(patience).await?;
        }
    }

    /// Whether this call's claims are what the service gives out now.
    fn is_as_agreed(&self, service: &Service) -> bool {
        let ours = self.members.iter().filter(|member| member.is_ours).filter_map(|member| member.has.as_ref());
        ours.into_iter().all(|has| has.claim.terms == service.terms && !service.reserved.contains(has.claim.port))
    }

    /// Withdraws this call's claims, and those that it adopted outside of the range and that nobody was told of.
    async fn withdraw(&mut self, service: &Service) -> Result<(), Error> {
        let call = self.scene.call.extended();
        let mut withdrawn = Vec::new();
        for (name, member) in self.members.iter().enumerate() {
            let Some(has) = &member.has else { continue };
            if member.is_ours || !service.range.contains(has.claim.port) {
                withdrawn.push((name, has.clone(), member.is_ours));
            }
        }
        let ends = withdrawn.iter().map(|(_, has, is_ours)| self.scene.withdraw(&call, has, *is_ours));
        let ends = try_join_all(ends).await?;
        for ((name, has, _), end) in withdrawn.into_iter().zip(ends) {
            let Some(member) = self.members.get_mut(name) else { continue };
            member.has = None;
            member.is_ours = false;
            member.made.retain(|made| *made != has.secret);
            self.claimed.retain(|claimed| claimed.secret != has.secret);
            let port = has.claim.port;
            match end {
                // The port is as good as before, or cooling for this very name.
                Withdrawn::Now if service.may_offer(port) && !service.reserved.contains(port) => {
                    member.last = Some(Instance { port, secret: has.secret, gone_since: None });
                    member.wish = Some(port);
                    member.rule = NameRule::Free;
                }
                Withdrawn::Now => {
                    member.give_up_wish();
                    member.rule = NameRule::Gone(has.secret);
                }
                Withdrawn::Not(claim) if !service.range.contains(claim.port) => return Err(self.scene.name_has(claim)),
                // Another call of its owner has told of it, or may have until it ended. So it is judged as that call's.
                Withdrawn::Not(_) | Withdrawn::Before => {
                    member.give_up_wish();
                    member.rule = NameRule::Free;
                }
            }
        }
        self.search = None;
        Ok(())
    }

    /// Withdraws what this call has made, as far as it can. One of its claims may be gone by now, or another call's of
    /// its owner: then it is left alone.
    async fn give_up(&mut self) {
        let call = self.scene.call.extended();
        let claimed = std::mem::take(&mut self.claimed);
        join_all(claimed.iter().map(|claimed| self.scene.withdraw(&call, claimed, true))).await;
    }

    /// The last step: renews what the names had, and accepts offers. In this order, because what is accepted cannot be
    /// taken back. Returns none if something is gone by now.
    async fn finish(&mut self, agreed: Terms) -> Result<Option<Vec<Claim>>, Error> {
        let (registry, call, service) = (self.scene.registry, self.scene.call, self.scene.service);
        let renewals = self.members.iter().map(|member| async {
            match &member.has {
                Some(has) if has.claim.state.kind() == StateKind::Allocated && !member.is_ours => {
                    self.scene.extend(&member.asked, has, self.set.lease, agreed).await
                }
                has => Ok(has.as_ref().map(|has| has.claim.clone())),
            }
        });
        let claims: Option<Vec<_>> = try_join_all(renewals).await?.into_iter().collect();
        let Some(mut claims) = claims else {
            self.forget().await?;
            return Ok(None);
        };
        let has = self.members.iter().filter_map(|member| member.has.as_ref());
        let offers: Vec<_> = has.filter(|has| has.claim.state.kind() == StateKind::Offered).cloned().collect();
        if offers.is_empty() {
            self.observe(&claims);
            return Ok(Some(claims));
        }
        let seconds = agreed.grant(self.set.lease);
        let on = (Under::of(agreed, seconds, registry.margin), self.set.labels.as_ref());
        let Some(accepted) = registry.table.accept_all(call, service, &offers, on, &registry.clock).await? else {
            // Some of them are gone, or another call of their owner has accepted them.
            self.forget().await?;
            return Ok(None);
        };
        for claim in accepted {
            if let Some(offered) = claims.iter_mut().find(|offered| offered.port == claim.port) {
                *offered = claim;
            }
        }
        self.observe(&claims);
        Ok(Some(claims))
    }

    /// Records until when these ports are held.
    fn observe(&self, claims: &[Claim]) {
        let now = self.scene.registry.now();
        self.scene.place.learn(|knowledge| {
            claims.iter().for_each(|claim| knowledge.observe_holder(Holder::from(claim), now));
        });
    }

    /// Something that the names had is gone: all of them are looked up again.
    async fn forget(&mut self) -> Result<(), Error> {
        for member in &mut self.members {
            member.has = None;
            member.rule = NameRule::Free;
        }
        self.search = None;
        self.look_up().await
    }

    fn does_not_fit(&self, occupancy: Occupancy) -> Error {
        Error::SetDoesNotFit {
            service: self.scene.service.clone(),
            wanted: self.members.iter().filter(|member| member.has.is_none()).count(),
            contiguous: self.set.contiguous,
            occupancy: Box::new(occupancy),
        }
    }

    fn is_scattered(&self) -> Error {
        let held = self.members.iter().filter_map(|member| member.has.as_ref());
        Error::SetIsScattered {
            service: self.scene.service.clone(),
            claims: held.map(|has| has.claim.clone()).collect(),
        }
    }
}

impl Member {
    fn give_up_wish(&mut self) {
        self.wish = None;
        self.gave_up_wish = true;
    }
}
