//! Checks a world, and reports a counterexample.

use std::time::{Duration, Instant};

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::conditions::Condition;
use crate::model::Protocol;
use crate::properties::Property;
use crate::world::World;

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The number of different states, or of those seen before the first counterexample.
    pub states: usize,
    /// The number of steps in the longest path from the initial state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// A shortest path to a state in which a property does not hold.
    pub counterexample: Option<Counterexample>,
}

/// The violation of a property.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The properties that do not hold in the last state.
    pub properties: Vec<Property>,
    /// The steps that lead to it.
    pub steps: Vec<String>,
}

/// Explores the states of a world, all of them if nothing is wrong, with the protocol as it is or without one
/// condition.
#[must_use]
pub fn check(world: &World, without: Option<Condition>, threads: usize) -> Checked {
    check_some(world, without, threads, usize::MAX)
}

/// Like `check`, but stops at about this many states.
#[must_use]
pub fn check_some(world: &World, without: Option<Condition>, threads: usize, at_most: usize) -> Checked {
    let began = Instant::now();
    let protocol = Protocol::new(world.clone(), without);
    let checker = protocol
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::Any)
        .target_state_count(at_most)
        .spawn_bfs()
        .join();
    // If two properties are violated after equally many steps, always the same one is reported: the map has no order.
    let shortest =
        checker.discoveries().into_iter().min_by_key(|(property, path)| (path.clone().into_actions().len(), *property));
    let counterexample = shortest.map(|(_, path)| {
        let protocol = checker.model();
        let properties =
            Property::ALL.into_iter().filter(|property| !property.holds(protocol, path.last_state())).collect();
        let steps = path
            .into_vec()
            .into_iter()
            .filter_map(|(state, action)| action.map(|action| protocol.describe(&state, action)))
            .collect();
        Counterexample { properties, steps }
    });
    Checked { states: checker.unique_state_count(), depth: checker.max_depth(), took: began.elapsed(), counterexample }
}
