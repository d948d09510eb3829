//! One random history: some processes with memories and clocks of their own, over one table, and many callers that want
//! ports of them, while everything goes wrong that may. It runs in one thread and in virtual time, so a seed repeats
//! it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use portmaster_domain::{
    Description, IdempotencyKey, InstanceName, Namespace, Port, PortRange, Secret, ServiceId, StateKind, Strategy,
};
use portmaster_registry::{
    Call, Content, Error, Findings, IfMatch, NewService, PortOrName, Registry, StoreError, Table, Written, in_process,
};
use portmaster_testkit::{EPOCH, Fault, Faulty, TABLE, clock_since, millis_since};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::event::{Act, Answer, Event, describe};
use super::invariants::Invariants;
use super::plan::{MOVING, Plan, STILL};
use super::project::Projection;
use super::slot::Claim;
use super::stage::{self, Attempt, Stage};

/// The figures of a history.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub histories: usize,
    pub operations: usize,
    pub unanswered: usize,
    pub requests: usize,
    pub faults: BTreeMap<Fault, usize>,
    pub claims: usize,
    pub slots: usize,
    pub trace: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.unanswered += other.unanswered;
        self.requests += other.requests;
        self.claims += other.claims;
        self.slots += other.slots;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

/// Runs one history; the error describes what is wrong with it.
pub fn run(seed: u64) -> Result<Figures, String> {
    stage::run(seed, async {
        let history = History::new(seed).await;
        history.play().await;
        history.judge().await
    })
}

struct History {
    plan: Plan,
    stage: Stage,
    invariants: Invariants,
    claims: RefCell<Vec<Claim>>,
    by_secret: RefCell<HashMap<String, usize>>,
    events: RefCell<Vec<Event>>,
    wrong: RefCell<Vec<String>>,
}

impl History {
    async fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let plan = Plan::draw(&mut random);
        let network = Faulty::new(random.random(), 0, !plan.is_skewed());
        let invariants = Invariants::of(&network);
        Self {
            stage: Stage::new(seed, random, network, plan.conditions()).await,
            invariants,
            claims: RefCell::default(),
            by_secret: RefCell::default(),
            events: RefCell::default(),
            wrong: RefCell::default(),
            plan,
        }
    }

    async fn play(&self) {
        let still =
            NewService { id: service(STILL), content: content(5000, 4999 + self.plan.ports, self.plan.strategy) };
        let registry = self.stage.processes.borrow()[0].clone();
        registry.create_service(&self.stage.call(), still).await.unwrap();
        self.stage.play(async || self.perform(self.choose()).await).await;
        // Every caller reads everything.
        (0..self.plan.processes.len()).for_each(|process| self.stage.restart(process));
        let claims = self.claims.borrow().len();
        for claim in 0..claims {
            self.perform(Act::ReadOffer(claim)).await;
        }
        for port in self.ports() {
            self.perform(Act::Find(port)).await;
        }
        for name in 0..self.plan.names {
            self.perform(Act::Get(STILL, instance(name))).await;
        }
        self.perform(Act::Offers(STILL)).await;
        self.perform(Act::Ports(STILL)).await;
    }

    fn ports(&self) -> Vec<u16> {
        let moving = if self.plan.moving { 6000..6008 } else { 0..0 };
        (5000..5000 + self.plan.ports).chain(moving).collect()
    }

    fn choose(&self) -> Act {
        let service = match self.stage.draw(3) {
            0 if self.plan.moving => MOVING[self.stage.draw(2)],
            _ => STILL,
        };
        let name = instance(u8::try_from(self.stage.draw(self.plan.names.into())).unwrap());
        let claim = || {
            let known = self.claims.borrow().len();
            // Mostly one of the last.
            known.checked_sub(1).map(|last| last - self.stage.draw(known.min(5)))
        };
        let port = || match claim() {
            Some(claim) if self.stage.draw(4) > 0 => self.claims.borrow()[claim].port,
            _ => self.ports()[self.stage.draw(self.ports().len())],
        };
        let offer = |key| Act::Offer { service, name: name.clone(), key };
        match self.stage.draw(100) {
            0..24 => offer(None),
            24..36 => {
                // One key for several names, if the clocks agree: otherwise a claim that is dead for the request that
                // takes the key over may be live for its holder, and the key has two for a while. And none for a
                // service whose range changes: the design names the history in which its maker withdraws a keyed claim
                // that was returned to another caller.
                let shared = self.stage.draw(4) == 0 && !self.plan.is_skewed();
                let key = if shared { "all".to_owned() } else { name.clone() };
                offer((service == STILL).then_some(key))
            }
            36..54 => claim().map_or(offer(None), Act::Accept),
            54..61 => claim().map_or(offer(None), Act::Reject),
            61..65 => claim().map_or(offer(None), Act::ReadOffer),
            65..72 => Act::ReleasePort(service, port()),
            72..79 => Act::ReleaseName(service, name),
            79..82 => Act::Find(port()),
            82..85 => Act::Get(service, name),
            85..88 => Act::Offers(service),
            88..90 => Act::Ports(service),
            90..92 => Act::Reconcile,
            92..93 => Act::Expire,
            _ if !self.plan.moving => offer(None),
            kind => {
                let service = MOVING[self.stage.draw(2)];
                let (start, size) = (6000 + self.stage.draw(5), 2 + self.stage.draw(3));
                let (start, end) =
                    (u16::try_from(start).unwrap(), u16::try_from((start + size - 1).min(6007)).unwrap());
                match kind {
                    93..95 => Act::Create(service, start, end),
                    95..97 => Act::Put(service, start, end),
                    97 => Act::Describe(service),
                    98 => Act::Delete(service),
                    _ => Act::Look(service),
                }
            }
        }
    }

    async fn perform(&self, act: Act) {
        let Attempt { process, began, ended, answer, doubt, sent } =
            self.stage.attempt(async |registry, _| self.ask(registry, &act).await).await;
        let answer = answer.unwrap_or(Answer::Stopped);
        if let Answer::Reconciled(found) = &answer {
            // A mark is abandoned for a clock that is minutes ahead; nothing else may be found.
            let found = Findings { abandoned_marks: 0, ..*found };
            if !found.is_healthy() {
                self.wrong.borrow_mut().push(format!("P16: the reconciler found {found:?}"));
            }
        }
        self.events.borrow_mut().push(Event { act, process, began, ended, answer, doubt, sent });
    }

    async fn ask(&self, registry: &Registry, act: &Act) -> Answer {
        let call = self.stage.call();
        let call = &call;
        let secret = |claim: usize| {
            let claims = self.claims.borrow();
            (service(claims[claim].service), Secret::parse(&claims[claim].secret).unwrap())
        };
        let answer = match act {
            Act::Offer { service: of, name, key } => {
                let key = key.as_ref().map(|key| IdempotencyKey::new(key).unwrap());
                let name = InstanceName::try_from(name.as_str()).unwrap();
                let offered = registry.offer(call, &service(of), &name, key.as_ref()).await;
                offered.map(|offered| {
                    let claim = self.know(of, name.as_str(), &offered.holding);
                    Answer::Offered { claim, replayed: offered.replayed }
                })
            }
            Act::Accept(claim) => {
                let (service, secret) = secret(*claim);
                registry.accept(call, &service, secret, None).await.map(|(found, first)| {
                    let known = &self.claims.borrow()[*claim];
                    if (found.port.get(), found.name.as_str()) != (known.port, known.name.as_str()) {
                        self.wrong.borrow_mut().push(format!("accepted {known:?}, and got {found:?}"));
                    }
                    Answer::Accepted { first }
                })
            }
            Act::Reject(claim) => {
                let (service, secret) = secret(*claim);
                registry
                    .reject(call, &service, secret, portmaster_registry::Rejection::Unwanted)
                    .await
                    .map(|()| Answer::Done)
            }
            Act::ReadOffer(claim) => {
                let (service, secret) = secret(*claim);
                registry.get_offer(call, &service, secret).await.map(|_| Answer::Done)
            }
            Act::ReleasePort(of, port) => {
                let wanted = PortOrName::Port(Port::new(*port).unwrap());
                registry
                    .release(call, &service(of), &wanted, portmaster_registry::By::Holder(None))
                    .await
                    .map(|()| Answer::Done)
            }
            Act::ReleaseName(of, name) => {
                let wanted = PortOrName::Name(InstanceName::try_from(name.as_str()).unwrap());
                registry
                    .release(call, &service(of), &wanted, portmaster_registry::By::Holder(None))
                    .await
                    .map(|()| Answer::Done)
            }
            Act::Find(port) => {
                registry.find_port(call, &Namespace::default(), Port::new(*port).unwrap()).await.map(allocation)
            }
            Act::Get(of, name) => {
                let wanted = PortOrName::Name(InstanceName::try_from(name.as_str()).unwrap());
                registry.get_port(call, &service(of), &wanted).await.map(allocation)
            }
            Act::Offers(of) => self.list(registry, call, of, StateKind::Offered).await,
            Act::Ports(of) => self.list(registry, call, of, StateKind::Allocated).await,
            Act::Reconcile => match registry.reconcile(call).await {
                Ok(findings) => Ok(Answer::Reconciled(findings)),
                Err(error) => Err(error.into()),
            },
            Act::Expire => {
                self.expire();
                Ok(Answer::Done)
            }
            Act::Create(of, start, end) => {
                let new = NewService { id: service(of), content: content(*start, *end, self.plan.strategy) };
                registry.create_service(call, new).await.map(|_| Answer::Created)
            }
            Act::Put(of, start, end) => {
                let new = NewService { id: service(of), content: content(*start, *end, self.plan.strategy) };
                registry.put_service(call, new, &IfMatch::Always).await.map(|written| match written {
                    Written::Created(_) => Answer::Created,
                    Written::Replaced(_) => Answer::Service,
                })
            }
            Act::Describe(of) => {
                let description = Description::try_from(format!("since {}", self.stage.order())).unwrap();
                let change = |old: &_| Ok(Content { description: description.clone(), ..Content::of(old) });
                let changed = registry.change_service(call, &service(of), &IfMatch::Always, change).await;
                changed.map(|_| Answer::Service)
            }
            Act::Delete(of) => {
                registry.delete_service(call, &service(of), &IfMatch::Always).await.map(|()| Answer::Done)
            }
            Act::Look(of) => registry.get_service(call, &service(of)).await.map(|_| Answer::Service),
        };
        match answer {
            Ok(answer) => answer,
            Err(Error::Store(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. }))) => {
                Answer::Unknown(error.to_string())
            }
            Err(Error::Store(error)) => {
                self.wrong.borrow_mut().push(format!("{act:?}: {error}"));
                Answer::Unknown(error.to_string())
            }
            Err(error) => Answer::Refused(error),
        }
    }

    /// Registers a claim whose secret was returned; the same secret is the same claim in every particular (P8).
    fn know(&self, service: &'static str, name: &str, holding: &portmaster_domain::Holding) -> usize {
        let claim = Claim {
            secret: holding.secret.expose(),
            service,
            name: name.to_owned(),
            port: holding.claim.port.get(),
            expires_at: holding.claim.expires_at().map_or(0, portmaster_domain::Expiry::seconds),
            accepted_from: None,
        };
        let mut claims = self.claims.borrow_mut();
        if let Some(known) = self.by_secret.borrow().get(&claim.secret) {
            let old = &claims[*known];
            let same = (old.service, &old.name, old.port, old.expires_at)
                == (claim.service, &claim.name, claim.port, claim.expires_at);
            if !same {
                self.wrong.borrow_mut().push(format!("P8: {old:?} was shown again as {claim:?}"));
            }
            return *known;
        }
        self.invariants.returned(claim.secret.clone(), service, claim.port);
        self.by_secret.borrow_mut().insert(claim.secret.clone(), claims.len());
        claims.push(claim);
        claims.len() - 1
    }

    async fn list(&self, registry: &Registry, call: &Call, of: &str, state: StateKind) -> Result<Answer, Error> {
        let list = registry
            .list_claims(call, &service(of), state, &portmaster_registry::ListFilter::default(), None, 100)
            .await?;
        let items: Vec<_> =
            list.items.into_iter().map(|claim| (claim.port.get(), claim.name.as_str().to_owned())).collect();
        let sorted = items.windows(2).all(|two| two[0].0 < two[1].0);
        if !sorted {
            self.wrong.borrow_mut().push(format!("P10: a list in disorder: {items:?}"));
        }
        Ok(Answer::List(items))
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
    }

    async fn judge(&self) -> Result<Figures, String> {
        let told = || describe(&self.plan, &self.claims.borrow(), &self.events.borrow());
        let orders = Projection::new(&self.plan, &self.events.borrow(), &self.claims.borrow()).orders();
        let slots = orders.map_err(|why| format!("{why}\nThe history:\n{}", told()))?;
        self.afterwards().await;
        let mut wrong = self.wrong.borrow().clone();
        wrong.extend(self.invariants.violations());
        if let Some(wrong) = wrong.first() {
            return Err(format!("{wrong}\n{}", told()));
        }
        let events = self.events.borrow();
        Ok(Figures {
            histories: 1,
            operations: events.len(),
            unanswered: events.iter().filter(|event| event.is_open()).count(),
            requests: self.stage.network.requests(),
            faults: self.stage.network.met(),
            claims: self.claims.borrow().len(),
            slots,
            trace: self.stage.network.trace(),
        })
    }

    /// Checks the table when every offer is over by every clock: only accepted claims are held, and the reconciler
    /// finds only what expired, and leaves only what is live (P6, P7, P16).
    async fn afterwards(&self) {
        let fail = |what: String| self.wrong.borrow_mut().push(what);
        sleep(Duration::from_secs(3 * 3600)).await;
        let allocated: BTreeMap<u16, Value> = self.table_ports(|item| item["state"]["S"] == "allocated");
        let registry = self.stage.process(0);
        for name in [STILL].into_iter().chain(MOVING) {
            match self.list(&registry, &self.stage.call(), name, StateKind::Offered).await {
                Ok(Answer::List(items)) if !items.is_empty() => fail(format!("P6: {name} still offers {items:?}")),
                Ok(_) | Err(Error::ServiceNotFound { .. }) => {}
                Err(error) => fail(format!("{name}: {error}")),
            }
        }
        // A caller that stopped under a mark has left the mark behind.
        let is_change =
            |event: &&Event| matches!(event.act, Act::Put(..) | Act::Delete(_) | Act::Describe(_)) && event.is_open();
        let marks = self.events.borrow().iter().filter(is_change).count() as u64;
        let long = || Call::within(Duration::from_secs(60));
        let found = registry.reconcile(&long()).await.unwrap();
        let expected = Findings { abandoned_marks: found.abandoned_marks.min(marks), ..found };
        if !(Findings { abandoned_marks: 0, ..found }.is_healthy() && expected == found && found.finished) {
            fail(format!("P16: after all, with {marks} marks to be expected, the reconciler found {found:?}"));
        }
        let left = self.table_ports(|_| true);
        if left.keys().ne(allocated.keys()) {
            fail(format!("P16: of {allocated:?} the reconciler left {left:?}"));
        }
        let again = registry.reconcile(&long()).await.unwrap();
        if (Findings { finished: true, ..Findings::default() }) != again.regardless_of_extent() {
            fail(format!("P16: the second time the reconciler found {again:?}"));
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
        let rest = (count("#PORT"), count("#INSTANCE#"), count("#REQUEST#"));
        if rest != (allocated.len(), allocated.len(), 0) {
            fail(format!("P16: of {} allocations a week later, ports, names and keys are {rest:?}", allocated.len()));
        }
    }

    fn table_ports(&self, which: impl Fn(&Value) -> bool) -> BTreeMap<u16, Value> {
        let items = self.stage.network.items(TABLE).into_iter();
        let ports = items.filter(|item| item["pk"]["S"] == "N#default#PORT" && which(item));
        ports.map(|item| (item["sk"]["S"].as_str().unwrap().parse().unwrap(), item)).collect()
    }
}

pub fn service(name: &str) -> ServiceId {
    ServiceId::new(Namespace::default(), name.try_into().unwrap())
}

pub fn instance(number: u8) -> String {
    format!("web-{number}")
}

/// Starts a process of its own, with a clock so far ahead, on the table that a network leads to.
pub async fn registry(network: &Faulty, skew: i64) -> Registry {
    Registry::new(table(network), clock_since(Instant::now(), skew), 1_800)
}

pub fn table(network: &Faulty) -> Table {
    // With its tokens, as on AWS: a request that arrives late is the same request.
    Table::new(Client::from_conf(in_process(network.client()).build()), TABLE)
}

pub fn content(start: u16, end: u16, strategy: Strategy) -> Content {
    let range = PortRange::new(Port::new(start).unwrap(), Port::new(end).unwrap()).unwrap();
    Content::new(Description::default(), range, strategy)
}

fn allocation(claim: portmaster_domain::Claim) -> Answer {
    Answer::Allocation { name: claim.name.as_str().to_owned(), port: claim.port.get() }
}
