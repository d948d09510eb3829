//! Shared by the simulated benchmarks: a runtime with paused time, a service, an offer, and statistics.

use std::time::Duration;

use hdrhistogram::Histogram;
use portmaster_domain::{ServiceId, ServiceName, Strategy};
use portmaster_registry::{Meter, Registry};
use portmaster_testkit::{Distant, Network, Offered};

/// Runs in simulated time.
pub fn simulate<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// A network with this round trip for reads and transactions, and the usual jitter and conflicts.
pub fn network(millis: u64) -> Network {
    let round_trip = Duration::from_millis(millis);
    Network { request: round_trip, transaction: round_trip, ..Network::USUAL }
}

pub fn service(number: usize) -> ServiceId {
    ServiceName::try_from(name(number)).unwrap().into()
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

pub async fn create(distant: &Distant, number: usize, start: u16, end: u16, strategy: Strategy) {
    portmaster_testkit::create(distant, &name(number), start, end, strategy).await;
}

/// One offer: its port, if there was one, what it cost, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub port: Option<u16>,
    pub meter: Meter,
    pub took: Duration,
}

impl From<Offered> for Done {
    fn from(Offered { port, meter, took }: Offered) -> Self {
        Self { port: port.ok(), meter, took }
    }
}

pub async fn offer(registry: &Registry, number: usize, instance: &str) -> Done {
    portmaster_testkit::offer(registry, &name(number), instance).await.into()
}

/// Callers, each a process of its own without any memory, that arrive within `over`, spread over the services in turn.
pub async fn crowd(distant: &Distant, callers: usize, services: usize, over: Duration, seed: u64) -> Vec<Done> {
    let services: Vec<_> = (0..services).map(name).collect();
    let offers = portmaster_testkit::crowd(distant, callers, &services, over, seed).await;
    offers.into_iter().map(Done::from).collect()
}

/// Mean, median, 99th percentile and worst.
pub struct Figures {
    pub mean: f64,
    pub median: f64,
    pub p99: f64,
    pub worst: f64,
}

/// The statistics of these values, to a thousandth.
pub fn figures(values: impl Iterator<Item = f64>) -> Figures {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for value in values {
        histogram.record((value * 1000.0).round() as u64).unwrap();
    }
    let at = |value: u64| value as f64 / 1000.0;
    Figures {
        mean: histogram.mean() / 1000.0,
        median: at(histogram.value_at_quantile(0.5)),
        p99: at(histogram.value_at_quantile(0.99)),
        worst: at(histogram.max()),
    }
}
