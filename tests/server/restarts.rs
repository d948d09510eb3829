//! Whatever is asked of a server, and however often it is killed meanwhile, its history is what its callers did.
//!
//! Each caller has a service of its own and does one thing at a time, so it knows the tenures of its ports in their
//! order. What it gets no answer to, it asks the next server again. Servers are killed at any time: within a request,
//! while tenures wait to be written, and while they catch up with what the one before has left.
//!
//! `PORTMASTER_SEED=7` plays one history alone, to repeat a failure as far as the machine does; `PORTMASTER_RESTARTS`
//! is how often the server is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::process::{Process, portmaster};
use portmaster_testkit::http;

const CALLERS: u16 = 4;
const OPTIONS: [&str; 4] = ["--offer-seconds", "2", "--margin", "0"];

type Time = DateTime<Utc>;

/// What a caller knows of a tenure.
#[derive(Clone, Debug)]
struct Tenure {
    name: String,
    port: u64,
    label: &'static str,
    is_allocated: bool,
    /// How it ended, and between which times; none while it lasts.
    end: Option<(&'static str, Time, Time)>,
}

/// One caller, its service, and what it has done there.
struct Caller {
    service: String,
    server: watch::Receiver<Option<String>>,
    random: SmallRng,
    tenures: Vec<Tenure>,
    /// The tenures that last, by their places above.
    held: Vec<usize>,
    /// Names for which a request was sent more than once: the first one may have left a tenure that nobody heard of.
    repeated: Vec<String>,
    is_repeated: bool,
}

struct Answer {
    status: u16,
    body: Value,
    /// Between these times it was dealt with.
    sent: Time,
    answered: Time,
}

impl Answer {
    fn until(&self) -> Time {
        self.body["expires_at"].as_str().unwrap().parse().unwrap()
    }
}

impl Caller {
    /// Asks until there is an answer.
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let sent = Utc::now();
        let key = self.random.random::<u64>();
        self.is_repeated = false;
        loop {
            let url = self.server.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            let place = format!("{url}/v1/services/{}/{path}", self.service);
            let mut request = http(&place).build().unwrap().request(method.parse().unwrap(), &place);
            if let Some(body) = &body {
                request = request.json(body);
            }
            if path == "offers" {
                request = request.header("Idempotency-Key", key);
            }
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                if let Ok(text) = answer.text().await
                    && status != 503
                {
                    let body = serde_json::from_str(&text).unwrap_or_default();
                    return Answer { status, body, sent, answered: Utc::now() };
                }
            }
            self.is_repeated = true;
            // Not the same server again, once that is known to be gone.
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks for a port for a name. None if all are taken: then one is given back, if the caller has one.
    async fn claim(&mut self, name: &str, method: &str, path: &str, body: Value) -> Option<Answer> {
        let answer = self.ask(method, path, Some(body)).await;
        if self.is_repeated {
            self.repeated.push(name.to_owned());
        }
        if answer.status == 409 {
            self.release().await;
            return None;
        }
        assert!([200, 201].contains(&answer.status), "{}", answer.body);
        Some(answer)
    }

    fn begins(&mut self, name: &str, answer: &Answer, is_allocated: bool) -> usize {
        let port = answer.body["port"].as_u64().unwrap();
        self.tenures.push(Tenure { name: name.to_owned(), port, label: "1", is_allocated, end: None });
        self.tenures.len() - 1
    }

    /// One thing that a caller does with a name of its own.
    async fn live(&mut self, name: &str) {
        let body = json!({ "labels": { "v": "1" } });
        let leased = json!({ "labels": { "v": "1" }, "lease_seconds": 1 });
        let offered = json!({ "labels": { "v": "1" }, "name": name });
        match self.random.random_range(0..10) {
            0..4 => {
                let path = format!("ports/{name}");
                let Some(answer) = self.claim(name, "PUT", &path, body).await else { return };
                let place = self.begins(name, &answer, true);
                self.held.push(place);
                if self.random.random_bool(0.3) {
                    let body = json!({ "labels": { "v": "2" } });
                    let answer = self.ask("PUT", &path, Some(body)).await;
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    self.tenures[place].label = "2";
                }
                if self.random.random_bool(0.7) {
                    self.release().await;
                }
            }
            // A lease that nobody renews.
            4 | 5 => {
                let path = format!("ports/{name}");
                let Some(answer) = self.claim(name, "PUT", &path, leased).await else { return };
                let place = self.begins(name, &answer, true);
                self.tenures[place].end = Some(("lease-lapsed", answer.until(), answer.until()));
            }
            _ => {
                let Some(answer) = self.claim(name, "POST", "offers", offered).await else { return };
                let place = self.begins(name, &answer, false);
                let until = answer.until();
                let over = Some(("offer-expired", until, until));
                let secret = answer.body["secret"].as_str().unwrap().to_owned();
                let (end, call, body) = match self.random.random_range(0..4) {
                    0 => (None, "accept", json!({})),
                    1 => (Some("rejected"), "reject", json!({})),
                    2 => (Some("quarantined"), "reject", json!({ "reason": "in-use", "quarantine_seconds": 1 })),
                    // An offer that nobody takes.
                    _ => return self.tenures[place].end = over,
                };
                let answer = self.ask("POST", &format!("offers/{secret}/{call}"), Some(body)).await;
                let first = answer.sent;
                match (answer.status, end) {
                    (200 | 201, None) => {
                        self.tenures[place].is_allocated = true;
                        self.held.push(place);
                    }
                    (204, Some(end)) => self.tenures[place].end = Some((end, first, answer.answered)),
                    // The first request has done it, or the offer was over.
                    (404, Some(end)) if self.is_repeated && first < until => {
                        self.tenures[place].end = Some((end, first, answer.answered));
                        self.repeated.push(name.to_owned());
                    }
                    (404 | 410, _) if answer.answered >= until => self.tenures[place].end = over,
                    _ => panic!("{call}: {} {}", answer.status, answer.body),
                }
            }
        }
    }

    /// Gives back a port, if the caller has one.
    async fn release(&mut self) {
        if self.held.is_empty() {
            return sleep(Duration::from_millis(100)).await;
        }
        let place = self.held.swap_remove(self.random.random_range(0..self.held.len()));
        let path = format!("ports/{}", self.tenures[place].name);
        let answer = self.ask("DELETE", &path, None).await;
        assert!(
            answer.status == 204 || (answer.status == 404 && self.is_repeated),
            "{} {}",
            answer.status,
            answer.body
        );
        self.tenures[place].end = Some(("released", answer.sent, answer.answered));
    }

    /// Whether the history says of a tenure what its caller knows.
    fn judge(&self, told: &Value, known: &Tenure) -> Result<(), String> {
        let time = |name: &str| told[name].as_str().map(|text| text.parse::<Time>().unwrap());
        let plain = json!([told["name"], told["port"], told["labels"]["v"], time("allocated").is_some()]);
        let expected = json!([known.name, known.port, known.label, known.is_allocated]);
        // A reject that was sent again may have met an offer that was over by then.
        let is_either =
            |end: &str| told["end"] == "offer-expired" && self.repeated.contains(&known.name) && end != "released";
        let is_ended = match &known.end {
            None => told["end"].is_null() && time("ended").is_none(),
            Some((end, from, to)) => {
                let slack = Duration::from_millis(1);
                let within = time("ended").is_some_and(|ended| *from - slack <= ended && ended <= *to + slack);
                (told["end"] == *end && within) || is_either(end)
            }
        };
        if plain == expected && is_ended { Ok(()) } else { Err(format!("{told}\nis not {known:?}")) }
    }

    /// Compares the history of the caller's ports with what it did. Returns how many tenures nobody was told of.
    async fn compare(&self, url: &str, first: u16) -> usize {
        let mut known: BTreeMap<u64, Vec<&Tenure>> = BTreeMap::new();
        self.tenures.iter().for_each(|tenure| known.entry(tenure.port).or_default().push(tenure));
        let mut unheard = 0;
        for port in first..first + 8 {
            let place = format!("{url}/v1/ports/{port}/history?limit=1000");
            let told: Vec<Value> =
                http(&place).build().unwrap().get(&place).send().await.unwrap().json().await.unwrap();
            let mut expected = known.remove(&u64::from(port)).unwrap_or_default().into_iter().peekable();
            for one in told.iter().rev() {
                match expected.peek().map(|known| self.judge(one, known)) {
                    Some(Ok(())) => drop(expected.next()),
                    other => {
                        let name = one["name"].as_str().unwrap().to_owned();
                        let may_be = self.repeated.contains(&name) && !one["end"].is_null();
                        assert!(may_be, "of port {port} nobody was told: {one}; expected: {other:?}");
                        unheard += 1;
                    }
                }
            }
            assert!(expected.next().is_none(), "of port {port} there is no more than {told:#?}, but not {expected:#?}");
        }
        assert!(known.is_empty(), "{known:?}");
        unheard
    }
}

async fn on(data: &Path) -> Process {
    Process::start(&[&["--data", data.to_str().unwrap()], &OPTIONS[..]].concat()).await
}

/// A server that is killed before it has greeted, perhaps.
async fn killed_early(data: &Path, after: Duration) {
    let mut command = portmaster();
    command.args(["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]).args(OPTIONS);
    let mut child = command.spawn().unwrap();
    sleep(after).await;
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_history_survives_any_restart() {
    let given = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = given("PORTMASTER_SEED").unwrap_or_else(rand::random);
    let restarts = given("PORTMASTER_RESTARTS").unwrap_or(15);
    println!("PORTMASTER_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let (publish, server) = watch::channel(None);
    let (finish, finished) = watch::channel(false);
    let first = |number: u16| 6000 + 10 * number;
    let mut process = on(folder.path()).await;
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let service = format!("shop-{number}");
        process.api.service(&service, first(number), first(number) + 7).await;
        let random = SmallRng::seed_from_u64(seed.wrapping_add(u64::from(number)));
        let (server, finished) = (server.clone(), finished.clone());
        let (tenures, held, repeated) = Default::default();
        let mut caller = Caller { service, server, random, tenures, held, repeated, is_repeated: false };
        callers.push(tokio::spawn(async move {
            for count in 0.. {
                if *finished.borrow() {
                    break;
                }
                caller.live(&format!("n-{count}")).await;
            }
            caller
        }));
    }
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..restarts {
        publish.send_replace(Some(process.api.url.clone()));
        sleep(Duration::from_millis(random.random_range(10..700))).await;
        publish.send_replace(None);
        process.stop(if random.random_bool(0.9) { "-KILL" } else { "-TERM" }).await;
        while random.random_bool(0.4) {
            killed_early(folder.path(), Duration::from_millis(random.random_range(0..150))).await;
        }
        process = on(folder.path()).await;
    }
    publish.send_replace(Some(process.api.url.clone()));
    finish.send_replace(true);
    let mut done = Vec::new();
    for caller in callers {
        done.push(caller.await.unwrap());
    }
    // Until everything is over that is over by itself.
    sleep(Duration::from_millis(3_100)).await;
    let (mut tenures, mut unheard) = (0, 0);
    for _ in 0..2 {
        (tenures, unheard) = (0, 0);
        for (number, caller) in (0..).zip(&done) {
            unheard += caller.compare(&process.api.url, first(number)).await;
            tenures += caller.tenures.len();
        }
        // And a server that was stopped, and not killed, has written all of it.
        assert!(process.stop("-TERM").await.0);
        process = on(folder.path()).await;
    }
    println!("{restarts} restarts, {tenures} tenures, and {unheard} of which nobody was told");
    assert!(tenures > usize::try_from(restarts).unwrap(), "{tenures}");
}
