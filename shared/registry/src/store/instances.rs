//! Instance items: the place of a name's last claim.
//!
//! An Instance points to a Port item. It may be stale and is never a second truth: a name is taken only if the Port
//! item it points to is live *and* carries the same secret. That is why accept, reject and release need not touch it.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, update_only_if};
use super::item::{Item, Key, decode, number, text};
use super::send::send;
use super::{StoreError, Table, rules};
use crate::Call;
use portmaster_domain::{InstanceName, Port, Secret, ServiceId, Timestamp, exposed};

/// The content of an Instance item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// The port of the name's last claim.
    pub(crate) port: Port,
    /// The secret of that claim.
    #[serde(with = "exposed")]
    pub(crate) secret: Secret,
    /// When the reconciler first found the claim gone. A new claim overwrites the item, and with it this note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gone_since: Option<Timestamp>,
}

/// An Instance item as it was read.
pub(crate) fn instance(item: Item) -> Result<Instance, StoreError> {
    decode(item)
}

impl Table {
    /// Reads the Instance of a name, consistently.
    pub(crate) async fn instance(
        &self,
        call: &Call,
        service: &ServiceId,
        name: &InstanceName,
    ) -> Result<Option<Instance>, StoreError> {
        self.get(call, &Key::instance(service, name)).await?.map(instance).transpose()
    }

    /// Notes that the claim an Instance points to is gone. Conditional on the secret: an Instance that has moved is
    /// left alone. Returns whether it was noted.
    pub(crate) async fn note_gone(
        &self,
        call: &Call,
        key: &Key,
        secret: Secret,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (result, _) = send(call, &self.name, || {
            let request = self.client.update_item().table_name(&self.name).set_key(Some(key.attributes()));
            let condition = Condition::all(&[rules::NOTE_SECRET], [(":secret", text(secret.expose()))]);
            update_only_if(request, "SET #gone_since = :now", [(":now", number(now.millis()))], condition)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        match result {
            Ok(_) => Ok(true),
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
        }
    }

    /// Removes an Instance whose claim is *gone*: absent, or replaced under another secret. Gone is for ever, so the
    /// condition on the Instance's own secret is all the evidence that has to be repeated. A dead claim is not enough:
    /// a slower clock could still accept it, and the name would be free meanwhile.
    pub(crate) async fn remove_instance(&self, call: &Call, key: &Key, secret: Secret) -> Result<bool, StoreError> {
        let same = || Condition::all(&[rules::INSTANCE_SECRET], [(":secret", text(secret.expose()))]);
        self.delete_if(call, key, same).await.map(|(result, _)| result.is_ok())
    }
}
