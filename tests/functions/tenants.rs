//! Tenants: a team that IAM lets into its own namespace reaches nothing else, however it writes the path. The policies
//! are those of the page on deploying.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use portmaster_domain::Namespace;
use proptest::prelude::*;
use regex::Regex;
use serde_json::json;

use crate::deployment::{Deployment, event, start};
use crate::policy::Policy;
use crate::template::{Template, file};

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A path as it was sent, and as it is after one or two rounds of decoding: whoever judges it sees one of these.
pub fn views(path: &str) -> BTreeSet<String> {
    let once = decoded(path);
    BTreeSet::from([path.to_owned(), decoded(&once), once])
}

/// Ways to write a path to the other team's service that begin in the own namespace, or look as if they did.
fn hostile() -> Vec<String> {
    let (own, other) = ("/v1/namespaces/team-a", "team-b/services/django");
    let mut paths = vec![
        format!("/v1/namespaces/team-b/services/django?x={own}/"),
        "/v1/services/django".to_owned(),
        format!("/v1/namespaces/{other}"),
        format!("//v1/namespaces/{other}"),
        format!("/v1/namespaces/team-a{}", "\u{0}/../team-b/services/django"),
        format!("{own};/../{other}"),
        format!("{own}\t/services/django"),
        format!("{own}//services/django"),
        "/V1/namespaces/team-a/services/django".to_owned(),
    ];
    let dots = ["..", ".%2e", "%2e%2e", "%252e%252e", "..;", "%00.."];
    let slashes = ["/", "%2f", "%252f", "\\", "%5c", "//"];
    for dot in dots {
        for first in slashes {
            for second in ["/", "%2F", "\\"] {
                paths.push(format!("{own}{first}{dot}{second}{other}"));
                paths.push(format!("{own}/services{first}{dot}{second}..{second}{other}"));
                paths.push(format!("{own}/services/x{first}{dot}/..{first}..{second}{other}"));
            }
        }
    }
    for slash in slashes {
        for other in ["team-b", "team%2db", "team%252db"] {
            paths.push(format!("{own}{slash}namespaces{slash}{other}{slash}services{slash}django"));
            paths.push(format!("/v1{slash}namespaces{slash}{other}{slash}services{slash}django"));
            paths.push(format!("/v1/namespaces/{other}{slash}services{slash}django"));
            paths.push(format!("/v1/namespaces/team-a%0a{slash}..{slash}{other}/services/django"));
        }
    }
    paths
}

/// The policies of the page that let a team into the namespace `team-a`.
pub const POLICIES: [&str; 2] = ["**One team's administrators**", "**Many teams by one policy**"];

#[test]
fn a_tenants_policy_is_for_its_own_namespace() {
    for heading in POLICIES {
        let policy = Policy::of_page(heading, "team-a");
        for (method, path) in [
            ("GET", "/v1/namespaces/team-a"),
            ("GET", "/v1/namespaces/team-a/services"),
            ("POST", "/v1/namespaces/team-a/services/web/offers"),
            ("PUT", "/v1/namespaces/team-a/services/web/ports/api"),
            ("PATCH", "/v1/namespaces/team-a/services/web"),
            ("DELETE", "/v1/namespaces/team-a/services/web"),
        ] {
            assert!(policy.allows(method, path), "{heading}: {method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1/namespaces"),
            ("GET", "/v1/namespaces/team-ab"),
            ("GET", "/v1/namespaces/team-b/services"),
            ("GET", "/v1/namespaces/team-b/services/v1/namespaces/team-a/x"),
            ("DELETE", "/v1/namespaces/team-a"),
            ("PUT", "/v1/namespaces/team-a"),
            ("PUT", "/v1/namespaces/team-b"),
            ("GET", "/v1/services"),
            ("GET", "/v1/ports/5000"),
        ] {
            assert!(!policy.allows(method, path), "{heading}: {method} {path}");
        }
    }
    let [one, many] = POLICIES.map(|heading| Policy::of_page(heading, "team-a").allowed);
    assert_eq!(one, many);
}

/// P34: what the pattern allows and the function serves is the team's own, for every way of writing a path, for whatever
/// part of it the gateway decodes, and for whatever values it finds there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_reaches_its_own_namespace_and_nothing_else() {
    let policy = Policy::of_page(POLICIES[0], "team-a");
    let mut cloud = Deployment::new().await;
    for (base, word) in [("/v1", "theirs"), ("/v1/namespaces/team-b", "theirs"), ("/v1/namespaces/team-a", "ours")] {
        if base != "/v1" {
            assert_eq!(cloud.call("put-namespace", "PUT", base, None).await.0, 201);
        }
        let service = json!({ "name": "django", "description": word, "start": 5000, "end": 5009 });
        assert_eq!(cloud.call("create-service", "POST", &format!("{base}/services"), Some(service)).await.0, 201);
    }
    let read = start("get-service", &cloud.database).await;
    let delete = start("delete-service", &cloud.database).await;
    let matches = [
        ("/v1/namespaces/{namespace}/services/{service}", &[("namespace", "team-a"), ("service", "django")][..]),
        ("/v1/namespaces/{namespace}/services/{service}", &[("namespace", "team-b"), ("service", "django")]),
        ("/v1/services/{service}", &[("service", "django")]),
    ];
    let mut sent = 0;
    for path in hostile() {
        let views = views(&path);
        for (method, function) in [("GET", &read), ("DELETE", &delete)] {
            if !views.iter().any(|view| policy.allows(method, view)) {
                continue;
            }
            for view in &views {
                // Whatever the gateway may have matched.
                let matched = matches.iter().map(|(template, values)| {
                    let mut form = event(method, view, None);
                    form["routeKey"] = json!(format!("{method} {template}"));
                    form["requestContext"]["routeKey"] = form["routeKey"].clone();
                    form["pathParameters"] =
                        values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                    form
                });
                for form in matched.chain([event(method, view, None)]) {
                    let answer = function.invoke(form.clone()).await;
                    let body = answer["body"].as_str().unwrap_or_default();
                    assert!(!body.contains("theirs"), "{path}: {form}: {answer}");
                    sent += 1;
                }
            }
        }
    }
    assert!(sent > 1_000, "{sent}");
    // A star in an ARN may stand for nothing: the policy allows the namespace itself with a slash, which is no path.
    for (method, name) in [("PUT", "put-namespace"), ("DELETE", "delete-namespace")] {
        assert!(policy.allows(method, "/v1/namespaces/team-a/"));
        let function = start(name, &cloud.database).await;
        let mut form = event(method, "/v1/namespaces/team-a/", None);
        for key in [form["routeKey"].clone(), json!(format!("{method} /v1/namespaces/{{namespace}}"))] {
            form["routeKey"] = key;
            form["pathParameters"] = json!({ "namespace": "team-a" });
            assert_eq!(function.invoke(form.clone()).await["statusCode"], 404, "{form}");
        }
    }
    // The services that are not the team's are all there, and its own one can be read by its own path.
    for base in ["/v1", "/v1/namespaces/team-b"] {
        let path = format!("{base}/services/django");
        assert_eq!(cloud.call("get-service", "GET", &path, None).await.1["description"], "theirs");
    }
}

/// The calls of the stack's policy for users, one namespace further down.
fn users_calls_in(namespace: &str) -> BTreeSet<String> {
    let template = file("template.yaml");
    let users = template.split_once("  UserPolicy:").unwrap().1.split_once("  AdminPolicy:").unwrap().0;
    let line = Regex::new(r#"\$default/([^"]+)""#).unwrap();
    let calls: BTreeSet<_> = line
        .captures_iter(users)
        .map(|line| line[1].to_owned())
        .filter(|call| call.contains("/v1/services") || call.contains("/v1/ports"))
        .map(|call| call.replacen("/v1/", &format!("/v1/namespaces/{namespace}/"), 1))
        .collect();
    assert!(calls.len() > 10);
    calls
}

/// The policy for a team's pipelines allows what the stack's policy for users does, one namespace further down; and so
/// does that of the pipelines' role in any namespace, as far as the rest of it does not deny that.
#[test]
fn a_teams_pipelines_may_do_what_users_may() {
    let page = Policy::of_page("**One team's pipelines**", "team-a");
    assert_eq!(page.allowed.iter().cloned().collect::<BTreeSet<_>>(), users_calls_in("team-a"));
    let role = Policy::of_pipelines("team-a");
    let below = role.allowed.iter().filter(|call| call.contains("/v1/namespaces/")).cloned();
    assert_eq!(below.collect::<BTreeSet<_>>(), users_calls_in("*"));
}

/// `PipelineNamespaces`: the listed namespaces, and the shorter paths only if the word `default` is listed.
#[test]
fn the_pipelines_role_reaches_the_listed_namespaces() {
    for (listed, reached, others) in [
        (
            "team-a",
            &["/namespaces/team-a"][..],
            &["", "/namespaces/default", "/namespaces/team-ab", "/namespaces/team-"][..],
        ),
        ("team-*", &["/namespaces/team-a", "/namespaces/team-ab"], &["", "/namespaces/team"]),
        ("default", &["", "/namespaces/default"], &["/namespaces/team-a", "/namespaces/defaults"]),
        ("team-a,default", &["", "/namespaces/default", "/namespaces/team-a"], &["/namespaces/team-b"]),
        ("default,default,a", &["", "/namespaces/default", "/namespaces/a"], &["/namespaces/b"]),
        ("def*", &["/namespaces/default"], &[""]),
        ("a,b,c,d,e,f,g,h", &["/namespaces/a", "/namespaces/h"], &["", "/namespaces/i", "/namespaces/a,b"]),
    ] {
        let policy = Policy::of_pipelines(listed);
        for (bases, expected) in [(reached, true), (others, false)] {
            for base in bases {
                for (method, path) in [
                    ("POST", "services/web/offers"),
                    ("PUT", "services/web/ports/api"),
                    ("DELETE", "services/web/ports/api"),
                    ("GET", "ports/5000"),
                ] {
                    assert_eq!(
                        policy.allows(method, &format!("/v1{base}/{path}")),
                        expected,
                        "{listed}: {method} {base}"
                    );
                }
                for (method, path) in
                    [("PUT", "services/web"), ("DELETE", "services/web"), ("POST", "services/web/release")]
                {
                    assert!(!policy.allows(method, &format!("/v1{base}/{path}")), "{listed}: {method} {base}/{path}");
                }
            }
        }
        assert!(
            policy.allows("GET", "/health")
                && !policy.allows("DELETE", "/v1/namespaces/team-a")
                && !policy.allows("GET", "/v1/namespaces")
        );
        let within = "/v1/namespaces/z/services/v1/namespaces/team-a/services/x/offers";
        assert!(!policy.allows("POST", within), "{listed}: {within}");
    }
}

/// The parameter's pattern.
fn pattern() -> Regex {
    let template = Template::read();
    Regex::new(template.parameter("PipelineNamespaces")["AllowedPattern"].as_str().unwrap()).unwrap()
}

#[test]
fn no_list_says_more_than_names() {
    let pattern = pattern();
    for good in ["", "default", "a", "a*", "team-a,preview-*", "a.b_c~d-e", "a,b,c,d,e,f,g,h"] {
        assert!(pattern.is_match(good), "{good}");
    }
    for bad in [
        "*",
        "**",
        "a**",
        "a*b",
        "*a",
        "a/b",
        "a/*",
        "a?",
        "-*",
        ",",
        "a,",
        ",a",
        "a,,b",
        "a, b",
        "a b",
        "${x}",
        "a%2f",
        "é",
        "a,b,c,d,e,f,g,h,i",
    ] {
        assert!(!pattern.is_match(bad), "{bad}");
    }
}

proptest! {
    /// A name is in the list as it is, if it can be the name of a namespace.
    #[test]
    fn a_list_of_one_is_a_name(text in prop_oneof!["[A-Za-z0-9._~-]{1,70}", "\\PC{1,10}"]) {
        prop_assume!(!text.ends_with('*') && !text.contains(','));
        prop_assert_eq!(pattern().is_match(&text), Namespace::try_from(text.as_str()).is_ok());
    }
}
