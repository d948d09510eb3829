//! A registry with a service `web`, and jobs that use it.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU16, Ordering};

use portmaster_testkit::{Caller, World};
use serde_json::{Value, json};

use super::job::Job;

/// Every ground has ports of its own, because jobs try theirs on this host. They are below those that the system gives out
/// by itself.
fn ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    NEXT.fetch_add(count, Ordering::Relaxed)
}

pub(crate) struct Ground {
    pub(crate) world: World,
    /// The first port of `web`.
    pub(crate) start: u16,
}

impl Ground {
    /// A registry whose service `web` has so many ports.
    pub(crate) async fn of(count: u16) -> Self {
        let (world, start) = (World::new().await, ports(count));
        let ground = Self { world, start };
        ground.put_service(&ground.world.api, count).await;
        ground
    }

    pub(crate) async fn new() -> Self {
        Self::of(8).await
    }

    pub(crate) async fn put_service(&self, api: &Caller, count: u16) {
        put_service(api, "web", self.start, count).await;
    }

    /// Another service; returns its first port.
    pub(crate) async fn another(&self, service: &str) -> u16 {
        let start = ports(8);
        put_service(&self.world.api, service, start, 8).await;
        start
    }

    /// A job's command line up to its command: `run web NAME` and these options.
    pub(crate) fn job(&self, name: &str, options: &[&str], command: &[impl AsRef<OsStr>]) -> Job {
        Job::new(&self.world.api.url, name, options, command)
    }

    /// A job whose command is a script of `sh`.
    pub(crate) fn script(&self, name: &str, options: &[&str], script: &str) -> Job {
        self.job(name, options, &["sh", "-c", script])
    }

    /// The ports that are held, by name.
    pub(crate) async fn held(&self) -> Vec<(String, u16)> {
        let answer = self.world.api.get("/v1/services/web/ports").await;
        let ports = answer.body.as_array().unwrap().iter();
        ports.map(|port| (port["name"].as_str().unwrap().to_owned(), number(port))).collect()
    }

    /// What a port is: `free`, `allocated`, `quarantined` …
    pub(crate) async fn state(&self, port: u16) -> String {
        let answer = self.world.api.get("/v1/services/web/map").await;
        let runs = answer.body["runs"].as_array().unwrap().clone();
        let within = |run: &&Value| (run["start"].as_u64()..=run["end"].as_u64()).contains(&Some(port.into()));
        runs.iter().find(within).unwrap()["state"].as_str().unwrap().to_owned()
    }

    /// Takes a port without a job.
    pub(crate) async fn take(&self, name: &str, body: Value) -> u16 {
        let answer = self.world.api.put(&format!("/v1/services/web/ports/{name}"), body).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        number(&answer.body)
    }
}

async fn put_service(api: &Caller, service: &str, start: u16, count: u16) {
    let body = json!({ "start": start, "end": start + count - 1 });
    let answer = api.put(&format!("/v1/services/{service}"), body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

pub(crate) fn number(port: &Value) -> u16 {
    port["port"].as_u64().unwrap().try_into().unwrap()
}
