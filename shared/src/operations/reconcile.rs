//! The reconciler: a garbage collector that may be late, may stop anywhere, and removes nothing that is live.
//!
//! It assumes that anything may leak and that nothing was handed out twice. Every removal repeats its evidence as a
//! condition. In a healthy table every count but those of expired things is zero.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Registry;
use crate::allocator::PortSet;
use crate::domain::{Holding, Namespace, Port, PortRange, Service, ServiceName};
use crate::metrics;
use crate::store::{Call, Found, Key, Pointer, Ranges, Removed, Replay, StoreError};

/// How long a pointer whose claim is gone is kept: so long a name comes back to its port.
const AFFINITY_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How old a mark must be to count as left behind. A call has seconds; clocks may differ by minutes.
const ABANDONED_MILLIS: i64 = 5 * 60 * 1000;

/// What is left of the call's time when it stops, to write down how far it got.
const RESERVE: Duration = Duration::from_secs(2);

/// How many items it reads at a time.
const PAGE: usize = 500;

/// How long a disagreement between Ranges and the services must stand to be one.
const SETTLE: Duration = Duration::from_secs(1);

/// What a run found, and did about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Items looked at.
    pub items: u64,
    /// Offers that expired and that TTL had not yet taken: removed.
    pub expired_offers: u64,
    /// Remembered idempotency keys whose day was over: removed.
    pub expired_requests: u64,
    /// Pointers of names whose claim has been gone for a week: removed.
    pub stale_pointers: u64,
    /// Services left closing by a deletion or a shrinking that stopped: open again.
    pub abandoned_marks: u64,
    /// Allocations of services that do not exist: removed.
    pub orphaned_allocations: u64,
    /// Allocations outside the range of their service: only counted, since somebody uses them.
    pub allocations_out_of_range: u64,
    /// Pairs of services whose ranges overlap: only counted, since nothing says whose the ports are.
    pub overlapping_services: u64,
    /// Bitmaps of claimed ports that disagreed with the services: made anew.
    pub rebuilt_ranges: u64,
    /// Items that no version of the registry could have written: only counted.
    pub unreadable_items: u64,
    /// Whether the whole table was looked at; if not, the next run goes on where this one stopped.
    pub finished: bool,
}

impl Findings {
    /// Writes one line to the log, and counts.
    pub fn report(&self) {
        for (name, count) in [
            (metrics::RECONCILER_RUNS, 1),
            (metrics::RECONCILER_FINISHED_SWEEPS, u64::from(self.finished)),
            (metrics::RECONCILER_ABANDONED_MARKS, self.abandoned_marks),
            (metrics::RECONCILER_ORPHANED_ALLOCATIONS, self.orphaned_allocations),
            (metrics::RECONCILER_ALLOCATIONS_OUT_OF_RANGE, self.allocations_out_of_range),
            (metrics::RECONCILER_OVERLAPPING_SERVICES, self.overlapping_services),
            (metrics::RECONCILER_REBUILT_RANGES, self.rebuilt_ranges),
            (metrics::RECONCILER_UNREADABLE_ITEMS, self.unreadable_items),
            (metrics::RECONCILER_EXPIRED_OFFERS, self.expired_offers),
            (metrics::RECONCILER_EXPIRED_REQUESTS, self.expired_requests),
            (metrics::RECONCILER_STALE_POINTERS, self.stale_pointers),
        ] {
            metrics::count(name, count);
        }
        metrics::inconsistencies(self.inconsistencies());
        tracing::info!(
            target: "portmaster::reconcile",
            healthy = self.is_healthy(),
            finished = self.finished,
            items = self.items,
            expired_offers = self.expired_offers,
            expired_requests = self.expired_requests,
            stale_pointers = self.stale_pointers,
            abandoned_marks = self.abandoned_marks,
            orphaned_allocations = self.orphaned_allocations,
            allocations_out_of_range = self.allocations_out_of_range,
            overlapping_services = self.overlapping_services,
            rebuilt_ranges = self.rebuilt_ranges,
            unreadable_items = self.unreadable_items,
            "reconciled"
        );
    }

    /// Whether nothing was found that a healthy table never has.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inconsistencies() == 0
    }

    /// How much was found that a healthy table never has.
    fn inconsistencies(&self) -> u64 {
        let Self {
            items: _,
            expired_offers: _,
            expired_requests: _,
            stale_pointers: _,
            abandoned_marks,
            orphaned_allocations,
            allocations_out_of_range,
            overlapping_services,
            rebuilt_ranges,
            unreadable_items,
            finished: _,
        } = *self;
        abandoned_marks
            + orphaned_allocations
            + allocations_out_of_range
            + overlapping_services
            + rebuilt_ranges
            + unreadable_items
    }
}

impl Registry {
    /// Looks at the table, from where the last run stopped, until its end or until the call's time runs out.
    ///
    /// # Errors
    /// [`StoreError`] when the table does not answer; what was done until then stays done.
    pub async fn reconcile(&self, call: &Call) -> Result<Findings, StoreError> {
        let (findings, namespaces, services) = (Findings::default(), BTreeSet::new(), HashMap::new());
        let mut run = Run { registry: self, call, findings, namespaces, services };
        let resumed = self.table.checkpoint(call).await?;
        let mut from = resumed.clone();
        loop {
            let page = self.table.sweep_page(call, from.as_ref(), PAGE).await?;
            let mut stopped = None;
            for (key, item) in page.items {
                match run.look_at(item).await {
                    Err(StoreError::Damaged { key, reason }) => {
                        run.look_at_unreadable(&StoreError::Damaged { key, reason })
                    }
                    Err(error) => {
                        // What was done stays done, and the next run goes on from here.
                        self.table.save_checkpoint(&call.extended(), from.as_ref()).await?;
                        return Err(error);
                    }
                    Ok(()) => {}
                }
                if Instant::now() + RESERVE >= call.deadline() {
                    stopped = Some(key);
                    break;
                }
            }
            from = stopped.clone().or(page.next);
            run.findings.finished = from.is_none();
            if from.is_none() || stopped.is_some() {
                break;
            }
        }
        if from.is_some() || resumed.is_some() {
            self.table.save_checkpoint(&call.extended(), from.as_ref()).await?;
        }
        Ok(run.findings)
    }
}

struct Run<'a> {
    registry: &'a Registry,
    call: &'a Call,
    findings: Findings,
    /// Namespaces whose ranges were compared.
    namespaces: BTreeSet<String>,
    /// The ranges of services that were asked for, and of those that do not exist. A removal asks again.
    services: HashMap<(Namespace, ServiceName), Option<PortRange>>,
}

impl Run<'_> {
    async fn look_at(&mut self, item: Found) -> Result<(), StoreError> {
        self.findings.items += 1;
        match item {
            Found::Port(namespace, holding) => self.port(&namespace, holding).await,
            Found::Pointer(namespace, key, pointer) => self.pointer(&namespace, &key, pointer).await,
            Found::Request(key, replay) => self.request(&key, &replay).await,
            Found::Service(namespace, service) => {
                self.mark(&namespace, &service).await;
                self.ranges(&namespace).await
            }
            Found::Ranges(namespace) => self.ranges(&namespace).await,
            Found::Hint => Ok(()),
            Found::Checkpoint => {
                self.findings.items -= 1;
                Ok(())
            }
            Found::Unreadable(error) => Err(error),
        }
    }

    fn look_at_unreadable(&mut self, error: &StoreError) {
        tracing::warn!(%error, "an unreadable item");
        self.findings.unreadable_items += 1;
    }

    async fn port(&mut self, namespace: &Namespace, holding: Holding) -> Result<(), StoreError> {
        let (table, now) = (&self.registry.table, self.registry.now());
        let claim = &holding.claim;
        if !claim.is_live(now) {
            // Dead by this clock. A slower one may still think otherwise; its accept will then find nothing.
            let removed = table.remove_dead(self.call, namespace, claim.port, now).await?;
            self.findings.expired_offers += u64::from(matches!(removed, Removed::Now));
            return Ok(());
        }
        if !claim.is_allocation(now) {
            // A live offer outside a service is about to be withdrawn, or will expire: nobody was told of it.
            return Ok(());
        }
        if self.range_of(namespace, &claim.service, false).await?.is_some_and(|range| range.contains(claim.port)) {
            return Ok(());
        }
        // Not as far as is remembered; then it is looked up.
        match self.range_of(namespace, &claim.service, true).await? {
            None => {
                let removed = table.remove_orphan(self.call, namespace, &holding).await?;
                self.findings.orphaned_allocations += u64::from(removed);
            }
            Some(range) if !range.contains(claim.port) => {
                tracing::warn!(service = %claim.service, port = %claim.port, "an allocation outside its service's range");
                self.findings.allocations_out_of_range += 1;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The range of a service, if it exists, as it was in this run, or as it is now.
    async fn range_of(
        &mut self,
        namespace: &Namespace,
        name: &ServiceName,
        now: bool,
    ) -> Result<Option<PortRange>, StoreError> {
        let key = (namespace.clone(), name.clone());
        if let Some(range) = self.services.get(&key).filter(|_| !now) {
            return Ok(*range);
        }
        let range = self.registry.table.service(self.call, namespace, name).await?.map(|service| service.range);
        self.services.insert(key, range);
        Ok(range)
    }

    async fn pointer(&mut self, namespace: &Namespace, key: &Key, pointer: Pointer) -> Result<(), StoreError> {
        let (table, now) = (&self.registry.table, self.registry.now());
        let found = table.settled_port(self.call, namespace, pointer.port).await?;
        if found.is_some_and(|found| found.secret == pointer.secret) {
            // Live, or merely dead: a slower clock could still accept it, and the name would be free meanwhile.
            return Ok(());
        }
        match pointer.gone_since {
            None => {
                table.note_gone(self.call, key, pointer.secret, now).await?;
            }
            Some(since) if now.millis() - since.millis() >= AFFINITY_MILLIS => {
                let removed = table.remove_pointer(self.call, key, pointer.secret).await?;
                self.findings.stale_pointers += u64::from(removed);
            }
            Some(_) => {}
        }
        Ok(())
    }

    async fn request(&mut self, key: &Key, replay: &Replay) -> Result<(), StoreError> {
        let now = self.registry.now();
        if replay.expires_at.has_passed(now) {
            let removed = self.registry.table.remove_request(self.call, key, now).await?;
            self.findings.expired_requests += u64::from(removed);
        }
        Ok(())
    }

    /// A mark that somebody left behind is taken off again, if it is that very mark still: nobody was told that what it
    /// was set for was done, and to do it now might be to delete what has been in use since.
    async fn mark(&mut self, namespace: &Namespace, service: &Service) {
        let Some(mark) = &service.mark else { return };
        if self.registry.now().millis() - mark.since.millis() >= ABANDONED_MILLIS {
            tracing::warn!(service = %service.name, change = ?mark.change, "a mark was left behind");
            let taken_off = self.registry.unmark(self.call, namespace, service).await;
            self.findings.abandoned_marks += u64::from(taken_off);
        }
    }

    /// Compares Ranges with the services, once for each namespace.
    async fn ranges(&mut self, namespace: &Namespace) -> Result<(), StoreError> {
        if !self.namespaces.insert(namespace.to_string()) {
            return Ok(());
        }
        let (seen, claimed, overlaps) = self.compare(namespace).await?;
        if overlaps > 0 {
            tracing::warn!(%namespace, overlaps, "services whose ranges overlap");
            self.findings.overlapping_services += overlaps;
        }
        if claimed == seen.claimed {
            return Ok(());
        }
        // Perhaps a transaction was half to be seen; then it is whole by now.
        tokio::time::sleep(SETTLE).await;
        let (again, claimed, _) = self.compare(namespace).await?;
        if again != seen || claimed == seen.claimed {
            return Ok(());
        }
        let ports = PortRange::ALL;
        tracing::warn!(
            %namespace,
            was = seen.claimed.count(ports),
            is = claimed.count(ports),
            of = Port::COUNT,
            "the claimed ranges disagreed with the services"
        );
        let rebuilt = self.registry.table.rebuild_ranges(self.call, namespace, &seen, &claimed).await?;
        self.findings.rebuilt_ranges += u64::from(rebuilt);
        Ok(())
    }

    /// Ranges as it is, what it should be by the services, and how many of those overlap. First the bitmap, then the
    /// services: see `rebuild_ranges`. A service that cannot be read still owns its ports, so then nothing is compared.
    async fn compare(&self, namespace: &Namespace) -> Result<(Ranges, PortSet, u64), StoreError> {
        let table = &self.registry.table;
        let seen = table.ranges(self.call, namespace).await?;
        let mut claimed = PortSet::default();
        let mut overlaps = 0;
        for service in table.all_services(self.call, namespace).await? {
            overlaps += u64::from(claimed.intersects(service.range));
            claimed.insert_range(service.range);
        }
        Ok((seen, claimed, overlaps))
    }
}
