//! The metrics: their names, and the functions that raise them.
//!
//! They go through the `metrics` facade, so that each process chooses what becomes of them: the functions write them to
//! their log in CloudWatch's embedded format; the local server has no recorder and drops them. A label becomes a
//! dimension, each value of a dimension is a metric that is paid for, and services and instances are named by callers.
//! So only one metric has labels, [`RANGE_USED_PERCENT`], and a setting says for which services it is recorded. Of all
//! others, the log says which service it was.

use portmaster_domain::ServiceId;

use crate::Meter;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

/// A metric: its name, and what it counts.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// A description of what it counts.
    pub about: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $about:literal;)*) => {
        $(#[doc = $about] pub const $constant: &str = $name;)*

        /// Every metric.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, about: $about },)*];
    };
}

metrics! {
    COLD_STARTS "ColdStarts" "Processes that began to serve.";
    OFFERS "Offers" "Offers made.";
    REPLAYS "Replays" "Offers given again for the same idempotency key.";
    ACCEPTS "Accepts" "Offers accepted for the first time.";
    REJECTS "Rejects" "Offers rejected.";
    PUTS "Puts" "Ports given by a PUT or in a set, without an offer that a caller saw.";
    RELEASES "Releases" "Allocations given back.";
    LEASES_GRANTED "LeasesGranted" "Allocations that were given with a lease.";
    LEASES_RENEWED "LeasesRenewed" "Leases renewed, by a renewal or by a repeated PUT.";
    LEASES_LAPSED "LeasesLapsed" "Leases that were over before they were renewed, as the reconciler found them.";
    LEASES_LOST "LeasesLost" "Renewals that came after the lease was over.";
    QUARANTINES "Quarantines" "Ports put aside because they were in use on the host.";
    COOLDOWNS_IN_THE_WAY "CooldownsInTheWay" "Requests refused because every port of the range was taken, some of them only by a cool-down or a quarantine.";
    EXPIRIES_SEEN "ExpiriesSeen" "Accepts that came after the offer's time was over.";
    EXHAUSTIONS "Exhaustions" "Offers refused because every port of the range was taken.";
    ATTEMPTS_PER_OFFER "AttemptsPerOffer" "How many ports were tried for an offer, won or not.";
    LOST_RACES "LostRaces" "Ports that somebody else had when they were tried.";
    DYNAMODB_RETRIES "DynamoDbRetries" "Requests to DynamoDB sent again after a conflict, throttling, or a fault.";
    RECONCILER_RUNS "ReconcilerRuns" "Runs of the reconciler that came to their end, or to the end of their time.";
    RECONCILER_FINISHED_SWEEPS "ReconcilerFinishedSweeps" "Sweeps of the whole table that came to their end: one for each run, or for every few runs of a large table.";
    RECONCILER_INCONSISTENCIES "ReconcilerInconsistencies" "Things it found that a healthy table never has: the sum of the six after this.";
    RECONCILER_ABANDONED_MARKS "ReconcilerAbandonedMarks" "Services left closing by a call that stopped.";
    RECONCILER_ORPHANED_ALLOCATIONS "ReconcilerOrphanedAllocations" "Allocations of services that do not exist.";
    RECONCILER_ALLOCATIONS_OUT_OF_RANGE "ReconcilerAllocationsOutOfRange" "Allocations outside the range of their service.";
    RECONCILER_OVERLAPPING_SERVICES "ReconcilerOverlappingServices" "Pairs of services whose ranges overlap.";
    RECONCILER_REBUILT_RANGES "ReconcilerRebuiltRanges" "Bitmaps of claimed ports that disagreed with the services.";
    RECONCILER_UNREADABLE_ITEMS "ReconcilerUnreadableItems" "Items that no version of the registry could have written.";
    RECONCILER_EXPIRED_OFFERS "ReconcilerExpiredOffers" "Expired offers removed before DynamoDB's TTL came.";
    RECONCILER_ENDED_HOLDS "ReconcilerEndedHolds" "Cool-downs and quarantines removed whose time was over.";
    RECONCILER_EXPIRED_REQUESTS "ReconcilerExpiredRequests" "Idempotency keys removed whose time was over.";
    FULLEST_RANGE_PERCENT "FullestRangePercent" "How full the fullest range is: what is taken, of what may be given to somebody who asks for any port.";
    RANGE_USED_PERCENT "RangeUsedPercent" "How full a service's range is; with the dimensions Namespace and Service.";
    RECONCILER_STALE_POINTERS "ReconcilerStalePointers" "Names forgotten that had no port for a week.";
}

/// Describes the metrics to the process's recorder. To be called once, after the recorder is installed.
pub fn describe() {
    for Metric { name, about } in METRICS {
        match *name {
            ATTEMPTS_PER_OFFER | RECONCILER_INCONSISTENCIES => describe_histogram!(*name, Unit::Count, *about),
            FULLEST_RANGE_PERCENT | RANGE_USED_PERCENT => describe_histogram!(*name, Unit::Percent, *about),
            _ => describe_counter!(*name, Unit::Count, *about),
        }
    }
}

/// Counts the start of a process.
pub fn cold_start() {
    count(COLD_STARTS, 1);
}

/// Adds to a counter. A count of zero is not recorded.
pub fn count(name: &'static str, times: u64) {
    if times > 0 {
        counter!(name).increment(times);
    }
}

/// Records how many inconsistencies a run of the reconciler found, including none: a run that found none ends the alarm
/// of the run before, and the time between two runs must not end it. A counter is not written when it is zero, but a
/// histogram's value is.
pub(crate) fn inconsistencies(found: u64) {
    histogram!(RECONCILER_INCONSISTENCIES).record(f64::from(u32::try_from(found).unwrap_or(u32::MAX)));
}

/// Records how full the fullest range is, in tenths of a percent: zero too, as for the inconsistencies.
pub(crate) fn fullest(per_mille: usize) {
    histogram!(FULLEST_RANGE_PERCENT).record(per_mille as f64 / 10.0);
}

/// Records how full the range of a service is, in tenths of a percent.
pub(crate) fn range_used(service: &ServiceId, per_mille: usize) {
    let labels = [("Namespace", service.namespace.to_string()), ("Service", service.name.to_string())];
    histogram!(RANGE_USED_PERCENT, &labels).record(per_mille as f64 / 10.0);
}

/// Records how many ports an offer tried.
pub fn attempts(tries: u32) {
    histogram!(ATTEMPTS_PER_OFFER).record(f64::from(tries));
}

/// Records what a call's requests to the table met with.
pub fn meter(meter: &Meter) {
    if meter.tries > 0 {
        attempts(meter.tries);
    }
    count(LOST_RACES, meter.lost_races.into());
    count(DYNAMODB_RETRIES, meter.retries.into());
}
