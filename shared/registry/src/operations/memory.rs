//! A process's memory of services between calls. It may be wrong in any way, which costs a retry.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::Occupancy;
use portmaster_domain::allocator::Knowledge;
use portmaster_domain::{Expiry, Port, PortRange, Reserved, Service, ServiceId, Strategy, Terms, Timestamp};

/// How many services a process remembers; the least recently used is forgotten first. One takes some 40 KB, or 2 MB if
/// tens of thousands of its ports are offered.
const SERVICES: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// The largest range that is read every time: reading it costs five units, no more than a page of a list.
const READ_EACH_TIME: usize = 100;

/// A service as it was last read, and its ports.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) strategy: Strategy,
    /// The ports that are only given to those who ask for them by number.
    pub(super) reserved: Reserved,
    pub(super) knowledge: Knowledge,
    /// When this process last freed one of its ports, or began to remember the service. A read that began before that
    /// does not count.
    freed: Instant,
    full: Option<Full>,
}

impl Remembered {
    fn new(service: &Service, mut knowledge: Knowledge) -> Self {
        let (strategy, reserved) = (service.strategy, service.reserved.clone());
        knowledge.bar(reserved.ports());
        Self { strategy, reserved, knowledge, freed: Instant::now(), full: None }
    }
}

/// A whole range that was read consistently and had no free port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    pub(super) range: PortRange,
    /// When the read began.
    pub(super) asked: Instant,
    pub(super) occupancy: Occupancy,
    /// When the first of its claims ends by itself.
    pub(super) until: Option<Expiry>,
}

impl Full {
    /// How the ports were taken, as a caller is told at `now`.
    pub(super) fn remembered(self, now: Timestamp) -> Occupancy {
        let seconds_to_next_expiry = self.until.map(|until| until.seconds_left(now));
        Occupancy { seconds_to_next_expiry, remembered: true, ..self.occupancy }
    }
}

type Services = LruCache<ServiceId, Remembered>;

/// The services that a process remembers, by last use.
pub(super) struct Memory {
    services: Mutex<Services>,
    /// The terms of the last claim of each service that was seen: also in a process that never reads a service.
    terms: Mutex<LruCache<ServiceId, Terms>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { services: Mutex::new(LruCache::new(SERVICES)), terms: Mutex::new(LruCache::new(SERVICES)) }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} services)", self.lock().len())
    }
}

/// The entry of one service in the memory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    memory: Arc<Memory>,
    key: ServiceId,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Services> {
        // The memory may be wrong in any way, so whatever a panic left is acceptable too.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terms that a claim of the service probably has: a guess, which the condition of each write checks.
    pub(super) fn terms(&self, service: &ServiceId) -> Terms {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        terms.get(service).copied().unwrap_or_default()
    }

    /// Records the terms of a claim of the service.
    pub(super) fn remember_terms(&self, service: &ServiceId, seen: Terms) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        terms.put(service.clone(), seen);
    }

    /// The entry of a service.
    pub(super) fn place(self: &Arc<Self>, service: &ServiceId) -> Place {
        Place { memory: Arc::clone(self), key: service.clone() }
    }
}

impl Place {
    /// The range that was on offer when the service was last read.
    pub(super) fn range(&self) -> Option<PortRange> {
        self.with(|remembered| remembered.knowledge.range())
    }

    /// The strategy when the service was last read.
    pub(super) fn strategy(&self) -> Option<Strategy> {
        self.with(|remembered| remembered.strategy)
    }

    /// The terms of the service when it, or a claim of it, was last seen.
    pub(super) fn terms(&self) -> Terms {
        self.memory.terms(&self.key)
    }

    /// Records that the service was read.
    pub(super) fn remember(&self, service: &Service) {
        self.memory.remember_terms(&self.key, service.terms);
        let Some(range) = service.offered_range() else { return self.forget() };
        let mut services = self.memory.lock();
        match services.get_mut(&self.key) {
            Some(remembered) if remembered.knowledge.range() == range => {
                remembered.strategy = service.strategy;
                if remembered.reserved != service.reserved {
                    remembered.reserved.clone_from(&service.reserved);
                    // It was full without them, or with them.
                    remembered.full = None;
                    remembered.knowledge.bar(service.reserved.ports());
                }
            }
            Some(remembered) => {
                let old = std::mem::replace(&mut remembered.knowledge, Knowledge::new(range));
                *remembered = Remembered::new(service, old.with_range(range));
            }
            None => {
                services.put(self.key.clone(), Remembered::new(service, Knowledge::new(range)));
            }
        }
    }

    /// Records that the service is gone.
    pub(super) fn forget(&self) {
        self.memory.lock().pop(&self.key);
    }

    /// Reads or changes what is known. Returns none if nothing is.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> Option<T> {
        self.memory.lock().get_mut(&self.key).map(act)
    }

    /// Changes what is known of the service's ports.
    pub(super) fn learn(&self, act: impl FnOnce(&mut Knowledge)) {
        self.with(|remembered| {
            let frees = remembered.knowledge.frees();
            act(&mut remembered.knowledge);
            if remembered.knowledge.frees() != frees {
                remembered.freed = Instant::now();
            }
        });
    }

    /// Records that the range was read and has no free port.
    pub(super) fn remember_full(&self, full: Full) {
        if full.range.size() > READ_EACH_TIME {
            self.with(|remembered| remembered.full = Some(full));
        }
    }

    /// Returns the last full read of the range, unless it is too old, this process has freed a port since it began, or
    /// a claim has expired. Ports that other processes have freed since are not known.
    pub(super) fn full(&self, range: PortRange, now: Timestamp, at_most: Duration) -> Option<Full> {
        self.with(|remembered| {
            remembered.full.filter(|full| {
                full.range == range
                    && full.asked > remembered.freed
                    && full.asked.elapsed() < at_most
                    && full.until.is_none_or(|until| !until.has_passed(now))
            })
        })
        .flatten()
    }

    /// A candidate of this process, reserved against its other calls until the value is dropped.
    pub(super) fn reservation(&self, port: Port) -> Reservation {
        Reservation { place: self.clone(), port }
    }
}

/// See [`Place::reservation`].
#[derive(Debug)]
pub(super) struct Reservation {
    place: Place,
    pub(super) port: Port,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.place.learn(|knowledge| knowledge.unreserve(self.port));
    }
}
