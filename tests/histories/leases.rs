//! One random history of owners, leases, cool-downs, quarantines and sets: as in `run`, but what is compared is not an
//! order of all answers. What holders were told, and the true course of every item, must keep the rules of `told`.

mod event;
mod timeline;
mod told;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use portmaster_domain::{Claim, InstanceName, Labels, Namespace, Owner, Port, Secret, StateKind, Strategy, Terms};
use portmaster_registry::{
    Asked, BulkRelease, By, Call, Content, Error, Expected, Findings, IfMatch, ListFilter, NewService, NewSet,
    PortOrName, Registry, Rejection, StoreError,
};
use portmaster_testkit::{EPOCH, Fault, Faulty, TABLE, millis_since};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::invariants::Invariants;
use super::linearize::Stamp;
use super::run::{content, instance, service};
use super::stage::{self, Attempt, Conditions, Stage};
use super::tenures::{self, Stream, Writing};
use event::{Act, Answer, Event, Holder, If, Shown, Wanted, Whose};
use timeline::{Item, Timeline};
use told::History;

/// The service whose range never changes, and the one whose range does.
const STILL: &str = "still";
const MOVING: &str = "moving";

/// The figures of many histories.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub histories: usize,
    pub operations: usize,
    pub unanswered: usize,
    pub requests: usize,
    pub faults: BTreeMap<Fault, usize>,
    pub told: BTreeMap<&'static str, usize>,
    pub changes: BTreeMap<String, usize>,
    pub trace: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.unanswered += other.unanswered;
        self.requests += other.requests;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (told, count) in &other.told {
            *self.told.entry(told).or_default() += count;
        }
        for (change, count) in &other.changes {
            *self.changes.entry(change.clone()).or_default() += count;
        }
    }
}

/// The parameters that differ from history to history.
#[derive(Clone, Debug)]
struct Plan {
    processes: Vec<i64>,
    margin: u32,
    offer_seconds: u32,
    ports: u16,
    names: u8,
    owners: u8,
    callers: usize,
    operations: usize,
    percent: u32,
    stops: u32,
    deadline: u64,
    /// How often in a hundred a caller waits for seconds before its next action, so that leases lapse.
    leisure: usize,
    strategy: Strategy,
    moving: bool,
    terms: event::Terms,
}

impl Plan {
    fn draw(random: &mut SmallRng) -> Self {
        let margin: u32 = random.random_range(1..=3);
        let apart = i64::from(margin) * 1000;
        let skews: &[i64] = match random.random_range(0..4) {
            0 => &[0],
            1 => &[0, apart],
            2 => &[-apart / 2, 0, apart / 2],
            _ => &[-apart, -300, 0],
        };
        let mut pick = |from: &[u32]| from[random.random_range(0..from.len())];
        let max = [None, Some(2), Some(5)][pick(&[0, 0, 1, 2]) as usize];
        let lease = [None, Some(1), Some(3)][pick(&[0, 1, 2]) as usize];
        let terms = (lease, max, pick(&[0, 0, 1, 2, 5]));
        Self {
            processes: (0..random.random_range(2..=4)).map(|_| skews[random.random_range(0..skews.len())]).collect(),
            margin,
            offer_seconds: random.random_range(1..=4),
            ports: random.random_range(2..=5),
            names: random.random_range(1..=4),
            owners: random.random_range(1..=3),
            callers: random.random_range(3..=5),
            operations: random.random_range(4..=9),
            percent: [0, 5, 12, 25, 40][random.random_range(0..5)],
            stops: [0, 0, 10, 30][random.random_range(0..4)],
            deadline: [150, 800, 3_000, 10_000][random.random_range(0..4)],
            leisure: [10, 30, 60][random.random_range(0..3)],
            strategy: [Strategy::Lowest, Strategy::Hashed, Strategy::Random][random.random_range(0..3)],
            moving: random.random_range(0..2) == 0,
            terms,
        }
    }
}

impl Plan {
    fn conditions(&self) -> Conditions {
        Conditions {
            processes: self.processes.clone(),
            offer_seconds: self.offer_seconds,
            margin: self.margin,
            callers: self.callers,
            operations: self.operations,
            percent: self.percent,
            stops: self.stops,
            deadline: self.deadline,
            leisure: self.leisure,
            wait: 4_000,
        }
    }
}

/// Runs one history; the error describes what is wrong with it.
pub fn run(seed: u64) -> Result<Figures, String> {
    stage::run(seed, async {
        let play = Play::new(seed).await;
        play.play().await;
        play.judge().await
    })
}

/// Runs one history, delivers its changes to a history of tenures, and compares that with what happened.
pub fn run_and_keep(seed: u64, writing: Writing) -> Result<tenures::Figures, String> {
    stage::run(seed, async {
        let play = Play::new(seed).await;
        play.play().await;
        play.judge().await?;
        // What TTL did since the last request.
        play.stream.look(&play.stage.network.database(), &[]);
        // The slowest clock, the fastest one, and the table's own.
        let clocks = || play.plan.processes.iter().copied().chain([0]);
        let apart = clocks().max().unwrap() - clocks().min().unwrap();
        let kept = tenures::check(seed, &play.stream, &play.stage.process(0), apart + 1_000, writing).await;
        kept.map_err(|why| format!("{why}\n{}", play.describe()))
    })
}

struct Play {
    plan: Plan,
    stage: Stage,
    invariants: Invariants,
    timeline: Timeline,
    stream: Stream,
    offers: RefCell<Vec<(&'static str, Secret)>>,
    /// The secrets that were told.
    secrets: RefCell<HashSet<String>>,
    events: RefCell<Vec<Event>>,
    wrong: RefCell<Vec<String>>,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let plan = Plan::draw(&mut random);
        // Releases arrive late, too: a release is not meant for what began after it by more than clocks differ.
        let network = Faulty::new(random.random(), 0, true);
        let timeline = Timeline::new(Instant::now());
        let stream = Stream::new(Instant::now());
        let (watching, following) = (timeline.clone(), stream.clone());
        let invariants = Invariants::and(&network, move |database, body| {
            watching.look(database);
            following.look(database, body);
        });
        Self {
            stage: Stage::new(seed, random, network, plan.conditions()).await,
            invariants,
            timeline,
            stream,
            offers: RefCell::default(),
            secrets: RefCell::default(),
            events: RefCell::default(),
            wrong: RefCell::default(),
            plan,
        }
    }

    fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[self.stage.draw(from.len())].clone()
    }

    async fn play(&self) {
        let new =
            NewService { id: service(STILL), content: self.content(5000, 4999 + self.plan.ports, self.plan.terms) };
        let registry = self.stage.processes.borrow()[0].clone();
        registry.create_service(&self.stage.call(), new).await.unwrap();
        self.stage.play(async || self.perform(self.choose()).await).await;
    }

    fn content(&self, start: u16, end: u16, (lease, max_lease, cooldown): event::Terms) -> Content {
        let terms = Terms { lease, max_lease, cooldown, ..Terms::default() };
        Content { terms, ..content(start, end, self.plan.strategy) }
    }

    fn ports(&self) -> Vec<u16> {
        let moving = if self.plan.moving { 6000..6005 } else { 0..0 };
        (5000..5000 + self.plan.ports).chain(moving).collect()
    }

    fn choose(&self) -> Act {
        let service = if self.plan.moving && self.stage.draw(4) == 0 { MOVING } else { STILL };
        let name = instance(u8::try_from(self.stage.draw(self.plan.names.into())).unwrap());
        // Mostly the first owner; the last is none.
        let owner = match self.stage.draw(usize::from(self.plan.owners) + 2).saturating_sub(1) {
            number if number == usize::from(self.plan.owners) => None,
            number => Some(format!("owner-{number}")),
        };
        let holder = Holder { service, name: name.clone(), owner: owner.clone() };
        let lease = match self.stage.draw(3) {
            0 => None,
            _ => Some(u32::try_from(1 + self.stage.draw(5)).unwrap()),
        };
        // Something that somebody was told of lately, mostly.
        let known = || {
            let events = self.events.borrow();
            let told = events.iter().rev().take(12).filter_map(|event| match &event.answer {
                Answer::Has(all) => all.last().cloned(),
                _ => None,
            });
            let told: Vec<_> = told.collect();
            (!told.is_empty() && self.stage.draw(4) > 0).then(|| self.pick(&told))
        };
        let port = || known().map_or_else(|| self.pick(&self.ports()), |shown| shown.port);
        let wanted = || {
            let (holder, port) = known().map_or_else(
                || (holder.clone(), self.pick(&self.ports())),
                |shown| {
                    let owner = if self.stage.draw(6) == 0 { owner.clone() } else { shown.holder.owner };
                    (Holder { owner, ..shown.holder }, shown.port)
                },
            );
            let wanted = if self.stage.draw(2) == 0 { Wanted::Port(port) } else { Wanted::Name(holder.name) };
            (holder.service, wanted, holder.owner)
        };
        let offer = || {
            let offers = self.offers.borrow().len();
            offers.checked_sub(1).map(|last| last - self.stage.draw(offers.min(4)))
        };
        let put =
            |expected| Act::Put { holder: holder.clone(), lease, port: (self.stage.draw(8) == 0).then(port), expected };
        match self.stage.draw(100) {
            0..26 => put(If::Whatever),
            26..28 => put(If::NoneMatch),
            28..30 => put(If::Match),
            30..38 => Act::Offer(holder),
            38..47 => offer().map_or_else(|| put(If::Whatever), |offer| Act::Accept(offer, lease)),
            47..49 => offer().map_or_else(|| put(If::Whatever), Act::Reject),
            49..52 => {
                let seconds = u32::try_from(1 + self.stage.draw(6)).unwrap();
                offer().map_or_else(|| put(If::Whatever), |offer| Act::InUse(offer, seconds))
            }
            52..67 => {
                let (service, wanted, owner) = wanted();
                Act::Renew { service, wanted, owner, lease }
            }
            67..78 => {
                let (service, wanted, owner) = wanted();
                let whose = if self.stage.draw(4) == 0 { Whose::Anybodys } else { Whose::Of(owner) };
                Act::Release { service, wanted, whose }
            }
            78..80 => {
                let (owner, name) = if self.stage.draw(2) == 0 { (Some(owner), None) } else { (None, Some(name)) };
                Act::ReleaseAll { service, owner: owner.flatten(), name, offered: self.stage.draw(2) == 0 }
            }
            80..87 => {
                let count = 2 + self.stage.draw(2);
                let first = self.stage.draw(4);
                let names = (0..count).map(|more| instance(u8::try_from((first + more) % 4).unwrap())).collect();
                Act::Set { service, names, owner, lease, contiguous: self.stage.draw(2) == 0 }
            }
            87..89 => Act::Lift(service, port()),
            89..91 => Act::Get(service, name),
            91..92 => Act::Find(port()),
            92..94 => Act::Reconcile,
            94..95 => Act::Expire,
            95..96 => Act::Terms(
                service,
                (self.pick(&[None, Some(1), Some(3)]), self.pick(&[None, None, Some(4)]), self.pick(&[0, 1, 3])),
            ),
            _ if !self.plan.moving => put(If::Whatever),
            96..99 => {
                let (start, size) = (6000 + self.stage.draw(3), 2 + self.stage.draw(3));
                let end = (start + size - 1).min(6004);
                Act::Range(MOVING, u16::try_from(start).unwrap(), u16::try_from(end).unwrap())
            }
            _ => Act::Delete(MOVING),
        }
    }

    async fn perform(&self, act: Act) {
        let Attempt { process, began, ended, answer, doubt, sent } =
            self.stage.attempt(async |registry, began| self.ask(registry, &act, began).await).await;
        let answer = answer.unwrap_or_else(|| Answer::Open("stopped".to_owned()));
        let (skew, sent) = (self.plan.processes[process], sent.map(|(_, last)| last));
        self.events.borrow_mut().push(Event { act, skew, began, ended, answer, doubt, sent });
    }

    async fn ask(&self, registry: &Registry, act: &Act, began: Stamp) -> Answer {
        let call = &self.stage.call();
        let answer = match act {
            Act::Put { holder, lease, port, expected } => {
                let asked = Asked { port: port.map(port_of), ..asked(holder) };
                let expected = match expected {
                    If::Whatever => Expected::Anything,
                    If::NoneMatch => Expected::Nothing,
                    If::Match => Expected::Something,
                };
                let put = registry.put_port(call, &service(holder.service), &asked, *lease, expected).await;
                put.map(|put| self.has(holder.service, [put.claim()]))
            }
            Act::Set { service: of, names, owner, lease, contiguous } => {
                let labels = [("set".to_owned(), began.order.to_string())];
                let set = NewSet {
                    names: names.iter().map(|name| name_of(name)).collect(),
                    owner: owner.as_deref().map(owner_of),
                    lease: *lease,
                    contiguous: *contiguous,
                    labels: Some(Labels::try_from(BTreeMap::from(labels)).unwrap()),
                };
                registry.put_set(call, &service(of), &set).await.map(|set| self.has(of, &set.claims))
            }
            Act::Offer(holder) => {
                let offered = registry.offer(call, &service(holder.service), asked(holder), None).await;
                offered.map(|offered| {
                    let secret = offered.holding.secret;
                    let shown = shown(holder.service, &offered.holding.claim);
                    self.invariants.returned(secret.expose(), holder.service, shown.port);
                    let mut offers = self.offers.borrow_mut();
                    offers.push((holder.service, secret));
                    Answer::Offered(offers.len() - 1, shown)
                })
            }
            Act::Accept(offer, lease) => {
                let (of, secret) = self.offers.borrow()[*offer];
                let accepted = registry.accept(call, &service(of), secret, *lease).await;
                accepted.map(|(claim, _)| self.has(of, [&claim]))
            }
            Act::Reject(offer) => {
                let (of, secret) = self.offers.borrow()[*offer];
                registry.reject(call, &service(of), secret, Rejection::Unwanted).await.map(|()| Answer::Done)
            }
            Act::InUse(offer, seconds) => {
                let (of, secret) = self.offers.borrow()[*offer];
                let reason = Rejection::InUse { quarantine: Some(*seconds) };
                registry.reject(call, &service(of), secret, reason).await.map(|()| Answer::Done)
            }
            Act::Renew { service: of, wanted, owner, lease } => {
                let owner = owner.as_deref().map(owner_of);
                let renewed = registry.renew(call, &service(of), &named(wanted), owner.as_ref(), *lease).await;
                renewed.map(|claim| self.has(of, [&claim]))
            }
            Act::Release { service: of, wanted, whose } => {
                let owner = match whose {
                    Whose::Of(Some(owner)) => Some(owner_of(owner)),
                    _ => None,
                };
                let by = if *whose == Whose::Anybodys { By::Anybody } else { By::Holder(owner.as_ref()) };
                registry.release(call, &service(of), &named(wanted), by).await.map(|()| Answer::Done)
            }
            Act::ReleaseAll { service: of, owner, name, offered } => {
                let wanted = BulkRelease {
                    names: name.iter().map(|name| name_of(name)).collect(),
                    filter: ListFilter { owner: owner.as_deref().map(owner_of), ..ListFilter::default() },
                    allocated: true,
                    offered: *offered,
                    from: None,
                    dry_run: false,
                };
                registry.release_all(call, &service(of), &wanted).await.map(|_| Answer::Done)
            }
            Act::Lift(of, port) => registry.lift(call, &service(of), port_of(*port)).await.map(|()| Answer::Done),
            Act::Get(of, name) => {
                let found = registry.get_port(call, &service(of), &PortOrName::Name(name_of(name))).await;
                found.map(|claim| Answer::Seen(shown(of, &claim)))
            }
            Act::Find(port) => {
                let found = registry.find_port(call, &Namespace::default(), port_of(*port)).await;
                found.map(|claim| match claim.state.kind() {
                    StateKind::Allocated => {
                        let of = if claim.service.as_str() == STILL { STILL } else { MOVING };
                        Answer::Seen(shown(of, &claim))
                    }
                    _ => Answer::Done,
                })
            }
            Act::Reconcile => match registry.reconcile(call).await {
                Ok(found) => {
                    let found = Findings { abandoned_marks: 0, orphaned_allocations: 0, ..found };
                    if !found.is_healthy() {
                        self.wrong.borrow_mut().push(format!("P16: the reconciler found {found:?}"));
                    }
                    Ok(Answer::Done)
                }
                Err(error) => Err(error.into()),
            },
            Act::Expire => {
                self.expire();
                Ok(Answer::Done)
            }
            Act::Terms(of, terms) => {
                let change = |old: &_| {
                    let old = Content::of(old);
                    Ok(Content { terms: self.content(1024, 1025, *terms).terms, ..old })
                };
                let changed = registry.change_service(call, &service(of), &IfMatch::Always, change).await;
                changed.map(|_| Answer::Done)
            }
            Act::Range(of, start, end) => {
                let new = NewService { id: service(of), content: self.content(*start, *end, self.plan.terms) };
                registry.put_service(call, new, &IfMatch::Always).await.map(|_| Answer::Done)
            }
            Act::Delete(of) => {
                registry.delete_service(call, &service(of), &IfMatch::Always).await.map(|()| Answer::Done)
            }
        };
        let is_renewal = matches!(act, Act::Renew { .. });
        match answer {
            Ok(answer) => answer,
            Err(Error::Store(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. }))) => {
                Answer::Open(error.to_string())
            }
            Err(Error::Store(error)) => {
                self.wrong.borrow_mut().push(format!("{act:?}: {error}"));
                Answer::Open(error.to_string())
            }
            Err(error @ Error::ServiceClosing { .. }) => Answer::Open(error.to_string()),
            Err(Error::PortNotFound { .. } | Error::LeaseExpired { .. }) if is_renewal => Answer::Lost,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    /// What a caller was told that it has. From now on its service must cover it, as long as the claim exists.
    fn has<'a>(&self, of: &'static str, claims: impl IntoIterator<Item = &'a Claim>) -> Answer {
        let all: Vec<_> = claims.into_iter().map(|claim| shown(of, claim)).collect();
        let changes = self.timeline.changes();
        for shown in &all {
            let is_it = |item: &Item| item.created == shown.created && item.name == shown.holder.name;
            let found = changes.iter().rev().filter(|change| change.port == shown.port);
            let secret = found.flat_map(|change| &change.after).find(|item| is_it(item) && item.secret.is_some());
            if let Some(secret) = secret.and_then(|item| item.secret.clone())
                && self.secrets.borrow_mut().insert(secret.clone())
            {
                self.invariants.returned(secret, of, shown.port);
            }
        }
        Answer::Has(all)
    }

    /// Deletes expired items as DynamoDB's TTL does, by its own clock, at some time or other.
    fn expire(&self) {
        let now = (EPOCH + millis_since(self.stage.started)) / 1000;
        for item in self.stage.network.items(TABLE) {
            let over = item["expires_at"]["N"].as_str().is_some_and(|at| at.parse::<i64>().unwrap() < now);
            if over {
                let key = serde_json::json!({ "pk": item["pk"], "sk": item["sk"] });
                self.stage.network.ask("DeleteItem", &serde_json::json!({ "TableName": TABLE, "Key": key }));
            }
        }
        self.timeline.look_at(&self.stage.network);
        self.stream.look(&self.stage.network.database(), &[]);
    }

    fn describe(&self) -> String {
        let mut events = self.events.borrow().clone();
        events.sort_by_key(|event| event.began);
        let mut text = format!("{:?}\n", self.plan);
        for Event { act, skew, began, ended, answer, doubt, sent } in events {
            writeln!(
                text,
                "{:>4}-{:<4} {:>6}-{:<6} {skew:+}{}: {act:?} -> {answer:?}{}",
                began.order,
                ended.order,
                began.millis - EPOCH,
                ended.millis - EPOCH,
                if doubt { ", in doubt" } else { "" },
                sent.map(|sent| format!(", sent {}", sent - EPOCH)).unwrap_or_default(),
            )
            .unwrap();
        }
        for change in self.timeline.changes() {
            writeln!(text, "{:>6} {} by write {}: {:?}", change.at - EPOCH, change.port, change.write, change.after)
                .unwrap();
        }
        text
    }

    async fn judge(&self) -> Result<Figures, String> {
        let told = || self.describe();
        {
            let (events, changes) = (self.events.borrow(), self.timeline.changes());
            let history = self.history(&events, &changes);
            if let Some(wrong) = history.violations().first() {
                return Err(format!("{wrong}\n{}", told()));
            }
        }
        self.afterwards().await;
        let mut wrong = self.wrong.borrow().clone();
        wrong.extend(self.invariants.violations());
        if let Some(wrong) = wrong.first() {
            return Err(format!("{wrong}\n{}", told()));
        }
        let events = self.events.borrow();
        let mut figures = Figures {
            histories: 1,
            operations: events.len(),
            unanswered: events.iter().filter(|event| event.is_open()).count(),
            requests: self.stage.network.requests(),
            faults: self.stage.network.met(),
            trace: self.stage.network.trace(),
            ..Figures::default()
        };
        for event in events.iter() {
            let what = match (&event.act, &event.answer) {
                (Act::Put { .. }, Answer::Has(_)) => "put",
                (Act::Set { .. }, Answer::Has(_)) => "set",
                (Act::Offer(_), Answer::Offered(..)) => "offer",
                (Act::Accept(..), Answer::Has(_)) => "accept",
                (Act::Renew { .. }, Answer::Has(_)) => "renewal",
                (Act::Renew { .. }, Answer::Lost) => "renewal lost",
                (Act::Release { .. }, Answer::Done) => "release",
                (Act::ReleaseAll { .. }, Answer::Done) => "release of many",
                (Act::InUse(..), Answer::Done) => "in use",
                (Act::Lift(..), Answer::Done) => "lift",
                _ => continue,
            };
            *figures.told.entry(what).or_default() += 1;
        }
        for change in self.timeline.changes() {
            let state = |item: &Option<Item>| item.as_ref().map_or("-".to_owned(), |item| item.state.clone());
            let what = format!("{} {}", state(&change.before), state(&change.after));
            *figures.changes.entry(what).or_default() += 1;
        }
        Ok(figures)
    }

    fn history<'a>(&self, events: &'a [Event], changes: &'a [timeline::Change]) -> History<'a> {
        History {
            events,
            changes,
            slowest: self.plan.processes.iter().copied().min().unwrap(),
            // The table's own clock deletes what has expired.
            fastest: self.plan.processes.iter().copied().max().unwrap().max(0),
            margin: self.plan.margin.into(),
            deadline: i64::try_from(self.plan.deadline).unwrap(),
        }
    }

    /// Checks the table when every lease, cool-down and quarantine is over by every clock: only allocations without an
    /// end are held, somebody was told of each of them or may have been, and the reconciler leaves only those.
    async fn afterwards(&self) {
        let fail = |what: String| self.wrong.borrow_mut().push(what);
        sleep(Duration::from_secs(3 * 3600)).await;
        let registry = self.stage.process(0);
        let long = || Call::within(Duration::from_secs(60));
        let found = registry.reconcile(&long()).await.unwrap();
        let found = Findings { abandoned_marks: 0, orphaned_allocations: 0, ..found };
        if !found.is_healthy() || !found.finished {
            fail(format!("(h) after all, the reconciler found {found:?}"));
        }
        let again = registry.reconcile(&long()).await.unwrap();
        if (Findings { finished: true, ..Findings::default() }) != again.regardless_of_extent() {
            fail(format!("(h) the second time the reconciler found {again:?}"));
        }
        self.timeline.look_at(&self.stage.network);
        let (events, changes) = (self.events.borrow().clone(), self.timeline.changes());
        let history = self.history(&events, &changes);
        let last: BTreeMap<u16, Option<Item>> =
            changes.iter().map(|change| (change.port, change.after.clone())).collect();
        let left: Vec<_> = last.into_iter().filter_map(|(port, item)| Some((port, item?))).collect();
        for (port, item) in &left {
            if !item.is_allocated() || item.expires_at.is_some() {
                fail(format!("(h) after all, {port} is still {item:?}"));
            } else if !history.was_told(item, *port) && !history.may_have_been_made(item, *port) {
                fail(format!("(h) nobody can have been told of {item:?} at {port}"));
            }
        }
        sleep(Duration::from_secs(8 * 24 * 3600)).await;
        registry.reconcile(&long()).await.unwrap();
        let count = |part: &str| {
            self.stage
                .network
                .items(TABLE)
                .iter()
                .filter(|item| item["pk"]["S"].as_str().unwrap().contains(part))
                .count()
        };
        let rest = (count("#PORT"), count("#INSTANCE#"));
        if rest != (left.len(), left.len()) {
            fail(format!("(h) of {} allocations a week later, ports and names are {rest:?}", left.len()));
        }
    }
}

fn shown(of: &'static str, claim: &Claim) -> Shown {
    let holder = Holder {
        service: of,
        name: claim.name.as_str().to_owned(),
        owner: claim.owner.as_ref().map(|owner| owner.as_str().to_owned()),
    };
    let accepted = (claim.state.kind() == StateKind::Allocated).then(|| claim.allocated_at().millis());
    let until = claim.state.told_until().map(portmaster_domain::Expiry::seconds);
    Shown { holder, port: claim.port.get(), created: claim.created.millis(), accepted, until }
}

fn asked(holder: &Holder) -> Asked {
    Asked { owner: holder.owner.as_deref().map(owner_of), ..Asked::from(name_of(&holder.name)) }
}

fn named(wanted: &Wanted) -> PortOrName {
    match wanted {
        Wanted::Port(port) => PortOrName::Port(port_of(*port)),
        Wanted::Name(name) => PortOrName::Name(name_of(name)),
    }
}

fn name_of(name: &str) -> InstanceName {
    InstanceName::try_from(name).unwrap()
}

fn owner_of(owner: &str) -> Owner {
    Owner::try_from(owner).unwrap()
}

fn port_of(port: u16) -> Port {
    Port::new(port).unwrap()
}
