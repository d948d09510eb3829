//! The client against a registry.

#![allow(clippy::unwrap_used)]

use portmaster_client::domain::{InstanceName, Owner, Port, ServiceName};
use portmaster_client::wire::{
    Acceptance, Import, Kind, NamespaceContent, NewOffer, NewPort, NewSet, Patch, PortInUse, Reason, Rejection,
    Release, Renewal, ServiceContent, ServicePatch,
};
use portmaster_client::{Client, Error, Filter, Holder, PortOrName, Precondition};
use portmaster_testkit::World;

fn service(name: &str) -> ServiceName {
    name.try_into().unwrap()
}

fn name(name: &str) -> InstanceName {
    name.try_into().unwrap()
}

fn owner(name: &str) -> Option<Owner> {
    Some(name.try_into().unwrap())
}

fn content(start: u16, end: u16) -> ServiceContent {
    serde_json::from_value(serde_json::json!({ "start": start, "end": end })).unwrap()
}

async fn world() -> (World, Client) {
    let world = World::new().await;
    let client = Client::builder().url(&world.api.url).build().unwrap();
    (world, client)
}

#[tokio::test]
async fn a_port_from_beginning_to_end() {
    let (_world, client) = world().await;
    let web = service("web");
    assert!(client.put_service(&web, &content(5000, 5009), Precondition::None).await.unwrap().created());
    let wanted = NewPort { owner: owner("run-1"), lease_seconds: Some(900.try_into().unwrap()), ..NewPort::default() };
    let first = client.put_port(&web, &name("job"), &wanted, Precondition::Absent).await.unwrap();
    assert!(first.created() && first.port.get() == 5000, "{first:?}");
    let left = first.holds_until().unwrap() - std::time::Instant::now();
    assert!((890..=901).contains(&left.as_secs()), "{left:?}");
    let again = client.put_port(&web, &name("job"), &wanted, Precondition::None).await.unwrap();
    assert!(!again.created() && again.port == first.port);

    let target: PortOrName = name("job").into();
    let renewal = Renewal { owner: owner("run-1"), lease_seconds: Some(1800.try_into().unwrap()) };
    let renewed = client.renew(&web, &target, &renewal).await.unwrap();
    assert!(renewed.expires_at.unwrap().seconds() > first.expires_at.unwrap().seconds());
    assert_eq!(client.get_port(&web, &first.port.into()).await.unwrap().value, renewed.value);
    assert_eq!(client.find_port(first.port).await.unwrap().port.name, name("job"));

    let stranger = Holder::from(owner("run-2"));
    let refused = client.release(&web, &target, &stranger).await.unwrap_err();
    assert_eq!(refused.kind(), Some(Kind::NotTheOwner));
    assert_eq!(refused.problem().unwrap().text("owner"), Some("run-1"));
    client.release(&web, &target, &owner("run-1").into()).await.unwrap();
    let gone = client.release(&web, &target, &owner("run-1").into()).await.unwrap_err();
    assert_eq!(gone.kind(), Some(Kind::PortNotFound), "nothing was lost on the way, so nothing is guessed");
    let lost = client.renew(&web, &target, &renewal).await.unwrap_err();
    assert_eq!(lost.kind(), Some(Kind::PortNotFound));
}

#[tokio::test]
async fn sets_come_whole_or_not_at_all() {
    let (_world, client) = world().await;
    let web = service("web");
    client.put_service(&web, &content(5000, 5002), Precondition::None).await.unwrap();
    let set = |names: &[&str]| NewSet {
        names: names.iter().map(|text| name(text)).collect(),
        owner: owner("run-1"),
        lease_seconds: Some(60.try_into().unwrap()),
        contiguous: Some(true),
        labels: None,
    };
    let made = client.put_set(&web, &set(&["http", "grpc"])).await.unwrap();
    assert_eq!(made.ports.iter().map(|port| port.port.get()).collect::<Vec<_>>(), [5000, 5001]);
    let full = client.put_set(&web, &set(&["a", "b"])).await.unwrap_err();
    assert_eq!(full.kind(), Some(Kind::RangeExhausted));
    assert!(full.retry_after().is_some() && full.problem().unwrap().more["wanted"] == 2, "{full:?}");
    let released = Release { owner: owner("run-1"), ..Release::default() };
    assert_eq!(client.release_ports(&web, &released).await.unwrap().released.len(), 2);
}

#[tokio::test]
async fn an_offer_is_accepted_or_put_aside() {
    let (_world, client) = world().await;
    let web = service("web");
    client.put_service(&web, &content(5000, 5009), Precondition::None).await.unwrap();
    let wanted = |text: &str| NewOffer { name: name(text), port: None, owner: None, labels: None };
    let offer = client.create_offer(&web, &wanted("a")).await.unwrap().value;
    assert!(!format!("{offer:?}").contains(&offer.secret.expose()));
    let in_use = Rejection { reason: Some(Reason::InUse), quarantine_seconds: None };
    client.reject(&web, offer.secret, &in_use).await.unwrap();
    let second = client.create_offer(&web, &wanted("a")).await.unwrap().value;
    assert_ne!(second.listed.port, offer.listed.port);
    assert_eq!(client.list_offers(&web, &Filter::default()).all().await.unwrap().len(), 1);
    let port = client.accept(&web, second.secret, &Acceptance::default()).await.unwrap();
    assert_eq!(port.port, second.listed.port);
    client.end_quarantine(&web, offer.listed.port).await.unwrap();
    assert_eq!(client.map(&web).await.unwrap().counts.quarantined, 0);
}

#[tokio::test]
async fn lists_are_followed_to_their_end() {
    let (world, client) = world().await;
    let web = service("web");
    client.put_service(&web, &content(5000, 7999), Precondition::None).await.unwrap();
    portmaster_testkit::fill(&world, "web", 5000, 2500).await;
    let mut pages = client.list_ports(&web, &Filter::default());
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push(page.len());
    }
    assert!(sizes.len() >= 3 && sizes.iter().sum::<usize>() == 2500, "{sizes:?}");
    let one = Filter { name_prefix: Some("filler-5000".to_owned().try_into().unwrap()), ..Filter::default() };
    assert_eq!(client.list_ports(&web, &one).all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn services_and_namespaces() {
    let (_world, client) = world().await;
    let team = "team-a".try_into().unwrap();
    let missing = client.in_namespace(portmaster_client::domain::Namespace::try_from("team-a").unwrap());
    let web = service("web");
    let refused = missing.put_service(&web, &content(5000, 5009), Precondition::None).await.unwrap_err();
    assert_eq!(refused.kind(), Some(Kind::NamespaceNotFound));
    assert!(client.put_namespace(&team, &NamespaceContent::default()).await.unwrap().created());
    let made = missing.put_service(&web, &content(5000, 5009), Precondition::Absent).await.unwrap();
    let version = Precondition::Version(made.etag.clone().unwrap());
    let patch: ServicePatch = serde_json::from_value(serde_json::json!({ "end": 5019 })).unwrap();
    assert_eq!(patch.lease_seconds, Patch::Absent);
    let patched = missing.patch_service(&web, &patch, version.clone()).await.unwrap();
    assert_eq!(patched.end, Port::new(5019).unwrap());
    let stale = missing.delete_service(&web, version).await.unwrap_err();
    assert_eq!(stale.kind(), Some(Kind::PreconditionFailed));
    assert_eq!(missing.list_services().all().await.unwrap().len(), 1);
    assert_eq!(client.list_services().all().await.unwrap().len(), 0);
    assert_eq!(client.list_namespaces().all().await.unwrap().len(), 2);
    assert_eq!(client.delete_namespace(&team).await.unwrap_err().kind(), Some(Kind::NamespaceInUse));
    missing.delete_service(&web, Precondition::Present).await.unwrap();
    client.delete_namespace(&team).await.unwrap();
    assert_eq!(client.get_namespace(&team).await.unwrap_err().kind(), Some(Kind::NamespaceNotFound));
}

#[tokio::test]
async fn an_import_reports_what_it_could_not_take() {
    let (_world, client) = world().await;
    let web = service("web");
    client.put_service(&web, &content(5000, 5009), Precondition::None).await.unwrap();
    let port = |text: &str, number| PortInUse {
        name: name(text),
        port: Port::new(number).unwrap(),
        owner: None,
        labels: None,
    };
    let ports = vec![port("old-1", 5003), port("old-2", 6000)];
    let imported = client.import(&web, &Import { ports, dry_run: None }).await.unwrap();
    assert_eq!((imported.imported.len(), imported.conflicts.len()), (1, 1));
    assert_eq!(imported.conflicts[0].r#type, Kind::PortNotInRange.type_uri());
}

#[tokio::test]
async fn the_registry_tells_about_itself() {
    let (_world, client) = world().await;
    let health = client.health().await.unwrap();
    assert_eq!(health.value.status, "ok");
    assert!(health.date.is_some() && client.clock_millis().abs() < 2_000);
    assert_eq!(client.version().await.unwrap().value, env!("CARGO_PKG_VERSION"));
    let mistakes = client.put_service(&service("web"), &content(5009, 5000), Precondition::None).await.unwrap_err();
    let Error::Problem(problem) = mistakes else { panic!("{mistakes:?}") };
    assert_eq!((problem.kind, problem.errors.len()), (Some(Kind::InvalidRequest), 1));
    assert!(problem.instance.is_some(), "{problem:?}");
}
