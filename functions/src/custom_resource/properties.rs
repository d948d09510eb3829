//! Reading properties. CloudFormation turns every number and every truth value into a text, and Terraform does not, so
//! both are read.

use std::collections::BTreeMap;

use portmaster_domain::{Labels, Port, PortRange, Reserved};
use serde_json::Value;

use super::outcome::Failure;
use super::request::Properties;

/// What CloudFormation adds to the properties of every custom resource.
const OF_CLOUDFORMATION: [&str; 2] = ["ServiceToken", "ServiceTimeout"];
/// How many characters of a property's name are repeated.
const SHOWN: usize = 64;

/// Reads properties one by one, and collects every mistake. A property that is null or an empty text counts as not
/// given: a parameter of a template cannot be absent, only empty.
pub(super) struct Reader<'a> {
    properties: &'a Properties,
    known: Vec<&'static str>,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(properties: &'a Properties) -> Self {
        Self { properties, known: Vec::new(), faults: Vec::new() }
    }

    /// A property, if it is given and can be read.
    pub(super) fn read<T>(&mut self, name: &'static str, parse: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        self.known.push(name);
        let value = self.given(name)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(fault) => {
                self.faults.push(format!("{name} {fault}"));
                None
            }
        }
    }

    /// The same, if it has to be given.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let faults = self.faults.len();
        let found = self.read(name, parse);
        if found.is_none() && self.faults.len() == faults {
            self.faults.push(format!("{name} is required"));
        }
        found
    }

    /// The same, with a default that may not be there either.
    pub(super) fn default<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
        default: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        if self.given(name).is_some() {
            return self.read(name, parse);
        }
        self.known.push(name);
        default().map_err(|fault| self.faults.push(fault)).ok()
    }

    /// A property, if it is given.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.properties.get(name).filter(|value| !value.is_null() && *value != "")
    }

    /// Adds a mistake.
    pub(super) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Refuses the properties if something is wrong, or if there is one that was not read.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let unknown = self
            .properties
            .keys()
            .filter(|name| !self.known.contains(&name.as_str()) && !OF_CLOUDFORMATION.contains(&name.as_str()));
        let unknown: Vec<_> =
            unknown.map(|name| format!("{:?}", name.chars().take(SHOWN).collect::<String>())).collect();
        if !unknown.is_empty() {
            let known = self.known.join(", ");
            self.faults.push(format!("there is no {}; there are {known}", unknown.join(", ")));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Failure::invalid(&self.faults)) }
    }
}

/// A text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err("must be a text".to_owned()),
    }
}

/// What can be made of a text.
pub(super) fn parsed<T>(value: &Value) -> Result<T, String>
where
    T: TryFrom<String>,
    T::Error: std::fmt::Display,
{
    T::try_from(text(value)?).map_err(|invalid| invalid.to_string())
}

/// `true` or `false`.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match text(value)?.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A whole number within these bounds.
pub(super) fn seconds(least: u32, most: u32) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let number = text(value)?.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("must be a whole number of seconds, from {least} to {most}"))
    }
}

/// A port.
pub(super) fn port(value: &Value) -> Result<Port, String> {
    port_of(&text(value)?)
}

fn port_of(text: &str) -> Result<Port, String> {
    let port = text.trim().parse::<u16>().ok().and_then(|number| Port::new(number).ok());
    port.ok_or_else(|| format!("must be a port, from {} to {}", Port::MIN, Port::MAX))
}

/// A list of texts, or one text with commas between them.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) => {
            values.iter().map(|value| text(value).map_err(|_| "must be a list of texts".to_owned())).collect()
        }
        other => {
            let text = text(other).map_err(|_| "must be a list of texts".to_owned())?;
            Ok(text.split(',').map(|part| part.trim().to_owned()).collect())
        }
    }
}

/// Labels by key.
pub(super) fn labels(value: &Value) -> Result<Labels, String> {
    let wrong = || "must be texts by key".to_owned();
    let pairs = value.as_object().ok_or_else(wrong)?.iter();
    let pairs = pairs.map(|(key, value)| Ok((key.clone(), text(value).map_err(|_| wrong())?)));
    Labels::try_from(pairs.collect::<Result<BTreeMap<_, _>, String>>()?).map_err(|invalid| invalid.to_string())
}

/// Reserved ports: `5060`, or a stretch of them, `5070-5079`.
pub(super) fn reserved(value: &Value) -> Result<Reserved, String> {
    let stretch = |text: String| {
        let (start, end) = text.split_once('-').unwrap_or((&text, &text));
        PortRange::new(port_of(start)?, port_of(end)?).map_err(|invalid| invalid.to_string())
    };
    let stretches = texts(value)?.into_iter().map(stretch).collect::<Result<Vec<_>, _>>();
    let stretches = stretches.map_err(|fault| format!("{fault}, each of them as in 5060 or 5070-5079"))?;
    Reserved::try_from(stretches).map_err(|invalid| invalid.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_may_be_texts() {
        assert_eq!((truth(&json!("True")), truth(&json!(false))), (Ok(true), Ok(false)));
        assert!(truth(&json!("yes")).is_err() && truth(&json!(1)).is_err());
        assert_eq!(port(&json!("5000")), port(&json!(5000)));
        for bad in [json!("80"), json!("5000.0"), json!(-1), json!(70000), json!([5000]), json!("http")] {
            assert!(port(&bad).is_err(), "{bad}");
        }
        assert_eq!(seconds(1, 60)(&json!("60")), Ok(60));
        for bad in [json!("0"), json!(61), json!("1m"), json!(1.5), json!({})] {
            assert!(seconds(1, 60)(&bad).is_err(), "{bad}");
        }
        assert_eq!(texts(&json!(["http", 3])).unwrap(), ["http", "3"]);
        assert_eq!(texts(&json!("http, grpc")).unwrap(), ["http", "grpc"]);
        assert!(texts(&json!([["http"]])).is_err() && texts(&json!({})).is_err());
        let reserved = reserved(&json!(["5060", "5070-5079"])).unwrap();
        assert_eq!(reserved.stretches().len(), 2);
        assert!(labels(&json!({"team": "web", "count": 3})).is_ok() && labels(&json!({"Team": "web"})).is_err());
    }

    #[test]
    fn every_mistake_is_named() {
        let given = json!({"Service": "", "Port": "x", "Prot": "1", "ServiceToken": "arn", "Owner": null});
        let mut reader = Reader::new(given.as_object().unwrap());
        assert_eq!(reader.required("Service", text), None);
        assert_eq!(reader.read("Port", port), None);
        assert_eq!(reader.read("Owner", text), None);
        let reason = reader.finish().unwrap_err().reason;
        for part in
            ["Service is required", "Port must be a port", "there is no \"Prot\"; there are Service, Port, Owner"]
        {
            assert!(reason.contains(part), "{reason}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_answered(value in values()) {
            let _ = (text(&value), truth(&value), port(&value), texts(&value), labels(&value), reserved(&value));
        }
    }
}
