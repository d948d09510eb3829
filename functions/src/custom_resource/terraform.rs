//! The events of Terraform's `aws_lambda_invocation` with `lifecycle_scope = "CRUD"`: the input, to which the provider adds
//! `"tf": {"action": "create" | "update" | "delete", "prev_input": …}`.

use serde_json::{Map, Value};

use super::outcome::{Failure, Outcome};
use super::request::{Action, Maker, Request, Resource};

/// What the provider adds.
pub(super) const KEY: &str = "tf";
/// The property of an input that says what it is about, as in a template.
const TYPE: &str = "ResourceType";

/// Reads an event.
pub(super) fn read(event: &Map<String, Value>) -> Result<Request, Failure> {
    let malformed =
        |what: &str| Failure::new("malformed-event", format!("The event is not one of Terraform's: {what}."));
    let tf = event.get(KEY).unwrap_or(&Value::Null);
    let action = match tf["action"].as_str() {
        Some("create") => Action::Create,
        Some("update") => Action::Update,
        Some("delete") => Action::Delete,
        _ => return Err(malformed("its tf.action is none of create, update and delete")),
    };
    let resource = Resource::named(event.get(TYPE).and_then(Value::as_str).unwrap_or_default());
    let resource = resource.map_err(|reason| Failure::new("unknown-type", reason))?;
    let properties = |input: &Map<String, Value>| {
        let own = input.iter().filter(|(name, _)| ![KEY, TYPE].contains(&name.as_str()));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let before = match &tf["prev_input"] {
        Value::Null => None,
        Value::Object(input) => {
            let was = input.get(TYPE).and_then(Value::as_str);
            if was.is_some_and(|was| was != resource.name()) {
                return Err(malformed("a resource cannot change its ResourceType; replace it"));
            }
            Some(properties(input))
        }
        _ => return Err(malformed("its tf.prev_input is not an object")),
    };
    Ok(Request { action, resource, maker: Maker::Terraform, wanted: properties(event), before })
}

/// The answer to an event, which Terraform stores as the result.
///
/// # Errors
/// What Terraform shows if the event failed.
pub(super) fn answer(outcome: Outcome) -> Result<Value, String> {
    let Outcome { identity, result, .. } = outcome;
    let done = result.map_err(|Failure { reason, .. }| reason)?;
    let mut answer: Map<String, Value> = done.attributes.into_iter().collect();
    answer.insert("Id".to_owned(), identity.map(|identity| identity.to_string()).into());
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn of(event: Value) -> Result<Request, String> {
        read(event.as_object().unwrap()).map_err(|failure| failure.reason)
    }

    #[test]
    fn the_input_is_read_without_what_was_added() {
        let input = json!({"ResourceType": "Custom::PortmasterPort", "Service": "web"});
        let mut event = input.clone();
        event["tf"] = json!({"action": "update", "prev_input": input});
        let request = of(event).unwrap();
        assert_eq!((request.action, request.resource), (Action::Update, Resource::Port));
        assert_eq!(Value::from(request.wanted), json!({"Service": "web"}));
        assert_eq!(Value::from(request.before.unwrap()), json!({"Service": "web"}));
    }

    #[test]
    fn what_is_not_terraforms_is_refused() {
        let kind = "Custom::PortmasterPort";
        for (event, part) in [
            (json!({"tf": {"action": "read"}, "ResourceType": kind}), "tf.action"),
            (json!({"tf": {"action": "create"}}), "Custom::PortmasterPort"),
            (json!({"tf": {"action": "update", "prev_input": "x"}, "ResourceType": kind}), "prev_input"),
            (
                json!({"tf": {"action": "update", "prev_input": {"ResourceType": "Custom::PortmasterService"}},
                    "ResourceType": kind}),
                "ResourceType",
            ),
        ] {
            assert!(of(event.clone()).unwrap_err().contains(part), "{event}");
        }
    }
}
