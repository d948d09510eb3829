//! The reconciler: a garbage collector that may be late, may stop anywhere, and removes nothing that is live.
//!
//! It assumes that anything may leak and that no port was handed out twice. Every removal repeats its evidence as a
//! condition. In a healthy table every count except those of expired items is zero.
//!
//! A *sweep* reads the whole table, in as many *runs* as it takes. Each run
//! 1. reads the services of `default` and of the next hundred namespaces by name, and their Ranges, so that a mark that
//!    was left behind is found within as many runs as there are hundreds of namespaces, however large the table is;
//! 2. continues the scan where the last run stopped. When it comes to a namespace's ports, or to the first name that
//!    may have one of them, it reads all ports of that namespace (48,128 at most) and remembers their secrets.
//!
//! So a name costs only its share of the scan. A name is in use if its port carries its secret, however old that read
//! is: leaving an Instance alone is always safe. Only for the others, once in each one's life, is the port read again,
//! in a transaction and a hundred at a time. The finding is recorded (`gone_since`), and a week later the Instance is
//! removed on the strength of that note.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::Instant;

use super::Registry;
use crate::Call;
use crate::metrics;
use crate::store::{Checkpoint, Found, Instance, Key, Lapse, Ranges, Removed, SETTLED_AT_ONCE, StoreError, Table};
use portmaster_domain::allocator::PortSet;
use portmaster_domain::{
    Holding, Namespace, Occupant, Port, PortRange, Secret, Service, ServiceId, StateKind, Timestamp,
};

/// How long an Instance is kept after its claim is gone: for this long a name gets its port back.
const AFFINITY_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How old a mark must be to count as left behind. A call takes seconds; clocks may differ by minutes.
const ABANDONED_MILLIS: i64 = 5 * 60 * 1000;

/// How much of the call's time is reserved to save the checkpoint.
const RESERVE: Duration = Duration::from_secs(2);

/// How many items one page has.
const PAGE: usize = 500;

/// How many writes are in flight at a time: on AWS some 800 a second, which leaves room in a partition, whose limit is
/// a thousand.
const WRITES: usize = 4;

/// How many namespaces a run begins with: the next ones by name, and after the last one the first. The services of the
/// others are read when the scan comes to them.
const NAMESPACES: usize = 100;

/// How many ports' secrets are remembered at a time, over all namespaces: 18 bytes each.
const REMEMBERED: usize = 2_000_000;

/// How long a disagreement between Ranges and the services must last to count.
const SETTLE: Duration = Duration::from_secs(1);

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
            "reconciled"
        );
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
    /// Reads the table from where the last run stopped, until its end or until the call's time runs out.
    ///
    /// # Errors
    /// [`StoreError`] when the table does not answer; whatever was done until then stays done.
    pub async fn reconcile(&self, call: &Call) -> Result<Findings, StoreError> {
        let resumed = self.table.checkpoint(call).await?;
        let mut run = Run {
            registry: self,
            call,
            findings: Findings::default(),
            begun: BTreeSet::new(),
            services: HashMap::new(),
            fresh: HashSet::new(),
            ports: HashMap::new(),
        };
        let mut reached = resumed.clone();
        let swept = run.sweep(&mut reached).await;
        let saved = match reached == resumed {
            true => Ok(()),
            false => self.table.save_checkpoint(&call.extended(), &reached).await,
        };
        swept.and(saved)?;
        Ok(run.findings)
    }
}

/// The ports of a namespace, as this run read them.
struct Ports {
    /// In the order of the ports.
    secrets: Vec<(Port, Secret)>,
    /// The last item of their partition.
    last: Option<Key>,
}

/// A write to be done, on a condition of its own.
enum Chore {
    RemoveDead(Namespace, Port, StateKind, Timestamp),
    Lapse(Namespace, Port, Secret, Timestamp),
    RemoveOrphan(Namespace, Box<Holding>),
    RemoveRequest(Key, Timestamp),
    NoteGone(Key, Secret, Timestamp),
    RemoveInstance(Key, Secret),
}

struct Run<'a> {
    registry: &'a Registry,
    call: &'a Call,
    findings: Findings,
    /// Namespaces whose services this run has read.
    begun: BTreeSet<Namespace>,
    /// The ranges of the services that were read, and none for those that do not exist. A removal checks again.
    services: HashMap<ServiceId, Option<PortRange>>,
    /// Services that were read since the last page of ports was.
    fresh: HashSet<ServiceId>,
    /// The ports of each namespace that the scan has reached.
    ports: HashMap<Namespace, Ports>,
}

impl Run<'_> {
    /// Scans until the end of the table or of the time, and writes down how far it got.
    async fn sweep(&mut self, reached: &mut Checkpoint) -> Result<(), StoreError> {
        self.begin(&Namespace::default()).await?;
        let table = &self.registry.table;
        let (next, more) = table.names_of_namespaces(self.call, reached.begun.as_ref(), NAMESPACES).await?;
        for name in next {
            if self.is_short_of_time() {
                return Ok(());
            }
            // Before that: one that cannot be read must not keep the next run from the others.
            reached.begun = Some(name.clone());
            self.begin(&name).await?;
        }
        if !more {
            reached.begun = None;
        }
        let after = &mut reached.after;
        loop {
            let page = self.registry.table.sweep_page(self.call, after.as_ref(), PAGE).await?;
            let seen = page.items.iter().filter(|item| !matches!(item, Found::Checkpoint | Found::Port(_))).count();
            if !self.examine(page.items).await? {
                return Ok(());
            }
            self.findings.items += seen as u64;
            *after = page.next.map(|next| self.beyond_ports(next));
            self.findings.finished = after.is_none();
            if after.is_none() || self.is_short_of_time() {
                return Ok(());
            }
        }
    }

    fn is_short_of_time(&self) -> bool {
        Instant::now() + RESERVE >= self.call.deadline()
    }

    /// Skips the ports that were read together, which need not be scanned again.
    fn beyond_ports(&self, next: Key) -> Key {
        let last = self.ports.iter().find(|(namespace, _)| Table::is_port_of(namespace, &next));
        match last.and_then(|(_, ports)| ports.last.clone()) {
            Some(last) if last.sk > next.sk => last,
            _ => next,
        }
    }

    /// Judges a page of the table. Returns false if the time ran out before all was done.
    async fn examine(&mut self, items: Vec<Found>) -> Result<bool, StoreError> {
        let now = self.registry.now();
        let (mut chores, mut suspects) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Found::Port(namespace) => {
                    self.begin(&namespace).await?;
                    if !self.ports(&namespace).await? {
                        return Ok(false);
                    }
                }
                Found::Instance(namespace, key, Instance { port, secret, gone_since }) => match gone_since {
                    // A run that read the port in a transaction found the claim gone and noted it. Gone is for ever,
                    // and a new claim overwrites the whole item, so that the Instance still has the secret is all the
                    // evidence there is.
                    Some(since) if now.millis() - since.millis() >= AFFINITY_MILLIS => {
                        chores.push(Chore::RemoveInstance(key, secret));
                    }
                    Some(_) => {}
                    None => {
                        self.begin(&namespace).await?;
                        if !self.ports(&namespace).await? {
                            return Ok(false);
                        }
                        // A claim that is shown is live, or merely dead: then a slower clock could still accept it, and
                        // the name would be free meanwhile.
                        if !self.shows(&namespace, port, secret) {
                            suspects.push((namespace, port, key, secret));
                        }
                    }
                },
                Found::Request(key, replay) => {
                    if replay.expires_at.has_passed(now) {
                        chores.push(Chore::RemoveRequest(key, now));
                    }
                }
                Found::Service(namespace) | Found::Ranges(namespace) => self.begin(&namespace).await?,
                Found::Hint | Found::Namespace | Found::Checkpoint => {}
                Found::Unreadable(error) => self.count_unreadable(&error),
            }
        }
        self.judge(suspects, &mut chores).await?;
        self.work(chores).await
    }

    fn count_unreadable(&mut self, error: &StoreError) {
        tracing::warn!(%error, "an unreadable item");
        self.findings.unreadable_items += 1;
    }

    /// Whether the port carried the secret when the namespace's ports were read.
    fn shows(&self, namespace: &Namespace, port: Port, secret: Secret) -> bool {
        let Some(Ports { secrets, .. }) = self.ports.get(namespace) else { return false };
        secrets.binary_search_by_key(&port, |(port, _)| *port).is_ok_and(|at| secrets[at].1 == secret)
    }

    /// Reads all ports of a namespace, unless this run has done so, and remembers their secrets. Returns false if the
    /// time ran out before all was done.
    async fn ports(&mut self, namespace: &Namespace) -> Result<bool, StoreError> {
        if self.ports.contains_key(namespace) {
            return Ok(true);
        }
        if self.ports.values().map(|ports| ports.secrets.len()).sum::<usize>() > REMEMBERED {
            // A table with so many ports pays for reading them again when they are needed.
            self.ports.clear();
        }
        let mut ports = Ports { secrets: Vec::new(), last: None };
        let mut after = None;
        loop {
            let page = self.registry.table.sweep_ports(self.call, namespace, after.as_ref(), PAGE).await?;
            self.fresh.clear();
            let seen = page.items.len();
            let mut chores = Vec::new();
            for item in page.items {
                match item {
                    Ok(occupant) => {
                        ports.secrets.extend(occupant.secret.map(|secret| (occupant.claim.port, secret)));
                        chores.extend(self.port(namespace, occupant).await?);
                    }
                    Err(error) => self.count_unreadable(&error),
                }
            }
            if !self.work(chores).await? || self.is_short_of_time() {
                return Ok(false);
            }
            self.findings.items += seen as u64;
            ports.last = page.last.or(ports.last);
            after = page.next;
            if after.is_none() {
                self.ports.insert(namespace.clone(), ports);
                return Ok(true);
            }
        }
    }

    async fn port(&mut self, namespace: &Namespace, occupant: Occupant) -> Result<Option<Chore>, StoreError> {
        let (now, past) = (self.registry.now(), self.registry.past());
        let claim = &occupant.claim;
        if !claim.state.occupies_port(now) {
            // Dead by this clock. A slower clock may still find it alive; its accept or renewal will then find no item.
            return Ok(Some(Chore::RemoveDead(namespace.clone(), claim.port, claim.state.kind(), now)));
        }
        let Occupant { claim, secret: Some(secret) } = occupant else { return Ok(None) };
        if claim.lease().is_some_and(|lease| lease.until.has_passed(past)) {
            // By no clock may its holder use the port any more. It goes on cooling for strangers.
            return Ok(Some(Chore::Lapse(namespace.clone(), claim.port, secret, past)));
        }
        if !claim.is_allocation(now) || (claim.lease().is_some() && !claim.confirmed) {
            // A live offer outside its service is about to be withdrawn or will expire, and so will an allocation that
            // a PUT is making; it was returned to no caller.
            return Ok(None);
        }
        let holding = Holding { claim, secret };
        let claim = &holding.claim;
        let service = ServiceId::new(namespace.clone(), claim.service.clone());
        if self.services.get(&service).copied().flatten().is_some_and(|range| range.contains(claim.port)) {
            return Ok(None);
        }
        // The remembered services do not cover the port, so the service is read, once after the claim was read.
        if !self.fresh.contains(&service) {
            match self.registry.table.service(self.call, &service).await {
                Ok(found) => {
                    self.services.insert(service.clone(), found.map(|found| found.range));
                    self.fresh.insert(service.clone());
                }
                // The service exists, and is counted when the scan comes to it.
                Err(StoreError::Damaged { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        match self.services.get(&service).copied().flatten() {
            None => Ok(Some(Chore::RemoveOrphan(namespace.clone(), Box::new(holding)))),
            Some(range) if !range.contains(claim.port) => {
                tracing::warn!(%service, port = %claim.port, "an allocation outside its service's range");
                self.findings.allocations_out_of_range += 1;
                Ok(None)
            }
            Some(_) => Ok(None),
        }
    }

    /// Judges Instances whose claim may be gone. Their ports are read again, in a transaction, since the claim may be
    /// in the making at this moment. If the claim is gone, that is noted. A port that is being written to is left to
    /// the next sweep.
    async fn judge(
        &mut self,
        suspects: Vec<(Namespace, Port, Key, Secret)>,
        chores: &mut Vec<Chore>,
    ) -> Result<(), StoreError> {
        let ports: BTreeSet<_> = suspects.iter().map(|(namespace, port, ..)| (namespace.clone(), *port)).collect();
        let ports: Vec<_> = ports.into_iter().collect();
        let mut settled = HashMap::new();
        for some in ports.chunks(SETTLED_AT_ONCE) {
            settled.extend(self.registry.table.settled_secrets(self.call, some.iter().cloned()).await?);
        }
        let now = self.registry.now();
        for (namespace, port, key, secret) in suspects {
            if settled.get(&(namespace, port)).is_some_and(|found| *found != Some(secret)) {
                chores.push(Chore::NoteGone(key, secret, now));
            }
        }
        Ok(())
    }

    /// Performs chores, a few at a time, while there is time. Returns false if some were left.
    async fn work(&mut self, chores: Vec<Chore>) -> Result<bool, StoreError> {
        let (registry, call) = (self.registry, self.call);
        let over = call.deadline().checked_sub(RESERVE);
        let work = chores.into_iter().map(|chore| async move {
            if over.is_none_or(|over| Instant::now() >= over) {
                return Ok(None);
            }
            chore.perform(&registry.table, call).await.map(Some)
        });
        let done: Vec<Result<Option<Findings>, StoreError>> =
            stream::iter(work).buffer_unordered(WRITES).collect().await;
        let (mut all, mut failed) = (true, None);
        for result in done {
            match result {
                Ok(Some(done)) => {
                    self.findings.expired_offers += done.expired_offers;
                    self.findings.lapsed_leases += done.lapsed_leases;
                    self.findings.ended_holds += done.ended_holds;
                    self.findings.expired_requests += done.expired_requests;
                    self.findings.stale_pointers += done.stale_pointers;
                    self.findings.orphaned_allocations += done.orphaned_allocations;
                }
                Ok(None) => all = false,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    /// Checks the services of a namespace and its Ranges, once in each run: for marks that were left behind, and for a
    /// disagreement between Ranges and the services.
    async fn begin(&mut self, namespace: &Namespace) -> Result<(), StoreError> {
        if !self.begun.insert(namespace.clone()) {
            return Ok(());
        }
        let first = match self.compare(namespace).await {
            Err(error @ StoreError::Damaged { .. }) => {
                // Ranges cannot be read, but the marks can.
                self.count_unreadable(&error);
                let (services, _) = self.registry.table.readable_services(self.call, namespace).await?;
                for service in &services {
                    self.mark(service).await;
                }
                return Ok(());
            }
            first => first?,
        };
        for service in &first.services {
            self.services.insert(service.id.clone(), Some(service.range));
            self.mark(service).await;
        }
        self.ranges(namespace, first).await
    }

    /// Takes off a mark that was left behind, if it is still the same mark. No caller was told that its operation
    /// succeeded, and completing it now might delete what has been in use since.
    async fn mark(&mut self, service: &Service) {
        let Some(mark) = &service.mark else { return };
        if self.registry.now().millis() - mark.since.millis() >= ABANDONED_MILLIS {
            tracing::warn!(service = %service.id, change = ?mark.change, "a mark was left behind");
            let taken_off = self.registry.unmark(self.call, service).await;
            self.findings.abandoned_marks += u64::from(taken_off);
        }
    }

    async fn ranges(&mut self, namespace: &Namespace, first: Comparison) -> Result<(), StoreError> {
        let Comparison { seen, overlaps, .. } = &first;
        if *overlaps > 0 {
            tracing::warn!(%namespace, overlaps, "services whose ranges overlap");
            self.findings.overlapping_services += overlaps;
        }
        if !first.disagrees() {
            return Ok(());
        }
        // A transaction may have been partly visible; after this wait it is complete.
        tokio::time::sleep(SETTLE).await;
        let again = self.compare(namespace).await?;
        if again.seen != *seen || !again.disagrees() {
            return Ok(());
        }
        let ports = PortRange::ALL;
        tracing::warn!(
            %namespace,
            was = seen.claimed.count(ports),
            is = again.claimed.count(ports),
            of = Port::COUNT,
            "the claimed ranges disagreed with the services"
        );
        let rebuilt = self.registry.table.rebuild_ranges(self.call, namespace, seen, &again.claimed).await?;
        self.findings.rebuilt_ranges += u64::from(rebuilt);
        Ok(())
    }

    /// Reads Ranges and the services, and computes what Ranges should be and how many services overlap. The bitmap is
    /// read first, then the services: see `rebuild_ranges`.
    async fn compare(&self, namespace: &Namespace) -> Result<Comparison, StoreError> {
        let table = &self.registry.table;
        let seen = table.ranges(self.call, namespace).await?;
        let (services, unreadable) = table.readable_services(self.call, namespace).await?;
        let mut claimed = PortSet::default();
        let mut overlaps = 0;
        for service in &services {
            overlaps += u64::from(claimed.intersects(service.range));
            claimed.insert_range(service.range);
        }
        Ok(Comparison { seen, claimed, overlaps, services, unreadable })
    }
}

/// Ranges beside the services.
struct Comparison {
    seen: Ranges,
    claimed: PortSet,
    overlaps: u64,
    services: Vec<Service>,
    /// How many services cannot be read. They still own their ports, so if there are any, nothing is concluded.
    unreadable: usize,
}

impl Comparison {
    fn disagrees(&self) -> bool {
        self.unreadable == 0 && self.claimed != self.seen.claimed
    }
}

impl Chore {
    /// Performs the chore and returns what it counts as.
    async fn perform(self, table: &Table, call: &Call) -> Result<Findings, StoreError> {
        let nothing = Findings::default();
        Ok(match self {
            Self::RemoveDead(namespace, port, kind, now) => {
                let removed = table.remove_dead(call, &namespace, port, now).await?;
                let one = u64::from(matches!(removed, Removed::Now));
                match kind {
                    StateKind::Offered => Findings { expired_offers: one, ..nothing },
                    StateKind::Allocated => Findings { lapsed_leases: one, ..nothing },
                    StateKind::Cooling | StateKind::Quarantined => Findings { ended_holds: one, ..nothing },
                }
            }
            Self::Lapse(namespace, port, secret, past) => {
                let lapsed = table.lapse(call, &namespace, (port, secret), Lapse::Over(past)).await?;
                Findings { lapsed_leases: u64::from(matches!(lapsed, Removed::Now)), ..nothing }
            }
            Self::RemoveOrphan(namespace, holding) => {
                let removed = table.remove_orphan(call, &namespace, &holding).await?;
                Findings { orphaned_allocations: u64::from(removed), ..nothing }
            }
            Self::RemoveRequest(key, now) => {
                let removed = table.remove_request(call, &key, now).await?;
                Findings { expired_requests: u64::from(removed), ..nothing }
            }
            Self::NoteGone(key, secret, now) => {
                table.note_gone(call, &key, secret, now).await?;
                nothing
            }
            Self::RemoveInstance(key, secret) => {
                let removed = table.remove_instance(call, &key, secret).await?;
                Findings { stale_pointers: u64::from(removed), ..nothing }
            }
        })
    }
}
