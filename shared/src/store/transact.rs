//! A transaction, and the reasons it was cancelled for.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, ReturnConsumedCapacity, TransactWriteItem};
use uuid::Uuid;

use super::item::Item;
use super::send::{Doubt, backoff, send, wait};
use super::{Call, StoreError, Table};

/// Why a transaction was cancelled, as far as one of its items goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason<T> {
    /// This item was not the cause.
    None,
    /// Its condition failed; the item as it is, if there is one.
    Failed(Option<T>),
    /// Somebody else was writing to it.
    Contended,
    /// DynamoDB was throttling. Where no condition failed, the transaction is sent again, and nobody sees this.
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

/// What a transaction came to.
#[derive(Debug)]
pub(crate) enum Transacted {
    /// Every write of it.
    Done,
    /// None of it; the reasons, one per item and in their order.
    Cancelled(Vec<Reason<Item>>),
}

/// What to do when a transaction was cancelled for contention alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnContention {
    /// Wait and send it again.
    Wait,
    /// Tell: there is something else to try. (In doubt it waits all the same: an earlier send may be the other writer.)
    Tell,
}

impl Table {
    /// Writes all of these items or none.
    ///
    /// The token is the same in every send, so that DynamoDB itself recognizes a transaction that was committed before
    /// its reply was lost (for ten minutes). The callers recognize their own items as well, which has no such limit.
    pub(crate) async fn transact(
        &self,
        call: &Call,
        items: Vec<TransactWriteItem>,
        on_contention: OnContention,
    ) -> Result<Transacted, StoreError> {
        let token = Uuid::new_v4().to_string();
        let mut waits = backoff();
        let mut doubt = Doubt::None;
        loop {
            let (result, new_doubt) = send(call, &self.name, || {
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
                Ok(_) => return Ok(Transacted::Done),
                Err(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons.unwrap_or_default()
                }
                Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
            };
            let reasons = reasons.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let decided = reasons.iter().any(Reason::is_failed);
            let throttled = reasons.contains(&Reason::Throttled);
            // In doubt, the other writer may be an earlier send of this very transaction. Telling the caller all the
            // same would cost it a candidate and do no harm: either that send is committed first, and the next claim
            // fails on the name and recognizes it as its own; or the next claim is, and that send fails on the name.
            // So only the number of requests shows that this waits.
            if decided || (on_contention == OnContention::Tell && doubt == Doubt::None && !throttled) {
                return Ok(Transacted::Cancelled(reasons));
            }
            wait(call, &mut waits, "throttling, or another transaction on the same items").await?;
            call.count(|meter| meter.retries += 1);
        }
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
