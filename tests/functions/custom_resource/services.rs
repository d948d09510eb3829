//! Services of stacks of CloudFormation.

use serde_json::json;

use super::{Asked, Cloud, GUID, Stack, id};

fn range<'a>(cloud: &'a Cloud) -> Stack<'a> {
    Stack { logical_id: "Range", kind: "Custom::PortmasterService", ..Stack::of(cloud) }
}

/// Every event may come twice. The description says whose the service is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_lives_as_long_as_its_stack() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({
        "Name": "previews", "Start": "6000", "End": "6099", "Description": "Previews", "Strategy": "random",
        "CooldownSeconds": "60", "QuarantineSeconds": "120", "Reserved": ["6000", "6010-6019"], "MaxLeaseSeconds": "3600",
    });
    let mut made = Vec::new();
    for _ in 0..2 {
        made.push(cloud.succeeds(&range(&cloud).create(wanted.clone())).await);
    }
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0]["Data"], json!({ "Name": "previews", "Namespace": "default", "Start": "6000", "End": "6099" }));
    let owner = format!("cfn/{GUID}/Range");
    assert_eq!(id(&made[0]), format!("portmaster:service:default/previews:{owner}"));
    let (_, service) = cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await;
    assert_eq!(service["description"], format!("Previews [{owner}]"));
    assert_eq!((&service["cooldown_seconds"], &service["strategy"]), (&json!(60), &json!("random")));
    assert_eq!(service["reserved"], json!([6000, { "start": 6010, "end": 6019 }]));

    let wider = json!({ "Name": "previews", "Start": "6000", "End": "6199" });
    for _ in 0..2 {
        let updated = cloud.succeeds(&range(&cloud).update(&id(&made[0]), wider.clone(), wanted.clone())).await;
        assert_eq!((id(&updated), &updated["Data"]["End"]), (id(&made[0]), &json!("6199")));
    }
    let (_, service) = cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await;
    assert_eq!(
        (service["description"].as_str().unwrap(), &service["reserved"]),
        (&*format!("[{owner}]"), &json!(null))
    );
    for _ in 0..2 {
        cloud.succeeds(&range(&cloud).delete(&id(&made[0]), wider.clone())).await;
        assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
    }
}

/// A service with ports is not deleted, and the refusal names them; without them it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_in_the_way_of_a_deletion() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Start": "6000", "End": "6099" });
    let made = cloud.succeeds(&range(&cloud).create(wanted.clone())).await;
    assert_eq!(made["Data"]["Name"], "shop-Range");
    let ports = |number: usize| format!("/v1/services/shop-Range/ports/job-{number}");
    for number in 0..7 {
        let body = (number > 0).then(|| json!({ "owner": format!("team-{number}") }));
        assert_eq!(cloud.deployment.call("put-port", "PUT", &ports(number), body).await.0, 201);
    }
    for _ in 0..2 {
        let reason = cloud.fails(&range(&cloud).delete(&id(&made), wanted.clone())).await;
        for part in ["7 ports", "6000 of job-0, 6001 of job-1 (team-1)", "6004 of job-4", "and others"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(!reason.contains("job-5"), "{reason}");
    }
    // Nor is its range given up by a smaller one.
    let smaller = json!({ "Start": "6050", "End": "6099" });
    let reason = cloud.fails(&range(&cloud).update(&id(&made), smaller, wanted.clone())).await;
    assert!(reason.contains("7 ports in use would lie outside"), "{reason}");
    for number in 0..7 {
        let released =
            cloud.deployment.call("release-port", "DELETE", &format!("{}?owner=*", ports(number)), None).await;
        assert_eq!(released.0, 204);
    }
    cloud.succeeds(&range(&cloud).delete(&id(&made), wanted)).await;
}

/// What somebody else made is neither taken over, nor changed, nor deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_service_stays_as_it_is() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Name": "previews", "Start": "6000", "End": "6099" });
    let theirs = json!({ "name": "previews", "start": 6000, "end": 6099, "description": "[cfn/other/Range]" });
    let (_, before) = cloud.deployment.call("create-service", "POST", "/v1/services", Some(theirs)).await;
    let failed = cloud.hears(&range(&cloud).create(wanted.clone())).await;
    assert!(failed["Reason"].as_str().unwrap().contains("this resource did not make it"), "{failed}");
    cloud.fails(&range(&cloud).update(&id(&failed), wanted.clone(), wanted.clone())).await;
    cloud.succeeds(&range(&cloud).delete(&id(&failed), wanted.clone())).await;
    let (_, after) = cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await;
    assert_eq!(after, before);
    // One whose mark was taken off by hand is nobody's stack's any more.
    let wanted = json!({ "Name": "others", "Start": "7000", "End": "7099" });
    let made = cloud.succeeds(&range(&cloud).create(wanted.clone())).await;
    let patch = json!({ "description": "kept by hand" });
    cloud.deployment.call("patch-service", "PATCH", "/v1/services/others", Some(patch)).await;
    cloud.succeeds(&range(&cloud).delete(&id(&made), wanted)).await;
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/others", None).await.0, 200);
}

/// Another name is another service, which CloudFormation has made before it deletes the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_replaced_by_name() {
    let mut cloud = Cloud::new().await;
    let of = |name: &str, start: u16| json!({ "Name": name, "Start": start, "End": start + 99 });
    let old = cloud.succeeds(&range(&cloud).create(of("previews", 6000))).await;
    let overlap = cloud.fails(&range(&cloud).update(&id(&old), of("others", 6050), of("previews", 6000))).await;
    assert!(overlap.contains("overlaps"), "{overlap}");
    let new = cloud.succeeds(&range(&cloud).update(&id(&old), of("others", 7000), of("previews", 6000))).await;
    assert_ne!(id(&new), id(&old));
    // Lost, and undone: what was made is deleted.
    cloud.s3.says(Asked::Is(id(&old))).await;
    cloud.succeeds(&range(&cloud).update(&id(&old), of("previews", 6000), of("others", 7000))).await;
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/others", None).await.0, 404);
    let new = cloud.succeeds(&range(&cloud).update(&id(&old), of("others", 7000), of("previews", 6000))).await;
    cloud.succeeds(&range(&cloud).delete(&id(&old), of("previews", 6000))).await;
    assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
    cloud.succeeds(&range(&cloud).delete(&id(&new), of("others", 7000))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_cannot_be_is_refused() {
    let cloud = Cloud::new().await;
    let long = "d".repeat(1020);
    for (wanted, reason) in [
        (json!({ "Name": "previews" }), "Start is required; End is required"),
        (json!({ "Name": "previews", "Start": "6099", "End": "6000" }), "Start"),
        (json!({ "Name": "previews", "Start": "5005", "End": "6000" }), "overlaps"),
        (json!({ "Name": "previews", "Start": "6000", "End": "6099", "Strategy": "best" }), "lowest, hashed, random"),
        (json!({ "Name": "previews", "Start": "6000", "End": "6099", "Reserved": ["6000-"] }), "5070-5079"),
        (json!({ "Name": "previews", "Start": "6000", "End": "6099", "Description": long }), "1024"),
        (json!({ "Name": "previews", "Start": "6000", "End": "6099", "Port": "1" }), "there is no \"Port\""),
        (json!({ "Name": "web", "Start": "6000", "End": "6099" }), "CustomResourceServices"),
        (
            json!({ "Name": "previews", "Namespace": "team-z", "Start": "6000", "End": "6099" }),
            "CustomResourceServices",
        ),
    ] {
        let failed = cloud.hears(&range(&cloud).create(wanted.clone())).await;
        let said = failed["Reason"].as_str().unwrap_or_default();
        assert!(failed["Status"] == "FAILED" && said.contains(reason), "{wanted}: {said}");
        cloud.succeeds(&range(&cloud).delete(&id(&failed), wanted)).await;
    }
}
