//! Callers of a registry at a distance: one, and crowds that share no memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use futures::future::join_all;
use portmaster_domain::{Description, InstanceName, Port, PortRange, ServiceId, ServiceName, Strategy};
use portmaster_http::TIMEOUT;
use portmaster_registry::{Asked, Call, Content, Error, Expected, Meter, NewService, NewSet, Put, Registry, Set};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::Distant;

/// The outcome of one offer, within the API's own deadline.
#[derive(Debug)]
pub struct Offered {
    /// The port.
    pub port: Result<u16, Error>,
    /// The requests and the capacity that it took.
    pub meter: Meter,
    /// How long it took, in simulated time.
    pub took: Duration,
}

/// The outcome of another call, within the API's own deadline.
#[derive(Debug)]
pub struct Answered<T> {
    /// What it answered.
    pub answer: Result<T, Error>,
    /// The requests and the capacity that it took.
    pub meter: Meter,
    /// How long it took, in simulated time.
    pub took: Duration,
}

/// Creates a service, and the namespace that it is in; the traffic is not counted.
pub async fn create(distant: &Distant, service: &str, start: u16, end: u16, strategy: Strategy) {
    let range = PortRange::of_service(Port::new(start).unwrap(), Port::new(end).unwrap()).unwrap();
    let content = Content::new(Description::default(), range, strategy);
    let new = NewService { id: id(service), content };
    let registry = distant.process(&distant.client().await);
    if !new.id.namespace.is_default() {
        let namespace = &new.id.namespace;
        registry.put_namespace(&Call::within(TIMEOUT), namespace, Description::default()).await.unwrap();
    }
    registry.create_service(&Call::within(TIMEOUT), new).await.unwrap();
    distant.take_traffic();
}

/// Asks for a port.
pub async fn offer(registry: &Registry, service: &str, name: &str) -> Offered {
    let (service, name) = (id(service), InstanceName::try_from(name).unwrap());
    let (call, began) = (Call::within(TIMEOUT), Instant::now());
    let offered = registry.offer(&call, &service, &name, None).await;
    let port = offered.map(|offered| offered.holding.claim.port.get());
    Offered { port, meter: call.meter(), took: began.elapsed() }
}

/// Sends a PUT of a port, without a precondition.
pub async fn put(registry: &Registry, service: &str, asked: &Asked, lease: Option<u32>) -> Answered<Put> {
    let (service, call, began) = (id(service), Call::within(TIMEOUT), Instant::now());
    let answer = registry.put_port(&call, &service, asked, lease, Expected::Anything).await;
    Answered { answer, meter: call.meter(), took: began.elapsed() }
}

/// Asks for a set.
pub async fn put_set(registry: &Registry, service: &str, set: &NewSet) -> Answered<Set> {
    let (service, call, began) = (id(service), Call::within(TIMEOUT), Instant::now());
    let answer = registry.put_set(&call, &service, set).await;
    Answered { answer, meter: call.meter(), took: began.elapsed() }
}

/// Has so many callers, each a process of its own without any memory, arrive one after another over so long, on these
/// services. The seed determines when each arrives.
pub async fn crowd<S: AsRef<str>>(
    distant: &Distant,
    callers: usize,
    services: &[S],
    over: Duration,
    seed: u64,
) -> Vec<Offered> {
    crowd_of(distant, callers, over, seed, async |registry, i| {
        offer(&registry, services[i % services.len()].as_ref(), &format!("web-{i}")).await
    })
    .await
}

/// Has so many callers, each a process of its own without any memory, arrive one after another over so long. Each makes
/// the call that belongs to its number. The seed determines when each arrives.
pub async fn crowd_of<T>(
    distant: &Distant,
    callers: usize,
    over: Duration,
    seed: u64,
    make: impl AsyncFn(Registry, usize) -> T,
) -> Vec<T> {
    let client = distant.client().await;
    let (mut random, make) = (SmallRng::seed_from_u64(seed), &make);
    join_all((0..callers).map(|i| {
        let (registry, wait) = (distant.process(&client), over.mul_f64(random.random_range(0.0..1.0)));
        async move {
            sleep(wait).await;
            make(registry, i).await
        }
    }))
    .await
}

/// Processes as Lambda has them: each serves one call at a time, the one that was idle last serves the next call, and
/// another one is started only if none is idle.
#[derive(Debug)]
pub struct Processes {
    distant: Distant,
    client: Client,
    idle: Mutex<Vec<Registry>>,
    started: AtomicUsize,
    at_most: usize,
}

impl Processes {
    /// No process yet, and at most so many at a time.
    pub async fn new(distant: &Distant, at_most: usize) -> Self {
        let (distant, client) = (distant.clone(), distant.client().await);
        Self { distant, client, idle: Mutex::default(), started: AtomicUsize::new(0), at_most }
    }

    /// Has one of them make a call. Returns none if all are busy.
    pub async fn serve<T>(&self, make: impl AsyncFnOnce(&Registry) -> T) -> Option<T> {
        let idle = self.idle.lock().unwrap().pop();
        let registry = match idle {
            Some(registry) => registry,
            None if self.started() >= self.at_most => return None,
            None => {
                self.started.fetch_add(1, Ordering::Relaxed);
                self.distant.process(&self.client)
            }
        };
        let answer = make(&registry).await;
        self.idle.lock().unwrap().push(registry);
        Some(answer)
    }

    /// How many were started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }
}

/// The service with this name, or of another namespace as in `team-a/django`.
fn id(service: &str) -> ServiceId {
    match service.split_once('/') {
        Some((namespace, name)) => ServiceId::new(namespace.try_into().unwrap(), name.try_into().unwrap()),
        None => ServiceName::try_from(service).unwrap().into(),
    }
}
