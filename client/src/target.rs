//! What a call is about.

use std::fmt;
use std::str::FromStr;

use portmaster_domain::{InstanceName, InvalidName, InvalidPort, Port};

/// A port of a service: by its number, or by the name of its holder. A name is never digits alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOrName {
    /// The number.
    Port(Port),
    /// The name of the holder.
    Name(InstanceName),
}

/// A text that is neither a port nor a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// It consists of digits, and is not a port.
    #[error("{0}")]
    Port(InvalidPort),
    /// It is not a name.
    #[error("{0}")]
    Name(InvalidName),
}

impl FromStr for PortOrName {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number too large for the type is no port either; 0 is refused with the same words.
            let port = Port::new(text.parse().unwrap_or(0)).map_err(InvalidTarget::Port)?;
            return Ok(Self::Port(port));
        }
        InstanceName::try_from(text).map(Self::Name).map_err(InvalidTarget::Name)
    }
}

impl fmt::Display for PortOrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl From<Port> for PortOrName {
    fn from(port: Port) -> Self {
        Self::Port(port)
    }
}

impl From<InstanceName> for PortOrName {
    fn from(name: InstanceName) -> Self {
        Self::Name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_port() {
        assert_eq!("5000".parse(), Ok(PortOrName::Port(Port::new(5000).unwrap())));
        assert_eq!("web-1".parse(), Ok(PortOrName::Name("web-1".try_into().unwrap())));
        for bad in ["80", "99999", "4294967297", ""] {
            assert!(bad.parse::<PortOrName>().is_err(), "{bad}");
        }
    }
}
