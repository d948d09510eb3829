//! No secret or token is in anything that is printed, however often `--verbose` is given.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};

const ROLE: &str = "arn:aws:iam::123456789012:role/pipeline";

const SECRETS: [&str; 5] =
    ["hidden-request-token", "hidden-identity-token", "hidden-key", "hidden-session", "Signature="];

/// Answers of STS with keys in them that cannot be read: no time, no XML, and no text. The last one has a
/// character that a parser quotes when it complains.
const UNREADABLE: [&str; 3] = [
    "<{call}Response><{call}Result><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
     <SecretAccessKey>hidden-key</SecretAccessKey><SessionToken>hidden-session</SessionToken>\
     <Expiration>soon</Expiration></Credentials></{call}Result></{call}Response>",
    "{\"SecretAccessKey\": \"hidden-key\", \"SessionToken\": \"hidden-session\"}",
    "<{call}Response><{call}Result><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
     <SecretAccessKey>&hidden-key;</SecretAccessKey><SessionToken>&hidden-session;</SessionToken>\
     <Expiration>soon</Expiration></Credentials></{call}Result></{call}Response>",
];

const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
    <SecretAccessKey>hidden-key</SecretAccessKey><SessionToken>hidden-session</SessionToken>\
    <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
    </AssumeRoleWithWebIdentityResponse>";

/// A registry behind a gateway that refuses signatures, in AWS's own words: with all that it was sent.
async fn refuse(headers: HeaderMap) -> impl IntoResponse {
    let sent = headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap_or_default()));
    let sent = sent.collect::<Vec<_>>().join("\\n").replace('"', "");
    let message = format!(
        "The request signature we calculated does not match.\\n\\nThe Canonical String for this request should have been\\n{sent}"
    );
    (StatusCode::FORBIDDEN, [("apigw-requestid", "x")], format!("{{\"message\": \"{message}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_printed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let assumed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&assumed);
    let router = Router::new()
        .route("/token", get(|| async { r#"{"value": "hidden-identity-token"}"# }))
        .route(
            "/",
            post(move || async move {
                count.fetch_add(1, Ordering::Relaxed);
                ASSUMED
            }),
        )
        .route("/v1/{*rest}", any(refuse))
        .route("/health", any(refuse));
    tokio::spawn(axum::serve(listener, router).into_future());
    let folder = tempfile::tempdir().unwrap();
    let lines: [&[&str]; 3] =
        [&["-vvvv", "find", "5000"], &["-vvvv", "-o", "json", "take", "web", "job"], &["-vvvv", "doctor"]];
    for line in lines {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
            .args(line)
            .env_clear()
            .env("HOME", folder.path())
            .env("PORTMASTER_URL", &url)
            .env("PORTMASTER_ROLE_ARN", ROLE)
            .env("PORTMASTER_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL_STS", &url)
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{url}/token?api-version=2.0"))
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hidden-request-token")
            // Libraries must not be made to talk by the variable of all loggers either.
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains("does not match"), "it was signed, and refused: {printed}");
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{secret} is in {printed}");
        }
    }
    assert_eq!(assumed.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_are_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (unreadable, call) in
        UNREADABLE.into_iter().flat_map(|text| ["AssumeRoleWithWebIdentity", "AssumeRole"].map(|call| (text, call)))
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = unreadable.replace("{call}", call);
        let router = Router::new()
            .route("/token", get(|| async { r#"{"value": "hidden-identity-token"}"# }))
            .route("/", post(move || async move { answer }));
        tokio::spawn(axum::serve(listener, router).into_future());
        // With the job's token, and with keys that are found.
        let job = match call {
            "AssumeRole" => [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "hidden-key")],
            _ => [
                ("ACTIONS_ID_TOKEN_REQUEST_URL", "{url}/token?api-version=2.0"),
                ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hidden-request-token"),
            ],
        };
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
            .args(["-vv", "find", "5000"])
            .env_clear()
            .env("HOME", folder.path())
            .env("PORTMASTER_URL", &url)
            .env("PORTMASTER_ROLE_ARN", ROLE)
            .env("PORTMASTER_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL_STS", &url)
            .envs(job.map(|(name, value)| (name, value.replace("{url}", &url))))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{call} {unreadable}: {printed}");
        assert!(
            printed.contains("role/pipeline") && printed.contains("the answer cannot be read"),
            "{call} {unreadable}: {printed}"
        );
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{secret} is in {printed}");
        }
        assert!(!printed.contains("Response {") && !printed.contains("raw"), "{printed}");
    }
}

/// What AWS says about a role that may not be assumed is worth having, with the keys of the chain as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_sts_says_is_repeated() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                   <Message>User ada is not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>";
    let router = Router::new().route("/", post(move || async move { (StatusCode::FORBIDDEN, refused) }));
    tokio::spawn(axum::serve(listener, router).into_future());
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
        .args(["find", "5000"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PORTMASTER_URL", &url)
        .env("PORTMASTER_ROLE_ARN", ROLE)
        .env("PORTMASTER_REGION", "eu-west-1")
        .env("AWS_ENDPOINT_URL_STS", &url)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "hidden-key")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("AccessDenied: User ada is not authorized to perform sts:AssumeRole"), "{printed}");
}

/// The metadata service of EC2 gives out keys as well, and may answer anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_answers_is_not_printed() {
    let (malformed, forbidden) = (
        r#"{"Code": "Success", "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "hidden-key", "Token": "hidden-session"#,
        "hidden-key",
    );
    for (status, answer) in [(StatusCode::OK, malformed), (StatusCode::FORBIDDEN, forbidden)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token = || async { ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "hidden-request-token") };
        let router = Router::new()
            .route("/latest/api/token", axum::routing::put(token))
            .route("/latest/meta-data/iam/security-credentials/", get(|| async { "role" }))
            .route("/latest/meta-data/iam/security-credentials/role", get(move || async move { (status, answer) }));
        tokio::spawn(axum::serve(listener, router).into_future());
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
            .args(["-vv", "find", "5000"])
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("PORTMASTER_URL", &url)
            .env("PORTMASTER_REGION", "eu-west-1")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("no AWS credentials are found"), "{printed}");
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{secret} is in {printed}");
        }
        let longest = printed.lines().map(str::len).max().unwrap_or_default();
        assert!(longest < 400 && !printed.contains("Response {"), "{printed}");
    }
}
