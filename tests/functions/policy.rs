//! The policies that let somebody into namespaces, as IAM evaluates them: those of the page on deploying, and that of the
//! pipelines' role.

use regex::Regex;
use serde_json::{Value, json};

use crate::template::{Template, file};

/// A policy, as patterns over `METHOD/path`. A star stands for any text, slashes included; a question mark for one
/// character (*IAM User Guide*, "IAM JSON policy elements: Resource").
pub struct Policy {
    /// What it allows, as far as it is not denied.
    pub allowed: Vec<String>,
    matchers: Vec<Regex>,
    /// Everything but this is denied.
    only: Option<Vec<Regex>>,
}

/// The place of the namespace in the page's policy for many teams.
const TAG: &str = "${aws:PrincipalTag/portmaster-namespace}";

impl Policy {
    /// Returns the policy below this heading of the page, for this namespace.
    pub fn of_page(heading: &str, namespace: &str) -> Self {
        let page = file("docs/deploying.md");
        let part = page.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}")).1;
        let policy = part.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
        let policy: Value = serde_json::from_str(policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let resources = statements.flat_map(|statement| {
            assert_eq!((&statement["Effect"], &statement["Action"]), (&json!("Allow"), &json!("execute-api:Invoke")));
            statement["Resource"].as_array().unwrap()
        });
        let call = |arn: &Value| call(arn.as_str().unwrap()).replace("team-a", namespace).replace(TAG, namespace);
        Self::new(resources.map(call).collect(), None)
    }

    /// Returns the policies of the pipelines' role together, for this value of `PipelineNamespaces`, which is not empty.
    pub fn of_pipelines(namespaces: &str) -> Self {
        let template = Template::read();
        let users = &template.resource("UserPolicy")["Properties"]["PolicyDocument"]["Statement"][0]["Resource"];
        let role = &template.resource("PipelineRole")["Properties"];
        assert_eq!(role["ManagedPolicyArns"], json!(["UserPolicy"]));
        // `!If`: a condition, and a list of one policy if it holds.
        let document = &role["Policies"][1][0]["PolicyDocument"];
        let [allow, deny] = document["Statement"].as_array().unwrap().as_slice() else { panic!("{document}") };
        assert_eq!((&allow["Effect"], &deny["Effect"]), (&json!("Allow"), &json!("Deny")));
        let own = rendered(&allow["Resource"], namespaces);
        let users = users.as_array().unwrap().iter().map(|arn| call(arn.as_str().unwrap()).to_owned());
        Self::new(users.chain(own).collect(), Some(&rendered(&deny["NotResource"], namespaces)))
    }

    fn new(allowed: Vec<String>, only: Option<&[String]>) -> Self {
        let matchers = |patterns: &[String]| patterns.iter().map(|pattern| wild(pattern)).collect();
        Self { matchers: matchers(&allowed), only: only.map(matchers), allowed }
    }

    /// Whether a call is allowed.
    pub fn allows(&self, method: &str, path: &str) -> bool {
        let call = format!("{method}{path}");
        let matches = |patterns: &Vec<Regex>| patterns.iter().any(|pattern| pattern.is_match(&call));
        matches(&self.matchers) && self.only.as_ref().is_none_or(matches)
    }
}

/// The part of an ARN after the API's stage.
fn call(arn: &str) -> &str {
    arn.split_once("/$default/").unwrap().1
}

fn wild(pattern: &str) -> Regex {
    Regex::new(&format!("(?s)^{}$", regex::escape(pattern).replace("\\*", ".*").replace("\\?", "."))).unwrap()
}

/// The calls of `!Split [" ", !Sub [text, variables]]`. (The template is read without the names of its functions.)
fn rendered(split: &Value, namespaces: &str) -> Vec<String> {
    let [separator, sub] = split.as_array().unwrap().as_slice() else { panic!("{split}") };
    let text = substituted(sub, namespaces);
    let calls: Vec<_> = text.split(separator.as_str().unwrap()).map(|arn| call(arn).to_owned()).collect();
    assert!(calls.iter().all(|call| !call.contains("${")), "a variable is left: {calls:?}");
    calls
}

/// `!Sub`: a text alone, or with variables.
fn substituted(sub: &Value, namespaces: &str) -> String {
    let value = |value: &Value| match value.as_array().map(Vec::as_slice) {
        // `!Select [index, !Split [separator, !Sub …]]`
        Some([index, split]) => {
            let text = substituted(&split[1], namespaces);
            let mut pieces = text.split(split[0].as_str().unwrap());
            pieces.nth(usize::try_from(index.as_u64().unwrap()).unwrap()).unwrap().to_owned()
        }
        _ if value == "PipelineNamespaces" => namespaces.to_owned(),
        _ => value.as_str().unwrap().to_owned(),
    };
    let Some([text, variables]) = sub.as_array().map(Vec::as_slice) else {
        return sub.as_str().unwrap().replace("${PipelineNamespaces}", namespaces);
    };
    let variables = variables.as_object().unwrap().iter();
    variables.fold(text.as_str().unwrap().to_owned(), |text, (name, given)| {
        text.replace(&format!("${{{name}}}"), &value(given))
    })
}
