//! No web page can use the registry on one machine through the browser that shows it: the registry has no
//! authentication, so it looks at the headers that a page cannot choose (`Host`, `Origin`). Paths that can be read in
//! two ways are not found.

use serde_json::{Value, json};

use crate::process::Process;
use crate::wire::{exchange, status};
use portmaster_testkit::{Caller, embedded_or_skip};

/// Sends a request as it stands; returns status and body.
async fn send(api: &Caller, head: &str, body: &str) -> (u16, Value) {
    let address = api.url.strip_prefix("http://").unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{head}\r\n{length}Connection: close\r\n\r\n{body}").replace("ADDRESS", address);
    let answer = exchange(address, request.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status(&answer).unwrap_or(0), serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

const CREATE: &str = r#"{"name": "evil", "start": 7000, "end": 7009}"#;

#[tokio::test]
async fn another_sites_page_can_do_nothing() {
    if !embedded_or_skip("another_sites_page_can_do_nothing") {
        return;
    }
    let process = Process::start(&["--in-memory", "--allow-host", "ports.example.com"]).await;
    let api = &process.api;
    for (headers, expected, kind) in [
        // The content types that a page may send without a preflight.
        ("Host: ADDRESS\r\nOrigin: http://evil.example", 403, "cross-origin"),
        ("Host: ADDRESS\r\nOrigin: http://evil.example\r\nContent-Type: text/plain", 403, "cross-origin"),
        ("Host: ADDRESS\r\nOrigin: http://evil.example\r\nContent-Type: application/json", 403, "cross-origin"),
        ("Host: ADDRESS\r\nOrigin: null", 403, "cross-origin"),
        ("Host: ADDRESS\r\nOrigin: http://localhost:1", 403, "cross-origin"),
        ("Host: ADDRESS\r\nSec-Fetch-Site: cross-site", 403, "cross-origin"),
        // A host name of the page's own that resolves to this server.
        ("Host: evil.example", 421, "misdirected-request"),
        (
            "Host: evil.example\r\nOrigin: http://evil.example\r\nContent-Type: application/json",
            421,
            "misdirected-request",
        ),
        ("Host: evil.example:8080\r\nOrigin: http://ADDRESS", 421, "misdirected-request"),
        ("Host: ADDRESS\r\nHost: ADDRESS", 400, "invalid-request"),
        ("Accept: */*", 400, "invalid-request"),
        ("Host: ADDRESS\r\nOrigin: http://ADDRESS", 415, "unsupported-media-type"),
    ] {
        let (status, problem) = send(api, &format!("POST /v1/services HTTP/1.1\r\n{headers}"), CREATE).await;
        assert_eq!((status, &problem["type"]), (expected, &json!(format!("/problems/{kind}"))), "{headers}");
        assert!(!problem["instance"].is_null(), "{problem}");
        if [403, 421].contains(&status) {
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("--allow-host") && detail.contains("PORTMASTER_ALLOW_HOST"), "{detail}");
        }
    }
    let absolute = "POST http://evil.example/v1/services HTTP/1.1\r\nHost: ADDRESS\r\nContent-Type: application/json";
    assert_eq!(send(api, absolute, CREATE).await.0, 421);
    // It cannot read either.
    assert_eq!(send(api, "GET /v1/services HTTP/1.1\r\nHost: evil.example", "").await.0, 421);
    assert_eq!(send(api, "GET /v1/services HTTP/1.1\r\nHost: ADDRESS\r\nOrigin: http://evil.example", "").await.0, 403);
    let preflight = "OPTIONS /v1/services HTTP/1.1\r\nHost: ADDRESS\r\nOrigin: http://evil.example\r\n\
                     Access-Control-Request-Method: PUT";
    assert_eq!(send(api, preflight, "").await.0, 403);
    assert_eq!(api.get("/v1/services").await.expect(200).body, json!([]));

    let (well, log) = process.stop("-TERM").await;
    assert!(well && log.contains("\"cross-origin\"") && log.contains("\"misdirected-request\""), "{log}");
}

#[tokio::test]
async fn other_programs_call_as_before() {
    if !embedded_or_skip("other_programs_call_as_before") {
        return;
    }
    let process = Process::start(&["--in-memory", "--allow-host", "ports.example.com"]).await;
    for (number, (target, headers)) in [
        ("/v1/services", "Host: ADDRESS\r\nContent-Type: application/json"),
        ("/v1/services", "Host: ADDRESS"),
        ("/v1/services", "Host: localhost\r\nContent-Type: application/json"),
        ("/v1/services", "Host: LOCALHOST.:9\r\nContent-Type: application/json"),
        ("/v1/services", "Host: [::1]:8080"),
        ("http://localhost/v1/services", "Host: localhost"),
        ("/v1/services", "Host: Ports.Example.com"),
        // Its own page, and one of a host that is allowed: behind a proxy whose requests have another host name than
        // the browser's.
        ("/v1/services", "Host: ADDRESS\r\nOrigin: http://ADDRESS\r\nContent-Type: application/json"),
        ("/v1/services", "Host: ADDRESS\r\nOrigin: https://ports.example.com\r\nContent-Type: application/json"),
    ]
    .into_iter()
    .enumerate()
    {
        let start = 7000 + 10 * number;
        let body = json!({ "name": format!("django-{number}"), "start": start, "end": start + 9 }).to_string();
        let (status, answer) = send(&process.api, &format!("POST {target} HTTP/1.1\r\n{headers}"), &body).await;
        assert_eq!(status, 201, "{target} {headers}: {answer}");
    }
    assert_eq!(send(&process.api, "GET /health HTTP/1.0", "").await.0, 200);
    // A link in a page of another site.
    let link = "GET /problems/name-taken HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site";
    assert_eq!(send(&process.api, link, "").await.0, 200);
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways_are_not_found() {
    if !embedded_or_skip("paths_that_can_be_read_in_two_ways_are_not_found") {
        return;
    }
    let process = Process::start(&["--in-memory"]).await;
    let api = &process.api;
    api.service("cel~ery", 6000, 6009).await;
    api.allocate("cel~ery", "worker-1").await;
    for (path, expected) in [
        ("/v1/services/django/ports/../../cel~ery/ports/worker-1", 404),
        ("/v1/services/django/ports/%2e%2e/%2e%2e/cel~ery/ports/worker-1", 404),
        ("/v1/services/django/ports/..%2F..%2Fcel~ery%2Fports%2Fworker-1", 404),
        ("/v1/services/django/ports/..%252F..%252Fcel~ery%252Fports%252Fworker-1", 404),
        ("/v1/services/django/ports/..\\..\\cel~ery\\ports\\worker-1", 404),
        ("/v1/services/django/ports/..%5C..%5Ccel~ery%5Cports%5Cworker-1", 404),
        ("/v1/services/cel%09~ery/ports/worker-1", 404),
        ("/v1/services/%2563el~ery/ports/worker-1", 404),
        ("/v1/services/cel~ery%2Fports/worker-1", 404),
        ("/v1/services/./cel~ery/ports/worker-1", 404),
        ("/v1//services/cel~ery/ports/worker-1", 404),
        ("//v1/services/cel~ery/ports/worker-1", 404),
        ("/v1/services/cel~ery/ports/worker-1/", 404),
        ("/v1/services/cel~ery/ports/worker-1%00", 404),
        ("/v1/services/cel~ery/ports/worker-1%", 404),
        ("/v1/services/cel~ery/ports/wörker-1", 404),
        // No HTTP.
        ("/v1/services/cel\t~ery/ports/worker-1", 400),
        ("/v1/services/cel ~ery/ports/worker-1", 400),
    ] {
        let (status, answer) = send(api, &format!("DELETE {path} HTTP/1.1\r\nHost: ADDRESS"), "").await;
        assert_eq!(status, expected, "{path}: {answer}");
        if expected == 404 {
            assert_eq!(answer["type"], "/problems/not-found", "{path}: {answer}");
        }
    }
    // Decoded once, it is the same name.
    let (status, port) = send(api, "GET /v1/services/%63el%7Eery/ports/worker%2d1 HTTP/1.1\r\nHost: ADDRESS", "").await;
    assert_eq!((status, &port["port"]), (200, &json!(6000)));
    let (well, log) = process.stop("-TERM").await;
    let refused = log.lines().filter(|line| line.contains("\"(none)\"") && line.contains("\"not-found\"")).count();
    assert!(well && refused == 16, "{refused} {log}");
}

/// The page is behind the same guard as the API, and what is not a browser sees no page.
#[tokio::test]
async fn the_page_is_for_browsers_that_ask_the_right_host() {
    if !embedded_or_skip("the_page_is_for_browsers_that_ask_the_right_host") {
        return;
    }
    let process = Process::start(&["--in-memory", "--page", "write"]).await;
    let address = process.api.url.strip_prefix("http://").unwrap().to_owned();
    let ask = async |request: &str| {
        let request = request.replace("ADDRESS", &address) + "\r\nConnection: close\r\n\r\n";
        String::from_utf8(exchange(&address, request.as_bytes()).await).unwrap()
    };
    let page = ask("GET / HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html,*/*;q=0.8").await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with("<!doctype html>"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
        "vary: accept",
        "cache-control: no-cache",
        "x-request-id: ",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let settings = ask("GET /page/settings.json HTTP/1.1\r\nHost: ADDRESS").await;
    assert!(settings.contains(r#""write":true"#) && settings.contains(r#""session":false"#), "{settings}");

    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html", 421),
        ("GET /page/main.js HTTP/1.1\r\nHost: evil.example", 421),
        ("GET / HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html\r\nOrigin: http://evil.example", 403),
        ("GET / HTTP/1.1\r\nHost: ADDRESS\r\nAccept: */*", 404),
        ("GET / HTTP/1.1\r\nHost: ADDRESS", 404),
        ("POST / HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html", 404),
        ("POST /page/main.js HTTP/1.1\r\nHost: ADDRESS", 404),
        ("GET /page/ HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html", 404),
        ("GET /page/nothing.js HTTP/1.1\r\nHost: ADDRESS", 404),
        ("GET /page/..%2fmain.js HTTP/1.1\r\nHost: ADDRESS", 404),
        ("GET /page/%2e%2e/page/main.js HTTP/1.1\r\nHost: ADDRESS", 404),
        ("GET //page/main.js HTTP/1.1\r\nHost: ADDRESS", 404),
        ("GET /index.html HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html", 404),
    ] {
        let answer = ask(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(!answer.contains("<!doctype html>"), "{request}: {answer}");
    }
    // A path that was refused is not the page's, although its path is gone.
    let refused = ask("GET /v1/%2e%2e HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html").await;
    assert!(refused.contains("/problems/not-found"), "{refused}");
    let (well, log) = process.stop("-TERM").await;
    assert!(well && !log.contains("settings.json"), "the log has routes, not paths: {log}");
}

#[tokio::test]
async fn there_is_no_page_where_it_is_off() {
    if !embedded_or_skip("there_is_no_page_where_it_is_off") {
        return;
    }
    let process = Process::start(&["--in-memory", "--page", "off"]).await;
    let browser = "HTTP/1.1\r\nHost: ADDRESS\r\nAccept: text/html";
    for path in ["/", "/page/main.js", "/page/settings.json"] {
        let (status, problem) = send(&process.api, &format!("GET {path} {browser}"), "").await;
        assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")), "{path}");
    }
}

/// The line names the holder of a port, as far as it is known on one machine.
#[tokio::test]
async fn a_line_says_which_port_and_which_instance() {
    if !embedded_or_skip("a_line_says_which_port_and_which_instance") {
        return;
    }
    let process = Process::start(&["--in-memory"]).await;
    let api = &process.api;
    api.service("django", 5000, 5001).await;
    let (port, secret) = api.offer("django", "web-01").await;
    api.get(&format!("/v1/services/django/offers/{secret}")).await.expect(200);
    api.accept("django", &secret).await.expect(201);
    api.reject("django", &secret).await.expect_problem(409, "offer-accepted");
    api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    api.get("/v1/services/django/ports/5000").await.expect(200);
    api.get("/v1/ports/5000").await.expect(200);
    api.get("/v1/services/django/ports/web-09").await.expect_problem(404, "port-not-found");
    api.get(&format!("/v1/services/django/ports/{secret}")).await.expect_problem(404, "port-not-found");
    api.delete("/v1/services/django/ports/web-01").await.expect(204);
    api.ask("django", &secret).await.expect(201);
    let (well, log) = process.stop("-TERM").await;
    assert!(well && !log.contains(&secret), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about = |line: Value| (line["name"].clone(), line["port"].clone());
    let seen: Vec<_> = lines.filter(|line| line["target"] == "portmaster::request").map(about).collect();
    let both = (json!("web-01"), json!(port));
    let expected = vec![
        (Value::Null, Value::Null),
        both.clone(),
        both.clone(),
        both.clone(),
        (Value::Null, json!(port)),
        both.clone(),
        both.clone(),
        both.clone(),
        (json!("web-09"), Value::Null),
        (Value::Null, Value::Null),
        (json!("web-01"), Value::Null),
        (Value::Null, json!(port)),
    ];
    assert_eq!(seen, expected, "{log}");
}
