//! What the simulated benchmarks share: a runtime whose time is paused, a service, an offer, and figures of many.

use std::time::Duration;

use futures::future::join_all;
use hdrhistogram::Histogram;
use portmaster_shared::domain::{Description, InstanceName, Namespace, Port, PortRange, ServiceName, Strategy};
use portmaster_shared::http::TIMEOUT;
use portmaster_shared::operations::{Content, NewService, Registry};
use portmaster_shared::store::{Call, Meter};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use portmaster_simulated::{Distant, Network};

/// Runs in simulated time.
pub fn simulate<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Reads and transactions that far away, with the usual jitter and conflicts.
pub fn network(millis: u64) -> Network {
    let round_trip = Duration::from_millis(millis);
    Network { request: round_trip, transaction: round_trip, ..Network::USUAL }
}

pub fn service(number: usize) -> ServiceName {
    ServiceName::try_from(format!("service-{number}")).unwrap()
}

pub async fn create(distant: &Distant, number: usize, start: u16, end: u16, strategy: Strategy) {
    let range = PortRange::of_service(Port::new(start).unwrap(), Port::new(end).unwrap()).unwrap();
    let content = Content { description: Description::default(), range, strategy };
    let registry = distant.process(&distant.client().await);
    let new = NewService { name: service(number), content };
    registry.create_service(&Call::within(TIMEOUT), &Namespace::default(), new).await.unwrap();
    distant.take_traffic();
}

/// One offer: whether there was one, what it cost, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub port: Option<u16>,
    pub meter: Meter,
    pub took: Duration,
}

pub async fn offer(registry: &Registry, number: usize, name: &str) -> Done {
    let (call, name, began) = (Call::within(TIMEOUT), InstanceName::try_from(name).unwrap(), Instant::now());
    let offered = registry.offer(&call, &Namespace::default(), &service(number), &name, None).await;
    let port = offered.ok().map(|offered| offered.holding.claim.port.get());
    Done { port, meter: call.meter(), took: began.elapsed() }
}

/// So many callers, each a process of its own that knows nothing, arrive over so long, one after another on so many
/// services.
pub async fn crowd(distant: &Distant, callers: usize, services: usize, over: Duration, seed: u64) -> Vec<Done> {
    let client = distant.client().await;
    let mut random = SmallRng::seed_from_u64(seed);
    join_all((0..callers).map(|i| {
        let (registry, wait) = (distant.process(&client), over.mul_f64(random.random_range(0.0..1.0)));
        async move {
            sleep(wait).await;
            offer(&registry, i % services, &format!("web-{i}")).await
        }
    }))
    .await
}

/// Mean, 99th percentile and worst.
pub struct Figures {
    pub mean: f64,
    pub p99: f64,
    pub worst: f64,
}

/// Of whole numbers, or of thousandths.
pub fn figures(values: impl Iterator<Item = f64>) -> Figures {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for value in values {
        histogram.record((value * 1000.0).round() as u64).unwrap();
    }
    let at = |value: u64| value as f64 / 1000.0;
    Figures { mean: histogram.mean() / 1000.0, p99: at(histogram.value_at_quantile(0.99)), worst: at(histogram.max()) }
}
