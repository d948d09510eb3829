//! The command line as a program: what it prints, where, and what it ends with.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Output, Stdio};

use portmaster_testkit::World;
use serde_json::Value;
use tokio::io::AsyncBufReadExt as _;
use tokio::process::ChildStdout;

/// What is tested one by one; the rest of this file goes from one command to the next.
mod commands {
    mod doctor;
    mod operators;
    mod results;
    mod start;
}

/// A place to run it: a folder of its own as home and working directory, and no variables but those that are given.
struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: vec![("USER".to_owned(), "ada".to_owned())] }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where its registry is.
    fn url(&self) -> String {
        self.variables.iter().find(|(name, _)| name == "PORTMASTER_URL").unwrap().1.clone()
    }

    async fn run(&self, line: &[&str]) -> Output {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
            .args(line)
            .env_clear()
            .env("HOME", self.path())
            .envs(self.variables.iter().cloned())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    }

    /// Runs it; returns the exit code, standard output and standard error.
    async fn says(&self, line: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.run(line).await;
        (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    /// Runs it, and expects it to do what it was told.
    async fn done(&self, line: &[&str]) -> String {
        let (code, stdout, stderr) = self.says(line).await;
        assert_eq!(code, 0, "{line:?}: {stdout}{stderr}");
        stdout
    }
}

async fn world() -> (World, Place) {
    let world = World::new().await;
    let place = Place::new().with("PORTMASTER_URL", &world.api.url);
    world.api.service("web", 5000, 5009).await;
    (world, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn help_is_as_it_was() {
    let place = Place::new();
    let commands: [&[&str]; 25] = [
        &["--help"],
        &["run", "--help"],
        &["take", "-h"],
        &["renew", "-h"],
        &["release", "-h"],
        &["show", "-h"],
        &["list", "-h"],
        &["find", "-h"],
        &["map", "-h"],
        &["service", "-h"],
        &["service", "apply", "-h"],
        &["service", "put", "-h"],
        &["service", "list", "-h"],
        &["service", "show", "-h"],
        &["service", "delete", "-h"],
        &["namespace", "-h"],
        &["namespace", "put", "-h"],
        &["import", "-h"],
        &["quarantine", "end", "-h"],
        &["offers", "-h"],
        &["history", "-h"],
        &["watch", "-h"],
        &["ui", "-h"],
        &["doctor", "-h"],
        &["completions", "-h"],
    ];
    for line in commands {
        let name = line.iter().filter(|word| !word.starts_with('-')).copied().collect::<Vec<_>>().join("-");
        let name = if name.is_empty() { "portmaster".to_owned() } else { name };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/help/{name}.txt"));
        let shown = place.done(line).await;
        snapbox::assert_data_eq!(shown, snapbox::Data::read_from(&file, None).raw());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_command_line_are_2() {
    let (_world, place) = world().await;
    let lines: [&[&str]; 9] = [
        &["take", "-web", "job"],
        &["take", "web", "123"],
        &["take", "web"],
        &["take", "web", "job", "--lease", "31d"],
        &["take", "web", "job", "--label", "Team=shop"],
        &["find", "80"],
        &["--url", "127.0.0.1:8080", "find", "5000"],
        &["list", "web", "-o", "env"],
        &["service", "put", "x", "--start", "5000", "--end", "5009", "--reserved", "5005-5001"],
    ];
    let mut all = String::new();
    for line in lines {
        let (code, stdout, stderr) = place.says(line).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{line:?}: {stderr}");
        all.push_str(&format!("$ portmaster {}\n{stderr}\n", line.join(" ")));
    }
    snapbox::assert_data_eq!(all, snapbox::file!["snapshots/mistakes.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_words_reach_the_user() {
    let (_world, place) = world().await;
    place.done(&["take", "web", "job", "--owner", "run-1", "--lease", "15m"]).await;
    let (code, stdout, stderr) = place.says(&["take", "web", "job", "--owner", "run-2"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: The name has a port already: job has port 5000"), "{stderr}");
    assert!(!stderr.contains("/v1/"), "what to do is said in commands: {stderr}");
    assert!(stderr.contains("help: if it is yours, give its --owner") && stderr.contains("request: "), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "no colours where nobody sees them");

    let (code, _, stderr) = place.says(&["-o", "json", "take", "web", "job", "--owner", "run-2"]).await;
    let problem: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, &problem["type"], &problem["owner"]), (1, &"/problems/name-taken".into(), &"run-1".into()));

    let (_, _, colourful) = place.says(&["--color", "always", "find", "5009"]).await;
    assert!(colourful.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unreachable_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::new().with("PORTMASTER_URL", format!("http://{free}"));
    let (code, _, stderr) = place.says(&["find", "5000"]).await;
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&format!("error: cannot connect to http://{free}")), "{stderr}");
    assert!(stderr.contains("PORTMASTER_URL"), "{stderr}");
    let (code, stdout, _) = place.says(&["doctor", "-o", "json"]).await;
    let checks: Value = serde_json::from_str(&stdout).unwrap();
    let outcome = |check: &str| {
        let found = checks.as_array().unwrap().iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("{check}: {checks}"))["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!((code, outcome("url").as_str(), outcome("connection").as_str()), (1, "ok", "failed"));
    assert_eq!((outcome("rights").as_str(), outcome("table").as_str()), ("skipped", "skipped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_an_order() {
    let (world, place) = world().await;
    let (line, variable, here, user) = ("on-the-line", "a-variable", "here", "the-users");
    let config = place.path().join(".config/portmaster");
    std::fs::create_dir_all(&config).unwrap();
    let owner = async |place: &Place, name: &str, more: &[&str]| {
        let taken = place.done(&[&["take", "web", name, "-o", "json"], more].concat()).await;
        serde_json::from_str::<Value>(&taken).unwrap()["owner"].as_str().unwrap().to_owned()
    };
    std::fs::write(config.join("portmaster.toml"), format!("owner = '{user}'")).unwrap();
    assert_eq!(owner(&place, "a", &[]).await, user);
    std::fs::write(place.path().join("portmaster.toml"), format!("owner = '{here}'")).unwrap();
    assert_eq!(owner(&place, "b", &[]).await, here);
    let place = place.with("PORTMASTER_OWNER", variable);
    assert_eq!(owner(&place, "c", &[]).await, variable);
    assert_eq!(owner(&place, "d", &["--owner", line]).await, line);
    let place = place.with("PORTMASTER_OWNER", "");
    assert_eq!(owner(&place, "e", &[]).await, here, "an empty variable counts as absent");

    // Where the files are wrong, nothing is sent.
    std::fs::write(place.path().join("portmaster.toml"), "[take]\nspeed = 1").unwrap();
    let (code, _, stderr) = place.says(&["take", "web", "f"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("portmaster.toml: take.speed is no option here"), "{stderr}");
    assert_eq!(world.api.get("/v1/services/web/ports/f").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_ci_a_pull_request_cannot_redirect_requests() {
    let (world, place) = world().await;
    let redirected = "url = 'http://evil.invalid'\nrole-arn = 'arn:aws:iam::123456789012:role/evil'\nquiet = true";
    std::fs::write(place.path().join("portmaster.toml"), redirected).unwrap();
    // The variable would come first anyway, so this place has none; the user's file says where to go.
    let place = Place { variables: vec![("CI".to_owned(), "true".to_owned())], ..place };
    let config = place.path().join(".config/portmaster");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("portmaster.toml"), format!("url = '{}'", world.api.url)).unwrap();
    let (code, _, stderr) = place.says(&["take", "web", "job", "--owner", "run-1", "--lease", "15m"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stderr.matches("warning: ").count(), 2, "{stderr}");
    assert!(stderr.contains("role-arn in ./portmaster.toml is ignored in CI"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_a_name_and_an_owner() {
    let (_world, place) = world().await;
    let place = [
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "our-org/shop"),
        ("GITHUB_RUN_ID", "1234567"),
        ("GITHUB_JOB", "deploy"),
        ("GITHUB_RUN_ATTEMPT", "1"),
        ("PORTMASTER_JOB_INDEX", "0"),
    ]
    .into_iter()
    .fold(place, |place, (name, value)| place.with(name, value));
    let output = place.path().join("output");
    let place = place.with("GITHUB_OUTPUT", output.display().to_string());
    let taken: Value =
        serde_json::from_str(&place.done(&["take", "web", "-o", "json", "--label", "attempt=own"]).await).unwrap();
    assert_eq!(
        (&taken["owner"], &taken["name"]),
        (&"gh/our-org/shop/1234567/deploy/0".into(), &"our-org-shop-1234567-deploy-0".into())
    );
    assert_eq!((&taken["labels"]["run"], &taken["labels"]["attempt"]), (&"1234567".into(), &"own".into()));
    // Another attempt is the same job.
    let place = place.with("GITHUB_RUN_ATTEMPT", "2");
    place.done(&["take", "web", "-o", "github", "-q"]).await;
    let outputs = std::fs::read_to_string(output).unwrap();
    assert!(
        outputs.contains("port=5000\n") && outputs.contains("owner=gh/our-org/shop/1234567/deploy/0\n"),
        "{outputs}"
    );
    place.done(&["release", "web"]).await;
    assert_eq!(place.done(&["list", "web"]).await, "none\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_many_takes_several_calls() {
    let (world, place) = world().await;
    world.api.service("many", 10_000, 10_999).await;
    let rows = (10_000..10_450).map(|port| format!("old-{port},{port}\n")).collect::<String>();
    std::fs::write(place.path().join("many.csv"), format!("name,port\n{rows}")).unwrap();
    let dry = place.done(&["import", "many", "many.csv", "--dry-run"]).await;
    assert_eq!(dry, "450 can be imported, 0 are there already, 0 cannot\n");
    assert_eq!(place.done(&["import", "many", "many.csv"]).await, "450 imported, 0 not\n");
    // It can be repeated, and says what it could not have.
    std::fs::write(
        place.path().join("more.jsonl"),
        "{\"name\": \"other\", \"port\": 10000}\n{\"name\": \"new\", \"port\": 10999}\n",
    )
    .unwrap();
    let (code, stdout, _) = place.says(&["import", "many", "more.jsonl", "-o", "json"]).await;
    let outcome: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, outcome["imported"].as_array().unwrap().len()), (1, 1));
    assert_eq!(outcome["conflicts"][0]["type"], "/problems/port-taken");
    let (code, _, stderr) = place.says(&["import", "many", "missing.csv"]).await;
    assert!(code == 2 && stderr.contains("missing.csv"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_refuses_a_file_with_mistakes_whole() {
    let (world, place) = world().await;
    let wrong = "- {name: a, start: 6000, end: 6009}\n- {name: b, start: 80, end: 90, colour: red}\n- {name: a, start: 1, end: 2}\n";
    std::fs::write(place.path().join("services.yaml"), wrong).unwrap();
    let (code, _, stderr) = place.says(&["service", "apply", "-f", "services.yaml"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("b: colour is unknown here") && stderr.contains("b: start a port is"), "{stderr}");
    assert_eq!(world.api.get("/v1/services/a").await.status, 404);
    let toml =
        "[[services]]\nname = 'web'\nstart = 5000\nend = 5009\n\n[[services]]\nname = 'a'\nstart = 6000\nend = 6009\n";
    std::fs::write(place.path().join("services.toml"), toml).unwrap();
    let applied = place.done(&["service", "apply", "-f", "services.toml", "-o", "json"]).await;
    let applied: Value = serde_json::from_str(&applied).unwrap();
    assert_eq!((&applied[0]["outcome"], &applied[1]["outcome"]), (&"unchanged".into(), &"created".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_pages_are_printed_without_a_registry() {
    let place = Place::new();
    for (shell, expected) in
        [("bash", "complete -F"), ("zsh", "#compdef portmaster"), ("fish", "complete -c portmaster")]
    {
        assert!(place.done(&["completions", shell]).await.contains(expected), "{shell}");
    }
    assert!(place.done(&["man"]).await.starts_with(".ie"));
    assert!(place.done(&["man", "service", "put"]).await.contains("portmaster service put"));
    place.done(&["man", "--dir", "man/man1"]).await;
    for name in ["portmaster", "portmaster-run", "portmaster-service-put", "portmaster-quarantine-end"] {
        let page = std::fs::read_to_string(place.path().join(format!("man/man1/{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let (code, _, stderr) = place.says(&["man", "walk"]).await;
    assert!(code == 2 && stderr.contains("portmaster has no command walk"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_calls_that_a_policy_refuses() {
    // A gateway that lets through what a job needs, or only what a reader needs.
    async fn gateway(only: &'static [&'static str]) -> String {
        use axum::http::{Method, StatusCode};
        use axum::response::IntoResponse as _;
        let answer = move |method: Method, uri: axum::http::Uri| async move {
            if uri.path() != "/health" && !only.contains(&method.as_str()) {
                let message = r#"{"message": "User: arn:aws:sts::1:assumed-role/r/s is not authorized"}"#;
                return (StatusCode::FORBIDDEN, [("apigw-requestid", "x")], message).into_response();
            }
            if uri.path() == "/v1/openapi.json" {
                return (StatusCode::OK, r#"{"info": {"version": "9.9.9"}}"#).into_response();
            }
            let problem =
                r#"{"type": "/problems/service-not-found", "title": "There is no such service", "status": 404}"#;
            (StatusCode::NOT_FOUND, [("content-type", "application/problem+json")], problem).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
        url
    }
    let rights = async |only| {
        let place = Place::new().with("PORTMASTER_URL", gateway(only).await);
        let (code, stdout, _) = place.says(&["doctor", "-o", "json"]).await;
        let checks: Value = serde_json::from_str(&stdout).unwrap();
        let rights = checks.as_array().unwrap().iter().find(|check| check["check"] == "rights").unwrap().clone();
        (code, rights["outcome"].as_str().unwrap().to_owned(), rights["detail"].as_str().unwrap().to_owned())
    };
    let (_, outcome, detail) = rights(&["PUT", "POST", "DELETE"]).await;
    assert_eq!(outcome, "warning");
    assert!(
        detail.starts_with("refused: show, list, service list, namespace show; the others are allowed"),
        "{detail}"
    );
    let (code, outcome, detail) = rights(&["GET"]).await;
    assert_eq!((code, outcome.as_str()), (1, "failed"));
    let refused =
        "refused: take, renew, release, take a set, ask for an offer, reject an offer; the others are allowed";
    assert!(detail.starts_with(refused), "{detail}");
    assert!(detail.contains("is not authorized"), "{detail}");
}

/// How full services are: nothing before the reconciler has come by, then the fullest first.
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_shown_to_those_who_ask() {
    let (world, place) = world().await;
    for (name, start) in [("db", "6000"), ("web", "5000")] {
        let end = (start.parse::<u16>().unwrap() + 9).to_string();
        place.done(&["service", "put", name, "--start", start, "--end", &end, "-q"]).await;
    }
    place.done(&["take", "web", "api", "-q"]).await;
    let (code, stdout, stderr) = place.says(&["service", "show", "web", "--usage"]).await;
    assert!(code == 0 && !stdout.contains("used") && stderr.contains("portmaster map"), "{stdout}{stderr}");
    assert!(!place.done(&["service", "list", "--usage"]).await.contains("USED"));

    world.registry.reconcile(&portmaster_testkit::call()).await.unwrap();
    let shown = place.done(&["service", "show", "web", "--usage"]).await;
    assert!(
        shown.contains("used        10 %, as of 2") && shown.contains("free        9, at most 9 in a row"),
        "{shown}"
    );
    let list = place.done(&["service", "list", "--usage"]).await;
    let rows: Vec<Vec<_>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[1][0], rows[2][0]), ("web", "db"), "{list}");
    assert!(rows[0].contains(&"USED") && rows[1].contains(&"10"), "{list}");
    let json: Value = serde_json::from_str(&place.done(&["service", "list", "--usage", "-o", "json"]).await).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["usage"]["used_percent"]), (&Value::from("web"), &Value::from(10.0)));
    assert!(!place.done(&["service", "show", "web"]).await.contains("used"));
}

/// Who had a port, and when: on the command line, against a registry with its history.
#[tokio::test(flavor = "multi_thread")]
async fn history_says_who_had_a_port() {
    let (_world, place) = world().await;
    place.done(&["take", "web", "first", "--owner", "run-1", "--label", "run=1"]).await;
    place.done(&["release", "web", "first", "--owner", "run-1"]).await;
    place.done(&["take", "web", "second", "--owner", "run-2", "--port", "5000"]).await;
    // It is written beside the calls, and may be a moment late.
    let read = async |line: &[&str]| {
        let json = place.done(&[line, &["-o", "json"]].concat()).await;
        serde_json::from_str::<Value>(&json).unwrap()
    };
    let all = loop {
        let all = read(&["history", "5000"]).await;
        if all.as_array().unwrap().len() == 2 && all[1]["end"] == "released" {
            break all;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((&all[0]["name"], &all[0].get("end")), (&"second".into(), &None));
    assert_eq!((&all[1]["name"], &all[1]["owner"]), (&"first".into(), &"run-1".into()));
    let at = read(&["history", "5000", "--at", all[1]["allocated"].as_str().unwrap()]).await;
    assert_eq!((at.as_array().unwrap().len(), &at[0]["name"]), (1, &"first".into()));
    assert_eq!(read(&["history", "5000", "--at", "1d"]).await, serde_json::json!([]));
    let newest = read(&["history", "5000", "--limit", "1"]).await;
    assert_eq!((newest.as_array().unwrap().len(), &newest[0]["name"]), (1, &"second".into()));
    let of_a_name = read(&["history", "web", "--name", "first", "--from", "1h"]).await;
    assert_eq!((&of_a_name[0]["port"], of_a_name.as_array().unwrap().len()), (&5000.into(), 1));
    let table = place.done(&["history", "5000"]).await;
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("PORT  SERVICE  NAME") && rows[1].contains("has it"), "{table}");
    assert!(rows[2].contains("released") && rows[2].contains("run=1"), "{table}");
    let (code, _, stderr) = place.says(&["history", "web"]).await;
    assert!(code == 2 && stderr.contains("NAME is missing"), "{stderr}");
    let (code, _, stderr) = place.says(&["history", "5000", "--at", "yesterday"]).await;
    assert!(code == 2 && stderr.contains("must be a time, as in"), "{stderr}");
    assert_eq!(place.says(&["history", "5000", "--at", "1h", "--from", "2h"]).await.0, 2);
}

/// Starts `watch`, and returns its lines as they come.
fn watch(place: &Place, line: &[&str]) -> (tokio::process::Child, tokio::io::Lines<tokio::io::BufReader<ChildStdout>>) {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_portmaster"))
        .arg("watch")
        .args(line)
        .env_clear()
        .env("HOME", place.path())
        .envs(place.variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_compares_the_lists_where_there_are_no_events() {
    // The world of a test has the API alone, as a registry on AWS has.
    let (world, place) = world().await;
    world.api.service("other", 6000, 6009).await;
    let (mut child, mut lines) = watch(&place, &["web", "-o", "json", "--count", "2"]);
    let mut said = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next_line().await.unwrap().unwrap().contains("sends no events"));
    // The first list is read after that has been said; what is taken now may be in it or not.
    let mut names = Vec::new();
    for number in 0.. {
        world.api.allocate("other", &format!("o-{number}")).await;
        world.api.allocate("web", &format!("w-{number}")).await;
        if let Ok(line) = tokio::time::timeout(std::time::Duration::from_secs(6), lines.next_line()).await {
            let event: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
            assert_eq!((&event["type"], &event["polled"]), (&"Port Allocated".into(), &true.into()), "{event}");
            assert_eq!(event["service"], "web", "{event}");
            names.push(event["name"].clone());
        }
        if names.len() == 2 {
            break;
        }
        assert!(number < 9, "ten readings without a difference");
    }
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
