//! What the operations on leases, owners and sets cost, counted on the wire (promise P17). Nothing of it depends on the
//! size of the range, on how many of its ports are taken, or on owners and labels.

use portmaster_domain::{Counts, Labels, Owner, Port, Strategy, Terms};
use portmaster_registry::{
    Asked, BulkRelease, By, Call, Content, Error, Expected, IfMatch, NewService, NewSet, PortOrName, Put, Registry,
    Rejection,
};
use portmaster_testkit::{Meter, World, call, embedded_or_skip, fill, service_id};

use crate::ground::{asked, content, everything, labels, name, owner, why};

/// A process with a meter, which knows the service `django`.
struct Metered {
    registry: Registry,
    meter: Meter,
}

/// What was sent, as `Operation:count`, with read and write units.
type Cost = (String, f64, f64);

fn is(requests: &str, read_units: f64, write_units: f64) -> Cost {
    (requests.to_owned(), read_units, write_units)
}

impl Metered {
    async fn new(world: &World) -> Self {
        let (registry, meter) = world.metered().await;
        Self { registry, meter }
    }

    /// What a call has cost, by the wire and by the registry's own meter.
    fn cost(&self, call: &Call) -> Cost {
        let counts = self.meter.take();
        let own = call.meter();
        assert_eq!(own.requests, counts.requests.values().sum::<u32>());
        assert_eq!((own.read_units, own.write_units), (counts.read_units, counts.write_units));
        let requests: Vec<_> =
            counts.requests.iter().map(|(operation, count)| format!("{operation}:{count}")).collect();
        (requests.join(" "), counts.read_units, counts.write_units)
    }

    async fn put(&self, asked: &Asked, lease: Option<u32>) -> (Put, Cost) {
        let call = call();
        let put = self.registry.put_port(&call, &service_id("django"), asked, lease, Expected::Anything).await;
        (put.unwrap(), self.cost(&call))
    }

    async fn renew(&self, at: &PortOrName, by: Option<&Owner>, lease: Option<u32>) -> Cost {
        let call = call();
        self.registry.renew(&call, &service_id("django"), at, by, lease).await.unwrap();
        self.cost(&call)
    }

    async fn release(&self, at: &PortOrName, by: By<'_>) -> Cost {
        let call = call();
        self.registry.release(&call, &service_id("django"), at, by).await.unwrap();
        self.cost(&call)
    }

    async fn set(&self, prefix: &str, count: usize, by: Option<&Owner>, lease: Option<u32>, contiguous: bool) -> Cost {
        let names = (0..count).map(|i| name(&format!("{prefix}-{i}"))).collect();
        let set = NewSet { names, owner: by.cloned(), lease, contiguous, labels: Some(many_labels()) };
        let call = call();
        self.registry.put_set(&call, &service_id("django"), &set).await.unwrap();
        self.cost(&call)
    }
}

fn many_labels() -> Labels {
    labels(&[("team", "a"), ("env", "ci"), ("run", "1234567890"), ("commit", "0123456789abcdef")])
}

async fn change(registry: &Registry, change: impl Fn(Content) -> Content) {
    let change = |old: &portmaster_domain::Service| Ok::<_, Error>(change(Content::of(old)));
    registry.change_service(&call(), &service_id("django"), &IfMatch::Always, change).await.unwrap();
}

/// P17: at 10, 1,000 and 40,000 taken ports, with each strategy, with an owner and labels and without, with a cool-down
/// and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cost_of_a_lease_depends_on_how_many_ports_are_taken() {
    if !embedded_or_skip("no_cost_of_a_lease_depends_on_how_many_ports_are_taken") {
        return;
    }
    for taken in [10, 1_000, 40_000] {
        let world = World::new().await;
        let new = NewService { id: service_id("django"), content: content(1024, 49_151) };
        world.registry.create_service(&call(), new).await.unwrap();
        fill(&world, "django", 1024, taken).await;
        for (strategy, cooldown) in Strategy::ALL.into_iter().zip([0, 100, 0]) {
            let terms = Terms { cooldown, ..Terms::default() };
            change(&world.registry, |old| Content { strategy, terms, ..old }).await;
            let metered = Metered::new(&world).await;
            // Warm up: two offers, after which everything is known.
            for i in 0..2 {
                let (call, django) = (call(), service_id("django"));
                let warm = name(&format!("{}-warm-{i}", strategy.as_str()));
                let secret = metered.registry.offer(&call, &django, &warm, None).await.unwrap().holding.secret;
                metered.registry.reject(&call, &django, secret, Rejection::Unwanted).await.unwrap();
            }
            metered.meter.take();
            for (who, by, noted) in
                [("plain", None, None), ("owned", owner("gh/our-org/shop/1234567/deploy/0"), Some(many_labels()))]
            {
                let about = format!("{taken} taken, {}, {who}", strategy.as_str());
                let text = |part: &str| format!("{}-{who}-{part}", strategy.as_str());
                let ask = |part: &str| Asked { labels: noted.clone(), owner: by.clone(), ..asked(&text(part), "") };
                let by_name = |part: &str| PortOrName::Name(name(&text(part)));
                let holder = By::Holder(by.as_ref());

                let (leased, cost) = metered.put(&ask("leased"), Some(60)).await;
                assert_eq!(cost, is("GetItem:1 TransactWriteItems:1", 1.0, 4.0), "{about}");
                let (unleased, cost) = metered.put(&ask("unleased"), None).await;
                assert_eq!(cost, is("GetItem:1 TransactWriteItems:1 UpdateItem:1", 1.0, 5.0), "{about}");
                let leased = PortOrName::Port(leased.claim().port);
                let unleased = PortOrName::Port(unleased.claim().port);

                // A renewal: the first one after a PUT looks at the service, every other one is one write.
                let first = metered.renew(&leased, by.as_ref(), Some(60)).await;
                assert_eq!(first, is("GetItem:1 UpdateItem:2", 1.0, 1.0), "{about}");
                assert_eq!(
                    metered.renew(&leased, by.as_ref(), Some(60)).await,
                    is("UpdateItem:1", 0.0, 1.0),
                    "{about}"
                );
                let as_before = metered.renew(&leased, by.as_ref(), None).await;
                assert_eq!(as_before, is("GetItem:1 UpdateItem:1", 1.0, 1.0), "{about}");
                let named = metered.renew(&by_name("leased"), by.as_ref(), Some(60)).await;
                assert_eq!(named, is("GetItem:1 UpdateItem:1", 1.0, 1.0), "{about}");
                let named = metered.renew(&by_name("leased"), by.as_ref(), None).await;
                assert_eq!(named, is("GetItem:2 UpdateItem:1", 2.0, 1.0), "{about}");

                // A retry: a claim that fails on the name, one that fails on its port, the look, the renewal.
                let (again, (requests, reads, writes)) = metered.put(&ask("leased"), Some(60)).await;
                assert!(matches!(again, Put::Kept(_)), "{about}");
                assert_eq!((requests.as_str(), reads, writes), (RETRY.0, RETRY.1, RETRY.2), "{about}");

                // A release, with a cool-down or without.
                let operation = if cooldown > 0 { "UpdateItem:1" } else { "DeleteItem:1" };
                assert_eq!(metered.release(&unleased, holder).await, is(operation, 0.0, 1.0), "{about}");
                let (requests, reads, writes) = metered.release(&by_name("leased"), holder).await;
                let expected = if cooldown > 0 { "GetItem:1 UpdateItem:1" } else { "DeleteItem:1 GetItem:1" };
                assert_eq!((requests.as_str(), reads, writes), (expected, 1.0, 1.0), "{about}");

                // Sets: one transaction and one read, whatever their size.
                for (count, contiguous) in [(2, true), (3, false), (8, true)] {
                    let size = count as f64;
                    let cost =
                        metered.set(&text(&format!("set-{count}")), count, by.as_ref(), Some(60), contiguous).await;
                    assert_eq!(cost, is("GetItem:1 TransactWriteItems:1", 1.0, 4.0 * size), "{about}, {count}");
                    let without =
                        metered.set(&text(&format!("un-{count}")), count, by.as_ref(), None, contiguous).await;
                    assert_eq!(without, is("GetItem:1 TransactWriteItems:2", 1.0, 6.0 * size), "{about}, {count}");
                }
            }
        }
    }
}

/// The requests and units of a retry of a PUT in a process that remembers the name's port.
const RETRY: (&str, f64, f64) = ("GetItem:1 TransactWriteItems:2 UpdateItem:1", 1.0, 1.0);

/// P17: what a process pays that guesses wrongly: the write that fails costs no units, and the next one is exact.
#[tokio::test]
async fn a_wrong_guess_costs_a_request() {
    if !embedded_or_skip("a_wrong_guess_costs_a_request") {
        return;
    }
    let world = World::new().await;
    let terms = Terms { lease: Some(60), cooldown: 100, ..Terms::default() };
    let new = NewService { id: service_id("django"), content: Content { terms, ..content(5000, 5099) } };
    world.registry.create_service(&call(), new).await.unwrap();
    let metered = Metered::new(&world).await;
    let (made, _) = metered.put(&asked("web", ""), None).await;
    let port = PortOrName::Port(made.claim().port);
    let cold = Metered::new(&world).await;
    // Confirmed, so that this is about the terms alone.
    metered.renew(&port, None, Some(60)).await;
    assert_eq!(cold.renew(&port, None, Some(60)).await, is("UpdateItem:2", 0.0, 1.0));
    assert_eq!(cold.renew(&port, None, Some(60)).await, is("UpdateItem:1", 0.0, 1.0));
    let cold = Metered::new(&world).await;
    // Without a cool-down it is a deletion, which fails; then it knows better.
    assert_eq!(cold.release(&port, By::Holder(None)).await, is("DeleteItem:1 UpdateItem:1", 0.0, 1.0));
    let cold = Metered::new(&world).await;
    let offer = metered.registry.offer(&call(), &service_id("django"), &name("next"), None).await.unwrap();
    let accept = call();
    cold.registry.accept(&accept, &service_id("django"), offer.holding.secret, None).await.unwrap();
    assert_eq!(cold.cost(&accept), is("UpdateItem:2", 0.0, 1.0));
    // In quarantine: the terms are read first, unless the caller says for how long.
    let seconds = [(None, is("GetItem:1 UpdateItem:1", 1.0, 1.0)), (Some(60), is("UpdateItem:1", 0.0, 1.0))];
    for (quarantine, expected) in seconds {
        let offer = metered.registry.offer(&call(), &service_id("django"), &name("aside"), None).await.unwrap();
        let reject = call();
        let reason = Rejection::InUse { quarantine };
        cold.registry.reject(&reject, &service_id("django"), offer.holding.secret, reason).await.unwrap();
        assert_eq!(cold.cost(&reject), expected);
    }
    // A refusal of a release costs what a release does, and no units.
    let refused = call();
    let by = Owner::try_from("job-1").unwrap();
    let next = PortOrName::Name(name("next"));
    let release = cold.registry.release(&refused, &service_id("django"), &next, By::Holder(Some(&by))).await;
    assert_eq!(why(release), "not-the-owner");
    assert_eq!(cold.cost(&refused), is("GetItem:1 UpdateItem:1", 1.0, 0.0));
    let lift = call();
    let number =
        (5000..5099).map(|number| Port::new(number).unwrap()).find(|number| PortOrName::Port(*number) == port).unwrap();
    cold.registry.lift(&lift, &service_id("django"), number).await.unwrap();
    assert_eq!(cold.cost(&lift), is("DeleteItem:1 GetItem:1", 1.0, 1.0));
}

/// P11, P17: a caller that keeps asking for a set where no port is free does not cost a read of the whole range each
/// time; and a port that comes back is seen all the same.
#[tokio::test]
async fn a_set_that_is_refused_again_reads_no_range() {
    let world = World::new().await;
    world.api.service("django", 5000, 5199).await;
    fill(&world, "django", 5000, 200).await;
    let (registry, meter) = world.metered().await;
    let process = Metered { registry: registry.with_full_for(std::time::Duration::MAX), meter };
    let set =
        NewSet { names: vec![name("a"), name("b")], owner: None, lease: Some(60), contiguous: false, labels: None };
    let refused = async || {
        let call = call();
        let error = process.registry.put_set(&call, &service_id("django"), &set).await.unwrap_err();
        let Error::SetDoesNotFit { occupancy, .. } = error else { panic!("{error:?}") };
        (occupancy.remembered, process.cost(&call))
    };
    assert!(!refused().await.0);
    // The service, and where the two names point to.
    assert_eq!(refused().await, (true, is("GetItem:3", 3.0, 0.0)));
    for number in ["5100", "5101"] {
        let port = PortOrName::Port(number.parse::<u16>().ok().and_then(|number| Port::new(number).ok()).unwrap());
        process.registry.release(&call(), &service_id("django"), &port, By::Anybody).await.unwrap();
    }
    let given = process.registry.put_set(&call(), &service_id("django"), &set).await.unwrap();
    assert_eq!(given.claims.iter().map(|claim| claim.port.get()).collect::<Vec<_>>(), [5100, 5101]);
}

/// P17: what an operator's calls cost: the end of a quarantine, a release of many, and the map, which reads every item of
/// the range, 4 KB for half a unit.
#[tokio::test]
async fn an_operators_calls_cost_what_they_look_at() {
    if !embedded_or_skip("an_operators_calls_cost_what_they_look_at") {
        return;
    }
    let world = World::new().await;
    let service = service_id("django");
    let new = NewService { id: service.clone(), content: content(5000, 5199) };
    world.registry.create_service(&call(), new).await.unwrap();
    let metered = Metered::new(&world).await;
    let offer = metered.registry.offer(&call(), &service, &name("aside"), None).await.unwrap();
    let (secret, port) = (offer.holding.secret, offer.holding.claim.port);
    let reason = Rejection::InUse { quarantine: Some(60) };
    metered.registry.reject(&call(), &service, secret, reason).await.unwrap();
    metered.meter.take();
    let lift = call();
    metered.registry.lift(&lift, &service, port).await.unwrap();
    assert_eq!(metered.cost(&lift), is("DeleteItem:1 GetItem:1", 1.0, 1.0));

    fill(&world, "django", 5000, 100).await;
    let map = call();
    let drawn = metered.registry.map(&map, &service).await.unwrap();
    assert_eq!(drawn.counts, Counts { free: 100, allocated: 100, ..Counts::default() });
    let (requests, reads, writes) = metered.cost(&map);
    assert_eq!((requests.as_str(), writes), ("GetItem:1 Query:1", 0.0));
    // 100 items of some 150 bytes.
    assert!((2.0..=4.0).contains(&reads), "{reads}");

    for (dry_run, expected, written) in
        [(true, "GetItem:1 Query:1", 0.0), (false, "DeleteItem:100 GetItem:1 Query:1", 100.0)]
    {
        let release = call();
        let wanted = BulkRelease { dry_run, ..everything() };
        let released = metered.registry.release_all(&release, &service, &wanted).await.unwrap();
        assert_eq!(released.claims.len(), 100);
        let (requests, _, writes) = metered.cost(&release);
        assert_eq!((requests.as_str(), writes), (expected, written));
    }
}
