//! Changes of a service that are held back at one request while others go on. When that request arrives after all, its
//! condition must see what has happened since (promises P3, P4, P9 and P12).

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use portmaster_testkit::{Answer, Caller, Fault, Plan, World, call, serve, text};

const DJANGO: &str = "/v1/services/django";
const AN_OFFER: Duration = Duration::from_secs(1800);

/// A world with the service `django`, 5000–5009.
async fn world() -> World {
    let world = World::new().await;
    world.api.service("django", 5000, 5009).await;
    world
}

/// A change of `django` that gives ports up, 5000 among them.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Delete,
    /// Leaves 5005–5009.
    Shrink,
}

impl Change {
    pub const ALL: [Self; 2] = [Self::Delete, Self::Shrink];

    /// Begins it, in a process of its own that meets these faults.
    pub async fn begin(self, world: &World, plan: &Plan) -> JoinHandle<Answer> {
        let api = serve(world.faulty(plan).await).await;
        tokio::spawn(async move { self.send(&api).await })
    }

    pub async fn send(self, api: &Caller) -> Answer {
        match self {
            Self::Delete => api.delete(DJANGO).await,
            Self::Shrink => api.put(DJANGO, json!({ "start": 5005, "end": 5009 })).await,
        }
    }

    /// The problem with which it is refused.
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Delete => "service-in-use",
            Self::Shrink => "range-in-use",
        }
    }
}

/// P4, P12: the mark is set before the look for live claims, so that look sees an offer that was returned before the
/// mark was set. (The model's `MarkFirst`.)
#[tokio::test]
async fn an_offer_that_comes_before_the_mark_refuses_the_change() {
    for change in Change::ALL {
        let world = world().await;
        let plan = Plan::script(&[("PutItem SERVICE#django", Fault::Wait)]);
        let changing = change.begin(&world, &plan).await;
        plan.waiting().await;
        let (port, secret) = world.api.offer("django", "web-01").await;
        assert_eq!(port, 5000);
        plan.open();
        changing.await.unwrap().expect_problem(409, change.refusal());
        world.api.accept("django", &secret).await.expect(201);
        assert_eq!(world.api.get(DJANGO).await.expect(200).body["start"], 5000);
        world.assert_healthy().await;
    }
}

/// Begins a deletion of `django` that has set its mark and found nothing live, and whose last step is held back.
async fn deletion_at_its_last_step(world: &World) -> (Plan, JoinHandle<Answer>) {
    let plan = Plan::script(&[("TransactWriteItems SERVICE#django", Fault::Wait)]);
    let deletion = Change::Delete.begin(world, &plan).await;
    plan.waiting().await;
    (plan, deletion)
}

/// P4, P12: a deletion that was overtaken deletes nothing, since its last step requires its own mark: here another
/// change of the service has taken the mark off. (The model's `DeleteAsRead`.)
#[tokio::test]
async fn a_deletion_that_a_change_has_overtaken_deletes_nothing() {
    let world = world().await;
    let (plan, deletion) = deletion_at_its_last_step(&world).await;
    world.api.patch(DJANGO, json!({ "description": "in use" })).await.expect(200);
    let (_, secret) = world.api.offer("django", "web-01").await;
    plan.open();
    deletion.await.unwrap().expect_problem(409, "service-in-use");
    assert_eq!(world.api.get(DJANGO).await.expect(200).body["description"], "in use");
    world.api.accept("django", &secret).await.expect(201);
    world.assert_healthy().await;
}

/// P4, P12: here a shrinking has set its own mark, under which the ports that it keeps are still offered. (The model's
/// `MarkRevises`.)
#[tokio::test]
async fn a_deletion_that_a_shrinking_has_overtaken_deletes_nothing() {
    let world = world().await;
    let (plan, deletion) = deletion_at_its_last_step(&world).await;
    let last_step = Plan::script(&[("TransactWriteItems SERVICE#django", Fault::Wait)]);
    let shrinking = Change::Shrink.begin(&world, &last_step).await;
    last_step.waiting().await;
    // A process that remembers the whole range would claim a port that is being given up, and wait.
    let elsewhere = serve(world.forgetful().await).await;
    let (port, secret) = elsewhere.offer("django", "web-01").await;
    assert_eq!(port, 5005);
    plan.open();
    deletion.await.unwrap().expect_problem(409, "service-in-use");
    last_step.open();
    shrinking.await.unwrap().expect(200);
    assert_eq!(world.api.get(DJANGO).await.expect(200).body["start"], 5005);
    world.api.accept("django", &secret).await.expect(201);
    world.assert_healthy().await;
}

/// P4, P12, P16: here the reconciler, whose clock is an hour ahead, has taken the mark off. (The model's
/// `UnmarkRevises`.)
#[tokio::test]
async fn a_deletion_that_the_reconciler_has_overtaken_deletes_nothing() {
    let world = world().await;
    let (plan, deletion) = deletion_at_its_last_step(&world).await;
    let found = world.another(3_600_000).await.reconcile(&call()).await.unwrap();
    assert_eq!(found.abandoned_marks, 1);
    let (_, secret) = world.api.offer("django", "web-01").await;
    plan.open();
    deletion.await.unwrap().expect_problem(409, "service-in-use");
    world.api.accept("django", &secret).await.expect(201);
    world.assert_healthy().await;
}

/// P3, P12: taking a mark off late restores nothing. A refused change is held back before it takes its mark off; then
/// the service is deleted, and another has its range. (The model's `UnmarkAsRead`.)
#[tokio::test]
async fn a_mark_that_is_taken_off_late_brings_no_service_back() {
    for change in Change::ALL {
        let world = world().await;
        let (_, secret) = world.api.offer("django", "web-01").await;
        let plan = Plan::script(&[("PutItem SERVICE#django", Fault::None), ("PutItem SERVICE#django", Fault::Wait)]);
        let changing = change.begin(&world, &plan).await;
        plan.waiting().await;
        world.api.reject("django", &secret).await.expect(204);
        world.api.delete(DJANGO).await.expect(204);
        world.api.service("flask", 5000, 5009).await;
        plan.open();
        changing.await.unwrap().expect_problem(409, change.refusal());
        world.api.get(DJANGO).await.expect_problem(404, "service-not-found");
        world.assert_healthy().await;
    }
}

/// P3, P9: a change of the content undoes no other change, least of all a move of the range. (The model's
/// `ContentAsRead`.)
#[tokio::test]
async fn a_change_that_comes_late_undoes_no_other() {
    let world = world().await;
    let plan = Plan::script(&[("PutItem SERVICE#django", Fault::Wait)]);
    let late = serve(world.faulty(&plan).await).await;
    let change = tokio::spawn(async move { late.patch(DJANGO, json!({ "description": "late" })).await });
    plan.waiting().await;
    world.api.patch(DJANGO, json!({ "strategy": "random" })).await.expect(200);
    world.api.patch(DJANGO, json!({ "start": 6000, "end": 6009 })).await.expect(200);
    world.api.service("flask", 5000, 5009).await;
    plan.open();
    let changed = change.await.unwrap().expect(200);
    let found = world.api.get(DJANGO).await.expect(200);
    assert_eq!(found.body, changed.body);
    let members = ["description", "strategy", "start", "end"].map(|member| &found.body[member]);
    assert_eq!(members, [&json!("late"), &json!("random"), &json!(6000), &json!(6009)]);
    world.assert_healthy().await;
}

/// P4, P12: an offer that is dead for the change's clock is accepted by a slower one before it can be removed. It is in
/// use, so the change is refused. (The model's `RevivedRefuses`.)
#[tokio::test]
async fn a_dead_claim_that_is_accepted_before_it_is_removed_refuses_the_change() {
    for change in Change::ALL {
        let world = world().await;
        let (port, secret) = world.api.offer("django", "web-01").await;
        let slow = serve(world.another(0).await).await;
        world.pass(AN_OFFER + Duration::from_secs(1));
        let plan = Plan::script(&[("DeleteItem 05000", Fault::Wait)]);
        let changing = change.begin(&world, &plan).await;
        plan.waiting().await;
        slow.accept("django", &secret).await.expect(201);
        plan.open();
        changing.await.unwrap().expect_problem(409, change.refusal());
        assert_eq!(world.api.get(DJANGO).await.expect(200).body["start"], 5000);
        assert_eq!(world.api.get("/v1/services/django/ports/web-01").await.expect(200).port(), port);
        world.assert_healthy().await;
    }
}

/// P12: a refusal changes nothing, so the service is open again as soon as the refusal is answered.
#[tokio::test]
async fn a_refused_change_leaves_no_mark() {
    for change in Change::ALL {
        let world = world().await;
        let before = world.api.get(DJANGO).await.expect(200);
        world.api.allocate("django", "web-01").await;
        change.send(&world.api).await.expect_problem(409, change.refusal());
        // Under a mark the answer would be 503, and only after two seconds.
        assert_eq!(world.api.offer("django", "web-02").await.0, 5001);
        let after = world.api.get(DJANGO).await.expect(200);
        assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));
        world.assert_healthy().await;
    }
}

/// P12: a Port item that cannot be read may belong to a holder, so its port is not given up, and the service stays
/// open.
#[tokio::test]
async fn an_unreadable_port_is_not_given_up() {
    for change in Change::ALL {
        let world = world().await;
        let put = world.dynamodb().await.put_item().table_name(portmaster_testkit::TABLE);
        let put = put.item("pk", text("N#default#PORT")).item("sk", text("05001")).item("state", text("confused"));
        put.send().await.unwrap();
        change.send(&world.api).await.expect_problem(500, "internal");
        assert_eq!(world.api.get(DJANGO).await.expect(200).body["start"], 5000);
        let (port, secret) = world.api.offer("django", "web-01").await;
        assert_eq!(port, 5000);
        world.api.reject("django", &secret).await.expect(204);
        // A change that keeps the port does not check its holder.
        world.api.put(DJANGO, json!({ "start": 5001, "end": 5009 })).await.expect(200);
    }
}
