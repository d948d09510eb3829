//! Bad input: every kind of it gets its problem document and changes nothing (promise P13).

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, World};

async fn raw(world: &World, method: Method, path: &str, body: impl Into<Vec<u8>>, content_type: &str) -> Answer {
    world.api.send_bytes(method, path, Some(body.into()), &[("content-type", content_type)]).await
}

async fn post(world: &World, body: &str) -> Answer {
    raw(world, Method::POST, "/v1/services", body, "application/json").await
}

/// P13: all mistakes at once, each with its place.
#[tokio::test]
async fn every_mistake_in_a_body_is_named() {
    let world = World::new().await;
    for (body, faults) in [
        (r#"{}"#, vec!["#/end", "#/name", "#/start"]),
        (r#"{"name":"a","start":5000}"#, vec!["#/end"]),
        (r#"{"name":"a","start":5000,"end":5000}"#, vec!["#/start"]),
        (r#"{"name":"a","start":6000,"end":5000}"#, vec!["#/start"]),
        (r#"{"name":"a","start":1023,"end":5000}"#, vec!["#/start"]),
        (r#"{"name":"a","start":5000,"end":49152}"#, vec!["#/end"]),
        (r#"{"name":"a","start":-1,"end":99999999999999999999}"#, vec!["#/end", "#/start"]),
        (r#"{"name":"a","start":"5000","end":5999.0}"#, vec!["#/end", "#/start"]),
        (r#"{"name":"a","start":5e3,"end":true}"#, vec!["#/end", "#/start"]),
        (r#"{"name":"a","start":null,"end":[5000]}"#, vec!["#/end", "#/start"]),
        (r#"{"name":7,"start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"a b","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"a\u0000b","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"-a","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"../a","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"é","start":5000,"end":5999}"#, vec!["#/name"]),
        (r#"{"name":"a","start":5000,"end":5999,"descripton":"x"}"#, vec!["#/descripton"]),
        (r#"{"name":"a","start":5000,"end":5999,"a/b~c d":1}"#, vec!["#/a~1b~0c%20d"]),
        (r#"{"name":"a","start":5000,"end":5999,"description":"\u0000"}"#, vec!["#/description"]),
        (r#"{"name":"a","start":5000,"end":5999,"description":5}"#, vec!["#/description"]),
        (r#"{"name":"a","start":5000,"end":5999,"strategy":"best"}"#, vec!["#/strategy"]),
        (r#"{"name":"a","start":5000,"end":5999,"strategy":["lowest"]}"#, vec!["#/strategy"]),
        (r#"{"name":"-","start":6000,"end":5000,"x":1}"#, vec!["#/name", "#/start", "#/x"]),
        (r#"[]"#, vec!["#"]),
        (r#""name""#, vec!["#"]),
        (r#"null"#, vec!["#"]),
    ] {
        let answer = post(&world, body).await.expect_problem(400, "invalid-request");
        let mut named = answer.faults();
        named.sort_unstable();
        assert_eq!(named, faults, "{body}: {answer:?}");
    }
    for (field, length) in [("name", 65), ("description", 1025)] {
        let mut body = json!({ "name": "a", "start": 5000, "end": 5999 });
        body[field] = json!("a".repeat(length));
        let answer = world.api.post("/v1/services", body).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.faults(), [format!("#/{field}")]);
    }
    assert_eq!(world.api.get("/v1/services").await.expect(200).body, json!([]));

    world.api.service("django", 5000, 5999).await;
    for (body, fault) in [
        (json!({}), "#/name"),
        (json!({ "name": "5000" }), "#/name"),
        (json!({ "name": "web-01", "port": 5000 }), "#/port"),
        (json!({ "name": { "first": "web" } }), "#/name"),
        (json!({ "name": "a".repeat(65) }), "#/name"),
    ] {
        let answer = world.api.post("/v1/services/django/offers", body).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").faults(), [fault]);
    }
    assert_eq!(world.api.get("/v1/services/django/offers").await.expect(200).body, json!([]));
    world.assert_healthy().await;
}

/// P13.
#[tokio::test]
async fn what_is_not_json_is_refused() {
    let world = World::new().await;
    let good = r#"{"name":"a","start":5000,"end":5999}"#;
    for body in [
        "",
        " ",
        "{",
        "nonsense",
        r#"{"name":"a","start":5000,"end":5999"#,
        r#"{"name":"a","start":5000,"end":5999}}"#,
        r#"{'name':'a'}"#,
        r#"{"name":"a","name":"b","start":5000,"end":5999}"#,
        r#"{"name":"a","start":5000,"end":5999,"x":{"y":1,"y":2}}"#,
        r#"{"name":"\ud800","start":5000,"end":5999}"#,
        r#"{"name":"a","start":05000,"end":5999}"#,
        r#"{"name":"a","start":NaN,"end":5999}"#,
        "\u{feff}{}",
    ] {
        post(&world, body).await.expect_problem(400, "malformed-json");
    }
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    post(&world, &deep).await.expect_problem(400, "malformed-json");
    let not_utf8 = b"{\"name\":\"\xff\",\"start\":5000,\"end\":5999}";
    raw(&world, Method::POST, "/v1/services", *not_utf8, "application/json")
        .await
        .expect_problem(400, "malformed-json");
    for declared in ["application/x-www-form-urlencoded", "text/plain", "text/json", "application/jsonx", "json", ""] {
        let answer = raw(&world, Method::POST, "/v1/services", good, declared).await;
        answer.expect_problem(415, "unsupported-media-type");
    }
    for path in ["/v1/services/a", "/v1/services/a/offers"] {
        for method in [Method::PUT, Method::PATCH, Method::POST] {
            if path.ends_with("offers") == (method == Method::POST) {
                raw(&world, method, path, "{", "application/json").await.expect_problem(400, "malformed-json");
            }
        }
    }
    assert_eq!(world.api.get("/v1/services").await.expect(200).body, json!([]));
    for (i, declared) in ["application/json", "application/json; charset=utf-8", "Application/JSON"].iter().enumerate()
    {
        let body = json!({ "name": format!("s{i}"), "start": 5000 + i * 10, "end": 5009 + i * 10 }).to_string();
        raw(&world, Method::POST, "/v1/services", body, declared).await.expect(201);
    }
    // A body without a declared type is read as JSON.
    let body = Some(json!({ "name": "s9", "start": 6000, "end": 6009 }).to_string().into_bytes());
    world.api.send_bytes(Method::POST, "/v1/services", body, &[]).await.expect(201);
}

/// P13.
#[tokio::test]
async fn a_body_has_at_most_16_kib() {
    let world = World::new().await;
    let good = r#"{"name":"a","start":5000,"end":5999}"#;
    let padded = |size: usize| format!("{good}{}", " ".repeat(size - good.len()));
    post(&world, &padded(16 * 1024 + 1)).await.expect_problem(413, "payload-too-large");
    raw(&world, Method::PUT, "/v1/services/a", padded(1_000_000), "application/json")
        .await
        .expect_problem(413, "payload-too-large");
    // Without a declared length, too.
    let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024))));
    let request = reqwest::Client::new().post(format!("{}/v1/services", world.api.url));
    let request = request.header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.json::<Value>().await.unwrap()["type"], "/problems/payload-too-large");
    assert_eq!(world.api.get("/v1/services").await.expect(200).body, json!([]));
    post(&world, &padded(16 * 1024)).await.expect(201);
}

/// P13.
#[tokio::test]
async fn an_unknown_path_is_404_and_a_missing_method_405() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v1/", "/v1/services/", "/v2/services", "/v1/services/a/offers/", "/V1/services", "//"] {
        world.api.get(path).await.expect_problem(404, "not-found");
        world.api.post(path, json!({})).await.expect_problem(404, "not-found");
    }
    world.api.get("/v1/services/%FF").await.expect_problem(404, "not-found");
    for (method, path, allow) in [
        (Method::PUT, "/v1/services", "GET HEAD POST"),
        (Method::POST, "/v1/services/a", "DELETE GET HEAD PATCH PUT"),
        (Method::OPTIONS, "/v1/services", "GET HEAD POST"),
        (Method::DELETE, "/v1/services/a/offers", "GET HEAD POST"),
        (Method::PUT, "/v1/services/a/offers/x", "DELETE GET HEAD"),
        (Method::PATCH, "/v1/services/a/offers/x", "DELETE GET HEAD"),
        (Method::GET, "/v1/services/a/offers/x/accept", "POST"),
        (Method::GET, "/v1/services/a/offers/x/reject", "POST"),
        (Method::POST, "/v1/services/a/ports", "GET HEAD"),
        (Method::PUT, "/v1/services/a/ports/x", "DELETE GET HEAD"),
        (Method::PATCH, "/v1/services/a/ports/x", "DELETE GET HEAD"),
        (Method::DELETE, "/v1/ports/5000", "GET HEAD"),
        (Method::POST, "/health", "GET HEAD"),
    ] {
        let answer = world.api.send(method.clone(), path, None, &[]).await.expect_problem(405, "method-not-allowed");
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(" "), allow, "{method} {path}");
    }
    let head = world.api.send(Method::HEAD, "/v1/services", None, &[]).await.expect(200);
    assert_eq!(head.body, Value::Null);
}

/// P13.
#[tokio::test]
async fn a_bad_page_is_refused() {
    let world = World::new().await;
    world.api.service("django", 5000, 5999).await;
    for list in ["/v1/services", "/v1/services/django/offers", "/v1/services/django/ports"] {
        for (query, faults) in [
            ("limit=0", vec!["limit"]),
            ("limit=-1", vec!["limit"]),
            ("limit=ten", vec!["limit"]),
            ("limit=1&limit=2", vec!["limit"]),
            ("cursor=%21", vec!["cursor"]),
            ("cursor=AAAA", vec!["cursor"]),
            ("limit=&cursor=", vec!["limit", "cursor"]),
        ] {
            let answer = world.api.get(&format!("{list}?{query}")).await.expect_problem(400, "invalid-request");
            assert_eq!(answer.faults(), faults, "{query}");
        }
        world.api.get(&format!("{list}?limit=99999999999999999999999&other=x")).await.expect(200);
    }
}

/// P13: every kind of problem explains itself, and the document says the same as the server.
#[tokio::test]
async fn problems_explain_themselves() {
    let world = World::new().await;
    for kind in portmaster_shared::http::Kind::ALL {
        let page = world.api.get(&kind.type_uri()).await.expect(200);
        let text = page.body.as_str().unwrap();
        assert!(text.contains(kind.title()) && text.contains(kind.explanation()), "{text}");
        assert!(page.header("content-type").starts_with("text/plain"));
    }
    world.api.get("/problems/nonsense").await.expect_problem(404, "not-found");
    let document = world.api.get("/v1/openapi.json").await.expect(200);
    assert_eq!(document.body["openapi"], "3.1.0");
    assert_eq!(document.body["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(world.api.get("/health").await.expect(200).body, json!({ "status": "ok" }));
}

/// A request id that is fit to be one is kept; any other is replaced.
#[tokio::test]
async fn a_request_has_an_id() {
    let world = World::new().await;
    let long = "x".repeat(65);
    for (given, kept) in [("build-4711.2", true), ("a b", false), ("<script>", false), (long.as_str(), false)] {
        let answer = world.api.send(Method::GET, "/v1/nothing", None, &[("x-request-id", given)]).await;
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        assert_eq!(answer.body["instance"], answer.header("x-request-id"));
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (1000u64..50_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[A-Za-z0-9.~_-]{1,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

/// Bodies that are nearly right: known fields with any values, and some that are unknown.
fn near_miss() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        4 => prop::sample::select(vec!["name", "start", "end", "description", "strategy"]).prop_map(str::to_owned),
        1 => ".{0,12}",
    ];
    prop::collection::vec((field, json_value()), 0..6)
        .prop_map(|fields| Value::from(serde_json::Map::from_iter(fields)))
}

/// P13: no input whatever makes a 500. The client checks that every answer is one the OpenAPI document announces.
#[test]
fn no_input_makes_a_500() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let methods = prop::sample::select(vec![Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]);
    let segment = prop_oneof![
        3 => prop::sample::select(vec!["v1", "services", "offers", "ports", "accept", "reject", "problems", "health"])
            .prop_map(str::to_owned),
        1 => Just("138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f".to_owned()),
        1 => (0u32..70_000).prop_map(|port| port.to_string()),
        1 => "[A-Za-z0-9.~_-]{1,70}",
        1 => "(%[0-9A-F]{2}){1,8}",
    ];
    let known =
        prop::sample::select(vec!["/v1/services", "/v1/services/a", "/v1/services/a/offers"]).prop_map(str::to_owned);
    let paths =
        prop_oneof![known, prop::collection::vec(segment, 0..7).prop_map(|parts| format!("/{}", parts.join("/")))];
    let bodies = prop_oneof![
        near_miss().prop_map(|body| body.to_string().into_bytes()),
        json_value().prop_map(|body| body.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        cases: 600,
        ..ProptestConfig::default()
    });
    runner
        .run(&(methods, paths, prop::option::of(bodies)), |(method, path, body)| {
            runtime.block_on(async {
                let json = [("content-type", "application/json")];
                let headers = if body.is_some() { &json[..] } else { &[] };
                let answer = world.api.send_bytes(method.clone(), &path, body.clone(), headers).await;
                prop_assert!(answer.status.as_u16() < 500, "{} {}: {:?}", method, path, answer);
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(world.assert_healthy());
}
