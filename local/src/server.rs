//! Starts and stops the registry.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use portmaster_domain::Clock;
use portmaster_http::Api;
use portmaster_registry::{Call, Endpoint, History, Registry, StoreError, Table, Watch, connect};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connections::serve;
use crate::embedded::{Embedded, HISTORY_TABLE, Keeping, SWEEP};
use crate::events::{self, Events};
use crate::guard::{Guard, Rules};
use crate::options::{Options, Page};
use crate::page;

/// How long the table may take to respond at the start.
const START: Duration = Duration::from_secs(10);

/// How often the reconciler runs, and how long it may take; as in the cloud.
const RECONCILE: Duration = Duration::from_secs(15 * 60);
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How often tenures are removed from the history whose time is over.
const HISTORY_SWEEP: Duration = Duration::from_secs(10 * 60);

/// How long requests in flight may take to end: an operation's time, and that of its response.
const STOP: Duration = Duration::from_secs(15);

/// The reasons why the registry cannot run, each in one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program has the address, or it is not this machine's.
    #[error("cannot listen on {address}: {error}; choose another address with {option}")]
    Listen {
        /// The address asked for.
        address: String,
        /// The option that asked for it.
        option: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// The folder is not usable.
    #[error("cannot keep data in {}: {reason}; choose another folder with --data, or use --in-memory", folder.display())]
    Data {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Another registry has the folder.
    #[error("the data in {} is in use by another portmasterd; stop it, or choose another folder with --data", folder.display())]
    DataInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The embedded DynamoDB did not start.
    #[error("the embedded DynamoDB did not start: {0}")]
    Embedded(String),
    /// The other DynamoDB has no such table.
    #[error(
        "there is no table {table:?} at {endpoint}; name another with --table, or make it: aws dynamodb create-table \
         --endpoint-url {endpoint} --table-name {table} --billing-mode PAY_PER_REQUEST --attribute-definitions \
         AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S --key-schema AttributeName=pk,KeyType=HASH \
         AttributeName=sk,KeyType=RANGE && aws dynamodb wait table-exists --endpoint-url {endpoint} --table-name {table} \
         && aws dynamodb update-time-to-live --endpoint-url {endpoint} --table-name {table} \
         --time-to-live-specification Enabled=true,AttributeName=expires_at"
    )]
    NoTable {
        /// The table.
        table: String,
        /// The endpoint at which it was looked for.
        endpoint: String,
    },
    /// The other DynamoDB is unreachable, or refuses.
    #[error("cannot use the DynamoDB at {endpoint}: {error}; check --dynamodb-endpoint, and region and credentials")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// The reason.
        error: StoreError,
    },
    /// The embedded DynamoDB panicked. Everything that was acknowledged is on the disk.
    #[error("the embedded DynamoDB failed, see the log; what was acknowledged is in the folder of --data: start again")]
    Failed,
    /// The registry did not stop cleanly.
    #[error("stopped, but not cleanly: {0}")]
    Stop(String),
}

impl StartError {
    pub(crate) fn embedded(error: io::Error) -> Self {
        Self::Embedded(error.to_string())
    }

    pub(crate) fn database(error: impl std::fmt::Display) -> Self {
        Self::Embedded(error.to_string())
    }
}

/// A running registry.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    greeting: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    reconciling: JoinHandle<()>,
    embedded: Option<Embedded>,
}

impl Server {
    /// Starts a registry. It serves requests once this returns.
    ///
    /// # Errors
    /// Returns [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        // First, since it fails most often, and nothing has been touched yet.
        let listen = |error| StartError::Listen { address: options.listen.clone(), option: "--listen", error };
        let listener = TcpListener::bind(&options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        let events = Events::default();
        let (table, embedded) = table(&options, &events).await?;
        let history = history(embedded.as_ref()).await?;
        let registry = Registry::new(table, Clock::System, options.offer_seconds).with_margin(options.margin_seconds);
        let registry = registry.with_history(history.clone());
        let registry = if embedded.is_some() && !options.in_memory { registry.on_a_disk() } else { registry };
        let reconciling = tokio::spawn(reconcile(registry.clone()));
        let listen = get(move |headers: HeaderMap| events::listen(events.clone(), headers));
        let more = match history {
            Some(_) => Router::new().route(&portmaster_wire::path::events(), listen),
            None => Router::new(),
        };
        let more = more.merge(page::routes(options.page));
        let api = Api { registry, timeout: portmaster_http::TIMEOUT };
        let router = portmaster_http::api_and(more, api);
        let rules = Arc::new(Rules::new(&options.listen, address.ip(), &options.allow_host));
        let service = Guard::new(&rules, TowerToHyperService::new(router));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, service, stopped));
        if !address.ip().is_loopback() {
            tracing::warn!(target: "portmaster::serve", %address, "no authentication: whoever reaches this may do everything");
        }
        let greeting = greeting(address, &options, embedded.as_ref());
        Ok(Self { address, greeting, stop, serving, reconciling, embedded })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, where its data is, and what to try first.
    #[must_use]
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Returns when the registry cannot continue: its embedded database has failed. With another database it never
    /// returns.
    pub async fn failed(&self) -> StartError {
        match &self.embedded {
            Some(embedded) => embedded.failed().await,
            None => std::future::pending().await,
        }
        StartError::Failed
    }

    /// Lets the requests in flight finish, and stops.
    ///
    /// # Errors
    /// Returns [`StartError::Stop`].
    pub async fn stop(self) -> Result<(), StartError> {
        self.reconciling.abort();
        drop(self.stop);
        let result = match timeout(STOP, self.serving).await {
            Err(_) => Err(StartError::Stop("requests were still running".to_owned())),
            Ok(Err(error)) => Err(StartError::Stop(error.to_string())),
            Ok(Ok(())) => Ok(()),
        };
        // Joins its threads, which takes as long as their last request.
        let _ = tokio::task::spawn_blocking(move || drop(self.embedded)).await;
        result
    }
}

async fn table(options: &Options, events: &Events) -> Result<(Table, Option<Embedded>), StartError> {
    let call = Call::within(START);
    if let Some(url) = &options.dynamodb_endpoint {
        let table = Table::new(connect(&Endpoint::Url(url.clone())).await, &options.table);
        table.ping(&call).await.map_err(|error| match error {
            StoreError::NoTable { table } => StartError::NoTable { table, endpoint: url.clone() },
            error => StartError::Unreachable { endpoint: url.clone(), error },
        })?;
        return Ok((table, None));
    }
    let data = (!options.in_memory).then_some(options.data.as_path());
    let keeping = (options.history_days > 0).then(|| Keeping {
        table: options.table.clone(),
        days: options.history_days,
        clock: Clock::System,
        nearly_full: Watch::default().nearly_full,
        sweep: HISTORY_SWEEP,
        events: events.clone(),
    });
    let mut embedded = Embedded::start_and_keep(data, Some(SWEEP), keeping)?;
    let table = Table::new(embedded.client(), &options.table);
    table.create(&call).await.map_err(StartError::database)?;
    if let Some(address) = &options.database_listen {
        embedded.listen(address)?;
    }
    Ok((table, Some(embedded)))
}

/// The history, if there is one.
async fn history(embedded: Option<&Embedded>) -> Result<Option<History>, StartError> {
    let Some(client) = embedded.and_then(Embedded::history_client) else { return Ok(None) };
    let history = History::new(Table::new(client, HISTORY_TABLE));
    history.create(&Call::within(START)).await.map_err(StartError::database)?;
    Ok(Some(history))
}

async fn reconcile(registry: Registry) {
    let mut ticks = interval(RECONCILE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match registry.reconcile(&Call::within(RECONCILE_TIMEOUT)).await {
            Ok(findings) => findings.report(),
            Err(error) => tracing::warn!(target: "portmaster::reconcile", %error, "not reconciled"),
        }
    }
}

fn greeting(address: SocketAddr, options: &Options, embedded: Option<&Embedded>) -> String {
    let data = match (&options.dynamodb_endpoint, options.in_memory) {
        (Some(url), _) => format!("in the table {} at {url}", options.table),
        (None, true) => "in memory, until it stops".to_owned(),
        (None, false) => {
            let folder = options.data.canonicalize().unwrap_or_else(|_| options.data.clone());
            format!("in {}", folder.display())
        }
    };
    let mut text = String::new();
    let _ = writeln!(text, "Portmaster listens on http://{address}");
    let _ = writeln!(text, "Its data is {data}");
    if let Some(url) = embedded.and_then(Embedded::url) {
        let _ = writeln!(text, "Its DynamoDB listens on {url}, without authentication");
    }
    let _ = writeln!(
        text,
        "Try:  curl --json '{{\"name\":\"demo\",\"start\":6000,\"end\":6999}}' http://{address}/v1/services"
    );
    let _ = write!(text, "then: curl --json '{{\"name\":\"demo-01\"}}' http://{address}/v1/services/demo/offers");
    if options.page != Page::Off {
        let _ = write!(text, "\nand:  open http://{address} in a browser");
    }
    text
}
