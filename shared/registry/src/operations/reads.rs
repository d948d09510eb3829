//! Reading many Port items: a window as a hint, a whole range to be sure.

use futures::future::try_join_all;

use super::{Error, Registry};
use crate::Call;
use crate::store::{Freshness, Sighting};
use portmaster_domain::allocator::{Holder, WINDOW};
use portmaster_domain::{Namespace, Port, PortRange, Timestamp};

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
        let page = self.table.sightings(call, namespace, part, Some(WINDOW), Freshness::Eventual).await?;
        let holders = page.items.iter().map(holder).chain(page.unreadable.iter().map(|port| unknown(*port)));
        Ok((page.covered, holders.collect()))
    }

    /// Every claim on a range, dead or alive, by port, and the ports whose items cannot be read; consistently. The
    /// stretches are read at the same time: one round trip.
    pub(super) async fn look_everywhere(
        &self,
        call: &Call,
        namespace: &Namespace,
        range: PortRange,
    ) -> Result<(Vec<Sighting>, Vec<Port>), Error> {
        let stretches = range.chunks(STRETCH).map(|stretch| async move {
            let (mut claims, mut unreadable, mut rest) = (Vec::new(), Vec::new(), Some(stretch));
            while let Some(part) = rest {
                let page = self.table.sightings(call, namespace, part, None, Freshness::Consistent).await?;
                claims.extend(page.items);
                unreadable.extend(page.unreadable);
                rest = page.next.and_then(|next| part.starting_at(next));
            }
            Ok::<_, Error>((claims, unreadable))
        });
        let (claims, unreadable): (Vec<_>, Vec<_>) = try_join_all(stretches).await?.into_iter().unzip();
        Ok((claims.concat(), unreadable.concat()))
    }
}

/// A claim, as the allocator sees it.
pub(super) fn holder(sighting: &Sighting) -> Holder {
    Holder { port: sighting.port, created: sighting.created, expires_at: sighting.expires_at }
}

/// A port whose item cannot be read: somebody may hold it, for ever.
pub(super) fn unknown(port: Port) -> Holder {
    Holder { port, created: Timestamp::from_millis(0), expires_at: None }
}
