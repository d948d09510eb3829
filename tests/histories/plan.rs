//! The parameters that differ from history to history, drawn from its seed.

use std::ops::Range;

use portmaster_domain::Strategy;
use portmaster_registry::Registry;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::stage::Conditions;

/// The service that never changes, and those that do. Their ranges may meet.
pub const STILL: &str = "still";
pub const MOVING: [&str; 2] = ["moving", "rival"];

/// The parameters that differ from history to history.
#[derive(Clone, Debug)]
pub struct Plan {
    pub processes: Vec<i64>,
    pub offer_seconds: u32,
    pub ports: u16,
    pub names: u8,
    pub callers: usize,
    pub operations: usize,
    pub percent: u32,
    /// How many callers in a hundred stop in the middle.
    pub stops: u32,
    /// How long a call may take, in milliseconds.
    pub deadline: u64,
    /// How often in a hundred a caller waits for a while, and not for an instant, before its next action.
    pub leisure: usize,
    pub strategy: Strategy,
    pub moving: bool,
}

impl Plan {
    pub fn draw(random: &mut SmallRng) -> Self {
        let processes = random.random_range(2..=4);
        let skews: &[i64] = match random.random_range(0..10) {
            0..5 => &[0],
            5..8 => &[-2_500, -900, -300, 0, 300, 900, 2_500],
            8 => &[-60_000, 0, 60_000],
            _ => &[-3_600_000, 0, 0, 3_600_000],
        };
        Self {
            processes: (0..processes).map(|_| skews[random.random_range(0..skews.len())]).collect(),
            offer_seconds: random.random_range(1..=4),
            ports: random.random_range(2..=4),
            names: random.random_range(1..=4),
            callers: random.random_range(3..=5),
            operations: random.random_range(3..=8),
            percent: [0, 5, 12, 25, 40][random.random_range(0..5)],
            stops: [0, 0, 10, 30][random.random_range(0..4)],
            deadline: [150, 800, 3_000, 10_000][random.random_range(0..4)],
            leisure: [0, 15, 40][random.random_range(0..3)],
            strategy: [Strategy::Lowest, Strategy::Hashed, Strategy::Random][random.random_range(0..3)],
            moving: random.random_range(0..2) == 0,
        }
    }

    pub fn conditions(&self) -> Conditions {
        Conditions {
            processes: self.processes.clone(),
            offer_seconds: self.offer_seconds,
            margin: Registry::MARGIN_SECONDS,
            callers: self.callers,
            operations: self.operations,
            percent: self.percent,
            stops: self.stops,
            deadline: self.deadline,
            leisure: self.leisure,
            wait: 1_500,
        }
    }

    /// The ports of the service that never changes.
    pub fn still(&self) -> Range<u16> {
        5000..5000 + self.ports
    }

    pub fn is_skewed(&self) -> bool {
        self.processes.iter().any(|skew| *skew != self.processes[0])
    }

    pub fn fastest(&self) -> i64 {
        // TTL deletes by the table's own clock.
        self.processes.iter().copied().max().unwrap_or(0).max(0)
    }
}
