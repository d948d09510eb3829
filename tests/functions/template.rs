//! `template.yaml` agrees with the code: its functions, routes, permissions and alarms; and `cargo lambda watch` and
//! `docs/deploying.md` agree with it. (What AWS's own tools say of it is checked by `.ci/template`.)

use std::collections::{BTreeMap, BTreeSet};

use portmaster_shared::http::{ENDPOINTS, document};
use portmaster_shared::metrics::METRICS;
use serde_json::Value;

fn file(name: &str) -> String {
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

    fn functions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.resources("AWS::Serverless::Function")
    }

    /// The functions' binaries.
    pub fn binaries(&self) -> BTreeSet<String> {
        self.functions().map(|(_, function)| binary(function).to_owned()).collect()
    }

    /// The keys of a function's routes, as API Gateway has them: `GET /v1/services`.
    pub fn routes_of(&self, wanted: &str) -> Vec<String> {
        let (_, function) = self.functions().find(|(_, function)| binary(function) == wanted).unwrap();
        let events = function["Properties"]["Events"].as_object().unwrap().values();
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

/// The keys of the routes in an OpenAPI document's paths.
fn routes(paths: &Value) -> BTreeSet<String> {
    let paths = paths.as_object().unwrap().iter();
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

/// What sends every other request to `pages`.
fn catch_all() -> BTreeSet<String> {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    methods.iter().flat_map(|method| [format!("{method} /"), format!("{method} /{{proxy+}}")]).collect()
}

fn documented() -> BTreeSet<String> {
    routes(&serde_json::from_str::<Value>(document()).unwrap()["paths"])
}

/// `create-offer` is CreateOfferFunction.
fn logical_id(binary: &str) -> String {
    let word = |word: &str| format!("{}{}", word[..1].to_uppercase(), &word[1..]);
    binary.split('-').map(word).collect::<String>() + "Function"
}

#[test]
fn template_routers_and_document_have_the_same_routes() {
    let template = Template::read();
    let mut all = BTreeSet::new();
    for endpoint in ENDPOINTS {
        let (_, own) = (endpoint.routes)().split_for_parts();
        let mut own = routes(&serde_json::to_value(&own.paths).unwrap());
        if endpoint.function == "pages" {
            own.extend(catch_all());
        }
        let listed = template.routes_of(endpoint.function);
        assert_eq!(own, listed.iter().cloned().collect(), "{}", endpoint.function);
        assert_eq!(own.len(), listed.len(), "{}", endpoint.function);
        all.extend(own);
    }
    assert_eq!(&all - &catch_all(), documented());

    let expected: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.function).chain(["reconcile"]).collect();
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

/// Everything but `GET /health` is closed, and the log never has a path, which may have a secret in it.
#[test]
fn the_api_is_closed_and_its_log_keeps_secrets() {
    let template = Template::read();
    let (_, api) = template.resources("AWS::Serverless::HttpApi").next().unwrap();
    assert_eq!(api["Properties"]["Auth"]["DefaultAuthorizer"], "AWS_IAM");
    let mut open = Vec::new();
    for (_, function) in template.functions() {
        for event in function["Properties"]["Events"].as_object().unwrap().values() {
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

/// The two policies allow their calls by method and path, one line each, and nothing else.
#[test]
fn the_policies_name_every_call_and_no_other() {
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
    // A parameter of a path is a star in an ARN.
    let braces = regex::Regex::new(r"\{\w+\}").unwrap();
    let pattern = |route: &String| braces.replace_all(&route.replace(' ', ""), "*").into_owned();
    let everything: BTreeSet<_> = documented().iter().map(pattern).collect();
    let services: BTreeSet<_> = ["POST", "GET"]
        .map(|method| format!("{method}/v1/services"))
        .into_iter()
        .chain(["GET", "PUT", "PATCH", "DELETE"].map(|method| format!("{method}/v1/services/*")))
        .collect();
    assert_eq!(allowed("AdminPolicy"), everything);
    assert_eq!(allowed("UserPolicy"), &everything - &services);
    // A star in an ARN stands for slashes too: still none of the user's patterns reaches a service.
    for pattern in allowed("UserPolicy") {
        let wild = regex::Regex::new(&format!("^{}$", regex::escape(&pattern).replace("\\*", ".*"))).unwrap();
        for service in ["POST/v1/services", "GET/v1/services", "PUT/v1/services/django", "DELETE/v1/services/django"] {
            assert!(!wild.is_match(service), "{pattern} reaches {service}");
        }
    }
}

/// Every function is watched for errors and throttles, and every metric of ours that an alarm or the dashboard names is
/// one that the code raises.
#[test]
fn alarms_watch_every_function_and_what_there_is() {
    let template = Template::read();
    let alarms: Vec<_> = template.resources("AWS::CloudWatch::Alarm").collect();
    for metric in ["Errors", "Throttles"] {
        let mut watched = BTreeSet::new();
        for (_, alarm) in &alarms {
            for part in alarm["Properties"]["Metrics"].as_array().into_iter().flatten() {
                let of = &part["MetricStat"]["Metric"];
                if of["MetricName"] == metric {
                    watched.insert(of["Dimensions"][0]["Value"].as_str().unwrap().to_owned());
                }
            }
        }
        assert_eq!(watched, template.functions().map(|(id, _)| id.to_owned()).collect(), "{metric}");
    }
    for (id, alarm) in &alarms {
        let parts = alarm["Properties"]["Metrics"].as_array().map_or(0, Vec::len);
        assert!(parts <= 11, "{id}: an alarm's expression has ten metrics at most (CloudWatch)");
        assert!(!alarm["Properties"]["AlarmActions"].is_null() && !alarm["Properties"]["AlarmDescription"].is_null());
    }
    let ours: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    let named = alarms.iter().filter(|(_, alarm)| alarm["Properties"]["Namespace"] == "Portmaster");
    for (id, alarm) in named {
        assert!(ours.contains(alarm["Properties"]["MetricName"].as_str().unwrap()), "{id}");
    }
    let (_, dashboard) = template.resources("AWS::CloudWatch::Dashboard").next().unwrap();
    let body: Value = serde_json::from_str(dashboard["Properties"]["DashboardBody"].as_str().unwrap()).unwrap();
    let mut shown = 0;
    for widget in body["widgets"].as_array().unwrap() {
        let mut namespace = "";
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            // A dot repeats what stands in the line before.
            match metric[0].as_str() {
                Some("." | "...") | None => {}
                Some(other) => namespace = other,
            }
            if let (Some("Portmaster" | "."), "Portmaster") = (metric[0].as_str(), namespace) {
                assert!(ours.contains(metric[1].as_str().unwrap()), "{metric}");
                shown += 1;
            }
        }
    }
    assert!(shown >= 12, "{shown}");
}

/// The page on deploying says what each parameter, output, alarm and metric is.
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
