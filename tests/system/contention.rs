//! As many callers as there are ports, or more, or all for one name, at the same moment.

use std::collections::BTreeSet;

use futures::future::join_all;

use portmaster_domain::InstanceName;
use portmaster_testkit::{World, call, serve, service_id};

const CROWD: usize = 64;

/// P1: every caller gets a port, and no two the same, whatever each process remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_with_exactly_as_many_ports_as_callers_serves_them_all() {
    let world = World::new().await;
    for (index, strategy) in ["lowest", "hashed", "random"].into_iter().enumerate() {
        // One process, then as many as there are callers, each cold.
        for (processes, start) in [(1, 2000), (CROWD, 3000)] {
            let start = u16::try_from(start + index * 100).unwrap();
            let end = start + u16::try_from(CROWD).unwrap() - 1;
            let service = format!("{strategy}-{processes}");
            world.api.service_with(&service, start, end, strategy).await;
            let mut callers = Vec::new();
            for _ in 0..processes {
                callers.push(serve(world.another(0).await).await);
            }
            let asks = (0..CROWD).map(|i| {
                let (api, service) = (&callers[i % processes], &service);
                async move { api.ask(service, &format!("web-{i}")).await }
            });
            let offers = join_all(asks).await;
            let ports: BTreeSet<_> = offers.iter().map(|offer| offer.port()).collect();
            assert_eq!(ports, (start..=end).collect::<BTreeSet<_>>(), "{service}");

            let accepts = offers.iter().enumerate().map(|(i, offer)| {
                let (api, service) = (&callers[i % processes], &service);
                async move { api.accept(service, &offer.secret()).await.expect(201).port() }
            });
            let accepted: BTreeSet<_> = join_all(accepts).await.into_iter().collect();
            assert_eq!(accepted, ports);
            world.api.ask(&service, "one-more").await.expect_problem(409, "range-exhausted");
        }
    }
    world.assert_healthy().await;
}

/// P1: more callers than ports. Exactly as many succeed as there are ports; the others are refused since the range is
/// full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_a_range_too_small_gets_what_there_is() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 5100), ("random", 5200)] {
        world.api.service_with(strategy, start, start + 19, strategy).await;
        let mut callers = Vec::new();
        for _ in 0..4 {
            callers.push(serve(world.another(0).await).await);
        }
        let answers = join_all((0..40).map(|i| {
            let api = &callers[i % 4];
            async move { api.ask(strategy, &format!("web-{i}")).await }
        }))
        .await;
        let ports: Vec<_> = answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.port()).collect();
        assert_eq!(ports.len(), 20, "{strategy}");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        let refused = answers.iter().filter(|answer| answer.kind() == "range-exhausted").count();
        assert_eq!(refused, 20);
    }
}

/// P2: many callers for one name, in one process and in many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_callers_for_one_name_one_gets_it() {
    let world = World::new().await;
    for (strategy, start) in [("lowest", 5000), ("hashed", 6000), ("random", 7000)] {
        world.api.service_with(strategy, start, start + 199, strategy).await;
        let mut callers = Vec::new();
        for _ in 0..8 {
            callers.push(serve(world.another(0).await).await);
        }
        // A new name, then one that had a port before.
        for round in 0..3 {
            let answers = join_all((0..CROWD).map(|i| {
                let api = &callers[i % 8];
                async move { api.ask(strategy, "web-01").await }
            }))
            .await;
            let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
            assert_eq!(made.len(), 1, "{strategy}, round {round}: {answers:?}");
            assert!(answers.iter().all(|answer| answer.status == 201 || answer.kind() == "name-taken"), "{answers:?}");
            let offers = world.api.get(&format!("/v1/services/{strategy}/offers")).await.expect(200);
            assert_eq!(offers.body.as_array().unwrap().len(), 1);
            world.api.reject(strategy, &made[0].secret()).await.expect(204);
        }
    }
    world.assert_healthy().await;
}

/// Within one process no request loses a race: candidates are reserved until their claims are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_in_one_process_do_not_meet() {
    let world = World::new().await;
    world.api.service("django", 5000, 5999).await;
    let service = service_id("django");
    let offers = join_all((0..CROWD).map(|i| {
        let (registry, service) = (&world.registry, &service);
        async move {
            let name = InstanceName::try_from(format!("web-{i}")).unwrap();
            let call = call();
            let offered = registry.offer(&call, service, &name, None).await.unwrap();
            (offered.holding.claim.port.get(), call.meter().tries)
        }
    }))
    .await;
    assert!(offers.iter().all(|(_, tries)| *tries == 1), "{offers:?}");
    let ports: BTreeSet<_> = offers.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, (5000..5064).collect());
}
