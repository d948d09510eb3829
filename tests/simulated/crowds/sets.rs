//! Crowds of port sets in simulated time: 15 ms away from the table, with conflicts, and no caller shares memory with
//! another (promises P1, P11, P17, P22, P23, P30). A *try* is a claim transaction of a whole set.
//!
//! `lowest` takes two tries more than the others, as in every crowd that begins at the same moment: all want one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portmaster_domain::{InstanceName, Owner, StateKind, Strategy};
use portmaster_registry::{Asked, Error, ListFilter, NewSet, Set};
use portmaster_testkit::{Answered, Distant, Network, call, crowd_of, offer, put, put_set, service_id};

use super::{LEASE, PROCESSES, SERVICE, START, figures, seeds, serving};

/// How many names a set has.
const SIZE: u16 = 4;

/// The set with this number, whose names no other set has.
fn numbered(i: usize, contiguous: bool, lease: Option<u32>) -> NewSet {
    let name = |j: u16| InstanceName::try_from(format!("set-{i}-{j}").as_str()).unwrap();
    NewSet { names: (0..SIZE).map(name).collect(), owner: None, lease, contiguous, labels: None }
}

/// What callers were told: the port of each name. It fails if one port was told twice.
#[derive(Debug, Default)]
struct Told {
    ports: BTreeMap<u16, String>,
    tries: Vec<u32>,
}

impl Told {
    fn add(&mut self, port: u16, name: &str) {
        let before = self.ports.insert(port, name.to_owned());
        assert_eq!(before, None, "{port} is {name}'s as well");
    }

    /// Adds a set that stands: made by this call, its names in order and, if it is contiguous, its ports as well.
    fn add_set(&mut self, asked: &NewSet, answered: &Answered<Set>) {
        let Set { claims, made } = answered.answer.as_ref().unwrap();
        let names: Vec<_> = claims.iter().map(|claim| claim.name.clone()).collect();
        assert!(*made > 0 && names == asked.names, "{answered:?}");
        let ports: Vec<_> = claims.iter().map(|claim| claim.port.get()).collect();
        assert!(!asked.contiguous || ports.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ports:?}");
        claims.iter().for_each(|claim| self.add(claim.port.get(), claim.name.as_str()));
        self.tries.push(answered.meter.tries);
    }

    /// Asserts that what was told stands, and that nothing else does: whoever lost has left nothing behind.
    async fn is_all_that_stands(&self, distant: &Distant) {
        let registry = distant.process(&distant.client().await);
        let (service, all) = (service_id(SERVICE), ListFilter::default());
        let offers = registry.list_claims(&call(), &service, StateKind::Offered, &all, None, 1000).await.unwrap();
        assert!(offers.items.is_empty(), "{offers:?}");
        let ports = registry.list_claims(&call(), &service, StateKind::Allocated, &all, None, 1000).await.unwrap();
        let stand: BTreeMap<_, _> =
            ports.items.iter().map(|claim| (claim.port.get(), claim.name.as_str().to_owned())).collect();
        assert_eq!(stand, self.ports);
    }
}

/// As many sets at the same moment as there is room for, to the last port: all of them are served. Returns their tries.
async fn the_exact_number(strategy: Strategy, contiguous: bool, lease: Option<u32>, usual_seeds: u64) -> (f64, u32) {
    let sets = 64;
    let mut tries = Vec::new();
    for seed in seeds(usual_seeds) {
        let distant = serving(Network::USUAL, seed, START, START + sets * SIZE - 1, strategy).await;
        let answers = crowd_of(&distant, usize::from(sets), Duration::ZERO, seed, async |registry, i| {
            let set = numbered(i, contiguous, lease);
            let answered = put_set(&registry, SERVICE, &set).await;
            (set, answered)
        })
        .await;
        let mut told = Told::default();
        answers.iter().for_each(|(set, answered)| told.add_set(set, answered));
        assert_eq!(told.ports.len(), usize::from(sets * SIZE));
        told.is_all_that_stands(&distant).await;
        tries.extend(told.tries);
    }
    let kind = if contiguous { "neighbours" } else { "any ports" };
    figures(&format!("{sets} sets on the last ports, {}, {kind}, lease {lease:?}", strategy.as_str()), &tries)
}

#[tokio::test(start_paused = true)]
async fn lowest_serves_a_crowd_of_sets_to_the_last_port() {
    let (mean, worst) = the_exact_number(Strategy::Lowest, false, LEASE, 3).await;
    assert!(mean <= 4.0 && worst <= 12, "mean {mean:.2}, worst {worst}");
}

#[tokio::test(start_paused = true)]
async fn lowest_serves_a_crowd_of_contiguous_sets_to_the_last_port() {
    let (mean, worst) = the_exact_number(Strategy::Lowest, true, LEASE, 3).await;
    assert!(mean <= 4.0 && worst <= 12, "mean {mean:.2}, worst {worst}");
}

/// Without a lease, a set is a transaction of offers and another one that accepts them.
#[tokio::test(start_paused = true)]
async fn lowest_serves_a_crowd_of_permanent_sets_to_the_last_port() {
    for contiguous in [false, true] {
        let (mean, worst) = the_exact_number(Strategy::Lowest, contiguous, None, 2).await;
        assert!(mean <= 4.0 && worst <= 12, "mean {mean:.2}, worst {worst}");
    }
}

#[tokio::test(start_paused = true)]
async fn hashed_serves_a_crowd_of_sets_to_the_last_port() {
    for contiguous in [false, true] {
        let (mean, worst) = the_exact_number(Strategy::Hashed, contiguous, LEASE, 2).await;
        assert!(mean <= 2.5 && worst <= 12, "mean {mean:.2}, worst {worst}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_serves_a_crowd_of_sets_to_the_last_port() {
    for contiguous in [false, true] {
        let (mean, worst) = the_exact_number(Strategy::Random, contiguous, LEASE, 2).await;
        assert!(mean <= 2.5 && worst <= 12, "mean {mean:.2}, worst {worst}");
    }
}

/// P11, P30: one set too many, by a single port. All others are served, and the one that is refused holds nothing: the
/// three ports that are left go to single names.
#[tokio::test(start_paused = true)]
async fn of_one_set_too_many_nothing_is_left_behind() {
    let sets = 64;
    for (strategy, contiguous) in [(Strategy::Lowest, false), (Strategy::Lowest, true), (Strategy::Hashed, false)] {
        for seed in seeds(2) {
            let distant = serving(Network::USUAL, seed, START, START + sets * SIZE - 2, strategy).await;
            let answers = crowd_of(&distant, usize::from(sets), Duration::ZERO, seed, async |registry, i| {
                let set = numbered(i, contiguous, LEASE);
                let answered = put_set(&registry, SERVICE, &set).await;
                (set, answered)
            })
            .await;
            let mut told = Told::default();
            let (stand, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answered)| answered.answer.is_ok());
            let about = format!("{}, contiguous: {contiguous}, seed {seed}", strategy.as_str());
            assert!(
                matches!(refused[..], [(_, Answered { answer: Err(Error::SetDoesNotFit { wanted: 4, .. }), .. })]),
                "{about}: {refused:?}"
            );
            stand.iter().for_each(|(set, answered)| told.add_set(set, answered));
            told.is_all_that_stands(&distant).await;
            let registry = distant.process(&distant.client().await);
            for name in ["one", "two", "three"] {
                let port = offer(&registry, SERVICE, name).await.port;
                told.add(port.unwrap_or_else(|error| panic!("{about}: {error}")), name);
            }
            figures(&format!("one set too many, {about}"), &told.tries);
        }
    }
}

/// P23, P30: so many processes of one owner want the same set at the same moment. Each is told the same ports.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_one_owner_gets_one_set() {
    for (strategy, contiguous, lease) in [
        (Strategy::Lowest, true, LEASE),
        (Strategy::Lowest, true, None),
        (Strategy::Random, false, LEASE),
        (Strategy::Random, false, None),
    ] {
        let mut tries = Vec::new();
        for seed in seeds(3) {
            let distant = serving(Network::USUAL, seed, START, START + 255, strategy).await;
            let answers = crowd_of(&distant, PROCESSES, Duration::ZERO, seed, async |registry, _| {
                let owner = Some(Owner::try_from("host-1").unwrap());
                put_set(&registry, SERVICE, &NewSet { owner, ..numbered(0, contiguous, lease) }).await
            })
            .await;
            let about = format!("{}, lease {lease:?}, seed {seed}", strategy.as_str());
            let set = |answered: &Answered<Set>| match &answered.answer {
                Ok(set) => set.claims.iter().map(|claim| (claim.port.get(), claim.name.as_str().to_owned())).collect(),
                Err(error) => panic!("{about}: {error}"),
            };
            let all: BTreeSet<BTreeMap<_, _>> = answers.iter().map(set).collect();
            let [one] = &all.into_iter().collect::<Vec<_>>()[..] else { panic!("{about}: {answers:?}") };
            let made = answers.iter().filter(|answered| answered.answer.as_ref().is_ok_and(|set| set.made > 0)).count();
            assert!(made >= 1 && one.len() == usize::from(SIZE), "{about}: {made} made it, {one:?}");
            Told { ports: one.clone(), tries: Vec::new() }.is_all_that_stands(&distant).await;
            tries.extend(answers.iter().map(|answered| answered.meter.tries));
        }
        let about = format!("{PROCESSES} processes of one owner, {}, lease {lease:?}", strategy.as_str());
        let (mean, worst) = figures(&about, &tries);
        assert!(mean <= 8.0 && worst <= 20, "mean {mean:.2}, worst {worst}");
    }
}

/// P22, P30: owners whose sets share names with their neighbours' sets, in a circle. Some get theirs; all others are told
/// whose a name is, and have none.
#[tokio::test(start_paused = true)]
async fn of_a_crowd_of_owners_whose_sets_overlap_some_get_theirs_and_the_others_nothing() {
    for (strategy, contiguous, lease) in [
        (Strategy::Lowest, true, LEASE),
        (Strategy::Lowest, false, None),
        (Strategy::Random, false, LEASE),
        (Strategy::Random, true, None),
    ] {
        for seed in seeds(5) {
            let distant = serving(Network::USUAL, seed, START, START + 255, strategy).await;
            let answers = crowd_of(&distant, PROCESSES, Duration::ZERO, seed, async |registry, i| {
                let name = |j| InstanceName::try_from(format!("web-{}", (i + j) % PROCESSES).as_str()).unwrap();
                let owner = Some(Owner::try_from(format!("host-{i}").as_str()).unwrap());
                let names = (0..usize::from(SIZE)).map(name).collect();
                let set = NewSet { names, owner, ..numbered(0, contiguous, lease) };
                let answered = put_set(&registry, SERVICE, &set).await;
                (set, answered)
            })
            .await;
            let about = format!("{}, lease {lease:?}, seed {seed}", strategy.as_str());
            let mut told = Told::default();
            for (set, answered) in &answers {
                match &answered.answer {
                    Ok(_) => told.add_set(set, answered),
                    Err(Error::NameTaken { claim, .. }) => assert!(set.names.contains(&claim.name), "{about}"),
                    Err(error) => panic!("{about}: {error}"),
                }
            }
            told.is_all_that_stands(&distant).await;
            println!("sets that overlap, {about}: {} of {PROCESSES} stand", told.tries.len());
            assert!(!told.tries.is_empty(), "{about}");
        }
    }
}

/// Sets and single ports at the same moment: a set, which needs several ports at once, is not starved by those that need
/// one. `ports` is as many as there are names, or, if the sets are contiguous, so many that single ports cannot leave too
/// few places.
async fn mixed(strategy: Strategy, contiguous: bool, ports: u16) {
    let (sets, singles) = (32, 128);
    let (mut tries_of_sets, mut tries_of_singles) = (Vec::new(), Vec::new());
    for seed in seeds(3) {
        let distant = serving(Network::USUAL, seed, START, START + ports - 1, strategy).await;
        let told = std::sync::Mutex::new(Told::default());
        let singles_tries = crowd_of(&distant, sets + singles, Duration::ZERO, seed, async |registry, i| {
            // A set, four single ports, and so on.
            if i % 5 == 0 {
                let set = numbered(i, contiguous, LEASE);
                let answered = put_set(&registry, SERVICE, &set).await;
                told.lock().unwrap().add_set(&set, &answered);
                return None;
            }
            let name = format!("web-{i}");
            let asked = Asked::from(InstanceName::try_from(name.as_str()).unwrap());
            let answered = put(&registry, SERVICE, &asked, LEASE).await;
            told.lock().unwrap().add(answered.answer.unwrap().claim().port.get(), &name);
            Some(answered.meter.tries)
        })
        .await;
        let told = told.into_inner().unwrap();
        assert_eq!(told.ports.len(), sets * usize::from(SIZE) + singles);
        told.is_all_that_stands(&distant).await;
        tries_of_sets.extend(told.tries);
        tries_of_singles.extend(singles_tries.into_iter().flatten());
    }
    let kind = if contiguous { "neighbours" } else { "any ports" };
    let about = format!("{sets} sets and {singles} single ports on {ports}, {}, {kind}", strategy.as_str());
    let (mean, worst) = figures(&format!("{about}: sets"), &tries_of_sets);
    assert!(mean <= 5.5 && worst <= 16, "mean {mean:.2}, worst {worst}");
    let (mean, worst) = figures(&format!("{about}: single ports"), &tries_of_singles);
    assert!(mean <= 5.5 && worst <= 16, "mean {mean:.2}, worst {worst}");
}

#[tokio::test(start_paused = true)]
async fn lowest_serves_sets_among_single_ports_to_the_last_port() {
    mixed(Strategy::Lowest, false, 256).await;
}

#[tokio::test(start_paused = true)]
async fn hashed_serves_sets_among_single_ports_to_the_last_port() {
    mixed(Strategy::Hashed, false, 256).await;
}

/// 128 ports leave at most 129 gaps, in each of which at most 3 ports are no place for a set: 32 sets always find room.
#[tokio::test(start_paused = true)]
async fn lowest_serves_contiguous_sets_among_single_ports() {
    mixed(Strategy::Lowest, true, 128 + 129 * 3 + 32 * SIZE).await;
}
