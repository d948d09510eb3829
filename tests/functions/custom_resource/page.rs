//! `docs/infrastructure.md` says of the resources what the function does. (Its templates and configurations are deployed by
//! `tests/deployment`.)

use serde_json::{Value, json};

use super::{Cloud, Stack};
use crate::template::file;

/// The part of the page below a heading, up to the next one.
fn section(heading: &str) -> String {
    let page = file("docs/infrastructure.md");
    let rest = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}")).1;
    rest.split("\n#").next().unwrap().to_owned()
}

/// Every property that there is, as a refusal lists them, and every attribute is in its table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_has_every_property_and_every_attribute() {
    let cloud = Cloud::new().await;
    let port = json!({ "Service": "web", "Ports": ["http", "grpc"] });
    let range = json!({ "Name": "previews", "Start": "6000", "End": "6099" });
    for (kind, wanted) in [("Custom::PortmasterPort", port), ("Custom::PortmasterService", range)] {
        let text = section(&format!("### `{kind}`"));
        let stack = Stack { kind, ..Stack::of(&cloud) };
        let mut wrong = wanted.clone();
        wrong["Nothing"] = json!("x");
        let reason = cloud.fails(&stack.create(wrong)).await;
        let known = reason.split_once("there are ").unwrap().1.trim_end_matches('.').to_owned();
        let properties: Vec<_> = known.split(", ").collect();
        assert!(properties.len() >= 9, "{known}");
        let made = cloud.succeeds(&stack.create(wanted)).await;
        let attributes = made["Data"].as_object().unwrap().keys().map(String::as_str);
        let attributes = attributes.filter(|name| *name != "Port.grpc");
        for name in properties.into_iter().chain(attributes) {
            assert!(text.contains(&format!("`{name}`")), "{kind}: the page does not name `{name}`");
        }
    }
}

/// The policy is one that IAM can read, for the one action that a caller needs.
#[test]
fn the_pages_policy_is_for_one_action() {
    let text = section("## Switch it on");
    let policy: Value =
        serde_json::from_str(text.split("```json\n").nth(1).unwrap().split("```").next().unwrap()).unwrap();
    let [statement] = policy["Statement"].as_array().unwrap().as_slice() else { panic!("{policy}") };
    assert_eq!((&statement["Effect"], &statement["Action"]), (&json!("Allow"), &json!("lambda:InvokeFunction")));
    assert!(statement["Resource"].as_str().unwrap().contains(":function:portmaster-CustomResourceFunction-"));
}
