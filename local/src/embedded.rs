//! The embedded DynamoDB: dynoxide, called in this process. The registry reaches it through the SDK, down to the bytes
//! of each request, so the code that runs here is the code that runs in the cloud; only the wire is left out. It does
//! not listen unless it is told to.

mod connector;
mod expiry;
mod history;
mod perform;
mod wire;
mod worker;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use hyper_util::service::TowerToHyperService;
use portmaster_registry::in_process;
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

pub use connector::{Request, response};
pub use history::{HISTORY_TABLE, Keeping};
pub use perform::perform;

use crate::StartError;
use crate::connections::serve;
use connector::answering;
use history::{Feed, Journal, Message, Recorder};

/// How often expired items are deleted. In the cloud this takes hours to days, so nothing may depend on it.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// A running embedded DynamoDB. Dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    requests: worker::Requests,
    url: Option<String>,
    stop: Vec<Stop>,
    threads: Vec<JoinHandle<()>>,
    failed: Arc<Notify>,
    recorder: Option<mpsc::SyncSender<Message>>,
    /// Held while the data is in use.
    _lock: Option<File>,
}

/// Stops a thread when it is dropped.
#[derive(Debug)]
enum Stop {
    Sweeping { _sender: mpsc::Sender<()> },
    Serving { _sender: oneshot::Sender<()> },
}

impl Embedded {
    /// Starts it with its data in a folder, or in memory only. `sweep` is how often it deletes expired items; without
    /// it, never.
    ///
    /// # Errors
    /// Returns [`StartError`] if the folder cannot be used.
    pub fn start(data: Option<&Path>, sweep: Option<Duration>) -> Result<Self, StartError> {
        Self::start_and_keep(data, sweep, None)
    }

    /// The same, with a history of a table's changes, which is kept in a database of its own.
    ///
    /// # Errors
    /// Returns [`StartError`] if the folder cannot be used.
    pub fn start_and_keep(
        data: Option<&Path>,
        sweep: Option<Duration>,
        keeping: Option<Keeping>,
    ) -> Result<Self, StartError> {
        let (database, lock) = match data {
            Some(folder) => open(folder).map(|(database, lock)| (database, Some(lock)))?,
            None => (Database::memory().map_err(StartError::database)?, None),
        };
        let failed = Arc::new(Notify::new());
        let table = keeping.as_ref().map(|keeping| keeping.table.clone());
        let (requests, recorder, threads) = match keeping {
            Some(keeping) => record(&database, data, keeping, &failed)?,
            None => {
                data.map_or(Ok(()), Journal::discard).map_err(StartError::embedded)?;
                let started = worker::start(database.clone(), perform, Arc::clone(&failed));
                let (requests, working) = started.map_err(StartError::embedded)?;
                (requests, None, vec![working])
            }
        };
        let mut embedded = Self { requests, url: None, stop: Vec::new(), threads, failed, recorder, _lock: lock };
        if let Some(every) = sweep {
            embedded.sweep(database, every, table)?;
        }
        Ok(embedded)
    }

    /// An SDK client of the history's database, if there is one.
    #[must_use]
    pub fn history_client(&self) -> Option<Client> {
        let recorder = self.recorder.clone()?;
        let http = answering(move |request| {
            let (answer, answered) = oneshot::channel();
            let (operation, body) = (request.operation().to_owned(), request.body().to_vec());
            let message = Message::Request { operation, body, answer };
            let recorder = recorder.clone();
            HttpConnectorFuture::new(async move {
                // It waits where the thread is far behind, and must not keep one of the runtime's.
                let sent = tokio::task::spawn_blocking(move || recorder.send(message)).await;
                let stopped = || ConnectorError::io("the history has stopped".into());
                sent.map_err(|_| stopped())?.map_err(|_| stopped())?;
                response(answered.await.map_err(|_| stopped())?)
            })
        });
        Some(Client::from_conf(in_process(http).build()))
    }

    /// Runs on a thread of its own: the database gives its lock to waiting requests between two pages of a sweep,
    /// whereas a sweep of a large table between two requests would keep every caller waiting until it ends.
    ///
    /// With a history, `table` is the table whose items go through the database's thread, one by one, so that it sees
    /// them go.
    fn sweep(&mut self, database: Database, every: Duration, table: Option<String>) -> Result<(), StartError> {
        let requests = self.requests.clone();
        let (stop, stopped) = mpsc::channel::<()>();
        let failed = Arc::clone(&self.failed);
        let sweeping = std::thread::Builder::new().name("ttl".to_owned()).spawn(move || {
            let _alarm = worker::Alarm(failed);
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                let swept = match &table {
                    Some(table) => expiry::sweep(&database, table, &requests),
                    None => database.sweep_ttl().map(drop).map_err(|error| error.to_string()),
                };
                if let Err(error) = swept {
                    tracing::warn!(target: "portmaster::embedded", %error, "expired items were not deleted");
                }
            }
        });
        self.stop.push(Stop::Sweeping { _sender: stop });
        self.threads.push(sweeping.map_err(StartError::embedded)?);
        Ok(())
    }

    /// Serves it at an address too, without authentication. Returns the URL.
    ///
    /// # Errors
    /// Returns [`StartError`] if the address cannot be used.
    pub fn listen(&mut self, address: &str) -> Result<String, StartError> {
        let listen = |error| StartError::Listen { address: address.to_owned(), option: "--database-listen", error };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(StartError::embedded)?;
        let url = format!("http://{}", listener.local_addr().map_err(StartError::embedded)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::embedded)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let service = TowerToHyperService::new(wire::router(self.requests.clone()));
        let serving = std::thread::Builder::new().name("dynamodb".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, service, stopped).await,
                    Err(error) => tracing::error!(target: "portmaster::embedded", %error, "it does not listen"),
                }
            });
        });
        self.stop.push(Stop::Serving { _sender: stop });
        self.threads.push(serving.map_err(StartError::embedded)?);
        self.url = Some(url.clone());
        Ok(url)
    }

    /// The address on which it listens, if it does.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// An SDK client of it, in this process.
    #[must_use]
    pub fn client(&self) -> Client {
        let requests = self.requests.clone();
        let http = answering(move |request| {
            let requests = requests.clone();
            HttpConnectorFuture::new(async move {
                match requests.ask(request.operation(), request.body().to_vec()).await {
                    Some(answer) => response(answer),
                    None => Err(ConnectorError::io("the embedded DynamoDB has stopped".into())),
                }
            })
        });
        Client::from_conf(in_process(http).interceptor(without_tokens()).build())
    }

    /// Returns when the database has panicked. It serves no request from then on.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The listener ends first, since the database's thread performs its last requests.
        self.stop.clear();
        for thread in self.threads.drain(if self.recorder.is_some() { 2 } else { 1 }..) {
            let _ = thread.join();
        }
        self.requests.stop();
        // Then the history's, which has what they changed.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
            if let Some(recorder) = self.recorder.take() {
                let _ = recorder.send(Message::Stop);
            }
        }
    }
}

/// Starts the threads of a database and of its history.
type Recording = (worker::Requests, Option<mpsc::SyncSender<Message>>, Vec<JoinHandle<()>>);

fn record(
    database: &Database,
    data: Option<&Path>,
    keeping: Keeping,
    failed: &Arc<Notify>,
) -> Result<Recording, StartError> {
    let kept = match data {
        Some(folder) => open_file(folder, "history.db")?,
        None => Database::memory().map_err(StartError::database)?,
    };
    let recorder = Recorder::new(keeping.clone(), kept, data, database).map_err(StartError::embedded)?;
    let journal = data.map(Journal::open).transpose().map_err(StartError::embedded)?;
    let (changes, recording) = recorder.start(Arc::clone(failed)).map_err(StartError::embedded)?;
    let feed = Feed::new(&keeping, journal, changes.clone());
    let started = worker::start(database.clone(), feed, Arc::clone(failed));
    let (requests, working) = started.map_err(StartError::embedded)?;
    Ok((requests, Some(changes), vec![working, recording]))
}

fn open(folder: &Path) -> Result<(Database, File), StartError> {
    let unusable = |error: &dyn ToString| StartError::Data { folder: folder.to_owned(), reason: error.to_string() };
    // The data has the secrets of live offers.
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(&error))?;
    let lock = File::create(folder.join("lock")).map_err(|error| unusable(&error))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StartError::DataInUse { folder: folder.to_owned() },
        TryLockError::Error(error) => unusable(&error),
    })?;
    Ok((open_file(folder, "portmaster.db")?, lock))
}

fn open_file(folder: &Path, name: &str) -> Result<Database, StartError> {
    let unusable = |error: &dyn ToString| StartError::Data { folder: folder.to_owned(), reason: error.to_string() };
    let path = folder.join(name);
    // Created here, empty, if it is not there, so that the files that SQLite creates beside it get its mode.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    made.map_err(|error| unusable(&error))?;
    let path = path.to_str().ok_or_else(|| unusable(&"its name is not UTF-8"))?;
    // Its first sentence only; the rest is advice to programs that link the library.
    let cannot_open = |error: &dyn ToString| {
        let text = error.to_string();
        unusable(&format!("{name} cannot be opened, {}", text.split(". ").next().unwrap_or_default()))
    };
    Database::new(path).map_err(|error| cannot_open(&error))
}

/// For the SDK's client of the embedded DynamoDB: removes the `ClientRequestToken` from each transaction.
///
/// The embedded DynamoDB keeps every token for ten minutes and walks all of them at every call, which would slow a busy
/// registry down by an order of magnitude. The guarantee of the token, that a request sent twice is performed once,
/// holds here without it: a late response is waited for and the request is not sent again (attempts have no timeout,
/// and there is no connection that could break), and requests are performed in the order in which they were sent. A
/// request that was given up at its call's deadline may still be performed, late as over any wire, but before whatever
/// the call sends afterwards to clean up. Over a socket, in tests, a connection can break; there the registry
/// recognizes its own items by their secrets and revisions.
#[must_use]
pub fn without_tokens() -> impl Intercept + 'static {
    WithoutTokens
}

#[derive(Debug)]
struct WithoutTokens;

impl Intercept for WithoutTokens {
    fn name(&self) -> &'static str {
        "WithoutTokens"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if request.headers().get("x-amz-target") != Some("DynamoDB_20120810.TransactWriteItems") {
            return Ok(());
        }
        let Some(body) = request.body().bytes() else { return Ok(()) };
        // The items themselves are copied as they are.
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body)?;
        fields.remove("ClientRequestToken");
        let body = serde_json::to_vec(&fields)?;
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        Ok(())
    }
}
