//! Whether the registry works.
//!
//! To read an item says whether DynamoDB answers, and on AWS that is all there is to ask: a table that answers takes
//! writes, and a write at every look would be charged to the owner and open to whoever may look. A database on a disk
//! still answers reads when the disk is full, while every offer fails. There, health writes something, of an offer's size,
//! and remembers for a moment what came of it, so that looking often costs nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Registry;
use crate::Call;
use crate::store::StoreError;

/// For how long what came of a write is good.
const REMEMBERED: Duration = Duration::from_secs(2);

/// When something was last written, and what came of it.
type Last = Option<(Instant, Result<(), StoreError>)>;

/// What health remembers of its writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing(Arc<Mutex<Last>>);

impl Registry {
    /// The same registry, whose health is that of a disk: [`Registry::ping`] writes.
    #[must_use]
    pub fn on_a_disk(self) -> Self {
        Self { writing: Some(Writing::default()), ..self }
    }

    /// Whether the table answers, and takes what offers write.
    ///
    /// # Errors
    /// [`StoreError`], which says why it does not.
    pub async fn ping(&self, call: &Call) -> Result<(), StoreError> {
        let Some(Writing(last)) = &self.writing else { return self.table.ping(call).await };
        // Who comes while somebody writes waits for what comes of that.
        let Ok(mut last) = timeout_at(call.deadline(), last.lock()).await else {
            return Err(StoreError::Unavailable { last: "a write that does not end".to_owned() });
        };
        if let Some((when, result)) = &*last
            && when.elapsed() < REMEMBERED
        {
            return result.clone();
        }
        let result = self.table.write_for_health(call, self.clock.now()).await;
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
