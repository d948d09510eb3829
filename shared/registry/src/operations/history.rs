//! Reading who had a port, and when.

use super::{Error, Listed, Registry};
use crate::Call;
use crate::history::Image;
use crate::history::over_by_itself;
use crate::store::{Behind, History, HistoryOf, image};
use portmaster_domain::{End, Tenure, Timestamp};

/// The part of a history that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Only tenures that had not ended by then.
    pub from: Option<Timestamp>,
    /// Only tenures that had begun by then.
    pub to: Option<Timestamp>,
}

impl Registry {
    /// Returns the same registry, with the history that it may read.
    #[must_use]
    pub fn with_history(self, history: Option<History>) -> Self {
        Self { history, ..self }
    }

    /// The tenures of a port or a name that overlap a span, the newest first.
    ///
    /// A tenure of which history has seen no end is compared with its Port item, which may be over by its own time, or
    /// gone: history may be some seconds behind, and then does not know yet how it ended.
    ///
    /// # Errors
    /// [`Error::HistoryOff`], [`Error::Store`].
    pub async fn history(
        &self,
        call: &Call,
        of: &HistoryOf,
        span: Span,
        behind: Option<&Behind>,
        limit: usize,
    ) -> Result<Listed<Tenure, Behind>, Error> {
        let history = self.history.as_ref().ok_or(Error::HistoryOff)?;
        let (mut items, mut behind) = (Vec::<Tenure>::new(), behind.cloned());
        loop {
            // One more than is wanted, which says whether there is another page.
            let look = limit - items.len() + 1;
            let (tenures, next) = history.read(call, of, span.to, behind.as_ref(), look).await?;
            let read = tenures.len();
            for (place, tenure) in tenures.into_iter().enumerate() {
                let tenure = self.completed(call, history, tenure).await?;
                if let (Some(from), Some(ended)) = (span.from, tenure.ended)
                    && ended <= from
                {
                    // A port has one tenure at a time, and so has a name: those before it ended earlier.
                    return Ok(Listed { items, next: None });
                }
                items.push(tenure);
                if items.len() == limit {
                    let more = place + 1 < read || next.is_some();
                    let last = items.last().filter(|_| more);
                    return Ok(Listed { next: last.map(Behind::of), items });
                }
            }
            behind = next;
            if behind.is_none() {
                return Ok(Listed { items, next: None });
            }
        }
    }

    /// Who had a port or a name at a time: the tenure, if there was one.
    ///
    /// # Errors
    /// [`Error::HistoryOff`], [`Error::Store`].
    pub async fn history_at(&self, call: &Call, of: &HistoryOf, at: Timestamp) -> Result<Option<Tenure>, Error> {
        // The last tenure that had begun by then.
        let span = Span { from: Some(at), to: Some(at) };
        Ok(self.history(call, of, span, None, 1).await?.items.into_iter().next())
    }

    /// A tenure, with what is known of its end although history has seen none.
    async fn completed(&self, call: &Call, history: &History, tenure: Tenure) -> Result<Tenure, Error> {
        if tenure.end.is_some() {
            return Ok(tenure);
        }
        // First its item: the one that began last by its clock need not be the one that has the port.
        let item = self.table.port_image(call, &tenure.service.namespace, tenure.port).await?;
        let found = match item.map(image).transpose()?.flatten() {
            Some(Image::Port(found)) => Some(found),
            _ => None,
        };
        if let Some(found) = found.filter(|found| found.tenure().is_some_and(|found| found.id == tenure.id)) {
            let over = over_by_itself(found.claim().state, self.now());
            return Ok(match over {
                Some((end, at)) => Tenure { end: Some(end), ended: Some(at), ..tenure },
                None => tenure,
            });
        }
        // It has ended, perhaps between the two reads: then history may have heard of it by now.
        let (again, next) = history.again(call, &tenure).await?;
        if let Some(again) = again.filter(|again| again.end.is_some()) {
            return Ok(again);
        }
        Ok(Tenure { end: Some(End::Unknown), ended: next.map(|next| next.offered), ..tenure })
    }
}
