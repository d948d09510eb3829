//! How full the services of a namespace are, from what a run reads of its ports anyway.

use super::chore::Chore;
use super::{Run, metrics};
use crate::operations::map::{Drawing, MapState};
use crate::store::{Fullness, StoreError};
use portmaster_domain::{Namespace, Port, Service, Usage};

/// How old a usage may be that has not changed. In a registry at rest, a service costs a write unit every so often.
const UNCHANGED_MILLIS: i64 = 6 * 60 * 60 * 1000;

/// How many of the fullest services are remembered from one run to the next, at least and at most.
const REMEMBERED: std::ops::RangeInclusive<usize> = 10..=100;

impl Run<'_> {
    /// Writes down how full the services of a namespace are, all of whose ports were read; once in each run. Returns
    /// false if the time ran out before all was written.
    pub(super) async fn usage(&mut self, namespace: &Namespace, seen: &[(Port, MapState)]) -> Result<bool, StoreError> {
        let Some(services) = self.uncounted.remove(namespace) else { return Ok(true) };
        let earlier = match services.is_empty() {
            true => std::collections::HashMap::new(),
            false => self.registry.table.usages(self.call, namespace, None).await?,
        };
        let mut chores = Vec::new();
        self.fullest.retain(|known| known.namespace != *namespace);
        for service in &services {
            let earlier = earlier.get(&service.id.name);
            let usage = self.usage_of(service, seen).following(earlier);
            self.watch(service, &usage);
            if earlier.is_none_or(|earlier| is_news(&usage, earlier)) {
                chores.push(Chore::WriteUsage(service.id.clone(), Box::new(usage)));
            }
        }
        self.findings.namespaces += 1;
        self.findings.services += services.len() as u64;
        let kept = self.registry.watch.fullest.clamp(*REMEMBERED.start(), *REMEMBERED.end());
        self.fullest.sort_by(|a, b| {
            let names = |known: &Fullness| (known.namespace.clone(), known.service.clone());
            b.per_mille.cmp(&a.per_mille).then_with(|| names(a).cmp(&names(b)))
        });
        self.fullest.truncate(kept);
        self.work(chores).await
    }

    /// What was seen of a service's range, the ports in their order.
    fn usage_of(&self, service: &Service, seen: &[(Port, MapState)]) -> Usage {
        let mut drawing = Drawing::of(service);
        let first = seen.partition_point(|(port, _)| *port < service.range.start());
        let of_range = seen.iter().skip(first).take_while(|(port, _)| *port <= service.range.end());
        of_range.for_each(|(port, state)| drawing.set(*port, *state));
        Usage {
            created: service.created,
            as_of: self.registry.now(),
            counts: drawing.counts(),
            largest_free_run: drawing.largest_free_run(),
            peaks: Vec::new(),
        }
    }

    /// Tells of a service whose range is nearly full, and remembers how full it is.
    fn watch(&mut self, service: &Service, usage: &Usage) {
        let watch = &self.registry.watch;
        let per_mille = usage.counts.per_mille();
        if watch.is_named(&service.id) && self.told < *REMEMBERED.end() {
            self.told += 1;
            metrics::range_used(&service.id, per_mille);
        }
        if watch.is_excepted(&service.id) {
            return;
        }
        if watch.is_nearly_full(per_mille) {
            self.findings.nearly_full += 1;
            tracing::warn!(
                target: "portmaster::usage",
                namespace = %service.id.namespace,
                service = %service.id.name,
                used_percent = per_mille as f64 / 10.0,
                free = usage.counts.free,
                largest_free_run = usage.largest_free_run,
                days_until_full = usage.days_until_full(),
                "a range is nearly full"
            );
        }
        let (namespace, service) = (service.id.namespace.clone(), service.id.name.clone());
        self.fullest.push(Fullness { namespace, service, per_mille });
    }

    /// Forgets the services of namespaces that do not exist: those between one name and the next, by name, or behind the
    /// last one. A namespace is deleted without services, but what was remembered of it may be older.
    pub(super) fn forget_between(&mut self, before: Option<&Namespace>, next: Option<&Namespace>) {
        self.fullest.retain(|known| {
            let is_after = before.is_none_or(|before| known.namespace > *before);
            let is_before = next.is_none_or(|next| known.namespace < *next);
            known.namespace.is_default() || !(is_after && is_before)
        });
    }

    /// Records the metrics of the fullest services, as they were last seen: also of those that this run did not come to,
    /// so that an alarm does not end because a sweep takes several runs.
    pub(super) fn tell_fullest(&self) {
        let watch = &self.registry.watch;
        metrics::fullest(self.fullest.first().map_or(0, |fullest| fullest.per_mille));
        for Fullness { namespace, service, per_mille } in self.fullest.iter().take(watch.fullest) {
            let service = portmaster_domain::ServiceId::new(namespace.clone(), service.clone());
            if !watch.is_named(&service) {
                metrics::range_used(&service, *per_mille);
            }
        }
    }
}

/// Whether a usage is to be written although there is an earlier one.
fn is_news(usage: &Usage, earlier: &Usage) -> bool {
    let content = |usage: &Usage| (usage.created, usage.counts, usage.largest_free_run, usage.peaks.clone());
    content(usage) != content(earlier) || usage.as_of.millis() - earlier.as_of.millis() >= UNCHANGED_MILLIS
}
