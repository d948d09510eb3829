//! Something that has happened, in a line.

use serde::Serialize;
use serde_json::Value;

/// An event: what has happened, such as `port-allocated`, and its details. In JSON it is the details alone, which have
/// the event as their `type`, in the registry's words.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Happened {
    details: Value,
    #[serde(skip)]
    event: String,
}

impl Happened {
    /// # Arguments
    ///
    /// - `event`: in lower case, with dashes.
    /// - `details`: an object. A `type` is added where there is none.
    #[must_use]
    pub fn new(event: &str, mut details: Value) -> Self {
        if let Some(members) = details.as_object_mut() {
            members.entry("type").or_insert_with(|| titled(event).into());
        }
        Self { details, event: event.to_owned() }
    }

    /// For people: the time, what has happened, and to what.
    #[must_use]
    pub fn line(&self) -> String {
        let of = |member: &str| match self.details.get(member) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let labels = self.details.get("labels").and_then(Value::as_object).map(|labels| {
            let pair = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
            labels.iter().map(pair).collect::<Vec<_>>().join(",")
        });
        let columns = [
            of("time").unwrap_or_default(),
            format!("{:17}", self.event),
            format!("{:5}", of("port").unwrap_or_default()),
            of("service").unwrap_or_default(),
            of("name").unwrap_or_default(),
            of("owner").unwrap_or_default(),
            labels.unwrap_or_default(),
        ];
        // A name or an owner of the registry has no control characters; a text that is no name of a registry might.
        let columns = columns.map(|text| text.replace(char::is_control, "?"));
        columns.join("  ").trim_end().to_owned()
    }
}

/// `Port Allocated`, of `port-allocated`.
fn titled(event: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    event.split('-').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let details = json!({ "time": "2026-11-30T10:00:00Z", "service": "web", "name": "job", "port": 5000,
                              "owner": "ada \u{1b}[2J", "labels": {"run": "7"} });
        let happened = Happened::new("port-allocated", details);
        assert_eq!(happened.line(), "2026-11-30T10:00:00Z  port-allocated     5000   web  job  ada ?[2J  run=7");
        assert_eq!(serde_json::to_value(&happened).unwrap()["type"], "Port Allocated");
        let of_a_service = Happened::new("service-created", json!({ "time": "T", "service": "web", "type": "X" }));
        assert_eq!(of_a_service.line(), "T  service-created           web");
        assert_eq!(serde_json::to_value(&of_a_service).unwrap()["type"], "X");
    }
}
