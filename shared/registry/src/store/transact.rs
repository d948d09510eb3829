//! Transactions: named parts that are written together or not at all, and the cancellation reasons by name.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Put, ReturnConsumedCapacity, TransactWriteItem, Update,
};
use uuid::Uuid;

use super::condition::{Condition, Conditional as _, Value};
use super::item::{Item, Key, number};
use super::send::{Doubt, backoff, send_in_doubt, wait};
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{Clock, Timestamp};

/// Why a transaction was cancelled, as far as one of its parts is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason<T> {
    /// This part was not the cause, or it does not exist.
    None,
    /// Its condition failed; the item as it is, if there is one.
    Failed(Option<T>),
    /// Another request was writing to the item.
    Contended,
    /// DynamoDB was throttling. If no condition failed, the transaction is retried, and no caller sees this.
    Throttled,
}

impl<T> Reason<T> {
    pub(crate) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, StoreError>) -> Result<Reason<U>, StoreError> {
        Ok(match self {
            Self::None => Reason::None,
            Self::Contended => Reason::Contended,
            Self::Throttled => Reason::Throttled,
            Self::Failed(item) => Reason::Failed(item.map(map).transpose()?),
        })
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// A transaction under construction. `P` names its parts, so that a part may be added anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Transaction<P> {
    parts: Vec<(P, TransactWriteItem)>,
    /// The clock that stamps every item that has an `accepted` at each send.
    stamps: Option<Clock>,
}

impl<P: Copy + PartialEq> Transaction<P> {
    pub(crate) fn new() -> Self {
        Self { parts: Vec::new(), stamps: None }
    }

    /// Stamps every item that has an `accepted` when it is sent, instead of when it was built: the transaction may be
    /// throttled for seconds before it is done, and a release that was over by then must not be able to hit it. A send
    /// that may have taken effect is repeated as it was, under the same token.
    pub(crate) fn stamped_by(self, clock: &Clock) -> Self {
        Self { stamps: Some(clock.clone()), ..self }
    }

    /// Puts an item in place of whatever is there, if the condition holds.
    pub(crate) fn put(self, table: &Table, part: P, item: Item, condition: Condition) -> Result<Self, StoreError> {
        let put: PutBuilder = Put::builder().table_name(table.name()).set_item(Some(item));
        Ok(self.with(part, TransactWriteItem::builder().put(put.only_if(condition).build()?).build()))
    }

    /// Deletes an item, if the condition holds.
    pub(crate) fn delete(self, table: &Table, part: P, key: &Key, condition: Condition) -> Result<Self, StoreError> {
        let delete: DeleteBuilder = Delete::builder().table_name(table.name()).set_key(Some(key.attributes()));
        Ok(self.with(part, TransactWriteItem::builder().delete(delete.only_if(condition).build()?).build()))
    }

    /// Updates an item, if the condition holds.
    pub(crate) fn update(
        self,
        table: &Table,
        part: P,
        key: &Key,
        (expression, values): (String, Vec<Value>),
        condition: Condition,
    ) -> Result<Self, StoreError> {
        let condition = condition.with_update(&expression, values);
        let update: UpdateBuilder = Update::builder().table_name(table.name()).set_key(Some(key.attributes()));
        let update = update.update_expression(expression).only_if(condition).build()?;
        Ok(self.with(part, TransactWriteItem::builder().update(update).build()))
    }

    /// Writes nothing, but cancels the transaction unless the condition holds.
    pub(crate) fn check(self, table: &Table, part: P, key: &Key, condition: Condition) -> Result<Self, StoreError> {
        let check: ConditionCheckBuilder =
            ConditionCheck::builder().table_name(table.name()).set_key(Some(key.attributes()));
        Ok(self.with(part, TransactWriteItem::builder().condition_check(check.only_if(condition).build()?).build()))
    }

    fn with(mut self, part: P, item: TransactWriteItem) -> Self {
        debug_assert!(self.parts.iter().all(|(other, _)| *other != part), "two parts of one name");
        self.parts.push((part, item));
        self
    }
}

/// The cancellation reasons of a transaction, by part.
#[derive(Debug)]
pub(crate) struct Cancelled<P> {
    reasons: Vec<(P, Reason<Item>)>,
    /// Whether an earlier send may have taken effect.
    pub(crate) doubt: Doubt,
}

impl<P: Copy + PartialEq> Cancelled<P> {
    /// Takes the reason of this part.
    pub(crate) fn take(&mut self, part: P) -> Reason<Item> {
        let place = self.reasons.iter().position(|(other, _)| *other == part);
        place.map_or(Reason::None, |place| self.reasons.swap_remove(place).1)
    }
}

/// The outcome of a transaction.
#[derive(Debug)]
pub(crate) enum Transacted<P> {
    /// Every part was written; with the stamp of the last send, if it has one.
    Done(Option<Timestamp>),
    /// No part was written.
    Cancelled(Cancelled<P>),
}

/// How to proceed if a transaction was cancelled for contention alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnContention {
    /// Wait and retry.
    Wait,
    /// Return the reasons: the caller can try something else. (In doubt it waits all the same: the other writer may be
    /// an earlier send.)
    Report,
}

impl Table {
    /// Writes all parts or none.
    ///
    /// The token is the same in every send, so that DynamoDB itself recognizes, for ten minutes, a transaction that was
    /// committed before its response was lost. The callers also recognize their own items, which has no such limit.
    pub(crate) async fn transact<P: Copy + PartialEq>(
        &self,
        call: &Call,
        transaction: Transaction<P>,
        on_contention: OnContention,
    ) -> Result<Transacted<P>, StoreError> {
        let stamps = transaction.stamps;
        let (parts, mut items): (Vec<_>, Vec<_>) = transaction.parts.into_iter().unzip();
        let mut token = Uuid::new_v4().to_string();
        let mut stamp = None;
        let mut waits = backoff();
        let mut doubt = Doubt::None;
        loop {
            let (result, new_doubt) = send_in_doubt(call, &self.name, |new_doubt| {
                if let Some(clock) = stamps.as_ref().filter(|_| (doubt, new_doubt) == (Doubt::None, Doubt::None)) {
                    // No send before this one took effect. Another content needs another token.
                    let now = clock.now();
                    items.iter_mut().for_each(|item| restamp(item, now));
                    token = Uuid::new_v4().to_string();
                    stamp = Some(now);
                }
                self.client
                    .transact_write_items()
                    .set_transact_items(Some(items.clone()))
                    .client_request_token(&token)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await?;
            if new_doubt == Doubt::Earlier {
                doubt = Doubt::Earlier;
            }
            let reasons = match result {
                Ok(_) => return Ok(Transacted::Done(stamp)),
                Err(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons.unwrap_or_default()
                }
                Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
            };
            let reasons = reasons.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let decided = reasons.iter().any(Reason::is_failed);
            let throttled = reasons.contains(&Reason::Throttled);
            // In doubt, the other writer may be an earlier send of this very transaction. Returning to the caller all
            // the same would cost it a candidate and do no harm: either that send is committed first, and the next
            // claim fails on the name and recognizes it as its own; or the next claim is committed first, and that send
            // fails on the name. So only the number of requests shows that this waits.
            if decided || (on_contention == OnContention::Report && doubt == Doubt::None && !throttled) {
                // DynamoDB returns one reason per item, in their order.
                let reasons = parts.into_iter().zip(reasons).collect();
                return Ok(Transacted::Cancelled(Cancelled { reasons, doubt }));
            }
            wait(call, &mut waits, "throttling, or another transaction on the same items").await?;
            call.count(|meter| meter.retries += 1);
        }
    }
}

/// Sets the `accepted` of an item that has one, or that gets one.
fn restamp(item: &mut TransactWriteItem, now: Timestamp) {
    let put = item.put.as_mut().and_then(|put| put.item.get_mut("accepted"));
    let values = item.update.as_mut().and_then(|update| update.expression_attribute_values.as_mut());
    let update = values.and_then(|values| values.get_mut(":to_accepted"));
    for accepted in put.into_iter().chain(update) {
        *accepted = number(now.millis());
    }
}

/// Codes: *Amazon DynamoDB API Reference*, `TransactWriteItems`, "Cancellation reasons".
pub(super) fn read(reason: CancellationReason) -> Result<Reason<Item>, StoreError> {
    match reason.code.as_deref().unwrap_or("None") {
        "None" => Ok(Reason::None),
        "ConditionalCheckFailed" => Ok(Reason::Failed(reason.item.filter(|item| !item.is_empty()))),
        "TransactionConflict" => Ok(Reason::Contended),
        "ThrottlingError" | "ProvisionedThroughputExceeded" => Ok(Reason::Throttled),
        code => {
            Err(StoreError::Refused { reason: format!("{code}: {}", reason.message.as_deref().unwrap_or_default()) })
        }
    }
}
