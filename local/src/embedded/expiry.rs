//! Removing expired items where a history is kept: as the database does it by itself, but the items of the registry's
//! table go one by one through the database's thread, which sees what they were.

use dynoxide::actions::scan::ScanRequest;
use dynoxide::{AttributeValue, Database};
use portmaster_domain::Clock;

use super::history::Expired;
use super::worker::Requests;

/// How many items are read at once. Meanwhile every request waits, some milliseconds.
const PAGE: usize = 100;

/// Removes every item of the table whose time is over.
pub(super) fn sweep(database: &Database, table: &str, requests: &Requests) -> Result<(), String> {
    let now = Clock::System.now().seconds();
    let mut start = None;
    loop {
        let request = ScanRequest {
            table_name: table.to_owned(),
            limit: Some(PAGE),
            exclusive_start_key: start,
            filter_expression: Some("expires_at <= :now".to_owned()),
            projection_expression: Some("pk, sk".to_owned()),
            expression_attribute_values: Some([(":now".to_owned(), AttributeValue::N(now.to_string()))].into()),
            ..ScanRequest::default()
        };
        let page = database.scan(request).map_err(|error| error.to_string())?;
        for item in page.items.unwrap_or_default() {
            if let (Some(AttributeValue::S(pk)), Some(AttributeValue::S(sk))) = (item.get("pk"), item.get("sk")) {
                requests.expire(Expired { key: (pk.clone(), sk.clone()), now })?;
            }
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(());
        }
    }
}
