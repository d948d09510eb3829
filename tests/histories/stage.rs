//! What a history is played on: processes with memories and clocks of their own, over one table behind a network on
//! which everything goes wrong that may. It runs in one thread and in virtual time, so a seed repeats it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use portmaster_registry::{Call, Registry, Table};
use portmaster_testkit::{EPOCH, Faulty, TRIP, Trip, clock_since, millis_since};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::{Instant, sleep};

use super::linearize::Stamp;
use super::run::table;

/// Runs a history in virtual time.
pub fn run<T>(seed: u64, history: impl Future<Output = T>) -> T {
    // The generator of the backoff.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(history)
}

/// How a history is played.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// How far the clock of each process is ahead, in milliseconds.
    pub processes: Vec<i64>,
    pub offer_seconds: u32,
    pub margin: u32,
    pub callers: usize,
    pub operations: usize,
    /// How many requests in a hundred meet a fault, and how many callers in a hundred stop in the middle.
    pub percent: u32,
    pub stops: u32,
    /// How long a call may take, in milliseconds.
    pub deadline: u64,
    /// How often in a hundred a caller waits for so many milliseconds at most, and not for an instant, before it acts.
    pub leisure: usize,
    pub wait: usize,
}

/// See the module.
pub struct Stage {
    seed: u64,
    conditions: Conditions,
    pub network: Faulty,
    pub started: Instant,
    pub table: Table,
    pub processes: RefCell<Vec<Registry>>,
    restarts: Cell<u64>,
    random: RefCell<SmallRng>,
    order: Cell<u32>,
}

/// How an operation went.
pub struct Attempt<T> {
    pub process: usize,
    pub began: Stamp,
    pub ended: Stamp,
    /// None if its caller stopped.
    pub answer: Option<T>,
    pub doubt: bool,
    /// When its first and its last request were sent, in milliseconds.
    pub sent: Option<(i64, i64)>,
}

impl Stage {
    pub async fn new(seed: u64, random: SmallRng, network: Faulty, conditions: Conditions) -> Self {
        let stage = Self {
            seed,
            table: table(&network),
            network,
            started: Instant::now(),
            processes: RefCell::default(),
            restarts: Cell::new(0),
            random: RefCell::new(random),
            order: Cell::new(0),
            conditions,
        };
        stage.table.create(&stage.call()).await.unwrap();
        for number in 0..stage.conditions.processes.len() {
            let process = stage.process(number);
            stage.processes.borrow_mut().push(process);
        }
        stage
    }

    /// Starts a process that remembers nothing.
    pub fn process(&self, number: usize) -> Registry {
        let Conditions { processes, offer_seconds, margin, .. } = &self.conditions;
        self.restarts.set(self.restarts.get() + 1);
        Registry::new(self.table.clone(), clock_since(self.started, processes[number]), *offer_seconds)
            .with_margin(*margin)
            .with_seed(self.seed ^ self.restarts.get())
    }

    /// Starts a process anew.
    pub fn restart(&self, number: usize) {
        let fresh = self.process(number);
        self.processes.borrow_mut()[number] = fresh;
    }

    pub fn call(&self) -> Call {
        let quiet = self.network.percent() == 0;
        Call::within(Duration::from_millis(if quiet { 10_000 } else { self.conditions.deadline }))
    }

    /// How many moments were recorded so far.
    pub fn order(&self) -> u32 {
        self.order.get()
    }

    fn stamp(&self) -> Stamp {
        self.order.set(self.order.get() + 1);
        Stamp { order: self.order.get(), millis: EPOCH + millis_since(self.started) }
    }

    pub fn draw(&self, below: usize) -> usize {
        self.random.borrow_mut().random_range(0..below)
    }

    /// Lets all callers act, one after the other each, on a network that has its faults meanwhile. Then late requests
    /// arrive.
    pub async fn play(&self, act: impl AsyncFn()) {
        let Conditions { callers, operations, percent, leisure, wait, .. } = self.conditions;
        self.network.set_percent(percent);
        join_all((0..callers).map(|_| async {
            for _ in 0..operations {
                let waits = self.draw(100) < leisure;
                let pause = self.draw(if waits { wait } else { 20 });
                sleep(Duration::from_millis(pause as u64)).await;
                act().await;
            }
        }))
        .await;
        self.network.set_percent(0);
        sleep(Duration::from_secs(20)).await;
    }

    /// Asks one of the processes, whose caller may stop in the middle, and the process with it.
    pub async fn attempt<T>(&self, ask: impl AsyncFnOnce(&Registry, Stamp) -> T) -> Attempt<T> {
        let Conditions { processes, percent, stops, .. } = &self.conditions;
        let process = self.draw(processes.len());
        let stops = *stops > 0 && self.draw(100) < *stops as usize;
        let quiet = self.network.percent() == 0 && *percent > 0;
        let trip = Trip::new((stops && !quiet).then(|| (u32::try_from(self.draw(4)).unwrap(), self.draw(2) == 0)));
        let registry = self.processes.borrow()[process].clone();
        let began = self.stamp();
        let doing = TRIP.scope(Arc::clone(&trip), ask(&registry, began));
        let answer = tokio::select! {
            biased;
            answer = doing => Some(answer),
            () = trip.stopped.notified() => None,
        };
        if answer.is_none() && self.draw(2) == 0 {
            self.restart(process);
        }
        let ended = self.stamp();
        let millis = |at: Instant| EPOCH + i64::try_from((at - self.started).as_millis()).unwrap();
        let sent = trip.sent().map(|(first, last)| (millis(first), millis(last)));
        Attempt { process, began, ended, answer, doubt: trip.was_in_doubt(), sent }
    }
}
