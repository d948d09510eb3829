//! Any path: what IAM allows somebody in a namespace, and a function serves, is served from that namespace.
//!
//! The caller writes a path. IAM sees it as it was sent, or decoded once or twice; nobody promises which. The gateway finds
//! a route and its values in any of these, even after it has resolved dots or merged slashes; and the event has any of
//! them. The one thing that is assumed is that the event's path is not resolved where IAM's was not, since nothing that a
//! function gets could show it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use portmaster_testkit::Function;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::deployment::{Deployment, event, start};
use crate::policy::Policy;
use crate::template::Template;
use crate::tenants::{POLICIES, views};

/// How many paths are tried.
const CASES: u32 = 1_000;

/// A function, a call of it, and where that is below a namespace.
const CALLS: [(&str, &str, &str); 6] = [
    ("get-service", "GET", "services/django"),
    ("list-services", "GET", "services"),
    ("delete-service", "DELETE", "services/nobody"),
    ("put-port", "PUT", "services/django/ports/web-01"),
    ("create-offer", "POST", "services/django/offers"),
    ("find-port", "GET", "ports/5000"),
];

/// The namespaces that exist, each with the service `django`.
const NAMESPACES: [&str; 5] = ["default", "team-a", "team-ab", "team-b", "v1"];

const SEPARATORS: [&str; 10] = ["/", "//", "%2f", "%2F", "%252f", "\\", "%5c", "/./", "/x/../", ";/"];

const WORDS: [&str; 24] = [
    "v1",
    "namespaces",
    "services",
    "ports",
    "default",
    "team-a",
    "team-ab",
    "team-b",
    "django",
    "x",
    ".",
    "..",
    "%2e%2e",
    "%252e%252e",
    "..;",
    "team%2db",
    "%00",
    "\n",
    "é",
    "*",
    "$default",
    "/v1/namespaces/team-b/services/django",
    "/../../team-b/services/django",
    "?x=/v1/namespaces/team-a/",
];

/// A change of a path.
#[derive(Clone, Debug)]
enum Change {
    /// Another text in front of a character.
    Insert(Index, &'static str),
    /// Another text in the place of a segment.
    Replace(Index, &'static str),
    /// A character, encoded once or twice.
    Encode(Index, bool),
    /// A letter in its other case.
    Case(Index),
    Remove(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let texts: Vec<_> = SEPARATORS.into_iter().chain(WORDS).collect();
    prop_oneof![
        1 => (any::<Index>(), select(texts.clone())).prop_map(|(place, text)| Change::Insert(place, text)),
        1 => (any::<Index>(), select(texts)).prop_map(|(place, text)| Change::Replace(place, text)),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(place, twice)| Change::Encode(place, twice)),
        1 => any::<Index>().prop_map(Change::Case),
        1 => any::<Index>().prop_map(Change::Remove),
    ]
}

fn changed(path: String, change: &Change) -> String {
    let mut characters: Vec<String> = path.chars().map(String::from).collect();
    if characters.is_empty() {
        return path;
    }
    match change {
        Change::Insert(place, text) => characters.insert(place.index(characters.len()), (*text).to_owned()),
        Change::Replace(place, text) => {
            let mut segments: Vec<_> = path.split('/').collect();
            let place = place.index(segments.len());
            segments[place] = text;
            return segments.join("/");
        }
        Change::Encode(place, twice) => {
            let character = place.get_mut(&mut characters);
            let sign = if *twice { "%25" } else { "%" };
            *character = character.bytes().map(|byte| format!("{sign}{byte:02x}")).collect();
        }
        Change::Case(place) => {
            let character = place.get_mut(&mut characters);
            *character = if character.chars().all(char::is_lowercase) {
                character.to_uppercase()
            } else {
                character.to_lowercase()
            };
        }
        Change::Remove(place) => drop(characters.remove(place.index(characters.len()))),
    }
    characters.concat()
}

/// A call's number, and the path that is written: mostly near one of the call's own.
fn written() -> impl Strategy<Value = (usize, String)> {
    let tail = (select(&SEPARATORS[..]), select(&WORDS[..])).prop_map(|(separator, word)| format!("{separator}{word}"));
    let path = prop_oneof![
        8 => Just(None),
        3 => proptest::collection::vec(tail, 0..8).prop_map(|tail| Some(format!("/v1/namespaces/team-a{}", tail.concat()))),
        1 => any::<String>().prop_map(Some),
    ];
    let changes = proptest::collection::vec(change(), 0..4);
    (0..CALLS.len(), prop::option::weighted(0.8, select(&NAMESPACES[..])), path, changes).prop_map(
        |(number, namespace, path, changes)| {
            let base = namespace.map_or_else(|| "/v1".to_owned(), |name| format!("/v1/namespaces/{name}"));
            let path = path.unwrap_or_else(|| format!("{base}/{}", CALLS[number].2));
            (number, changes.iter().fold(path, changed))
        },
    )
}

/// Whoever cleans a path up: it may resolve dots, merge slashes, or take backslashes for slashes.
fn cleaned(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The routes that the gateway may have found, with the values that it may have found there.
fn found(templates: &[String], views: &BTreeSet<String>) -> BTreeSet<(String, Option<BTreeMap<String, String>>)> {
    let mut all = BTreeSet::new();
    for key in templates {
        all.insert((key.clone(), None));
        let template: Vec<_> = key.split_once(' ').unwrap().1.split('/').collect();
        for path in views.iter().flat_map(|view| [view.clone(), cleaned(view)]) {
            let segments: Vec<_> = path.split('/').collect();
            let pairs = template.iter().zip(&segments);
            let fits = |(expected, segment): (&&str, &&str)| expected.starts_with('{') || expected == segment;
            if template.len() == segments.len() && pairs.clone().all(fits) {
                let values = pairs.filter(|(expected, _)| expected.starts_with('{'));
                let values =
                    values.map(|(name, value)| (name.trim_matches(['{', '}']).to_owned(), (*value).to_owned()));
                let values: BTreeMap<_, _> = values.collect();
                let decode = |text: &String| percent_decode_str(text).decode_utf8_lossy().into_owned();
                let decoded = values.iter().map(|(name, value)| (name.clone(), decode(value))).collect();
                all.extend([(key.clone(), Some(values)), (key.clone(), Some(decoded))]);
            }
        }
    }
    all
}

/// Somebody whom a policy lets into namespaces.
struct Tenant {
    what: String,
    policy: Policy,
    /// The namespaces; a name that ends in a star stands for every name that begins so.
    of: &'static [&'static str],
}

impl Tenant {
    fn is_of(&self, namespace: &str) -> bool {
        let covers =
            |name: &str| name.strip_suffix('*').map_or(namespace == name, |begin| namespace.starts_with(begin));
        self.of.iter().any(|name| covers(name))
    }
}

fn tenants() -> Vec<Tenant> {
    let mut all = Vec::new();
    for of in [&["team-a"][..], &["team-b"], &["default"]] {
        for heading in POLICIES.into_iter().chain(["**One team's pipelines**"]) {
            let policy = Policy::of_page(heading, of[0]);
            all.push(Tenant { what: format!("{heading}, for {of:?}"), policy, of });
        }
    }
    for of in [&["team-a"][..], &["team-a*"], &["default", "team-b"], &["t*", "v1"]] {
        let policy = Policy::of_pipelines(&of.join(","));
        all.push(Tenant { what: format!("the pipelines of {of:?}"), policy, of });
    }
    all
}

/// The namespace that a function served an event from, as its log has it; none if it served nothing.
async fn served(function: &Function, event: Value) -> Option<(String, Value)> {
    let answer = function.invoke(event).await;
    let line = function.log.next_request().await;
    assert!(answer["statusCode"].as_u64().unwrap() < 500, "{answer} {line}");
    // Refused, or refused so early that no route is known.
    if line["outcome"] == "not-found" || line["route"] == "(none)" {
        return None;
    }
    let names_one = line["route"].as_str().unwrap().contains("{namespace}");
    // A name that no namespace can have is none.
    let namespace = if names_one { line["namespace"].as_str()? } else { "default" };
    Some((namespace.to_owned(), answer))
}

/// The namespace that a path names as it is written, without decoding anything.
fn named_in(path: &str) -> &str {
    let rest = path.strip_prefix("/v1/namespaces/");
    rest.and_then(|rest| rest.split('/').next()).unwrap_or("default")
}

/// P34, and that IAM and the router agree: the namespace is the one in the event's path, to the letter, and one that each
/// policy is for that allows the path in any of its forms.
#[test]
fn whatever_a_policy_allows_is_served_from_its_namespace() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (functions, _cloud) = runtime.block_on(async {
        let mut cloud = Deployment::new().await;
        for namespace in NAMESPACES {
            let base = format!("/v1/namespaces/{namespace}");
            assert!(cloud.call("put-namespace", "PUT", &base, None).await.0 < 300);
            let service = json!({ "name": "django", "description": namespace, "start": 5000, "end": 5999 });
            assert_eq!(cloud.call("create-service", "POST", &format!("{base}/services"), Some(service)).await.0, 201);
        }
        let mut functions = Vec::new();
        for (function, _, _) in CALLS {
            functions.push(start(function, &cloud.database).await);
        }
        (functions, cloud)
    });
    let template = Template::read();
    let routes = CALLS.map(|(function, _, _)| template.routes_of(function));
    let events =
        CALLS.map(|(_, method, _)| event(method, "/", (method != "GET").then(|| json!({ "name": "web-01" })).as_ref()));
    let tenants = tenants();
    let (allowed, answered) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { failure_persistence: None, cases: CASES, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&written(), |(number, path)| {
        let (function, method, _) = CALLS[number];
        let views = views(&path);
        let who: Vec<_> =
            tenants.iter().filter(|tenant| views.iter().any(|view| tenant.policy.allows(method, view))).collect();
        if who.is_empty() {
            return Ok(());
        }
        allowed.set(allowed.get() + 1);
        for view in &views {
            for (key, values) in found(&routes[number], &views) {
                let mut event = events[number].clone();
                event["rawPath"] = json!(view);
                event["requestContext"]["http"]["path"] = json!(view);
                event["routeKey"] = json!(key);
                event["requestContext"]["routeKey"] = json!(key);
                event["pathParameters"] = json!(values);
                let Some((from, answer)) = runtime.block_on(served(&functions[number], event)) else { continue };
                answered.set(answered.get() + 1);
                prop_assert_eq!(named_in(view), &from, "{}: {}", &path, view);
                for tenant in &who {
                    prop_assert!(tenant.is_of(&from), "{}: {method} {view} was served from {from}", tenant.what);
                }
                if let (200, "get-service") = (answer["statusCode"].as_u64().unwrap(), function) {
                    let service: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
                    prop_assert_eq!(&service["description"], &json!(from));
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // The paths are neither all refused nor all harmless.
    println!("of {CASES} paths {} were allowed to somebody, and {} events served", allowed.get(), answered.get());
    assert!(allowed.get() > CASES / 4 && answered.get() > CASES / 8);
}
