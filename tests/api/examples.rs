//! `docs/api.md` is true: its examples, run in their order, are what the registry answers, and it leaves nothing out.

use std::collections::{BTreeSet, HashMap};

use portmaster_http::{Kind, document};
use regex::Regex;
use reqwest::Method;
use serde_json::Value;

use portmaster_testkit::Stage;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md")).unwrap()
}

/// Returns each command of the page's console blocks, without its `$`, and the output shown below it.
fn examples(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("```console\n$ ").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    let examples: Vec<_> =
        blocks.flat_map(|block| block.split("\n$ ")).map(|step| step.split_once('\n').unwrap_or((step, ""))).collect();
    assert_eq!(examples.len(), page.matches("\n$ ").count(), "every command stands in a console block");
    examples
}

struct Command {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    includes_head: bool,
}

impl Command {
    fn parse(line: &str) -> Self {
        let mut words = shlex::split(line).unwrap_or_else(|| panic!("unbalanced quotes: {line}")).into_iter();
        assert_eq!(words.next().unwrap(), "curl", "{line}");
        let (mut method, mut path, mut headers, mut body, mut includes_head) = (None, None, Vec::new(), None, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value: {line}"));
            match word.as_str() {
                "-i" => includes_head = true,
                "-s" => {}
                "-X" => method = Some(value().parse().unwrap()),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").unwrap();
                    headers.push((name.to_owned(), value.to_owned()));
                }
                "--json" => {
                    body = Some(value().into_bytes());
                    let json = ["content-type", "accept"].map(|name| (name.to_owned(), "application/json".to_owned()));
                    headers.extend(json);
                }
                url => {
                    let rest = url.strip_prefix("$PORTMASTER");
                    path = Some(rest.unwrap_or_else(|| panic!("unknown option {url}: {line}")).to_owned());
                }
            }
        }
        let method = method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
        Self { method, path: path.unwrap(), headers, body, includes_head }
    }
}

/// The values that differ from run to run: the real value of each secret, id, tag and cursor on the page, bound where
/// it is first shown. No two of them are the same.
#[derive(Default)]
struct Run(HashMap<String, String>);

fn values() -> Regex {
    Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|cursor=[A-Za-z0-9_-]+").unwrap()
}

/// Reduces times to their form.
fn without_times(text: &str) -> String {
    let times = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|Retry-After: \d+|\d+ seconds").unwrap();
    times.replace_all(text, |time: &regex::Captures<'_>| time[0].replace(|c: char| c.is_ascii_digit(), "0")).into()
}

impl Run {
    fn bind(&mut self, shown: &str, real: &str) {
        let values = values();
        for (shown, real) in values.find_iter(shown).zip(values.find_iter(real)) {
            if !self.0.values().any(|bound| bound == real.as_str()) {
                self.0.entry(shown.as_str().to_owned()).or_insert_with(|| real.as_str().to_owned());
            }
        }
    }

    fn bind_json(&mut self, shown: &Value, real: &Value) {
        match (shown, real) {
            (Value::String(shown), Value::String(real)) => self.bind(shown, real),
            (Value::Array(shown), Value::Array(real)) => {
                shown.iter().zip(real).for_each(|(shown, real)| self.bind_json(shown, real));
            }
            (Value::Object(shown), real) => shown.iter().for_each(|(name, shown)| self.bind_json(shown, &real[name])),
            _ => {}
        }
    }

    /// Returns the page's text as it must be in this run.
    fn resolve(&self, shown: &str) -> String {
        let real = |value: &regex::Captures<'_>| self.0.get(&value[0]).map_or(&value[0], String::as_str).to_owned();
        values().replace_all(shown, real).into()
    }

    fn compare(&mut self, shown: &str, mut real: Value, command: &str) {
        // The page shows what a registry without IAM answers.
        without_principal(&mut real);
        // If the page leaves the rest out, only the part that it shows counts.
        let (shown, partial) = match shown.strip_suffix(", …}") {
            Some(start) => (format!("{start}}}"), true),
            None => (shown.to_owned(), false),
        };
        let shown = match shown.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(format!("{text}\n"))),
        };
        if partial {
            real.as_object_mut().unwrap().retain(|name, _| shown.get(name).is_some());
        }
        self.bind_json(&shown, &real);
        let parse = |json: String| serde_json::from_str::<Value>(&without_times(&json)).unwrap();
        let (shown, real) = (parse(self.resolve(&shown.to_string())), parse(real.to_string()));
        assert_eq!(shown, real, "{command}\nshown: {shown:#}\nreal: {real:#}");
    }
}

fn without_principal(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("principal");
            members.values_mut().for_each(without_principal);
        }
        Value::Array(items) => items.iter_mut().for_each(without_principal),
        _ => {}
    }
}

#[tokio::test]
async fn the_examples_are_what_the_registry_answers() {
    let (page, api) = (page(), Stage::new().await);
    let mut run = Run::default();
    for (command, shown) in examples(&page) {
        let Command { method, path, headers, body, includes_head } = Command::parse(&run.resolve(command));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if path.contains("/history") {
            api.history_settles().await;
        }
        let answer = api.send_bytes(method, &path, body, &headers).await;

        let (head, body) = match includes_head {
            true => shown.split_once("\n\n").unwrap_or((shown, "")),
            false => ("HTTP/1.1 200 OK", shown),
        };
        let mut head = head.lines();
        assert_eq!(head.next().unwrap(), format!("HTTP/1.1 {}", answer.status), "{command}\n{answer:#?}");
        for line in head {
            let (name, _) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header: {command}"));
            let real = format!("{name}: {}", answer.header(name));
            // Its order has no meaning, and API Gateway does not send HEAD where GET goes.
            if name == "Allow" && api.is_deployed() {
                let methods = |line: &str| line.replace("Allow: ", "").split(',').map(str::to_owned).collect();
                let (real, shown): (BTreeSet<_>, BTreeSet<_>) = (methods(&real), methods(&line.replace(",HEAD", "")));
                assert_eq!(real, shown, "{command}");
                continue;
            }
            run.bind(line, &real);
            assert_eq!(without_times(&run.resolve(line)), without_times(&real), "{command}");
        }
        run.compare(body, answer.body, command);
    }
}

/// The reconciler has not come by where the other examples run; but this one has the form of what it leaves.
#[test]
fn the_example_of_usage_is_one() {
    let page = page();
    let section = page.split("#### How full a service is\n").nth(1).unwrap();
    let example = section.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let service: portmaster_wire::Service = serde_json::from_str(example).unwrap();
    let usage = service.usage.as_ref().unwrap();
    let counts = &usage.counts;
    let taken = counts.offered + counts.allocated + counts.cooling + counts.quarantined;
    assert_eq!(taken + counts.free + counts.reserved, usage.size);
    assert_eq!((taken * 1000 / (taken + counts.free)) as f64 / 10.0, usage.used_percent);
    assert_eq!(serde_json::to_value(&service).unwrap(), serde_json::from_str::<Value>(example).unwrap());
}

#[test]
fn every_problem_and_every_call_is_there() {
    let page = page();
    let row = Regex::new(r"(?m)^\| `([a-z-]+)` \| (\d{3}) \| (.+?) \|").unwrap();
    let rows: BTreeSet<_> = row.captures_iter(&page).map(|row| row.extract::<3>().1.map(str::to_owned)).collect();
    let kinds = Kind::ALL.iter().map(|kind| [kind.slug(), kind.status().as_str(), kind.title()].map(str::to_owned));
    assert_eq!(rows, kinds.collect());

    let document: Value = serde_json::from_str(document()).unwrap();
    // What is below a namespace is documented once for all of it.
    let paths = document["paths"].as_object().unwrap().iter();
    let paths = paths.filter(|(path, _)| !path.starts_with("/v1/namespaces/{namespace}/"));
    let operations = paths.flat_map(|(path, item)| {
        let name = move |method: &str| format!("{} {path}", method.to_uppercase());
        item.as_object().unwrap().iter().map(move |(method, operation)| (name(method), operation))
    });
    let operations: HashMap<_, _> = operations.collect();
    let call = Regex::new("^`([A-Z]+ /.+)`\n").unwrap();
    let sections = page
        .split("\n## ")
        .flat_map(|part| part.split("\n### "))
        .filter_map(|section| Some((call.captures(section)?[1].to_owned(), section)));
    let sections: HashMap<_, _> = sections.collect();
    assert_eq!(sections.keys().collect::<BTreeSet<_>>(), operations.keys().collect());

    // The answers that any call can have are documented once, before them all.
    let common = [
        Kind::InvalidRequest,
        Kind::CrossOrigin,
        Kind::NotFound,
        Kind::PayloadTooLarge,
        Kind::MisdirectedRequest,
        Kind::Unavailable,
        Kind::Internal,
    ];
    for (call, section) in sections {
        assert!(section.contains("```console\n"), "no example of {call}");
        let announced = operations[&call]["responses"].to_string();
        for kind in Kind::ALL.iter().filter(|kind| !common.contains(kind)) {
            let slug = format!("`{}`", kind.slug());
            assert!(!announced.contains(&slug) || section.contains(&slug), "{call} does not tell of {slug}");
        }
    }
}
