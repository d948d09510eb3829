//! CloudFormation's events, and the answers that it waits for (*AWS CloudFormation Template Reference*, "Custom resource
//! request objects" and "response objects").

use serde_json::{Map, Value, json};

use super::identity;
use super::outcome::{Failure, Outcome};
use super::request::{Action, Maker, Properties, Request, Resource};
use super::respond::Url;

/// How many bytes an answer has at most (*AWS CloudFormation User Guide*, quotas).
const MOST: usize = 4096;
/// How many characters a part of an event has at most that the answer has to repeat: far more than there are in any of
/// CloudFormation's.
const REPEATED: usize = 512;

/// What an answer has to repeat, word for word.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    stack_id: String,
    pub(super) request_id: String,
    pub(super) logical_id: String,
    physical_id: Option<String>,
    action: Option<Action>,
}

/// Reads an event: where its answer goes, what that has to repeat, and what is asked for.
///
/// # Errors
/// What is wrong, if the event cannot even be answered.
pub(super) fn read(event: &Value) -> Result<(Url, Letter, Result<Request, Failure>), String> {
    let text = |name: &str| event[name].as_str().filter(|text| text.chars().count() <= REPEATED).map(str::to_owned);
    let required = |name: &str| text(name).ok_or_else(|| format!("The event has no {name}, so it cannot be answered."));
    // (Its URL is longer than anything that is repeated.)
    let url = event["ResponseURL"].as_str().map(|url| Url::new(url.to_owned()));
    let url = url.ok_or_else(|| "The event has no ResponseURL, so it cannot be answered.".to_owned())?;
    let action = match event["RequestType"].as_str() {
        Some("Create") => Some(Action::Create),
        Some("Update") => Some(Action::Update),
        Some("Delete") => Some(Action::Delete),
        _ => None,
    };
    let letter = Letter {
        stack_id: required("StackId")?,
        request_id: required("RequestId")?,
        logical_id: required("LogicalResourceId")?,
        physical_id: event["PhysicalResourceId"].as_str().map(str::to_owned).filter(|id| id.len() <= 1024),
        action,
    };
    let request = request(event, &letter);
    Ok((url, letter, request))
}

fn request(event: &Value, letter: &Letter) -> Result<Request, Failure> {
    let malformed =
        |what: &str| Failure::new("malformed-event", format!("The event is not one of CloudFormation's: {what}."));
    let action = letter.action.ok_or_else(|| malformed("its RequestType is none of Create, Update and Delete"))?;
    let resource = Resource::named(event["ResourceType"].as_str().unwrap_or_default());
    let resource = resource.map_err(|reason| Failure::new("unknown-type", reason))?;
    let stack = stack(&letter.stack_id).ok_or_else(|| malformed("its StackId is not that of a stack"))?;
    let properties = |name: &str| -> Result<Option<Properties>, Failure> {
        match &event[name] {
            Value::Null => Ok(None),
            Value::Object(properties) => Ok(Some(properties.clone())),
            _ => Err(malformed(&format!("its {name} are not an object"))),
        }
    };
    let maker = Maker::Stack {
        id: letter.stack_id.clone(),
        stack: stack.0.to_owned(),
        guid: stack.1.to_owned(),
        logical_id: letter.logical_id.clone(),
        physical_id: letter.physical_id.clone(),
    };
    let wanted = properties("ResourceProperties")?.unwrap_or_default();
    Ok(Request { action, resource, maker, wanted, before: properties("OldResourceProperties")? })
}

/// A stack's name and the last part of its id, which is unique.
fn stack(id: &str) -> Option<(&str, &str)> {
    let (service, resource) = id.split_once(":stack/")?;
    let (name, guid) = resource.split_once('/')?;
    let is_arn = service.starts_with("arn:") && service.contains(":cloudformation:");
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_arn && !name.is_empty() && !guid.is_empty() && is_plain(name) && is_plain(guid)).then_some((name, guid))
}

/// The answer to an event.
pub(super) fn answer(letter: &Letter, outcome: &Outcome) -> Vec<u8> {
    let given = letter.physical_id.as_deref();
    let own = outcome.identity.as_ref().map(ToString::to_string);
    // An update that fails has changed nothing, so the resource is still called what it was: another id would have
    // CloudFormation delete the resource of that id. A failed creation has its id all the same, so that what it may have
    // left is deleted.
    let physical_id = match (letter.action, &outcome.result) {
        (Some(Action::Create) | None, _) | (Some(Action::Update), Ok(_)) => own.as_deref().or(given),
        (Some(Action::Update | Action::Delete), _) => given.or(own.as_deref()),
    };
    let physical_id = physical_id.unwrap_or(identity::NOTHING);
    match &outcome.result {
        Ok(done) => {
            let data = done.attributes.iter().map(|(name, value)| (name.clone(), Value::String(shown(value))));
            let answer = body(letter, physical_id, "SUCCESS", "", data.collect());
            if answer.len() <= MOST {
                return answer;
            }
            let reason = "The resource's attributes do not fit into the 4096 bytes that CloudFormation accepts. Use fewer Ports, \
                          or shorter names.";
            body(letter, physical_id, "FAILED", reason, Map::new())
        }
        Err(Failure { reason, .. }) => cut(reason, |reason| body(letter, physical_id, "FAILED", reason, Map::new())),
    }
}

fn body(letter: &Letter, physical_id: &str, status: &str, reason: &str, data: Map<String, Value>) -> Vec<u8> {
    let mut answer = json!({
        "Status": status, "PhysicalResourceId": physical_id, "StackId": letter.stack_id, "RequestId": letter.request_id,
        "LogicalResourceId": letter.logical_id,
    });
    if !reason.is_empty() {
        answer["Reason"] = reason.into();
    }
    if !data.is_empty() {
        answer["Data"] = data.into();
    }
    answer.to_string().into_bytes()
}

/// The longest answer that CloudFormation takes, with as much of the reason as fits.
fn cut(reason: &str, answer: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let mut kept = reason.chars().count();
    loop {
        let text: String = reason.chars().take(kept).collect();
        let whole = kept == reason.chars().count();
        let made = answer(&if whole { text } else { format!("{text}…") });
        if made.len() <= MOST || kept == 0 {
            return made;
        }
        // A character may be written in up to six bytes (`\u0000`).
        kept -= (made.len() - MOST).div_ceil(6).min(kept);
    }
}

/// An attribute as a text: `Fn::GetAtt` has no other type that is safe everywhere.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::super::outcome::{About, Done};
    use super::*;

    fn letter(action: Action, physical_id: Option<&str>) -> Letter {
        Letter {
            stack_id: "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/51af3dc0".to_owned(),
            request_id: "r".to_owned(),
            logical_id: "Port".to_owned(),
            physical_id: physical_id.map(str::to_owned),
            action: Some(action),
        }
    }

    fn answered(letter: &Letter, identity: Option<&str>, result: Result<Done, Failure>) -> Value {
        let identity = identity.map(|text| identity::Identity::parse(text).unwrap());
        serde_json::from_slice(&answer(letter, &Outcome { identity, result, about: About::default() })).unwrap()
    }

    #[test]
    fn stacks_are_recognized() {
        assert_eq!(stack("arn:aws-cn:cloudformation:cn-north-1:1:stack/shop-1/51af-x"), Some(("shop-1", "51af-x")));
        for bad in [
            "",
            "shop",
            "arn:aws:s3:::stack/shop/5",
            "arn:aws:cloudformation:::stack/shop",
            "arn:aws:cloudformation:::stack/a:b/c",
        ] {
            assert_eq!(stack(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_failed_update_keeps_its_id_and_a_failed_creation_has_one() {
        let (old, new) = ("portmaster:port:default/web/a:o", "portmaster:port:default/web/b:o");
        let fail = || Err(Failure::new("x", "no"));
        let id =
            |action, given, own, result| answered(&letter(action, given), own, result)["PhysicalResourceId"].clone();
        assert_eq!(id(Action::Create, None, Some(new), fail()), new);
        assert_eq!(id(Action::Create, None, None, fail()), identity::NOTHING);
        assert_eq!(id(Action::Update, Some(old), Some(new), fail()), old);
        assert_eq!(id(Action::Update, Some(old), Some(new), Ok(Done::default())), new);
        assert_eq!(id(Action::Delete, Some("made-up"), Some(new), Ok(Done::default())), "made-up");
    }

    #[test]
    fn attributes_are_texts() {
        let attributes = vec![
            ("Port".to_owned(), json!(5000)),
            ("Ports".to_owned(), json!([5000, 5001])),
            ("ExpiresAt".to_owned(), Value::Null),
        ];
        let answer = answered(&letter(Action::Create, None), None, Ok(Done { attributes, ..Done::default() }));
        assert_eq!(answer["Data"], json!({"Port": "5000", "Ports": "5000,5001", "ExpiresAt": ""}));
    }

    /// The longest that there can be: 32 parts, each as long as it may be, in names of 64 characters.
    #[test]
    fn the_longest_success_fits() {
        let attributes = (0..32).map(|number| (format!("Port.{}", format!("{number:02}").repeat(31)), json!(10_000)));
        let all = vec![10_000; 32];
        let rest = [("Ports".to_owned(), json!(all)), ("Name".to_owned(), json!("n"))];
        let long = "\"".repeat(128);
        let owner = format!("portmaster:ports:{0}/{0}/n:{long}", "s".repeat(64));
        let done = Done { attributes: attributes.chain(rest).collect(), ..Done::default() };
        let mut letter = letter(Action::Create, None);
        letter.logical_id = "L".repeat(255);
        letter.stack_id = letter.stack_id.replace("51af3dc0", "51af3dc0-da77-11e4-872e-1234567db123");
        letter.stack_id = letter.stack_id.replace("shop", &"s".repeat(128));
        assert_eq!(answered(&letter, Some(&owner), Ok(done))["Status"], "SUCCESS");
    }

    proptest! {
        /// However long a reason is, and whatever is in it, the answer is JSON that CloudFormation takes.
        #[test]
        fn every_reason_fits(reason in "\\PC{0,50}[\\x00-\\x20é\"😀]{0,4000}", id in "[ -~]{0,1024}") {
            let letter = letter(Action::Update, Some(&id));
            let result = Err(Failure::new("x", reason.clone()));
            let bytes = answer(&letter, &Outcome { identity: None, result, about: About::default() });
            prop_assert!(bytes.len() <= MOST, "{}", bytes.len());
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            let kept = value["Reason"].as_str().unwrap_or_default().trim_end_matches('…').to_owned();
            prop_assert!(reason.starts_with(&kept));
            prop_assert_eq!(&value["PhysicalResourceId"], &json!(id));
        }
    }
}
