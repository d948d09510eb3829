//! Sending a request until it is answered, or until its call's time has run out.
//!
//! The SDK's own retries are off: it cannot know our deadline, does not retry a cancelled transaction, and would hide
//! whether an earlier send may have taken effect. That uncertainty is [`Doubt`], and every caller must consider it.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::Call;

/// The code that the embedded DynamoDB returns when its disk cannot be written; no other DynamoDB has it. Nothing was
/// done, and a retry would not help.
pub const DISK_FAILED: &str = "EmbeddedDiskFailure";

/// The table could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Throttled, in conflict, or unreachable until the call's time had run out.
    #[error("DynamoDB did not answer in time; its last word: {last}")]
    Unavailable {
        /// The error of the last attempt.
        last: String,
    },
    /// A write may or may not have taken effect, and a retry might repeat its effect.
    #[error("DynamoDB did not say whether it did it; its last word: {last}")]
    Unknown {
        /// The error of the attempt.
        last: String,
    },
    /// The embedded DynamoDB cannot write to its disk: most likely no space is left. Nothing was done.
    #[error("the embedded DynamoDB cannot write to its disk: {reason}")]
    Disk {
        /// In SQLite's words.
        reason: String,
    },
    /// There is no such table.
    #[error("there is no DynamoDB table {table:?} in this account, region or endpoint")]
    NoTable {
        /// The table's name.
        table: String,
    },
    /// The credentials are missing, wrong, or do not allow this.
    #[error("DynamoDB refused: {reason}")]
    Refused {
        /// In DynamoDB's words.
        reason: String,
    },
    /// A request of ours lacks a part and was not sent.
    #[error("a request to DynamoDB lacks a part: {reason}")]
    Incomplete {
        /// The part that is missing.
        reason: String,
    },
    /// An item does not have the form that this version writes.
    #[error("the item {key} cannot be read: {reason}")]
    Damaged {
        /// The item's key, without secrets.
        key: String,
        /// The reason.
        reason: String,
    },
}

impl From<BuildError> for StoreError {
    fn from(error: BuildError) -> Self {
        Self::Incomplete { reason: error.to_string() }
    }
}

/// Whether an earlier send of the same request may have taken effect although its response was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// No: every send before this response was refused before it took effect.
    None,
    /// Perhaps: a send ended in a timeout, a broken connection or an internal error.
    Earlier,
}

/// The outcome of a request: its output, or the exception that its caller decides on, and whether there is doubt.
pub(crate) type Answer<T, E> = (Result<T, E>, Doubt);

/// An output that reports the capacity it consumed.
pub(crate) trait Metered {
    fn record(&self, call: &Call);
}

macro_rules! metered {
    ($($output:ty => $units:ident),* $(,)?) => {$(
        impl Metered for $output {
            fn record(&self, call: &Call) {
                let units = self.consumed_capacity().and_then(|capacity| capacity.capacity_units()).unwrap_or_default();
                call.count(|meter| meter.$units += units);
            }
        }
    )*};
}

metered! {
    GetItemOutput => read_units,
    QueryOutput => read_units,
    ScanOutput => read_units,
    PutItemOutput => write_units,
    UpdateItemOutput => write_units,
    DeleteItemOutput => write_units,
}

impl Metered for TransactGetItemsOutput {
    fn record(&self, call: &Call) {
        let units: f64 = self.consumed_capacity().iter().filter_map(|capacity| capacity.capacity_units()).sum();
        call.count(|meter| meter.read_units += units);
    }
}

impl Metered for TransactWriteItemsOutput {
    fn record(&self, call: &Call) {
        let units: f64 = self.consumed_capacity().iter().filter_map(|capacity| capacity.capacity_units()).sum();
        call.count(|meter| meter.write_units += units);
    }
}

/// The reaction to a failed send.
enum Verdict {
    /// The caller must decide: a condition failed, or the thing to be created exists.
    Decide,
    /// It had no effect; retry.
    Again,
    /// It may have had an effect; retry.
    AgainInDoubt,
    /// A retry would not help.
    Hopeless(StoreError),
}

/// The waits between sends: 10 ms, doubling to 500 ms, each with up to as much again at random, so that callers who
/// collided once do not collide again.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_millis(500))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Waits for as long as the backoff says.
///
/// # Errors
/// [`StoreError::Unavailable`] with `last` if the call's time would run out first.
pub(crate) async fn wait(call: &Call, backoff: &mut ExponentialBackoff, last: &str) -> Result<(), StoreError> {
    let until = Instant::now() + backoff.next().unwrap_or(Duration::from_millis(500));
    if until >= call.deadline() {
        return Err(StoreError::Unavailable { last: last.to_owned() });
    }
    sleep_until(until).await;
    Ok(())
}

/// Sends a request until it is answered. `request` builds and sends it; it is the same request each time.
///
/// For reads, and for writes whose condition names something unique (a secret, a version, an attempt), which makes them
/// idempotent.
pub(crate) async fn send<T, E, F>(
    call: &Call,
    table: &str,
    mut request: impl FnMut() -> F,
) -> Result<Answer<T, E>, StoreError>
where
    T: Metered,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    send_while(call, table, true, |_| request()).await
}

/// Sends a request until it is answered. `request` is told whether an earlier send is in doubt: until one is, it may
/// send other values than before.
pub(crate) async fn send_in_doubt<T, E, F>(
    call: &Call,
    table: &str,
    request: impl FnMut(Doubt) -> F,
) -> Result<Answer<T, E>, StoreError>
where
    T: Metered,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    send_while(call, table, true, request).await
}

/// Sends a request until it is answered or in doubt: for the write that is not idempotent.
///
/// # Errors
/// [`StoreError::Unknown`] if it is in doubt.
pub(crate) async fn send_once<T, E, F>(
    call: &Call,
    table: &str,
    mut request: impl FnMut() -> F,
) -> Result<Result<T, E>, StoreError>
where
    T: Metered,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    send_while(call, table, false, |_| request()).await.map(|(result, _)| result)
}

async fn send_while<T, E, F>(
    call: &Call,
    table: &str,
    even_in_doubt: bool,
    mut request: impl FnMut(Doubt) -> F,
) -> Result<Answer<T, E>, StoreError>
where
    T: Metered,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut backoff = backoff();
    let mut doubt = Doubt::None;
    loop {
        if call.is_over() {
            return Err(StoreError::Unavailable { last: "no time was left".to_owned() });
        }
        call.count(|meter| meter.requests += 1);
        let Ok(result) = timeout_at(call.deadline(), request(doubt)).await else {
            let last = "no answer".to_owned();
            return Err(if even_in_doubt { StoreError::Unavailable { last } } else { StoreError::Unknown { last } });
        };
        let error = match result {
            Ok(output) => {
                output.record(call);
                return Ok((Ok(output), doubt));
            }
            Err(error) => error,
        };
        match judge(&error, table) {
            Verdict::Decide => return Ok((Err(decided(error)?), doubt)),
            Verdict::Hopeless(error) => return Err(error),
            Verdict::Again => {}
            Verdict::AgainInDoubt if even_in_doubt => doubt = Doubt::Earlier,
            Verdict::AgainInDoubt => return Err(StoreError::Unknown { last: describe(&error) }),
        }
        wait(call, &mut backoff, &describe(&error)).await?;
        call.count(|meter| meter.retries += 1);
    }
}

fn decided<E>(error: SdkError<E, HttpResponse>) -> Result<E, StoreError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(context) => Ok(context.into_err()),
        other => Err(StoreError::Unavailable { last: describe(&other) }),
    }
}

/// Error codes: *Amazon DynamoDB Developer Guide*, "Error handling with DynamoDB".
fn judge<E>(error: &SdkError<E, HttpResponse>, table: &str) -> Verdict
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let refused = || Verdict::Hopeless(StoreError::Refused { reason: describe(error) });
    match error {
        SdkError::ConstructionFailure(_) if source::<BuildError>(error).is_some() => {
            Verdict::Hopeless(StoreError::Incomplete { reason: describe(error) })
        }
        // No credentials, no region, or an endpoint that is not a URL.
        SdkError::ConstructionFailure(_) => refused(),
        SdkError::DispatchFailure(failure) if failure.is_user() => refused(),
        SdkError::DispatchFailure(_) if was_never_sent(error) => Verdict::Again,
        SdkError::DispatchFailure(failure)
            if failure.is_other() && failure.as_other().is_none() && source::<io::Error>(error).is_none() =>
        {
            refused()
        }
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Verdict::AgainInDoubt,
        SdkError::ServiceError(context) => match context.err().code().unwrap_or_default() {
            "ConditionalCheckFailedException" | "TransactionCanceledException" | "ResourceInUseException" => {
                Verdict::Decide
            }
            "ResourceNotFoundException" => Verdict::Hopeless(StoreError::NoTable { table: table.to_owned() }),
            "TransactionConflictException"
            | "TransactionInProgressException"
            | "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException" => Verdict::Again,
            DISK_FAILED => {
                let reason = context.err().message().unwrap_or_default().to_owned();
                Verdict::Hopeless(StoreError::Disk { reason })
            }
            _ if context.raw().status().is_server_error() => Verdict::AgainInDoubt,
            _ => refused(),
        },
        _ => Verdict::AgainInDoubt,
    }
}

/// The first error of this type among the causes of an error.
fn source<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether the connection was refused, so that nothing was sent.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    source::<io::Error>(error).is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
}

/// Describes the error. Service errors carry a code and a message from DynamoDB, never an item.
fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let error = context.err();
            let status = context.raw().status().as_u16();
            match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                (None, _) => format!("HTTP status {status}, and not in DynamoDB's words"),
            }
        }
        SdkError::TimeoutError(_) => "a timeout".to_owned(),
        // The messages of the causes, and not their debug output: a response that could not be read contains an item,
        // and the item a secret.
        other => {
            let mut text = other.to_string();
            let mut next = other.source();
            while let Some(cause) = next {
                text.push_str(&format!(": {cause}"));
                next = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::GetItemError;
    use aws_sdk_dynamodb::types::Put;

    use super::*;

    #[test]
    fn a_request_that_lacks_a_part_is_our_mistake_whoever_notices() {
        let lacking = || Put::builder().build().unwrap_err();
        assert!(matches!(StoreError::from(lacking()), StoreError::Incomplete { reason } if !reason.is_empty()));
        let sent = SdkError::<GetItemError, HttpResponse>::construction_failure(lacking());
        assert!(matches!(judge(&sent, "table"), Verdict::Hopeless(StoreError::Incomplete { .. })));
        let unconfigured = SdkError::<GetItemError, HttpResponse>::construction_failure("no region");
        assert!(matches!(judge(&unconfigured, "table"), Verdict::Hopeless(StoreError::Refused { .. })));
    }
}
