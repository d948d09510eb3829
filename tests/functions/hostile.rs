//! Hostile events for every function's binary: a function serves only what API Gateway matched, and no event ends it.

use portmaster_http::ENDPOINTS;
use serde_json::{Value, json};

use portmaster_testkit::Function;

use crate::deployment::{Deployment, binary, event, start};
use crate::template::Template;

const SECRET: &str = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f";

/// Values for the parameters of a path, as API Gateway passes them on: decoded, once or twice.
const SEGMENTS: [&str; 20] = [
    "..",
    ".",
    "../../celery",
    "../celery/ports/worker-1",
    "../../celery/ports/worker-1",
    "..\\..\\celery\\ports\\worker-1",
    "cel\tery",
    "cel\nery",
    "celery ",
    "%2e%2e",
    "..%2f..%2fcelery",
    "c%65lery",
    "a/b",
    "v1/services/celery/ports/worker-1",
    "celery/ports/worker-1",
    "a//b",
    "célery",
    "a\u{0}",
    "a?x=y",
    "a#b",
];

/// A call to a route, with these values in its path.
fn to_route(key: &str, values: &[(&str, &str)]) -> Value {
    let (method, template) = key.split_once(' ').unwrap();
    let fill = |path: String, (name, value): &(&str, &str)| path.replace(&format!("{{{name}}}"), value);
    let path = values.iter().fold(template.to_owned(), fill);
    let mut event = event(method, "/", (method != "GET").then(|| json!([])).as_ref());
    event["routeKey"] = json!(key);
    event["requestContext"]["routeKey"] = json!(key);
    event["pathParameters"] = values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    at(event, &path)
}

fn at(mut event: Value, path: &str) -> Value {
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["path"] = json!(path);
    event
}

/// The names in a route, each with a value that names nothing.
fn names(key: &str) -> Vec<(&str, &'static str)> {
    let names = key.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let value = match name {
                "secret" => SECRET,
                "port" => "5999",
                "kind" => "name-taken",
                _ => "nobody",
            };
            (name, value)
        })
        .collect()
}

async fn send(function: &Function, event: Value) -> (u64, Value) {
    let answer = function.invoke(event).await;
    let body = answer["body"].as_str().unwrap();
    (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

async fn refused(function: &Function, event: Value) {
    let (status, problem) = send(function, event.clone()).await;
    assert_eq!(status, 404, "{event}: {problem}");
    if event["requestContext"]["http"]["method"] != "HEAD" {
        assert_eq!((&problem["type"], &problem["instance"]), (&json!("/problems/not-found"), &json!("r")), "{event}");
    }
    let line = function.log.next_request().await;
    assert_eq!(
        (&line["status"], &line["outcome"], &line["request_id"]),
        (&json!(404), &json!("not-found"), &json!("r"))
    );
}

/// Creates the service, the port and the offer that the events are aimed at.
async fn victims(cloud: &mut Deployment) -> Value {
    for (name, start, end) in [("django", 5000, 5009), ("celery", 6000, 6009)] {
        let service = json!({ "name": name, "start": start, "end": end });
        assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
        let path = format!("/v1/services/{name}/offers");
        let (_, offer) = cloud.call("create-offer", "POST", &path, Some(json!({ "name": "worker-1" }))).await;
        let accept = format!("{path}/{}/accept", offer["secret"].as_str().unwrap());
        assert_eq!(cloud.call("accept-offer", "POST", &accept, None).await.0, 201);
    }
    everything(cloud).await
}

async fn everything(cloud: &mut Deployment) -> Value {
    let mut all = vec![cloud.call("list-services", "GET", "/v1/services", None).await.1];
    for service in ["django", "celery"] {
        for list in ["offers", "ports"] {
            let path = format!("/v1/services/{service}/{list}");
            all.push(cloud.call(&format!("list-{list}"), "GET", &path, None).await.1);
        }
    }
    all.into()
}

/// Sends every value that must not come through, in every place of the path of every route of every function. Each is a
/// 404, is in the log with its id, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_function_serves_the_path_that_was_authorized() {
    let mut cloud = Deployment::new().await;
    let before = victims(&mut cloud).await;
    let template = Template::read();
    let mut count = 0;
    for endpoint in ENDPOINTS {
        let function = start(endpoint.function, &cloud.database).await;
        for key in template.routes_of(endpoint.function) {
            let catches_all = key.ends_with(" /") || key.ends_with("{proxy+}");
            let names = names(&key);
            for hostile in SEGMENTS {
                // A path that exists, but not with this method.
                let is_there = catches_all && hostile.starts_with("v1/");
                for place in 0..if is_there { 0 } else { names.len() } {
                    let mut values = names.clone();
                    values[place].1 = hostile;
                    // The service that the caller may use, so that any other call that is reached is one that it may
                    // not make.
                    for (_, value) in values.iter_mut().filter(|(name, value)| (*name, *value) == ("service", "nobody"))
                    {
                        *value = "django";
                    }
                    refused(&function, to_route(&key, &values)).await;
                    count += 1;
                }
            }
            // The route that API Gateway matched disagrees with the path.
            let good = to_route(&key, &names);
            let path = good["rawPath"].as_str().unwrap().to_owned();
            for wrong in [
                format!("/{path}"),
                format!("{path}/.."),
                format!("/x/..{path}"),
                path.replacen('/', "\\", 1),
                path.replacen('/', "/\t", 1),
                path.replacen('/', "/./", 1),
                String::new(),
            ] {
                refused(&function, at(good.clone(), &wrong)).await;
                count += 1;
            }
            if catches_all {
                continue;
            }
            for wrong in [format!("{path}/x"), "/v1/services/celery/ports/worker-1/x".to_owned()] {
                refused(&function, at(good.clone(), &wrong)).await;
            }
            for wrong in ["$default", "GET /{proxy+}", "PATCH /nothing", "", "DELETE", "BREW /v1/services"] {
                // The one function that catches all may be asked for its own pages in this way.
                if !(endpoint.function == "pages" && ["$default", "GET /{proxy+}"].contains(&wrong)) {
                    let mut event = good.clone();
                    event["routeKey"] = json!(wrong);
                    refused(&function, event).await;
                }
            }
            for (name, _) in &names {
                let mut event = good.clone();
                event["pathParameters"][*name] = json!("celery");
                refused(&function, event).await;
            }
        }
    }
    assert!(count > 700, "{count}");
    assert_eq!(everything(&mut cloud).await, before);
}

/// Queries and headers that once ended a function before it began, and other malformed members: every function answers,
/// and as it would without them; only a member that it reads and cannot parse is a 400.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_and_no_header_ends_a_function() {
    let mut cloud = Deployment::new().await;
    let before = victims(&mut cloud).await;
    let template = Template::read();
    for endpoint in ENDPOINTS {
        let function = start(endpoint.function, &cloud.database).await;
        let keys = template.routes_of(endpoint.function);
        for key in keys.iter().filter(|key| !key.contains('+') && !key.starts_with("HEAD")) {
            let good = to_route(key, &names(key));
            let (usual, answer) = send(&function, good.clone()).await;
            assert!(usual < 500, "{key}: {answer}");
            for query in ["x=<", "<", "%zz", "x=#&\"{}|\\^`", "é=\u{0}", "&&&=&", "limit=%00&cursor=<"] {
                let mut event = good.clone();
                event["rawQueryString"] = json!(query);
                let (status, answer) = send(&function, event).await;
                let named = (status, &answer["type"]) == (400, &json!("/problems/invalid-request"));
                assert!(status == usual || named, "{key} {query}: {answer}");
            }
            for (name, value) in [
                ("x-forwarded-proto", json!("a,https")),
                ("x-forwarded-port", json!("none")),
                ("host", json!("a b/../c:99999")),
                ("host", json!("é")),
                ("x-request-id", json!("a\nb")),
                ("content-length", json!("-1")),
                ("user-agent", json!("\u{0}")),
                ("a header", json!("x")),
                ("", json!("x")),
                ("x-null", Value::Null),
            ] {
                let mut event = good.clone();
                event["headers"][name] = value;
                let (status, answer) = send(&function, event).await;
                assert_eq!(status, usual, "{key} {name}: {answer}");
            }
            for (name, value) in [("if-match", "\"a\u{0}b\""), ("idempotency-key", "a\nb"), ("content-type", "a\r\nb")]
            {
                let mut event = good.clone();
                event["headers"][name] = json!(value);
                let (status, answer) = send(&function, event).await;
                assert_eq!((status, &answer["type"]), (400, &json!("/problems/invalid-request")), "{key} {name}");
                assert!(answer["detail"].as_str().unwrap().contains(name), "{answer}");
            }
        }
        // JSON that is no event at all.
        for event in [json!({}), json!([]), Value::Null, json!("x"), json!({ "requestContext": 5, "headers": [] })] {
            assert_eq!(send(&function, event).await.0, 404);
        }
        let mut event = to_route(&keys[0], &names(&keys[0]));
        event["isBase64Encoded"] = json!(true);
        event["body"] = json!("=not base64=");
        assert_eq!(send(&function, event).await.0, 400);
    }
    assert_eq!(everything(&mut cloud).await, before);
}

/// Behind a custom domain's API mapping, links begin with the mapping's key, which the events do not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_honour_an_api_mapping() {
    let mut cloud = Deployment::new().await;
    let url = cloud.database.url().unwrap().to_owned();
    let mapped = [("API_MAPPING", "registry")];
    let (create, offer, list) = (
        Function::start(&binary("create-service"), &url, &mapped).await,
        Function::start(&binary("create-offer"), &url, &mapped).await,
        Function::start(&binary("list-services"), &url, &mapped).await,
    );
    let behind = |domain: &str, mut event: Value| {
        event["requestContext"]["domainName"] = json!(domain);
        event
    };
    let own = "abc.execute-api.eu-west-1.amazonaws.com";
    for (number, (domain, root)) in [("ports.example.com", "/registry"), (own, "")].into_iter().enumerate() {
        let (name, start) = (format!("django-{number}"), 5000 + 10 * number);
        let service = json!({ "name": name, "start": start, "end": start + 9 });
        let answer = create.invoke(behind(domain, event("POST", "/v1/services", Some(&service)))).await;
        assert_eq!(answer["headers"]["location"], format!("{root}/v1/services/{name}"), "{answer}");
        let path = format!("/v1/services/{name}/offers");
        let answer = offer.invoke(behind(domain, event("POST", &path, Some(&json!({ "name": "web-01" }))))).await;
        let location = answer["headers"]["location"].as_str().unwrap();
        assert!(location.starts_with(&format!("{root}{path}/")), "{answer}");
    }
    let answer = list.invoke(behind("ports.example.com", event("GET", "/v1/services?limit=1", None))).await;
    let link = answer["headers"]["link"].as_str().unwrap();
    assert!(link.starts_with("</registry/v1/services?") && link.ends_with(">; rel=\"next\""), "{link}");
    // Where API Gateway does leave the key in the path, no setting is needed.
    let mut request = behind("ports.example.com", event("GET", "/v1/services?limit=1", None));
    request["rawPath"] = json!("/team/ports/v1/services");
    let answer = cloud.function("list-services").await.invoke(request).await;
    assert!(answer["headers"]["link"].as_str().unwrap().starts_with("</team/ports/v1/services?"), "{answer}");
}

/// A named stage is part of the path on API Gateway's own domain, and so of the links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_is_no_part_of_the_route() {
    let mut cloud = Deployment::new().await;
    let service = json!({ "name": "django", "start": 5000, "end": 5009 });
    let mut request = event("POST", "/v1/services", Some(&service));
    request["rawPath"] = json!("/prod/v1/services");
    request["requestContext"]["stage"] = json!("prod");
    let answer = cloud.function("create-service").await.invoke(request).await;
    assert_eq!(
        (&answer["statusCode"], &answer["headers"]["location"]),
        (&json!(201), &json!("/prod/v1/services/django"))
    );
}

/// `cargo lambda watch` has no routes but `$default`. A function serves that one only where its settings allow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_route_is_served_only_where_it_is_asked_for() {
    let cloud = Deployment::new().await;
    let mut request = event("GET", "/v1/services", None);
    request["routeKey"] = json!("$default");
    request["pathParameters"] = Value::Null;
    for (more, status) in [(&[][..], 404), (&[("SERVE_DEFAULT_ROUTE", "true")][..], 200)] {
        let function = Function::start(&binary("list-services"), cloud.database.url().unwrap(), more).await;
        assert_eq!(function.invoke(request.clone()).await["statusCode"], status);
    }
}
