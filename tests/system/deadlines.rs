//! Deadlines: every call ends, and cleans up after itself (promise P7).

use std::time::Duration;

use futures::future::BoxFuture;
use portmaster_domain::{Description, InstanceName, Port, PortRange, Secret, ServiceId, StateKind, Strategy};
use portmaster_registry::{Call, Content, Error, IfMatch, ListFilter, NewService, PortOrName, Registry, StoreError};
use serde_json::json;
use tokio::time::Instant;

use portmaster_testkit::{Fault, Plan, World, service_id};

/// When a call should have ended long ago, so that a test whose call does not end fails.
const BOUND: Duration = Duration::from_secs(30);

const ANY: &str = "GetItem|PutItem|UpdateItem|DeleteItem|Query|Scan|TransactGetItems|TransactWriteItems";

/// The arguments of the operations.
#[derive(Clone)]
struct Asked {
    service: ServiceId,
    name: InstanceName,
    port: Port,
    secret: Secret,
    content: Content,
    filter: ListFilter,
}

impl Asked {
    fn new() -> Self {
        let port = Port::new(5000).unwrap();
        let range = PortRange::new(port, Port::new(5009).unwrap()).unwrap();
        Self {
            service: service_id("django"),
            name: InstanceName::try_from("web-01").unwrap(),
            port,
            secret: Secret::generate(port),
            filter: ListFilter::default(),
            content: Content::new(Description::default(), range, Strategy::Lowest),
        }
    }
}

type Operation = for<'a> fn(&'a Registry, &'a Call, &'a Asked) -> BoxFuture<'a, Result<(), Error>>;

/// Every operation of the registry, and the error with which it fails.
fn operations() -> Vec<(&'static str, Operation)> {
    macro_rules! operations {
        ($($name:literal: |$registry:ident, $call:ident, $asked:ident| $operation:expr;)+) => {
            vec![$(($name, |$registry, $call, $asked| Box::pin(async move { $operation.await.map(drop).map_err(Error::from) }))),+]
        };
    }
    operations! {
        "create" : |registry, call, asked| {
            let new = NewService { id: asked.service.clone(), content: asked.content.clone() };
            registry.create_service(call, new)
        };
        "put": |registry, call, asked| {
            let new = NewService { id: asked.service.clone(), content: asked.content.clone() };
            registry.put_service(call, new, &IfMatch::Always)
        };
        "change": |registry, call, asked| {
            let content = |_: &_| Ok(asked.content.clone());
            registry.change_service(call, &asked.service, &IfMatch::Always, content)
        };
        "read": |registry, call, asked| registry.get_service(call, &asked.service);
        "list services": |registry, call, asked| registry.list_services(call, &asked.service.namespace, None, 10);
        "delete": |registry, call, asked| {
            registry.delete_service(call, &asked.service, &IfMatch::Always)
        };
        "offer": |registry, call, asked| registry.offer(call, &asked.service, &asked.name, None);
        "read an offer": |registry, call, asked| {
            registry.get_offer(call, &asked.service, asked.secret)
        };
        "list offers": |registry, call, asked| {
            registry.list_claims(call, &asked.service, StateKind::Offered, &asked.filter, None, 10)
        };
        "accept": |registry, call, asked| registry.accept(call, &asked.service, asked.secret, None);
        "reject": |registry, call, asked| registry.reject(call, &asked.service, asked.secret, portmaster_registry::Rejection::Unwanted);
        "find": |registry, call, asked| registry.find_port(call, &asked.service.namespace, asked.port);
        "read by name": |registry, call, asked| {
            let wanted = PortOrName::Name(asked.name.clone());
            async move { registry.get_port(call, &asked.service, &wanted).await }
        };
        "release": |registry, call, asked| {
            let wanted = PortOrName::Port(asked.port);
            async move { registry.release(call, &asked.service, &wanted, portmaster_registry::By::Holder(None)).await }
        };
        "reconcile": |registry, call, _asked| registry.reconcile(call);
    }
}

/// A call ends by its deadline, whatever the table answers and whether or not it does. Time is virtual here, and
/// advances when nothing else can happen, so a call that went on for ever would fail at the bound.
#[tokio::test]
async fn every_call_ends_by_its_deadline() {
    let world = World::new().await;
    let throttling = Plan::default();
    let throttled = world.faulty(&throttling).await;
    let silent = world.faulty(&Plan::script(&vec![(ANY, Fault::Wait); 100])).await;
    tokio::time::pause();
    let asked = Asked::new();
    for (name, operation) in operations() {
        // It waits a little between two attempts, but not beyond its deadline.
        throttling.add(&vec![(ANY, Fault::Throttle); 1_000]);
        let (sent, call) = (throttling.met(), Call::within(Duration::from_secs(4)));
        let ended = tokio::time::timeout(BOUND, operation(&throttled, &call, &asked)).await;
        let failed = ended.unwrap_or_else(|_| panic!("{name} is sent for ever")).unwrap_err();
        assert!(matches!(&failed, Error::Store(StoreError::Unavailable { .. })), "{name}: {failed:?}");
        // A timer is accurate to a millisecond.
        assert!(Instant::now() < call.deadline() + Duration::from_millis(2), "{name} waited beyond its deadline");
        assert!(throttling.met() - sent > 5, "{name} was hardly sent again");

        // A response that does not come is not waited for.
        let call = Call::within(Duration::from_secs(4));
        let ended = tokio::time::timeout(BOUND, operation(&silent, &call, &asked)).await;
        let failed = ended.unwrap_or_else(|_| panic!("{name} waits for ever")).unwrap_err();
        let unsaid = matches!(&failed, Error::Store(StoreError::Unavailable { .. } | StoreError::Unknown { .. }));
        assert!(unsaid, "{name}: {failed:?}");
        assert!(Instant::now() <= call.deadline() + Duration::from_secs(1), "{name} ended late");

        // If no time is left, nothing is sent.
        let (sent, call) = (throttling.met(), Call::within(Duration::ZERO));
        let ended = tokio::time::timeout(BOUND, operation(&throttled, &call, &asked)).await;
        let failed = ended.unwrap_or_else(|_| panic!("{name} begins after its deadline")).unwrap_err();
        assert!(matches!(&failed, Error::Store(StoreError::Unavailable { .. })), "{name}: {failed:?}");
        assert_eq!(throttling.met(), sent, "{name} was sent after its deadline");
    }
}

/// P7: a claim whose response was lost until the deadline is withdrawn in the time that is left for cleaning up:
/// without a key no caller could find it, and it would hold its port and its name until it expires.
#[tokio::test]
async fn a_claim_that_was_never_answered_is_withdrawn() {
    let errors = vec![("TransactWriteItems", Fault::DoneButError); 1_000];
    // Here no time at all is left when the call gives up.
    let silence = vec![("TransactWriteItems", Fault::DoneButError), ("TransactWriteItems", Fault::Wait)];
    for script in [errors, silence] {
        let world = World::new().await;
        world.api.service("django", 5000, 5009).await;
        let plan = Plan::script(&script);
        let registry = world.faulty(&plan).await;
        let Asked { service, name, .. } = Asked::new();
        let call = Call::within(Duration::from_secs(2));
        let offer = registry.offer(&call, &service, &name, None);
        let failed = tokio::time::timeout(BOUND, offer).await.expect("it does not end").unwrap_err();
        assert!(matches!(failed, Error::Store(StoreError::Unavailable { .. })), "{failed:?}");
        assert!(plan.met() > 1);
        assert_eq!(world.api.get("/v1/services/django/offers").await.expect(200).body, json!([]));
        assert_eq!(world.api.offer("django", "web-01").await.0, 5000);
        world.assert_healthy().await;
    }
}
