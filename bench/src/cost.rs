//! The cost of one offer by how many ports are taken: cold and warm, new and returning names, each strategy.

use std::time::Duration;

use portmaster_domain::{InstanceName, Strategy};
use portmaster_http::TIMEOUT;
use portmaster_registry::Call;

use crate::report::Part;
use crate::world::{Done, create, offer, service, simulate};
use portmaster_testkit::{Distant, Network, Traffic};

/// A third of it is a whole number of milliseconds, the finest that Tokio's simulated time has.
const ROUND_TRIP: Duration = Duration::from_millis(12);

pub fn run(quick: bool) -> Part {
    let occupancies: &[u16] = if quick { &[10, 1_000] } else { &[10, 100, 1_000, 10_000, 40_000, 48_000] };
    let mut part = Part::default();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for strategy in Strategy::ALL {
        let mut by_case = std::collections::BTreeMap::<&str, Vec<(f64, f64)>>::new();
        for taken in occupancies {
            for (case, done, traffic) in simulate(one(strategy, *taken)) {
                let rounds = done.took.as_secs_f64() / ROUND_TRIP.as_secs_f64();
                rows.push(vec![
                    strategy.as_str().to_owned(),
                    taken.to_string(),
                    case.to_owned(),
                    format!("{rounds:.0}"),
                    done.meter.requests.to_string(),
                    traffic.transactions.to_string(),
                    done.meter.read_units.to_string(),
                    done.meter.write_units.to_string(),
                ]);
                by_case.entry(case).or_default().push((f64::from(*taken), done.meter.read_units));
            }
        }
        if strategy == Strategy::Lowest {
            lines.extend(by_case.into_iter().map(|(case, points)| (case.to_owned(), points)));
        }
    }
    part.text = "A service of all 48,128 ports, so many of them taken without a gap from the lowest. *Rounds* counts requests \
                 one after another, the look after the claim included; *transactions* those that passed or failed their \
                 conditions. Units are as the embedded database reports them. *Cold with a hint* is the first offer of a \
                 process within a minute after another process read everything.\n\n"
        .to_owned();
    part.table(&["strategy", "taken", "offer", "rounds", "requests", "transactions", "R", "W"], &rows);
    part.plot("performance-cost.svg", "Read units of one offer (lowest)", "ports taken", "read units", &lines);
    part
}

async fn one(strategy: Strategy, taken: u16) -> Vec<(&'static str, Done, Traffic)> {
    let distant = Distant::new(Network::exact(ROUND_TRIP), 1).await;
    create(&distant, 0, 1024, 49_151, strategy).await;
    distant.fill("service-0", 1024..1024 + taken);
    let client = distant.client().await;
    let mut costs = Vec::new();
    let process = distant.process(&client);
    // All three run within the five seconds of their window, so that none of them includes a refresh.
    for (case, name) in [("cold", "web-01"), ("second", "web-02"), ("warm, a new name", "web-03")] {
        let done = offer(&process, 0, name).await;
        costs.push((case, done, distant.take_traffic()));
    }
    // A name whose claim is gone.
    let call = Call::within(TIMEOUT);
    let name = "web-04".to_owned();
    let instance = InstanceName::try_from(name.as_str()).unwrap();
    let offered = process.offer(&call, &service(0), &instance, None).await.unwrap();
    process.reject(&call, &service(0), offered.holding.secret, portmaster_registry::Rejection::Unwanted).await.unwrap();
    distant.take_traffic();
    let done = offer(&process, 0, &name).await;
    costs.push(("warm, a name that returns", done, distant.take_traffic()));
    let done = offer(&distant.process(&client), 0, "web-05").await;
    costs.push(("cold with a hint", done, distant.take_traffic()));
    costs
}
