//! The items that a request to DynamoDB is about.

use serde_json::Value;

/// Returns the keys of the items that a request is about: one, or those of a transaction.
///
/// # Panics
/// If the request is not JSON.
pub fn keys(body: &[u8]) -> Vec<(String, String)> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let key = |of: &Value| {
        let place = if of["Key"].is_object() { &of["Key"] } else { &of["Item"] };
        Some((place["pk"]["S"].as_str()?.to_owned(), place["sk"]["S"].as_str()?.to_owned()))
    };
    match body["TransactItems"].as_array() {
        Some(items) => items.iter().filter_map(|item| key(item.as_object()?.values().next()?)).collect(),
        None => key(&body).into_iter().collect(),
    }
}
