//! The way between a process and its table, for every harness: a connector below the SDK, in the place of the wire, on
//! which a [`Profile`] decides what happens.
//!
//! A request passes through three parts: *before* it is executed, *the execution*, and *the response*. A profile
//! defines how long the way there and the way back take, how a request is executed, and which [`Fault`] each request
//! meets. The effect of a fault on the three parts is defined here, once. So a new fault is a line in [`Fault`] and one
//! in [`pass`], and every profile can have a request meet it.

use std::fmt;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use portmaster_local::Request;

use crate::words::{conflict, error};

/// The fate of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It arrives and is answered.
    None,
    /// It is not executed: another caller is writing to one of its items.
    Conflict,
    /// It is not executed: the response claims that this very transaction is in progress.
    InProgress,
    /// It is not executed: throttled.
    Throttle,
    /// It is not executed: throttled, with the error of a table with provisioned throughput.
    ThroughputExceeded,
    /// It is not executed, and answered with an internal error.
    InternalError,
    /// It is executed, and answered with an internal error.
    DoneButError,
    /// It is executed, and the connection breaks before the response.
    LoseReply,
    /// It is answered with an internal error, and still in flight: [`Plan::deliver`](crate::Plan::deliver) lets it
    /// arrive.
    Hold,
    /// It is answered as unavailable, and executed some time afterwards.
    Late,
    /// It does not leave before [`Plan::open`](crate::Plan::open).
    Wait,
    /// It is executed, and not answered before [`Plan::open`](crate::Plan::open).
    DoneAndWait,
    /// It is not executed: throttled, with a response that does not come before [`Plan::open`](crate::Plan::open).
    WaitAndThrottle,
    /// It is in flight for a long time, there or back: others overtake it.
    Slow,
    /// It is a read that arrives and is answered, and whose response is kept for [`Fault::Stale`] and [`Fault::Half`].
    Keep,
    /// It is a read that returns past state, unless it is consistent.
    Stale,
    /// A transaction is being committed, and its items become visible one by one. A single read, consistent or not,
    /// returns what was kept, or nothing if nothing was; a read in a transaction is a conflict.
    Half,
    /// It is a transaction whose writes become visible one by one.
    Torn,
}

/// The outcome of a request, as its caller sees it.
pub(crate) type Answer = Result<HttpResponse, ConnectorError>;

/// The properties of a network.
pub(crate) trait Profile: Clone + Send + Sync + 'static {
    /// The state of one request in flight.
    type Passage: Send;

    /// Returns the fault that a request meets when it leaves.
    fn leaves(&self, request: &Request) -> (Fault, Self::Passage);

    /// Waits for the way there, before the request is executed.
    fn there(&self, request: &Request, passage: &Self::Passage) -> impl Future<Output = ()> + Send;

    /// Executes it, and returns the table's own response.
    fn done(&self, request: Request, passage: &Self::Passage) -> impl Future<Output = Answer> + Send;

    /// Executes it later, when its caller no longer waits for it.
    fn later(&self, request: Request, passage: Self::Passage);

    /// Waits for the response's way back.
    fn back(&self, passage: Self::Passage) -> impl Future<Output = ()> + Send;
}

/// Carries one request from when it leaves until its caller has a response.
async fn pass<P: Profile>(profile: P, request: Request) -> Answer {
    let (fault, passage) = profile.leaves(&request);
    profile.there(&request, &passage).await;
    let answer = match fault {
        Fault::None | Fault::Wait | Fault::DoneAndWait | Fault::Slow | Fault::Keep | Fault::Stale | Fault::Torn => {
            profile.done(request, &passage).await
        }
        Fault::Conflict => match conflict(&request) {
            Some(answer) => Ok(answer),
            None => profile.done(request, &passage).await,
        },
        Fault::Half if request.operation().starts_with("Transact") => Ok(conflict(&request).unwrap()),
        Fault::Half => profile.done(request, &passage).await,
        Fault::InProgress if request.operation() == "TransactWriteItems" => {
            Ok(error(400, "TransactionInProgressException"))
        }
        Fault::InProgress => profile.done(request, &passage).await,
        Fault::Throttle | Fault::WaitAndThrottle => Ok(error(400, "ThrottlingException")),
        Fault::ThroughputExceeded => Ok(error(400, "ProvisionedThroughputExceededException")),
        Fault::InternalError => Ok(error(500, "InternalServerError")),
        Fault::DoneButError => {
            profile.done(request, &passage).await?;
            Ok(error(500, "InternalServerError"))
        }
        Fault::LoseReply => {
            profile.done(request, &passage).await?;
            Err(ConnectorError::io("the connection broke before the answer".into()))
        }
        Fault::Hold => {
            profile.later(request, passage);
            return Ok(error(500, "InternalServerError"));
        }
        Fault::Late => {
            profile.later(request, passage);
            return Ok(error(503, "ServiceUnavailable"));
        }
    };
    profile.back(passage).await;
    answer
}

/// The connector of every harness.
#[derive(Clone)]
struct Connector<P>(P);

impl<P> fmt::Debug for Connector<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl<P: Profile> HttpConnector for Connector<P> {
    fn call(&self, http: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(pass(self.0.clone(), Request { http }))
    }
}

/// Returns an HTTP client for the SDK on a network with this profile, which leads straight into a table.
pub(crate) fn client<P: Profile>(profile: P) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(profile));
    http_client_fn(move |_, _| connector.clone())
}

/// Returns the same if the table is reached through another client: the profile is made for that client's connector.
pub(crate) fn client_over<P: Profile>(
    wire: SharedHttpClient,
    profile: impl Fn(SharedHttpConnector) -> P + Send + Sync + 'static,
) -> SharedHttpClient {
    use aws_smithy_runtime_api::client::http::HttpClient as _;
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Connector(profile(wire.http_connector(settings, components))))
    })
}
