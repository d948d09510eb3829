//! The function `record-history`: the table's stream in; tenures to the history, and events to a bus, out.
//!
//! Lambda sends a batch of records, each with the images of one item before and after a write, in their order for each
//! item. It sends a batch again, or parts of it, until it is told that all went well. So everything here may happen
//! twice: a tenure is written whole, and only if nothing later is known of it; an event that is sent twice has the same
//! id twice. If a record cannot be dealt with, the answer names it, everything before it is done, and Lambda goes on with
//! it; after some attempts it puts it aside in a queue (template.yaml).

mod bus;
mod stream;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use futures::stream::{StreamExt as _, iter};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use portmaster_domain::{Tenure, TenureId};
use portmaster_registry::history::{Event, Image, Moment, Sequence, changes};
use portmaster_registry::{Call, History, Table, connect_within_lambda};
use serde::Serialize;
use serde_json::Value;

use crate::{Settings, block_on, time_left};
use bus::Bus;
use stream::Record;

/// How many tenures are written at the same time.
const AT_ONCE: usize = 8;

/// How long a batch may take if Lambda does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Records history and sends events, for each batch of the table's stream.
#[must_use]
pub fn record_history() -> ExitCode {
    block_on(serve)
}

async fn serve(settings: Settings) -> Result<(), Error> {
    let client = connect_within_lambda(settings.endpoint.as_deref());
    let recorder = Recorder {
        history: settings.history_table.map(|name| History::new(Table::new(client, name))),
        days: settings.history_days,
        nearly_full: settings.watch.nearly_full,
        bus: settings.event_bus.map(Bus::new),
    };
    let handle = |event: LambdaEvent<Value>| {
        let recorder = &recorder;
        async move {
            let call = Call::within(time_left(&event.context).unwrap_or(TIMEOUT));
            Ok::<Answer, Error>(recorder.record(&call, event.payload).await)
        }
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// What a batch is answered with (*Lambda Developer Guide*, "Configuring partial batch response with DynamoDB").
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

struct Recorder {
    history: Option<History>,
    days: u32,
    nearly_full: u32,
    bus: Option<Bus>,
}

/// A tenure that is to be written, and the place of the first record that it is about.
struct Pending {
    tenure: Tenure,
    sequence: Sequence,
    first: usize,
}

impl Recorder {
    async fn record(&self, call: &Call, payload: Value) -> Answer {
        let records = match payload.get("Records").and_then(Value::as_array) {
            Some(records) => records.as_slice(),
            None => &[],
        };
        let (mut tenures, mut events) = (HashMap::<TenureId, Pending>::new(), Vec::new());
        // The place of the first record that failed, and why.
        let mut failed: Option<(usize, String)> = None;
        for (place, record) in records.iter().enumerate() {
            match self.changes(record) {
                Ok((sequence, found)) => {
                    for tenure in found.tenures {
                        let id = tenure.id.clone();
                        let first = tenures.get(&id).map_or(place, |known| known.first);
                        tenures.insert(id, Pending { tenure, sequence: sequence.clone(), first });
                    }
                    events.extend(found.events.into_iter().map(|event| (place, event)));
                }
                Err(why) => {
                    failed = Some((place, why));
                    break;
                }
            }
        }
        let written = tenures.len();
        for (first, why) in self.write(call, tenures.into_values()).await {
            if failed.as_ref().is_none_or(|(place, _)| first < *place) {
                failed = Some((first, why));
            }
        }
        // Those of records that will be sent again are told then.
        events.retain(|(place, _)| failed.as_ref().is_none_or(|(failed, _)| place < failed));
        let told = events.len();
        if let Some((place, why)) = self.tell(events).await {
            failed = Some((place, why));
        }
        tracing::info!(target: "portmaster::history", records = records.len(), tenures = written, events = told, "recorded");
        let failure = failed.map(|(place, why)| {
            let item_identifier = records.get(place).map(stream::sequence_of).unwrap_or_default();
            tracing::warn!(target: "portmaster::history", error = why, sequence = item_identifier, "a record failed");
            Failure { item_identifier }
        });
        Answer { batch_item_failures: failure.into_iter().collect() }
    }

    /// What a record has changed.
    fn changes(&self, record: &Value) -> Result<(Sequence, portmaster_registry::history::Changes), String> {
        let Record { sequence, at, by_ttl, before, after } = Record::read(record)?;
        let image = |attributes| match attributes {
            None => Ok(None),
            Some(attributes) => Image::read(attributes).map_err(|error| error.to_string()),
        };
        let (before, after) = (image(before)?, image(after)?);
        let moment = Moment { at, by_ttl, nearly_full: self.nearly_full };
        Ok((sequence, changes(before.as_ref(), after.as_ref(), &moment)))
    }

    /// Writes tenures. Returns the first records of those that could not be written.
    async fn write(&self, call: &Call, tenures: impl Iterator<Item = Pending>) -> Vec<(usize, String)> {
        let Some(history) = &self.history else { return Vec::new() };
        let writes = tenures.map(|Pending { tenure, sequence, first }| async move {
            match history.record(call, &tenure, &sequence, self.days).await {
                Ok(_) => None,
                Err(error) => Some((first, error.to_string())),
            }
        });
        iter(writes).buffer_unordered(AT_ONCE).filter_map(async |failure| failure).collect().await
    }

    /// Sends events. Returns the first record of those that could not be sent.
    async fn tell(&self, events: Vec<(usize, Event)>) -> Option<(usize, String)> {
        let bus = self.bus.as_ref()?;
        for some in events.chunks(Bus::AT_ONCE) {
            if let Err((place, why)) = bus.send(some).await {
                return Some((place, why));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_record_that_cannot_be_read_is_named_and_nothing_is_said_of_it() {
        let recorder = Recorder { history: None, days: 400, nearly_full: 90, bus: None };
        let call = Call::within(TIMEOUT);
        let secret = "13880000-0000-8000-8000-000000000001";
        let record = |number: &str, state: &str| {
            json!({ "eventName": "INSERT", "dynamodb": {
                "SequenceNumber": number, "ApproximateCreationDateTime": 1_800_000_000,
                "NewImage": {
                    "pk": { "S": "N#default#PORT" }, "sk": { "S": "05000" }, "service": { "S": "django" },
                    "name": { "S": "web-01" }, "state": { "S": state }, "created": { "N": "1800000000000" },
                    "expires_at": { "N": "1800001800" }, "secret": { "S": secret },
                },
            } })
        };
        let batch = json!({ "Records": [record("1", "offered"), record("2", "broken"), record("3", "offered")] });
        let answer = serde_json::to_string(&recorder.record(&call, batch).await).unwrap();
        assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"2"}]}"#);
        let error = recorder.changes(&record("2", "broken")).unwrap_err();
        assert!(!error.contains(secret), "{error}");
        for good in [json!({ "Records": [record("1", "offered")] }), json!({ "Records": [] }), json!({})] {
            assert!(recorder.record(&call, good).await.batch_item_failures.is_empty());
        }
    }
}
