//! The reconciler: a garbage collector that may be late, may stop anywhere, and removes nothing that is live.
//!
//! It assumes that anything may leak and that no port was handed out twice. Every removal repeats its evidence as a
//! condition. In a healthy table every count except those of expired items is zero.
//!
//! A *sweep* reads the whole table, in as many *runs* as it takes. Each run
//! 1. sees the next hundred namespaces by name: their services, their Ranges and their ports. So a mark that was left
//!    behind, a lease that lapsed and a range that fills up are noticed within as many runs as there are hundreds of
//!    namespaces and one more, however large the table and the other namespaces are; or, where half the time of a run
//!    is not enough for a hundred, within as many runs as there are namespaces. (The services of `default` are read in
//!    each run.)
//! 2. continues the scan where the last run stopped. When it comes to a namespace's ports, or to the first name that
//!    may have one of them, it reads all ports of that namespace (48,128 at most) and remembers their secrets.
//!
//! So a name costs only its share of the scan. A name is in use if its port carries its secret, however old that read
//! is: leaving an Instance alone is always safe. Only for the others, once in each one's life, is the port read again,
//! in a transaction and a hundred at a time. The finding is recorded (`gone_since`), and a week later the Instance is
//! removed on the strength of that note.
//!
//! When all ports of a namespace have been read, how full its services are is known as well, and is written down where it
//! has changed: see `fullness`.

mod chore;
mod findings;
mod fullness;
mod services;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::Registry;
use super::map::MapState;
use crate::Call;
use crate::metrics;
use crate::store::{Checkpoint, Found, Fullness, Instance, Key, SETTLED_AT_ONCE, StoreError, SweptPort, Table};
use chore::Chore;
use portmaster_domain::{Holding, Namespace, Occupant, Port, PortRange, Secret, Service, ServiceId};

pub use findings::Findings;

/// How long an Instance is kept after its claim is gone: for this long a name gets its port back.
const AFFINITY_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How much of the call's time is reserved to save the checkpoint.
const RESERVE: Duration = Duration::from_secs(2);

/// How many items one page has.
const PAGE: usize = 500;

/// How many writes are in flight at a time: on AWS some 800 a second, which leaves room in a partition, whose limit is
/// a thousand.
const WRITES: usize = 4;

/// How many namespaces a run begins with: the next ones by name, and after the last one the first. The others are read
/// when the scan comes to them.
const NAMESPACES: usize = 100;

/// How many ports' secrets are remembered at a time, over all namespaces: 18 bytes each.
const REMEMBERED: usize = 2_000_000;

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
            uncounted: HashMap::new(),
            fullest: resumed.fullest.clone(),
            told: 0,
        };
        let mut reached = resumed.clone();
        let swept = run.sweep(&mut reached).await;
        run.tell_fullest();
        reached.fullest = std::mem::take(&mut run.fullest);
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

/// A part of a namespace that is read as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Services,
    Ports,
}

/// What an item is judged by.
fn judged_by(item: &Found) -> Option<(&Namespace, Part)> {
    match item {
        Found::Port(namespace) | Found::Instance(namespace, _, Instance { gone_since: None, .. }) => {
            Some((namespace, Part::Ports))
        }
        Found::Service(namespace) | Found::Ranges(namespace) => Some((namespace, Part::Services)),
        _ => None,
    }
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
    /// The ports of each namespace that the run has come to.
    ports: HashMap<Namespace, Ports>,
    /// The services of the namespaces whose usage this run has not counted yet.
    uncounted: HashMap<Namespace, Vec<Service>>,
    /// The fullest services, as they were last seen; the fullest first.
    fullest: Vec<Fullness>,
    /// Of how many services there is a metric because they are named.
    told: usize,
}

impl Run<'_> {
    /// Sees the next namespaces, then scans until the end of the table or of the time, and writes down how far it got.
    async fn sweep(&mut self, reached: &mut Checkpoint) -> Result<(), StoreError> {
        if !self.rotate(&mut reached.begun).await? {
            return Ok(());
        }
        let after = &mut reached.after;
        loop {
            let page = self.registry.table.sweep_page(self.call, after.as_ref(), PAGE).await?;
            if !self.examine(page.items, after).await? {
                return Ok(());
            }
            *after = page.next.map(|next| self.beyond_ports(next));
            self.findings.finished = after.is_none();
            if after.is_none() || self.is_short_of_time() {
                return Ok(());
            }
        }
    }

    /// Sees the next namespaces by name, and all their ports: as many as there are places and half of the time for, but
    /// at least one. So neither a namespace of any size nor the length of the scan keeps a run from the others, and
    /// none of these keeps it from the scan. Returns false if the time ran out before all was done.
    async fn rotate(&mut self, begun: &mut Option<Namespace>) -> Result<bool, StoreError> {
        let default = Namespace::default();
        self.begin(&default).await?;
        if begun.is_none() && !self.ports(&default).await? {
            return Ok(false);
        }
        let left = self.call.deadline().saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
        let half = Instant::now() + left / 2;
        let table = &self.registry.table;
        let (next, more) = table.names_of_namespaces(self.call, begun.as_ref(), NAMESPACES).await?;
        for (place, name) in next.into_iter().enumerate() {
            if self.is_short_of_time() {
                return Ok(false);
            }
            if place > 0 && Instant::now() >= half {
                return Ok(true);
            }
            self.forget_between(begun.as_ref(), Some(&name));
            // Before that: one that cannot be read must not keep the next run from the others.
            *begun = Some(name.clone());
            self.begin(&name).await?;
            if !self.ports(&name).await? {
                return Ok(false);
            }
        }
        if !more {
            self.forget_between(begun.as_ref(), None);
            *begun = None;
        }
        Ok(true)
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

    /// Judges a page of the table, and moves `after` as far as all is done: a run whose time ends within a page has come
    /// further all the same. Returns false if the time ran out before the page was done.
    async fn examine(&mut self, items: Vec<(Option<Key>, Found)>, after: &mut Option<Key>) -> Result<bool, StoreError> {
        let now = self.registry.now();
        let (mut chores, mut suspects, mut last) = (Vec::new(), Vec::new(), None);
        for (key, item) in items {
            if !self.knows(&item) {
                // What may take long comes after what is left to do.
                if !self.settle(std::mem::take(&mut suspects), std::mem::take(&mut chores)).await? {
                    return Ok(false);
                }
                *after = last.take().or(after.take());
                if !self.learn(&item).await? {
                    return Ok(false);
                }
            }
            self.findings.items += u64::from(!matches!(item, Found::Checkpoint | Found::Port(_)));
            match item {
                Found::Instance(namespace, key, Instance { port, secret, gone_since }) => match gone_since {
                    // A run that read the port in a transaction found the claim gone and noted it. Gone is for ever,
                    // and a new claim overwrites the whole item, so that the Instance still has the secret is all the
                    // evidence there is.
                    Some(since) if now.millis() - since.millis() >= AFFINITY_MILLIS => {
                        chores.push(Chore::RemoveInstance(key, secret));
                    }
                    Some(_) => {}
                    // A claim that is shown is live, or merely dead: then a slower clock could still accept it, and the
                    // name would be free meanwhile.
                    None if self.shows(&namespace, port, secret) => {}
                    None => suspects.push((namespace, port, key, secret)),
                },
                Found::Request(key, replay) => {
                    if replay.expires_at.has_passed(now) {
                        chores.push(Chore::RemoveRequest(key, now));
                    }
                }
                Found::Port(_) | Found::Service(_) | Found::Ranges(_) => {}
                Found::Hint | Found::Namespace | Found::Checkpoint => {}
                Found::Unreadable(error) => self.count_unreadable(&error),
            }
            last = key.or(last);
        }
        self.settle(suspects, chores).await
    }

    /// Whether the run has read what an item is judged by.
    fn knows(&self, item: &Found) -> bool {
        match judged_by(item) {
            Some((namespace, Part::Ports)) => self.ports.contains_key(namespace),
            Some((namespace, Part::Services)) => self.begun.contains(namespace),
            None => true,
        }
    }

    /// Reads what an item is judged by. Returns false if there is no time for that.
    async fn learn(&mut self, item: &Found) -> Result<bool, StoreError> {
        let Some((namespace, part)) = judged_by(item) else { return Ok(true) };
        if self.is_short_of_time() {
            return Ok(false);
        }
        self.begin(namespace).await?;
        match part {
            Part::Ports => self.ports(namespace).await,
            Part::Services => Ok(true),
        }
    }

    /// Judges the suspects, and does all that there is to do. Returns false if the time ran out before all was done.
    async fn settle(
        &mut self,
        suspects: Vec<(Namespace, Port, Key, Secret)>,
        mut chores: Vec<Chore>,
    ) -> Result<bool, StoreError> {
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
        let (mut ports, mut states) = (Ports { secrets: Vec::new(), last: None }, Vec::new());
        let mut after = None;
        loop {
            let page = self.registry.table.sweep_ports(self.call, namespace, after.as_ref(), PAGE).await?;
            self.fresh.clear();
            let seen = page.items.len();
            let mut chores = Vec::new();
            let now = self.registry.now();
            for SweptPort { port, occupant } in page.items {
                match occupant {
                    Ok(occupant) => {
                        let state = occupant.claim.state;
                        if state.occupies_port(now) {
                            states.push((occupant.claim.port, state.seen_at(now).kind().into()));
                        }
                        ports.secrets.extend(occupant.secret.map(|secret| (occupant.claim.port, secret)));
                        chores.extend(self.port(namespace, occupant).await?);
                    }
                    Err(error) => {
                        // It may be an allocation.
                        states.extend(port.map(|port| (port, MapState::Allocated)));
                        self.count_unreadable(&error);
                    }
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
                return self.usage(namespace, &states).await;
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
}
