//! Instance items: where a name's last claim is.
//!
//! A pointer may be stale and is never a second truth: a name is taken only if the Port item it points to is live *and*
//! carries the same secret. That is why accept, reject and release need not touch it.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use serde::{Deserialize, Serialize};

use super::access::Deletion;
use super::item::{Item, Key, decode, number, text};
use super::send::send;
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{InstanceName, Port, Secret, ServiceId, Timestamp, exposed};

/// What an Instance item holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    /// The port of the name's last claim.
    pub(crate) port: Port,
    /// Its secret.
    #[serde(with = "exposed")]
    pub(crate) secret: Secret,
    /// When the reconciler first found the claim gone. A new claim overwrites the item, and this with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gone_since: Option<Timestamp>,
}

/// An Instance item as it was read.
pub(crate) fn pointer(item: Item) -> Result<Pointer, StoreError> {
    decode(item)
}

impl Table {
    /// Where a name's last claim is, read consistently.
    pub(crate) async fn pointer(
        &self,
        call: &Call,
        service: &ServiceId,
        name: &InstanceName,
    ) -> Result<Option<Pointer>, StoreError> {
        self.get(call, &Key::instance(service, name)).await?.map(pointer).transpose()
    }

    /// Notes that the claim a pointer points to is gone. Conditional on the secret: a pointer that has moved is left
    /// alone. Gives whether it was noted.
    pub(crate) async fn note_gone(
        &self,
        call: &Call,
        key: &Key,
        secret: Secret,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .update_expression("SET #gone_since = :now")
                .condition_expression("#secret = :secret")
                .expression_attribute_names("#gone_since", "gone_since")
                .expression_attribute_names("#secret", "secret")
                .expression_attribute_values(":now", number(now.millis()))
                .expression_attribute_values(":secret", text(secret.expose()))
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

    /// Removes a pointer whose claim is *gone*: absent, or under another secret. Gone is for ever, so the condition on
    /// the pointer's own secret is all the evidence there is to repeat. A dead claim is not enough: a slower clock could
    /// still accept it, and the name would be free meanwhile.
    pub(crate) async fn remove_pointer(&self, call: &Call, key: &Key, secret: Secret) -> Result<bool, StoreError> {
        let deletion = Deletion {
            condition: "#secret = :secret",
            names: &[("#secret", "secret")],
            values: &|| vec![(":secret", text(secret.expose()))],
        };
        self.delete_if(call, key, deletion).await.map(|(result, _)| result.is_ok())
    }
}
