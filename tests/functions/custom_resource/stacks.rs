//! Ports of stacks of CloudFormation.

use serde_json::{Value, json};

use super::{Asked, Cloud, GUID, Stack, id};
use portmaster_testkit::Function;

/// Every event may come twice, and the second time changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_lives_as_long_as_its_stack() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web", "Labels": { "team": "shop" } });
    let created = {
        let stack = Stack::of(&cloud);
        let created = cloud.succeeds(&stack.create(wanted.clone())).await;
        assert_eq!(cloud.succeeds(&stack.create(wanted.clone())).await, created);
        created
    };
    let owner = format!("cfn/{GUID}/Port");
    assert_eq!(created["Data"], json!({ "Port": "5000", "Ports": "5000", "Name": "shop-Port", "ExpiresAt": "" }));
    assert_eq!(id(&created), format!("portmaster:port:default/web/shop-Port:{owner}"));
    assert_eq!(cloud.ports("web").await, [(5000, "shop-Port".to_owned(), owner.clone())]);

    let other = json!({ "Service": "web", "Labels": { "team": "other" } });
    for _ in 0..2 {
        let updated = cloud.succeeds(&Stack::of(&cloud).update(&id(&created), other.clone(), wanted.clone())).await;
        assert_eq!((id(&updated), &updated["Data"]), (id(&created), &created["Data"]));
    }
    let (_, port) = cloud.deployment.call("get-port", "GET", "/v1/services/web/ports/shop-Port", None).await;
    assert_eq!(port["labels"], json!({ "team": "other" }));

    for _ in 0..2 {
        let deleted = cloud.succeeds(&Stack::of(&cloud).delete(&id(&created), other.clone())).await;
        assert_eq!((id(&deleted), &deleted["Data"]), (id(&created), &Value::Null));
        assert_eq!(cloud.ports("web").await, []);
    }
}

/// Every value may be a text, as CloudFormation sends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_may_be_said_in_many_ways() {
    let mut cloud = Cloud::new().await;
    let number = json!({ "Service": "web", "Name": "api", "Owner": "team-web", "Port": "5003", "LeaseSeconds": "600" });
    let made = cloud.succeeds(&Stack::of(&cloud).create(number)).await;
    assert_eq!(id(&made), "portmaster:port:default/web/api:team-web");
    assert_eq!((&made["Data"]["Port"], &made["Data"]["Name"]), (&json!("5003"), &json!("api")));
    assert!(made["Data"]["ExpiresAt"].as_str().unwrap().ends_with('Z'));

    let set = json!({ "Service": "web", "Name": "job", "Ports": ["http", "grpc"], "Contiguous": "true", "Port": "" });
    let made = cloud.succeeds(&Stack::of(&cloud).create(set.clone())).await;
    let data = &made["Data"];
    assert_eq!((&data["Ports"], &data["Port"], &data["Name"]), (&json!("5000,5001"), &json!("5000"), &json!("job")));
    assert_eq!((&data["Port.http"], &data["Port.grpc"]), (&json!("5000"), &json!("5001")));
    assert_eq!(cloud.names().await, ["api", "job-grpc", "job-http"]);
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&made), set)).await;
    assert_eq!(cloud.numbers().await, [5003]);
}

/// More of several ports is an update of the same resource: what stays keeps its port, what goes is released at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_come_and_go_while_the_rest_stays() {
    let mut cloud = Cloud::new().await;
    let of = |parts: &[&str]| json!({ "Service": "web", "Name": "job", "Ports": parts });
    let one = cloud.succeeds(&Stack::of(&cloud).create(of(&["a"]))).await;
    let theirs = cloud.taken("stranger", "other").await;
    let two = cloud.succeeds(&Stack::of(&cloud).update(&id(&one), of(&["a", "b"]), of(&["a"]))).await;
    let (a, b) = (one["Data"]["Port"].clone(), two["Data"]["Port.b"].clone());
    assert_eq!((id(&two), &two["Data"]["Port.a"], &two["Data"]["Port"]), (id(&one), &a, &a));
    // The order of the ports is the order of the parts.
    let turned = cloud.succeeds(&Stack::of(&cloud).update(&id(&one), of(&["b", "a"]), of(&["a", "b"]))).await;
    assert_eq!(turned["Data"]["Ports"], format!("{},{}", b.as_str().unwrap(), a.as_str().unwrap()));
    for _ in 0..2 {
        let less = cloud.succeeds(&Stack::of(&cloud).update(&id(&one), of(&["b"]), of(&["b", "a"]))).await;
        assert_eq!((id(&less), &less["Data"]["Ports"]), (id(&one), &b));
        assert_eq!(cloud.names().await, ["job-b", "stranger"]);
    }
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&one), of(&["b"]))).await;
    assert_eq!(cloud.numbers().await, [theirs]);
}

/// Another identity is another resource: the old port is held until CloudFormation deletes it by its old id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_takes_before_it_gives() {
    let mut cloud = Cloud::new().await;
    let of = |name: &str| json!({ "Service": "web", "Name": name });
    let old = cloud.succeeds(&Stack::of(&cloud).create(of("a"))).await;
    let new = cloud.succeeds(&Stack::of(&cloud).update(&id(&old), of("b"), of("a"))).await;
    assert_ne!(id(&old), id(&new));
    assert_eq!(cloud.numbers().await, [5000, 5001]);
    // The rest of the stack failed: back to the old one, and the new one goes.
    let back = cloud.succeeds(&Stack::of(&cloud).update(&id(&new), of("a"), of("b"))).await;
    assert_eq!((id(&back), &back["Data"]), (id(&old), &old["Data"]));
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&new), of("b"))).await;
    assert_eq!(cloud.numbers().await, [5000]);
    // And again, with success.
    let new = cloud.succeeds(&Stack::of(&cloud).update(&id(&old), of("b"), of("a"))).await;
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&old), of("a"))).await;
    assert_eq!(cloud.names().await, ["b"]);
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&new), of("b"))).await;
    assert!(cloud.numbers().await.is_empty());
}

/// An update that fails has freed nothing, has the old id, and can be undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_update_changes_nothing() {
    let mut cloud = Cloud::new().await;
    let before = json!({ "Service": "web", "Name": "a" });
    let old = cloud.succeeds(&Stack::of(&cloud).create(before.clone())).await;
    let theirs = cloud.taken("theirs", "other").await;
    let (has, holds) = (format!("theirs has port {theirs}"), format!("Port {theirs} is held by theirs"));
    for (wanted, reason) in [
        (json!({ "Service": "web", "Name": "theirs" }), &*has),
        (json!({ "Service": "web", "Name": "b", "Port": theirs }), &holds),
        (json!({ "Service": "web", "Name": "b", "Port": "6000" }), "Port 6000 is not one of web's"),
        (json!({ "Service": "web", "Name": "a", "Port": "5005" }), "a name keeps its port"),
        (json!({ "Service": "db", "Name": "a" }), "There is no service db"),
        (json!({ "Service": "queue", "Name": "a" }), "CustomResourcePorts"),
        (
            json!({ "Service": "web", "Name": "job", "Ports": (0..12).map(|n| format!("p{n}")).collect::<Vec<_>>() }),
            "ports",
        ),
        (json!({ "Service": "web", "Name": "a", "Prot": "5000" }), "there is no \"Prot\""),
    ] {
        let stack = Stack::of(&cloud);
        let failed = cloud.hears(&stack.update(&id(&old), wanted.clone(), before.clone())).await;
        let said = failed["Reason"].as_str().unwrap_or_default();
        assert!(failed["Status"] == "FAILED" && said.contains(reason), "{wanted}: {failed}");
        assert_eq!(id(&failed), id(&old));
        let back = cloud.succeeds(&stack.update(&id(&old), before.clone(), wanted.clone())).await;
        assert_eq!((id(&back), &back["Data"]), (id(&old), &old["Data"]), "{wanted}");
        assert_eq!(cloud.names().await, ["a", "theirs"], "{wanted}");
    }
}

/// An update that made something and was never heard of is undone by the update that follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_update_made_is_released() {
    let mut cloud = Cloud::new().await;
    let of = |name: &str| json!({ "Service": "web", "Name": name });
    let old = cloud.succeeds(&Stack::of(&cloud).create(of("a"))).await;
    // Its answer gets lost, so that CloudFormation goes on with the old id.
    cloud.succeeds(&Stack::of(&cloud).update(&id(&old), of("b"), of("a"))).await;
    assert_eq!(cloud.numbers().await, [5000, 5001]);
    let back = Stack::of(&cloud).update(&id(&old), of("a"), of("b"));
    // As long as CloudFormation does not say that the stack does not have it, nothing is freed.
    assert_eq!(id(&cloud.succeeds(&back).await), id(&old));
    assert_eq!(cloud.names().await, ["a", "b"]);
    cloud.s3.says(Asked::Is(id(&old))).await;
    cloud.succeeds(&back).await;
    assert_eq!(cloud.names().await, ["a"]);
    // The next update succeeds; and then that event comes once more, late. The stack has the other port by now.
    let new = cloud.succeeds(&Stack::of(&cloud).update(&id(&old), of("b"), of("a"))).await;
    cloud.s3.says(Asked::Is(id(&new))).await;
    cloud.succeeds(&back).await;
    assert_eq!(cloud.names().await, ["a", "b"]);
}

/// Two identities that share the name of a port cannot follow one another: the deletion of the old one would free what
/// the new one has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_not_handed_from_one_identity_to_the_next() {
    let mut cloud = Cloud::new().await;
    let one = json!({ "Service": "web", "Name": "job-http" });
    let several = json!({ "Service": "web", "Name": "job", "Ports": ["http", "grpc"] });
    let old = cloud.succeeds(&Stack::of(&cloud).create(one.clone())).await;
    let reason = cloud.fails(&Stack::of(&cloud).update(&id(&old), several.clone(), one.clone())).await;
    assert!(reason.contains("job-http") && reason.contains("another Name"), "{reason}");
    assert_eq!(cloud.numbers().await, [5000]);
    cloud.succeeds(&Stack::of(&cloud).update(&id(&old), one, several)).await;
    assert_eq!(cloud.numbers().await, [5000]);
}

/// A creation that failed is followed by a deletion, under the id of its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_creation_can_be_deleted() {
    let mut cloud = Cloud::new().await;
    let theirs = cloud.taken("shop-Port", "other").await;
    for wanted in [
        json!({ "Service": "web" }),
        json!({ "Service": "db" }),
        json!({ "Service": "queue" }),
        json!({ "Service": "web", "Namespace": "team-b" }),
        json!({ "Service": "web", "Namespace": "team-a" }),
        json!({ "Service": "web", "Port": "80" }),
        // Not even where another stack has said the same, in a namespace that there is.
        json!({ "Service": "web", "Namespace": "no namespace", "Name": "shop-Port", "Owner": "other" }),
        json!({ "Service": "" }),
        json!({}),
    ] {
        let stack = Stack::of(&cloud);
        let failed = cloud.hears(&stack.create(wanted.clone())).await;
        assert_eq!(failed["Status"], "FAILED", "{failed}");
        for _ in 0..2 {
            cloud.succeeds(&stack.delete(&id(&failed), wanted.clone())).await;
        }
        assert_eq!(cloud.ports("web").await, [(theirs, "shop-Port".to_owned(), "other".to_owned())]);
    }
}

/// A deletion frees the port of its owner and nothing else, whatever its id is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_frees_its_own() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web", "Name": "api", "Ports": ["a"] });
    cloud.taken("api", "other").await;
    cloud.taken("api-a", "other").await;
    let owner = format!("cfn/{GUID}/Port");
    for id in [
        // What CloudFormation makes up where it has heard nothing.
        "shop-Port-1B2C3D4E5F6G".to_owned(),
        "2026/11/30/[$LATEST]0123456789abcdef".to_owned(),
        "portmaster:nothing".to_owned(),
        String::new(),
        // Another's port under our name, and ours in places that are not there.
        format!("portmaster:port:default/web/api:{owner}"),
        format!("portmaster:ports:default/web/api:{owner}"),
        format!("portmaster:port:default/db/api:{owner}"),
        format!("portmaster:port:team-a/web/api:{owner}"),
        format!("portmaster:service:default/web:{owner}"),
        // Not an owner, and not for release.
        "portmaster:port:default/web/api:*".to_owned(),
        "portmaster:port:default/web/api:".to_owned(),
    ] {
        let deleted = cloud.succeeds(&Stack::of(&cloud).delete(&id, wanted.clone())).await;
        assert_eq!(deleted["PhysicalResourceId"], json!(id));
        assert_eq!(cloud.names().await, ["api", "api-a"], "{id}");
    }
}

/// The port went to somebody else after its lease: it stays theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_out_of_order_free_nothing_of_others() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web" });
    let id = format!("portmaster:port:default/web/shop-Port:cfn/{GUID}/Port");
    cloud.succeeds(&Stack::of(&cloud).delete(&id, wanted.clone())).await;
    cloud.succeeds(&Stack::of(&cloud).update(&id, wanted.clone(), wanted.clone())).await;
    cloud.succeeds(&Stack::of(&cloud).create(wanted.clone())).await;
    assert_eq!(cloud.numbers().await, [5000]);
    cloud.succeeds(&Stack::of(&cloud).delete(&id, wanted.clone())).await;
    let theirs = cloud.taken("shop-Port", "other").await;
    cloud.succeeds(&Stack::of(&cloud).delete(&id, wanted.clone())).await;
    assert_eq!(cloud.numbers().await, [theirs]);
    // A second stack of the same name is another owner.
    let stack = Stack { guid: "99999999-da77-11e4-872e-1234567db123", ..Stack::of(&cloud) };
    let reason = cloud.fails(&stack.create(wanted)).await;
    assert!(reason.contains(&format!("shop-Port has port {theirs}")), "{reason}");
}

/// A service or a namespace that is gone has no ports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_can_be_deleted_without_its_service() {
    let mut cloud = Cloud::new().await;
    let wanted = json!({ "Service": "web", "Namespace": "team-a" });
    let service = json!({ "name": "web", "start": 5000, "end": 5009 });
    cloud.deployment.call("put-namespace", "PUT", "/v1/namespaces/team-a", None).await;
    let services = "/v1/namespaces/team-a/services";
    cloud.deployment.call("create-service", "POST", services, Some(service)).await;
    let made = cloud.succeeds(&Stack::of(&cloud).create(wanted.clone())).await;
    assert!(id(&made).starts_with("portmaster:port:team-a/web/"), "{made}");
    let path = "/v1/namespaces/team-a/services/web";
    let release = format!("{path}/ports/shop-Port?owner=*");
    assert_eq!(cloud.deployment.call("release-port", "DELETE", &release, None).await.0, 204);
    assert_eq!(cloud.deployment.call("delete-service", "DELETE", path, None).await.0, 204);
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&made), wanted.clone())).await;
    assert_eq!(cloud.deployment.call("delete-namespace", "DELETE", "/v1/namespaces/team-a", None).await.0, 204);
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&made), wanted)).await;
}

/// A service that leases every port is refused, unless the template says that it may be so: nobody renews for a stack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_has_to_be_asked_for() {
    let mut cloud = Cloud::new().await;
    let service = json!({ "name": "db", "start": 6000, "end": 6009, "max_lease_seconds": 600 });
    assert_eq!(cloud.deployment.call("create-service", "POST", "/v1/services", Some(service)).await.0, 201);
    let failed = cloud.hears(&Stack::of(&cloud).create(json!({ "Service": "db" }))).await;
    let reason = failed["Reason"].as_str().unwrap();
    assert!(reason.contains("set LeaseSeconds"), "{reason}");
    cloud.succeeds(&Stack::of(&cloud).delete(&id(&failed), json!({ "Service": "db" }))).await;
    assert_eq!(cloud.ports("db").await, []);
    let leased = json!({ "Service": "db", "LeaseSeconds": 3600 });
    let made = cloud.succeeds(&Stack::of(&cloud).create(leased)).await;
    assert_ne!(made["Data"]["ExpiresAt"], "");
}

/// Ten stacks of one template at the same time, each with a process of its own, and each event twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_stacks_at_once_share_no_port() {
    let mut cloud = Cloud::new().await;
    let url = cloud.deployment.database.url().unwrap().to_owned();
    let mut functions: Vec<Function> = Vec::new();
    for _ in 0..10 {
        functions.push(cloud.another(&url).await);
    }
    let wanted = json!({ "Service": "web", "Owner": "" });
    let guids: Vec<_> = (0..10).map(|number| format!("{number}1af3dc0-da77-11e4-872e-1234567db123")).collect();
    let of = |number: usize| Stack { guid: &guids[number], ..Stack::of(&cloud) };
    let mut named = wanted.clone();
    for _ in 0..2 {
        let events = functions.iter().enumerate().map(|(number, function)| {
            named["Name"] = json!(format!("port-{number}"));
            let event = of(number).create(named.clone());
            async move { function.invoke(event).await }
        });
        futures::future::join_all(events).await;
    }
    let mut ports = std::collections::BTreeMap::new();
    for _ in 0..20 {
        let answer = cloud.s3.next().await.json();
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        let port = answer["Data"]["Port"].as_str().unwrap().to_owned();
        assert_eq!(*ports.entry(port).or_insert_with(|| id(&answer)), id(&answer));
    }
    assert_eq!(ports.len(), 10);
    let full = cloud.fails(&of(0).create(json!({ "Service": "web", "Name": "eleventh" }))).await;
    assert!(full.contains("10 allocated"), "{full}");
    assert_eq!(cloud.numbers().await.len(), 10);
}
