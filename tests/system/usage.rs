//! How full the services are: what the reconciler writes down is what the map shows, costs nothing at rest, and forecasts
//! only what it has seen (promise P36).

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_registry::{Registry, Watch};
use portmaster_testkit::{TABLE, World, call, embedded_or_skip, fill, service_id, text};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const TEAM: &str = "/v1/namespaces/team-a";
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn usage(world: &World, path: &str) -> Value {
    world.api.get(&format!("{path}?usage=true")).await.expect(200).body["usage"].clone()
}

/// P36: after any history, in every state, and with a port that cannot be read. The same services exist in two
/// namespaces, and neither counts in the other.
#[tokio::test]
async fn usage_is_what_a_map_of_every_port_says() {
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new().await;
        world.api.put(TEAM, json!({})).await.expect(201);
        let services =
            ["web", "db", "empty"].iter().flat_map(|name| ["/v1", TEAM].map(|at| format!("{at}/services/{name}")));
        let services: Vec<_> = services.collect();
        for (number, path) in services.iter().enumerate() {
            let start = 5000 + 100 * (number / 2);
            let content = json!({
                "start": start, "end": start + 11, "cooldown_seconds": 30, "quarantine_seconds": 5000,
                "reserved": [start + 3, { "start": start + 6, "end": start + 7 }],
            });
            world.api.put(path, content).await.expect(201);
        }
        for _ in 0..40 {
            let path = &services[random.random_range(0..4)];
            let name = format!("web-{}", random.random_range(0..14));
            match random.random_range(0..7) {
                0 | 1 => drop(world.api.put(&format!("{path}/ports/{name}"), json!({ "lease_seconds": 45 })).await),
                2 => drop(world.api.put(&format!("{path}/ports/{name}"), json!({ "lease_seconds": 5000 })).await),
                3 => drop(world.api.post(&format!("{path}/offers"), json!({ "name": name })).await),
                4 => {
                    let offer = world.api.post(&format!("{path}/offers"), json!({ "name": name })).await;
                    if offer.status == 201 {
                        let reject = format!("{path}/offers/{}/reject", offer.secret());
                        world.api.post(&reject, json!({ "reason": "in-use" })).await.expect(204);
                    }
                }
                5 => drop(world.api.delete(&format!("{path}/ports/{name}")).await),
                _ => world.pass(Duration::from_secs(61)),
            }
        }
        let damaged = world.dynamodb().await.put_item().table_name(TABLE).item("pk", text("N#team-a#PORT"));
        damaged.item("sk", text("05009")).item("state", text("confused")).send().await.unwrap();
        let found = world.registry.reconcile(&call()).await.unwrap();
        assert_eq!((found.namespaces, found.services, found.unreadable_items), (2, 6, 1));
        let mut seen = std::collections::BTreeSet::new();
        for path in &services {
            let (usage, map) =
                (usage(&world, path).await, world.api.get(&format!("{path}/map")).await.expect(200).body);
            for member in ["size", "counts", "largest_free_run"] {
                assert_eq!(usage[member], map[member], "{member} of {path}, seed {seed}: {usage}, {map}");
            }
            let counts = map["counts"].as_object().unwrap();
            seen.extend(counts.iter().filter(|(_, count)| **count != json!(0)).map(|(state, _)| state.clone()));
        }
        assert!(seen.len() >= 5, "seed {seed} is too quiet: {seen:?}");
    }
}

/// P36: what the caller sees, and what it does not see.
#[tokio::test]
async fn usage_is_told_to_those_who_ask() {
    let world = World::new().await;
    let plain = world.api.put("/v1/services/web", json!({ "start": 5000, "end": 5009 })).await.expect(201).body;
    world.api.service("db", 6000, 6004).await;
    // Nobody has looked yet.
    let asked = "/v1/services/web?usage=true";
    assert_eq!(world.api.get(asked).await.expect(200).body, plain);
    assert_eq!(world.api.get("/v1/services?usage=true").await.expect(200).body[1], plain);

    world.api.allocate("web", "web-01").await;
    world.registry.reconcile(&call()).await.unwrap();
    let shown = world.api.get(asked).await.expect(200);
    let usage = &shown.body["usage"];
    assert_eq!(
        (&usage["size"], &usage["counts"]["allocated"], &usage["largest_free_run"], &usage["used_percent"]),
        (&json!(10), &json!(1), &json!(9), &json!(10.0))
    );
    assert!(usage["as_of"].as_str().unwrap().ends_with('Z') && usage.get("days_until_full").is_none(), "{usage}");
    // The tag is that of the content: usage does not keep anybody from changing it.
    let plainly = world.api.get("/v1/services/web").await.expect(200);
    assert_eq!((&plainly.body, plainly.header("etag")), (&plain, shown.header("etag")));
    assert_eq!(world.api.get("/v1/services/web?usage=false").await.expect(200).body, plain);

    // In a list, page by page.
    let first = world.api.get("/v1/services?usage=true&limit=1").await.expect(200);
    assert_eq!(first.body[0]["usage"]["size"], 5);
    let next = first.next().unwrap();
    assert!(next.contains("usage=true"), "{next}");
    assert_eq!(&world.api.get(&next).await.expect(200).body[0]["usage"], usage);
    assert_eq!(world.api.get("/v1/services").await.expect(200).body[1], plain);

    for bad in ["usage=", "usage=yes", "usage=true&usage=true"] {
        for path in ["/v1/services", "/v1/services/web"] {
            world.api.get(&format!("{path}?{bad}")).await.expect_problem(400, "invalid-request");
        }
    }
    world.api.get("/v1/services/web/map?usage=true").await.expect_problem(400, "invalid-request");
    world.api.get("/v1/services/nobody?usage=true").await.expect_problem(404, "service-not-found");
}

/// P36: a later service of the same name is another one; and an item that this version cannot read is as good as none.
#[tokio::test]
async fn an_old_or_a_damaged_usage_is_not_shown() {
    let world = World::new().await;
    world.api.service("web", 5000, 5009).await;
    world.registry.reconcile(&call()).await.unwrap();
    assert_eq!(usage(&world, "/v1/services/web").await["size"], 10);
    world.api.delete("/v1/services/web").await.expect(204);
    world.api.service("web", 5000, 5004).await;
    assert_eq!(usage(&world, "/v1/services/web").await, Value::Null);
    assert_eq!(usage(&world, "/v1/services").await, Value::Null);
    world.registry.reconcile(&call()).await.unwrap();
    assert_eq!(usage(&world, "/v1/services/web").await["size"], 5);

    let damage = world.dynamodb().await.put_item().table_name(TABLE).item("pk", text("N#default#HINT#*"));
    damage.item("sk", text("web")).item("counts", text("many")).send().await.unwrap();
    assert_eq!(usage(&world, "/v1/services/web").await, Value::Null);
    let found = world.registry.reconcile(&call()).await.unwrap();
    assert!(found.is_healthy(), "it is evidence of nothing: {found:?}");
    assert_eq!(usage(&world, "/v1/services/web").await["size"], 5);
}

/// P17, P36: what it costs to ask, and that a registry at rest pays for its usage four times a day.
#[tokio::test]
async fn usage_costs_nothing_where_nothing_changes() {
    if !embedded_or_skip("usage_costs_nothing_where_nothing_changes") {
        return;
    }
    let world = World::new().await;
    for number in 0..20 {
        world.api.service(&format!("web-{number:02}"), 5000 + 10 * number, 5009 + 10 * number).await;
    }
    let reconcile = async || {
        let call = call();
        assert!(world.registry.reconcile(&call).await.unwrap().is_healthy());
        call.meter().write_units
    };
    // Each service once, and which of them are the fullest.
    assert_eq!(reconcile().await, 20.0 + 1.0);
    assert_eq!(reconcile().await, 0.0);
    world.api.allocate("web-03", "job").await;
    assert_eq!(reconcile().await, 1.0 + 1.0);
    world.pass(Duration::from_secs(6 * 60 * 60 - 60));
    // A new day may have begun.
    assert!([0.0, 20.0].contains(&reconcile().await));
    world.pass(A_DAY);
    assert_eq!(reconcile().await, 20.0);

    let (registry, meter) = world.metered().await;
    // Requests, read units and write units.
    let cost = || {
        let counts = meter.take();
        (counts.requests.values().sum::<u32>(), counts.read_units, counts.write_units)
    };
    let service = service_id("web-03");
    registry.get_service(&call(), &service).await.unwrap();
    assert_eq!(cost(), (1, 1.0, 0.0));
    registry.get_service_and_usage(&call(), &service).await.unwrap().1.unwrap();
    assert_eq!(cost(), (2, 1.5, 0.0));
    let listed = registry.list_services(&call(), &service.namespace, None, 100).await.unwrap();
    meter.take();
    // An item has up to 400 bytes, by how many days it has seen, so ten of them fit into 4 KB.
    assert_eq!(registry.usages(&call(), &service.namespace, &listed.items[..10]).await.unwrap().len(), 10);
    assert_eq!(cost(), (1, 0.5, 0.0));
}

/// P36: a week in which a range filled up day by day is the first of which there is a forecast.
#[tokio::test]
async fn a_forecast_rests_on_a_week() {
    let world = World::new().await;
    world.api.service("web", 5000, 5099).await;
    world.api.service("still", 6000, 6099).await;
    fill(&world, "still", 6000, 50).await;
    for day in 0..8 {
        for path in ["/v1/services/web", "/v1/services/still"] {
            assert_eq!(usage(&world, path).await.get("days_until_full"), None, "day {day}");
        }
        fill(&world, "web", 5000 + 5 * day, 5).await;
        world.registry.reconcile(&call()).await.unwrap();
        world.pass(A_DAY);
    }
    // 40 of 100, and five more a day.
    assert_eq!(usage(&world, "/v1/services/web").await["days_until_full"], 12.0);
    assert_eq!(usage(&world, "/v1/services/still").await.get("days_until_full"), None);
}

fn watching(registry: Registry, except: &[&str]) -> Registry {
    let except = except.iter().map(|text| text.parse().unwrap()).collect();
    registry.with_watch(Watch { nearly_full: 80, except, ..Watch::default() })
}

/// What the reconciler remembers of the fullest services, from one run to the next.
async fn fullest(world: &World) -> Vec<(String, String, String)> {
    let checkpoint = world.dynamodb().await.get_item().table_name(TABLE);
    let checkpoint = checkpoint.key("pk", text("RECONCILER")).key("sk", text("CHECKPOINT")).send().await.unwrap();
    let item = checkpoint.item.unwrap();
    let part = |entry: &AttributeValue, name: &str| match &entry.as_m().unwrap()[name] {
        AttributeValue::S(text) => text.clone(),
        AttributeValue::N(number) => number.clone(),
        other => panic!("{other:?}"),
    };
    let entries = item["fullest"].as_l().unwrap().iter();
    entries.map(|entry| (part(entry, "namespace"), part(entry, "service"), part(entry, "per_mille"))).collect()
}

/// P36: the fullest services are remembered from run to run, by the namespace and the name that they have; what is full
/// by design is not among them.
#[tokio::test]
async fn the_fullest_are_remembered_and_forgotten() {
    let world = World::new().await;
    let (registry, team) = (watching(world.forgetful().await, &["default/pair"]), format!("{TEAM}/services/web"));
    world.api.put(TEAM, json!({})).await.expect(201);
    world.api.put(&team, json!({ "start": 5000, "end": 5009 })).await.expect(201);
    world.api.service("web", 5000, 5009).await;
    world.api.service("pair", 6000, 6001).await;
    for name in ["one", "two"] {
        world.api.allocate("pair", name).await;
    }
    for number in 0..9 {
        world.api.put(&format!("{team}/ports/web-{number}"), json!({})).await.expect(201);
    }
    let found = registry.reconcile(&call()).await.unwrap();
    assert_eq!((found.services, found.nearly_full), (3, 1));
    let entry = |namespace: &str, per_mille: &str| (namespace.to_owned(), "web".to_owned(), per_mille.to_owned());
    assert_eq!(fullest(&world).await, [entry("team-a", "900"), entry("default", "0")]);
    // Without the exception, both are.
    assert_eq!(watching(world.forgetful().await, &[]).reconcile(&call()).await.unwrap().nearly_full, 2);
    registry.reconcile(&call()).await.unwrap();

    // What it says is of now.
    world.api.put("/v1/services/web/ports/a", json!({})).await.expect(201);
    world.api.delete(&format!("{team}/ports/web-0")).await.expect(204);
    assert_eq!(registry.reconcile(&call()).await.unwrap().nearly_full, 1);
    assert_eq!(fullest(&world).await, [entry("team-a", "800"), entry("default", "100")]);
    // A namespace that was deleted between two runs, and was the last one by name, or stands before another.
    for later in [false, true] {
        for number in 1..9 {
            world.api.delete(&format!("{team}/ports/web-{number}")).await;
        }
        if later {
            world.api.put(TEAM, json!({})).await.expect(201);
            world.api.put(&team, json!({ "start": 5000, "end": 5009 })).await.expect(201);
            registry.reconcile(&call()).await.unwrap();
            assert_eq!(fullest(&world).await.len(), 2);
            world.api.put("/v1/namespaces/team-b", json!({})).await.expect(201);
        }
        world.api.delete(&team).await.expect(204);
        world.api.delete(TEAM).await.expect(204);
        registry.reconcile(&call()).await.unwrap();
        assert_eq!(fullest(&world).await, [entry("default", "100")]);
    }
}
