//! The exact network: the faults of real DynamoDB that the embedded one does not have (conflicts, throttling, internal
//! errors, responses that are lost after the commit), for exactly the requests that a script names.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use portmaster_local::Request;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;

use crate::Fault;
use crate::connector::{Answer, Profile, client_over};
use crate::keys::{contains, is_consistent};
use crate::words::answer;

/// How long a test waits for a request that its script holds back: if the code never sends it, the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which requests meet which fault.
///
/// A script names each request by its operation, and where that is not enough by words that its body contains:
/// `"PutItem"`, `"DeleteItem INSTANCE#django"`, or `"GetItem|TransactGetItems 05000"` where either operation is meant.
#[derive(Clone, Debug, Default)]
pub struct Plan(Arc<Mutex<Faults>>, Arc<Gate>);

/// Where requests wait.
#[derive(Debug)]
struct Gate {
    arrivals: Semaphore,
    passes: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrivals: Semaphore::new(0), passes: Semaphore::new(0) }
    }
}

#[derive(Debug, Default)]
struct Faults {
    /// For the next requests with these names, in order.
    scripted: VecDeque<(&'static str, Fault)>,
    /// For all others: how many in a hundred, and the generator that decides.
    random: Option<(u32, SmallRng)>,
    met: usize,
    /// Requests that are in flight, and where they lead.
    held: Vec<(SharedHttpConnector, HttpRequest)>,
    /// The response of an earlier read.
    kept: Option<Vec<u8>>,
}

/// Whether a script's name of a request matches this one.
fn names(name: &str, operation: &str, body: &[u8]) -> bool {
    let mut words = name.split(' ');
    words.next().is_some_and(|operations| operations.split('|').any(|one| one == operation))
        && words.all(|word| contains(body, word))
}

impl Plan {
    /// Returns a plan with these faults for the next requests with these names, in order, and no others.
    pub fn script(faults: &[(&'static str, Fault)]) -> Self {
        let faults = Faults { scripted: faults.iter().copied().collect(), ..Faults::default() };
        Self(Arc::new(Mutex::new(faults)), Arc::default())
    }

    /// Adds faults after those that are left: for a process that has been warmed up meanwhile.
    pub fn add(&self, faults: &[(&'static str, Fault)]) {
        self.0.lock().unwrap().scripted.extend(faults);
    }

    /// Returns a plan with faults for so many requests in a hundred, drawn from a seed.
    pub fn random(percent: u32, seed: u64) -> Self {
        let random = Some((percent, SmallRng::seed_from_u64(seed)));
        Self(Arc::new(Mutex::new(Faults { random, ..Faults::default() })), Arc::default())
    }

    /// Returns as soon as a request waits.
    pub async fn waiting(&self) {
        let arrival = tokio::time::timeout(PATIENCE, self.1.arrivals.acquire()).await;
        arrival.unwrap_or_else(|_| panic!("no request waits; still to come: {:?}", self.left())).unwrap().forget();
    }

    fn left(&self) -> Vec<(&'static str, Fault)> {
        self.0.lock().unwrap().scripted.iter().copied().collect()
    }

    /// Lets one waiting request go.
    pub fn open(&self) {
        self.1.passes.add_permits(1);
    }

    /// Lets the held requests arrive, now that no caller waits for them.
    pub async fn deliver(&self) {
        let held = std::mem::take(&mut self.0.lock().unwrap().held);
        assert!(!held.is_empty(), "nothing is on its way");
        for (connector, request) in held {
            connector.call(request).await.unwrap();
        }
    }

    /// How many requests met a fault.
    pub fn met(&self) -> usize {
        self.0.lock().unwrap().met
    }

    /// Whether every scripted fault was met.
    pub fn is_done(&self) -> bool {
        self.0.lock().unwrap().scripted.is_empty()
    }

    fn next(&self, operation: &str, body: &[u8]) -> Fault {
        let mut faults = self.0.lock().unwrap();
        let fault = match faults.scripted.front().copied() {
            Some((scripted, fault)) if names(scripted, operation, body) => {
                faults.scripted.pop_front();
                fault
            }
            Some(_) => Fault::None,
            None => match &mut faults.random {
                Some((percent, random)) => match (random.random_range(0..100) < *percent, random.random_range(0..5)) {
                    (false, _) => Fault::None,
                    (true, 0) => Fault::LoseReply,
                    (true, 1) => Fault::DoneButError,
                    (true, 2) => Fault::InternalError,
                    (true, 3) => Fault::Throttle,
                    (true, _) => Fault::Conflict,
                },
                None => Fault::None,
            },
        };
        faults.met += usize::from(fault != Fault::None);
        fault
    }

    /// Returns an HTTP client with these faults.
    pub fn client(&self) -> SharedHttpClient {
        let plan = self.clone();
        let wire = aws_smithy_http_client::Builder::new().build_http();
        client_over(wire, move |wire| Exact { plan: plan.clone(), wire })
    }

    /// Returns the response of a read that sees nothing of what has happened since a response was kept, or nothing at
    /// all.
    fn past(&self, operation: &str) -> HttpResponse {
        let nothing = if operation == "GetItem" { "{}" } else { r#"{"Items":[],"Count":0,"ScannedCount":0}"# };
        let kept = self.0.lock().unwrap().kept.clone();
        answer(200, kept.map_or_else(|| SdkBody::from(nothing), SdkBody::from))
    }
}

impl Gate {
    /// Waits until one request is let go.
    async fn pass(&self) {
        self.arrivals.add_permits(1);
        self.passes.acquire().await.unwrap().forget();
    }
}

/// A network on which a plan decides which fault each request meets, over the real wire.
#[derive(Clone)]
struct Exact {
    plan: Plan,
    wire: SharedHttpConnector,
}

impl Profile for Exact {
    type Passage = Fault;

    fn leaves(&self, request: &Request) -> (Fault, Fault) {
        let fault = self.plan.next(request.operation(), request.body());
        (fault, fault)
    }

    async fn there(&self, _: &Request, fault: &Fault) {
        if matches!(fault, Fault::Wait | Fault::WaitAndThrottle) {
            self.plan.1.pass().await;
        }
    }

    async fn done(&self, request: Request, fault: &Fault) -> Answer {
        match fault {
            Fault::Keep => {
                let mut answer = self.wire.call(request.http).await?;
                let body = ByteStream::new(answer.take_body()).collect().await;
                let body = body.map_err(|error| ConnectorError::other(error.into(), None))?.to_vec();
                *answer.body_mut() = SdkBody::from(body.clone());
                self.plan.0.lock().unwrap().kept = Some(body);
                Ok(answer)
            }
            Fault::Stale if is_consistent(request.body()) => self.wire.call(request.http).await,
            Fault::Stale | Fault::Half => Ok(self.plan.past(request.operation())),
            _ => self.wire.call(request.http).await,
        }
    }

    fn later(&self, request: Request, _: Fault) {
        self.plan.0.lock().unwrap().held.push((self.wire.clone(), request.http));
    }

    async fn back(&self, fault: Fault) {
        if fault == Fault::DoneAndWait {
            self.plan.1.pass().await;
        }
    }
}
