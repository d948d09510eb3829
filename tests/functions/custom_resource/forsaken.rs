//! Deletions under an id that CloudFormation made up, of a resource of which it has heard nothing.

use std::time::Duration;

use serde_json::json;

use super::{Asked, Cloud, Stack, id};

/// What CloudFormation makes up.
const MADE_UP: &str = "shop-Port-1B2C3D4E5F6G";

/// Another resource failed while this one was made: the stack has it under the id that was made up, or not at all any more.
/// Its port is freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_was_not_heard_of_goes_with_its_stack() {
    let mut cloud = Cloud::new().await;
    for wanted in [json!({ "Service": "web" }), json!({ "Service": "web", "Ports": ["a", "b"] })] {
        for asked in [Asked::Is(MADE_UP.to_owned()), Asked::Is(String::new()), Asked::Gone] {
            cloud.succeeds(&Stack::of(&cloud).create(wanted.clone())).await;
            cloud.s3.says(asked).await;
            let deleted = cloud.succeeds(&Stack::of(&cloud).delete(MADE_UP, wanted.clone())).await;
            assert_eq!(id(&deleted), MADE_UP);
            assert!(cloud.numbers().await.is_empty());
        }
    }
    let service = Stack { kind: "Custom::PortmasterService", ..Stack::of(&cloud) };
    let wanted = json!({ "Name": "previews", "Start": "6000", "End": "6099" });
    cloud.succeeds(&service.create(wanted.clone())).await;
    cloud.succeeds(&service.delete(MADE_UP, wanted)).await;
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
}

/// A later attempt has made it again, under the same name: it is the stack's, and stays. So does one of which CloudFormation
/// does not say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_the_stack_has_after_all_stays() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web" });
    let made = cloud.succeeds(&Stack::of(&cloud).create(wanted.clone())).await;
    for asked in [Asked::Is(id(&made)), Asked::Denied, Asked::Silent] {
        cloud.s3.says(asked).await;
        cloud.succeeds(&Stack::of(&cloud).delete(MADE_UP, wanted.clone())).await;
        assert_eq!(cloud.numbers().await, [5000]);
    }
}

/// Under a made-up id, too, nobody else's port is freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_port_stays() {
    let mut cloud = Cloud::new().await;
    cloud.taken("shop-Port", "other").await;
    cloud.s3.says(Asked::Gone).await;
    for wanted in [json!({ "Service": "web" }), json!({ "Service": "queue", "Name": "shop-Port" })] {
        cloud.succeeds(&Stack::of(&cloud).delete(MADE_UP, wanted)).await;
    }
    assert_eq!(cloud.names().await, ["shop-Port"]);
}

/// The deletion comes while the creation is still running, and waits for what that makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_is_running_is_waited_for() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web" });
    cloud.s3.says(Asked::Gone).await;
    let other = cloud.another(cloud.deployment.database.url().unwrap()).await;
    other.initialized().await;
    let (delete, create) = (Stack::of(&cloud).delete(MADE_UP, wanted.clone()), Stack::of(&cloud).create(wanted));
    let deleting = cloud.function.try_invoke(delete, Duration::from_secs(30));
    let creating = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.invoke(create).await
    };
    let (deleted, _) = futures::future::join(deleting, creating).await;
    deleted.unwrap();
    for _ in 0..2 {
        assert_eq!(cloud.s3.next().await.json()["Status"], "SUCCESS");
    }
    assert!(cloud.numbers().await.is_empty());
}
