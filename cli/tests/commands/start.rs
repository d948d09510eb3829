//! What comes before a command begins: settings, variables and files, and mistakes in them.

use serde_json::Value;

use crate::{Place, world};

/// What keeps `run` from starting its command has one code, whatever it is, and says it as everything else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_start_is_125() {
    let (_world, place) = world().await;
    let lines: [&[&str]; 8] = [
        &["run"],
        &["run", "web"],
        &["run", "web", "--lease", "31d", "--", "true"],
        &["run", "web", "--colour", "--", "true"],
        &["--url", "not-a-url", "run", "web", "--", "true"],
        &["run", "web", "--env", "1X", "--", "true"],
        &["run", "web", "--ports", "a.b,a-b", "--", "true"],
        &["run", "nosuch", "--", "true"],
    ];
    for line in lines {
        let (code, stdout, stderr) = place.says(line).await;
        assert_eq!((code, stdout.as_str()), (125, ""), "{line:?}: {stderr}");
    }
    for (variable, value) in [("PORTMASTER_LEASE", "soon"), ("PORTMASTER_URL", "x")] {
        let place = Place::new().with(variable, value);
        assert_eq!(place.says(&["run", "web", "--", "true"]).await.0, 125, "{variable}");
    }
    let (code, help, _) = place.says(&["run", "--help"]).await;
    assert!(code == 0 && help.contains("125"), "{help}");
    std::fs::write(place.path().join("portmaster.toml"), "speed = 1").unwrap();
    assert_eq!(place.says(&["run", "web", "--", "true"]).await.0, 125);
    assert_eq!(place.says(&["list", "web"]).await.0, 2, "of other commands it is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_why_there_is_no_port_as_any_command_does() {
    let (_world, place) = world().await;
    let (_, _, stderr) = place.says(&["run", "nosuch", "--", "true"]).await;
    let expected = ["portmaster: error: There is no such service: ", "portmaster:   help: `portmaster service list`"];
    for begin in
        expected.into_iter().chain(["portmaster:   request: ", "portmaster: no port, so the command was not started"])
    {
        assert!(stderr.lines().any(|line| line.starts_with(begin)), "{begin}: {stderr}");
    }
    let (_, _, stderr) = place.says(&["-q", "-o", "json", "run", "nosuch", "--", "true"]).await;
    let problem: Value = serde_json::from_str(stderr.lines().next().unwrap()).unwrap();
    assert_eq!(problem["type"], "/problems/service-not-found");
    // And every line between those of a command says whose it is.
    let (_, _, stderr) = place.says(&["-v", "run", "web", "--", "true"]).await;
    assert!(stderr.contains("sending") && stderr.lines().all(|line| line.starts_with("portmaster: ")), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubernetes_sets_is_no_port() {
    let (_world, place) = world().await;
    let place = place.with("PORTMASTER_PORT", "tcp://10.96.12.7:80").with("PORTMASTER_SERVICE_HOST", "10.96.12.7");
    assert!(place.done(&["take", "web", "job"]).await.starts_with("port     5000"));
    let place = place.with("PORTMASTER_PORT", "5005");
    assert!(place.done(&["take", "web", "other"]).await.starts_with("port     5005"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_none_has_no_settings() {
    let (_world, place) = world().await;
    let place = place.with("HOME", "/dev/null");
    place.done(&["list", "web"]).await;
    std::fs::create_dir(place.path().join("portmaster.toml")).unwrap();
    place.done(&["list", "web"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_are_named_are_the_only_ones() {
    let place = Place::new().with("SSL_CERT_FILE", "/nonexistent/ca.pem");
    let (code, _, stderr) = place.says(&["--url", "https://127.0.0.1:1", "find", "5000"]).await;
    assert!(code == 2 && stderr.contains("SSL_CERT_FILE=/nonexistent/ca.pem"), "{stderr}");
    let empty = place.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let place = place.with("SSL_CERT_FILE", empty.display().to_string());
    let (code, _, stderr) = place.says(&["--url", "https://127.0.0.1:1", "find", "5000"]).await;
    assert!(code == 2 && stderr.contains("empty.pem"), "{stderr}");
    // Without TLS nobody needs them.
    assert!(place.says(&["--url", "http://127.0.0.1:1", "find", "5000"]).await.2.contains("cannot connect"));
}

/// A wrong value is where it is said to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_is_blamed_on_its_source() {
    let (_world, place) = world().await;
    let place = place.with("PORTMASTER_LEASE", "31d");
    let (code, _, stderr) = place.says(&["take", "web", "job"]).await;
    assert!(
        code == 2 && stderr.starts_with("error: PORTMASTER_LEASE is \"31d\", and must be from 1s to 30d"),
        "{stderr}"
    );
    let (_, _, stderr) = place.says(&["take", "web", "job", "--lease", "32d"]).await;
    assert!(stderr.starts_with("error: invalid value '32d' for '--lease"), "{stderr}");
    let place = Place { variables: Vec::new(), ..place }.with("PORTMASTER_OUTPUT", "xml");
    let (_, _, stderr) = place.says(&["list", "web"]).await;
    assert!(stderr.starts_with("error: PORTMASTER_OUTPUT is \"xml\", and must be one of table, json"), "{stderr}");
    std::fs::write(place.path().join("portmaster.toml"), "[take]\nlease = '31d'").unwrap();
    let (code, _, stderr) = place.says(&["take", "web", "job", "-o", "json"]).await;
    assert!(code == 2 && stderr.contains("portmaster.toml: take.lease is \"31d\", and must be from 1s"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_may_be_true_in_a_variable() {
    let (_world, place) = world().await;
    for (value, expected) in [("true", true), ("2", true), ("false", false), ("0", false)] {
        let place = Place::new().with("PORTMASTER_URL", place.url()).with("PORTMASTER_VERBOSE", value);
        let (code, _, stderr) = place.says(&["list", "web"]).await;
        assert_eq!((code, stderr.contains("sending")), (0, expected), "{value}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_of_a_run_is_behind_two_hyphens() {
    let (_world, place) = world().await;
    for line in [&["run", "web", "npm", "start"][..], &["run", "web", "npm"]] {
        let (code, _, stderr) = place.says(line).await;
        assert!(code == 125 && stderr.contains("tip: put -- before the command"), "{stderr}");
    }
    // A mistake of another kind has no such tip.
    let (_, _, stderr) = place.says(&["run", "web", "--colour", "--", "true"]).await;
    assert!(!stderr.contains("put -- before"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_or_several_is_decided_by_the_line() {
    let (_world, place) = world().await;
    let script = ["--", "sh", "-c", "echo $PORT $PORT_A $PORT_B"];
    let run = async |place: &Place, options: &[&str]| {
        let (code, stdout, stderr) =
            place.says(&[&["run", "web", "job", "--no-probe"], options, &script].concat()).await;
        (code, stdout.trim().to_owned(), stderr)
    };
    let with = |name: &str, value: &str| Place::new().with("PORTMASTER_URL", place.url()).with(name, value);
    let contiguous = with("PORTMASTER_CONTIGUOUS", "1");
    assert_eq!(run(&contiguous, &[]).await.1, "5000", "neighbours of one port are no matter");
    assert_eq!(run(&contiguous, &["--ports", "a,b"]).await.1, "5000 5000 5001");
    let port = with("PORTMASTER_PORT", "5007");
    assert_eq!(run(&port, &[]).await.1, "5007");
    assert_eq!(run(&port, &["--ports", "a,b"]).await.1, "5000 5000 5001", "the line comes first");
    let ports = with("PORTMASTER_PORTS", "a,b");
    assert_eq!(run(&ports, &["--port", "5003"]).await.1, "5003");
    let file = "[run]\nports = ['a', 'b']";
    std::fs::write(place.path().join("portmaster.toml"), file).unwrap();
    assert_eq!(run(&place, &["--contiguous"]).await.1, "5000 5000 5001");
    assert_eq!(run(&place, &["--port", "5003"]).await.1, "5003");
    let (code, _, stderr) = run(&place, &["--port", "5003", "--ports", "a"]).await;
    assert!(code == 125 && stderr.contains("give one of them"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_labels_value_may_have_commas() {
    let (_world, place) = world().await;
    let labels = async |place: &Place, name: &str, more: &[&str]| {
        let taken = place.done(&[&["take", "web", name, "-o", "json"], more].concat()).await;
        serde_json::from_str::<Value>(&taken).unwrap()["labels"].clone()
    };
    let taken = labels(&place, "a", &["--label", "note=a,b", "--label", "team=shop"]).await;
    assert_eq!((&taken["note"], &taken["team"]), (&"a,b".into(), &"shop".into()));
    let place = place.with("PORTMASTER_LABEL", "note=a,team=shop");
    let taken = labels(&place, "b", &[]).await;
    assert_eq!((&taken["note"], &taken["team"]), (&"a".into(), &"shop".into()), "in a variable they stand between");
}
