//! Whether the registry works.
//!
//! Reading an item shows whether DynamoDB answers, and on AWS that is enough: a table that answers also takes writes,
//! and a write at every check would be charged to the owner and open to anybody who may call it. A database on a disk
//! still answers reads when the disk is full, while every offer fails. There, a health check writes an item of an
//! offer's size and remembers the outcome for a moment, so that frequent checks cost nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Registry;
use crate::Call;
use crate::store::StoreError;

/// How long the outcome of a write is reused.
const REMEMBERED: Duration = Duration::from_secs(2);

/// When the last write was made, and its outcome.
type Last = Option<(Instant, Result<(), StoreError>)>;

/// The health check's memory of its writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing(Arc<Mutex<Last>>);

impl Registry {
    /// Returns the same registry for a database on a disk: its [`Registry::ping`] writes.
    #[must_use]
    pub fn on_a_disk(self) -> Self {
        Self { writing: Some(Writing::default()), ..self }
    }

    /// Checks that the table answers and takes the writes of an offer.
    ///
    /// # Errors
    /// [`StoreError`], which names the reason.
    pub async fn ping(&self, call: &Call) -> Result<(), StoreError> {
        let Some(Writing(last)) = &self.writing else { return self.table.ping(call).await };
        // A check that arrives during a write waits for its outcome.
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
