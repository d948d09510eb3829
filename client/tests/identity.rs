//! A role that is assumed with a job's identity token: against stand-ins of GitHub's issuer, of STS, and of an API
//! behind IAM. (`.ci/client` does it against an emulated AWS that enforces policies.)

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use portmaster_client::credentials::{Aws, Credentials, IdToken, Keys};
use portmaster_client::{Client, Error};

/// What the stand-ins have seen, and what they are to say.
#[derive(Default)]
struct Seen {
    tokens: usize,
    assumed: Vec<HashMap<String, String>>,
    calls: Vec<HeaderMap>,
    /// For how many seconds the keys hold.
    keys_last: i64,
    /// How many calls are refused because of an old token, from now on.
    refused: usize,
    /// Date of the registry's answers, and whether signatures must be of that time.
    hour: Option<&'static str>,
}

type Shared = Arc<Mutex<Seen>>;

const REQUEST_TOKEN: &str = "what-allows-to-request-a-token";
const ROLE: &str = "arn:aws:iam::123456789012:role/pipeline";

async fn issuer(
    State(seen): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let asked = (headers["authorization"].to_str().unwrap(), query["audience"].as_str(), query["api-version"].as_str());
    assert_eq!(asked, ("bearer what-allows-to-request-a-token", "sts.amazonaws.com", "2.0"));
    let mut seen = seen.lock().unwrap();
    seen.tokens += 1;
    // Its first answer is an error, which passes.
    if seen.tokens == 1 {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    (StatusCode::OK, format!(r#"{{"count": 1, "value": "token-{}"}}"#, seen.tokens))
}

async fn sts(State(seen): State<Shared>, headers: HeaderMap, body: String) -> impl IntoResponse {
    assert!(!headers.contains_key("authorization"), "the call is not signed");
    let form: HashMap<String, String> = reqwest::Url::parse(&format!("http://x/?{body}"))
        .unwrap()
        .query_pairs()
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    let mut seen = seen.lock().unwrap();
    seen.assumed.push(form.clone());
    if form["RoleArn"] != ROLE {
        let message = format!("Not authorized to perform sts:AssumeRoleWithWebIdentity ({})", form["WebIdentityToken"]);
        let error = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        return (StatusCode::FORBIDDEN, error);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let expiry = i64::try_from(now).unwrap() + seen.keys_last * 1000;
    let expiry = portmaster_client::domain::Timestamp::from_millis(expiry).to_rfc3339();
    let count = seen.assumed.len();
    let body = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA{count}</AccessKeyId>\
         <SecretAccessKey>hidden-key</SecretAccessKey><SessionToken>hidden-session-{count}</SessionToken>\
         <Expiration>{expiry}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    );
    (StatusCode::OK, body)
}

async fn registry(State(seen): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let mut seen = seen.lock().unwrap();
    let signed_at = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).unwrap_or_default().to_owned();
    seen.calls.push(headers);
    let refuse = |message: &str| {
        let message = format!(r#"{{"message": "{message}"}}"#);
        let head = [("apigw-requestid", "x"), ("date", seen.hour.unwrap_or("Mon, 30 Nov 2026 10:00:00 GMT"))];
        (StatusCode::FORBIDDEN, head.map(|(name, value)| (name, value.to_owned())), message).into_response()
    };
    if seen.hour.is_some() && !signed_at.starts_with("20370101T00") {
        return refuse("Signature expired: it is now earlier than another time");
    }
    if seen.refused > 0 {
        let answer = refuse("The security token included in the request is expired");
        seen.refused -= 1;
        return answer;
    }
    ([("content-type", "application/json")], r#"{"status": "ok"}"#).into_response()
}

async fn stand_ins() -> (Shared, String) {
    let seen = Shared::default();
    seen.lock().unwrap().keys_last = 3600;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/token", axum::routing::get(issuer))
        .route("/sts/", axum::routing::post(sts))
        .route("/health", axum::routing::get(registry))
        .with_state(Arc::clone(&seen));
    tokio::spawn(axum::serve(listener, router).into_future());
    (seen, url)
}

fn github(url: &str, role: &str) -> Aws {
    Aws {
        region: Some("eu-west-1".to_owned()),
        role_arn: Some(role.to_owned()),
        session_name: Some("gh/our-org/shop/17/deploy/0".to_owned()),
        id_token: Some(IdToken::GitHub {
            url: format!("{url}/token?api-version=2.0"),
            request_token: REQUEST_TOKEN.to_owned(),
        }),
        sts_url: Some(format!("{url}/sts")),
        ..Aws::default()
    }
}

fn client(url: &str, aws: Aws) -> Client {
    Client::builder().url(url).credentials(Credentials::Signed(aws)).build().unwrap()
}

#[tokio::test]
async fn a_job_on_github_calls_as_its_role() {
    let (seen, url) = stand_ins().await;
    let client = client(&url, github(&url, ROLE));
    client.health().await.unwrap();
    client.health().await.unwrap();
    let identity = client.identity().await.unwrap().unwrap();
    assert_eq!(identity.source, format!("{ROLE}, assumed with GitHub's identity token"));
    assert!(identity.expires_at.is_some() && identity.region == "eu-west-1");
    let seen = seen.lock().unwrap();
    assert_eq!((seen.tokens, seen.assumed.len()), (2, 1), "the keys hold for an hour");
    assert_eq!(seen.assumed[0]["WebIdentityToken"], "token-2");
    assert_eq!(seen.assumed[0]["RoleSessionName"], "gh-our-org-shop-17-deploy-0");
    let authorization = seen.calls[1]["authorization"].to_str().unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=ASIA1/"), "{authorization}");
    assert!(authorization.contains("/eu-west-1/execute-api/aws4_request"), "{authorization}");
    assert_eq!(seen.calls[1]["x-amz-security-token"], "hidden-session-1");
}

#[tokio::test]
async fn each_assumption_has_a_fresh_token() {
    let (seen, url) = stand_ins().await;
    // Keys that are about to expire are replaced before each call.
    seen.lock().unwrap().keys_last = 60;
    let client = client(&url, github(&url, ROLE));
    client.health().await.unwrap();
    client.health().await.unwrap();
    let tokens: Vec<_> = seen.lock().unwrap().assumed.iter().map(|form| form["WebIdentityToken"].clone()).collect();
    assert_eq!(tokens, ["token-2", "token-3"]);
}

#[tokio::test]
async fn keys_that_have_been_refused_as_old_are_replaced_once() {
    let (seen, url) = stand_ins().await;
    let client = client(&url, github(&url, ROLE));
    seen.lock().unwrap().refused = 1;
    client.health().await.unwrap();
    assert_eq!(seen.lock().unwrap().assumed.len(), 2);
    seen.lock().unwrap().refused = 5;
    let Err(Error::Denied(denied)) = client.health().await else { panic!() };
    assert!(denied.message.contains("is expired"));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.assumed.len(), seen.refused), (3, 3), "twice, and not for ever");
}

#[tokio::test]
async fn a_wrong_clock_is_put_right() {
    let (seen, url) = stand_ins().await;
    seen.lock().unwrap().hour = Some("Thu, 01 Jan 2037 00:30:00 GMT");
    let client = client(&url, github(&url, ROLE));
    client.health().await.unwrap();
    assert_eq!(seen.lock().unwrap().calls.len(), 2);
    client.health().await.unwrap();
    assert_eq!(seen.lock().unwrap().calls.len(), 3, "it stays right");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_named_and_the_token_is_not() {
    let (seen, url) = stand_ins().await;
    let client = client(&url, github(&url, "arn:aws:iam::123456789012:role/admin"));
    let error = client.health().await.unwrap_err();
    let text = format!("{error:?} {error} {client:?}");
    assert!(text.contains("role/admin") && text.contains("AccessDenied: Not authorized"), "{text}");
    for secret in ["token-2", REQUEST_TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(seen.lock().unwrap().calls.len(), 0, "nothing is sent without a signature instead");
}

#[tokio::test]
async fn a_token_may_be_given_or_be_in_a_file() {
    let (seen, url) = stand_ins().await;
    let file = std::env::temp_dir().join(format!("portmaster-token-{}", std::process::id()));
    std::fs::write(&file, "from-a-file\n").unwrap();
    for source in [IdToken::Given("given\n".to_owned()), IdToken::File(file.clone())] {
        let aws = Aws { id_token: Some(source), ..github(&url, ROLE) };
        client(&url, aws).health().await.unwrap();
    }
    std::fs::remove_file(file).unwrap();
    let tokens: Vec<_> = seen.lock().unwrap().assumed.iter().map(|form| form["WebIdentityToken"].clone()).collect();
    assert_eq!(tokens, ["given", "from-a-file"]);
}

#[tokio::test]
async fn given_keys_sign_and_nothing_signs_by_itself() {
    let (seen, url) = stand_ins().await;
    let keys = Keys::new("AKID", "hidden-key", None, None, "test");
    let signing = Client::builder().url(&url).credentials(Credentials::Keys { keys, region: "eu-west-1".to_owned() });
    signing.build().unwrap().with_deadline(Duration::from_secs(5)).health().await.unwrap();
    let automatic = Credentials::Automatic(github(&url, ROLE));
    Client::builder().url(&url).credentials(automatic).build().unwrap().health().await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.calls[0].contains_key("authorization") && !seen.calls[1].contains_key("authorization"));
    assert_eq!(seen.tokens, 0);
}
