//! Bad input: each kind gets its problem document and changes nothing (promise P13).

use reqwest::Method;
use serde_json::{Value, json};

use portmaster_testkit::{Answer, Caller, Stage};

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
    // A gateway may have turned it into text before.
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

/// P13: the detail describes the mistake, and not where a parser stumbled over it.
#[tokio::test]
async fn a_mistake_is_called_what_it_is() {
    let api = Stage::new().await;
    let body = |name: &str, start: &str| format!(r#"{{"name":"{name}","start":{start},"end":5999}}"#);
    for (name, start, pointer, says) in [
        ("web-", "5000", "#/name", "must end with a letter or a digit (A-Z a-z 0-9), not with '-'"),
        (".web", "5000", "#/name", "must begin with a letter or a digit (A-Z a-z 0-9), not with '.'"),
        (
            "web 1",
            "5000",
            "#/name",
            "must not have ' ' in it; it may have letters and digits (A-Z a-z 0-9), with . _ ~ - between them",
        ),
        ("web", "5000.0", "#/start", "must be written without a decimal point or an exponent: 5000"),
        ("web", "5e3", "#/start", "must be written without a decimal point or an exponent: 5000"),
        ("web", "5000.5", "#/start", "a port is a whole number from 1024 to 49151"),
        ("web", "80", "#/start", "a port is a whole number from 1024 to 49151"),
    ] {
        let answer = post(&api, &body(name, start)).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.body["errors"], json!([{ "pointer": pointer, "detail": says }]), "{name} {start}");
        assert_eq!(answer.body["detail"], format!("Correct the field {pointer} of the body: {says}."));
    }
    for (body, says) in [
        (" \n".as_bytes(), "The request has no body; it needs a JSON object."),
        (b"\xef\xbb\xbf{}", "The body begins with a byte order mark. Send UTF-8 without one."),
        (b"'{\"name\":\"web\"}'", "The body begins with a single quote, which JSON does not have."),
        (b"{\"name\":}", "The body is not JSON: expected value at line 1 column 9."),
    ] {
        let answer = raw(&api, Method::POST, "/v1/services", body, "application/json").await;
        let answer = answer.expect_problem(400, "malformed-json");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(says), "{detail}");
    }
    // A gateway may have turned these into text before.
    if !api.is_deployed() {
        for (body, says) in [
            (
                &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"[..],
                "The body is compressed with gzip, and compressed bodies are not accepted. Send plain JSON.",
            ),
            (b"\xff\xfe{\0}\0", "The body is UTF-16 or UTF-32. Send UTF-8."),
            (b"{\0}\0", "The body is UTF-16 or UTF-32. Send UTF-8."),
            (b"{\"name\":\"\xff\"}", "The body is not UTF-8: byte 10 begins no character."),
        ] {
            let answer = raw(&api, Method::POST, "/v1/services", body, "application/json").await;
            assert_eq!(answer.expect_problem(400, "malformed-json").body["detail"], says);
        }
    }
    let good = body("web", "5000").into_bytes();
    for (encoding, status) in [("gzip", 415), ("br", 415), ("GZIP, identity", 415), ("identity", 201)] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let answer = api.send_bytes(Method::POST, "/v1/services", Some(good.clone()), &headers).await.expect(status);
        if status == 415 {
            assert_eq!((answer.kind(), answer.header("accept-encoding")), ("unsupported-media-type", "identity"));
            assert!(answer.body["detail"].as_str().unwrap().contains("Content-Encoding"), "{answer:?}");
        }
    }
    let answer = api.get("/v1/ports/5000.0").await.expect_problem(404, "port-not-found");
    assert!(answer.body["detail"].as_str().unwrap().contains("in digits alone"), "{answer:?}");
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
    // The same without a declared length. (A gateway has declared it.)
    if !api.is_deployed() {
        let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024))));
        let request = portmaster_testkit::http(&api.url).build().unwrap().post(format!("{}/v1/services", api.url));
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
        (Method::POST, "/v1/services/a/ports/x", "DELETE GET HEAD PUT"),
        (Method::PATCH, "/v1/services/a/ports/x", "DELETE GET HEAD PUT"),
        (Method::GET, "/v1/services/a/ports/x/renew", "POST"),
        (Method::GET, "/v1/services/a/sets", "POST"),
        (Method::GET, "/v1/services/a/release", "POST"),
        (Method::POST, "/v1/services/a/map", "GET HEAD"),
        (Method::GET, "/v1/services/a/quarantine/5000", "DELETE"),
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
            ("limit=1&prefix=x", vec!["prefix"]),
            ("Limit=1&page=2", vec!["Limit", "page"]),
        ] {
            let answer = api.get(&format!("{list}?{query}")).await.expect_problem(400, "invalid-request");
            assert_eq!(answer.faults(), faults, "{query}");
        }
        api.get(&format!("{list}?limit=99999999999999999999999")).await.expect(200);
    }
}

/// P13: a call takes the parameters and preconditions that the document declares for it, and no others. If one is
/// refused, the call changes nothing.
#[tokio::test]
async fn what_a_call_does_not_declare_is_refused() {
    let api = Stage::new().await;
    api.service("django", 5000, 5999).await;
    api.service("idle", 7000, 7009).await;
    let port = api.allocate("django", "web-01").await;
    let (_, secret) = api.offer("django", "web-02").await;
    let document: Value = serde_json::from_str(portmaster_http::document()).unwrap();
    let mut calls = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        // A service that could be deleted, a port that could be released, an offer that could be accepted.
        let service = if template.ends_with("{service}") { "idle" } else { "django" };
        let path = template
            .replace("{namespace}", "default")
            .replace("{service}", service)
            .replace("{secret}", &secret)
            .replace("{port_or_name}", "web-01")
            .replace("{port}", &port.to_string())
            .replace("{kind}", "name-taken");
        for (method, operation) in item.as_object().unwrap() {
            calls += 1;
            let method: Method = method.to_uppercase().parse().unwrap();
            let declares = |place: &str, name: &str| {
                let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
                parameters.iter().any(|parameter| parameter["in"] == place && parameter["name"] == name)
            };
            let body = match (method.as_str(), template.ends_with("offers")) {
                ("POST", true) => Some(json!({ "name": "web-03" })),
                ("POST", false) if template.ends_with("/services") => {
                    Some(json!({ "name": "new", "start": 8000, "end": 8009 }))
                }
                ("PUT", _) if template.ends_with("{namespace}") => None,
                ("PUT" | "PATCH", _) => Some(json!({ "start": 7000, "end": 7008 })),
                _ => None,
            };
            for query in ["no-such-parameter=1", "force", "=", "service=django", "%6Eo=", "a=%zz"] {
                let answer = api.send(method.clone(), &format!("{path}?{query}"), body.clone(), &[]).await;
                let answer = answer.expect_problem(400, "invalid-request");
                let named = query.split('=').next().unwrap().replace("%6E", "n");
                assert_eq!(answer.faults(), [named], "{method} {path}?{query}");
            }
            for known in ["limit", "cursor"] {
                let twice = format!("{path}?{known}=1&{known}=1");
                let answer = api.send(method.clone(), &twice, body.clone(), &[]).await;
                let answer = answer.expect_problem(400, "invalid-request");
                let detail = answer.body["errors"][0]["detail"].as_str().unwrap();
                assert_eq!(detail.contains("once"), declares("query", known), "{method} {twice}: {detail}");
            }
            // With the one parameter that a call demands.
            let path = if declares("query", "name") { format!("{path}?name=web-01") } else { path.clone() };
            for header in ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"] {
                let saves_a_copy = method == Method::GET && ["If-None-Match", "If-Modified-Since"].contains(&header);
                let value = if header.ends_with("Match") { "\"x\"" } else { "Sun, 22 Nov 2026 10:00:00 GMT" };
                if declares("header", header) {
                    // It is read: here, it does not hold, or cannot be parsed.
                    let answer = api.send(method.clone(), &path, body.clone(), &[(header, value)]).await;
                    assert!([400, 412].contains(&answer.status.as_u16()), "{method} {path} {header}: {answer:?}");
                } else if saves_a_copy {
                    api.send(method.clone(), &path, body.clone(), &[(header, value)]).await.expect(200);
                } else {
                    let answer = api.send(method.clone(), &path, body.clone(), &[(header, value)]).await;
                    let answer = answer.expect_problem(400, "invalid-request");
                    assert_eq!(answer.faults(), [header], "{method} {path}");
                }
            }
        }
    }
    assert_eq!(calls, 32 + 25);
    // A path that does not exist, or not with this method, is reported first.
    api.get("/v1/nothing?x=1").await.expect_problem(404, "not-found");
    api.delete("/v1/services?x=1").await.expect_problem(405, "method-not-allowed");
    // Nothing was changed.
    let names = api.get("/v1/services").await.expect(200);
    assert_eq!((&names.body[0]["name"], &names.body[1]["end"]), (&json!("django"), &json!(7009)));
    assert_eq!(names.body.as_array().unwrap().len(), 2);
    assert_eq!(api.get("/v1/services/django/ports").await.body.as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/services/django/offers").await.body[0]["name"], "web-02");
}

/// A link can be signed as it stands, and a cursor leads through its own list only.
#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let api = Stage::new().await;
    api.service("celery", 4000, 4099).await;
    api.service("django", 5000, 5099).await;
    for service in ["celery", "django"] {
        for i in 0..2 {
            api.allocate(service, &format!("web-{i}")).await;
            api.offer(service, &format!("web-{}", i + 2)).await;
        }
    }
    let lists = [
        "/v1/services",
        "/v1/services/celery/offers",
        "/v1/services/celery/ports",
        "/v1/services/django/offers",
        "/v1/services/django/ports",
    ];
    for list in lists {
        let link = api.get(&format!("{list}?limit=1")).await.expect(200).next().unwrap();
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, list);
        let names: Vec<_> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(names, ["cursor", "limit"], "sorted, as AWS signs it");
        for other in lists {
            let answer = api.get(&format!("{other}?{query}")).await;
            if other == list {
                assert_eq!(answer.expect(200).body.as_array().unwrap().len(), 1);
            } else {
                let refused = answer.expect_problem(400, "invalid-request");
                assert_eq!(refused.faults(), ["cursor"]);
                assert!(refused.body["detail"].as_str().unwrap().contains("another list"), "{refused:?}");
            }
        }
    }
    // A listing that began under the previous version goes on: "5000" and "celery", as that version wrote its cursors.
    assert_eq!(api.get("/v1/services/django/ports?cursor=NTAwMA").await.expect(200).body[0]["port"], 5000);
    assert_eq!(api.get("/v1/services?cursor=Y2VsZXJ5").await.expect(200).body[0]["name"], "django");
}

/// P13: every kind of problem explains itself, and the document agrees with the server.
#[tokio::test]
async fn problems_explain_themselves() {
    let api = Stage::new().await;
    for kind in portmaster_http::Kind::ALL {
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

/// A valid request id is kept; any other is replaced.
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
