//! Crowds in simulated time: how many tries an offer takes if its callers share no memory, 15 ms away from the table
//! and with conflicts (promises P1, P17). A *try* is a claim transaction that was sent.
//!
//! | crowds of | file |
//! |---|---|
//! | offers | here |
//! | PUTs, also on one name | `owners` |
//! | sets | `sets` |
//!
//! They compare counts and never times, so that they hold on any machine. `CROWD_SEEDS=50` runs more seeds than the
//! usual few.

mod owners;
mod sets;

use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_domain::Strategy;
use portmaster_testkit::{Distant, Network, Offered, create, crowd, offer};

const START: u16 = 5000;

/// For ports with a lease: long enough that nothing lapses before the test has looked at it.
const LEASE: Option<u32> = Some(600);

/// How many processes want the same.
const PROCESSES: usize = 32;

fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("CROWD_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    0..asked.unwrap_or(usual)
}

pub const SERVICE: &str = "django";

pub async fn serving(network: Network, seed: u64, start: u16, end: u16, strategy: Strategy) -> Distant {
    let distant = Distant::new(network, seed).await;
    create(&distant, SERVICE, start, end, strategy).await;
    distant
}

/// Returns the tries of so many callers that arrive over so long, each in a process of its own without any memory. They
/// all succeed, and no two get the same port.
pub async fn all_served(distant: &Distant, callers: usize, over: Duration, seed: u64) -> Vec<u32> {
    let offers = crowd(distant, callers, &[SERVICE], over, seed).await;
    let ports: BTreeSet<_> = offers.iter().map(|offered| *offered.port.as_ref().unwrap()).collect();
    assert_eq!(ports.len(), callers);
    offers.iter().map(|offered| offered.meter.tries).collect()
}

/// Prints the tries, and returns their mean and the worst.
fn figures(about: &str, tries: &[u32]) -> (f64, u32) {
    let mean = f64::from(tries.iter().sum::<u32>()) / tries.len() as f64;
    let worst = tries.iter().copied().max().unwrap();
    println!("{about}: mean {mean:.3}, worst {worst}");
    (mean, worst)
}

/// Returns the tries in a service of 5,000 ports, over some seeds: their mean and the worst.
async fn tries(strategy: Strategy, callers: usize, over: Duration, usual_seeds: u64) -> (f64, u32) {
    let mut all = Vec::new();
    for seed in seeds(usual_seeds) {
        let distant = serving(Network::USUAL, seed, START, START + 4999, strategy).await;
        all.extend(all_served(&distant, callers, over, seed).await);
    }
    figures(&format!("{callers} callers over {over:?}, {}", strategy.as_str()), &all)
}

#[tokio::test(start_paused = true)]
async fn hashed_names_hardly_ever_meet() {
    let (mean, worst) = tries(Strategy::Hashed, 256, Duration::ZERO, 3).await;
    assert!(mean <= 1.1 && worst <= 3, "mean {mean:.3}, worst {worst}");
}

#[tokio::test(start_paused = true)]
async fn random_choices_hardly_ever_meet() {
    let (mean, worst) = tries(Strategy::Random, 256, Duration::ZERO, 3).await;
    assert!(mean <= 1.1 && worst <= 3, "mean {mean:.3}, worst {worst}");
}

/// Nothing is visible yet: every caller tries the same port, and the tries show how fast they spread.
#[tokio::test(start_paused = true)]
async fn lowest_spreads_a_crowd_that_begins_at_the_same_moment() {
    let (mean, worst) = tries(Strategy::Lowest, 256, Duration::ZERO, 3).await;
    assert!(mean <= 4.0 && worst <= 8, "mean {mean:.3}, worst {worst}");
}

#[tokio::test(start_paused = true)]
async fn lowest_sees_a_crowd_that_arrives_over_a_second() {
    let (mean, _) = tries(Strategy::Lowest, 1024, Duration::from_secs(1), 1).await;
    assert!(mean <= 1.2, "mean {mean:.3}");
}

/// Rounds are requests one after another; parallel requests are one round. Cold: the service, a window, perhaps
/// everything (or, if another process left a hint, another window), the claim; and then the look that follows each
/// claim.
#[tokio::test(start_paused = true)]
async fn a_cold_offer_takes_four_round_trips_and_the_look_however_full_the_range_is() {
    let round_trip = Duration::from_millis(12);
    for strategy in Strategy::ALL {
        for taken in [10, 1_000, 40_000] {
            let distant = serving(Network::exact(round_trip), 1, 1024, 49_151, strategy).await;
            distant.fill(SERVICE, 1024..1024 + taken);
            // The second finds the first one's hint.
            for name in ["first", "second"] {
                let process = distant.process(&distant.client().await);
                let Offered { port, meter, took } = offer(&process, SERVICE, name).await;
                let rounds = took.as_secs_f64() / round_trip.as_secs_f64();
                let about = format!("{}, {taken} taken, {name}: {rounds} rounds, {meter:?}", strategy.as_str());
                assert!(port.unwrap() >= 1024 + taken, "{about}");
                assert!(rounds.round() <= 5.0 && meter.tries == 1, "{about}");
            }
        }
    }
}
