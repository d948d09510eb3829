//! The records of the table's stream, as Lambda sends them (*Amazon DynamoDB Streams API Reference*, `Record`).

use portmaster_domain::Timestamp;
use portmaster_registry::history::{AttributeValue, Attributes, Sequence};
use serde_json::{Map, Value};

/// One change of an item.
pub(super) struct Record {
    pub(super) sequence: Sequence,
    pub(super) at: Timestamp,
    pub(super) by_ttl: bool,
    pub(super) before: Option<Attributes>,
    pub(super) after: Option<Attributes>,
}

/// The number of a record, as Lambda wants it back.
pub(super) fn sequence_of(record: &Value) -> String {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

impl Record {
    /// The error never repeats an image, which may have a secret.
    pub(super) fn read(record: &Value) -> Result<Self, String> {
        let change = &record["dynamodb"];
        let sequence = Sequence::parse(&sequence_of(record)).ok_or("it has no number")?;
        // In seconds, with a fraction or without.
        let at = change["ApproximateCreationDateTime"].as_f64().ok_or("it has no time")?;
        let image = |name: &str| match change.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(image) => image.as_object().and_then(attributes).map(Some).ok_or("an image cannot be read"),
        };
        let user = &record["userIdentity"];
        Ok(Self {
            sequence,
            at: Timestamp::from_millis((at * 1000.0) as i64),
            by_ttl: user["type"] == "Service" && user["principalId"] == "dynamodb.amazonaws.com",
            before: image("OldImage")?,
            after: image("NewImage")?,
        })
    }
}

fn attributes(image: &Map<String, Value>) -> Option<Attributes> {
    image.iter().map(|(name, value)| Some((name.clone(), attribute(value)?))).collect()
}

/// The types that the registry's items have; others are not looked at.
fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "S" => AttributeValue::S(value.as_str()?.to_owned()),
        "N" => AttributeValue::N(value.as_str()?.to_owned()),
        "BOOL" => AttributeValue::Bool(value.as_bool()?),
        "M" => AttributeValue::M(attributes(value.as_object()?)?),
        "L" => AttributeValue::L(value.as_array()?.iter().map(attribute).collect::<Option<_>>()?),
        _ => AttributeValue::Null(true),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_as_lambda_sends_it() {
        let record = json!({
            "eventID": "1", "eventName": "REMOVE",
            "userIdentity": { "type": "Service", "principalId": "dynamodb.amazonaws.com" },
            "dynamodb": {
                "ApproximateCreationDateTime": 1_800_000_000.25, "SequenceNumber": "111000000000000",
                "OldImage": {
                    "pk": { "S": "a" }, "n": { "N": "1" }, "b": { "BOOL": true }, "m": { "M": { "l": { "L": [{ "S": "x" }] } } },
                    "other": { "B": "AAEC" },
                },
            },
        });
        let read = Record::read(&record).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((read.at.millis(), read.by_ttl, read.after), (1_800_000_000_250, true, None));
        assert_eq!(read.before.unwrap()["n"], AttributeValue::N("1".to_owned()));
        for part in ["ApproximateCreationDateTime", "SequenceNumber"] {
            let mut less = record.clone();
            less["dynamodb"][part] = Value::Null;
            assert!(Record::read(&less).is_err(), "{part}");
        }
    }
}
