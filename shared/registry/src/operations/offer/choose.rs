//! Choosing a port: the allocator proposes, and this module reads the evidence it asks for.

use super::super::Error;
use super::{Attempt, Choice};
use portmaster_domain::allocator::{Proposal, Search};

impl Attempt<'_> {
    /// Asks the allocator until it has a candidate, and reads the evidence that it asks for.
    pub(super) async fn choose(&mut self) -> Result<Choice, Error> {
        loop {
            let Some((range, strategy)) = self.scene.place.range().zip(self.scene.place.strategy()) else {
                self.scene.read_service().await?;
                continue;
            };
            let search = self.search.get_or_insert_with(|| Search::new(strategy, self.asked.name.clone()));
            let now = self.scene.registry.clock.now();
            let proposed = self.scene.registry.chance.draw(|random| {
                self.scene.place.with(|remembered| {
                    let wants_hint = remembered.knowledge.wants_hint(search);
                    (remembered.knowledge.propose(search, random, now), wants_hint)
                })
            });
            let found = match proposed {
                None => None,
                Some((Proposal::Candidate(port), _)) => return Ok(Choice::Port(self.scene.place.reservation(port))),
                Some((Proposal::Look(part, other), wants_hint)) => {
                    self.scene.read_windows(std::iter::once(part).chain(other), wants_hint, now).await?;
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
                return Ok(Choice::Port(self.scene.place.reservation(last.port)));
            }
        }
    }
}
