//! The way of an answer to CloudFormation: always one, in time, no longer than allowed, and nobody else's; and what the log
//! says of it.

use std::time::{Duration, Instant};

use portmaster_testkit::{Between, End, INVOCATION};
use serde_json::{Value, json};

use super::{ALLOWED, Cloud, Mailman, SIGNATURE, Stack, id, start};

const WANTED: &str = "web";

fn wanted() -> Value {
    json!({ "Service": WANTED })
}

/// The answer goes to the very URL, as its signature demands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_what_the_url_was_signed_for() {
    let cloud = Cloud::new().await;
    let event = Stack::of(&cloud).create(wanted());
    cloud.function.invoke(event.clone()).await;
    let arrived = cloud.s3.next().await;
    assert!(event["ResponseURL"].as_str().unwrap().ends_with(&arrived.path), "{arrived:?}");
    assert_eq!(arrived.headers["content-type"], "");
    assert_eq!(arrived.headers["content-length"], arrived.body.len().to_string());
    assert!(arrived.headers.get("authorization").is_none() && arrived.headers.get("transfer-encoding").is_none());
}

/// S3 fails for a while, and the answer arrives all the same. Where it never does, Lambda is told, which sends the event
/// again; and that gets the same port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_sent_again() {
    let mut cloud = Cloud::new().await;
    let event = Stack::of(&cloud).create(wanted());
    cloud.s3.will(Mailman::Says(503, 2)).await;
    cloud.succeeds(&event).await;
    for (mailman, reason) in [
        (Mailman::Says(403, 99), "S3 refused the answer with status 403"),
        (Mailman::Says(500, 99), "status 500"),
        (Mailman::Hangs, "S3 did not answer in time"),
    ] {
        cloud.s3.will(mailman).await;
        let error = cloud.function.try_invoke(event.clone(), Duration::from_secs(6)).await.unwrap_err();
        let said = error["errorMessage"].as_str().unwrap();
        assert!(said.contains(reason) && !said.contains(SIGNATURE), "{said}");
        assert_eq!(cloud.numbers().await, [5000]);
    }
    while !cloud.s3.is_empty().await {}
    cloud.s3.will(Mailman::Takes).await;
    assert_eq!(cloud.succeeds(&event).await["Data"]["Port"], "5000");
}

/// The table hangs: the answer comes before Lambda's deadline, and says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_hangs_is_answered_in_time() {
    let mut cloud = Cloud::new().await;
    let hangs = Between::start(cloud.deployment.database.url().unwrap(), End::Before(1)).await;
    let function = cloud.another(hangs.url()).await;
    for event in [
        Stack::of(&cloud).create(wanted()),
        Stack::of(&cloud).update("portmaster:port:default/web/a:o", wanted(), wanted()),
        Stack::of(&cloud).delete("portmaster:port:default/web/a:o", wanted()),
    ] {
        let started = Instant::now();
        let time = Duration::from_secs(6);
        function.try_invoke(event.clone(), time).await.unwrap();
        assert!(started.elapsed() < time, "{event}");
        let answer = cloud.s3.next().await.json();
        assert_eq!(answer["Status"], "FAILED");
        let reason = answer["Reason"].as_str().unwrap();
        assert!(reason.to_lowercase().contains("try again") || reason.contains("before you retry"), "{reason}");
    }
    assert!(cloud.numbers().await.is_empty());
    // Terraform is answered in time as well.
    let mut event = json!({ "ResourceType": "Custom::PortmasterPort", "Service": "web", "Name": "a", "Owner": "o" });
    event["tf"] = json!({ "action": "create" });
    assert!(function.try_invoke(event, Duration::from_secs(4)).await.is_err());
}

/// A URL that is not S3's is not sent anything, and nothing is done: the function must not be a way into its network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_s3_is_answered() {
    let mut cloud = Cloud::new().await;
    let own = cloud.s3.url.clone();
    for url in [
        "http://169.254.169.254/latest/meta-data/iam",
        "https://example.com/x.s3.amazonaws.com",
        "http://b.s3.amazonaws.com/x",
        &own.replace("http://", "https://"),
        &format!("http://s3.amazonaws.com@{}", &own["http://".len()..]),
        &own.replace("127.0.0.1", "localhost"),
        "",
    ] {
        let mut event = Stack::of(&cloud).create(wanted());
        event["ResponseURL"] = json!(format!("{url}?{SIGNATURE}"));
        // The setting is the environment's alone.
        event["ResourceProperties"]["CUSTOM_RESOURCE_ANSWERS_TO"] = json!(url);
        let error = cloud.function.try_invoke(event, Duration::from_secs(30)).await.unwrap_err();
        let said = error["errorMessage"].as_str().unwrap();
        assert!(said.contains("not one of S3's") && !said.contains(SIGNATURE), "{said}");
    }
    assert!(cloud.numbers().await.is_empty());
    assert!(cloud.s3.is_empty().await);
}

/// Whatever is in an event, there is an answer that CloudFormation takes, or an error where nobody waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_events_are_answered() {
    let mut cloud = Cloud::new().await;
    let huge = "x".repeat(100_000);
    let odd = "\u{0}\u{1b}[31m\"\\\n\u{202e}😀${jndi:ldap://x}";
    for properties in [
        json!({ "Service": huge }),
        json!({ "Service": odd, "Name": odd, "Owner": odd }),
        json!({ "Service": "web", huge.as_str(): "x", odd: "y" }),
        json!({ "Service": ["web"], "Ports": { "a": [] }, "Labels": [1], "Port": 1e300, "Contiguous": [true] }),
        json!({ "Service": "web", "Ports": vec!["a"; 5000] }),
        json!({ "Service": "web", "Ports": (0..5000).map(|n| n.to_string()).collect::<Vec<_>>() }),
        json!({ "Service": "web", "Ports": ["", "-", "a/b", "../..", "a:b"] }),
        json!({ "Service": "web", "Name": "../../db", "Namespace": "team-a/../default" }),
        json!({ "Service": "web", "Owner": "*" }),
        json!({ "Service": "web", "Labels": { "a": odd, "UPPER": "x" } }),
    ] {
        for event in [
            Stack::of(&cloud).create(properties.clone()),
            Stack::of(&cloud).update(odd, properties.clone(), properties.clone()),
        ] {
            cloud.function.invoke(event).await;
            let arrived = cloud.s3.next().await;
            assert!(arrived.body.len() <= 4096, "{}", arrived.body.len());
            assert_eq!(arrived.json()["Status"], "FAILED", "{properties}");
        }
        let failed = Stack::of(&cloud).delete("portmaster:nothing", properties);
        cloud.succeeds(&failed).await;
    }
    for (part, value) in [
        ("RequestType", json!("Import")),
        ("ResourceType", json!("Custom::Other")),
        ("StackId", json!("arn:aws:cloudformation:::stack/../x")),
        ("ResourceProperties", json!("x")),
        ("OldResourceProperties", json!([])),
    ] {
        let mut event = Stack::of(&cloud).create(wanted());
        event[part] = value;
        cloud.fails(&event).await;
    }
    for part in ["StackId", "RequestId", "LogicalResourceId"] {
        for value in [Value::Null, json!({}), json!(huge)] {
            let mut event = Stack::of(&cloud).create(wanted());
            event[part] = value;
            assert!(cloud.function.try_invoke(event, Duration::from_secs(30)).await.is_err(), "{part}");
        }
    }
    assert!(cloud.numbers().await.is_empty());
}

/// One line for each event, with what is needed to find it; and the URL in none of them, at any level.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_one_line_without_its_url() {
    let cloud = Cloud::new().await;
    let url = cloud.deployment.database.url().unwrap();
    let everything = [&ALLOWED[..], &[("LOG_LEVEL", "trace")]].concat();
    let function = start(&cloud.s3, url, &everything).await;
    let made = Stack::of(&cloud).create(wanted());
    function.invoke(made.clone()).await;
    let line = function.log.next_of("portmaster::custom_resource").await;
    for (member, value) in [
        ("invocation_id", json!(INVOCATION)),
        ("request_id", made["RequestId"].clone()),
        ("logical_id", json!("Port")),
        ("source", json!("cloudformation")),
        ("action", json!("create")),
        ("resource", json!("Custom::PortmasterPort")),
        ("namespace", json!("default")),
        ("service", json!("web")),
        ("name", json!("shop-Port")),
        ("ports", json!("5000")),
        ("succeeded", json!(true)),
        ("outcome", json!("put")),
        ("tries", json!(1)),
    ] {
        assert_eq!(line[member], value, "{member} in {line}");
    }
    let counted = function.metrics.next().await;
    assert_eq!(counted["Puts"], json!(1), "{counted}");

    let physical = id(&cloud.s3.next().await.json());
    function.invoke(Stack::of(&cloud).create(json!({ "Service": "queue" }))).await;
    let line = function.log.next_of("portmaster::custom_resource").await;
    assert_eq!((&line["succeeded"], &line["outcome"]), (&json!(false), &json!("not-allowed")));
    function.invoke(Stack::of(&cloud).delete("made-up", wanted())).await;
    let warned = [
        function.log.next_of("portmaster::custom_resource").await,
        function.log.next_of("portmaster::custom_resource").await,
    ];
    assert_eq!((&warned[1]["level"], &warned[0]["outcome"]), (&json!("WARN"), &json!("unclear")));
    assert!(
        warned[1].to_string().contains("CloudFormation heard nothing of portmaster:port:default/web"),
        "{warned:?}"
    );
    function.invoke(Stack::of(&cloud).delete(&physical, wanted())).await;
    assert_eq!(function.log.next_of("portmaster::custom_resource").await["outcome"], "released");
    // And what goes wrong on the way to S3.
    for mailman in [Mailman::Says(403, 1), Mailman::Says(500, 99), Mailman::Hangs] {
        cloud.s3.will(mailman).await;
        function.try_invoke(made.clone(), Duration::from_secs(5)).await.unwrap_err();
    }
    let mut elsewhere = made;
    elsewhere["ResponseURL"] = json!(format!("https://example.com/?{SIGNATURE}"));
    function.try_invoke(elsewhere, Duration::from_secs(30)).await.unwrap_err();
    let (log, metrics) = (function.log.rest().await, function.metrics.rest().await);
    assert!(log.len() >= 3, "{log:?}");
    for line in log.iter().chain(&metrics) {
        assert!(!line.contains("X-Amz") && !line.contains("5c3f0a9e7d1b4c2f8e6a"), "{line}");
    }
}

/// A secret in the place of a name is in no line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_a_secret_is_not_logged() {
    let mut cloud = Cloud::new().await;
    let secret = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f";
    let wanted = json!({ "Service": "web", "Name": secret });
    let made = cloud.succeeds(&Stack::of(&cloud).create(wanted.clone())).await;
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&made), wanted.clone())).await;
    cloud.taken(secret, "other").await;
    cloud.fails(&Stack::of(&cloud).create(wanted)).await;
    let mut event = json!({ "ResourceType": "Custom::PortmasterPort", "Service": "web", "Name": secret, "Owner": "o" });
    event["tf"] = json!({ "action": "create" });
    let error = cloud.function.try_invoke(event, Duration::from_secs(30)).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().contains("already"), "{error}");
    let lines = cloud.function.log.rest().await;
    assert!(lines.len() >= 4 && !lines.iter().any(|line| line.contains(secret)), "{lines:?}");
}
