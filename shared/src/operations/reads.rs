//! Reading many Port items: a window as a hint, a whole range to be sure.

use futures::future::try_join_all;

use super::{Error, Registry};
use crate::allocator::{Holder, WINDOW};
use crate::domain::{Claim, Namespace, PortRange};
use crate::store::{Call, Freshness};

/// How many ports one of the Queries over a whole range covers: as many as fill a page of 1 MB at the longest names.
const STRETCH: usize = 3_072;

impl Registry {
    /// Up to [`WINDOW`] holders from the start of a stretch, and how far that reaches. Only a hint.
    pub(super) async fn look(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
    ) -> Result<(PortRange, Vec<Holder>), Error> {
        let page = self.table.claims(call, namespace, part, Some(WINDOW), Freshness::Eventual).await?;
        Ok((page.covered, page.items.iter().map(Holder::from).collect()))
    }

    /// Every claim on a range, dead or alive, by port. The stretches are read at the same time: one round trip.
    pub(super) async fn look_everywhere(
        &self,
        call: &Call,
        namespace: &Namespace,
        range: PortRange,
        freshness: Freshness,
    ) -> Result<Vec<Claim>, Error> {
        let stretches = range.chunks(STRETCH).map(|stretch| async move {
            let (mut claims, mut rest) = (Vec::new(), Some(stretch));
            while let Some(part) = rest {
                let page = self.table.claims(call, namespace, part, None, freshness).await?;
                claims.extend(page.items);
                rest = page.next.and_then(|next| part.starting_at(next));
            }
            Ok::<_, Error>(claims)
        });
        Ok(try_join_all(stretches).await?.concat())
    }
}
