//! Segments of a path. What cannot name anything is simply not found; the problem says what would be a name.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{Kind, Problem};
use portmaster_domain::{InstanceName, Port, Secret, ServiceName};
use portmaster_registry::{Error, PortOrName};

/// The variable segments of a path, as text.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            // A segment that is not UTF-8 once it is decoded.
            Err(_) => Err(Problem::new(Kind::NotFound, "A segment of the path is not UTF-8. Check how it is encoded.")),
        }
    }
}

pub(super) fn service(text: &str) -> Result<ServiceName, Problem> {
    ServiceName::try_from(text).map_err(|error| {
        Problem::new(Kind::ServiceNotFound, format!("No service can have the name in the path: a name {error}."))
    })
}

/// A service, and the secret of an offer of it. The text of what is no secret is not repeated: it may be somebody's with a
/// typing error in it.
pub(super) fn offer((name, secret): &(String, String)) -> Result<(ServiceName, Secret), Problem> {
    let service = service(name)?;
    match Secret::parse(secret) {
        Ok(secret) => Ok((service, secret)),
        Err(_) => Err(Error::OfferNotFound { service, accepted: None }.into()),
    }
}

pub(super) fn port(text: &str) -> Result<Port, Problem> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| Port::new(number).ok()).ok_or_else(|| {
        let detail =
            format!("No service can have the port in the path: {}, in digits alone.", portmaster_domain::InvalidPort);
        Problem::new(Kind::PortNotFound, detail)
    })
}

/// Digits alone are a port; anything else is a name.
pub(super) fn port_or_name(text: &str) -> Result<PortOrName, Problem> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return port(text).map(PortOrName::Port);
    }
    InstanceName::try_from(text).map(PortOrName::Name).map_err(|error| {
        Problem::new(Kind::PortNotFound, format!("No instance can have the name in the path: a name {error}."))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_segment_is_answered(text: String) {
            let _ = (service(&text), offer(&("django".to_owned(), text.clone())), port(&text), port_or_name(&text));
        }

        #[test]
        fn digits_are_ports_and_nothing_else_is(text in "[0-9a-z.]{1,6}") {
            match port_or_name(&text) {
                Ok(PortOrName::Port(port)) => prop_assert_eq!(port.get(), text.parse::<u16>().unwrap()),
                Ok(PortOrName::Name(name)) => prop_assert!(name.as_str().chars().any(|c| !c.is_ascii_digit())),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn a_sign_is_no_digit() {
        assert!(port("+5000").is_err() && port("-5000").is_err() && port("").is_err());
        assert_eq!(port("05000").unwrap().get(), 5000);
    }
}
