//! The embedded DynamoDB: dynoxide, which serves the real wire protocol from inside this process, so that what runs
//! here is what runs in the cloud, down to the SDK's requests.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::StartError;

/// How often expired items are deleted. In the cloud it takes hours to days; nothing may depend on it.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// A running embedded DynamoDB. Dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    stop: Option<(oneshot::Sender<()>, mpsc::Sender<()>)>,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the data is in use.
    _lock: Option<File>,
}

impl Embedded {
    /// Starts it on a free port of the loopback interface, with its data in a folder, or in memory only. `sweep` is how
    /// often it deletes what has expired; never, if none.
    ///
    /// # Errors
    /// [`StartError`] where the folder cannot be used.
    pub fn start(data: Option<&Path>, sweep: Option<Duration>) -> Result<Self, StartError> {
        Self::start_at("127.0.0.1:0", data, sweep)
    }

    /// Starts it at an address.
    ///
    /// # Errors
    /// [`StartError`] where the address or the folder cannot be used.
    pub fn start_at(address: &str, data: Option<&Path>, sweep: Option<Duration>) -> Result<Self, StartError> {
        let listen = |error| StartError::Listen { address: address.to_owned(), option: "--database-listen", error };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let (database, lock) = match data {
            Some(folder) => open(folder).map(|(database, lock)| (database, Some(lock)))?,
            None => (Database::memory().map_err(StartError::database)?, None),
        };
        listener.set_nonblocking(true).map_err(StartError::embedded)?;
        let url = format!("http://{}", listener.local_addr().map_err(StartError::embedded)?);

        // A runtime of its own: its handlers block on a mutex and on SQLite.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dynamodb")
            .enable_all()
            .build()
            .map_err(StartError::embedded)?;
        let (stop_serving, stopped) = oneshot::channel::<()>();
        let served = database.clone();
        let serving = std::thread::Builder::new().name("dynamodb".to_owned()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let stop = async {
                    let _ = stopped.await;
                };
                if let Err(error) = dynoxide::server::serve_with_shutdown(listener, served, stop).await {
                    tracing::error!(target: "portmaster::embedded", error, "the embedded DynamoDB stopped");
                }
            });
        });
        let (stop_sweeping, sweeps) = mpsc::channel::<()>();
        let sweeping = std::thread::Builder::new().name("ttl".to_owned()).spawn(move || {
            let Some(every) = sweep else { return };
            while let Err(mpsc::RecvTimeoutError::Timeout) = sweeps.recv_timeout(every) {
                if let Err(error) = database.sweep_ttl() {
                    tracing::warn!(target: "portmaster::embedded", %error, "expired items were not deleted");
                }
            }
        });
        let threads = vec![serving.map_err(StartError::embedded)?, sweeping.map_err(StartError::embedded)?];
        Ok(Self { url, stop: Some((stop_serving, stop_sweeping)), threads, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open(folder: &Path) -> Result<(Database, File), StartError> {
    let unusable = |error: &dyn ToString| StartError::Data { folder: folder.to_owned(), reason: error.to_string() };
    // The secrets of live offers are in there.
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(&error))?;
    let lock = File::create(folder.join("lock")).map_err(|error| unusable(&error))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StartError::DataInUse { folder: folder.to_owned() },
        TryLockError::Error(error) => unusable(&error),
    })?;
    let path = folder.join("portmaster.db");
    // Made here, empty, if it is not there: what SQLite makes beside it gets its mode.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    made.map_err(|error| unusable(&error))?;
    let path = path.to_str().ok_or_else(|| unusable(&"its name is not UTF-8"))?;
    // Its first sentence; the rest is advice to whoever links the library.
    let cannot_open = |error: &dyn ToString| {
        let text = error.to_string();
        unusable(&format!("portmaster.db cannot be opened, {}", text.split(". ").next().unwrap_or_default()))
    };
    let database = Database::new(path).map_err(|error| cannot_open(&error))?;
    Ok((database, lock))
}

/// For the SDK's client of the embedded DynamoDB: takes the `ClientRequestToken` off each transaction.
///
/// The embedded DynamoDB keeps every token for ten minutes and walks all of them at every call, so that a busy registry
/// would slow down by an order of magnitude. What the token is for, that a request sent twice is done once, holds here
/// without it: a request that is late is waited for and not sent again, and where a connection broke, the registry
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
