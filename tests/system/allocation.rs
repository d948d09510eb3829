//! Which port an offer gets, and when there is none for it, whatever other processes did before.

use std::time::Duration;

use portmaster_testkit::{Answer, Fault, Plan, Setup, World, fill, serve};
use serde_json::json;

/// The seconds of a time of day; the tests do not run for that long.
fn chrono_seconds(text: &str) -> i64 {
    let time = text.split('T').nth(1).unwrap();
    let parts: Vec<i64> = time[..8].split(':').map(|part| part.parse().unwrap()).collect();
    (parts[0] * 60 + parts[1]) * 60 + parts[2]
}

/// P2.
#[tokio::test]
async fn a_name_has_one_port_at_a_time() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    world.api.service("flask", 6000, 6099).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    let taken = world.api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    assert_eq!((taken.port(), &taken.body["state"]), (5000, &json!("offered")));
    assert!(!taken.body.to_string().contains(&secret));
    world.api.accept("django", &secret).await.expect(201);
    let taken = world.api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    assert_eq!((taken.port(), &taken.body["state"]), (5000, &json!("allocated")));
    // In another service, or in other letters, it is another name.
    world.api.ask("flask", "web-01").await.expect(201);
    world.api.ask("django", "Web-01").await.expect(201);
    world.assert_healthy().await;
}

/// P14: a name comes back to the port that it had.
#[tokio::test]
async fn a_name_comes_back_to_its_port() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    for i in 0..5 {
        world.api.allocate("django", &format!("web-{i}")).await;
    }
    for name in ["web-1", "web-3"] {
        world.api.delete(&format!("/v1/services/django/ports/{name}")).await.expect(204);
    }
    // It gets its own port, although a lower one is free; a new name gets the lowest.
    assert_eq!(world.api.offer("django", "web-3").await.0, 5003);
    assert_eq!(world.api.offer("django", "new").await.0, 5001);
    // Another instance has its port now, so it gets any other.
    assert_eq!(world.api.offer("django", "web-1").await.0, 5005);
    // Its port is outside the range now, so it gets any other.
    for name in ["web-4", "web-0"] {
        world.api.delete(&format!("/v1/services/django/ports/{name}")).await.expect(204);
    }
    world.api.patch("/v1/services/django", json!({ "start": 5001 })).await.expect(200);
    assert_eq!(world.api.offer("django", "web-0").await.0, 5004);
    world.assert_healthy().await;
}

/// P11: exhaustion is reported with the counts, and ends with the first port that is freed.
#[tokio::test]
async fn a_full_range_says_so() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 5010), ("random", 5020)] {
        world.api.service_with(strategy, start, start + 3, strategy).await;
        for i in 0..3 {
            world.api.allocate(strategy, &format!("web-{i}")).await;
        }
        let (_, secret) = world.api.offer(strategy, "web-3").await;
        let full = world.api.ask(strategy, "web-4").await.expect_problem(409, "range-exhausted");
        let counts = ["size", "offered", "allocated"].map(|member| full.body[member].as_u64().unwrap());
        assert_eq!(counts, [4, 1, 3]);
        let seconds: u64 = full.header("retry-after").parse().unwrap();
        assert!((1700..=1801).contains(&seconds), "{seconds}");
        // A name that has one of the ports gets that answer, and not that the range is full.
        world.api.ask(strategy, "web-0").await.expect_problem(409, "name-taken");
        world.api.accept(strategy, &secret).await.expect(201);
        let full = world.api.ask(strategy, "web-4").await.expect_problem(409, "range-exhausted");
        assert_eq!(full.header("retry-after"), "", "nothing expires by itself");

        world.api.delete(&format!("/v1/services/{strategy}/ports/{}", start + 1)).await.expect(204);
        assert_eq!(world.api.offer(strategy, "web-4").await.0, start + 1);
        world.api.patch(&format!("/v1/services/{strategy}"), json!({ "end": start + 4 })).await.expect(200);
        assert_eq!(world.api.offer(strategy, "web-5").await.0, start + 4);
    }
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_offer_of_no_service_is_refused() {
    let world = World::new().await;
    world.api.ask("nobody", "web-01").await.expect_problem(404, "service-not-found");
    world.api.ask("-", "web-01").await.expect_problem(404, "service-not-found");
    // The same where this process remembers the service, and another one deleted it.
    world.api.service("django", 5000, 5099).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    world.api.reject("django", &secret).await.expect(204);
    let elsewhere = portmaster_testkit::serve(world.another(0).await).await;
    elsewhere.delete("/v1/services/django").await.expect(204);
    world.api.ask("django", "web-02").await.expect_problem(404, "service-not-found");
    // The same where it was created again somewhere else: the memory is of no consequence.
    elsewhere.service("django", 7000, 7099).await;
    assert_eq!(world.api.offer("django", "web-03").await.0, 7000);
    world.assert_healthy().await;
}

/// P4: a range that was changed by another process counts for the very next offer.
#[tokio::test]
async fn an_offer_lies_in_the_present_range() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    world.api.reject("django", &secret).await.expect(204);
    let elsewhere = portmaster_testkit::serve(world.another(0).await).await;
    elsewhere.put("/v1/services/django", json!({ "start": 5050, "end": 5052 })).await.expect(200);
    for (name, port) in [("web-02", 5050), ("web-01", 5051), ("web-03", 5052)] {
        assert_eq!(world.api.offer("django", name).await.0, port);
    }
    world.api.ask("django", "web-04").await.expect_problem(409, "range-exhausted");
    // Extended elsewhere: no longer exhausted.
    elsewhere.patch("/v1/services/django", json!({ "end": 5053 })).await.expect(200);
    assert_eq!(world.api.offer("django", "web-04").await.0, 5053);
    world.assert_healthy().await;
}

/// P9: every process sees the changes that another one has acknowledged.
#[tokio::test]
async fn every_process_sees_what_was_answered() {
    let world = World::new().await;
    let elsewhere = portmaster_testkit::serve(world.another(0).await).await;
    world.api.service("django", 5000, 5099).await;
    for i in 0..20 {
        let (here, there) = if i % 2 == 0 { (&world.api, &elsewhere) } else { (&elsewhere, &world.api) };
        let name = format!("web-{i}");
        let (port, secret) = here.offer("django", &name).await;
        there.get(&format!("/v1/services/django/offers/{secret}")).await.expect(200);
        there.ask("django", &name).await.expect_problem(409, "name-taken");
        there.accept("django", &secret).await.expect(201);
        assert_eq!(here.get(&format!("/v1/ports/{port}")).await.expect(200).body["name"], name);
        if i % 3 == 0 {
            there.delete(&format!("/v1/services/django/ports/{name}")).await.expect(204);
            here.get(&format!("/v1/ports/{port}")).await.expect_problem(404, "port-not-found");
        }
    }
    world.assert_healthy().await;
}

#[tokio::test]
async fn the_announced_lifetime_is_the_configured_one() {
    let world = World::with(portmaster_testkit::Setup { offer_seconds: 90, sweep: None }).await;
    world.api.service("django", 5000, 5099).await;
    let offer = world.api.ask("django", "web-01").await.expect(201);
    let time = |member: &str| chrono_seconds(offer.body[member].as_str().unwrap());
    // At least that; rounded to a whole second, the unit of DynamoDB's TTL.
    assert!((90..=91).contains(&(time("expires_at") - time("created"))), "{offer:?}");
    world.pass(Duration::from_secs(60));
    world.api.accept("django", &offer.secret()).await.expect(201);
}

/// P11: a large range that was read and full is considered full for a second, but never against what this process
/// knows.
#[tokio::test]
async fn a_large_range_is_not_read_again_at_once() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    fill(&world, "django", 5000, 198).await;
    let (_, first) = world.api.offer("django", "mine").await;
    let keyed = world.api.ask_with_key("django", "keyed", "key").await.expect(201);
    let elsewhere = portmaster_testkit::serve(world.forgetful().await).await;
    let full = || async { world.api.ask("django", "one-more").await.expect_problem(409, "range-exhausted") };
    // On a busy machine, a second may pass between any two of them.
    let says = |answer: &Answer, what: &str| answer.body["detail"].as_str().unwrap().contains(what);

    let read = full().await;
    assert!(says(&read, "are taken"), "{read:?}");
    let mut remembered = full().await;
    for _ in 0..20 {
        if says(&remembered, "within the last second") {
            break;
        }
        remembered = full().await;
    }
    assert!(says(&remembered, "within the last second"), "{remembered:?}");
    for member in ["size", "offered", "allocated", "other"] {
        assert_eq!(remembered.body[member], read.body[member]);
    }
    assert!(!remembered.header("retry-after").is_empty());
    // The key and the name are checked first.
    assert_eq!(world.api.ask_with_key("django", "keyed", "key").await.expect(201).body, keyed.body);
    world.api.ask("django", "mine").await.expect_problem(409, "name-taken");
    world.api.ask_with_key("django", "other", "key").await.expect_problem(422, "idempotency-key-reused");

    // The ports that this process frees are offered again at once: rejected, and released.
    full().await;
    world.api.reject("django", &first).await.expect(204);
    let (port, _) = world.api.offer("django", "more").await;
    assert_eq!(port, 5198);
    full().await;
    world.api.delete("/v1/services/django/ports/5100").await.expect(204);
    assert_eq!(world.api.offer("django", "even-more").await.0, 5100);

    // A change of the service elsewhere is seen at once.
    full().await;
    elsewhere.patch("/v1/services/django", json!({ "end": 5200 })).await.expect(200);
    assert_eq!(world.api.offer("django", "extended").await.0, 5200);

    // A port that another process frees is seen within a second.
    full().await;
    elsewhere.delete("/v1/services/django/ports/5000").await.expect(204);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.api.offer("django", "late").await.0, 5000);

    // An offer that expires frees its port at once.
    full().await;
    world.pass(Duration::from_secs(60 * 60));
    world.api.ask("django", "after").await.expect(201);
    world.assert_healthy().await;
}

/// P11: a small range costs little to read, so it is read each time, and a port freed by another process is seen at
/// once.
#[tokio::test]
async fn a_small_range_is_read_each_time() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    fill(&world, "django", 5000, 100).await;
    let elsewhere = portmaster_testkit::serve(world.forgetful().await).await;
    for _ in 0..2 {
        let full = world.api.ask("django", "more").await.expect_problem(409, "range-exhausted");
        assert!(full.header("retry-after").is_empty());
    }
    elsewhere.delete("/v1/services/django/ports/5050").await.expect(204);
    assert_eq!(world.api.offer("django", "more").await.0, 5050);
}

#[tokio::test]
async fn a_released_port_is_free() {
    let world = World::new().await;
    world.api.service("django", 5000, 5001).await;
    for by in ["5000", "web-01"] {
        let (_, secret) = world.api.offer("django", "web-01").await;
        world.api.accept("django", &secret).await.expect(201);
        world.api.delete(&format!("/v1/services/django/ports/{by}")).await.expect(204);
        for path in ["/v1/ports/5000", "/v1/services/django/ports/web-01", "/v1/services/django/ports/5000"] {
            world.api.get(path).await.expect_problem(404, "port-not-found");
        }
        world.api.delete(&format!("/v1/services/django/ports/{by}")).await.expect_problem(404, "port-not-found");
        // The secret ended with the allocation.
        world.api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    }
    assert_eq!(world.api.allocate("django", "web-02").await, 5000);
    // A stale name does not release its successor.
    world.api.delete("/v1/services/django/ports/web-01").await.expect_problem(404, "port-not-found");
    assert_eq!(world.api.get("/v1/ports/5000").await.expect(200).body["name"], json!("web-02"));
    world.assert_healthy().await;
}

/// P11: a read that shows a range full is no evidence about ports that this process has freed since it began, however
/// late its response comes.
#[tokio::test]
async fn a_port_that_is_freed_while_the_range_is_read_is_given_next() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    fill(&world, "django", 5000, 200).await;
    let plan = Plan::default();
    // This process never reads a range again only because it has been full for a while.
    let api = serve(world.faulty(&plan).await.with_full_for(Duration::MAX)).await;
    api.ask("django", "web-01").await.expect_problem(409, "range-exhausted");
    let remembered = api.ask("django", "web-01").await.expect_problem(409, "range-exhausted");
    assert!(remembered.body["detail"].as_str().unwrap().contains("within the last second"), "{remembered:?}");

    // An extension is seen at once, so the range is read again.
    world.api.patch("/v1/services/django", json!({ "end": 5200 })).await.expect(200);
    fill(&world, "django", 5200, 1).await;
    plan.add(&[(r#"Query "ConsistentRead":true #PORT"#, Fault::DoneAndWait)]);
    let reading = {
        let api = api.clone();
        tokio::spawn(async move { api.ask("django", "web-01").await })
    };
    plan.waiting().await;
    api.delete("/v1/services/django/ports/5100").await.expect(204);
    plan.open();
    // It was full when it was read.
    reading.await.unwrap().expect_problem(409, "range-exhausted");
    assert_eq!(api.offer("django", "web-01").await.0, 5100);
    world.assert_healthy().await;
}

/// P11: a range that was full is no longer full once one of its offers expires, even while another call of the process
/// is trying that port.
#[tokio::test]
async fn a_port_that_expires_while_the_range_is_remembered_as_full_is_given() {
    // It expires before this process would look again.
    let world = World::with(Setup { offer_seconds: 3, sweep: None }).await;
    world.api.service("django", 5000, 5199).await;
    fill(&world, "django", 5000, 199).await;
    world.api.offer("django", "web-01").await;
    let plan = Plan::default();
    let api = serve(world.faulty(&plan).await.with_full_for(Duration::MAX)).await;
    api.ask("django", "web-02").await.expect_problem(409, "range-exhausted");
    world.pass(Duration::from_millis(4_200));
    plan.add(&[("TransactWriteItems web-02", Fault::Wait)]);
    let slow = {
        let api = api.clone();
        tokio::spawn(async move { api.ask("django", "web-02").await })
    };
    plan.waiting().await;
    assert_eq!(api.offer("django", "web-03").await.0, 5199);
    plan.open();
    slow.await.unwrap().expect_problem(409, "range-exhausted");
    world.assert_healthy().await;
}

/// P11: where all of a range is read because too much of it is taken for a window, and it is full, the service may have
/// been extended elsewhere since it was last seen.
#[tokio::test]
async fn a_range_that_was_extended_elsewhere_is_not_exhausted() {
    let world = World::new().await;
    world.api.service("django", 5000, 5999).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    world.api.reject("django", &secret).await.expect(204);
    fill(&world, "django", 5000, 1_000).await;
    let elsewhere = serve(world.forgetful().await).await;
    elsewhere.patch("/v1/services/django", json!({ "end": 6001 })).await.expect(200);
    // By now it has forgotten which ports were free, and still remembers the range.
    world.pass(Duration::from_secs(61));
    assert_eq!(world.api.offer("django", "web-02").await.0, 6000);
    world.assert_healthy().await;
}
