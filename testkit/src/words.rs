//! DynamoDB's error responses.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_smithy_types::body::SdkBody;
use portmaster_local::Request;

use crate::limits::Units;
use crate::{TABLE, keys};

/// Reports that another transaction is writing to the same items: to all that a request writes, and to the first of
/// those that it reads in a transaction. Returns nothing if the request cannot meet a conflict.
pub(crate) fn conflict(request: &Request) -> Option<HttpResponse> {
    let is_read = request.operation() == "TransactGetItems";
    let in_conflict: Vec<_> = keys(request.body()).iter().enumerate().map(|(i, _)| i == 0 || !is_read).collect();
    conflict_on(request.operation(), &in_conflict)
}

/// Reports a conflict on some of a request's items. A transaction names it in its cancellation reasons, item by item; a
/// single write as an exception; a single read meets none.
pub(crate) fn conflict_on(operation: &str, in_conflict: &[bool]) -> Option<HttpResponse> {
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let reasons = in_conflict.iter().map(|conflict| match conflict {
                true => r#"{"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"}"#,
                false => r#"{"Code":"None"}"#,
            });
            let reasons = reasons.collect::<Vec<_>>().join(",");
            Some(error_with(400, "TransactionCanceledException", &format!(r#""CancellationReasons":[{reasons}]"#)))
        }
        "PutItem" | "UpdateItem" | "DeleteItem" => Some(error(400, "TransactionConflictException")),
        _ => None,
    }
}

/// Reports that partitions of an on-demand table are at their limit: those of a transaction's items that are marked, or
/// that of the one item or stretch that a single request is about.
///
/// Since 2025 the exceptions carry reasons (*Amazon DynamoDB API Reference*, `ThrottlingReason`), and a transaction its
/// cancellation reasons (`TransactWriteItems`, "Throttling Error").
pub(crate) fn throttled_on(operation: &str, units: Units, is_short: &[bool]) -> HttpResponse {
    const HOT: &str = "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically \
                       scaling your table or index so please try again shortly.";
    if operation.starts_with("Transact") {
        let reasons = is_short.iter().map(|short| match short {
            true => format!(r#"{{"Code":"ThrottlingError","Message":"{HOT}"}}"#),
            false => r#"{"Code":"None"}"#.to_owned(),
        });
        let reasons = reasons.collect::<Vec<_>>().join(",");
        return error_with(400, "TransactionCanceledException", &format!(r#""CancellationReasons":[{reasons}]"#));
    }
    let kind = if units == Units::Read { "Read" } else { "Write" };
    let reason = format!(
        r#"{{"reason":"Table{kind}KeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:local:000000000000:table/{TABLE}"}}"#
    );
    error_with(400, "ThrottlingException", &format!(r#""throttlingReasons":[{reason}]"#))
}

/// An error response.
pub(crate) fn error(status: u16, code: &str) -> HttpResponse {
    error_with(status, code, r#""x":0"#)
}

/// An error response with members of its own.
fn error_with(status: u16, code: &str, more: &str) -> HttpResponse {
    answer(status, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"injected",{more}}}"#))
}

/// A response with a body.
pub(crate) fn answer(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), body.into())
}
