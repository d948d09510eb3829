//! The registry goes away while the command runs, and comes back, or not; and clocks that are wrong.

use std::net::SocketAddr;
use std::time::Duration;

use portmaster_http::{Api, TIMEOUT, api};
use portmaster_registry::Registry;
use portmaster_testkit::{Caller, World};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::PATIENCE;
use super::ground::Ground;
use super::job::Job;

/// A registry's process, as far as its callers can tell: it ends with all of its connections.
struct Server {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl Server {
    /// Starts a process on this world's table, at a given address or at any.
    async fn start(world: &World, address: Option<SocketAddr>) -> Self {
        // A registry that nobody has used yet: its connections to the table belong to the runtime that makes them.
        let registry = world.forgetful().await;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let address = runtime.handle().spawn(serve(registry, address)).await.unwrap();
        Self { runtime: Some(runtime), address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it as kill -9 would.
    fn stop(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_background();
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(registry: Registry, address: Option<SocketAddr>) -> SocketAddr {
    let bind = async {
        loop {
            // The one that was there before may still be closing its socket.
            match TcpListener::bind(address.unwrap_or(([127, 0, 0, 1], 0).into())).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let listener = tokio::time::timeout(PATIENCE, bind).await.expect("the address is free in time");
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, api(Api { registry, timeout: TIMEOUT })).into_future());
    address
}

const WAITS: [&str; 3] = ["sh", "-c", "trap 'echo ended; exit 3' TERM; echo ready; read line; echo done"];

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_comes_back_with_its_data_finds_the_lease_kept() {
    let ground = Ground::new().await;
    let server = Server::start(&ground.world, None).await;
    let mut job = Job::new(&server.url(), "job", &["--lease", "60s"], &WAITS);
    assert_eq!(job.line().await, "ready");
    let address = server.stop();
    job.says("could not be renewed yet").await;
    let _again = Server::start(&ground.world, Some(address)).await;
    job.says("renewed again").await;
    assert_eq!(ground.held().await.len(), 1);
    job.write("go on\n").await;
    let end = job.end().await;
    assert_eq!((end.code, end.out.as_str()), (0, "done\n"), "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_comes_back_empty_means_that_the_port_is_lost() {
    for (options, code, last) in [(&[][..], 124, "ended"), (&["--on-lost", "keep"], 0, "done")] {
        let ground = Ground::new().await;
        let server = Server::start(&ground.world, None).await;
        let mut job = Job::new(&server.url(), "job", &[&["--lease", "9s"], options].concat(), &WAITS);
        assert_eq!(job.line().await, "ready");
        let address = server.stop();
        let empty = World::new().await;
        let server = Server::start(&empty, Some(address)).await;
        // With a service of the name, so that it is the port that is missing.
        ground.put_service(&Caller::new(server.url()), 8).await;
        job.says("the port is lost").await;
        if last == "done" {
            job.write("go on\n").await;
        }
        // Standard input stays open: with `stop` it is the signal that ends the command.
        assert_eq!(job.line().await, last);
        let end = job.end().await;
        assert_eq!(end.code, code, "{}", end.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stays_away_means_that_the_port_is_lost_when_its_lease_ends() {
    let ground = Ground::new().await;
    let server = Server::start(&ground.world, None).await;
    let mut job = Job::new(&server.url(), "job", &["--lease", "6s", "--grace", "1s"], &WAITS);
    assert_eq!(job.line().await, "ready");
    server.stop();
    job.says("could not be renewed before its end").await;
    assert_eq!(job.line().await, "ended");
    let end = job.end().await;
    assert_eq!(end.code, 124, "{}", end.err);
    assert!(end.err.contains("could not be given back"), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_released_is_lost() {
    let ground = Ground::new().await;
    let mut job = ground.job("job", &["--lease", "6s"], &WAITS);
    assert_eq!(job.line().await, "ready");
    let released = ground.world.api.delete("/v1/services/web/ports/job?owner=*").await;
    assert_eq!(released.status, 204, "{}", released.body);
    ground.take("job", serde_json::json!({ "owner": "others" })).await;
    assert_eq!(job.line().await, "ended");
    let end = job.end().await;
    assert_eq!(end.code, 124, "{}", end.err);
    assert_eq!(ground.held().await.len(), 1, "what belongs to another owner by now is not released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_clock_is_an_hour_off_renews_all_the_same() {
    for hours in [-1, 1] {
        let ground = Ground::new().await;
        // Of the registry alone: neither this program's clock nor that of the header `Date`.
        let shift = &ground.world.shift;
        shift.fetch_add(hours * 3_600_000, std::sync::atomic::Ordering::Relaxed);
        let mut job = ground.job("job", &["--lease", "9s"], &WAITS);
        assert_eq!(job.line().await, "ready");
        let path = "/v1/services/web/ports/job";
        let until = async || ground.world.api.get(path).await.body["expires_at"].as_str().unwrap().to_owned();
        let (mut last, mut renewals) = (until().await, 0);
        let wait = async {
            while renewals < 3 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now = until().await;
                renewals += usize::from(now != last);
                last = now;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the lease is renewed in time");
        job.write("go on\n").await;
        let end = job.end().await;
        assert_eq!((end.code, end.out.as_str()), (0, "done\n"), "{hours}: {}", end.err);
        assert!(!end.err.contains("lost") && !end.err.contains("yet"), "{hours}: {}", end.err);
        assert_eq!(ground.held().await, []);
    }
}
