//! The plain requests: one item read, and one item written or deleted on a condition.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::types::{Get, ReturnConsumedCapacity, TransactGetItem};

use super::condition::{Condition, Conditional as _, names};
use super::item::{Item, Key, text};
use super::ports::Freshness;
use super::send::{Doubt, backoff, send, wait};
use super::{StoreError, Table};
use crate::Call;

/// Which items of a partition a query reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    /// All of them.
    All,
    /// Those whose sort key has this prefix, which is not empty: DynamoDB compares no key with an empty string.
    Beginning(&'a str),
    /// Those whose sort key is between these two, both included.
    Between(&'a str, &'a str),
}

impl Table {
    /// One page of a partition, in the order of its sort keys, after the given item, whether or not that still exists:
    /// at most `limit` items, and as fresh as required.
    pub(super) async fn query(
        &self,
        call: &Call,
        (partition, keys): (&str, Keys<'_>),
        start: Option<Item>,
        limit: usize,
        freshness: Freshness,
    ) -> Result<QueryOutput, StoreError> {
        let mut values = vec![(":pk", partition)];
        let condition = match keys {
            Keys::All => "#pk = :pk",
            Keys::Beginning(prefix) => {
                values.push((":prefix", prefix));
                "#pk = :pk AND begins_with(#sk, :prefix)"
            }
            Keys::Between(first, last) => {
                values.extend([(":first", first), (":last", last)]);
                "#pk = :pk AND #sk BETWEEN :first AND :last"
            }
        };
        let values: Item = values.into_iter().map(|(at, value)| (at.to_owned(), text(value))).collect();
        let (result, _) = send(call, &self.name, || {
            self.client
                .query()
                .table_name(&self.name)
                .key_condition_expression(condition)
                .set_expression_attribute_names(Some(names(condition)))
                .set_expression_attribute_values(Some(values.clone()))
                .set_exclusive_start_key(start.clone())
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .consistent_read(freshness == Freshness::Consistent)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        result.map_err(|error| StoreError::Refused { reason: error.to_string() })
    }

    /// A conditional DeleteItem. The condition is built for each send, so one that reads a clock reads it then.
    pub(crate) async fn delete_if(
        &self,
        call: &Call,
        key: &Key,
        condition: impl Fn() -> Condition,
    ) -> Result<(Result<(), DeleteItemError>, Doubt), StoreError> {
        let (result, doubt) = send(call, &self.name, || self.deletion(key, condition()).send()).await?;
        Ok((result.map(drop), doubt))
    }

    /// Builds a DeleteItem.
    pub(super) fn deletion(&self, key: &Key, condition: Condition) -> DeleteItemFluentBuilder {
        self.client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .only_if(condition)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// A conditional PutItem. Returns the item as it is if the condition failed and there is one.
    pub(crate) async fn put_if(
        &self,
        call: &Call,
        item: &Item,
        condition: &Condition,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .put_item()
                .table_name(&self.name)
                .set_item(Some(item.clone()))
                .only_if(condition.clone())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        match result {
            Ok(_) => Ok(Ok(())),
            Err(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Err(failed.item.filter(|item| !item.is_empty())))
            }
            Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
        }
    }

    /// Reads one item in a transaction: not while another transaction that writes it is being committed.
    ///
    /// DynamoDB exposes the writes of a transaction to single reads one by one: the second item may still look as
    /// before when the first already looks as after (*Amazon DynamoDB Developer Guide*, "Isolation levels for
    /// transactions"). So a conclusion that is drawn from one item *about another of the same transaction* requires
    /// this read.
    pub(crate) async fn get_settled(&self, call: &Call, key: &Key) -> Result<Option<Item>, StoreError> {
        let get =
            Get::builder().table_name(&self.name).set_key(Some(key.attributes())).build().map_err(StoreError::from)?;
        let get = TransactGetItem::builder().get(get).build();
        let mut waits = backoff();
        loop {
            let (result, _) = send(call, &self.name, || {
                self.client
                    .transact_get_items()
                    .transact_items(get.clone())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await?;
            match result {
                Ok(output) => {
                    let item =
                        output.responses.unwrap_or_default().into_iter().next().and_then(|response| response.item);
                    return Ok(item.filter(|item| !item.is_empty()));
                }
                // A write is in flight, or DynamoDB is throttling; a read has no conditions that could fail.
                Err(TransactGetItemsError::TransactionCanceledException(_)) => {
                    wait(call, &mut waits, "a transaction on the same item").await?;
                    call.count(|meter| meter.retries += 1);
                }
                Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
            }
        }
    }

    /// Writes an item whatever is there: only for items that no decision rests on.
    pub(crate) async fn put(&self, call: &Call, item: &Item) -> Result<(), StoreError> {
        let (result, _) = send::<_, PutItemError, _>(call, &self.name, || {
            self.client
                .put_item()
                .table_name(&self.name)
                .set_item(Some(item.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        result.map(drop).map_err(|error| StoreError::Refused { reason: error.to_string() })
    }

    /// Reads one item, consistently.
    pub(crate) async fn get(&self, call: &Call, key: &Key) -> Result<Option<Item>, StoreError> {
        self.get_as(call, key, Freshness::Consistent).await
    }

    /// Reads one item, as fresh as required.
    pub(crate) async fn get_as(
        &self,
        call: &Call,
        key: &Key,
        freshness: Freshness,
    ) -> Result<Option<Item>, StoreError> {
        let (result, _) = send(call, &self.name, || {
            self.client
                .get_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .consistent_read(freshness == Freshness::Consistent)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        Ok(output.item.filter(|item| !item.is_empty()))
    }
}
