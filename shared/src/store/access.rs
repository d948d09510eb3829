//! The plain requests: one item read, one item removed on a condition.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};

use super::item::{Item, Key};
use super::send::{Doubt, send};
use super::{Call, StoreError, Table};

/// A condition on a deletion.
#[derive(Clone, Copy)]
pub(crate) struct Deletion<'a> {
    pub(crate) condition: &'a str,
    pub(crate) names: &'a [(&'a str, &'a str)],
    pub(crate) values: &'a [(&'a str, AttributeValue)],
}

impl Table {
    /// A conditional DeleteItem.
    pub(crate) async fn delete_if(
        &self,
        call: &Call,
        key: &Key,
        deletion: Deletion<'_>,
    ) -> Result<(Result<(), DeleteItemError>, Doubt), StoreError> {
        let (result, doubt) = send(call, &self.name, || {
            let delete = self
                .client
                .delete_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .condition_expression(deletion.condition)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let delete = deletion
                .names
                .iter()
                .fold(delete, |delete, (placeholder, name)| delete.expression_attribute_names(*placeholder, *name));
            deletion
                .values
                .iter()
                .fold(delete, |delete, (placeholder, value)| {
                    delete.expression_attribute_values(*placeholder, value.clone())
                })
                .send()
        })
        .await?;
        Ok((result.map(drop), doubt))
    }

    /// One item, read consistently.
    pub(crate) async fn get(&self, call: &Call, key: &Key) -> Result<Option<Item>, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .get_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        Ok(output.item.filter(|item| !item.is_empty()))
    }
}
