//! The content of requests to DynamoDB: the items that they are about, words in them, and attributes for them.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

/// Returns the keys of the items that a request is about: one, or those of a transaction.
///
/// # Panics
/// If the request is not JSON.
pub fn keys(body: &[u8]) -> Vec<(String, String)> {
    let body: Value = serde_json::from_slice(body).unwrap();
    match body["TransactItems"].as_array() {
        Some(items) => items.iter().filter_map(|item| key_of(item.as_object()?.values().next()?)).collect(),
        None => key_of(&body).into_iter().collect(),
    }
}

/// The key of the item that a request, or a part of a transaction, is about.
pub(crate) fn key_of(part: &Value) -> Option<(String, String)> {
    let place = if part["Key"].is_object() { &part["Key"] } else { &part["Item"] };
    Some((place["pk"]["S"].as_str()?.to_owned(), place["sk"]["S"].as_str()?.to_owned()))
}

/// Whether a request's body contains these words.
pub(crate) fn contains(body: &[u8], words: &str) -> bool {
    body.windows(words.len()).any(|window| window == words.as_bytes())
}

/// Whether a read asks for consistency.
pub(crate) fn is_consistent(body: &[u8]) -> bool {
    contains(body, r#""ConsistentRead":true"#)
}

/// A string, as an attribute of an item.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}
