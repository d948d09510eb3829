//! Bad input: every kind of it gets its problem document and changes nothing (promise P13).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Stage};

async fn raw(api: &Caller, method: Method, path: &str, body: impl Into<Vec<u8>>, content_type: &str) -> Answer {
    api.send_bytes(method, path, Some(body.into()), &[("content-type", content_type)]).await
}

async fn post(api: &Caller, body: &str) -> Answer {
    raw(api, Method::POST, "/v1/services", body, "application/json").await
}

/// P13.
#[tokio::test]
async fn what_is_not_json_is_refused() {
    let api = Stage::new().await;
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
        post(&api, body).await.expect_problem(400, "malformed-json");
    }
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    post(&api, &deep).await.expect_problem(400, "malformed-json");
    // A gateway may have made text of it before.
    if !api.is_deployed() {
        let not_utf8 = b"{\"name\":\"\xff\",\"start\":5000,\"end\":5999}";
        let answer = raw(&api, Method::POST, "/v1/services", *not_utf8, "application/json").await;
        answer.expect_problem(400, "malformed-json");
    }
    for declared in ["application/x-www-form-urlencoded", "text/plain", "text/json", "application/jsonx", "json", ""] {
        let answer = raw(&api, Method::POST, "/v1/services", good, declared).await;
        answer.expect_problem(415, "unsupported-media-type");
    }
    for path in ["/v1/services/a", "/v1/services/a/offers"] {
        for method in [Method::PUT, Method::PATCH, Method::POST] {
            if path.ends_with("offers") == (method == Method::POST) {
                raw(&api, method, path, "{", "application/json").await.expect_problem(400, "malformed-json");
            }
        }
    }
    assert_eq!(api.get("/v1/services").await.expect(200).body, json!([]));
    for (i, declared) in ["application/json", "application/json; charset=utf-8", "Application/JSON"].iter().enumerate()
    {
        let body = json!({ "name": format!("s{i}"), "start": 5000 + i * 10, "end": 5009 + i * 10 }).to_string();
        raw(&api, Method::POST, "/v1/services", body, declared).await.expect(201);
    }
    // A body without a declared type is read as JSON.
    let body = Some(json!({ "name": "s9", "start": 6000, "end": 6009 }).to_string().into_bytes());
    api.send_bytes(Method::POST, "/v1/services", body, &[]).await.expect(201);
}

/// P13.
#[tokio::test]
async fn a_body_has_at_most_16_kib() {
    let api = Stage::new().await;
    let good = r#"{"name":"a","start":5000,"end":5999}"#;
    let padded = |size: usize| format!("{good}{}", " ".repeat(size - good.len()));
    post(&api, &padded(16 * 1024 + 1)).await.expect_problem(413, "payload-too-large");
    raw(&api, Method::PUT, "/v1/services/a", padded(1_000_000), "application/json")
        .await
        .expect_problem(413, "payload-too-large");
    // Without a declared length, too. (A gateway has declared it.)
    if !api.is_deployed() {
        let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024))));
        let request = reqwest::Client::new().post(format!("{}/v1/services", api.url));
        let request = request.header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(response.json::<Value>().await.unwrap()["type"], "/problems/payload-too-large");
    }
    assert_eq!(api.get("/v1/services").await.expect(200).body, json!([]));
    post(&api, &padded(16 * 1024)).await.expect(201);
}

/// P13.
#[tokio::test]
async fn an_unknown_path_is_404_and_a_missing_method_405() {
    let api = Stage::new().await;
    for path in ["/", "/v1", "/v1/", "/v1/services/", "/v2/services", "/v1/services/a/offers/", "/V1/services", "//"] {
        api.get(path).await.expect_problem(404, "not-found");
        api.post(path, json!({})).await.expect_problem(404, "not-found");
    }
    if !api.is_deployed() {
        api.get("/v1/services/%FF").await.expect_problem(404, "not-found");
    }
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
        // With CORS, API Gateway answers OPTIONS itself.
        if api.is_deployed() && method == Method::OPTIONS {
            continue;
        }
        let answer = api.send(method.clone(), path, None, &[]).await.expect_problem(405, "method-not-allowed");
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        // API Gateway does not send HEAD where GET goes.
        let allow = if api.is_deployed() { allow.replace(" HEAD", "") } else { allow.to_owned() };
        assert_eq!(methods.join(" "), allow, "{method} {path}");
    }
    if !api.is_deployed() {
        let head = api.send(Method::HEAD, "/v1/services", None, &[]).await.expect(200);
        assert_eq!(head.body, Value::Null);
    }
}

/// P13.
#[tokio::test]
async fn a_bad_page_is_refused() {
    let api = Stage::new().await;
    api.service("django", 5000, 5999).await;
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
            let answer = api.get(&format!("{list}?{query}")).await.expect_problem(400, "invalid-request");
            assert_eq!(answer.faults(), faults, "{query}");
        }
        api.get(&format!("{list}?limit=99999999999999999999999&other=x")).await.expect(200);
    }
}

/// P13: every kind of problem explains itself, and the document says the same as the server.
#[tokio::test]
async fn problems_explain_themselves() {
    let api = Stage::new().await;
    for kind in portmaster_shared::http::Kind::ALL {
        let page = api.get(&kind.type_uri()).await.expect(200);
        let text = page.body.as_str().unwrap();
        assert!(text.contains(kind.title()) && text.contains(kind.explanation()), "{text}");
        assert!(page.header("content-type").starts_with("text/plain"));
    }
    api.get("/problems/nonsense").await.expect_problem(404, "not-found");
    let document = api.get("/v1/openapi.json").await.expect(200);
    assert_eq!(document.body["openapi"], "3.1.0");
    assert_eq!(document.body["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(api.get("/health").await.expect(200).body, json!({ "status": "ok" }));
}

/// A request id that is fit to be one is kept; any other is replaced.
#[tokio::test]
async fn a_request_has_an_id() {
    let api = Stage::new().await;
    let long = "x".repeat(65);
    for (given, kept) in [("build-4711.2", true), ("a b", false), ("<script>", false), (long.as_str(), false)] {
        let answer = api.send(Method::GET, "/v1/nothing", None, &[("x-request-id", given)]).await;
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        assert_eq!(answer.body["instance"], answer.header("x-request-id"));
    }
}
