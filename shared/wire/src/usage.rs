//! How full a service is, and how soon it may be.

use portmaster_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Counts;

/// How full a service was when the reconciler last came by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(description = "How full a service was when the reconciler last came by.")]
pub struct Usage {
    /// When that was (RFC 3339, UTC). Where nothing has changed, it may be up to six hours before the last time.
    #[serde(with = "crate::instant::millis")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
    pub as_of: Timestamp,
    /// How many ports the range had.
    #[schema(example = 1000)]
    pub size: usize,
    /// How many ports were in each state.
    pub counts: Counts,
    /// How many free ports stood next to each other at most.
    #[schema(example = 58)]
    pub largest_free_run: usize,
    /// How many percent are taken, of the ports that may be given to somebody who asks for any port.
    #[schema(example = 91.3)]
    pub used_percent: f64,
    /// In how many days the range is full if its daily peaks go on rising as they did over the last seven whole days;
    /// absent where they do not clearly rise, where one of those days was not seen, and where it would be more than a
    /// year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = 6.5)]
    pub days_until_full: Option<f64>,
}

impl From<&portmaster_domain::Usage> for Usage {
    fn from(usage: &portmaster_domain::Usage) -> Self {
        Self {
            as_of: usage.as_of,
            size: usage.counts.size(),
            counts: usage.counts.into(),
            largest_free_run: usage.largest_free_run,
            used_percent: usage.counts.per_mille() as f64 / 10.0,
            // A tenth of a day is more than a forecast knows.
            days_until_full: usage.days_until_full().map(|days| (days * 10.0).floor() / 10.0),
        }
    }
}
