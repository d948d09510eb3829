//! Crowds of PUTs in simulated time: many names at once, and many processes that want one name (promises P1, P17, P22,
//! P23).

use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_domain::{InstanceName, Owner, StateKind, Strategy};
use portmaster_registry::{Asked, Error, ListFilter, Put};
use portmaster_testkit::{Answered, Distant, Network, call, crowd_of, put, service_id};

use super::{LEASE, PROCESSES, SERVICE, START, figures, seeds, serving};

fn asked(name: &str, owner: Option<&str>) -> Asked {
    let owner = owner.map(|owner| Owner::try_from(owner).unwrap());
    Asked { owner, ..Asked::from(InstanceName::try_from(name).unwrap()) }
}

/// Like `lowest_sees_a_crowd_that_arrives_over_a_second`: a PUT takes no more tries than an offer.
#[tokio::test(start_paused = true)]
async fn lowest_sees_a_crowd_of_puts_that_arrives_over_a_second() {
    let callers = 1024;
    for seed in seeds(2) {
        let distant = serving(Network::USUAL, seed, START, START + 4999, Strategy::Lowest).await;
        let answers = crowd_of(&distant, callers, Duration::from_secs(1), seed, async |registry, i| {
            put(&registry, SERVICE, &asked(&format!("web-{i}"), None), LEASE).await
        })
        .await;
        let made = |answered: &Answered<Put>| match answered.answer.as_ref().unwrap() {
            Put::Made(claim) => claim.port,
            Put::Kept(claim) => panic!("nobody else has this name: {claim:?}"),
        };
        let ports: BTreeSet<_> = answers.iter().map(made).collect();
        assert_eq!(ports.len(), callers);
        let tries: Vec<_> = answers.iter().map(|answered| answered.meter.tries).collect();
        let (mean, _) = figures(&format!("{callers} PUTs over a second, lowest, seed {seed}"), &tries);
        assert!(mean <= 1.2, "mean {mean:.3}");
    }
}

/// The only port that stands, with its owner.
async fn the_only_port(distant: &Distant) -> (u16, Option<String>) {
    let registry = distant.process(&distant.client().await);
    let (service, all) = (service_id(SERVICE), ListFilter::default());
    let offers = registry.list_claims(&call(), &service, StateKind::Offered, &all, None, 100).await.unwrap();
    assert!(offers.items.is_empty(), "{offers:?}");
    let ports = registry.list_claims(&call(), &service, StateKind::Allocated, &all, None, 100).await.unwrap();
    match &ports.items[..] {
        [claim] => (claim.port.get(), claim.owner.as_ref().map(|owner| owner.as_str().to_owned())),
        several => panic!("not one port: {several:?}"),
    }
}

/// P23: so many processes of one owner want one name at the same moment, or one after another. Each is told the one port
/// that the name has.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_one_owner_gets_one_port() {
    for (strategy, lease, over) in [
        (Strategy::Lowest, LEASE, Duration::ZERO),
        (Strategy::Lowest, None, Duration::ZERO),
        (Strategy::Random, LEASE, Duration::ZERO),
        (Strategy::Random, None, Duration::ZERO),
        (Strategy::Random, None, Duration::from_millis(100)),
    ] {
        for seed in seeds(5) {
            let distant = serving(Network::USUAL, seed, START, START + 255, strategy).await;
            let answers = crowd_of(&distant, PROCESSES, over, seed, async |registry, _| {
                put(&registry, SERVICE, &asked("web", Some("host-1")), lease).await
            })
            .await;
            let about = format!("{}, lease {lease:?}, over {over:?}, seed {seed}", strategy.as_str());
            let ports: BTreeSet<_> = answers
                .iter()
                .map(|answered| answered.answer.as_ref().unwrap_or_else(|error| panic!("{about}: {error}")))
                .map(|put| put.claim().port.get())
                .collect();
            let made = answers.iter().filter(|answered| matches!(answered.answer, Ok(Put::Made(_)))).count();
            // All but one wait for those before them: their claims are in conflict while another is on its way.
            let tries: Vec<_> = answers.iter().map(|answered| answered.meter.tries).collect();
            let (_, worst) = figures(&format!("{PROCESSES} PUTs of one owner, {about}, {made} made it"), &tries);
            assert!(worst <= 30, "{about}: worst {worst}");
            let requests: Vec<_> = answers.iter().map(|answered| answered.meter.requests).collect();
            figures("  requests", &requests);
            let (port, owner) = the_only_port(&distant).await;
            assert_eq!((ports, owner.as_deref()), (BTreeSet::from([port]), Some("host-1")), "{about}");
            assert!(made >= 1, "{about}");
        }
    }
}

/// P22: each of so many processes is another owner. One of them gets the name, and all others are told whose it is.
#[tokio::test(start_paused = true)]
async fn of_a_crowd_of_owners_one_gets_the_name() {
    for (strategy, lease) in
        [(Strategy::Lowest, LEASE), (Strategy::Lowest, None), (Strategy::Random, LEASE), (Strategy::Random, None)]
    {
        for seed in seeds(5) {
            let distant = serving(Network::USUAL, seed, START, START + 255, strategy).await;
            let answers = crowd_of(&distant, PROCESSES, Duration::ZERO, seed, async |registry, i| {
                put(&registry, SERVICE, &asked("web", Some(&format!("host-{i}"))), lease).await
            })
            .await;
            let about = format!("{}, lease {lease:?}, seed {seed}", strategy.as_str());
            let (port, owner) = the_only_port(&distant).await;
            let mut winners = 0;
            for (i, answered) in answers.iter().enumerate() {
                let claim = match &answered.answer {
                    Ok(Put::Made(claim)) => {
                        winners += 1;
                        assert_eq!(Some(format!("host-{i}")), owner, "{about}");
                        claim
                    }
                    Err(Error::NameTaken { claim, .. }) => claim,
                    other => panic!("{about}: {other:?}"),
                };
                assert_eq!(claim.port.get(), port, "{about}");
            }
            assert_eq!(winners, 1, "{about}");
        }
    }
}
