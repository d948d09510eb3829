//! What a run found and did.

use serde::Serialize;

use crate::metrics;

/// The findings of a run, and its repairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Items read.
    pub items: u64,
    /// Expired offers that TTL had not yet removed: removed.
    pub expired_offers: u64,
    /// Allocations whose lease was over by more than clocks differ: made gone, or removed if their time was wholly over.
    pub lapsed_leases: u64,
    /// Cool-downs and quarantines whose time was over: removed.
    pub ended_holds: u64,
    /// Idempotency records past their day: removed.
    pub expired_requests: u64,
    /// Instances whose claim has been gone for a week: removed.
    pub stale_pointers: u64,
    /// Services left closing by a deletion or a shrinking that stopped: reopened.
    pub abandoned_marks: u64,
    /// Allocations of services that do not exist: removed.
    pub orphaned_allocations: u64,
    /// Allocations outside the range of their service: only counted, since they are in use.
    pub allocations_out_of_range: u64,
    /// Pairs of services whose ranges overlap: only counted, since nothing shows which of them owns the ports.
    pub overlapping_services: u64,
    /// Bitmaps of claimed ports that disagreed with the services: rebuilt.
    pub rebuilt_ranges: u64,
    /// Items that no version of the registry could have written: only counted.
    pub unreadable_items: u64,
    /// Namespaces all of whose ports were read.
    pub namespaces: u64,
    /// Their services, whose usage was counted.
    pub services: u64,
    /// Of these, the ones whose range was nearly full.
    pub nearly_full: u64,
    /// Whether the run reached the end of the table. If not, the next run continues where this one stopped.
    pub finished: bool,
}

impl Findings {
    /// Writes one line to the log and counts the metrics.
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
            (metrics::LEASES_LAPSED, self.lapsed_leases),
            (metrics::RECONCILER_ENDED_HOLDS, self.ended_holds),
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
            lapsed_leases = self.lapsed_leases,
            ended_holds = self.ended_holds,
            expired_requests = self.expired_requests,
            stale_pointers = self.stale_pointers,
            abandoned_marks = self.abandoned_marks,
            orphaned_allocations = self.orphaned_allocations,
            allocations_out_of_range = self.allocations_out_of_range,
            overlapping_services = self.overlapping_services,
            rebuilt_ranges = self.rebuilt_ranges,
            unreadable_items = self.unreadable_items,
            namespaces = self.namespaces,
            services = self.services,
            nearly_full = self.nearly_full,
            "reconciled"
        );
    }

    /// The same findings, however much there was to read and how full it was.
    #[must_use]
    pub fn regardless_of_extent(&self) -> Self {
        Self { items: 0, namespaces: 0, services: 0, nearly_full: 0, ..*self }
    }

    /// Whether the run found nothing that a healthy table never has.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inconsistencies() == 0
    }

    /// How many things it found that a healthy table never has.
    fn inconsistencies(&self) -> u64 {
        let Self {
            items: _,
            expired_offers: _,
            lapsed_leases: _,
            ended_holds: _,
            expired_requests: _,
            stale_pointers: _,
            abandoned_marks,
            orphaned_allocations,
            allocations_out_of_range,
            overlapping_services,
            rebuilt_ranges,
            unreadable_items,
            namespaces: _,
            services: _,
            nearly_full: _,
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
