//! Parameters of the query that say which ports are meant: `name_prefix`, `owner`, `label`.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query};
use http::Uri;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portmaster_domain::{Labels, Owner};
use portmaster_registry::{By, ListFilter};
use portmaster_wire::{Fault, NamePrefix};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::{Kind, Problem};

/// Everything but RFC 3986's unreserved characters: the form in which AWS signs a value.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The claims that a list is to include. All that is given must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(ListFilter);

/// `?owner=`: in whose name a port is released.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InNameOf {
    Anybody,
    Holder(Option<Owner>),
}

/// `?usage=true`: whether to tell how full the services were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WithUsage(pub(super) bool);

/// The parameters of a query, decoded.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
        Problem::new(Kind::InvalidRequest, format!("The query cannot be read: {}.", error.body_text()))
    })?;
    Ok(query.0)
}

/// The only value of a parameter. The middleware `declared` has checked that it occurs once.
pub(super) fn single<'a>(pairs: &'a [(String, String)], parameter: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == parameter).map(|(_, value)| value.as_str())
}

impl Filter {
    /// The filter, in the registry's words.
    pub(super) fn wanted(&self) -> &ListFilter {
        &self.0
    }

    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let name_prefix = single(pairs, "name_prefix").map(|text| NamePrefix::try_from(text.to_owned()));
        let name_prefix = name_prefix.transpose().unwrap_or_else(|error| {
            faults.push(Fault::in_parameter("name_prefix", error.to_string()));
            None
        });
        let owner = single(pairs, "owner").map(Owner::try_from).transpose().unwrap_or_else(|error| {
            faults.push(Fault::in_parameter("owner", error.to_string()));
            None
        });
        let labels = labels(pairs.iter().filter(|(name, _)| name == "label").map(|(_, value)| value.as_str()));
        match labels {
            Ok(labels) if faults.is_empty() => {
                Ok(Self(ListFilter { name_prefix: name_prefix.map(Into::into), owner, labels }))
            }
            Ok(_) => Err(faults),
            Err(detail) => {
                faults.push(Fault::in_parameter("label", detail));
                Err(faults)
            }
        }
    }

    /// Its parameters as they stand in a query, encoded, for the link to the next page.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let ListFilter { name_prefix, owner, labels } = &self.0;
        let labels = labels.iter().map(|(key, value)| ("label", encoded(&format!("{key}:{value}"))));
        let prefix = name_prefix.iter().map(|prefix| ("name_prefix", encoded(prefix)));
        let owner = owner.iter().map(|owner| ("owner", encoded(owner.as_str())));
        labels.chain(prefix).chain(owner).collect()
    }
}

/// A value as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `key:value`, each key once.
fn labels<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Labels, String> {
    let mut labels = BTreeMap::new();
    for text in texts {
        let Some((key, value)) = text.split_once(':') else {
            return Err("must be key:value, as in label=run:17".to_owned());
        };
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err("names one key twice; a label has one value".to_owned());
        }
    }
    Labels::try_from(labels).map_err(|error| error.to_string())
}

impl InNameOf {
    /// The same in the registry's words.
    pub(super) fn by(&self) -> By<'_> {
        match self {
            Self::Anybody => By::Anybody,
            Self::Holder(owner) => By::Holder(owner.as_ref()),
        }
    }

    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<Fault>> {
        match single(pairs, "owner") {
            Some("*") => Ok(Self::Anybody),
            None => Ok(Self::Holder(None)),
            Some(text) => match Owner::try_from(text) {
                Ok(owner) => Ok(Self::Holder(Some(owner))),
                Err(error) => Err(vec![Fault::in_parameter("owner", error.to_string())]),
            },
        }
    }
}

impl WithUsage {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<Fault>> {
        match single(pairs, "usage") {
            None | Some("false") => Ok(Self(false)),
            Some("true") => Ok(Self(true)),
            Some(_) => Err(vec![Fault::in_parameter("usage", "must be true or false")]),
        }
    }

    /// Its parameter as it stands in a query, for the link to the next page.
    pub(super) fn parameters(self) -> Vec<(&'static str, String)> {
        if self.0 { vec![("usage", "true".to_owned())] } else { Vec::new() }
    }
}

impl<S: Sync> FromRequestParts<S> for WithUsage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(&pairs(&parts.uri)?).map_err(Problem::invalid)
    }
}

impl IntoParams for WithUsage {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "`true`: tell also how full each service was when the reconciler last came by.";
        vec![optional("usage", description, ObjectBuilder::new().schema_type(Type::Boolean))]
    }
}

impl<S: Sync> FromRequestParts<S> for Filter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(&pairs(&parts.uri)?).map_err(Problem::invalid)
    }
}

impl<S: Sync> FromRequestParts<S> for InNameOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(&pairs(&parts.uri)?).map_err(Problem::invalid)
    }
}

/// A parameter of the query that may be left out, for the OpenAPI document.
pub(super) fn optional(name: &str, description: &str, schema: impl Into<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(RefOr::T(schema.into())))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

impl IntoParams for Filter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            optional(
                "name_prefix",
                "Only those whose name begins like this.",
                text().min_length(Some(1)).max_length(Some(64)),
            ),
            optional("owner", "Only those of this owner.", text().min_length(Some(1)).max_length(Some(128))),
            optional(
                "label",
                "Only those with this label, as `key:value`. May be repeated; then all of them must be there.",
                ArrayBuilder::new().items(text()),
            ),
        ]
    }
}

impl IntoParams for InNameOf {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Who holds the port, if it has an owner; `*`: whoever holds it.";
        vec![optional("owner", description, text().min_length(Some(1)).max_length(Some(128)))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Vec<(String, String)> {
        pairs(&format!("/?{text}").parse().unwrap()).unwrap()
    }

    fn faulty(text: &str) -> Vec<String> {
        let place = |fault: Fault| match fault.at {
            portmaster_wire::At::Parameter(name) => name.into_owned(),
            other => panic!("{other:?}"),
        };
        Filter::parse(&query(text)).unwrap_err().into_iter().map(place).collect()
    }

    #[test]
    fn filters_are_read_and_mistakes_are_named() {
        assert_eq!(Filter::parse(&query("limit=3")).unwrap(), Filter::default());
        let filter = Filter::parse(&query("name_prefix=run-17.&owner=gh%2Fa%20b&label=run:17&label=leg:a:b")).unwrap();
        let shown = filter.wanted();
        assert_eq!(shown.name_prefix.as_deref(), Some("run-17."));
        assert_eq!(shown.owner.as_ref().map(Owner::as_str), Some("gh/a b"));
        assert_eq!(shown.labels.iter().collect::<Vec<_>>(), [("leg", "a:b"), ("run", "17")]);
        for bad in ["name_prefix=", "name_prefix=-a", "name_prefix=a%20b", &format!("name_prefix={}", "a".repeat(65))] {
            assert_eq!(faulty(bad), ["name_prefix"], "{bad}");
        }
        for bad in ["owner=", "owner=*", "owner=%C3%BC", &format!("owner={}", "a".repeat(129))] {
            assert_eq!(faulty(bad), ["owner"], "{bad}");
        }
        let nine = (0..9).map(|n| format!("label=k{n}:v")).collect::<Vec<_>>().join("&");
        for bad in ["label=", "label=run", "label=:17", "label=Run:17", "label=run:1&label=run:2", &nine] {
            assert_eq!(faulty(bad), ["label"], "{bad}");
        }
        assert_eq!(faulty("label=x&owner=&name_prefix=").len(), 3);
    }

    #[test]
    fn usage_is_told_when_it_is_asked_for() {
        let parse = |text: &str| WithUsage::parse(&query(text)).map(|with| with.0);
        assert_eq!((parse(""), parse("usage=false"), parse("usage=true")), (Ok(false), Ok(false), Ok(true)));
        for bad in ["usage=", "usage", "usage=1", "usage=True", "usage=yes"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_released_in_somebodys_name() {
        let parse = |text: &str| InNameOf::parse(&query(text));
        assert_eq!(parse(""), Ok(InNameOf::Holder(None)));
        assert_eq!(parse("owner=*"), Ok(InNameOf::Anybody));
        assert_eq!(parse("owner=%2A"), Ok(InNameOf::Anybody));
        assert_eq!(parse("owner=a%2Fb"), Ok(InNameOf::Holder(Some("a/b".try_into().unwrap()))));
        assert!(parse("owner=").is_err() && parse("owner=%20a").is_err() && parse("owner=%0A").is_err());
    }

    proptest! {
        /// What a link to the next page has in it is the filter of this page.
        #[test]
        fn a_filter_comes_back(prefix in "[a-z][a-z.~_-]{0,9}", owner in "[!-)+-~]([ -~]{0,20}[!-~])?", value in "[ -~]{0,20}") {
            let labels = BTreeMap::from([("run".to_owned(), value), ("leg".to_owned(), "0".to_owned())]);
            let owner = Some(owner.as_str().try_into().unwrap());
            let filter = Filter(ListFilter { name_prefix: Some(prefix), owner, labels: labels.try_into().unwrap() });
            let parameters = filter.parameters();
            let text: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            prop_assert!(parameters.is_sorted());
            prop_assert_eq!(Filter::parse(&query(&text.join("&"))).unwrap(), filter);
        }

        #[test]
        fn any_query_is_answered(name in "name_prefix|owner|label", value: String) {
            let pairs = [(name, value)];
            let _ = (Filter::parse(&pairs), InNameOf::parse(&pairs));
        }
    }
}
