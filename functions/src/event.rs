//! Converts an HTTP API's event (payload format 2.0) into a request, and a response into the form that the API expects.
//!
//! API Gateway has authorized the call before it arrives here: IAM checked the method and the path. So the request that
//! is served must be the one that IAM saw. The event has the decoded path and nothing about its original form;
//! therefore a path that can be read in more than one way is not found ([`target`]), and the rest must be the route
//! that API Gateway matched, with the values that it found there. No event makes this module panic or fail: each
//! becomes a request or a problem.

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portmaster_http::target::{self, Mount, Refused};
use portmaster_http::{Kind, Origin, Problem};
use serde_json::{Map, Value, json};

/// The gateway in front of a function, as far as it matters to the function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// `API_MAPPING`: the key of the API mapping that connects the custom domain to the API, without slashes around it.
    /// Events do not contain it (*API Gateway Developer Guide*, "Payload format differences").
    pub mapping: Option<String>,
    /// `SERVE_DEFAULT_ROUTE`: whether a request that matched no route but `$default` is served by its path alone.
    /// `cargo lambda watch` knows no other route. In the cloud it would take the decision out of IAM's hands.
    pub serve_default_route: bool,
    /// Whether this function receives every request that no other function's route matches.
    pub(crate) catches_all: bool,
}

/// The path of the route that API Gateway matched, which the router must match too.
#[derive(Clone)]
struct Route(String);

/// The headers that the registry evaluates. Any other header that cannot be read counts as absent; these do not.
const RECOGNIZED: [&str; 4] = ["content-type", "idempotency-key", "if-match", "if-none-match"];

/// The event as a request. It carries [`Refused`] if it must not be served.
pub(crate) fn request(event: &str, gateway: &Gateway) -> Request {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let context = &event["requestContext"];
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(Origin {
        gateway_request_id: text(&context["requestId"]),
        principal: text(&context["authorizer"]["iam"]["userArn"]),
        ..Origin::default()
    });
    if let Err(problem) = fill(&mut request, &event, gateway) {
        request.extensions_mut().insert(Refused(problem));
    }
    request
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Fills in everything that can be read, even if the request is refused, since its method and its id are logged.
fn fill(request: &mut Request, event: &Value, gateway: &Gateway) -> Result<(), Problem> {
    let method = event["requestContext"]["http"]["method"].as_str().unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| other_route())?;
    let (headers, unreadable) = headers(event["headers"].as_object());
    *request.headers_mut() = headers;
    *request.method_mut() = method;

    let served = served(event, gateway, request.method())?;
    *request.uri_mut() = uri(&served.path, event["rawQueryString"].as_str().unwrap_or_default())?;
    request.extensions_mut().insert(Mount(served.mount));
    if let Some(route) = served.route {
        request.extensions_mut().insert(Route(route));
    }
    if let Some(name) = unreadable {
        let detail = format!("The header {name} has characters that no header can have. Correct it.");
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    *request.body_mut() = body(event)?;
    Ok(())
}

/// The part of an event's path that is served.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    path: String,
    /// Where the API begins, as the caller sees it.
    mount: String,
    route: Option<String>,
}

fn served(event: &Value, gateway: &Gateway, method: &Method) -> Result<Served, Problem> {
    let path = event["rawPath"].as_str().unwrap_or_default();
    target::plain(path)?;
    let stage = event["requestContext"]["stage"].as_str().filter(|stage| *stage != "$default");
    let stage = stage.map(|stage| format!("/{stage}"));
    let key = event["routeKey"].as_str().unwrap_or_default();
    let (of_key, template) = key.split_once(' ').unwrap_or(("", key));
    if template == "$default" || ["/", "/{proxy+}"].contains(&template) {
        let may = gateway.catches_all || (template == "$default" && gateway.serve_default_route);
        if !may || (template != "$default" && of_key != method.as_str()) {
            return Err(other_route());
        }
        // The path is all that depends here on where the API begins: the other functions write the links.
        let proxy = event["pathParameters"]["proxy"].as_str().map(|proxy| format!("/{proxy}"));
        let path = match (proxy, stage) {
            (Some(proxy), _) if path.ends_with(&proxy) => proxy,
            (_, Some(stage)) => after(path, &stage).unwrap_or(path).to_owned(),
            _ => path.to_owned(),
        };
        return Ok(Served { path, mount: String::new(), route: None });
    }
    let matched = matched(template, path).filter(|_| of_key == method.as_str());
    let (before, values) = matched.ok_or_else(other_route)?;
    // A path may begin with a stage or the key of a mapping, which no route contains. The text before the route is
    // accepted if it is one of those, or if API Gateway found the same values behind it: otherwise `%2F` in a value
    // could turn the rest of the path into another service's.
    let mapping = gateway.mapping.as_ref().map(|key| format!("/{key}"));
    // Text that is itself a path of the API is neither: a policy may be about that.
    let known = before.is_empty() || [stage.as_deref(), mapping.as_deref()].contains(&Some(before));
    if !known && before.starts_with("/v1/") {
        return Err(other_route());
    }
    let found = &event["pathParameters"];
    let agrees = |(name, value): &(&str, &str)| match found[name].as_str() {
        Some(found) => found == *value,
        None => known,
    };
    if !values.iter().all(agrees) {
        return Err(other_route());
    }
    let beyond_stage = stage.as_deref().and_then(|stage| before.strip_prefix(stage)).unwrap_or(before);
    let mount = match beyond_stage {
        _ if is_own_domain(&event["requestContext"]) => before.to_owned(),
        // A custom domain shows no stage but the mapping's key, which is either absent from the path or at its beginning.
        "" => mapping.unwrap_or_default(),
        beyond => beyond.to_owned(),
    };
    let path = path.strip_prefix(before).unwrap_or(path).to_owned();
    Ok(Served { path, mount, route: Some(template.to_owned()) })
}

/// Whether the caller used the name that API Gateway gave the API, and not a custom domain.
fn is_own_domain(context: &Value) -> bool {
    match (context["apiId"].as_str(), context["domainName"].as_str()) {
        (Some(id), Some(domain)) => after(domain, id).is_some_and(|rest| rest.starts_with('.')),
        _ => true,
    }
}

fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix).filter(|rest| !rest.is_empty())
}

/// The text before a route in a path that ends with it, and the values of the route's parameters.
fn matched<'a>(template: &'a str, path: &'a str) -> Option<(&'a str, Vec<(&'a str, &'a str)>)> {
    let (mut before, mut values) = (path, Vec::new());
    for expected in template.strip_prefix('/')?.rsplit('/') {
        let (rest, segment) = before.rsplit_once('/')?;
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !segment.is_empty() => values.push((name, segment)),
            None if segment == expected => {}
            _ => return None,
        }
        before = rest;
    }
    Some((before, values))
}

fn other_route() -> Problem {
    Problem::new(
        Kind::NotFound,
        "The path does not match the route that API Gateway matched. Send it plain: no character in a name needs \
         encoding.",
    )
}

/// Path and query. Characters that a query cannot contain are encoded, so that a problem can name the parameter at
/// fault.
fn uri(path: &str, query: &str) -> Result<Uri, Problem> {
    let mut text = path.to_owned();
    if !query.is_empty() {
        text.push('?');
    }
    for byte in query.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    let parsed = PathAndQuery::try_from(text);
    parsed.map(Uri::from).map_err(|_| Problem::new(Kind::InvalidRequest, "The query is too long. Send a shorter one."))
}

/// The headers that can be read, and the name of an evaluated one that cannot.
fn headers(given: Option<&Map<String, Value>>) -> (HeaderMap, Option<&'static str>) {
    let (mut headers, mut unreadable) = (HeaderMap::new(), None);
    for (name, value) in given.into_iter().flatten() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        match value.as_str().map(|value| HeaderValue::from_bytes(value.as_bytes())) {
            Some(Ok(value)) => drop(headers.insert(name, value)),
            _ => unreadable = unreadable.or_else(|| RECOGNIZED.into_iter().find(|known| name.as_str() == *known)),
        }
    }
    (headers, unreadable)
}

fn body(event: &Value) -> Result<Body, Problem> {
    let Some(text) = event["body"].as_str() else { return Ok(Body::empty()) };
    if event["isBase64Encoded"] != true {
        return Ok(text.to_owned().into());
    }
    let decoded = STANDARD.decode(text);
    decoded
        .map(Body::from)
        .map_err(|_| Problem::new(Kind::MalformedJson, "The body is marked as Base64 but cannot be decoded."))
}

/// Middleware around every route: refuses a request for which the router matched another route than API Gateway.
pub(crate) async fn same_route(mut request: Request, next: Next) -> Response {
    let expected = request.extensions_mut().remove::<Route>();
    let refused = request.extensions().get::<Refused>().is_some();
    if let Some(Route(expected)) = expected.filter(|_| !refused)
        && request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) != Some(&expected)
    {
        request.extensions_mut().insert(Refused(other_route()));
    }
    next.run(request).await.into_response()
}

/// A response in the form that the API expects.
pub(crate) async fn answer(response: Response) -> Result<Value, axum::Error> {
    let (parts, body) = response.into_parts();
    let mut headers = Map::new();
    for name in parts.headers.keys() {
        let values: Vec<_> =
            parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), values.join(", ").into());
    }
    let bytes = to_bytes(body, usize::MAX).await?;
    let (body, encoded) = match String::from_utf8(bytes.to_vec()) {
        Ok(text) => (text, false),
        Err(error) => (STANDARD.encode(error.as_bytes()), true),
    };
    Ok(json!({
        "statusCode": parts.status.as_u16(), "headers": headers, "body": body, "isBase64Encoded": encoded, "cookies": [],
    }))
}

#[cfg(test)]
mod tests;
