//! What the settings allow: nothing, unless they say so.

use std::time::Duration;

use serde_json::json;

use super::{Cloud, Stack, id, start};

/// Without a setting every event is refused, and the refusal names the setting's parameter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_allowed_by_default() {
    let mut cloud = Cloud::new().await;
    let made = cloud.succeeds(&Stack::of(&cloud).create(json!({ "Service": "web" }))).await;
    let url = cloud.deployment.database.url().unwrap().to_owned();
    let closed = start(&cloud.s3, &url, &[]).await;
    let time = Duration::from_secs(30);
    let service = Stack { kind: "Custom::PortmasterService", ..Stack::of(&cloud) };
    for (event, parameter) in [
        (Stack::of(&cloud).create(json!({ "Service": "web", "Name": "other" })), "CustomResourcePorts"),
        (service.create(json!({ "Name": "previews", "Start": "6000", "End": "6099" })), "CustomResourceServices"),
        // It was allowed once, and its port is still there: that has to be seen, and not to be released.
        (Stack::of(&cloud).delete(&id(&made), json!({ "Service": "web" })), "CustomResourcePorts"),
    ] {
        closed.try_invoke(event.clone(), time).await.unwrap();
        let answer = cloud.s3.next().await.json();
        let reason = answer["Reason"].as_str().unwrap_or_default();
        assert!(answer["Status"] == "FAILED" && reason.contains(parameter), "{event}: {answer}");
    }
    // What was refused left nothing to delete, so that its deletion goes well.
    let refused = "portmaster:port:default/web/other:cfn/51af3dc0-da77-11e4-872e-1234567db123/Port";
    closed
        .try_invoke(Stack::of(&cloud).delete(refused, json!({ "Service": "web", "Name": "other" })), time)
        .await
        .unwrap();
    assert_eq!(cloud.s3.next().await.json()["Status"], "SUCCESS");
    assert_eq!(cloud.numbers().await, [5000]);
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
}

/// Who may take ports may not make services by that, nor the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_and_services_are_allowed_apart() {
    let cloud = Cloud::new().await;
    let service = Stack { kind: "Custom::PortmasterService", ..Stack::of(&cloud) };
    let reason = cloud.fails(&service.create(json!({ "Name": "db", "Start": "6000", "End": "6099" }))).await;
    assert!(reason.contains("CustomResourceServices"), "{reason}");
    cloud.succeeds(&service.create(json!({ "Name": "previews", "Start": "6000", "End": "6099" }))).await;
    let reason = cloud.fails(&Stack::of(&cloud).create(json!({ "Service": "previews" }))).await;
    assert!(reason.contains("CustomResourcePorts"), "{reason}");
}
