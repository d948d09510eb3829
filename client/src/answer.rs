//! An answer of the registry, with what its head says.

use std::ops::Deref;
use std::time::{Duration, Instant};

use http::StatusCode;
use portmaster_domain::Timestamp;
use portmaster_wire::Port;

/// A body, with what the head of its answer says.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The body.
    pub value: T,
    /// The status, from 200 to 299.
    pub status: StatusCode,
    /// The version of a service, in its quotes, for [`Precondition::Version`](crate::Precondition::Version).
    pub etag: Option<String>,
    /// The registry's time, to the second; none if the answer does not say.
    pub date: Option<Timestamp>,
    /// When this machine began to send the request that was answered.
    pub sent: Instant,
}

impl<T> Answer<T> {
    /// Whether the call created something (201), and did not find it.
    #[must_use]
    pub fn created(&self) -> bool {
        self.status == StatusCode::CREATED
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { value, status, etag, date, sent } = self;
        Answer { value: change(value), status, etag, date, sent }
    }

    /// Until when, on this machine's steady clock, an instant of the registry's lasts: its time there, less the time
    /// that it was there when the request was sent. So a wall clock that is wrong here does not matter.
    #[must_use]
    pub fn local(&self, there: Timestamp) -> Option<Instant> {
        let millis = there.millis() - self.date?.millis();
        self.sent.checked_add(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

impl Answer<Port> {
    /// Until when the holder may use the port, on this machine's steady clock; none if the port has no lease, or if the
    /// answer has no date.
    #[must_use]
    pub fn holds_until(&self) -> Option<Instant> {
        self.local(self.value.expires_at?.instant())
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
