//! What operators do: many ports at once, offers, and quarantines.

use serde_json::{Value, json};

use crate::{Place, world};

async fn taken(place: &Place, name: &str, more: &[&str]) {
    place.done(&[&["take", "web", name, "-q"], more].concat()).await;
}

async fn names(place: &Place) -> Vec<String> {
    let list: Value = serde_json::from_str(&place.done(&["list", "web", "-o", "json"]).await).unwrap();
    list.as_array().unwrap().iter().map(|port| port["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ports_are_released_by_what_they_have_in_common() {
    let (_world, place) = world().await;
    for name in ["run-17-a", "run-17-b", "run-18-a"] {
        taken(&place, name, &["--owner", "ci", "--label", "team=shop"]).await;
    }
    taken(&place, "run-17-c", &["--owner", "other", "--label", "team=shop"]).await;
    let line = ["release", "web", "--owner", "ci", "--name-prefix", "run-17-"];
    let dry = place.done(&[&line[..], &["--dry-run"]].concat()).await;
    assert!(dry.contains("run-17-a") && !dry.contains("run-17-c") && dry.ends_with("2 would be released\n"), "{dry}");
    assert_eq!(names(&place).await.len(), 4);
    let done: Value = serde_json::from_str(&place.done(&[&line[..], &["-o", "json"]].concat()).await).unwrap();
    assert_eq!(done["released"].as_array().unwrap().len(), 2);
    assert_eq!(names(&place).await, ["run-18-a", "run-17-c"], "another owner's stays");
    let label = ["release", "web", "--label", "team=shop"];
    assert_eq!(place.done(&label).await, "0 released\n", "ada has none");
    assert!(place.done(&[&label[..], &["--any-owner"]].concat()).await.ends_with("2 released\n"));
    taken(&place, "a", &[]).await;
    taken(&place, "b", &[]).await;
    assert!(place.done(&["release", "web", "--all"]).await.ends_with("2 released\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_does_not_become_many_by_mistake() {
    let (_world, place) = world().await;
    taken(&place, "a", &["--label", "team=shop"]).await;
    let lines: [&[&str]; 5] = [
        &["release", "web"],
        &["release", "web", "a", "--all"],
        &["release", "web", "a", "--label", "team=shop"],
        &["release", "web", "--dry-run"],
        &["release", "web", "--all", "--any-owner"],
    ];
    for line in lines {
        assert_eq!(place.says(line).await.0, 2, "{line:?}");
    }
    // A variable that is there for `take` makes no filter.
    let place = place.with("PORTMASTER_LABEL", "team=shop").with("PORTMASTER_ALL", "1");
    let (code, _, stderr) = place.says(&["release", "web"]).await;
    assert!(code == 2 && stderr.contains("NAME is missing"), "{stderr}");
    assert_eq!(names(&place).await, ["a"]);
    place.done(&["release", "web", "a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_not_there_may_be_released_all_the_same() {
    let (_world, place) = world().await;
    assert_eq!(place.says(&["release", "web", "job"]).await.0, 1);
    assert_eq!(
        place.done(&["release", "web", "job", "--if-exists"]).await,
        "web has no port job, so nothing is released\n"
    );
    taken(&place, "job", &["--owner", "other"]).await;
    assert_eq!(place.says(&["release", "web", "job", "--if-exists"]).await.0, 1, "another owner's is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_are_listed_and_quarantines_are_ended() {
    let (world, place) = world().await;
    assert_eq!(place.done(&["offers", "web"]).await, "none\n");
    let offer = world.api.post("/v1/services/web/offers", json!({ "name": "job", "owner": "ci" })).await.body;
    let listed = place.done(&["offers", "web"]).await;
    assert!(listed.contains("5000") && listed.contains("job") && listed.contains("ci"), "{listed}");
    let secret = offer["secret"].as_str().unwrap();
    assert!(!place.done(&["offers", "web", "-o", "json"]).await.contains(secret));
    let reject = format!("/v1/services/web/offers/{secret}/reject");
    world.api.post(&reject, json!({ "reason": "in-use" })).await;
    assert!(place.done(&["map", "web"]).await.contains("5000 quarantined"));
    assert_eq!(place.done(&["quarantine", "end", "web", "5000"]).await, "port 5000 of web is free for anybody\n");
    assert!(!place.done(&["map", "web"]).await.contains("quarantined"));
    assert_eq!(place.says(&["quarantine", "end", "web", "5000"]).await.0, 1);
    // An offer whose holder is gone.
    world.api.post("/v1/services/web/offers", json!({ "name": "lost", "owner": "ci" })).await;
    let line = ["release", "web", "--owner", "ci", "--all", "--states", "offered"];
    assert!(place.done(&line).await.ends_with("1 released\n"));
    assert_eq!(place.done(&["offers", "web"]).await, "none\n");
}
