//! `template.yaml` agrees with the code: its functions, routes, permissions and alarms; and `cargo lambda watch` and
//! `docs/deploying.md` agree with it. (`.ci/template` runs AWS's own tools on it.)

use std::collections::{BTreeMap, BTreeSet};

use portmaster_http::{ENDPOINTS, Endpoint, document};
use portmaster_registry::metrics::METRICS;
use serde_json::Value;

/// Reads a file of the repository.
pub fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The template; CloudFormation's short forms (`!Ref x`) are read as their argument.
pub struct Template(Value);

impl Template {
    pub fn read() -> Self {
        Self(serde_saphyr::from_str(&file("template.yaml")).unwrap())
    }

    fn resources(&self, of_type: &str) -> impl Iterator<Item = (&str, &Value)> {
        let resources = self.0["Resources"].as_object().unwrap().iter();
        resources.filter(move |(_, resource)| resource["Type"] == of_type).map(|(id, resource)| (id.as_str(), resource))
    }

    /// Returns a resource.
    pub fn resource(&self, id: &str) -> &Value {
        &self.0["Resources"][id]
    }

    /// Returns a parameter.
    pub fn parameter(&self, name: &str) -> &Value {
        &self.0["Parameters"][name]
    }

    fn functions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.resources("AWS::Serverless::Function")
    }

    /// Returns the names of the functions' binaries.
    pub fn binaries(&self) -> BTreeSet<String> {
        self.functions().map(|(_, function)| binary(function).to_owned()).collect()
    }

    /// Returns the keys of a function's routes, as API Gateway has them: `GET /v1/services`.
    pub fn routes_of(&self, wanted: &str) -> Vec<String> {
        let (_, function) = self.functions().find(|(_, function)| binary(function) == wanted).unwrap();
        let events = function["Properties"]["Events"].as_object().into_iter().flatten().map(|(_, event)| event);
        let routes = events.filter(|event| event["Type"] == "HttpApi").map(|event| &event["Properties"]);
        routes
            .map(|route| match (route["Method"].as_str(), route["Path"].as_str()) {
                (Some(method), Some(path)) => format!("{method} {path}"),
                _ => panic!("$default would catch what a browser asks before it signs"),
            })
            .collect()
    }
}

fn binary(function: &Value) -> &str {
    function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap()
}

/// Returns the keys of the routes in an OpenAPI document's paths.
fn routes(paths: &Value) -> BTreeSet<String> {
    let paths = paths.as_object().unwrap().iter();
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

/// Returns the routes that send every other request to `pages`.
fn catch_all() -> BTreeSet<String> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    methods.iter().flat_map(|method| [format!("{method} /"), format!("{method} /{{proxy+}}")]).collect()
}

/// A method on a path, and the tag that it has in the OpenAPI document.
pub struct Operation {
    pub method: String,
    pub path: String,
    pub tag: String,
}

/// Returns the operations that an endpoint serves.
pub fn operations(endpoint: &Endpoint) -> Vec<Operation> {
    let (_, own) = (endpoint.routes)().split_for_parts();
    let paths = serde_json::to_value(&own.paths).unwrap();
    let operation = |path: &str, method: &str, operation: &Value| Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        tag: operation["tags"][0].as_str().unwrap().to_owned(),
    };
    let of = |(path, item): (&String, &Value)| {
        item.as_object().unwrap().iter().map(|(method, found)| operation(path, method, found)).collect::<Vec<_>>()
    };
    paths.as_object().unwrap().iter().flat_map(of).collect()
}

fn documented() -> BTreeSet<String> {
    routes(&serde_json::from_str::<Value>(document()).unwrap()["paths"])
}

/// Returns the logical id: `create-offer` is CreateOfferFunction.
pub fn logical_id(binary: &str) -> String {
    let word = |word: &str| format!("{}{}", word[..1].to_uppercase(), &word[1..]);
    binary.split('-').map(word).collect::<String>() + "Function"
}

#[test]
fn template_routers_and_document_have_the_same_routes() {
    let template = Template::read();
    let mut all = BTreeSet::new();
    for endpoint in ENDPOINTS {
        let served = operations(endpoint).into_iter();
        let mut own: BTreeSet<_> = served.map(|operation| format!("{} {}", operation.method, operation.path)).collect();
        if endpoint.function == "pages" {
            own.extend(catch_all());
        }
        let listed = template.routes_of(endpoint.function);
        assert_eq!(own, listed.iter().cloned().collect(), "{}", endpoint.function);
        assert_eq!(own.len(), listed.len(), "{}", endpoint.function);
        all.extend(own);
    }
    assert_eq!(&all - &catch_all(), documented());

    let expected: BTreeSet<_> = ENDPOINTS
        .iter()
        .map(|endpoint| endpoint.function)
        .chain(["record-history", "reconcile", "custom-resource"])
        .collect();
    assert_eq!(template.binaries(), expected.iter().map(|function| (*function).to_owned()).collect());
    for (id, function) in template.functions() {
        assert_eq!(id, logical_id(binary(function)));
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda");
    }
}

/// `cargo lambda watch` sends each route to its function, as the template does.
#[test]
fn cargo_lambda_watch_has_the_same_routes() {
    let manifest: toml::Value = toml::from_str(&file("Cargo.toml")).unwrap();
    let router = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"].as_table().unwrap();
    let mut watched = BTreeSet::new();
    for (path, functions) in router {
        for route in functions.as_array().unwrap() {
            let (function, method) = (route["function"].as_str().unwrap(), route["method"].as_str().unwrap());
            watched.insert((function.to_owned(), format!("{method} {path}")));
        }
    }
    let template = Template::read();
    let mut deployed = BTreeSet::new();
    for function in template.binaries() {
        let routes = template.routes_of(&function).into_iter().filter(|route| !catch_all().contains(route));
        deployed.extend(routes.map(|route| (function.clone(), route)));
    }
    assert_eq!(watched, deployed);
}

/// Everything but `GET /health` requires a signature, and the log never has a path, which may have a secret in it.
#[test]
fn the_api_is_closed_and_its_log_keeps_secrets() {
    let template = Template::read();
    let (_, api) = template.resources("AWS::Serverless::HttpApi").next().unwrap();
    assert_eq!(api["Properties"]["Auth"]["DefaultAuthorizer"], "AWS_IAM");
    let mut open = Vec::new();
    for (_, function) in template.functions() {
        for event in function["Properties"]["Events"].as_object().into_iter().flatten().map(|(_, event)| event) {
            if !event["Properties"]["Auth"].is_null() {
                assert_eq!(event["Properties"]["Auth"]["Authorizer"], "NONE");
                open.push(event["Properties"]["Path"].as_str().unwrap());
            }
        }
    }
    assert_eq!(open, ["/health"]);
    let format = api["Properties"]["AccessLogSettings"]["Format"].as_str().unwrap();
    let line: BTreeMap<String, String> = serde_json::from_str(format).unwrap();
    for (member, value) in line {
        let path = ["$context.path", "$context.authorizer", "$context.identity.accessKey"];
        assert!(!path.iter().any(|secret| value.starts_with(secret)), "{member}: {value}");
    }
}

/// A user's policy allows its calls by method and path, one line each, and nothing else; an admin's allows every call,
/// in as few lines as possible, so that it does not repeat the user's.
#[test]
fn the_policies_allow_every_call_that_is_theirs() {
    let template = Template::read();
    let policies: BTreeMap<_, _> = template.resources("AWS::IAM::ManagedPolicy").collect();
    let allowed = |policy: &str| -> BTreeSet<String> {
        let statements = policies[policy]["Properties"]["PolicyDocument"]["Statement"].as_array().unwrap();
        let resources = statements.iter().flat_map(|statement| {
            assert_eq!((&statement["Effect"], &statement["Action"]), (&"Allow".into(), &"execute-api:Invoke".into()));
            statement["Resource"].as_array().unwrap()
        });
        resources.map(|arn| arn.as_str().unwrap().split_once("/$default/").unwrap().1.to_owned()).collect()
    };
    // A parameter of a path is a star in an ARN, and a star in an ARN matches slashes too.
    let braces = regex::Regex::new(r"\{\w+\}").unwrap();
    let named = |route: &String| braces.replace_all(&route.replace(' ', ""), "*").into_owned();
    let matched = |pattern: &String, routes: &BTreeSet<String>| -> BTreeSet<String> {
        let wild = regex::Regex::new(&format!("^{}$", regex::escape(pattern).replace("\\*", ".*"))).unwrap();
        // The shape of a route with something in the place of its parameters.
        let call = |route: &&String| wild.is_match(&route.replace('*', "x"));
        routes.iter().filter(call).cloned().collect()
    };
    let everything: BTreeSet<_> = documented().iter().map(named).collect();
    let services: BTreeSet<_> = ["POST", "GET"]
        .map(|method| format!("{method}/v1/services"))
        .into_iter()
        .chain(["GET", "PUT", "PATCH", "DELETE"].map(|method| format!("{method}/v1/services/*")))
        .collect();
    // What an operator does to others' ports is not a pipeline's to do.
    let operators = ["POST/v1/services/*/release", "POST/v1/services/*/import", "DELETE/v1/services/*/quarantine/*"]
        .map(str::to_owned);
    // Whoever may use `default` sees nothing of another namespace.
    let elsewhere: BTreeSet<_> = everything.iter().filter(|call| call.contains("/v1/namespaces")).cloned().collect();
    let others = &(&services | &elsewhere) | &BTreeSet::from(operators);
    assert_eq!(allowed("UserPolicy"), &everything - &others);
    for pattern in allowed("UserPolicy") {
        assert!(matched(&pattern, &others).is_empty(), "{pattern} reaches {:?}", matched(&pattern, &others));
    }
    let admins = allowed("AdminPolicy");
    let reached = |patterns: &BTreeSet<String>| -> BTreeSet<String> {
        patterns.iter().flat_map(|pattern| matched(pattern, &everything)).collect()
    };
    assert_eq!(reached(&admins), everything);
    for pattern in &admins {
        let others = &admins - &[pattern.clone()].into();
        assert_ne!(reached(&others), everything, "{pattern} allows nothing that the others do not");
    }
}

/// An alarm watches every function for errors, and one watches them all together for throttles. Every metric of ours
/// that an alarm or the dashboard names is one that the code emits.
#[test]
fn alarms_watch_every_function_and_what_there_is() {
    let template = Template::read();
    let alarms: Vec<_> = template.resources("AWS::CloudWatch::Alarm").collect();
    let mut watched = BTreeSet::new();
    for (_, alarm) in &alarms {
        for part in alarm["Properties"]["Metrics"].as_array().into_iter().flatten() {
            let of = &part["MetricStat"]["Metric"];
            if of["MetricName"] == "Errors" {
                watched.insert(of["Dimensions"][0]["Value"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(watched, template.functions().map(|(id, _)| id.to_owned()).collect());
    // Without a dimension the metric is that of all functions in the region, which share the limit.
    let throttles: Vec<_> =
        alarms.iter().filter(|(_, alarm)| alarm["Properties"]["MetricName"] == "Throttles").collect();
    let [(_, throttles)] = throttles.as_slice() else { panic!("one alarm: {throttles:?}") };
    assert_eq!(throttles["Properties"]["Namespace"], "AWS/Lambda");
    assert!(throttles["Properties"]["Dimensions"].is_null());
    for (id, alarm) in &alarms {
        let properties = &alarm["Properties"];
        // FILL turns a metric that is late into a zero: an alarm on the last period alone could miss it for good.
        if properties["Metrics"].to_string().contains("FILL") {
            assert_eq!(
                (&properties["EvaluationPeriods"], &properties["DatapointsToAlarm"]),
                (&3.into(), &1.into()),
                "{id}"
            );
        }
        let parts = alarm["Properties"]["Metrics"].as_array().map_or(0, Vec::len);
        assert!(parts <= 11, "{id}: an alarm's expression has ten metrics at most (CloudWatch)");
        assert!(!alarm["Properties"]["AlarmActions"].is_null() && !alarm["Properties"]["AlarmDescription"].is_null());
    }
    // Between two runs the reconciler emits nothing, and nothing changes.
    let inconsistencies = alarms.iter().find(|(id, _)| *id == "InconsistencyAlarm").unwrap().1;
    assert_eq!(inconsistencies["Properties"]["TreatMissingData"], "ignore");
    let ours: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    let named = alarms.iter().filter(|(_, alarm)| alarm["Properties"]["Namespace"] == "Portmaster");
    for (id, alarm) in named {
        assert!(ours.contains(alarm["Properties"]["MetricName"].as_str().unwrap()), "{id}");
    }
    let (_, dashboard) = template.resources("AWS::CloudWatch::Dashboard").next().unwrap();
    // `!Sub`: a text, and the values of its variables.
    let [body, variables] = dashboard["Properties"]["DashboardBody"].as_array().unwrap().as_slice() else { panic!() };
    let mut text = body.as_str().unwrap().to_owned();
    for (name, value) in variables.as_object().unwrap() {
        assert!(text.contains(&format!("${{{name}}}")), "the dashboard has no place for {name}");
        text = text.replace(&format!("${{{name}}}"), value.as_str().unwrap());
    }
    let body: Value = serde_json::from_str(&text).unwrap();
    let mut shown = 0;
    let mut functions = BTreeSet::new();
    for widget in body["widgets"].as_array().unwrap() {
        let mut namespace = "";
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            // A dot repeats the value of the line before.
            match metric[0].as_str() {
                Some("." | "...") | None => {}
                Some(other) => namespace = other,
            }
            if let (Some("Portmaster" | "."), "Portmaster") = (metric[0].as_str(), namespace) {
                assert!(ours.contains(metric[1].as_str().unwrap()), "{metric}");
                shown += 1;
            }
            if metric[2] == "FunctionName" {
                assert_eq!(namespace, "AWS/Lambda");
                functions.insert((metric[1].as_str().unwrap(), metric[3].as_str().unwrap().to_owned()));
            }
        }
    }
    assert!(shown >= 12, "{shown}");
    let ids = template.functions().map(|(id, _)| format!("${{{id}}}"));
    assert_eq!(functions, ids.flat_map(|id| [("Errors", id.clone()), ("Throttles", id)]).collect());
}

/// Throttles are per route: the open route and the lists, which read the most, have limits of their own, far below the
/// others'; and every route with a limit of its own exists.
#[test]
fn the_expensive_routes_are_throttled_on_their_own() {
    let template = Template::read();
    let (_, api) = template.resources("AWS::Serverless::HttpApi").next().unwrap();
    let settings = api["Properties"]["RouteSettings"].as_object().unwrap();
    let limited: BTreeSet<_> = settings.keys().cloned().collect();
    assert!(limited.is_subset(&documented()), "{limited:?}");
    let lists = documented().into_iter().filter(|route| {
        route.starts_with("GET ")
            && ["/namespaces", "/services", "/offers", "/ports", "/map", "/history"]
                .iter()
                .any(|end| route.ends_with(end))
    });
    let others = [
        "GET /health",
        "POST /v1/services/{service}/release",
        "POST /v1/namespaces/{namespace}/services/{service}/release",
        "POST /v1/services/{service}/import",
        "POST /v1/namespaces/{namespace}/services/{service}/import",
    ]
    .map(str::to_owned);
    let expected: BTreeSet<_> = lists.chain(others).collect();
    assert_eq!(limited, expected);
    let default = |parameter: &str| template.0["Parameters"][parameter]["Default"].as_u64().unwrap();
    assert_eq!((default("ThrottleRate"), default("ThrottleBurst")), (100, 200));
    for (route, limits) in settings {
        if route == "GET /health" {
            // Open to everybody, or closed to everybody (`HealthOpen`): without a token no request passes.
            assert_eq!(limits["ThrottlingRateLimit"], serde_json::json!(["HealthIsOpen", 5, 0]));
            assert_eq!(limits["ThrottlingBurstLimit"], serde_json::json!(["HealthIsOpen", 10, 0]));
        } else {
            let rate = default(limits["ThrottlingRateLimit"].as_str().unwrap());
            assert!(rate * 10 <= default("ThrottleRate"), "{route}: {rate}");
            assert!(default(limits["ThrottlingBurstLimit"].as_str().unwrap()) * 10 <= default("ThrottleBurst"));
        }
    }
}

/// A browser may send every header that the API reads.
#[test]
fn cors_allows_the_headers_that_the_document_names() {
    let template = Template::read();
    let (_, api) = template.resources("AWS::Serverless::HttpApi").next().unwrap();
    let allowed = &api["Properties"]["CorsConfiguration"][1]["AllowHeaders"];
    let allowed: BTreeSet<_> = allowed.as_array().unwrap().iter().map(|header| header.as_str().unwrap()).collect();
    let document: Value = serde_json::from_str(document()).unwrap();
    let mut read = BTreeSet::new();
    for operation in document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "header" {
                read.insert(parameter["name"].as_str().unwrap().to_lowercase());
            }
        }
    }
    assert!(read.len() >= 3, "{read:?}");
    for header in read {
        assert!(allowed.contains(header.as_str()), "{header}");
    }
}

/// An alarm that counts in a period needs one period for each interval that may be chosen.
#[test]
fn every_interval_of_the_reconciler_has_its_alarms_periods() {
    let template = Template::read();
    let intervals = template.0["Parameters"]["ReconcileMinutes"]["AllowedValues"].as_array().unwrap();
    let mapping = template.0["Mappings"]["Reconciler"].as_object().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    assert_eq!(intervals.len(), mapping.len());
    for minutes in intervals {
        let of = &mapping[&minutes.to_string()];
        let seconds = number(minutes) * 60;
        let looked_back = number(&of["AlarmPeriod"]) * number(&of["AlarmPeriods"]);
        // Three intervals, and at most as far as CloudWatch looks back: a day, or a week for periods of an hour or
        // more.
        assert!(looked_back >= 3 * seconds, "{minutes}");
        assert!(looked_back <= if number(&of["AlarmPeriod"]) < 3600 { 86_400 } else { 7 * 86_400 }, "{minutes}");
        let swept = number(&of["SweepQuarters"]) * 21_600;
        assert!(swept >= 86_400.max(3 * seconds) && swept <= 7 * 86_400, "{minutes}");
    }
}

/// `table.yaml` is the template's table to the letter, with the parameters and conditions that it refers to: an import
/// that differs would change the table at the next deployment, and one that refers to something missing fails.
#[test]
fn the_table_alone_is_the_templates() {
    let (whole, alone) = (file("template.yaml"), file("table.yaml"));
    // An entry with all that is indented below it.
    let entry = |text: &str, head: &str| -> String {
        let mut lines = text.lines().skip_while(|line| *line != head);
        let first = lines.next().unwrap_or_else(|| panic!("there is no {head:?}"));
        let rest = lines.take_while(|line| line.starts_with("    "));
        std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n")
    };
    let read: Value = serde_saphyr::from_str(&alone).unwrap();
    let keys = |section: &str| read[section].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys("Resources"), ["Table"]);
    for name in keys("Resources").into_iter().chain(keys("Parameters")) {
        let head = format!("  {name}:");
        assert_eq!(entry(&alone, &head), entry(&whole, &head));
    }
    let conditions: Vec<_> = alone.lines().filter(|line| line.starts_with("  Has")).collect();
    assert_eq!(conditions.len(), keys("Conditions").len());
    assert!(conditions.iter().all(|line| whole.lines().any(|other| other == *line)));
    let known: BTreeSet<_> = keys("Parameters").into_iter().chain(keys("Conditions")).collect();
    let referred = regex::Regex::new(r"!(?:Ref|If \[|Condition) ?(\w+)(?:$|[\],\s])").unwrap();
    let found: BTreeSet<_> = referred.captures_iter(&alone).map(|found| found[1].to_owned()).collect();
    assert_eq!(&found - &["AWS".to_owned()].into(), &known - &["HasMaxUnits".to_owned()].into());
}

/// Readers of the template see whole lines: only an ARN may be as long as this.
#[test]
fn the_template_has_readable_lines() {
    for name in ["template.yaml", "table.yaml"] {
        for (number, line) in (1..).zip(file(name).lines()) {
            assert!(line.chars().count() <= 140, "{name}:{number} has {} columns", line.chars().count());
        }
    }
}

/// The costs of an idle stack are computed from the resources that it has.
#[test]
fn the_page_on_deploying_counts_what_is_paid_for() {
    let (template, page) = (Template::read(), file("docs/deploying.md"));
    let alarms: Vec<_> = template.resources("AWS::CloudWatch::Alarm").map(|(_, alarm)| &alarm["Properties"]).collect();
    // Each metric of an alarm is paid for; an expression is not.
    let watched = alarms.iter().map(|alarm| match alarm["Metrics"].as_array() {
        Some(parts) => parts.iter().filter(|part| !part["MetricStat"].is_null()).count(),
        None => 1,
    });
    let metrics = watched.sum::<usize>();
    let row = format!(
        "| alarms | {}, on {metrics} metrics, $0.10 each | **${}.{:02}** |",
        alarms.len(),
        metrics / 10,
        metrics % 10 * 10
    );
    assert!(page.contains(&row), "{row}");
    let ours = format!("{} at most; $0.30 each", METRICS.len());
    assert!(page.contains(&ours), "{ours}");
    let minutes = &template.0["Parameters"]["ReconcileMinutes"]["Default"];
    assert!(
        page.contains(&format!("| `ReconcileMinutes` | {minutes} |")) && page.contains(&format!("**every {minutes}**"))
    );
}

/// The page on deploying documents each parameter, output, alarm and metric.
#[test]
fn the_page_on_deploying_leaves_nothing_out() {
    let (template, page) = (Template::read(), file("docs/deploying.md"));
    let of = |section: &str| template.0[section].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let alarms = template.resources("AWS::CloudWatch::Alarm").map(|(id, _)| id.to_owned());
    let metrics = METRICS.iter().map(|metric| metric.name.to_owned());
    for name in of("Parameters").into_iter().chain(of("Outputs")).chain(alarms).chain(metrics) {
        assert!(page.contains(&format!("`{name}`")), "docs/deploying.md does not name `{name}`");
    }
}
