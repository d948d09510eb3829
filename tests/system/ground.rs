//! One service on which time stands still until a test moves it, and processes whose clocks differ by whole seconds:
//! for the tests of leases, owners and cool-downs. They use the registry's operations, so HTTP is no part of them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_domain::{
    Claim, Description, Expiry, Holding, InstanceName, Labels, Owner, Port, PortRange, Reserved, Secret, Service,
    ServiceId, StateKind, Strategy, Terms,
};
use portmaster_registry::{
    Asked, BulkRelease, By, Content, Error, Expected, Findings, IfMatch, ListFilter, NewService, NewSet, PortOrName,
    Put, Registry, Rejection, Set,
};
use portmaster_testkit::{EPOCH, Plan, Standing, TABLE, World, call, service_id, text};

/// By how many seconds everybody else waits longer than the holder was told.
pub const MARGIN: u32 = Registry::MARGIN_SECONDS;

/// The service `django` and its time.
pub struct Ground {
    pub world: World,
    pub time: Standing,
    pub service: ServiceId,
}

/// A process with a clock of its own.
pub struct Process {
    pub registry: Registry,
    pub service: ServiceId,
}

/// What a service is created with, and changed into.
pub fn content(start: u16, end: u16) -> Content {
    Content::new(Description::default(), range(start, end), Strategy::Lowest)
}

/// The same with these terms.
pub fn with_terms(start: u16, end: u16, terms: Terms) -> Content {
    Content { terms, ..content(start, end) }
}

/// The default terms with this cool-down.
pub fn cooling(cooldown: u32) -> Terms {
    Terms { cooldown, ..Terms::default() }
}

pub fn range(start: u16, end: u16) -> PortRange {
    PortRange::new(port(start), port(end)).unwrap()
}

pub fn reserved(stretches: &[(u16, u16)]) -> Reserved {
    stretches.iter().map(|(start, end)| range(*start, *end)).collect::<Vec<_>>().try_into().unwrap()
}

pub fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub fn name(text: &str) -> InstanceName {
    InstanceName::try_from(text).unwrap()
}

/// An owner; none if the text is empty.
pub fn owner(text: &str) -> Option<Owner> {
    (!text.is_empty()).then(|| Owner::try_from(text).unwrap())
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect::<BTreeMap<_, _>>().try_into().unwrap()
}

/// A request for any port for this name, in the name of this owner.
pub fn asked(instance: &str, by: &str) -> Asked {
    Asked { owner: owner(by), ..Asked::from(name(instance)) }
}

/// A lease in seconds; none for 0.
fn lease(seconds: u32) -> Option<u32> {
    (seconds > 0).then_some(seconds)
}

/// A port by its number, or by the name of its holder.
fn place(text: &str) -> PortOrName {
    match text.parse().ok().and_then(|number| Port::new(number).ok()) {
        Some(port) => PortOrName::Port(port),
        None => PortOrName::Name(name(text)),
    }
}

/// Seconds from the beginning of the test.
pub fn since(expiry: Expiry) -> i64 {
    expiry.seconds() - EPOCH / 1000
}

/// Until when the holder was told that it has the port, in seconds from the beginning; none without an end.
pub fn told(claim: &Claim) -> Option<i64> {
    claim.state.told_until().map(since)
}

/// The port of a PUT's answer, and whether the PUT made it.
#[track_caller]
pub fn put(answer: Result<Put, Error>) -> (u16, bool) {
    let answer = answer.unwrap();
    (answer.claim().port.get(), matches!(answer, Put::Made(_)))
}

/// The ports of a set, and whether the call made any of them.
#[track_caller]
pub fn ports(answer: Result<Set, Error>) -> (Vec<u16>, bool) {
    let Set { claims, made } = answer.unwrap();
    let made = made > 0;
    (claims.iter().map(|claim| claim.port.get()).collect(), made)
}

/// Why an operation failed, in the API's words, or in words of its own where the API has one for several.
#[track_caller]
pub fn why<T: std::fmt::Debug>(answer: Result<T, Error>) -> &'static str {
    match answer.unwrap_err() {
        Error::ServiceNotFound { .. } => "service-not-found",
        Error::ServiceInUse { .. } => "service-in-use",
        Error::ServiceClosing { .. } => "service-closing",
        Error::RangeInUse { .. } => "range-in-use",
        Error::NameTaken { .. } => "name-taken",
        Error::PortTaken { .. } => "port-taken",
        Error::PortNotInRange { .. } => "port-not-in-range",
        Error::HasPort { .. } => "has-port",
        Error::HasNoPort { .. } => "has-no-port",
        Error::NotTheOwner { .. } => "not-the-owner",
        Error::LeaseExpired { .. } => "lease-expired",
        Error::NotHeld { .. } => "not-held",
        Error::RangeExhausted { .. } => "range-exhausted",
        Error::SetDoesNotFit { .. } => "set-does-not-fit",
        Error::SetIsScattered { .. } => "set-is-scattered",
        Error::OfferNotFound { .. } => "offer-not-found",
        Error::OfferExpired { .. } => "offer-expired",
        Error::OfferAccepted { .. } => "offer-accepted",
        Error::PortNotFound { .. } => "port-not-found",
        Error::Store(_) => "unavailable",
        other => panic!("{other:?}"),
    }
}

impl Ground {
    pub async fn new(start: u16, end: u16) -> Self {
        Self::with(content(start, end)).await
    }

    pub async fn with(content: Content) -> Self {
        let ground = Self { world: World::new().await, time: Standing::default(), service: service_id("django") };
        let new = NewService { id: ground.service.clone(), content };
        ground.process(0).await.registry.create_service(&call(), new).await.unwrap();
        ground
    }

    /// Lets so many seconds pass.
    pub fn pass(&self, seconds: u64) {
        self.time.pass(Duration::from_secs(seconds));
    }

    /// Starts a process whose clock is so many seconds ahead.
    pub async fn process(&self, ahead: i64) -> Process {
        self.faulty(ahead, &Plan::default()).await
    }

    /// Starts a process whose requests meet these faults.
    pub async fn faulty(&self, ahead: i64, plan: &Plan) -> Process {
        Process { registry: self.world.at(self.time.clock(ahead * 1000), plan).await, service: self.service.clone() }
    }

    /// Starts a process that has given out a port before, and so knows the service and its terms. What it gave out is
    /// released again, and its requests meet no fault before that.
    pub async fn warm(&self, ahead: i64, plan: &Plan) -> Process {
        let process = self.faulty(ahead, plan).await;
        let secret = process.offer("warm-up", "").await.unwrap().secret;
        process.reject(secret).await.unwrap();
        process
    }

    /// The item of a port, as it is stored.
    pub async fn item(&self, number: u16) -> Option<HashMap<String, AttributeValue>> {
        let client = self.world.dynamodb().await;
        let read = client.get_item().table_name(TABLE).consistent_read(true).key("pk", text("N#default#PORT"));
        read.key("sk", text(format!("{number:05}"))).send().await.unwrap().item
    }

    /// A number in the item of a port.
    pub async fn number(&self, at: u16, attribute: &str) -> Option<i64> {
        self.item(at).await?.get(attribute).map(|value| value.as_n().unwrap().parse().unwrap())
    }

    /// Changes the service, in a process that does nothing else: what others remember of it is then out of date.
    pub async fn change(&self, change: impl Fn(Content) -> Content) -> Result<Service, Error> {
        self.process(0).await.change(change).await
    }

    /// Asserts that the reconciler finds nothing that a healthy table never has (promise P16).
    pub async fn assert_healthy(&self) {
        let findings = self.process(0).await.reconcile().await;
        assert!(findings.is_healthy() && findings.finished, "{findings:?}");
    }
}

impl Process {
    /// Makes sure that a name has a port.
    pub async fn put(&self, instance: &str, by: &str, seconds: u32) -> Result<Put, Error> {
        self.put_as(&asked(instance, by), seconds, Expected::Anything).await
    }

    pub async fn put_as(&self, asked: &Asked, seconds: u32, expected: Expected) -> Result<Put, Error> {
        self.registry.put_port(&call(), &self.service, asked, lease(seconds), expected).await
    }

    /// Makes sure that a name has this very port.
    pub async fn put_at(&self, instance: &str, by: &str, number: u16, seconds: u32) -> Result<Put, Error> {
        let asked = Asked { port: Some(port(number)), ..asked(instance, by) };
        self.put_as(&asked, seconds, Expected::Anything).await
    }

    /// Makes sure that several names have ports.
    pub async fn set(&self, names: &[&str], by: &str, seconds: u32, contiguous: bool) -> Result<Set, Error> {
        let names = names.iter().map(|text| name(text)).collect();
        let set = NewSet { names, owner: owner(by), lease: lease(seconds), contiguous, labels: None };
        self.registry.put_set(&call(), &self.service, &set).await
    }

    pub async fn offer(&self, instance: &str, by: &str) -> Result<Holding, Error> {
        self.offer_as(asked(instance, by)).await
    }

    pub async fn offer_as(&self, asked: Asked) -> Result<Holding, Error> {
        self.registry.offer(&call(), &self.service, asked, None).await.map(|offered| offered.holding)
    }

    pub async fn accept(&self, secret: Secret, seconds: u32) -> Result<(Claim, bool), Error> {
        self.registry.accept(&call(), &self.service, secret, lease(seconds)).await
    }

    pub async fn reject(&self, secret: Secret) -> Result<(), Error> {
        self.registry.reject(&call(), &self.service, secret, Rejection::Unwanted).await
    }

    /// Rejects an offer because its port is in use on the host.
    pub async fn quarantine(&self, secret: Secret, quarantine: Option<u32>) -> Result<(), Error> {
        self.registry.reject(&call(), &self.service, secret, Rejection::InUse { quarantine }).await
    }

    pub async fn renew(&self, at: &str, by: &str, seconds: u32) -> Result<Claim, Error> {
        self.registry.renew(&call(), &self.service, &place(at), owner(by).as_ref(), lease(seconds)).await
    }

    /// Releases a port in somebody's name; `*` is anybody's.
    pub async fn release(&self, at: &str, by: &str) -> Result<(), Error> {
        let owner = if by == "*" { None } else { owner(by) };
        let by = if by == "*" { By::Anybody } else { By::Holder(owner.as_ref()) };
        self.registry.release(&call(), &self.service, &place(at), by).await
    }

    pub async fn lift(&self, number: u16) -> Result<(), Error> {
        self.registry.lift(&call(), &self.service, port(number)).await
    }

    pub async fn get(&self, at: &str) -> Result<Claim, Error> {
        self.registry.get_port(&call(), &self.service, &place(at)).await
    }

    /// What keeps a port from others.
    pub async fn find(&self, number: u16) -> Result<Claim, Error> {
        self.registry.find_port(&call(), &self.service.namespace, port(number)).await
    }

    /// The names and ports of the live claims in this state.
    pub async fn list(&self, state: StateKind) -> Vec<(String, u16)> {
        let all = ListFilter::default();
        let listed = self.registry.list_claims(&call(), &self.service, state, &all, None, 100).await.unwrap();
        listed.items.iter().map(|claim| (claim.name.to_string(), claim.port.get())).collect()
    }

    pub async fn change(&self, change: impl Fn(Content) -> Content) -> Result<Service, Error> {
        let change = |old: &Service| Ok(change(Content::of(old)));
        self.registry.change_service(&call(), &self.service, &IfMatch::Always, change).await
    }

    /// Leaves these ports to the service.
    pub async fn shrink(&self, start: u16, end: u16) -> Result<Service, Error> {
        self.change(|old| Content { range: range(start, end), ..old }).await
    }

    pub async fn delete(&self) -> Result<(), Error> {
        self.registry.delete_service(&call(), &self.service, &IfMatch::Always).await
    }

    /// Creates another service on these ports, and returns this process as one that uses that.
    pub async fn found(&self, service: &str, content: Content) -> Self {
        let new = NewService { id: service_id(service), content };
        self.registry.create_service(&call(), new).await.unwrap();
        Self { registry: self.registry.clone(), service: service_id(service) }
    }

    pub async fn reconcile(&self) -> Findings {
        self.registry.reconcile(&call()).await.unwrap()
    }
}

/// Everything that is allocated.
pub fn everything() -> BulkRelease {
    BulkRelease {
        names: Vec::new(),
        filter: ListFilter::default(),
        allocated: true,
        offered: false,
        from: None,
        dry_run: false,
    }
}
