//! The reconciler: it repairs damage and touches nothing that is live (promise P16).

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use portmaster_domain::{Description, Namespace, Port, PortRange, ServiceId, Strategy};
use portmaster_registry::{Content, Findings, NewService};
use serde_json::json;

use portmaster_testkit::{Fault, Plan, TABLE, World, call, fill, text};

async fn keys(world: &World) -> Vec<String> {
    let items = world.dynamodb().await.scan().table_name(TABLE).send().await.unwrap().items.unwrap();
    let mut keys: Vec<_> =
        items.iter().map(|item| format!("{} {}", item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap())).collect();
    keys.sort();
    keys
}

/// P16.
#[tokio::test]
async fn what_has_expired_is_swept_and_what_is_live_stays() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    for i in 0..3 {
        world.api.offer("django", &format!("dead-{i}")).await;
    }
    world.api.ask_with_key("django", "dead-3", "k").await.expect(201);
    world.api.allocate("django", "web-01").await;
    world.pass(Duration::from_secs(24 * 3600 + 1));
    let (_, secret) = world.api.offer("django", "web-02").await;

    let found = world.registry.reconcile(&call()).await.unwrap();
    // The new offer overwrote one of the four dead claims, since that had the lowest free port.
    assert_eq!(found.expired_offers, 3, "{found:?}");
    assert_eq!(found.expired_requests, 1);
    assert!(found.is_healthy() && found.finished);
    world.api.accept("django", &secret).await.expect(201);
    assert_eq!(world.api.get("/v1/services/django/ports").await.expect(200).body.as_array().unwrap().len(), 2);

    // Instance items whose claims are gone stay for a week, so that names come back to their ports.
    let pointers = |keys: Vec<String>| keys.iter().filter(|key| key.contains("#INSTANCE#")).count();
    assert_eq!(pointers(keys(&world).await), 6);
    world.registry.reconcile(&call()).await.unwrap();
    world.pass(Duration::from_secs(7 * 24 * 3600 - 60));
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().stale_pointers, 0);
    world.pass(Duration::from_secs(120));
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().stale_pointers, 4);
    assert_eq!(pointers(keys(&world).await), 2);
    world.assert_healthy().await;
}

/// P16, P2: an Instance item whose claim is merely dead stays: a slower clock could still accept the claim, and the
/// name would be free.
#[tokio::test]
async fn a_pointer_to_a_dead_claim_stays() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let (_, secret) = world.api.offer("django", "web-01").await;
    // The reconciler's clock is a month ahead; but it removes the claim first, and the Instance item only much later.
    let ahead = world.another(30 * 24 * 3600 * 1000).await;
    let found = ahead.reconcile(&call()).await.unwrap();
    assert_eq!((found.expired_offers, found.stale_pointers), (1, 0));
    world.api.accept("django", &secret).await.expect_problem(404, "offer-not-found");
    assert_eq!(world.api.offer("django", "web-01").await.0, 5000);
    // An Instance item that was noted as gone, and written again since, is a new one.
    let found = ahead.reconcile(&call()).await.unwrap();
    assert_eq!(found.stale_pointers, 0);
}

/// P16: each kind of damage is found, counted, and repaired as far as it may be.
#[tokio::test]
async fn a_damaged_table_is_repaired() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    world.api.service("flask", 6000, 6099).await;
    world.api.allocate("django", "web-01").await;
    let (_, secret) = world.api.offer("flask", "web-01").await;
    let dynamodb = world.dynamodb().await;
    let put = |attributes: Vec<(&str, AttributeValue)>| {
        let request = dynamodb.put_item().table_name(TABLE);
        attributes.into_iter().fold(request, |request, (name, value)| request.item(name, value)).send()
    };

    // Allocations of a service that never existed, one outside its service's range, unreadable items, an empty bitmap.
    fill(&world, "nobody", 7000, 3).await;
    fill(&world, "django", 8000, 1).await;
    put(vec![("pk", text("N#default#PORT")), ("sk", text("09000")), ("state", text("confused"))]).await.unwrap();
    put(vec![("pk", text("SOMETHING")), ("sk", text("ELSE"))]).await.unwrap();
    put(vec![("pk", text("NAMESPACES")), ("sk", text("damaged"))]).await.unwrap();
    let bits = AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(vec![0; 6016]));
    let ranges = vec![
        ("pk", text("N#default")),
        ("sk", text("RANGES")),
        ("bits", bits),
        ("version", AttributeValue::N("2".to_owned())),
    ];
    put(ranges).await.unwrap();

    let found = world.registry.reconcile(&call()).await.unwrap();
    let expected = Findings {
        items: found.items,
        orphaned_allocations: 3,
        allocations_out_of_range: 1,
        rebuilt_ranges: 1,
        unreadable_items: 3,
        namespaces: 2,
        services: 2,
        finished: true,
        ..Findings::default()
    };
    assert_eq!(found, expected);
    assert!(!found.is_healthy());

    // Repaired: the ranges are claimed again, the orphans removed; live items were left alone.
    let overlapping = json!({ "name": "c", "start": 5050, "end": 6050 });
    world.api.post("/v1/services", overlapping).await.expect_problem(409, "range-overlap");
    world.api.get("/v1/ports/7000").await.expect_problem(404, "port-not-found");
    assert_eq!(world.api.get("/v1/ports/8000").await.expect(200).body["service"], "django");
    assert_eq!(world.api.get("/v1/services/django/ports/web-01").await.expect(200).port(), 5000);
    world.api.accept("flask", &secret).await.expect(201);
    let again = world.registry.reconcile(&call()).await.unwrap();
    assert_eq!((again.orphaned_allocations, again.rebuilt_ranges), (0, 0));
    // It leaves an item that it cannot read, and works around it: that port is not offered.
    world.api.service("wide", 8999, 9001).await;
    let ports = [world.api.offer("wide", "a").await.0, world.api.offer("wide", "b").await.0];
    assert_eq!(ports, [8999, 9001]);
    world.api.ask("wide", "c").await.expect_problem(409, "range-exhausted");
}

/// P16: a deletion or a shrinking that died halfway is undone, once it is certain that it died.
#[tokio::test]
async fn a_mark_that_was_left_behind_is_taken_off() {
    let world = World::new().await;
    let dynamodb = world.dynamodb().await;
    for (change, start) in [("delete", 5000), ("shrink", 6000)] {
        world.api.service(change, start, start + 99).await;
        let mark = AttributeValue::M(std::collections::HashMap::from([
            ("change".to_owned(), text(change)),
            ("since".to_owned(), AttributeValue::N(format!("{}", 1_000 * now_seconds()))),
        ]));
        dynamodb
            .update_item()
            .table_name(TABLE)
            .key("pk", text("N#default"))
            .key("sk", text(format!("SERVICE#{change}")))
            .update_expression("SET #mark = :mark")
            .expression_attribute_names("#mark", "mark")
            .expression_attribute_values(":mark", mark)
            .send()
            .await
            .unwrap();
        // While the mark is set, offers wait, and then are told to retry.
        let answer = world.api.ask(change, "web-01").await.expect_problem(503, "service-closing");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().abandoned_marks, 0, "they are young");
    world.api.ask("delete", "web-01").await.expect_problem(503, "service-closing");
    world.pass(Duration::from_secs(301));
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().abandoned_marks, 2);
    for service in ["delete", "shrink"] {
        world.api.ask(service, "web-01").await.expect(201);
    }
    world.assert_healthy().await;
}

/// A change of the service does not wait for the reconciler: it overtakes a mark whose change has died.
#[tokio::test]
async fn a_deletion_that_died_is_repeated() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let mark = AttributeValue::M(std::collections::HashMap::from([
        ("change".to_owned(), text("delete")),
        ("since".to_owned(), AttributeValue::N(format!("{}", 1_000 * now_seconds()))),
    ]));
    let update = world.dynamodb().await.update_item().table_name(TABLE).key("pk", text("N#default"));
    let update = update.key("sk", text("SERVICE#django")).update_expression("SET #mark = :mark");
    let update = update.expression_attribute_names("#mark", "mark").expression_attribute_values(":mark", mark);
    update.send().await.unwrap();
    world.api.get("/v1/services/django").await.expect(200);
    world.api.delete("/v1/services/django").await.expect(204);
    world.api.get("/v1/services/django").await.expect_problem(404, "service-not-found");
    world.assert_healthy().await;
}

/// P16: a run may stop anywhere, and the next one goes on where it stopped.
#[tokio::test]
async fn a_run_that_is_stopped_is_resumed() {
    let world = World::new().await;
    world.api.service("django", 2000, 9999).await;
    fill(&world, "django", 2000, 1_000).await;
    let dynamodb = world.dynamodb().await;
    for i in 0..1_500 {
        // Instance items whose claims were noted as gone a moment ago, so that the reconciler leaves them.
        let name = dynamodb.put_item().table_name(TABLE).item("pk", text(format!("N#default#INSTANCE#d-{}", i / 100)));
        let name = name.item("sk", text(format!("web-{i}"))).item("port", AttributeValue::N("2000".to_owned()));
        let name = name.item("secret", text("07d0eeee-eeee-8eee-beee-eeeeeeeeeeee"));
        let now = AttributeValue::N(format!("{}", 1_000 * now_seconds()));
        name.item("gone_since", now).send().await.unwrap();
    }
    // Two seconds are its reserve, so the first run has ten milliseconds, and each one after it a little more.
    let mut runs = 0;
    let mut items = 0;
    loop {
        let call = portmaster_registry::Call::within(Duration::from_millis(2_010 + 50 * runs));
        let found = world.registry.reconcile(&call).await.unwrap();
        assert!(found.is_healthy(), "{found:?}");
        runs += 1;
        items += found.items;
        if found.finished {
            break;
        }
        assert!(runs < 100, "it makes no progress");
    }
    assert!(runs > 1, "it never stopped");
    // The service and its usage, the bitmap, the names and the ports: nothing is left out. The ports are looked at together, and
    // again after a run that was stopped among them.
    assert!(items >= 2_503, "{items}");
    // The next run starts from the beginning.
    let found = world.registry.reconcile(&call()).await.unwrap();
    assert_eq!((found.items, found.finished), (2_503, true));
}

/// P16: a port that another caller is writing to while names that had it are looked at keeps none of the others
/// waiting: its own name is left to the next sweep.
#[tokio::test]
async fn a_busy_port_keeps_no_name_waiting() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let mut secrets = Vec::new();
    for name in ["a", "b", "c"] {
        secrets.push(world.api.offer("django", name).await.1);
    }
    for secret in secrets {
        world.api.reject("django", &secret).await.expect(204);
    }
    let noted = async || {
        let items = world.dynamodb().await.scan().table_name(TABLE).send().await.unwrap().items.unwrap();
        items.iter().filter(|item| item.contains_key("gone_since")).count()
    };
    let plan = Plan::script(&[("TransactGetItems", Fault::Conflict)]);
    let found = world.faulty(&plan).await.reconcile(&call()).await.unwrap();
    assert!(plan.is_done() && found.finished, "{found:?}");
    let ports = noted().await;
    assert!((1..3).contains(&ports), "{ports}");
    world.registry.reconcile(&call()).await.unwrap();
    assert_eq!(noted().await, 3);
    world.assert_healthy().await;
}

/// P16: each run begins with the next hundred namespaces, and after the last one with the first; a checkpoint of an older
/// function, which does not say how far that got, is valid as well. What is in a namespace is swept like the rest.
#[tokio::test]
async fn every_namespace_has_its_turn() {
    let world = World::new().await;
    let dynamodb = world.dynamodb().await;
    let range = PortRange::new(Port::new(5000).unwrap(), Port::new(5099).unwrap()).unwrap();
    let content = Content::new(Description::default(), range, Strategy::Lowest);
    for i in 0..230 {
        let namespace = Namespace::try_from(format!("host-{i:03}")).unwrap();
        world.registry.put_namespace(&call(), &namespace, Description::default()).await.unwrap();
        if i % 50 == 0 {
            let id = ServiceId::new(namespace, "django".try_into().unwrap());
            world.registry.create_service(&call(), NewService { id, content: content.clone() }).await.unwrap();
        }
    }
    let begun = async || {
        let get = dynamodb.get_item().table_name(TABLE).key("pk", text("RECONCILER")).key("sk", text("CHECKPOINT"));
        let item = get.send().await.unwrap().item.unwrap_or_default();
        item.get("begun").map(|name| name.as_s().unwrap().clone())
    };
    let mut turns = Vec::new();
    for _ in 0..4 {
        let found = world.registry.reconcile(&call()).await.unwrap();
        assert!(found.finished && found.is_healthy(), "{found:?}");
        turns.push(begun().await);
    }
    let turn = |name: &str| Some(name.to_owned());
    assert_eq!(turns, [turn("host-099"), turn("host-199"), None, turn("host-099")]);
    // An old function's checkpoint.
    let old = dynamodb.put_item().table_name(TABLE).item("pk", text("RECONCILER")).item("sk", text("CHECKPOINT"));
    let names = AttributeValue::Ss(vec!["host-000".to_owned()]);
    old.item("namespaces", names).send().await.unwrap();
    assert!(world.registry.reconcile(&call()).await.unwrap().finished);
    assert_eq!(begun().await, turn("host-099"));
    // A mark that was left behind far down the list.
    let mark = AttributeValue::M(std::collections::HashMap::from([
        ("change".to_owned(), text("delete")),
        ("since".to_owned(), AttributeValue::N("1700000000000".to_owned())),
    ]));
    let update =
        dynamodb.update_item().table_name(TABLE).key("pk", text("N#host-150")).key("sk", text("SERVICE#django"));
    let update = update.update_expression("SET #mark = :mark").expression_attribute_names("#mark", "mark");
    update.expression_attribute_values(":mark", mark).send().await.unwrap();
    assert_eq!(world.registry.reconcile(&call()).await.unwrap().abandoned_marks, 1);
    world.assert_healthy().await;
}

fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
