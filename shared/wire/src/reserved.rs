//! Reserved ports: `[5060, {"start": 5070, "end": 5079}]`.

use deserr::{DeserializeError as _, Deserr, ErrorKind, IntoValue, Value, ValueKind, ValuePointerRef, take_cf_content};
use portmaster_domain::{InvalidRange, Port, PortRange, TooManyReserved};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::parse::{Faults, fault};

/// The ports that a service only gives to those who ask for them by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Reserved(portmaster_domain::Reserved);

impl Reserved {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<portmaster_domain::Reserved> for Reserved {
    fn from(reserved: portmaster_domain::Reserved) -> Self {
        Self(reserved)
    }
}

impl From<Reserved> for portmaster_domain::Reserved {
    fn from(reserved: Reserved) -> Self {
        reserved.0
    }
}

/// One entry of the list.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ReservedPorts, description = "A port, or a stretch of ports.")]
pub(crate) enum Entry {
    /// A single port.
    #[schema(value_type = u16, example = 5060)]
    One(Port),
    /// The ports from `start` to `end`.
    Stretch {
        /// The first port.
        #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5070)]
        start: Port,
        /// The last port; not below `start`.
        #[schema(value_type = u16, minimum = 1024, maximum = 49151, example = 5079)]
        end: Port,
    },
}

impl TryFrom<Entry> for PortRange {
    type Error = InvalidRange;

    fn try_from(entry: Entry) -> Result<Self, InvalidRange> {
        match entry {
            Entry::One(port) => Self::new(port, port),
            Entry::Stretch { start, end } => Self::new(start, end),
        }
    }
}

impl From<PortRange> for Entry {
    fn from(range: PortRange) -> Self {
        let (start, end) = (range.start(), range.end());
        if start == end { Self::One(start) } else { Self::Stretch { start, end } }
    }
}

/// A list that is not one of reserved ports, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InvalidReserved {
    Range(InvalidRange),
    TooMany(TooManyReserved),
}

impl std::fmt::Display for InvalidReserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range(InvalidRange { start, end }) => write!(f, "start ({start}) must not be above end ({end})"),
            Self::TooMany(too_many) => too_many.fmt(f),
        }
    }
}

impl TryFrom<Vec<Entry>> for Reserved {
    type Error = InvalidReserved;

    fn try_from(entries: Vec<Entry>) -> Result<Self, InvalidReserved> {
        let ranges = entries.into_iter().map(PortRange::try_from).collect::<Result<Vec<_>, _>>();
        let ranges = ranges.map_err(InvalidReserved::Range)?;
        ranges.try_into().map(Self).map_err(InvalidReserved::TooMany)
    }
}

impl From<Reserved> for Vec<Entry> {
    fn from(Reserved(reserved): Reserved) -> Self {
        reserved.stretches().iter().map(|range| Entry::from(*range)).collect()
    }
}

/// A stretch in a request.
#[derive(Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Stretch {
    start: Port,
    end: Port,
}

/// An entry in a request, with its bounds in order.
struct Checked(PortRange);

impl Deserr<Faults> for Checked {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, location: ValuePointerRef<'_>) -> Result<Self, Faults> {
        let entry = match value {
            Value::Map(_) => {
                let Stretch { start, end } = Stretch::deserialize_from_value(value, location)?;
                Entry::Stretch { start, end }
            }
            Value::Integer(_) | Value::NegativeInteger(_) | Value::Float(_) => {
                Entry::One(Port::deserialize_from_value(value, location)?)
            }
            actual => {
                let accepted = &[ValueKind::Integer, ValueKind::Map];
                let error = ErrorKind::IncorrectValueKind { actual, accepted };
                return Err(take_cf_content(Faults::error::<V>(None, error, location)));
            }
        };
        PortRange::try_from(entry)
            .map(Self)
            .map_err(|error| fault::<V, Faults>(InvalidReserved::Range(error), location))
    }
}

impl Deserr<Faults> for Reserved {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, location: ValuePointerRef<'_>) -> Result<Self, Faults> {
        let entries = Vec::<Checked>::deserialize_from_value(value, location)?;
        let ranges: Vec<_> = entries.into_iter().map(|Checked(range)| range).collect();
        ranges.try_into().map(Self).map_err(|error: TooManyReserved| fault::<V, Faults>(error, location))
    }
}
