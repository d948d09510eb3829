//! What `doctor` finds, and what it is right to complain of.

use serde_json::Value;

use crate::{Place, world};

/// A path that is not the API's, a name that the registry does not answer to, and a function that fails: none is well.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_wrong_address() {
    let (world, place) = world().await;
    let check = |checks: &Value, name: &str| {
        let found = checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap();
        (found["outcome"].as_str().unwrap().to_owned(), found.to_string())
    };
    for path in ["/v1", "/prod", "/v1/services"] {
        let url = format!("{}{path}", world.api.url);
        let (code, stdout, _) = place.says(&["--url", &url, "doctor", "-o", "json"]).await;
        let checks: Value = serde_json::from_str(&stdout).unwrap();
        let (outcome, text) = check(&checks, "url");
        assert_eq!((code, outcome.as_str()), (1, "failed"), "{checks}");
        assert!(text.contains("a path too many"), "{text}");
        assert_eq!(check(&checks, "rights").0, "skipped");
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
        let (code, stdout, _) = place.says(&["--url", &url, "doctor", "-o", "json"]).await;
        (code, serde_json::from_str::<Value>(&stdout).unwrap())
    };
    let misdirected =
        r#"{"type": "/problems/misdirected-request", "title": "The registry does not answer to this name"}"#;
    let (code, checks) = server(421, "application/problem+json", misdirected).await;
    assert_eq!((code, check(&checks, "url").0.as_str()), (1, "failed"), "{checks}");
    assert!(check(&checks, "url").1.contains("--allow-host"), "{checks}");
    let (code, checks) = server(404, "application/json", r#"{"message": "Not Found"}"#).await;
    assert_eq!((code, check(&checks, "url").0.as_str()), (1, "failed"), "{checks}");
    // What the registry has never said is no permission.
    let odd = r#"{"type": "/problems/cross-origin", "title": "Web pages of this origin may not call"}"#;
    let (code, checks) = server(403, "application/problem+json", odd).await;
    assert_eq!((code, check(&checks, "rights").0.as_str()), (1, "failed"), "{checks}");
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
