//! Instants as RFC 3339 in UTC.

/// To the millisecond.
pub(crate) mod millis {
    use portmaster_domain::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&instant.to_rfc3339())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_rfc3339(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// To the millisecond, if it is there.
pub(crate) mod optional_millis {
    use portmaster_domain::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(instant: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        instant.map(Timestamp::to_rfc3339).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Timestamp::from_rfc3339(&text)).transpose().map_err(D::Error::custom)
    }
}

/// An expiry that may not be there: to the second, or null.
pub(crate) mod expiry {
    use portmaster_domain::{Expiry, Timestamp};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(expiry: &Option<Expiry>, serializer: S) -> Result<S::Ok, S::Error> {
        expiry.map(Expiry::to_rfc3339).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Expiry>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let instant = text.map(|text| Timestamp::from_rfc3339(&text)).transpose().map_err(D::Error::custom)?;
        Ok(instant.map(|instant| Expiry::after(instant, 0)))
    }
}
