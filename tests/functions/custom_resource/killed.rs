//! The process dies, at each point. Lambda sends the event again, and then all is as if it had not died; or nobody sends it
//! again, and the stack is rolled back.

use std::time::Duration;

use portmaster_testkit::{Between, End};
use serde_json::{Value, json};

use super::terraform::{event, port};
use super::{Asked, Cloud, Mailman, Stack, id};

/// More requests than any of these events makes.
const MOST: usize = 40;

/// How long a request may take to come by.
const SOON: Duration = Duration::from_secs(30);

/// Runs an event in processes that are killed at each of its requests to the table in turn, before and after the request is
/// executed. `prepare` makes a world for each; `check` looks at what is left, after which the event comes again.
async fn at_each_request<F>(event: impl Fn(&Cloud) -> Value, mut prepare: impl AsyncFnMut(&mut Cloud), mut check: F)
where
    F: AsyncFnMut(&mut Cloud, Value),
{
    let mut points = 0;
    for number in 0..MOST {
        let mut reached = false;
        for end in [End::Before(number), End::After(number)] {
            let mut cloud = Cloud::new().await;
            prepare(&mut cloud).await;
            let event = event(&cloud);
            // The first request of a process is not the event's.
            let between = Between::start(cloud.deployment.database.url().unwrap(), shifted(end)).await;
            let function = cloud.another(between.url()).await;
            function.initialized().await;
            let is_cloudformations = event.get("ResponseURL").is_some();
            tokio::select! {
                stopped = between.stopped(SOON) => {
                    assert!(stopped, "{end:?}: neither stopped nor answered");
                    reached = true;
                    function.stop().await;
                    points += 1;
                }
                _ = function.try_invoke(event.clone(), SOON) => {
                    if is_cloudformations {
                        cloud.s3.next().await;
                    }
                }
            }
            check(&mut cloud, event).await;
        }
        if !reached {
            println!("killed at {points} points");
            assert!(points >= 2, "{points}");
            return;
        }
    }
    panic!("the event makes more than {MOST} requests");
}

fn shifted(end: End) -> End {
    match end {
        End::Never => End::Never,
        End::Before(number) => End::Before(number + 1),
        End::After(number) => End::After(number + 1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_died_gets_the_same_port() {
    for wanted in [
        json!({ "Service": "web" }),
        json!({ "Service": "web", "LeaseSeconds": "600" }),
        json!({ "Service": "web", "Name": "job", "Ports": ["a", "b"] }),
    ] {
        let event = |cloud: &Cloud| Stack::of(cloud).create(wanted.clone());
        at_each_request(
            event,
            async |_: &mut Cloud| {},
            async |cloud: &mut Cloud, event: Value| {
                let first = cloud.numbers().await;
                let made = cloud.succeeds(&event).await;
                assert!(cloud.numbers().await.starts_with(&first), "what it had stays");
                let mut again = cloud.succeeds(&event).await;
                // A lease is extended each time, by what has passed since.
                if let Some(until) = made["Data"]["ExpiresAt"].as_str() {
                    assert!(again["Data"]["ExpiresAt"].as_str() >= Some(until), "{again} {made}");
                    again["Data"]["ExpiresAt"] = until.into();
                }
                assert_eq!(again, made);
                let count = wanted["Ports"].as_array().map_or(1, Vec::len);
                assert_eq!(cloud.numbers().await.len(), count);
                cloud.succeeds(&Stack::of(cloud).delete(&id(&made), wanted.clone())).await;
                assert_eq!(free(cloud).await, 10);
            },
        )
        .await;
    }
}

/// Nobody sends it again: CloudFormation deletes what it was told of, which may be nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_died_is_rolled_back() {
    let wanted = json!({ "Service": "web", "Name": "job", "Ports": ["a", "b"] });
    let event = |cloud: &Cloud| Stack::of(cloud).create(wanted.clone());
    at_each_request(
        event,
        async |_: &mut Cloud| {},
        async |cloud: &mut Cloud, event: Value| {
            // A further event of the resource may come and fail.
            let mut wrong = event;
            wrong["ResourceProperties"]["Contiguous"] = json!("maybe");
            assert!(cloud.fails(&wrong).await.contains("Contiguous"));
            let own = "portmaster:ports:default/web/job:cfn/51af3dc0-da77-11e4-872e-1234567db123/Port";
            cloud.succeeds(&Stack::of(cloud).delete(own, wanted.clone())).await;
            assert!(cloud.numbers().await.is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_died_is_repeated_or_undone() {
    let (before, after) = (
        json!({ "Service": "web", "Name": "job", "Ports": ["a", "b"] }),
        json!({ "Service": "web", "Name": "job", "Ports": ["b", "c"] }),
    );
    let own = "portmaster:ports:default/web/job:cfn/51af3dc0-da77-11e4-872e-1234567db123/Port";
    let event = |cloud: &Cloud| Stack::of(cloud).update(own, after.clone(), before.clone());
    for is_repeated in [true, false] {
        let prepare = async |cloud: &mut Cloud| {
            cloud.succeeds(&Stack::of(cloud).create(before.clone())).await;
        };
        at_each_request(event, prepare, async |cloud: &mut Cloud, event: Value| {
            let next = match is_repeated {
                true => event,
                false => Stack::of(cloud).update(own, before.clone(), after.clone()),
            };
            let answer = cloud.succeeds(&next).await;
            // What is in both has never been let go.
            assert_eq!(answer["Data"]["Port.b"], "5001");
            let names = cloud.names().await;
            let expected = if is_repeated { ["job-b", "job-c"] } else { ["job-a", "job-b"] };
            assert!(names.iter().all(|name| expected.contains(&name.as_str())) && names.len() == 2, "{names:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_died_is_undone() {
    let of = |name: &str| json!({ "Service": "web", "Name": name });
    let own = "portmaster:port:default/web/a:cfn/51af3dc0-da77-11e4-872e-1234567db123/Port";
    let event = |cloud: &Cloud| Stack::of(cloud).update(own, of("b"), of("a"));
    let prepare = async |cloud: &mut Cloud| {
        cloud.succeeds(&Stack::of(cloud).create(of("a"))).await;
    };
    at_each_request(event, prepare, async |cloud: &mut Cloud, _: Value| {
        cloud.s3.says(Asked::Is(own.to_owned())).await;
        let back = cloud.succeeds(&Stack::of(cloud).update(own, of("a"), of("b"))).await;
        assert_eq!((id(&back).as_str(), &back["Data"]["Port"]), (own, &json!("5000")));
        let names = cloud.names().await;
        assert_eq!(names, ["a"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_died_is_repeated() {
    let wanted = json!({ "Service": "web", "Name": "job", "Ports": ["a", "b"] });
    let own = "portmaster:ports:default/web/job:cfn/51af3dc0-da77-11e4-872e-1234567db123/Port";
    let event = |cloud: &Cloud| Stack::of(cloud).delete(own, wanted.clone());
    let prepare = async |cloud: &mut Cloud| {
        cloud.succeeds(&Stack::of(cloud).create(wanted.clone())).await;
    };
    at_each_request(event, prepare, async |cloud: &mut Cloud, event: Value| {
        cloud.taken("stranger", "other").await;
        cloud.succeeds(&event).await;
        let owners: Vec<_> = cloud.ports("web").await.into_iter().map(|(_, _, owner)| owner).collect();
        assert_eq!(owners, ["other"]);
    })
    .await;
}

/// A service is recognized by the event that comes again, and so is its deletion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_event_died_is_its_own() {
    let wanted = json!({ "Name": "previews", "Start": "6000", "End": "6099" });
    let own = "portmaster:service:default/previews:cfn/51af3dc0-da77-11e4-872e-1234567db123/Range";
    let range = |cloud: &Cloud| {
        let stack = Stack { logical_id: "Range", kind: "Custom::PortmasterService", ..Stack::of(cloud) };
        (stack.create(wanted.clone()), stack.delete(own, wanted.clone()))
    };
    at_each_request(
        |cloud| range(cloud).0,
        async |_: &mut Cloud| {},
        async |cloud: &mut Cloud, event: Value| {
            let made = cloud.succeeds(&event).await;
            assert_eq!((id(&made).as_str(), &made["Data"]["Name"]), (own, &json!("previews")));
            let delete = range(cloud).1;
            cloud.succeeds(&delete).await;
            assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
        },
    )
    .await;
    let prepare = async |cloud: &mut Cloud| {
        let create = range(cloud).0;
        cloud.succeeds(&create).await;
    };
    at_each_request(
        |cloud| range(cloud).1,
        prepare,
        async |cloud: &mut Cloud, event: Value| {
            cloud.succeeds(&event).await;
            assert_eq!(cloud.deployment.call("get-service", "GET", "/v1/services/previews", None).await.0, 404);
        },
    )
    .await;
}

/// It dies when all is done, and only the answer is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_got_lost_is_given_again() {
    let mut cloud = Cloud::new().await;
    let event = Stack::of(&cloud).create(json!({ "Service": "web" }));
    let function = cloud.another(cloud.deployment.database.url().unwrap()).await;
    cloud.s3.will(Mailman::Hangs).await;
    function.send(event.clone()).await;
    let lost = cloud.s3.next().await.json();
    function.stop().await;
    cloud.s3.will(Mailman::Takes).await;
    assert_eq!(cloud.succeeds(&event).await, lost);
    assert_eq!(cloud.numbers().await, [5000]);
}

/// How many ports of the service are free, offers counted as taken.
async fn free(cloud: &mut Cloud) -> u64 {
    let (_, map) = cloud.deployment.call("get-map", "GET", "/v1/services/web/map", None).await;
    map["counts"]["free"].as_u64().unwrap()
}

/// Terraform sends it again at the next `apply`, and then all is as if it had not died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_terraform_repeats_is_complete() {
    let (old, new) = (port("api"), port("new"));
    for (action, input, previous, left) in [
        ("create", &new, None, &["new", "stranger"][..]),
        ("update", &new, Some(&old), &["new", "stranger"]),
        ("delete", &old, Some(&old), &["stranger"]),
    ] {
        let prepare = async |cloud: &mut Cloud| {
            cloud.taken("stranger", "other").await;
            if previous.is_some() {
                cloud.applies(event("create", &old, None)).await;
            }
        };
        let check = async |cloud: &mut Cloud, event: Value| {
            cloud.applies(event).await;
            assert_eq!(cloud.names().await, left);
        };
        at_each_request(|_| event(action, input, previous), prepare, check).await;
    }
}
