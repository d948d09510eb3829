//! The parameters of a path, as types. A segment that cannot name anything is not found, and the problem says which
//! names are valid.
//!
//! Each extractor also declares its parameters for the OpenAPI document, so that a handler names it only once.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header;
use http::request::Parts;
use portmaster_domain::{InstanceName, InvalidPort, Namespace, Port, Secret, ServiceId, ServiceName};
use portmaster_registry::{Error, PortOrName};
use portmaster_wire::Fault;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::{Kind, Problem};

/// The variable segments of a path, as text, by name.
pub(super) struct Segments(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => Ok(Self(params.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect())),
            // The segment, once decoded, is not UTF-8.
            Err(_) => Err(Problem::new(Kind::NotFound, "A segment of the path is not UTF-8. Check how it is encoded.")),
        }
    }
}

impl Segments {
    /// The segment of this name; empty if the path has none.
    pub(super) fn named(&self, wanted: &str) -> &str {
        self.0.iter().find(|(name, _)| name == wanted).map_or("", |(_, text)| text)
    }

    /// The namespace: `default` if the path names none.
    fn namespace(&self) -> Result<Namespace, Problem> {
        match self.named(NAMESPACE.0) {
            "" => Ok(Namespace::default()),
            text => namespace(text),
        }
    }
}

/// The longer path of the namespace `default`, if the caller used it: advice has it as well. The middleware puts it into
/// the request.
#[derive(Clone)]
pub(super) struct LongPath(pub(super) Option<String>);

/// `{namespace}`: a namespace that may exist; `default` if the path names none.
pub(super) struct OfNamespace(pub(super) Namespace);

/// `{namespace}`: a namespace to be created. An invalid name is a mistake in the request.
pub(super) struct ToBeNamespace(pub(super) Namespace);

/// `{service}`: a service that may exist.
pub(super) struct InService(pub(super) ServiceId);

/// `{service}`: a service to be created. An invalid name is a mistake in the request, like one in its body.
pub(super) struct ToBeService(pub(super) ServiceId);

/// `{service}` and `{secret}`: an offer.
pub(super) struct OfOffer {
    pub(super) service: ServiceId,
    pub(super) secret: Secret,
}

/// `{service}` and `{port_or_name}`: an allocated port of a service.
pub(super) struct OfPort {
    pub(super) service: ServiceId,
    pub(super) wanted: PortOrName,
}

/// `{service}` and `{port_or_name}`: a name that is to have a port. An invalid one is a mistake in the request.
pub(super) struct ToBePort {
    pub(super) service: ServiceId,
    pub(super) name: InstanceName,
}

/// `{service}` and `{port}`: a port of a service, whoever has it.
pub(super) struct InRange {
    pub(super) service: ServiceId,
    pub(super) port: Port,
}

/// `{port}`: a port, whatever its service.
pub(super) struct AnyPort {
    pub(super) namespace: Namespace,
    pub(super) port: Port,
}

/// Extractors from the namespace, if it can be one, and the text of the segments.
macro_rules! from_segments {
    ($($extractor:ident = $read:expr; $($parameter:expr),+;)*) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $extractor {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let segments = Segments::from_request_parts(parts, state).await?;
                type Read = fn(Result<Namespace, Problem>, [&str; [$($parameter),+].len()]) -> Result<$extractor, Problem>;
                let read: Read = $read;
                read(segments.namespace(), [$($parameter),+].map(|(name, _)| segments.named(name)))
            }
        }

        impl IntoParams for $extractor {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                [$($parameter),+].into_iter().map(parameter).collect()
            }
        }
    )*};
}

const NAMESPACE: (&str, &str) = ("namespace", "The namespace's name.");
const SERVICE: (&str, &str) = ("service", "The service's name.");

from_segments! {
    OfNamespace = |namespace, [_]| namespace.map(Self);
        NAMESPACE;
    ToBeNamespace = |_, [name]| match Namespace::try_from(name) {
        Ok(name) => Ok(Self(name)),
        Err(error) => Err(Problem::invalid(vec![Fault::in_parameter("namespace", error.to_string())])),
    };
        NAMESPACE;
    InService = |namespace, [name]| service(namespace?, name).map(Self);
        SERVICE;
    ToBeService = |namespace, [name]| match (namespace?, ServiceName::try_from(name)) {
        (namespace, Ok(name)) => Ok(Self(ServiceId::new(namespace, name))),
        (_, Err(error)) => Err(Problem::invalid(vec![Fault::in_parameter("service", error.to_string())])),
    };
        SERVICE;
    OfOffer = |namespace, [name, text]| offer(namespace?, name, text);
        SERVICE, ("secret", "The offer's secret.");
    OfPort = |namespace, [name, text]| Ok(Self { service: service(namespace?, name)?, wanted: port_or_name(text)? });
        SERVICE, ("port_or_name", "The port, or the instance's name.");
    ToBePort = |namespace, [name, text]| Ok(Self { service: service(namespace?, name)?, name: new_name(text)? });
        SERVICE, ("port_or_name", "The instance's name. Not digits alone.");
    InRange = |namespace, [name, text]| Ok(Self { service: service(namespace?, name)?, port: port(text)? });
        SERVICE, ("port", "The port.");
    AnyPort = |namespace, [text]| Ok(Self { namespace: namespace?, port: port(text)? });
        ("port", "The port.");
}

/// The parameter of every path below a namespace.
pub(super) fn namespace_parameter() -> Parameter {
    parameter(NAMESPACE)
}

fn parameter((name, description): (&str, &str)) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(RefOr::T(Schema::Object(text))))
        .build()
}

fn namespace(text: &str) -> Result<Namespace, Problem> {
    Namespace::try_from(text).map_err(|error| {
        Problem::new(Kind::NamespaceNotFound, format!("No namespace can have the name in the path: a name {error}."))
    })
}

fn service(namespace: Namespace, text: &str) -> Result<ServiceId, Problem> {
    ServiceName::try_from(text).map(|name| ServiceId::new(namespace, name)).map_err(|error| {
        Problem::new(Kind::ServiceNotFound, format!("No service can have the name in the path: a name {error}."))
    })
}

/// A segment that is not a secret is not repeated: it may be a real one with a typing error.
fn offer(namespace: Namespace, name: &str, secret: &str) -> Result<OfOffer, Problem> {
    let service = service(namespace, name)?;
    match Secret::parse(secret) {
        Ok(secret) => Ok(OfOffer { service, secret }),
        Err(_) => Err(Error::OfferNotFound { service, accepted: None }.into()),
    }
}

fn port(text: &str) -> Result<Port, Problem> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| Port::new(number).ok()).ok_or_else(|| {
        let detail = format!("No service can have the port in the path: {InvalidPort}, in digits alone.");
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

/// A name that is to have a port.
fn new_name(text: &str) -> Result<InstanceName, Problem> {
    let fault = |detail: String| Problem::invalid(vec![Fault::in_parameter("port_or_name", detail)]);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // As it always was: a port by its number has no PUT.
        let detail = "A port is put by the name of its instance, not by its number; a certain port is asked for with the \
                      field port of the body.";
        return Err(Problem::new(Kind::MethodNotAllowed, detail).header(header::ALLOW, "GET,DELETE"));
    }
    InstanceName::try_from(text).map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_segment_is_answered(text: String) {
            let here = Namespace::default;
            let _ = (namespace(&text), service(here(), &text), offer(here(), "django", &text));
            let _ = (port(&text), port_or_name(&text), new_name(&text));
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
    fn digits_alone_are_no_new_name() {
        for text in ["5000", "0", "123456789"] {
            let problem = new_name(text).unwrap_err();
            assert_eq!(problem.kind(), Kind::MethodNotAllowed);
            assert!(String::from_utf8(problem.document("id")).unwrap().contains("the field port of the body"));
        }
        assert_eq!(new_name("web-01").unwrap().as_str(), "web-01");
    }

    #[test]
    fn a_sign_is_no_digit() {
        assert!(port("+5000").is_err() && port("-5000").is_err() && port("").is_err());
        assert_eq!(port("05000").unwrap().get(), 5000);
    }
}
