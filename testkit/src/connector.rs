//! The way between a process and its table, for every harness: a connector below the SDK, where the wire would be, on which
//! a [`Profile`] decides what happens.
//!
//! What happens to one request has three parts: *before* it is done, *the doing*, and *the answer*. A profile says how long
//! the way there and the way back take, what doing a request is, and which [`Fault`] each request meets; what a fault makes
//! of the three is said here, once. So a new fault is a line in [`Fault`] and one in [`pass`], and every profile can have
//! it meet a request.

use std::fmt;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use portmaster_local::Request;

use crate::words::{conflict, error};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It arrives and is answered.
    None,
    /// It is not done: somebody else is writing to an item of it.
    Conflict,
    /// It is not done: this very transaction is in progress, it says.
    InProgress,
    /// It is not done: throttled.
    Throttle,
    /// It is not done: the same in words for a table with a provisioned throughput.
    ThroughputExceeded,
    /// It is not done, and answered with an internal error.
    InternalError,
    /// It is done, and answered with an internal error.
    DoneButError,
    /// It is done, and the connection breaks before the answer.
    LoseReply,
    /// It is answered with an internal error, and is on its way still: [`Plan::deliver`](crate::Plan::deliver) lets it arrive.
    Hold,
    /// It is answered as unavailable, and is done some time afterwards.
    Late,
    /// It does not leave before [`Plan::open`](crate::Plan::open).
    Wait,
    /// It is done, and not answered before [`Plan::open`](crate::Plan::open).
    DoneAndWait,
    /// It is not done: throttled, and not told so before [`Plan::open`](crate::Plan::open).
    WaitAndThrottle,
    /// It is on its way for a long time, there or back: others overtake it.
    Slow,
    /// It is a read that arrives and is answered, and whose answer is kept for [`Fault::Stale`] and [`Fault::Half`].
    Keep,
    /// It is a read that shows the past, unless it was to be consistent.
    Stale,
    /// A transaction is being committed, and its items become visible one by one. A single read, consistent or not, shows
    /// what was kept, or nothing if nothing was; a read in a transaction is a conflict.
    Half,
    /// It is a transaction whose writes become visible one by one.
    Torn,
}

/// What comes back.
pub(crate) type Answer = Result<HttpResponse, ConnectorError>;

/// What a network is like.
pub(crate) trait Profile: Clone + Send + Sync + 'static {
    /// What it knows of one request on its way.
    type Passage: Send;

    /// A request leaves: the fault that it meets.
    fn leaves(&self, request: &Request) -> (Fault, Self::Passage);

    /// Before it is done: the way there.
    fn there(&self, request: &Request, passage: &Self::Passage) -> impl Future<Output = ()> + Send;

    /// Does it, and gives the table's own answer.
    fn done(&self, request: Request, passage: &Self::Passage) -> impl Future<Output = Answer> + Send;

    /// Has it done later, when nobody waits for it any more.
    fn later(&self, request: Request, passage: Self::Passage);

    /// The answer's way back.
    fn back(&self, passage: Self::Passage) -> impl Future<Output = ()> + Send;
}

/// One request, from when it leaves until its caller has an answer.
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

/// An HTTP client for the SDK on a network like this, which leads straight into a table.
pub(crate) fn client<P: Profile>(profile: P) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(profile));
    http_client_fn(move |_, _| connector.clone())
}

/// The same where the table is reached through another client: the profile is made for that one's connector.
pub(crate) fn client_over<P: Profile>(
    wire: SharedHttpClient,
    profile: impl Fn(SharedHttpConnector) -> P + Send + Sync + 'static,
) -> SharedHttpClient {
    use aws_smithy_runtime_api::client::http::HttpClient as _;
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Connector(profile(wire.http_connector(settings, components))))
    })
}
