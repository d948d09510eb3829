//! The OpenAPI 3.1 document, generated from the handlers and kept as a file: generating it takes every handler, and the
//! function that serves it would have to link all of them.

use std::collections::BTreeMap;

use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Tag};

use super::{ENDPOINTS, Kind, Routes};

const PROBLEM: &str = "Problem";

/// The document, as JSON. A test compares it with [`generate`].
#[must_use]
pub fn document() -> &'static str {
    include_str!("../../../docs/openapi.json")
}

/// Generates the document from the handlers.
#[must_use]
pub fn generate() -> String {
    let mut text = build().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn build() -> OpenApi {
    let routes = ENDPOINTS.iter().fold(Routes::new(), |routes, endpoint| routes.merge((endpoint.routes)()));
    let (_, mut document) = routes.split_for_parts();
    document.info = InfoBuilder::new()
        .title("Portmaster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Hands out network ports, never the same one twice. A service has a range; an instance asks for a port and \
             gets an offer, which it accepts or rejects with a secret; an offer that is not accepted expires. A pipeline \
             asks with one PUT, which it may repeat, for as long as it needs the port.",
        ))
        .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build()))
        .build();
    document.tags = Some(vec![
        tag("namespaces", "Port spaces of their own, for hosts, clusters or teams. Paths without one mean `default`."),
        tag("services", "Services, each with a range of ports of its own."),
        tag("offers", "Ports held for an instance until it accepts or rejects them."),
        tag("ports", "Ports that an instance has, until it releases them or their lease ends."),
        tag("history", "Who had a port, and when."),
        tag("about", "The registry itself."),
    ]);
    let components = document.components.get_or_insert_default();
    components.schemas.insert(PROBLEM.to_owned(), RefOr::T(problem_schema()));
    document
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.to_owned());
    tag
}

/// The responses with these kinds of problem, one per status.
pub(super) fn problem_responses(kinds: &[Kind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<_, Vec<Kind>>::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    let response = |kinds: Vec<Kind>| {
        let words: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.slug(), kind.title())).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(PROBLEM))).build();
        ResponseBuilder::new().description(words.join(" ")).content("application/problem+json", content).build()
    };
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), RefOr::T(response(kinds)))).collect()
}

/// A problem of RFC 9457, with the members that this API adds.
fn problem_schema() -> Schema {
    let text =
        |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description)).build();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.type_uri()).collect();
    let kind = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uri-reference".to_owned())))
        .description(Some("The kind of problem; a GET there explains it."))
        .enum_values(Some(kinds))
        .build();
    let status = ObjectBuilder::new().schema_type(Type::Integer).description(Some("The status of the answer.")).build();
    let fault: Object = ObjectBuilder::new()
        .property("pointer", text("Where in the body: a JSON Pointer as a URI fragment."))
        .property("parameter", text("Or which parameter of the query or the path."))
        .property("header", text("Or which header."))
        .property("detail", text("The value that is expected there."))
        .required("detail")
        .build();
    let faults = ArrayBuilder::new().items(fault).description(Some("Every mistake in the request.")).build();
    let problem = ObjectBuilder::new()
        .description(Some("The problem, and the next step (RFC 9457)."))
        .property("type", kind)
        .property("title", text("The same few words for every problem of the kind."))
        .property("status", status)
        .property("detail", text("This occurrence with its numbers, and the next step."))
        .property("instance", text("The id of the request."))
        .property("errors", faults)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    let required = ["type", "title", "status", "detail", "instance"];
    Schema::Object(required.into_iter().fold(problem, |problem, name| problem.required(name)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each path that a `Location`, a `Link` or a `detail` names is a path of the API.
    #[test]
    fn the_paths_that_answers_name_are_routes() {
        use portmaster_domain::{Namespace, Port, Secret, ServiceId, ServiceName};
        use portmaster_wire::path;

        let secret = Secret::generate(Port::MIN);
        let filled = |template: &str| {
            let path = template.replace("{service}", "django").replace("{secret}", &secret.expose());
            let path = path.replace("{namespace}", "team-a").replace("{port_or_name}", "web-01");
            path.replace("{port}", "1024")
        };
        let document: serde_json::Value = serde_json::from_str(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let mut routes: Vec<_> =
            paths.keys().filter(|path| path.starts_with("/v1/")).map(|path| filled(path)).collect();
        routes.retain(|path| path != "/v1/openapi.json");
        let mut built = vec![path::namespaces(), path::namespace(&Namespace::try_from("team-a").unwrap())];
        for namespace in ["default", "team-a"].map(|name| Namespace::try_from(name).unwrap()) {
            let service = ServiceId::new(namespace.clone(), ServiceName::try_from("django").unwrap());
            built.extend([
                path::services(&namespace),
                path::service(&service),
                path::offers(&service),
                path::offer(&service, secret),
                path::accept(&service, secret),
                path::reject(&service, secret),
                path::ports(&service),
                path::port(&service, "web-01"),
                path::renew(&service, "web-01"),
                path::sets(&service),
                path::release(&service),
                path::import(&service),
                path::map(&service),
                path::quarantine(&service, Port::MIN),
                path::any_port(&namespace, Port::MIN),
                path::port_history(&namespace, Port::MIN),
                path::service_history(&service),
            ]);
        }
        routes.sort();
        built.sort();
        assert_eq!(built, routes);
    }

    #[test]
    fn the_file_is_what_the_handlers_say() {
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json"), generate()).unwrap();
            return;
        }
        assert!(
            document() == generate(),
            "docs/openapi.json is not up to date: UPDATE_OPENAPI=1 cargo test -p portmaster-http openapi"
        );
    }
}
