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

/// Starts what stands in for the registry and for AWS; returns its URL.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

/// Runs the command against it, with these variables besides; returns its exit code, and all that it prints.
async fn portmaster(url: &str, line: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
        .args(line)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PORTMASTER_URL", url)
        .env("PORTMASTER_REGION", "eu-west-1")
        .envs(variables.iter().map(|(name, value)| (name, value.replace("{url}", url))))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), printed)
}

fn has_no_secret(printed: &str) {
    for secret in SECRETS {
        assert!(!printed.contains(secret), "{secret} is in {printed}");
    }
}

/// The variables of a role that is to be assumed there.
const ASSUMES: [(&str, &str); 2] = [("PORTMASTER_ROLE_ARN", ROLE), ("AWS_ENDPOINT_URL_STS", "{url}")];
/// Those of a job that has an identity token.
const JOB: [(&str, &str); 2] = [
    ("ACTIONS_ID_TOKEN_REQUEST_URL", "{url}/token?api-version=2.0"),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hidden-request-token"),
];
/// Those of keys that are found.
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "hidden-key")];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_printed() {
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
    let url = serve(router).await;
    // Libraries must not be made to talk by the variable of all loggers either.
    let variables = [&ASSUMES[..], &JOB, &[("RUST_LOG", "trace")]].concat();
    let lines: [&[&str]; 3] =
        [&["-vvvv", "find", "5000"], &["-vvvv", "-o", "json", "take", "web", "job"], &["-vvvv", "doctor"]];
    for line in lines {
        let (code, printed) = portmaster(&url, line, &variables).await;
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("does not match"), "it was signed, and refused: {printed}");
        has_no_secret(&printed);
    }
    assert_eq!(assumed.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_are_not_printed() {
    // With the job's token, and with keys that are found.
    for (call, caller) in [("AssumeRoleWithWebIdentity", JOB), ("AssumeRole", KEYS)] {
        for unreadable in UNREADABLE {
            let answer = unreadable.replace("{call}", call);
            let router = Router::new()
                .route("/token", get(|| async { r#"{"value": "hidden-identity-token"}"# }))
                .route("/", post(move || async move { answer }));
            let url = serve(router).await;
            let (code, printed) = portmaster(&url, &["-vv", "find", "5000"], &[ASSUMES, caller].concat()).await;
            assert_eq!(code, Some(1), "{call} {unreadable}: {printed}");
            assert!(
                printed.contains("role/pipeline") && printed.contains("the answer cannot be read"),
                "{call} {unreadable}: {printed}"
            );
            has_no_secret(&printed);
            assert!(!printed.contains("Response {") && !printed.contains("raw"), "{printed}");
        }
    }
}

/// What AWS says about a role that may not be assumed is worth having, with the keys of the chain as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_sts_says_is_repeated() {
    let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                   <Message>User ada is not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>";
    let router = Router::new().route("/", post(move || async move { (StatusCode::FORBIDDEN, refused) }));
    let url = serve(router).await;
    let (_, printed) = portmaster(&url, &["find", "5000"], &[ASSUMES, KEYS].concat()).await;
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
        let token = || async { ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "hidden-request-token") };
        let router = Router::new()
            .route("/latest/api/token", axum::routing::put(token))
            .route("/latest/meta-data/iam/security-credentials/", get(|| async { "role" }))
            .route("/latest/meta-data/iam/security-credentials/role", get(move || async move { (status, answer) }));
        let url = serve(router).await;
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "{url}")];
        let (_, printed) = portmaster(&url, &["-vv", "find", "5000"], &variables).await;
        assert!(printed.contains("no AWS credentials are found"), "{printed}");
        has_no_secret(&printed);
        let longest = printed.lines().map(str::len).max().unwrap_or_default();
        assert!(longest < 400 && !printed.contains("Response {"), "{printed}");
    }
}
