//! Generated bad input: whatever the body is, the answer describes what is wrong with it, and nothing changes (promise
//! P13).

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};

use portmaster_testkit::{Answer, World};

async fn raw(world: &World, method: Method, path: &str, body: impl Into<Vec<u8>>, content_type: &str) -> Answer {
    world.api.send_bytes(method, path, Some(body.into()), &[("content-type", content_type)]).await
}

async fn post(world: &World, body: &str) -> Answer {
    raw(world, Method::POST, "/v1/services", body, "application/json").await
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

/// P13: all mistakes are reported at once, each with its place.
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
        (json!({ "name": "web-01", "ports": 5000 }), "#/ports"),
        (json!({ "name": "web-01", "port": 80 }), "#/port"),
        (json!({ "name": { "first": "web" } }), "#/name"),
        (json!({ "name": "a".repeat(65) }), "#/name"),
    ] {
        let answer = world.api.post("/v1/services/django/offers", body).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").faults(), [fault]);
    }
    assert_eq!(world.api.get("/v1/services/django/offers").await.expect(200).body, json!([]));
    world.assert_healthy().await;
}

/// P13: a URL resolves dot segments before it is sent, so the path that is requested is not the one that was written.
/// The document announces the answers of the path that was sent.
#[tokio::test]
async fn a_path_with_dots_is_answered_as_what_it_is_sent_as() {
    let world = World::new().await;
    for (written, sent) in [
        ("/problems/./offers", "/problems/offers"),
        ("/problems/%2E/offers", "/problems/offers"),
        ("/v1/../v1/./services", "/v1/services"),
        ("/v1/services/a/%2e%2e/%2e%2E", "/v1/"),
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let send = async |path| world.api.send_bytes(method.clone(), path, None, &[]).await;
            let answers = [send(written).await, send(sent).await];
            assert_eq!((answers[0].status, answers[0].kind()), (answers[1].status, answers[1].kind()), "{written}");
        }
    }
    world.assert_healthy().await;
}

/// P13: no input whatever causes a 500. The client checks that the OpenAPI document announces every answer.
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

/// P13: a body that does not arrive is not reported as bad JSON, and is not waited for beyond the request's time.
#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_timeout() {
    use std::time::Duration;

    use portmaster_http::{Api, api};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let world = World::new().await;
    let router = api(Api { registry: world.registry.clone(), timeout: Duration::from_millis(200) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head =
        "POST /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n";
    stream.write_all(format!("{head}{{\"name\":").as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let problem: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(problem["type"], "/problems/request-timeout");
    assert!(problem["detail"].as_str().unwrap().contains("did not arrive in the time"), "{problem}");
    assert_eq!(world.api.get("/v1/services").await.expect(200).body, json!([]));
}
