use axum::http::header;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const RELEASE: &str = "DELETE /v1/services/{service}/ports/{port_or_name}";

/// The event of a call to API Gateway's own domain, with what this module reads of it.
fn event(key: &str, path: &str, values: Value) -> Value {
    let method = key.split_once(' ').map_or("GET", |(method, _)| method);
    json!({
        "version": "2.0", "routeKey": key, "rawPath": path, "rawQueryString": "", "headers": {}, "pathParameters": values,
        "requestContext": {
            "apiId": "abc", "domainName": "abc.execute-api.eu-west-1.amazonaws.com", "stage": "$default", "requestId": "r",
            "http": { "method": method, "path": path },
        },
        "isBase64Encoded": false,
    })
}

fn release(service: &str, port: &str) -> Value {
    json!({ "service": service, "port_or_name": port })
}

/// The path that is served, and where the API begins; none if the request is refused as not found.
fn judged(event: &Value, gateway: &Gateway) -> Option<(String, String)> {
    let request = request(&event.to_string(), gateway);
    match request.extensions().get::<Refused>() {
        Some(Refused(problem)) => {
            assert_eq!(problem.kind(), Kind::NotFound);
            assert_eq!(request.uri(), "/", "what is refused matches no route");
            None
        }
        None => Some((request.uri().path().to_owned(), request.extensions().get::<Mount>().unwrap().0.clone())),
    }
}

fn at(path: &str, mount: &str) -> Option<(String, String)> {
    Some((path.to_owned(), mount.to_owned()))
}

#[test]
fn the_route_that_was_matched_is_served_and_no_other() {
    let gateway = Gateway::default();
    let path = "/v1/services/django/ports/web-01";
    assert_eq!(judged(&event(RELEASE, path, release("django", "web-01")), &gateway), at(path, ""));
    assert_eq!(judged(&event(RELEASE, path, Value::Null), &gateway), at(path, ""));
    for (key, path, values) in [
        // Another route, no route, or a route that is not ours.
        ("GET /v1/services/{service}/ports", path, json!({ "service": "django" })),
        ("DELETE /v1/services/{service}", path, json!({ "service": "django" })),
        ("$default", path, Value::Null),
        ("DELETE /{proxy+}", path, json!({ "proxy": &path[1..] })),
        ("DELETE /", "/", Value::Null),
        ("", path, Value::Null),
        // API Gateway found something else there.
        (RELEASE, path, release("celery", "web-01")),
        (RELEASE, path, release("django", "web-02")),
        // An encoded slash in a value, once it is decoded in the path, makes a longer value ...
        (RELEASE, "/v1/services/django/ports/a/b", release("django", "a/b")),
        // ... or a path that ends like another call's.
        (
            RELEASE,
            "/v1/services/django/ports/v1/services/celery/ports/web-01",
            release("django", "v1/services/celery/ports/web-01"),
        ),
        (RELEASE, "/v1/services/django/ports/v1/services/celery/ports/web-01", Value::Null),
        (RELEASE, "/v1/services/v1/services/celery/ports/web-01", release("v1/services/celery", "web-01")),
        // A whole path of the API is no place where it begins, whatever API Gateway found behind it.
        (RELEASE, "/v1/namespaces/team-a/v1/services/celery/ports/web-01", release("celery", "web-01")),
        // Dot segments, and characters that URL parsers turn into slashes or drop.
        (
            RELEASE,
            "/v1/services/django/ports/../../celery/ports/web-01",
            release("django", "../../celery/ports/web-01"),
        ),
        (RELEASE, "/v1/services/django/ports/..\\..\\celery\\ports\\web-01", release("django", "..\\..\\celery")),
        (RELEASE, "/v1/services/cel\tery/ports/web-01", release("cel\tery", "web-01")),
        (RELEASE, "/v1/services/cel%65ry/ports/web-01", release("cel%65ry", "web-01")),
        (RELEASE, "/v1/services/django/ports/", release("django", "")),
        (RELEASE, "/v1/services//ports/web-01", release("", "web-01")),
        (RELEASE, "", Value::Null),
    ] {
        assert_eq!(judged(&event(key, path, values.clone()), &gateway), None, "{key} {path} {values}");
    }
    let mut other_method = event(RELEASE, path, release("django", "web-01"));
    other_method["requestContext"]["http"]["method"] = json!("GET");
    assert_eq!(judged(&other_method, &gateway), None);
    for no_event in [json!({}), json!([]), json!(7), Value::Null, json!({ "routeKey": 5, "rawPath": ["/"] })] {
        assert_eq!(judged(&no_event, &gateway), None, "{no_event}");
    }
    assert!(request("{\"rawPath\": \"\\ud800\"}", &gateway).extensions().get::<Refused>().is_some());
}

#[test]
fn the_default_route_is_for_the_function_that_catches_all() {
    let catching = Gateway { catches_all: true, ..Gateway::default() };
    let watched = Gateway { serve_default_route: true, ..Gateway::default() };
    let path = "/v1/services/django";
    assert_eq!(judged(&event("$default", path, Value::Null), &catching), at(path, ""));
    assert_eq!(judged(&event("$default", path, Value::Null), &watched), at(path, ""));
    let greedy = event("GET /{proxy+}", path, json!({ "proxy": &path[1..] }));
    assert_eq!(judged(&greedy, &catching), at(path, ""));
    assert_eq!(judged(&greedy, &watched), None);
    let mapped = event("GET /{proxy+}", "/registry/v1/services/django", json!({ "proxy": &path[1..] }));
    assert_eq!(judged(&mapped, &catching), at(path, ""));
    assert_eq!(judged(&event("$default", "/v1/../services", Value::Null), &catching), None);
}

/// Links begin where the caller's URLs do: with the stage on API Gateway's own domain, with the mapping's key on a
/// custom domain, whether API Gateway leaves the key in the path or removes it, as its documentation says.
#[test]
fn links_begin_where_the_api_does() {
    let (plain, mapped) =
        (Gateway::default(), Gateway { mapping: Some("team/registry".to_owned()), ..Gateway::default() });
    let path = "/v1/services/django/ports/web-01";
    let on = |domain: &str, stage: &str, before: &str| {
        let mut event = event(RELEASE, &format!("{before}{path}"), release("django", "web-01"));
        event["requestContext"]["stage"] = json!(stage);
        event["requestContext"]["domainName"] = json!(domain);
        event
    };
    let (own, custom) = ("abc.execute-api.eu-west-1.amazonaws.com", "ports.example.com");
    for (gateway, domain, stage, before, mount) in [
        (&plain, own, "$default", "", ""),
        (&plain, own, "prod", "/prod", "/prod"),
        (&plain, custom, "$default", "", ""),
        (&plain, custom, "prod", "/prod", ""),
        (&plain, custom, "$default", "/registry", "/registry"),
        (&mapped, own, "$default", "", ""),
        (&mapped, own, "prod", "/prod", "/prod"),
        (&mapped, custom, "$default", "", "/team/registry"),
        (&mapped, custom, "prod", "/prod", "/team/registry"),
        (&mapped, custom, "$default", "/team/registry", "/team/registry"),
    ] {
        let event = on(domain, stage, before);
        assert_eq!(judged(&event, gateway), at(path, mount), "{gateway:?} {domain} {stage} {before}");
    }
    // An unknown prefix, with nothing that confirms it.
    let mut unconfirmed = on(custom, "$default", "/registry");
    unconfirmed["pathParameters"] = Value::Null;
    assert_eq!(judged(&unconfirmed, &plain), None);
}

#[test]
fn a_query_is_never_the_end_of_a_request() {
    for (given, seen) in [
        ("", None),
        ("limit=5&cursor=abc%7E", Some("limit=5&cursor=abc%7E")),
        ("x=<", Some("x=%3C")),
        ("x=a#&y=\"{}|\\^`", Some("x=a%23&y=%22%7B%7D%7C%5C%5E%60")),
        ("x=é \t\0", Some("x=%C3%A9%20%09%00")),
        ("%zz&%", Some("%zz&%")),
    ] {
        let mut event = event("GET /v1/services", "/v1/services", Value::Null);
        event["rawQueryString"] = json!(given);
        let request = request(&event.to_string(), &Gateway::default());
        assert!(request.extensions().get::<Refused>().is_none(), "{given}");
        assert_eq!((request.uri().path(), request.uri().query()), ("/v1/services", seen), "{given}");
    }
    let mut endless = event("GET /v1/services", "/v1/services", Value::Null);
    endless["rawQueryString"] = json!("x".repeat(100_000));
    let request = request(&endless.to_string(), &Gateway::default());
    assert_eq!(request.extensions().get::<Refused>().unwrap().0.kind(), Kind::InvalidRequest);
}

/// A precondition that cannot be read must not count as no precondition.
#[test]
fn headers_that_mean_something_are_not_dropped() {
    let with = |name: &str, value: Value| {
        let mut event = event("GET /v1/services", "/v1/services", Value::Null);
        event["headers"] = json!({ name: value, "X-Request-Id": "build-4711" });
        let request = request(&event.to_string(), &Gateway::default());
        assert_eq!(request.headers()["x-request-id"], "build-4711");
        request
    };
    for name in ["If-Match", "if-none-match", "Idempotency-Key", "content-type"] {
        for value in [json!("a\nb"), json!("\u{0}"), json!(5), Value::Null, json!(["a"])] {
            let request = with(name, value);
            assert_eq!(request.extensions().get::<Refused>().unwrap().0.kind(), Kind::InvalidRequest, "{name}");
        }
        assert!(with(name, json!("é")).extensions().get::<Refused>().is_none());
    }
    for (name, value) in [("x-forwarded-proto", json!("a,https")), ("user-agent", json!("a\nb")), ("a b", json!("c"))] {
        assert!(with(name, value).extensions().get::<Refused>().is_none(), "{name}");
    }
    assert_eq!(with("Host", json!("é")).headers()[header::HOST], "é");
}

/// Any text in any place, mostly hostile, and occasionally a value that is not text.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(vec![
            "/v1/services/django/ports/web-01", "/prod/v1/services/django/ports/5000", RELEASE, "$default", "DELETE", "prod",
            "django", "web-01", "abc", "..", "//", "%2F", "\\", "\t", "\0", "é", "<", "a,https", "IA==", "=",
        ]).prop_map(Value::from),
        2 => "[a-z./%\\\\]{0,30}".prop_map(|text| format!("/{text}").into()),
        1 => any::<String>().prop_map(Value::from),
        1 => select(vec![Value::Null, json!(true), json!(-1), json!([]), json!({}), json!({ "a": "b" })]),
    ]
}

const PLACES: [&str; 15] = [
    "/version",
    "/routeKey",
    "/rawPath",
    "/rawQueryString",
    "/headers",
    "/pathParameters",
    "/pathParameters/service",
    "/pathParameters/port_or_name",
    "/requestContext",
    "/requestContext/stage",
    "/requestContext/domainName",
    "/requestContext/http",
    "/requestContext/http/method",
    "/body",
    "/isBase64Encoded",
];

proptest! {
    /// No event causes a panic, and a request that is served is the one that API Gateway matched.
    #[test]
    fn no_event_is_too_wild(changes in vec((select(&PLACES[..]), anything()), 0..4), header in any::<(String, String)>()) {
        let values = release("django", "web-01");
        let mut event = event(RELEASE, "/v1/services/django/ports/web-01", values);
        event["body"] = json!("IA==");
        event["headers"][&header.0] = json!(header.1);
        for (place, value) in changes {
            if let Some(there) = event.pointer_mut(place) {
                *there = value;
            }
        }
        let request = request(&event.to_string(), &Gateway::default());
        if request.extensions().get::<Refused>().is_none() {
            prop_assert_eq!(&event["routeKey"], RELEASE);
            prop_assert_eq!(request.method(), Method::DELETE);
            let path = request.uri().path();
            prop_assert!(target::plain(path).is_ok());
            prop_assert!(event["rawPath"].as_str().unwrap().ends_with(path));
            let segments: Vec<_> = path.split('/').collect();
            prop_assert_eq!((segments.len(), segments[2], segments[4]), (6, "services", "ports"));
            for (name, place) in [("service", 3), ("port_or_name", 5)] {
                if let Some(found) = event["pathParameters"][name].as_str() {
                    prop_assert_eq!(found, segments[place]);
                }
            }
        }
    }

    /// Text that is not an event is refused like any other request.
    #[test]
    fn any_event_is_a_request(text: String) {
        prop_assert!(request(&text, &Gateway::default()).extensions().get::<Refused>().is_some());
    }
}
