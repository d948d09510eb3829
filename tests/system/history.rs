//! Who had a port, and when, over HTTP.

use std::time::Duration;

use portmaster_testkit::{Fault, Plan, Setup, World, call, embedded_or_skip, fill, serve};
use serde_json::{Value, json};

/// The names of a history's tenures, and how each ended.
fn told(history: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    history.as_array().unwrap().iter().map(|tenure| (text(&tenure["name"]), text(&tenure["end"]))).collect()
}

fn tenures(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, end)| ((*name).to_owned(), (*end).to_owned())).collect()
}

#[tokio::test]
async fn a_port_and_a_name_have_their_history() {
    if !embedded_or_skip("a_port_and_a_name_have_their_history") {
        return;
    }
    let world = World::new().await;
    let api = &world.api;
    let content = json!({ "start": 5000, "end": 5001, "reserved": [5001] });
    api.put("/v1/services/django", content).await.expect(201);
    let one = "/v1/services/django/ports";
    api.put(&format!("{one}/web-1"), json!({ "owner": "me", "labels": { "run": "17" } })).await.expect(201);
    let during = world.registry.now();
    world.pass(Duration::from_secs(60));
    api.delete(&format!("{one}/web-1?owner=me")).await.expect(204);
    let between = world.registry.now();
    world.pass(Duration::from_secs(60));
    api.put(&format!("{one}/web-2"), json!({ "lease_seconds": 30 })).await.expect(201);
    // Renewals are not told, and the lease ends when its holder was told that it would.
    world.pass(Duration::from_secs(20));
    api.post(&format!("{one}/web-2/renew"), json!({ "lease_seconds": 30 })).await.expect(200);
    world.pass(Duration::from_secs(100));
    let secret = api.offer("django", "web-3").await.1;
    api.post(&format!("/v1/services/django/offers/{secret}/reject"), json!({})).await.expect(204);
    world.pass(Duration::from_secs(1));
    api.offer("django", "web-1").await;

    let all = api.get("/v1/ports/5000/history").await.expect(200).body;
    let expected = tenures(&[("web-1", "-"), ("web-3", "rejected"), ("web-2", "lease-lapsed"), ("web-1", "released")]);
    assert_eq!(told(&all), expected, "{all}");
    let first = &all[3];
    assert_eq!((&first["owner"], &first["labels"]), (&json!("me"), &json!({ "run": "17" })), "{first}");
    assert!(first["offered"].as_str() <= first["allocated"].as_str());
    assert!(!all.to_string().contains("secret"));
    // Page by page.
    let (pages, count) = api.pages("/v1/ports/5000/history?limit=1").await;
    assert_eq!((json!(pages), count), (all.clone(), 4));
    // At a time, and in a span.
    let at = |at: portmaster_domain::Timestamp| format!("/v1/ports/5000/history?at={}", at.to_rfc3339());
    assert_eq!(told(&api.get(&at(during)).await.expect(200).body), tenures(&[("web-1", "released")]));
    assert_eq!(api.get(&at(between)).await.expect(200).body, json!([]));
    let span = format!("/v1/ports/5000/history?to={}", between.to_rfc3339());
    assert_eq!(told(&api.get(&span).await.expect(200).body), tenures(&[("web-1", "released")]));
    let since = format!("/v1/ports/5000/history?limit=2&from={}", between.to_rfc3339());
    assert_eq!(told(&json!(api.pages(&since).await.0)), expected[..3]);
    // By name, also when the service is gone.
    world.pass(Duration::from_secs(7200));
    api.delete("/v1/services/django").await.expect(204);
    let of_name = api.get("/v1/services/django/history?name=web-1").await.expect(200).body;
    assert_eq!(told(&of_name), tenures(&[("web-1", "offer-expired"), ("web-1", "released")]));
    assert_eq!(api.get("/v1/services/django/history?name=nobody").await.expect(200).body, json!([]));
    api.get("/v1/services/django/history").await.expect_problem(400, "invalid-request");
    // Another namespace has a history of its own.
    api.put("/v1/namespaces/team-a", json!({})).await.expect(201);
    assert_eq!(api.get("/v1/namespaces/team-a/ports/5000/history").await.expect(200).body, json!([]));
}

/// What lasts is shown as it is by its own time, before anything has removed it.
#[tokio::test]
async fn what_is_over_by_itself_is_told_at_once() {
    if !embedded_or_skip("what_is_over_by_itself_is_told_at_once") {
        return;
    }
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    world.api.put("/v1/services/django/ports/a", json!({ "lease_seconds": 30 })).await.expect(201);
    world.api.offer("django", "b").await;
    let of = async |port: u16| told(&world.api.get(&format!("/v1/ports/{port}/history")).await.expect(200).body);
    assert_eq!((of(5000).await, of(5001).await), (tenures(&[("a", "-")]), tenures(&[("b", "-")])));
    world.pass(Duration::from_secs(31));
    assert_eq!(of(5000).await, tenures(&[("a", "lease-lapsed")]));
    world.pass(Duration::from_secs(3600));
    assert_eq!(of(5001).await, tenures(&[("b", "offer-expired")]));
}

/// A port that is given back between the two reads of a history, that of its tenure and that of its item, has not ended
/// for a reason that nobody knows.
#[tokio::test]
async fn what_ends_while_it_is_read_is_told_as_it_ended() {
    if !embedded_or_skip("what_ends_while_it_is_read_is_told_as_it_ended") {
        return;
    }
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    world.api.allocate("django", "a").await;
    let plan = Plan::script(&[("GetItem 05000", Fault::Wait)]);
    let history = world.database.history().await;
    let reader = serve(world.faulty(&plan).await.with_history(history)).await;
    let read = tokio::spawn(async move { reader.get("/v1/ports/5000/history").await.expect(200).body });
    plan.waiting().await;
    world.api.delete("/v1/services/django/ports/a").await.expect(204);
    world.api.allocate("django", "b").await;
    plan.open();
    assert_eq!(told(&read.await.unwrap()), tenures(&[("a", "released")]));
}

/// The removal of an orphan looks like a release, but for the note that the reconciler leaves on it.
#[tokio::test]
async fn an_orphan_is_removed_and_not_released() {
    if !embedded_or_skip("an_orphan_is_removed_and_not_released") {
        return;
    }
    let world = World::new().await;
    fill(&world, "nobodys", 6000, 1).await;
    let found = world.registry.reconcile(&call()).await.unwrap();
    assert_eq!(found.orphaned_allocations, 1, "{found:?}");
    let history = world.api.get("/v1/ports/6000/history").await.expect(200).body;
    assert_eq!(told(&history), tenures(&[("filler-6000", "removed")]));
}

#[tokio::test]
async fn a_tenure_goes_when_its_time_is_over() {
    if !embedded_or_skip("a_tenure_goes_when_its_time_is_over") {
        return;
    }
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let world = World::with(Setup { sweep: Some(Duration::from_millis(50)), ..Setup::default() }).await;
    world.api.service("django", 5000, 5001).await;
    // As if it had ended more than 400 days ago; and another one, less.
    for (name, ago) in [("long", 401), ("short", 399)] {
        let shift = -i64::try_from(days(ago).as_millis()).unwrap();
        world.shift.store(shift, std::sync::atomic::Ordering::Relaxed);
        world.api.put(&format!("/v1/services/django/ports/{name}"), json!({})).await.expect(201);
        world.api.delete(&format!("/v1/services/django/ports/{name}")).await.expect(204);
    }
    let kept = async || told(&world.api.get("/v1/ports/5000/history").await.expect(200).body);
    // Asked more often than old tenures are removed: a busy registry removes them too.
    for _ in 0..1_000 {
        if kept().await.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // (How they ended does not matter: TTL goes by the machine's clock, and takes what is made in the past.)
    assert_eq!(kept().await.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["short"]);
}

#[tokio::test]
async fn without_a_history_that_is_said() {
    let world = World::new().await;
    let api = portmaster_testkit::serve(world.registry.clone().with_history(None)).await;
    for path in ["/v1/ports/5000/history", "/v1/services/django/history?name=a&at=2026-11-22T10:00:00Z"] {
        let problem = api.get(path).await.expect_problem(404, "history-off");
        assert!(problem.body["detail"].as_str().unwrap().contains("HistoryDays"), "{problem:?}");
    }
}
