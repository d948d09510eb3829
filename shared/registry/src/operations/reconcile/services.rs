//! The services of a namespace and its Ranges: marks that were left behind, and disagreements.

use std::time::Duration;

use super::Run;
use crate::store::{Ranges, StoreError};
use portmaster_domain::allocator::PortSet;
use portmaster_domain::{Namespace, Port, PortRange, Service};

/// How old a mark must be to count as left behind. A call takes seconds; clocks may differ by minutes.
const ABANDONED_MILLIS: i64 = 5 * 60 * 1000;

/// How long a disagreement between Ranges and the services must last to count.
const SETTLE: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Checks the services of a namespace and its Ranges, once in each run: for marks that were left behind, and for a
    /// disagreement between Ranges and the services.
    pub(super) async fn begin(&mut self, namespace: &Namespace) -> Result<(), StoreError> {
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
                self.uncounted.insert(namespace.clone(), services);
                return Ok(());
            }
            first => first?,
        };
        for service in &first.services {
            self.services.insert(service.id.clone(), Some(service.range));
            self.mark(service).await;
        }
        self.uncounted.insert(namespace.clone(), first.services.clone());
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
