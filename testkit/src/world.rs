//! A registry to test against: a table of its own, and as many processes on it as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use portmaster_domain::{Clock, ServiceId, ServiceName};
use portmaster_http::{Api, TIMEOUT};
use portmaster_local::{Embedded, Events, HISTORY_TABLE, Keeping, without_tokens};
use portmaster_registry::{Call, Endpoint, History, Registry, Table, Watch, sdk_config};

use crate::{Caller, Meter, Plan, TABLE};

/// How a registry under test differs from the usual one.
pub struct Setup {
    /// How long an offer lives.
    pub offer_seconds: u32,
    /// How often expired items are deleted; never, if none.
    pub sweep: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { offer_seconds: Registry::OFFER_SECONDS, sweep: None }
    }
}

/// Where the tables are.
pub struct Database {
    url: String,
    /// On another DynamoDB, an account of this world's own, so that every world finds it empty.
    account: Option<String>,
    embedded: Option<Embedded>,
    /// What is told of its changes: nothing, unless it is the embedded one.
    pub events: Events,
}

/// The variable that names another DynamoDB than the embedded one, for every world that does not require the latter.
pub const OTHER_DYNAMODB: &str = "PORTMASTER_TEST_DYNAMODB";

/// The variable by whose value a test does less of the same, where another DynamoDB is slow.
pub const SCALE: &str = "PORTMASTER_TEST_SCALE";

/// Whether a test of the embedded DynamoDB can run. If not, prints that it is skipped: a test that did nothing must not
/// look like one that passed.
pub fn embedded_or_skip(test: &str) -> bool {
    let other = std::env::var(OTHER_DYNAMODB).is_ok();
    if other {
        // Not `eprintln!`, which the test harness captures.
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: it is about the embedded DynamoDB");
    }
    !other
}

/// Returns this number of rounds, or fewer where another DynamoDB is slow; at least one.
pub fn rounds(count: usize) -> usize {
    let scale = std::env::var(SCALE).map_or(1, |scale| scale.parse().unwrap());
    count.div_ceil(scale).max(1)
}

impl Database {
    fn new(sweep: Option<Duration>, clock: Clock) -> Self {
        let other = std::env::var(OTHER_DYNAMODB).ok();
        let Some(url) = other.filter(|_| sweep.is_none()) else {
            let nearly_full = Watch::default().nearly_full;
            let events = Events::default();
            let (table, days, told) = (TABLE.to_owned(), History::DAYS, events.clone());
            let keeping =
                Keeping { table, days, clock, nearly_full, sweep: sweep.unwrap_or(Duration::from_secs(600)), events };
            let mut embedded = Embedded::start_and_keep(None, sweep, Some(keeping)).unwrap();
            let url = embedded.listen("127.0.0.1:0").unwrap();
            return Self { url, account: None, embedded: Some(embedded), events: told };
        };
        // MiniStack interprets an access key of twelve digits as an account.
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let account = format!("{:06}{:06}", std::process::id() % 1_000_000, number % 1_000_000);
        Self { url, account: Some(account), embedded: None, events: Events::default() }
    }

    /// The URL on which it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The access key that leads to this world's tables.
    pub fn access_key(&self) -> &str {
        self.account.as_deref().unwrap_or("local")
    }

    /// A client of the history's database: only where the database is the embedded one.
    pub fn history_client(&self) -> Option<Client> {
        self.embedded.as_ref().and_then(Embedded::history_client)
    }

    /// The history of the registry's table: only where the database is the embedded one.
    pub async fn history(&self) -> Option<History> {
        let client = self.history_client()?;
        let history = History::new(Table::new(client, HISTORY_TABLE));
        history.create(&call()).await.unwrap();
        Some(history)
    }

    /// Returns the configuration of its clients. The embedded one gets no tokens, as in production.
    async fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        let config = sdk_config(&Endpoint::Embedded(self.url.clone())).await;
        match &self.account {
            None => config.interceptor(without_tokens()),
            Some(account) => config.credentials_provider(Credentials::new(account, "local", None, None, "test")),
        }
    }

    async fn client(&self, meter: Option<Meter>) -> Client {
        let config = self.config().await;
        let config = match meter {
            Some(meter) => config.interceptor(meter),
            None => config,
        };
        Client::from_conf(config.build())
    }
}

/// A registry with a database of its own, in memory, behind the real wire protocol.
pub struct World {
    /// Where its table is.
    pub database: Database,
    /// Milliseconds that its clock is ahead of the system's.
    pub shift: Arc<AtomicI64>,
    /// How long an offer lives.
    pub offer_seconds: u32,
    /// One process on the table.
    pub registry: Registry,
    /// A caller of that process.
    pub api: Caller,
}

/// Returns a call with enough time.
pub fn call() -> Call {
    Call::within(if std::env::var(OTHER_DYNAMODB).is_ok() { 4 * PATIENCE } else { PATIENCE })
}

/// How long a test waits for an operation of its own, and for the API, where another DynamoDB is slow under many
/// callers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A service of the namespace `default`, which every call of the API uses.
pub fn service_id(name: &str) -> ServiceId {
    ServiceName::try_from(name).unwrap().into()
}

impl World {
    /// Creates a world with the usual setup.
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// Creates a world with this setup.
    pub async fn with(setup: Setup) -> Self {
        let shift = Arc::<AtomicI64>::default();
        let database = Database::new(setup.sweep, Clock::Shifted(Arc::clone(&shift)));
        let client = database.client(None).await;
        let table = Table::new(client, TABLE);
        table.create(&call()).await.unwrap();
        let registry = Registry::new(table, Clock::Shifted(Arc::clone(&shift)), setup.offer_seconds)
            .with_history(database.history().await);
        let api = serve(registry.clone()).await;
        Self { database, shift, offer_seconds: setup.offer_seconds, registry, api }
    }

    /// Starts another process on the same table: it shares no memory with the first one, and its clock may differ.
    pub async fn another(&self, shift_millis: i64) -> Registry {
        let clock = Clock::Shifted(Arc::new(AtomicI64::new(shift_millis)));
        Registry::new(Table::new(self.database.client(None).await, TABLE), clock, self.offer_seconds)
    }

    /// Starts another process, whose requests meet faults.
    pub async fn faulty(&self, plan: &Plan) -> Registry {
        let config = self.database.config().await.http_client(plan.client());
        let clock = Clock::Shifted(Arc::clone(&self.shift));
        Registry::new(Table::new(Client::from_conf(config.build()), TABLE), clock, self.offer_seconds)
    }

    /// Starts another process with the first one's clock.
    pub async fn forgetful(&self) -> Registry {
        let client = self.database.client(None).await;
        Registry::new(Table::new(client, TABLE), Clock::Shifted(Arc::clone(&self.shift)), self.offer_seconds)
    }

    /// Starts another process, with a meter on its wire. Its clock stands still, so that its behaviour does not depend
    /// on how fast this machine is.
    pub async fn metered(&self) -> (Registry, Meter) {
        let meter = Meter::default();
        let client = self.database.client(Some(meter.clone())).await;
        let clock = Clock::Fixed(Clock::System.now());
        (Registry::new(Table::new(client, TABLE), clock, self.offer_seconds), meter)
    }

    /// Starts another process whose time is this clock's and whose requests meet faults.
    pub async fn at(&self, clock: Clock, plan: &Plan) -> Registry {
        let config = self.database.config().await.http_client(plan.client());
        Registry::new(Table::new(Client::from_conf(config.build()), TABLE), clock, self.offer_seconds)
    }

    /// Returns a plain client of the table, to inspect items and to damage them.
    pub async fn dynamodb(&self) -> Client {
        self.database.client(None).await
    }

    /// Advances this registry's clock.
    pub fn pass(&self, time: Duration) {
        self.shift.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Asserts that the reconciler finds nothing that a healthy table never has (promise P16).
    pub async fn assert_healthy(&self) {
        let findings = self.registry.reconcile(&call()).await.unwrap();
        assert!(findings.is_healthy() && findings.finished, "{findings:?}");
    }
}

/// Serves a registry over HTTP, for as long as the test's runtime runs.
pub async fn serve(registry: Registry) -> Caller {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let timeout = if std::env::var(OTHER_DYNAMODB).is_ok() { PATIENCE } else { TIMEOUT };
    let router = portmaster_http::api(Api { registry, timeout });
    tokio::spawn(axum::serve(listener, router).into_future());
    Caller::new(url)
}

/// Fills a service with `count` allocations from `first`, as if instances `filler-<port>` had accepted them. They are
/// written directly, since only the state matters and not how it came about.
pub async fn fill(world: &World, service: &str, first: u16, count: u16) {
    use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
    let client = world.dynamodb().await;
    let item = |port: u16| {
        let text = |value: String| AttributeValue::S(value);
        let secret = format!("{port:04x}ffff-ffff-8fff-bfff-ffffffffffff");
        PutRequest::builder()
            .item("pk", text("N#default#PORT".to_owned()))
            .item("sk", text(format!("{port:05}")))
            .item("service", text(service.to_owned()))
            .item("name", text(format!("filler-{port}")))
            .item("state", text("allocated".to_owned()))
            .item("secret", text(secret))
            .item("created", AttributeValue::N("1700000000000".to_owned()))
            .item("accepted", AttributeValue::N("1700000000001".to_owned()))
            .build()
            .unwrap()
    };
    let ports: Vec<_> = (first..first + count).collect();
    for chunk in ports.chunks(25) {
        let requests = chunk.iter().map(|port| WriteRequest::builder().put_request(item(*port)).build()).collect();
        client.batch_write_item().request_items(TABLE, requests).send().await.unwrap();
    }
}
