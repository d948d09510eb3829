//! The embedded DynamoDB, called in this process.

use dynoxide::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Does what a request asks for, as the database's own server would: gives the answer's body, or its status and body.
///
/// # Panics
/// Where it is asked for an operation that the registry does not use.
pub fn perform(database: &Database, operation: &str, body: &[u8]) -> Result<String, (u16, String)> {
    match operation {
        "CreateTable" => run(body, |question| database.create_table(question)),
        "DescribeTable" => run(body, |question| database.describe_table(question)),
        "DescribeTimeToLive" => run(body, |question| database.describe_time_to_live(question)),
        "UpdateTimeToLive" => run(body, |question| database.update_time_to_live(question)),
        "GetItem" => run(body, |question| database.get_item(question)),
        "PutItem" => run(body, |question| database.put_item(question)),
        "UpdateItem" => run(body, |question| database.update_item(question)),
        "DeleteItem" => run(body, |question| database.delete_item(question)),
        "Query" => run(body, |question| database.query(question)),
        "Scan" => run(body, |question| database.scan(question)),
        "TransactGetItems" => run(body, |question| database.transact_get_items(question)),
        "TransactWriteItems" => run(body, |question| database.transact_write_items(question)),
        other => panic!("nobody has asked {other} before"),
    }
}

fn run<Q: DeserializeOwned, R: Serialize>(
    body: &[u8],
    ask: impl FnOnce(Q) -> dynoxide::Result<R>,
) -> Result<String, (u16, String)> {
    let question = serde_json::from_slice(body).map_err(|error| (400, error.to_string()))?;
    let answer = ask(question).map_err(|error| (error.status_code(), error.to_json()))?;
    serde_json::to_string(&answer).map_err(|error| (500, error.to_string()))
}

/// The keys of the items that a request is about: one, or those of a transaction.
///
/// # Panics
/// Where the request is no JSON.
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
