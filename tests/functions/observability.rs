//! The observability of a function: its line in the log, and its metrics.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use portmaster_testkit::{Function, INVOCATION, TRACE};

use crate::deployment::{Deployment, binary, event};

/// Returns the names in a line of CloudWatch's embedded metric format, and checks the line against its specification.
fn metrics(line: &Value) -> BTreeSet<String> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    assert!(line["_aws"]["Timestamp"].as_u64().is_some_and(|time| time > 1_700_000_000_000), "milliseconds: {line}");
    let [directive] = directives.as_slice() else { panic!("one directive: {line}") };
    assert_eq!(directive["Namespace"], "Portmaster");
    // One dimension, with one value for each deployment: anything else could grow without bound.
    assert_eq!((&directive["Dimensions"], &line["Stack"]), (&json!([["Stack"]]), &json!("test")));
    let named: BTreeSet<_> = directive["Metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["Name"].as_str().unwrap().to_owned())
        .collect();
    let members: BTreeSet<_> =
        line.as_object().unwrap().keys().map(String::as_str).filter(|key| *key != "_aws").collect();
    let expected: BTreeSet<_> = named.iter().map(String::as_str).chain(["Stack"]).collect();
    assert_eq!(members, expected, "nothing but metrics and the dimension: {line}");
    named
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_line_and_its_metrics_another() {
    let mut cloud = Deployment::new().await;
    let service = json!({ "name": "django", "start": 5000, "end": 5001 });
    assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
    let path = "/v1/services/django/offers";
    let (_, offer) = cloud.call("create-offer", "POST", path, Some(json!({ "name": "web-01" }))).await;
    let secret = offer["secret"].as_str().unwrap();

    let function = cloud.function("create-offer").await;
    let line = function.log.next_request().await;
    for (member, value) in [
        ("request_id", json!("r")),
        ("gateway_request_id", json!("r")),
        ("invocation_id", json!(INVOCATION)),
        ("trace_id", json!(TRACE)),
        ("method", json!("POST")),
        ("route", json!("/v1/services/{service}/offers")),
        ("service", json!("django")),
        ("name", json!("web-01")),
        ("port", json!(5000)),
        ("principal", Value::Null),
        ("status", json!(201)),
        ("outcome", json!("offered")),
        ("tries", json!(1)),
        ("lost_races", json!(0)),
        ("write_units", json!(4.0)),
    ] {
        assert_eq!(line[member], value, "{member} in {line}");
    }
    for member in ["dynamodb_requests", "dynamodb_retries", "read_units", "duration_ms", "timestamp", "level"] {
        assert!(!line[member].is_null(), "{member} in {line}");
    }
    let counted = function.metrics.next().await;
    let names = ["AttemptsPerOffer", "ColdStarts", "Offers"].map(str::to_owned);
    assert_eq!(metrics(&counted), names.into());
    assert_eq!((&counted["Offers"], &counted["AttemptsPerOffer"]), (&json!(1), &json!([1.0])));

    // The second port, then none is left.
    let own = format!("{path}/{secret}");
    let second = cloud.call("create-offer", "POST", path, Some(json!({ "name": "web-02" }))).await.1;
    assert_eq!(cloud.call("create-offer", "POST", path, Some(json!({ "name": "web-03" }))).await.0, 409);
    let function = cloud.function("create-offer").await;
    assert_eq!(metrics(&function.metrics.next().await), ["AttemptsPerOffer", "Offers"].map(str::to_owned).into());
    assert!(metrics(&function.metrics.next().await).contains("Exhaustions"));
    let refused = [function.log.next_request().await, function.log.next_request().await];
    assert_eq!(refused[1]["outcome"], "range-exhausted");
    assert_eq!((&refused[1]["name"], &refused[1]["port"]), (&json!("web-03"), &Value::Null));

    assert_eq!(cloud.call("accept-offer", "POST", &format!("{own}/accept"), None).await.0, 201);
    assert_eq!(cloud.call("accept-offer", "POST", &format!("{own}/accept"), None).await.0, 200);
    let accept = cloud.function("accept-offer").await;
    assert_eq!(metrics(&accept.metrics.next().await), ["Accepts", "ColdStarts"].map(str::to_owned).into());
    let lines = [accept.log.next_request().await, accept.log.next_request().await];
    assert_eq!([&lines[0]["outcome"], &lines[1]["outcome"]], ["accepted", "accepted-again"]);
    for line in &lines {
        assert_eq!((&line["name"], &line["port"]), (&json!("web-01"), &json!(5000)), "{line}");
    }
    // A secret is in the path, and must not be in the log.
    assert!(!lines.iter().any(|line| line.to_string().contains(secret)), "{lines:?}");
    // The rest of it shows which port was rejected.
    let rejected = format!("{path}/{}", second["secret"].as_str().unwrap());
    assert_eq!(cloud.call("reject-offer", "DELETE", &rejected, None).await.0, 204);
    let line = cloud.function("reject-offer").await.log.next_request().await;
    assert_eq!((&line["outcome"], &line["port"]), (&json!("rejected"), &second["port"]));
    assert_eq!(cloud.call("release-port", "DELETE", "/v1/services/django/ports/web-01", None).await.0, 204);
    let release = cloud.function("release-port").await;
    assert_eq!(release.log.next_request().await["name"], "web-01");
    assert_eq!(metrics(&release.metrics.next().await), ["ColdStarts", "Releases"].map(str::to_owned).into());

    cloud.function("reconcile").await.invoke(json!({})).await;
    let reconciled = cloud.function("reconcile").await.metrics.next().await;
    let names = [
        "ColdStarts",
        "FullestRangePercent",
        "ReconcilerFinishedSweeps",
        "ReconcilerInconsistencies",
        "ReconcilerRuns",
    ];
    assert_eq!(metrics(&reconciled), names.map(str::to_owned).into());
    // Zero is written as well: it ends the alarm of the run before.
    for metric in ["ReconcilerInconsistencies", "FullestRangePercent"] {
        assert_eq!(reconciled[metric], json!([0.0]), "{metric}");
    }
}

/// The reconciler has a metric for the services that its settings name or count, and for no others; and it names those
/// that are nearly full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fullest_ranges_have_a_metric_of_their_own() {
    let mut cloud = Deployment::new().await;
    for (place, (name, taken)) in [("web", 9), ("db", 5), ("queue", 1), ("pair", 10)].into_iter().enumerate() {
        let start = 5000 + 10 * place;
        let service = json!({ "name": name, "start": start, "end": start + 9 });
        assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
        for number in 0..taken {
            let port = format!("/v1/services/{name}/ports/n{number}");
            assert_eq!(cloud.call("put-port", "PUT", &port, Some(json!({}))).await.0, 201);
        }
    }
    let settings = [
        ("NEARLY_FULL_PERCENT", "90"),
        ("NEARLY_FULL_EXCEPT", "default/pair"),
        ("USAGE_METRICS_FULLEST", "1"),
        ("USAGE_METRICS_FOR", "default/queue"),
    ];
    let url = cloud.database.url().unwrap();
    let reconcile = Function::start(&binary("reconcile"), url, &settings).await;
    reconcile.invoke(json!({})).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let line = reconcile.metrics.next().await;
        let dimensions = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
        if line["RangeUsedPercent"].is_null() {
            assert_eq!((dimensions, &line["FullestRangePercent"]), (&json!([["Stack"]]), &json!([90.0])));
        } else {
            assert_eq!(dimensions, &json!([["Stack", "Namespace", "Service"]]));
            assert_eq!((&line["Stack"], &line["Namespace"]), (&json!("test"), &json!("default")));
            told.push((line["Service"].as_str().unwrap().to_owned(), line["RangeUsedPercent"].clone()));
        }
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told, [("queue".to_owned(), json!([10.0])), ("web".to_owned(), json!([90.0]))]);
    let warning = reconcile.log.next_of("portmaster::usage").await;
    assert_eq!((&warning["level"], &warning["service"], &warning["free"]), (&json!("WARN"), &json!("web"), &json!(1)));
}

/// The caller's own id takes precedence over the gateway's, and both are in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_id_is_kept_beside_the_gateways() {
    let mut cloud = Deployment::new().await;
    let mut request = event("GET", "/health", None);
    request["headers"]["x-request-id"] = json!("build-4711");
    let answer = cloud.function("health").await.invoke(request).await;
    assert_eq!(answer["headers"]["x-request-id"], "build-4711");
    let line = cloud.function("health").await.log.next_request().await;
    assert_eq!((&line["request_id"], &line["gateway_request_id"]), (&json!("build-4711"), &json!("r")));
}

/// The log names the principal that IAM let in, beside the service and the port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_principal_is_in_the_line() {
    let mut cloud = Deployment::new().await;
    let service = json!({ "name": "django", "start": 5000, "end": 5009 });
    assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
    let who = "arn:aws:sts::123456789012:assumed-role/pipelines/build-4711";
    let mut request = event("POST", "/v1/services/django/offers", Some(&json!({ "name": "web-01" })));
    request["requestContext"]["authorizer"]["iam"] = json!({ "userArn": who, "accessKey": "ASIAQ3EGPEXAMPLE0001" });
    let create = cloud.function("create-offer").await;
    assert_eq!(create.invoke(request.clone()).await["statusCode"], 201);
    let line = create.log.next_request().await;
    assert_eq!((&line["principal"], &line["port"]), (&json!(who), &json!(5000)));
    assert!(!line.to_string().contains("ASIA"), "{line}");

    // The same for a refused call; its line also names the port and the instance that has it.
    assert_eq!(create.invoke(request.clone()).await["statusCode"], 409);
    let line = create.log.next_request().await;
    assert_eq!((&line["principal"], &line["name"]), (&json!(who), &json!("web-01")));
    assert_eq!((&line["outcome"], &line["port"]), (&json!("name-taken"), &json!(5000)));
    request["rawPath"] = json!("/v1/services/../offers");
    assert_eq!(create.invoke(request).await["statusCode"], 404);
    let line = create.log.next_request().await;
    assert_eq!((&line["principal"], &line["route"]), (&json!(who), &json!("(none)")));
}

/// A secret in the place of a name is in no line, wherever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_a_secret_is_not_logged() {
    let mut cloud = Deployment::new().await;
    let service = json!({ "name": "django", "start": 5000, "end": 5009 });
    assert_eq!(cloud.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
    let secret = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f";
    let named = json!({ "name": secret });
    assert_eq!(cloud.call("create-offer", "POST", "/v1/services/django/offers", Some(named)).await.0, 201);
    let line = cloud.function("create-offer").await.log.next_request().await;
    assert_eq!((&line["name"], &line["port"]), (&Value::Null, &json!(5000)));
    let ports = format!("/v1/services/django/ports/{secret}");
    assert_eq!(cloud.call("release-port", "DELETE", &ports, None).await.0, 404);
    let released = cloud.function("release-port").await.log.next_request().await;
    assert_eq!((&released["name"], &released["service"]), (&Value::Null, &json!("django")));
    assert!(!format!("{line}{released}").contains(secret));
}
