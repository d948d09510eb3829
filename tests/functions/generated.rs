//! The parts of `template.yaml` and `Cargo.toml` that repeat something for every function are generated from the list
//! of endpoints, between two comments each: alarms on errors, rows of the dashboard, and the routes of `cargo lambda
//! watch`.
//!
//! `UPDATE_TEMPLATE=1 cargo test -p portmaster-functions template` writes them. Everything else in the template is
//! written by hand, and `template.rs` compares it with the code.

use std::fmt::Write as _;

use portmaster_http::ENDPOINTS;

use crate::template::{file, logical_id, operations};

/// An alarm sums ten metrics at most (*Amazon CloudWatch User Guide*, "Using metric math").
const MOST_IN_AN_ALARM: usize = 10;

/// Which alarm watches a function: the tags that its operations have in the OpenAPI document.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Services", &["services"]),
    ("Offers", &["offers"]),
    ("Ports", &["ports"]),
    ("History", &["history"]),
    ("Others", &["about", "namespaces"]),
];

/// The properties of a function that the generated parts repeat.
struct Function {
    name: &'static str,
    tag: String,
    /// Method and path.
    routes: Vec<(String, String)>,
}

fn functions() -> Vec<Function> {
    let of = |endpoint: &portmaster_http::Endpoint| {
        let mut operations = operations(endpoint);
        // Independent of the order of the map of paths.
        operations.sort_by(|one, other| (&one.path, &one.method).cmp(&(&other.path, &other.method)));
        let tag = operations[0].tag.clone();
        let routes = operations.into_iter().map(|operation| (operation.method, operation.path)).collect();
        Function { name: endpoint.function, tag, routes }
    };
    // These have no routes: the table's stream calls the recorder of history, a schedule the reconciler, and
    // CloudFormation and Terraform the third.
    let others = [("record-history", "history"), ("reconcile", "about"), ("custom-resource", "about")];
    let others = others.map(|(name, tag)| Function { name, tag: tag.to_owned(), routes: Vec::new() });
    ENDPOINTS.iter().map(of).chain(others).collect()
}

/// Returns one alarm for each group, which fires if a function failed.
fn alarms(functions: &[Function]) -> String {
    let mut text = String::new();
    let mut watched = 0;
    for (group, tags) in GROUPS {
        let members: Vec<_> = functions.iter().filter(|function| tags.contains(&function.tag.as_str())).collect();
        assert!(members.len() <= MOST_IN_AN_ALARM, "{group} has {} functions: split it in GROUPS", members.len());
        watched += members.len();
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(
            text,
            r#"  {group}ErrorsAlarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmDescription: >-
        A function failed: it crashed, did not start, or was killed. The functions' log tells which and why; a
        deployment just before is the likeliest cause.
      Metrics:
        - {{Id: total, Expression: "SUM(FILL(METRICS(\"m\"), 0))", Label: Errors}}
"#
        );
        for (number, function) in (1..).zip(members) {
            let id = logical_id(function.name);
            let _ = write!(
                text,
                "        - Id: m{number}
          ReturnData: false
          MetricStat: {{Stat: Sum, Period: 300, Metric: {{Namespace: AWS/Lambda, MetricName: Errors, Dimensions: [
            {{Name: FunctionName, Value: !Ref {id}}}]}}}}
"
            );
        }
        text.push_str(
            "      EvaluationPeriods: 3
      DatapointsToAlarm: 1
      Threshold: 1
      ComparisonOperator: GreaterThanOrEqualToThreshold
      TreatMissingData: notBreaching
      AlarmActions: !If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]
      OKActions: !If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]
",
        );
    }
    assert_eq!(watched, functions.len(), "a function has a tag that no group in GROUPS has");
    text
}

/// Returns errors and throttles of each function, as the rows of one widget.
fn rows(functions: &[Function]) -> String {
    let row = |metric: &'static str| {
        functions.iter().enumerate().map(move |(number, function)| {
            // A dot repeats the value of the row before.
            let namespace = if number == 0 { "AWS/Lambda" } else { "." };
            let id = logical_id(function.name);
            let label = id.trim_end_matches("Function");
            format!(
                r#"            ["{namespace}", "{metric}", "FunctionName", "${{{id}}}", {{"label": "{label} {metric}"}}]"#
            )
        })
    };
    let rows: Vec<_> = ["Errors", "Throttles"].into_iter().flat_map(row).collect();
    format!("          OfEachFunction: !Sub |-\n{}\n", rows.join(",\n"))
}

/// Returns the functions that serve each path, by method.
fn routes(functions: &[Function]) -> String {
    let mut paths = Vec::<(&str, Vec<String>)>::new();
    for function in functions {
        for (method, path) in &function.routes {
            let route = format!("{{ function = \"{}\", method = \"{method}\" }}", function.name);
            match paths.iter_mut().find(|(known, _)| known == path) {
                Some((_, routes)) => routes.push(route),
                None => paths.push((path, vec![route])),
            }
        }
    }
    let entry = |(path, routes): (&str, Vec<String>)| match routes.as_slice() {
        [one] => format!("\"{path}\" = [{one}]\n"),
        several => format!("\"{path}\" = [\n    {},\n]\n", several.join(",\n    ")),
    };
    paths.into_iter().map(entry).collect()
}

/// Returns the text with the generated part between its two comments, which are lines of their own.
fn with(text: &str, name: &str, generated: &str) -> String {
    let begin = format!("# >> generated: {name}\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("there is no {begin:?}"));
    let end = rest.find("# << generated\n").unwrap_or_else(|| panic!("nothing ends {begin:?}"));
    let indent = rest[..end].rfind('\n').map_or(0, |line| line + 1);
    format!("{before}{begin}{generated}{}", &rest[indent..])
}

#[test]
fn the_template_and_the_watched_routes_are_made_from_the_endpoints() {
    let functions = functions();
    let template = with(&file("template.yaml"), "alarms on errors", &alarms(&functions));
    let template = with(&template, "rows of the dashboard", &rows(&functions));
    let manifest = with(&file("Cargo.toml"), "routes of `cargo lambda watch`", &routes(&functions));
    for (name, text) in [("template.yaml", template), ("Cargo.toml", manifest)] {
        if std::env::var_os("UPDATE_TEMPLATE").is_some() && text != file(name) {
            // Not written in place: other tests read it at the same time.
            let path = format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(format!("{path}.new"), &text).unwrap();
            std::fs::rename(format!("{path}.new"), path).unwrap();
        }
        assert!(
            text == file(name),
            "{name} is not up to date: UPDATE_TEMPLATE=1 cargo test -p portmaster-functions template"
        );
    }
}
