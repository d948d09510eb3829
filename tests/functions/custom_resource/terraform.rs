//! The events that Terraform's `aws_lambda_invocation` sends with `lifecycle_scope = "CRUD"`.

use std::time::Duration;

use serde_json::{Value, json};

use super::Cloud;

/// The event of an action: the input, and what the provider adds.
pub(super) fn event(action: &str, input: &Value, previous: Option<&Value>) -> Value {
    let mut event = input.clone();
    event["tf"] = json!({ "action": action, "prev_input": previous });
    event
}

pub(super) fn port(name: &str) -> Value {
    json!({ "ResourceType": "Custom::PortmasterPort", "Service": "web", "Name": name, "Owner": "tf/shop/production" })
}

impl Cloud {
    pub(super) async fn applies(&self, event: Value) -> Value {
        let returned = self.function.try_invoke(event.clone(), Duration::from_secs(30)).await;
        returned.unwrap_or_else(|error| panic!("{event}: {error}"))
    }

    async fn refuses(&self, event: Value) -> String {
        let returned = self.function.try_invoke(event.clone(), Duration::from_secs(30)).await;
        let error = returned.expect_err(&event.to_string());
        error["errorMessage"].as_str().unwrap().to_owned()
    }
}

/// Each action may come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_lives_as_long_as_its_configuration() {
    let mut cloud = Cloud::new().await;
    let made = cloud.applies(event("create", &port("api"), None)).await;
    assert_eq!(
        made,
        json!({ "Id": "portmaster:port:default/web/api:tf/shop/production", "Port": 5000, "Ports": [5000], "Name": "api",
            "ExpiresAt": null })
    );
    assert_eq!(cloud.applies(event("create", &port("api"), None)).await, made);
    let mut labelled = port("api");
    labelled["Labels"] = json!({ "team": "shop" });
    for _ in 0..2 {
        assert_eq!(cloud.applies(event("update", &labelled, Some(&port("api")))).await, made);
    }
    for _ in 0..2 {
        cloud.applies(event("delete", &labelled, Some(&labelled))).await;
        assert!(cloud.numbers().await.is_empty());
    }
}

/// Terraform has no deletion after an update, so the update releases what was replaced: once the new port is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_releases_what_it_replaced() {
    let mut cloud = Cloud::new().await;
    cloud.applies(event("create", &port("api"), None)).await;
    for _ in 0..2 {
        assert_eq!(cloud.applies(event("update", &port("new"), Some(&port("api")))).await["Port"], 5001);
        assert_eq!(cloud.numbers().await, [5001]);
    }
    // From one port to several that share a name with it: it stays.
    let several = |parts: &[&str]| {
        let mut input = port("n");
        input["Ports"] = json!(parts);
        input
    };
    let mut first = port("n-http");
    first["Port"] = json!(5004);
    cloud.applies(event("create", &first, None)).await;
    let made = cloud.applies(event("update", &several(&["http", "grpc"]), Some(&first))).await;
    assert_eq!((&made["Port.http"], &made["Ports"]), (&json!(5004), &json!([5004, 5000])));
    let less = cloud.applies(event("update", &several(&["grpc"]), Some(&several(&["http", "grpc"])))).await;
    assert_eq!((&less["Ports"], cloud.numbers().await), (&json!([5000]), vec![5000, 5001]));
}

/// A failed update has freed nothing. Terraform stores it as done all the same, and the deletion that follows has both
/// inputs, or the new one alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_update_frees_nothing() {
    let mut cloud = Cloud::new().await;
    cloud.applies(event("create", &port("api"), None)).await;
    let theirs = cloud.taken("theirs", "other").await;
    let reason = cloud.refuses(event("update", &port("theirs"), Some(&port("api")))).await;
    assert!(reason.contains(&format!("theirs has port {theirs}")), "{reason}");
    assert_eq!(cloud.names().await, ["api", "theirs"]);
    cloud.applies(event("delete", &port("theirs"), Some(&port("api")))).await;
    assert_eq!(cloud.names().await, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_lives_as_long_as_its_configuration() {
    let mut cloud = Cloud::new().await;
    let service = |name: &str, start: u16| json!({ "ResourceType": "Custom::PortmasterService", "Name": name, "Owner": "tf/shop", "Start": start, "End": start + 9 });
    let made = cloud.applies(event("create", &service("previews", 6000), None)).await;
    assert_eq!((&made["Name"], &made["Start"]), (&json!("previews"), &json!(6000)));
    cloud.applies(event("update", &service("others", 7000), Some(&service("previews", 6000)))).await;
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
    let path = "/v1/services/others/ports/a";
    assert_eq!(cloud.deployment.call("put-port", "PUT", path, None).await.0, 201);
    let others = service("others", 7000);
    let reason = cloud.refuses(event("delete", &others, Some(&others))).await;
    assert!(reason.contains("7000 of a"), "{reason}");
    assert_eq!(cloud.deployment.call("release-port", "DELETE", path, None).await.0, 204);
    for _ in 0..2 {
        cloud.applies(event("delete", &others, Some(&others))).await;
    }
}

/// What neither of the two sends is refused, and nothing is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_events_are_refused() {
    let mut cloud = Cloud::new().await;
    let mut ambiguous = super::Stack::of(&cloud).create(json!({ "Service": "web" }));
    ambiguous["tf"] = json!({ "action": "create" });
    let without = |part: &str| {
        let mut input = port("api");
        input.as_object_mut().unwrap().remove(part);
        event("create", &input, None)
    };
    let mut extra = port("api");
    extra["ServiceTokn"] = json!("x");
    for (event, reason) in [
        (json!({}), "neither from CloudFormation"),
        (json!([]), "neither from CloudFormation"),
        (json!("x"), "neither from CloudFormation"),
        (json!({ "version": "2.0", "routeKey": "GET /health" }), "unknown"),
        (port("api"), "neither from CloudFormation"),
        (ambiguous, "ambiguous"),
        (without("Owner"), "Owner is required"),
        (without("Name"), "Name is required"),
        (without("Service"), "Service is required"),
        (without("ResourceType"), "Custom::PortmasterPort and Custom::PortmasterService"),
        (event("read", &port("api"), None), "tf.action"),
        (event("create", &extra, None), "there is no \"ServiceTokn\""),
        (
            event(
                "create",
                &json!({ "ResourceType": "Custom::PortmasterPort", "Service": "queue", "Name": "a", "Owner": "o" }),
                None,
            ),
            "CustomResourcePorts",
        ),
    ] {
        let said = cloud.refuses(event.clone()).await;
        assert!(said.contains(reason), "{event}: {said}");
    }
    assert!(cloud.numbers().await.is_empty());
    assert!(cloud.s3.is_empty().await);
}
