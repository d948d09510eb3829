//! What each operation costs, counted on the wire: requests, and the capacity that DynamoDB reports for them (promise
//! P17). None of it may depend on the size of the range or on how many of its ports are taken.

use std::collections::BTreeMap;
use std::time::Duration;

use portmaster_domain::{Description, InstanceName, Port, PortRange, Secret, ServiceId, StateKind, Strategy};
use portmaster_registry::{Call, Content, IfMatch, NewService, PortOrName, Registry};

use portmaster_testkit::{Meter, World, call, embedded_or_skip, fill, service_id};

fn name(text: &str) -> InstanceName {
    InstanceName::try_from(text).unwrap()
}

fn content(start: u16, end: u16, strategy: Strategy) -> Content {
    let range = PortRange::of_service(Port::new(start).unwrap(), Port::new(end).unwrap()).unwrap();
    Content::new(Description::default(), range, strategy)
}

/// Returns what was sent since the last call, as `Operation:count`, with read and write units.
fn cost(meter: &Meter, call: &Call) -> (String, f64, f64) {
    let counts = meter.take();
    // The registry's own meter, which the log shows, agrees.
    let own = call.meter();
    assert_eq!(own.requests, counts.requests.values().sum::<u32>());
    assert_eq!((own.read_units, own.write_units), (counts.read_units, counts.write_units));
    let requests: Vec<_> = counts.requests.iter().map(|(operation, count)| format!("{operation}:{count}")).collect();
    (requests.join(" "), counts.read_units, counts.write_units)
}

struct Metered {
    registry: Registry,
    meter: Meter,
    service: ServiceId,
}

impl Metered {
    async fn new(world: &World) -> Self {
        let (registry, meter) = world.metered().await;
        Self { registry, meter, service: service_id("django") }
    }

    async fn offer(&self, instance: &str) -> (Port, Secret, (String, f64, f64)) {
        let call = call();
        let offered = self.registry.offer(&call, &self.service, &name(instance), None).await.unwrap();
        assert_eq!((call.meter().tries, call.meter().lost_races), (1, 0), "{instance} met somebody");
        (offered.holding.claim.port, offered.holding.secret, cost(&self.meter, &call))
    }
}

fn is(requests: &str, read_units: f64, write_units: f64) -> (String, f64, f64) {
    (requests.to_owned(), read_units, write_units)
}

/// P17: at 10, 1,000 and 40,000 taken ports, with each strategy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cost_depends_on_how_many_ports_are_taken() {
    // It compares the units that the embedded DynamoDB reports, as AWS does.
    if !embedded_or_skip("no_cost_depends_on_how_many_ports_are_taken") {
        return;
    }
    for taken in [10, 1_000, 40_000] {
        let world = World::new().await;
        let new = NewService { id: service_id("django"), content: content(1024, 49_151, Strategy::Lowest) };
        world.registry.create_service(&call(), new).await.unwrap();
        fill(&world, "django", 1024, taken).await;
        for strategy in Strategy::ALL {
            let changed = content(1024, 49_151, strategy);
            let change = |_: &_| Ok(changed.clone());
            world.registry.change_service(&call(), &service_id("django"), &IfMatch::Always, change).await.unwrap();
            let metered = Metered::new(&world).await;
            let Metered { registry, meter, service } = &metered;
            let about = format!("{taken} taken, {}", strategy.as_str());

            // Warm up: two offers, after which everything is known.
            for i in 0..2 {
                let call = call();
                let warm = name(&format!("{}-warm-{i}", strategy.as_str()));
                let offered = registry.offer(&call, service, &warm, None).await.unwrap();
                let counts = meter.take();
                // Cold, at any occupancy, four round trips and the look: the service, one or two windows and the hint
                // in parallel, perhaps the whole range (16 Queries in parallel) or another window, the claim.
                assert!(counts.requests["GetItem"] <= 3, "{about}: {counts:?}");
                assert!(counts.requests.get("Query").is_none_or(|queries| *queries <= 18), "{about}: {counts:?}");
                assert_eq!(counts.requests["TransactWriteItems"], 1, "{about}: {counts:?}");
                registry
                    .reject(&call, service, offered.holding.secret, portmaster_registry::Rejection::Unwanted)
                    .await
                    .unwrap();
                meter.take();
            }

            // Offer, of a new name.
            let offer = is("GetItem:1 TransactWriteItems:1", 1.0, 4.0);
            let mut offered = Vec::new();
            for i in 0..4 {
                let (port, secret, cost) = metered.offer(&format!("{}-{i}", strategy.as_str())).await;
                assert_eq!(cost, offer, "{about}");
                offered.push((port, secret));
            }

            let accept = call();
            registry.accept(&accept, service, offered[0].1, None).await.unwrap();
            assert_eq!(cost(meter, &accept), is("UpdateItem:1", 0.0, 1.0), "{about}");
            let again = call();
            registry.accept(&again, service, offered[0].1, None).await.unwrap();
            assert_eq!(cost(meter, &again), is("UpdateItem:1", 0.0, 0.0), "{about}");
            registry.accept(&call(), service, offered[1].1, None).await.unwrap();
            meter.take();

            let reject = call();
            registry.reject(&reject, service, offered[2].1, portmaster_registry::Rejection::Unwanted).await.unwrap();
            assert_eq!(cost(meter, &reject), is("DeleteItem:1", 0.0, 1.0), "{about}");

            let read = call();
            registry.get_offer(&read, service, offered[3].1).await.unwrap();
            assert_eq!(cost(meter, &read), is("GetItem:1", 1.0, 0.0), "{about}");

            let by_port = PortOrName::Port(offered[0].0);
            let by_name = PortOrName::Name(name(&format!("{}-1", strategy.as_str())));
            let find = call();
            registry.get_port(&find, service, &by_port).await.unwrap();
            assert_eq!(cost(meter, &find), is("GetItem:1", 1.0, 0.0), "{about}");
            let find = call();
            registry.find_port(&find, &service.namespace, offered[0].0).await.unwrap();
            assert_eq!(cost(meter, &find), is("GetItem:1", 1.0, 0.0), "{about}");
            let find = call();
            registry.get_port(&find, service, &by_name).await.unwrap();
            assert_eq!(cost(meter, &find), is("GetItem:2", 2.0, 0.0), "{about}");

            let release = call();
            registry.release(&release, service, &by_port, portmaster_registry::By::Holder(None)).await.unwrap();
            assert_eq!(cost(meter, &release), is("DeleteItem:1", 0.0, 1.0), "{about}");
            let release = call();
            registry.release(&release, service, &by_name, portmaster_registry::By::Holder(None)).await.unwrap();
            assert_eq!(cost(meter, &release), is("DeleteItem:1 GetItem:1", 1.0, 1.0), "{about}");
        }
    }
}

/// P17: services, keys, and names that come back.
#[tokio::test]
async fn the_other_operations_cost_what_the_design_says() {
    // It compares the units that the embedded DynamoDB reports, as AWS does.
    if !embedded_or_skip("the_other_operations_cost_what_the_design_says") {
        return;
    }
    let world = World::new().await;
    let metered = Metered::new(&world).await;
    let Metered { registry, meter, service } = &metered;
    let mut costs = BTreeMap::new();

    let create = call();
    let new = NewService { id: service.clone(), content: content(5000, 5999, Strategy::Lowest) };
    registry.create_service(&create, new).await.unwrap();
    costs.insert("create, the first", cost(meter, &create));
    let create = call();
    let other = NewService { id: service_id("flask"), content: content(6000, 6999, Strategy::Lowest) };
    registry.create_service(&create, other.clone()).await.unwrap();
    costs.insert("create", cost(meter, &create));

    let read = call();
    registry.get_service(&read, service).await.unwrap();
    costs.insert("get service", cost(meter, &read));
    let change =
        |content: Content| move |_: &portmaster_domain::Service| Ok::<_, portmaster_registry::Error>(content.clone());
    for (what, content) in [
        ("put, the same", content(5000, 5999, Strategy::Lowest)),
        ("put, another strategy", content(5000, 5999, Strategy::Random)),
        ("put, a larger range", content(4000, 5999, Strategy::Lowest)),
        ("put, a smaller range", content(5000, 5999, Strategy::Lowest)),
    ] {
        let put = call();
        registry.change_service(&put, service, &IfMatch::Always, change(content)).await.unwrap();
        costs.insert(what, cost(meter, &put));
    }
    let delete = call();
    registry.delete_service(&delete, &other.id, &IfMatch::Always).await.unwrap();
    costs.insert("delete", cost(meter, &delete));

    // Warm, except that nothing is known of the ports.
    let (_, secret, cold) = metered.offer("web-01").await;
    costs.insert("offer, the first", cold);
    registry.reject(&call(), service, secret, portmaster_registry::Rejection::Unwanted).await.unwrap();
    meter.take();
    let key = portmaster_domain::IdempotencyKey::new("build-1").unwrap();
    for what in ["offer with a key", "offer with a key, again"] {
        let offer = call();
        registry.offer(&offer, service, &name("web-02"), Some(&key)).await.unwrap();
        costs.insert(what, cost(meter, &offer));
    }
    // Another name has its port now.
    let again = call();
    registry.offer(&again, service, &name("web-01"), None).await.unwrap();
    costs.insert("offer, a name whose port is taken", cost(meter, &again));
    let taken = call();
    registry.offer(&taken, service, &name("web-01"), None).await.unwrap_err();
    costs.insert("offer, a name that is taken", cost(meter, &taken));
    // Its port is free, and not the lowest.
    let (_, lower, _) = metered.offer("web-03").await;
    let (_, own, _) = metered.offer("web-04").await;
    registry.reject(&call(), service, lower, portmaster_registry::Rejection::Unwanted).await.unwrap();
    registry.reject(&call(), service, own, portmaster_registry::Rejection::Unwanted).await.unwrap();
    meter.take();
    let again = call();
    registry.offer(&again, service, &name("web-04"), None).await.unwrap();
    costs.insert("offer, a name that comes back", cost(meter, &again));

    let expected = BTreeMap::from([
        // Ranges has 6 KB: 2 units to read once it exists, 12 to write in a transaction.
        ("create, the first", is("GetItem:1 TransactWriteItems:1", 1.0, 14.0)),
        ("create", is("GetItem:1 TransactWriteItems:1", 2.0, 14.0)),
        ("get service", is("GetItem:1", 1.0, 0.0)),
        ("put, the same", is("GetItem:1", 1.0, 0.0)),
        ("put, another strategy", is("GetItem:1 PutItem:1", 1.0, 1.0)),
        ("put, a larger range", is("GetItem:2 TransactWriteItems:1", 3.0, 14.0)),
        // Service and Ranges, the mark, the look, Ranges again and both.
        ("put, a smaller range", is("GetItem:3 PutItem:1 Query:1 TransactWriteItems:1", 6.0, 15.0)),
        ("delete", is("GetItem:2 PutItem:1 Query:1 TransactWriteItems:1", 4.0, 15.0)),
        // Its ports, the hint, which does not exist yet, the claim, the look.
        ("offer, the first", is("GetItem:2 Query:1 TransactWriteItems:1", 2.0, 4.0)),
        ("offer with a key", is("GetItem:1 TransactWriteItems:1", 1.0, 6.0)),
        // The failed transaction, the claim it points to (settled: 2 units), the look.
        ("offer with a key, again", is("GetItem:1 TransactGetItems:1 TransactWriteItems:1", 3.0, 0.0)),
        ("offer, a name that comes back", is("GetItem:1 TransactWriteItems:2", 1.0, 4.0)),
        ("offer, a name that is taken", is("TransactWriteItems:2", 0.0, 0.0)),
        // The Instance item, its own port, that the old claim is gone (settled), another port.
        ("offer, a name whose port is taken", is("GetItem:1 TransactGetItems:1 TransactWriteItems:3", 3.0, 4.0)),
    ]);
    for (what, cost) in &costs {
        assert_eq!(Some(cost), expected.get(what), "{what}");
    }
    assert_eq!(costs.len(), expected.len());
}

/// P17: a request for a thousand items that do not exist does not make the registry read everything.
#[tokio::test]
async fn a_list_looks_at_no_more_than_it_may() {
    // It compares the units that the embedded DynamoDB reports, as AWS does.
    if !embedded_or_skip("a_list_looks_at_no_more_than_it_may") {
        return;
    }
    let world = World::new().await;
    let new = NewService { id: service_id("django"), content: content(2000, 20_000, Strategy::Lowest) };
    world.registry.create_service(&call(), new).await.unwrap();
    fill(&world, "django", 2000, 16_000).await;
    let metered = Metered::new(&world).await;
    let Metered { registry, meter, service } = &metered;
    for limit in [1, 100, 101, 1_000] {
        let list = call();
        let listed = registry
            .list_claims(&list, service, StateKind::Offered, &portmaster_registry::ListFilter::default(), None, limit)
            .await
            .unwrap();
        assert!(listed.items.is_empty());
        // 1,600 items of 2,000 to 17,999 were looked at.
        assert_eq!(listed.next.map(Port::get), Some(3_600), "{limit}");
        let (requests, units, _) = cost(meter, &list);
        assert!(units < 100.0, "{limit}: {requests}, {units} units");
    }
    // Items that exist fill its page as before.
    let listed = registry
        .list_claims(&call(), service, StateKind::Allocated, &portmaster_registry::ListFilter::default(), None, 1_000)
        .await
        .unwrap();
    assert_eq!((listed.items.len(), listed.next.map(Port::get)), (1_000, Some(3_000)));
}

/// P11, P17: a full range is answered after one read of it, and the read is spread over one round trip. A large one is
/// not read again for a second.
#[tokio::test]
async fn exhaustion_costs_one_read_of_the_range() {
    let world = World::new().await;
    let new = NewService { id: service_id("django"), content: content(5000, 5999, Strategy::Lowest) };
    world.registry.create_service(&call(), new).await.unwrap();
    fill(&world, "django", 5000, 1000).await;
    let metered = Metered::new(&world).await;
    let Metered { registry, meter, service } = &metered;
    for (what, expected, full_for) in [
        // Cold: the service, a window and the hint, the whole, the service again, the name.
        ("cold", "GetItem:4 Query:2", Duration::ZERO),
        // The service and the name.
        ("again at once", "GetItem:2", Duration::MAX),
        ("later", "GetItem:2 Query:1", Duration::ZERO),
        ("again at once", "GetItem:2", Duration::MAX),
    ] {
        let offer = call();
        let registry = registry.clone().with_full_for(full_for);
        registry.offer(&offer, service, &name("web-01"), None).await.unwrap_err();
        let counts = meter.take();
        let requests: Vec<_> =
            counts.requests.iter().map(|(operation, count)| format!("{operation}:{count}")).collect();
        assert_eq!(requests.join(" "), expected, "{what}");
        assert!(counts.consistent >= 2, "{what}: {counts:?}");
        assert_eq!(offer.meter().tries, 0);
    }
}
