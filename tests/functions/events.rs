//! `events/`: the real binary answers every event there as `events/answers.json` says.
//!
//! An event's file is named after its function; the part after a dot names the special case. `answers.json` lists the
//! events to send `after` (the world is empty before) and the expected answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::deployment::Deployment;
use crate::template::Template;

/// The secret in the events. No offer has it; if an event sent before made an offer, the test inserts that offer's.
const SECRET: &str = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// None where the function is not called over HTTP.
    status: Option<u64>,
    problem: Option<String>,
    #[serde(default)]
    after: Vec<String>,
    /// A part of the error that the invocation reports.
    error: Option<String>,
    /// The attributes of a resource.
    attributes: Option<BTreeMap<String, Value>>,
    /// The findings of a run of the reconciler.
    findings: Option<BTreeMap<String, Value>>,
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../events"))
}

fn answers() -> BTreeMap<String, Expected> {
    serde_json::from_str(&std::fs::read_to_string(folder().join("answers.json")).unwrap()).unwrap()
}

fn read(event: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{event}.json"))).unwrap()
}

/// Sends an event to its function.
async fn send(cloud: &mut Deployment, event: &str, secret: Option<&str>) -> Result<Value, Value> {
    let text = read(event);
    let text = secret.map_or(text.clone(), |secret| text.replace(SECRET, secret));
    let function = event.split('.').next().unwrap();
    let event = serde_json::from_str(&text).unwrap();
    cloud.function(function).await.try_invoke(event, Duration::from_secs(30)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_gets_its_answer() {
    for (event, expected) in answers() {
        let mut cloud = Deployment::new().await;
        let mut secret = None;
        for before in &expected.after {
            let answer = send(&mut cloud, before, secret.as_deref()).await.unwrap();
            let is_good = match answer["batchItemFailures"].as_array() {
                Some(failures) => failures.is_empty(),
                None => answer["statusCode"].as_u64().is_some_and(|status| status < 300),
            };
            assert!(is_good, "{before}: {answer}");
            if before == "create-offer" {
                let offer: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
                secret = Some(offer["secret"].as_str().unwrap().to_owned());
            }
        }
        let answer = match (send(&mut cloud, &event, secret.as_deref()).await, &expected.error) {
            (Ok(answer), None) => answer,
            (Err(error), Some(part)) => {
                assert!(error["errorMessage"].as_str().unwrap().contains(part), "{event}: {error}");
                continue;
            }
            (returned, _) => panic!("{event}: {returned:?}"),
        };
        assert_eq!(answer["statusCode"].as_u64(), expected.status, "{event}: {answer}");
        let body = answer["body"].as_str().and_then(|body| serde_json::from_str::<Value>(body).ok());
        let problem = body.as_ref().and_then(|body| body["type"].as_str()?.strip_prefix("/problems/"));
        assert_eq!(problem, expected.problem.as_deref(), "{event}: {answer}");
        let members = expected.findings.into_iter().chain(expected.attributes).flatten();
        for (member, value) in members {
            assert_eq!(answer[&member], value, "{event}: {answer}");
        }
    }
}

/// Whether an event is that of a function that has no route.
fn is_without_route(event: &str) -> bool {
    ["reconcile", "record-history", "custom-resource"].contains(&event.split('.').next().unwrap_or_default())
}

/// Every file has an answer, every function has an event that it serves and one that it refuses (except the three that
/// refuse nothing), and each event is consistent with itself and with the template's routes.
#[test]
fn the_events_are_what_the_api_would_send() {
    let answers = answers();
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files
        .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
        .filter(|file| file != "answers")
        .collect();
    files.sort();
    assert_eq!(files, answers.keys().cloned().collect::<Vec<_>>());
    let template = Template::read();
    for function in template.binaries() {
        let mut own = answers.iter().filter(|(event, _)| event.split('.').next() == Some(&*function));
        assert!(answers.contains_key(&function), "no event for {function}");
        let refuses_nothing = ["health", "reconcile", "record-history"].contains(&&*function);
        let refused = |expected: &Expected| expected.problem.is_some() || expected.error.is_some();
        assert!(own.any(|(_, expected)| refused(expected)) || refuses_nothing, "no bad event for {function}");
    }
    for event in answers.keys().filter(|event| !is_without_route(event)) {
        let (function, value) =
            (event.split('.').next().unwrap(), serde_json::from_str::<Value>(&read(event)).unwrap());
        let (key, context) = (value["routeKey"].as_str().unwrap(), &value["requestContext"]);
        assert!(template.routes_of(function).iter().any(|route| route == key), "{event}: {key} is not {function}'s");
        assert_eq!((&value["version"], &context["routeKey"]), (&Value::from("2.0"), &value["routeKey"]), "{event}");
        assert_eq!(context["http"]["path"], value["rawPath"], "{event}");
        if let Some((method, path)) = key.split_once(' ') {
            assert_eq!(context["http"]["method"], method, "{event}");
            let parameters = value["pathParameters"].as_object();
            let filled = parameters.into_iter().flatten().fold(path.to_owned(), |path, (name, value)| {
                let value = value.as_str().unwrap();
                path.replace(&format!("{{{name}}}"), value).replace(&format!("{{{name}+}}"), value)
            });
            assert_eq!(value["rawPath"], filled, "{event}");
        }
        let signed = !context["authorizer"]["iam"]["userArn"].is_null();
        assert_eq!(signed, function != "health", "{event}: only /health is open");
    }
}
