//! Request items: which claim an `Idempotency-Key` made.

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::item::{Item, Key, decode, number};
use super::{StoreError, Table, rules};
use crate::Call;
use portmaster_domain::{Expiry, Fingerprint, Port, Secret, ServiceId, Timestamp, exposed};

/// How long a key is remembered at least: a day, the longest that any pipeline may be retried. It is also remembered
/// for as long as its offer lives.
const REMEMBERED_SECONDS: i64 = 24 * 60 * 60;

/// A key as the table stores it, and the fingerprint of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// The key's hash.
    pub(crate) digest: String,
    /// The hash of the request's body.
    pub(crate) fingerprint: Fingerprint,
}

/// The claim that a key made: everything needed to return the same response again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) port: Port,
    #[serde(with = "exposed")]
    pub(crate) secret: Secret,
    pub(crate) fingerprint: Fingerprint,
    /// The offer's expiry, which the Port item loses once the offer is accepted.
    pub(crate) offered_until: Option<Expiry>,
    /// The Request item's own expiry.
    pub(crate) expires_at: Expiry,
}

/// The Request item that is written with a claim.
#[derive(Clone, Debug)]
pub(crate) struct RequestWrite {
    pub(crate) key: RequestKey,
    /// The secret of the claim that this key made before and that is dead, so the key is as good as new.
    pub(crate) replaces: Option<Secret>,
}

/// The time until which a key is remembered, given the expiry of its offer.
pub(crate) fn remembered_until(now: Timestamp, offered_until: Option<Expiry>) -> Expiry {
    let a_day = Expiry::after(now, REMEMBERED_SECONDS);
    offered_until.map_or(a_day, |expiry| expiry.max(a_day))
}

/// A Request item as it was read.
pub(crate) fn replay(item: Item) -> Result<Replay, StoreError> {
    decode(item)
}

impl Table {
    /// Reads the claim that a key made, consistently.
    pub(crate) async fn request(
        &self,
        call: &Call,
        service: &ServiceId,
        key: &RequestKey,
    ) -> Result<Option<Replay>, StoreError> {
        self.get(call, &Key::request(service, &key.digest)).await?.map(replay).transpose()
    }

    /// Removes a Request that has expired and that TTL has not yet removed. The condition repeats that, so a Request
    /// whose key was used again since it was read stays. `now` is the time at which it was judged, in every send:
    /// whatever had expired then stays expired, and a later time could only remove more than was judged.
    pub(crate) async fn remove_request(&self, call: &Call, key: &Key, now: Timestamp) -> Result<bool, StoreError> {
        let over = || Condition::all(&[rules::REQUEST_OVER], [(":now", number(now.seconds()))]);
        self.delete_if(call, key, over).await.map(|(result, _)| result.is_ok())
    }
}
