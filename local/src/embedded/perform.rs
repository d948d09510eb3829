//! Performs one request of DynamoDB's API with the embedded database, in this thread.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use portmaster_registry::DISK_FAILED;

/// The operations that the registry uses, and those with which an operator's tools look at its table. (Streams are left
/// out: the database never forgets a record of one, and each slows it down.)
macro_rules! operations {
    ($($name:literal => $method:ident),* $(,)?) => {
        /// Performs a request: returns the body of the response, or an error's status and body in DynamoDB's words.
        ///
        /// # Errors
        /// The response that DynamoDB would send with a status other than 200.
        pub fn perform(database: &Database, operation: &str, body: &[u8]) -> Result<String, (u16, String)> {
            match operation {
                $($name => run(body, |question| database.$method(question)),)*
                _ => Err(refusal(400, "com.amazon.coral.service#UnknownOperationException", "")),
            }
        }
    };
}

operations! {
    "GetItem" => get_item,
    "PutItem" => put_item,
    "UpdateItem" => update_item,
    "DeleteItem" => delete_item,
    "Query" => query,
    "TransactGetItems" => transact_get_items,
    "TransactWriteItems" => transact_write_items,
    "Scan" => scan,
    "BatchGetItem" => batch_get_item,
    "BatchWriteItem" => batch_write_item,
    "ExecuteStatement" => execute_statement,
    "ExecuteTransaction" => execute_transaction,
    "BatchExecuteStatement" => batch_execute_statement,
    "CreateTable" => create_table,
    "DescribeTable" => describe_table,
    "UpdateTable" => update_table,
    "DeleteTable" => delete_table,
    "ListTables" => list_tables,
    "DescribeTimeToLive" => describe_time_to_live,
    "UpdateTimeToLive" => update_time_to_live,
    "TagResource" => tag_resource,
    "UntagResource" => untag_resource,
    "ListTagsOfResource" => list_tags_of_resource,
}

pub(super) fn run<Q: DeserializeOwned, R: Serialize>(
    body: &[u8],
    ask: impl FnOnce(Q) -> dynoxide::Result<R>,
) -> Result<String, (u16, String)> {
    let unreadable =
        |error: serde_json::Error| refusal(400, "com.amazon.coral.service#SerializationException", &error.to_string());
    let question = serde_json::from_slice(body).map_err(unreadable)?;
    let answer = ask(question).map_err(|error| match disk_failure(&error) {
        Some(reason) => refusal(500, DISK_FAILED, reason),
        None => (error.status_code(), error.to_json()),
    })?;
    serde_json::to_string(&answer).map_err(|error| refusal(500, "InternalServerError", &error.to_string()))
}

/// The message of SQLite if its file cannot be written: no space, a quota, a limit on its size, a broken disk. SQLite
/// has rolled the transaction back. The words are its own (`sqlite3_errstr`), and its version is pinned.
fn disk_failure(error: &DynoxideError) -> Option<&'static str> {
    if error.status_code() != 500 {
        return None;
    }
    let text = error.to_string();
    ["database or disk is full", "disk I/O error"].into_iter().find(|words| text.contains(words))
}

/// An error in DynamoDB's words.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    (status, serde_json::json!({ "__type": code, "message": message }).to_string())
}
