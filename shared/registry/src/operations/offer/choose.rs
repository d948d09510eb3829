//! Choosing a port: the allocator proposes, and this module reads the evidence it asks for.

use futures::future::{TryFutureExt as _, try_join, try_join_all};

use super::super::{Error, reads};
use super::{Attempt, Choice};
use crate::store::Freshness;
use portmaster_domain::allocator::{Proposal, Search};
use portmaster_domain::{PortRange, Timestamp};

impl Attempt<'_> {
    /// Asks the allocator until it has a candidate, and reads the evidence that it asks for.
    pub(super) async fn choose(&mut self) -> Result<Choice, Error> {
        loop {
            let Some((range, strategy)) = self.place.range().zip(self.place.strategy()) else {
                self.read_service().await?;
                continue;
            };
            let search = self.search.get_or_insert_with(|| Search::new(strategy, self.asked.name.clone()));
            let now = self.registry.clock.now();
            let proposed = self.registry.chance.draw(|random| {
                self.place.with(|remembered| {
                    let wants_hint = remembered.knowledge.wants_hint(search);
                    (remembered.knowledge.propose(search, random, now), wants_hint)
                })
            });
            let found = match proposed {
                None => None,
                Some((Proposal::Candidate(port), _)) => return Ok(Choice::Port(self.place.reservation(port))),
                Some((Proposal::Look(part, other), wants_hint)) => {
                    self.read_windows(std::iter::once(part).chain(other), wants_hint, now).await?;
                    None
                }
                Some((Proposal::LookAll, _)) => self.read_whole_range(range, now).await?,
                Some((Proposal::Full, _)) => self.seems_full(range).await?,
            };
            if let Some(found) = found {
                return Ok(Choice::Found(found));
            }
            // The range is full, but the name may come back to its port.
            if let Some(last) = self.affinity {
                return Ok(Choice::Port(self.place.reservation(last.port)));
            }
        }
    }

    /// Reads windows, and the hint along with them where it may help. One round trip.
    async fn read_windows(
        &self,
        parts: impl Iterator<Item = PortRange>,
        wants_hint: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let looks = parts.map(|part| self.registry.read_window(self.call, &self.service.namespace, part));
        let hint =
            async { if wants_hint { self.registry.table.hint(self.call, self.service).await } else { Ok(None) } };
        let (windows, hint) = try_join(try_join_all(looks), hint.map_err(Error::from)).await?;
        let seen = self.registry.clock.now();
        self.place.learn(|knowledge| {
            // The windows are newer than the hint.
            if let Some(hint) = &hint {
                knowledge.apply_hint(hint, seen);
            }
            for (covered, holders) in &windows {
                knowledge.observe(*covered, holders, now, seen);
            }
        });
        Ok(())
    }

    /// Reads a whole range consistently.
    pub(super) async fn read_everything(&self, range: PortRange) -> Result<reads::Everything, Error> {
        let asked = self.registry.clock.now();
        let everything =
            self.registry.read_everywhere(self.call, &self.service.namespace, range, Freshness::Consistent).await?;
        let seen = self.registry.clock.now();
        self.place.learn(|knowledge| knowledge.observe(range, &everything.holders(), asked, seen));
        Ok(everything)
    }
}
