//! A field of a merge patch.

use deserr::{DeserializeError, Deserr, IntoValue, Value, ValuePointerRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field of a merge patch (RFC 7396): absent, null, or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Keeps the field.
    #[default]
    Absent,
    /// Restores the default.
    Null,
    /// Sets this value.
    Value(T),
}

impl<T: Deserr<E>, E: DeserializeError> Deserr<E> for Patch<T> {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, location: ValuePointerRef<'_>) -> Result<Self, E> {
        match value {
            Value::Null => Ok(Self::Null),
            value => T::deserialize_from_value(value, location).map(Self::Value),
        }
    }
}

impl<T> Patch<T> {
    /// Applies it to a field.
    pub fn or(self, old: T) -> T
    where
        T: Default,
    {
        self.or_default(old, T::default())
    }

    /// Applies it to a field with this default.
    pub fn or_default(self, old: T, default: T) -> T {
        match self {
            Self::Absent => old,
            Self::Null => default,
            Self::Value(new) => new,
        }
    }

    /// The same patch with another form of its value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(change(value)),
        }
    }
}

impl<T> Patch<T> {
    /// Whether the field is absent.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A field must be skipped if it [is absent](Patch::is_absent).
impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

/// For a field that is present; an absent one takes its default.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}
