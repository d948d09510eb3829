//! Reads a request body strictly, and reports every mistake at once.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};

use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, Map as _, MergeWithError, Value as Deserialized, ValueKind,
    ValuePointerRef, take_cf_content,
};
use portmaster_domain::{
    Description, InstanceName, InvalidLabels, InvalidPort, Labels, Owner, Port, ServiceName, Strategy,
};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Fault, NamePrefix};

/// The reasons for which a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not JSON, or names a field twice; the text says which.
    NotJson(String),
    /// It is JSON, with these mistakes.
    Faulty(Vec<Fault>),
}

/// The rules of a body beyond the types of its fields.
pub trait Checked {
    /// The mistakes between fields, from the raw body, so that they are reported together with those in fields.
    fn between_fields(_: &Value) -> Vec<Fault> {
        Vec::new()
    }
}

/// Reads a body. Every mistake in it is found, not only the first.
///
/// # Errors
/// Returns [`Unreadable`] with the mistakes.
pub fn parse<T: Deserr<Faults> + Checked>(bytes: &[u8]) -> Result<T, Unreadable> {
    let not_json = |error: serde_json::Error| Unreadable::NotJson(what_it_is_instead(bytes, &error));
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer).map_err(not_json)?;
    deserializer.end().map_err(not_json)?;
    let mut faults = T::between_fields(&value);
    match deserr::deserialize::<T, Value, Faults>(value) {
        Ok(body) if faults.is_empty() => Ok(body),
        Ok(_) => Err(Unreadable::Faulty(faults)),
        Err(Faults(more)) => {
            faults.splice(0..0, more);
            Err(Unreadable::Faulty(faults))
        }
    }
}

/// Describes a body that is not JSON, where its format is recognizable: a parser only reports where it stopped.
fn what_it_is_instead(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.trim_ascii() {
        [] => "The request has no body; it needs a JSON object.".to_owned(),
        [0x1f, 0x8b, ..] => {
            "The body is compressed with gzip, and compressed bodies are not accepted. Send plain JSON.".to_owned()
        }
        [0xef, 0xbb, 0xbf, ..] => "The body begins with a byte order mark. Send UTF-8 without one.".to_owned(),
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, ..] | [_, 0, ..] => {
            "The body is UTF-16 or UTF-32. Send UTF-8.".to_owned()
        }
        [b'\'', ..] => {
            "The body begins with a single quote, which JSON does not have. Some shells (cmd.exe) pass on the \
                         quotes around an argument: there, use double quotes, and write \\\" for those inside."
                .to_owned()
        }
        _ => match std::str::from_utf8(bytes) {
            Err(wrong) => format!("The body is not UTF-8: byte {} begins no character.", wrong.valid_up_to() + 1),
            Ok(_) => format!("The body is not JSON: {error}."),
        },
    }
}

/// Reads any JSON except an object that names a field twice: readers disagree about which one counts (RFC 8259, section
/// 4).
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the field {name:?} stands twice")));
            }
            let value = fields.next_value_seed(Strict)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Every mistake in a body.
#[derive(Debug)]
pub struct Faults(Vec<Fault>);

impl MergeWithError<Self> for Faults {
    fn merge(first: Option<Self>, second: Self, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut faults = first.map_or_else(Vec::new, |Self(faults)| faults);
        faults.extend(second.0);
        ControlFlow::Continue(Self(faults))
    }
}

impl MergeWithError<Infallible> for Faults {
    fn merge(_: Option<Self>, never: Infallible, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        match never {}
    }
}

impl DeserializeError for Faults {
    fn error<V: IntoValue>(
        first: Option<Self>,
        error: ErrorKind<'_, V>,
        location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let fault = match error {
            ErrorKind::MissingField { field } => Fault::in_body(pointer(location.push_key(field)), "is required"),
            ErrorKind::UnknownKey { key, accepted } => {
                let detail = format!("is unknown here; this request has {}", accepted.join(", "));
                Fault::in_body(pointer(location.push_key(key)), detail)
            }
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                let wanted: Vec<_> = accepted.iter().map(|kind| kind_name(*kind)).collect();
                let detail = format!("must be {}, not {}", wanted.join(" or "), kind_name(actual.kind()));
                Fault::in_body(pointer(location), detail)
            }
            ErrorKind::UnknownValue { accepted, .. } => {
                Fault::in_body(pointer(location), format!("must be one of {}", accepted.join(", ")))
            }
            ErrorKind::BadSequenceLen { expected, .. } => {
                Fault::in_body(pointer(location), format!("must have {expected} items"))
            }
            ErrorKind::Unexpected { msg } => Fault::in_body(pointer(location), msg),
        };
        Self::merge(first, Self(vec![fault]), location)
    }
}

fn kind_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Null => "null",
        ValueKind::Boolean => "a boolean",
        ValueKind::Integer => "a whole number",
        ValueKind::NegativeInteger => "a negative number",
        ValueKind::Float => "a number with a fraction",
        ValueKind::String => "a string",
        ValueKind::Sequence => "an array",
        ValueKind::Map => "an object",
    }
}

/// A JSON Pointer as a URI fragment (RFC 6901, section 6).
fn pointer(location: ValuePointerRef<'_>) -> String {
    match location {
        ValuePointerRef::Origin => "#".to_owned(),
        ValuePointerRef::Index { index, prev } => format!("{}/{index}", pointer(*prev)),
        ValuePointerRef::Key { key, prev } => {
            let mut text = format!("{}/", pointer(*prev));
            for byte in key.replace('~', "~0").replace('/', "~1").bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                    _ => text.push_str(&format!("%{byte:02X}")),
                }
            }
            text
        }
    }
}

pub(crate) fn fault<V: IntoValue, E: DeserializeError>(message: impl ToString, location: ValuePointerRef<'_>) -> E {
    take_cf_content(E::error::<V>(None, ErrorKind::Unexpected { msg: message.to_string() }, location))
}

/// Types that are parsed from a string and report their own mistakes.
macro_rules! from_text {
    ($($type:ty),*) => {$(
        impl Deserr<Faults> for $type {
            fn deserialize_from_value<V: IntoValue>(
                value: Deserialized<V>,
                location: ValuePointerRef<'_>,
            ) -> Result<Self, Faults> {
                let text = String::deserialize_from_value(value, location)?;
                Self::try_from(text).map_err(|error| fault::<V, Faults>(error, location))
            }
        }
    )*};
}

from_text!(ServiceName, InstanceName, Description, Owner, NamePrefix);

impl Deserr<Faults> for Port {
    fn deserialize_from_value<V: IntoValue>(
        value: Deserialized<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        match value {
            Deserialized::Integer(number) => {
                let port = u16::try_from(number).ok().and_then(|number| Self::new(number).ok());
                port.ok_or_else(|| fault::<V, Faults>(InvalidPort, location))
            }
            // Some readers take 5000.0 for 5000 and others do not, so it is refused, and so is 5e3.
            Deserialized::Float(number)
                if number.fract() == 0.0
                    && (f64::from(Port::MIN.get())..=f64::from(Port::MAX.get())).contains(&number) =>
            {
                let message = format!("must be written without a decimal point or an exponent: {number}");
                Err(fault::<V, Faults>(message, location))
            }
            Deserialized::NegativeInteger(_) | Deserialized::Float(_) => Err(fault::<V, Faults>(InvalidPort, location)),
            actual => {
                let accepted = &[ValueKind::Integer];
                let error = ErrorKind::IncorrectValueKind { actual, accepted };
                Err(take_cf_content(Faults::error::<V>(None, error, location)))
            }
        }
    }
}

/// A type that is one of a few words.
macro_rules! choice {
    ($type:ty: $($word:literal => $value:expr),+) => {
        impl deserr::Deserr<$crate::parse::Faults> for $type {
            fn deserialize_from_value<V: deserr::IntoValue>(
                value: deserr::Value<V>,
                location: deserr::ValuePointerRef<'_>,
            ) -> Result<Self, $crate::parse::Faults> {
                let word = String::deserialize_from_value(value, location)?;
                match word.as_str() {
                    $($word => Ok($value),)+
                    _ => Err($crate::parse::other_word::<V>(&word, &[$($word),+], location)),
                }
            }
        }
    };
}
pub(crate) use choice;

/// A word that is none of the accepted ones.
pub(crate) fn other_word<V: IntoValue>(word: &str, accepted: &[&str], location: ValuePointerRef<'_>) -> Faults {
    take_cf_content(Faults::error::<V>(None, ErrorKind::UnknownValue { value: word, accepted }, location))
}

/// The mistakes in the field `names` as a whole: how many there are, and names that stand twice.
pub(crate) fn distinct_names(body: &Value, count: &RangeInclusive<usize>) -> Vec<Fault> {
    let Some(names) = body.get("names").and_then(Value::as_array) else { return Vec::new() };
    let mut faults = Vec::new();
    if !count.contains(&names.len()) {
        let detail = format!("must have {} to {} names, not {}", count.start(), count.end(), names.len());
        faults.push(Fault::in_body("#/names", detail));
    }
    let mut seen = HashSet::new();
    for (index, name) in names.iter().enumerate() {
        if name.as_str().is_some_and(|name| !seen.insert(name)) {
            faults.push(Fault::in_body(format!("#/names/{index}"), "stands twice; all names must be different"));
        }
    }
    faults
}

impl Deserr<Faults> for Strategy {
    fn deserialize_from_value<V: IntoValue>(
        value: Deserialized<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let word = String::deserialize_from_value(value, location)?;
        Self::named(&word).ok_or_else(|| other_word::<V>(&word, &Self::ALL.map(Self::as_str), location))
    }
}

impl Deserr<Faults> for Labels {
    fn deserialize_from_value<V: IntoValue>(
        value: Deserialized<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        // Pair by pair: deserr's own reading of a map (0.6.4) loses the mistakes in it.
        let Deserialized::Map(map) = value else {
            let error = ErrorKind::IncorrectValueKind { actual: value, accepted: &[ValueKind::Map] };
            return Err(take_cf_content(Faults::error::<V>(None, error, location)));
        };
        let (mut pairs, mut faults) = (BTreeMap::new(), Vec::new());
        for (key, value) in map.into_iter() {
            let place = || pointer(location.push_key(&key));
            match String::deserialize_from_value(value.into_value(), location.push_key(&key)) {
                Err(Faults(more)) => faults.extend(more),
                Ok(_) if !Self::is_key(&key) => {
                    faults.push(Fault::in_body(place(), "is no label's key: 1 to 32 characters out of a-z 0-9 . _ -"));
                }
                Ok(value) if !Self::is_value(&value) => {
                    faults
                        .push(Fault::in_body(place(), "must have at most 64 characters, all of them printable ASCII"));
                }
                Ok(value) => drop(pairs.insert(key, value)),
            }
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        Self::try_from(pairs).map_err(|error: InvalidLabels| fault::<V, Faults>(error, location))
    }
}

#[cfg(test)]
mod tests;
