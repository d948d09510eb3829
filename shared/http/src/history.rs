//! `/v1/ports/{port}/history` and `/v1/services/{service}/history`: who had a port, and when.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use portmaster_domain::{InstanceName, Timestamp};
use portmaster_registry::{Behind, Call, HistoryOf, Span};
use portmaster_wire::{self as wire, Fault};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::filter::{encoded, optional, pairs, single};
use super::outcome::About;
use super::paging::{self, Cursor, Page};
use super::path::{AnyPort, InService};
use super::problem::problems;
use super::{Api, Problem};

problems!(PortProblems: NotFound, PortNotFound, HistoryOff);
problems!(NameProblems: NotFound, ServiceNotFound, HistoryOff);

/// See who had a port, and when, the newest first.
#[utoipa::path(
    get, path = "/v1/ports/{port}/history", operation_id = "getPortHistory", tag = "history",
    params(AnyPort, When, Page<Behind>),
    responses(
        (status = 200, description = "Its tenures, the newest first. With `at`, the one that there was then, if any.",
            body = Vec<wire::Tenure>, headers(("Link" = String, description = "The next page, if there is one."))),
        PortProblems,
    )
)]
pub(super) async fn of_port(
    State(api): State<Api>,
    call: Call,
    AnyPort { namespace, port }: AnyPort,
    when: When,
    page: Page<Behind>,
) -> Result<Response, Problem> {
    let mut response = answer(&api, &call, &HistoryOf::Port(namespace, port), &when, &page, Vec::new()).await?;
    response.extensions_mut().insert(About::port(port));
    Ok(response)
}

/// See which ports a name of a service had, and when, the newest first.
#[utoipa::path(
    get, path = "/v1/services/{service}/history", operation_id = "getServiceHistory", tag = "history",
    params(InService, OfName, When, Page<Behind>),
    responses(
        (status = 200, description = "The tenures of the name, the newest first, also where the service is gone. With \
            `at`, the one that there was then, if any.",
            body = Vec<wire::Tenure>, headers(("Link" = String, description = "The next page, if there is one."))),
        NameProblems,
    )
)]
pub(super) async fn of_name(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
    OfName(name): OfName,
    when: When,
    page: Page<Behind>,
) -> Result<Response, Problem> {
    let parameters = vec![("name", name.to_string())];
    answer(&api, &call, &HistoryOf::Name(service, name), &when, &page, parameters).await
}

async fn answer(
    api: &Api,
    call: &Call,
    of: &HistoryOf,
    when: &When,
    page: &Page<Behind>,
    mut parameters: Vec<(&'static str, String)>,
) -> Result<Response, Problem> {
    let (tenures, next) = match when {
        When::At(at) => (api.registry.history_at(call, of, *at).await?.into_iter().collect(), None),
        When::During(span) => {
            let listed = api.registry.history(call, of, *span, page.cursor.as_ref(), page.limit).await?;
            parameters.extend(when.parameters());
            (listed.items, listed.next)
        }
    };
    let items: Vec<_> = tenures.into_iter().map(wire::Tenure::from).collect();
    Ok(paging::answer(page, parameters, items, next))
}

/// `?at=`, or `?from=` and `?to=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    During(Span),
}

/// `?name=`.
#[derive(Debug)]
pub(super) struct OfName(InstanceName);

impl When {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut time = |parameter: &'static str| {
            let text = single(pairs, parameter)?;
            // In a query a plus that was not encoded is a space.
            match Timestamp::from_rfc3339(&text.replace(' ', "+")) {
                Ok(time) => Some(time),
                Err(error) => {
                    let detail = format!("must be a time such as 2026-11-24T14:05:00Z: {error}");
                    faults.push(Fault::in_parameter(parameter, detail));
                    None
                }
            }
        };
        let (at, from, to) = (time("at"), time("from"), time("to"));
        let others = ["from", "to", "cursor"].into_iter().filter(|other| single(pairs, other).is_some());
        if single(pairs, "at").is_some() {
            faults.extend(others.map(|other| Fault::in_parameter(other, "cannot be combined with at; leave one out")));
        }
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            faults.push(Fault::in_parameter("to", "must not be before from"));
        }
        match at {
            _ if !faults.is_empty() => Err(faults),
            Some(at) => Ok(Self::At(at)),
            None => Ok(Self::During(Span { from, to })),
        }
    }

    /// Its parameters as they stand in a query, encoded, for the link to the next page.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let Self::During(Span { from, to }) = self else { return Vec::new() };
        let times = [("from", from), ("to", to)];
        times.into_iter().filter_map(|(name, time)| Some((name, encoded(&(*time)?.to_rfc3339())))).collect()
    }
}

impl Cursor for Behind {
    fn decode(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl<S: Sync> FromRequestParts<S> for When {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(&pairs(&parts.uri)?).map_err(Problem::invalid)
    }
}

impl<S: Sync> FromRequestParts<S> for OfName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = pairs(&parts.uri)?;
        let fault = |detail: String| Problem::invalid(vec![Fault::in_parameter("name", detail)]);
        let text = single(&pairs, "name").ok_or_else(|| fault("must be given: the instance's name".to_owned()))?;
        InstanceName::try_from(text).map(Self).map_err(|error| fault(error.to_string()))
    }
}

impl IntoParams for When {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let time = || {
            let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
            ObjectBuilder::new().schema_type(Type::String).format(Some(format))
        };
        vec![
            optional("at", "Only the tenure that there was at this time (RFC 3339). An empty list: nobody.", time()),
            optional("from", "Only tenures that had not ended by this time (RFC 3339).", time()),
            optional("to", "Only tenures that had begun by this time (RFC 3339).", time()),
        ]
    }
}

impl IntoParams for OfName {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let name = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(64));
        let mut parameter = optional("name", "The instance's name.", name);
        parameter.required = Required::True;
        vec![parameter]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Result<When, Vec<Fault>> {
        When::parse(&pairs(&format!("/?{text}").parse().unwrap()).unwrap())
    }

    #[test]
    fn times_are_read_and_mistakes_are_named() {
        let at = |text: &str| Timestamp::from_rfc3339(text).unwrap();
        assert_eq!(query(""), Ok(When::During(Span::default())));
        assert_eq!(query("at=2026-11-24T14:05:00Z"), Ok(When::At(at("2026-11-24T14:05:00Z"))));
        assert_eq!(query("at=2026-11-24T15:05:00+01:00"), Ok(When::At(at("2026-11-24T14:05:00Z"))));
        assert_eq!(query("at=2026-11-24T15:05:00%2B01:00"), Ok(When::At(at("2026-11-24T14:05:00Z"))));
        let from = Some(at("2026-11-24T14:05:00Z"));
        assert_eq!(query("from=2026-11-24T14:05:00Z&limit=3"), Ok(When::During(Span { from, to: None })));
        for (bad, faults) in [
            ("at=", 1),
            ("at=yesterday", 1),
            ("at=2026-11-24", 1),
            ("from=x&to=y", 2),
            ("from=2026-11-24T14:05:01Z&to=2026-11-24T14:05:00Z", 1),
            ("at=2026-11-24T14:05:00Z&from=2026-11-24T14:05:00Z", 1),
            ("at=2026-11-24T14:05:00Z&cursor=x&to=2026-11-24T14:05:00Z", 2),
        ] {
            assert_eq!(query(bad).unwrap_err().len(), faults, "{bad}");
        }
    }

    proptest! {
        /// What a link to the next page has in it is the span of this page.
        #[test]
        fn a_span_comes_back(from in prop::option::of(0_i64..4_000_000_000_000), to in prop::option::of(0_i64..4_000_000_000_000)) {
            let ordered = from.zip(to).is_none_or(|(from, to)| from <= to);
            let (from, to) = (from.map(Timestamp::from_millis), to.map(Timestamp::from_millis));
            let when = When::During(Span { from, to });
            let text: Vec<_> = when.parameters().iter().map(|(name, value)| format!("{name}={value}")).collect();
            prop_assert_eq!(query(&text.join("&")).ok(), ordered.then_some(when));
        }

        #[test]
        fn any_query_is_answered(name in "at|from|to", value: String) {
            let _ = When::parse(&[(name, value)]);
        }
    }
}
