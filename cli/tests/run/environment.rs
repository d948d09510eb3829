//! What the command finds in its environment.

use super::ground::Ground;
use super::job::{Job, arguments};

#[tokio::test(flavor = "multi_thread")]
async fn several_ports_have_names() {
    let ground = Ground::new().await;
    let options = ["--ports", "http,grpc,admin-ui", "--contiguous"];
    let script = "echo $PORT $PORT_HTTP $PORT_GRPC $PORT_ADMIN_UI; read line";
    let mut job = ground.script("job", &options, script);
    let first = ground.start;
    assert_eq!(job.line().await, format!("{first} {first} {} {}", first + 1, first + 2));
    let names: Vec<_> = ground.held().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["job-http", "job-grpc", "job-admin-ui"]);
    job.end().await;
    assert_eq!(ground.held().await, []);

    let one = ground.script("job", &["--ports", "http"], "echo $PORT $PORT_HTTP").end().await;
    assert_eq!(one.out, format!("{first} {first}\n"), "{}", one.err);
    let named = ground.script("job", &["--env", "WEB_PORT"], "echo $WEB_PORT $PORT").end().await;
    assert_eq!(named.out, format!("{first}\n"), "{}", named.err);
    let asked = ground.script("job", &["--port", &(first + 5).to_string()], "echo $PORT").end().await;
    assert_eq!(asked.out, format!("{}\n", first + 5), "{}", asked.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_left_alone() {
    let ground = Ground::new().await;
    let end = ground.job("job", &[], &["printf", "%s|", "$PORT", "{}", "a b", "--lease", "*", "-q", ""]).end().await;
    assert_eq!((end.code, end.out.as_str()), (0, "$PORT|{}|a b|--lease|*|-q||"), "{}", end.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_stay_out_of_the_commands_environment_and_out_of_every_output() {
    let ground = Ground::new().await;
    let mut command = tokio::process::Command::new("setsid");
    command.arg(env!("CARGO_BIN_EXE_portmaster")).arg("-vvv").args(arguments("job", &[])).arg("env");
    let secrets = ["PORTMASTER_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"];
    let variables = secrets.map(|name| (name, "http://secret.example/token")).into_iter().chain([("KEPT", "yes")]);
    let variables: Vec<_> = variables.collect();
    let end = Job::start_in(command, &ground.world.api.url, &variables).end().await;
    assert_eq!(end.code, 0, "{}", end.err);
    let named = |name: &str| end.out.lines().any(|line| line.starts_with(&format!("{name}=")));
    assert!(named("KEPT") && named("PORT") && named("PORTMASTER_URL"), "{}", end.out);
    for name in secrets {
        assert!(!named(name), "{}", end.out);
    }
    assert!(!format!("{}{}", end.out, end.err).contains("secret.example"), "{end:?}");
    assert!(end.err.contains("kept from the command"), "whoever looks for them finds out: {}", end.err);
}
