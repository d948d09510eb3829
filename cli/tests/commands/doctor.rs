//! What `doctor` finds, and what it is right to complain of.

use serde_json::Value;

use crate::{Place, world};

/// A path that is not the API's, a name that the registry does not answer to, and a function that fails: none is well.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_wrong_address() {
    let (world, place) = world().await;
    for path in ["/v1", "/prod", "/v1/services"] {
        let url = format!("{}{path}", world.api.url);
        let (code, check) = examined(&place, &url).await;
        let (outcome, text) = check("url");
        assert_eq!((code, outcome.as_str()), (1, "failed"), "{text}");
        assert!(text.contains("a path too many"), "{text}");
        assert_eq!(check("rights").0, "skipped");
    }

    // Other answers than a registry's own, each to every call but those of the connection's check.
    let server = async |status: u16, head: &'static str, body: &'static str| {
        let answer = move || async move {
            (
                axum::http::StatusCode::from_u16(status).unwrap(),
                [("content-type", head), ("apigw-requestid", "x")],
                body,
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
        examined(&place, &url).await
    };
    let misdirected =
        r#"{"type": "/problems/misdirected-request", "title": "The registry does not answer to this name"}"#;
    let (code, check) = server(421, "application/problem+json", misdirected).await;
    assert_eq!((code, check("url").0.as_str()), (1, "failed"));
    assert!(check("url").1.contains("--allow-host"), "{}", check("url").1);
    let (code, check) = server(404, "application/json", r#"{"message": "Not Found"}"#).await;
    assert_eq!((code, check("url").0.as_str()), (1, "failed"));
    // What the registry has never said is no permission.
    let odd = r#"{"type": "/problems/cross-origin", "title": "Web pages of this origin may not call"}"#;
    let (code, check) = server(403, "application/problem+json", odd).await;
    assert_eq!((code, check("rights").0.as_str()), (1, "failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_fails_is_named_with_its_request() {
    let answer = || async {
        let head = [("content-type", "application/json"), ("apigw-requestid", "JKJaXmPLvHcESHA=")];
        (axum::http::StatusCode::INTERNAL_SERVER_ERROR, head, r#"{"message":"Internal Server Error"}"#)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new().with("PORTMASTER_URL", format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
    let (code, _, stderr) = place.says(&["find", "5000"]).await;
    assert_eq!(code, 1);
    for expected in
        ["error: the function that has to find a port failed", "help: the function failed", "request: JKJaXmPLvHcESHA="]
    {
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert!(!stderr.contains("not Portmaster"), "{stderr}");
}

/// What `doctor` says of a URL, check by check.
async fn examined(place: &Place, url: &str) -> (i32, impl Fn(&str) -> (String, String) + use<>) {
    let (code, stdout, _) = place.says(&["--url", url, "doctor", "-o", "json"]).await;
    let checks: Value = serde_json::from_str(&stdout).unwrap();
    let check = move |name: &str| {
        let found = checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap();
        (found["outcome"].as_str().unwrap().to_owned(), found.to_string())
    };
    (code, check)
}

/// The way to the registry, step by step: each failure is named as what it is, and what needs the step is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_where_the_way_ends() {
    let place = Place::new();
    let (code, check) = examined(&place, "https://no-such-host.invalid").await;
    assert_eq!((code, check("dns").0.as_str(), check("connection").0.as_str()), (1, "failed", "skipped"));
    // Nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, check) = examined(&place, &format!("http://{closed}")).await;
    assert_eq!((code, check("dns").0.as_str(), check("connection").0.as_str()), (1, "ok", "failed"));
    assert_eq!(check("table").0, "skipped");
    // TLS is spoken to somebody who does not speak it.
    let (world, place) = world().await;
    let (code, check) = examined(&place, &world.api.url.replace("http:", "https:")).await;
    assert_eq!((code, check("dns").0.as_str(), check("connection").0.as_str()), (1, "ok", "failed"));
    assert!(check("connection").1.contains("no secure connection"), "{}", check("connection").1);
}

/// A clock that is wrong, and a table that does not answer, behind a registry that does.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_wrong_clock_and_a_table_that_is_away() {
    let (world, place) = world().await;
    let registry = world.api.url.clone();
    let answer = move |request: axum::extract::Request| {
        let registry = registry.clone();
        async move {
            let date = ("date", "Mon, 30 Nov 2020 00:00:00 GMT");
            if request.uri().path() == "/health" {
                let problem = r#"{"type": "/problems/unavailable", "title": "The registry's table does not answer"}"#;
                let head = [date, ("content-type", "application/problem+json")];
                return (axum::http::StatusCode::SERVICE_UNAVAILABLE, head, problem.to_owned());
            }
            let url = format!("{registry}{}", request.uri());
            let got = portmaster_testkit::http(&url).build().unwrap().request(request.method().clone(), &url);
            let got = got.send().await.unwrap();
            let kind = if got.status().is_success() { "application/json" } else { "application/problem+json" };
            (got.status(), [date, ("content-type", kind)], got.text().await.unwrap())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
    let (code, check) = examined(&place, &url).await;
    let clock = check("clock");
    assert!(clock.0 == "warning" && clock.1.contains("ahead of the registry's"), "{clock:?}");
    assert_eq!((code, check("table").0.as_str()), (1, "failed"), "{:?}", check("table"));
    assert!(check("table").1.contains("does not answer"), "{:?}", check("table"));
}
