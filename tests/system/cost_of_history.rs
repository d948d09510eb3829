//! What a history costs, counted on the wire: the figures of docs/history.md.

use std::time::Duration;

use portmaster_domain::{InstanceName, Namespace, Port};
use portmaster_registry::history::{Attributes, Image, Moment, changes};
use portmaster_registry::{By, Call, History, HistoryOf, PortOrName, Rejection, Span, Table};
use portmaster_testkit::{Counts, Meter, TABLE, World, call, embedded_or_skip, service_id, text};

/// A function that records a port's changes, and what it was charged.
struct Recorder {
    world: World,
    history: History,
    meter: Meter,
    before: Option<Attributes>,
    sequence: u64,
}

impl Recorder {
    async fn new() -> Self {
        let world = World::new().await;
        let only = serde_json::json!({ "start": 5000, "end": 5001, "reserved": [5001] });
        world.api.put("/v1/services/django", only).await.expect(201);
        let meter = Meter::default();
        let config = world.database.history_client().unwrap().config().to_builder().interceptor(meter.clone());
        let table = Table::new(aws_sdk_dynamodb::Client::from_conf(config.build()), portmaster_local::HISTORY_TABLE);
        Self { world, history: History::new(table), meter, before: None, sequence: u64::MAX / 2 }
    }

    /// Records what has become of the port since the last call; returns its requests and write units.
    async fn record(&mut self) -> (u32, f64) {
        let client = self.world.dynamodb().await;
        let get = client.get_item().table_name(TABLE).key("pk", text("N#default#PORT")).key("sk", text("05000"));
        let after = get.send().await.unwrap().item;
        let image = |item: &Option<Attributes>| item.clone().and_then(|item| Image::read(item).unwrap());
        let moment = Moment { at: self.world.registry.now(), by_ttl: false, nearly_full: 90 };
        let found = changes(image(&self.before).as_ref(), image(&after).as_ref(), &moment);
        self.before = after;
        self.meter.take();
        let recording = call();
        for tenure in found.tenures {
            self.sequence += 1;
            let written = self.history.record(&recording, &tenure, &self.sequence.into(), History::DAYS).await.unwrap();
            assert!(written, "{tenure:?}");
        }
        let Counts { requests, write_units, read_units, .. } = self.meter.take();
        assert_eq!((read_units, recording.meter().write_units), (0.0, write_units));
        assert_eq!(requests.keys().filter(|one| *one != "PutItem").count(), 0, "{requests:?}");
        (requests.values().sum(), write_units)
    }
}

fn name(text: &str) -> InstanceName {
    InstanceName::try_from(text).unwrap()
}

/// A tenure is three writes and one of its index, by an offer, and two and one, by a `PUT`. A renewal is none.
#[tokio::test]
async fn a_tenure_costs_four_write_units_and_a_renewal_none() {
    if !embedded_or_skip("a_tenure_costs_four_write_units_and_a_renewal_none") {
        return;
    }
    let mut recorder = Recorder::new().await;
    let (registry, service) = (recorder.world.registry.clone(), service_id("django"));
    // With everything that makes a record large, it is below 1 KB.
    let offered = registry.offer(&call(), &service, &name(&"n".repeat(64)), None).await.unwrap();
    assert_eq!(recorder.record().await, (1, 2.0), "offered: the record and its index");
    registry.accept(&call(), &service, offered.holding.secret, None).await.unwrap();
    assert_eq!(recorder.record().await, (1, 1.0), "allocated: the index has not changed");
    registry.release(&call(), &service, &PortOrName::Port(offered.holding.claim.port), By::Holder(None)).await.unwrap();
    assert_eq!(recorder.record().await, (1, 1.0), "ended: nor has it now");

    let body = serde_json::json!({ "lease_seconds": 60, "owner": "o".repeat(128) });
    recorder.world.api.put("/v1/services/django/ports/web-1", body.clone()).await.expect(201);
    assert_eq!(recorder.record().await, (1, 2.0));
    recorder.world.pass(Duration::from_secs(20));
    recorder.world.api.put("/v1/services/django/ports/web-1", body).await.expect(200);
    assert_eq!(recorder.record().await, (0, 0.0), "a renewal");
    recorder.world.pass(Duration::from_secs(100));
    // The next one's claim ends the lease that is over: two records.
    let offered = registry.offer(&call(), &service, &name("next"), None).await.unwrap();
    assert_eq!(recorder.record().await, (2, 3.0));
    registry.reject(&call(), &service, offered.holding.secret, Rejection::Unwanted).await.unwrap();
    assert_eq!(recorder.record().await, (1, 1.0));
}

/// A question costs half a unit, whoever had the port however often; and as much for the port, if the newest lasts.
#[tokio::test]
async fn a_question_costs_half_a_unit_or_one() {
    if !embedded_or_skip("a_question_costs_half_a_unit_or_one") {
        return;
    }
    let recorder = Recorder::new().await;
    let world = &recorder.world;
    let (registry, meter) = world.metered().await;
    let registry = registry.with_history(Some(recorder.history.clone()));
    let cost = async |of: HistoryOf, limit: usize, expected: usize| {
        meter.take();
        recorder.meter.take();
        let read = call();
        let listed = registry.history(&read, &of, Span::default(), None, limit).await.unwrap();
        assert_eq!(listed.items.len(), expected, "{listed:?}");
        charged(&read, &meter, &recorder.meter)
    };
    let port = || HistoryOf::Port(Namespace::default(), Port::new(5000).unwrap());
    let of_name = |text: &str| HistoryOf::Name(service_id("django"), name(text));
    assert_eq!(cost(port(), 100, 0).await, (1, 0.5), "nobody had it");
    for number in 0..6 {
        let path = format!("/v1/services/django/ports/web-{number}");
        world.api.put(&path, serde_json::json!({})).await.expect(201);
        if number < 5 {
            world.api.delete(&path).await.expect(204);
        }
    }
    assert_eq!(cost(port(), 100, 6).await, (2, 1.0), "the list, and the port that is held");
    assert_eq!(cost(port(), 1, 1).await, (2, 1.0), "the newest");
    assert_eq!(cost(of_name("web-0"), 100, 1).await, (2, 1.0), "by name: the index, and the record");
    let read = call();
    let at = world.registry.now();
    registry.history_at(&read, &port(), at).await.unwrap().unwrap();
    assert_eq!(charged(&read, &meter, &recorder.meter), (2, 1.0), "who has it now");
    world.api.delete("/v1/services/django/ports/web-5").await.expect(204);
    assert_eq!(cost(port(), 100, 6).await, (1, 0.5), "all of them have ended");
}

/// The requests and read units of a call, on the two wires; the registry's own meter agrees.
fn charged(read: &Call, registry: &Meter, history: &Meter) -> (u32, f64) {
    let (registry, history) = (registry.take(), history.take());
    let requests: u32 = registry.requests.values().chain(history.requests.values()).sum();
    let units = registry.read_units + history.read_units;
    assert_eq!((read.meter().requests, read.meter().read_units), (requests, units));
    assert_eq!(registry.write_units + history.write_units, 0.0);
    (requests, units)
}
