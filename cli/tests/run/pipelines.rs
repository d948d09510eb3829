//! The examples of docs/pipelines.md, as they stand there, with the variables that the CI systems set. What the jobs
//! would run is a stand-in that says how it was called.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::ground::Ground;
use super::job::{End, Job};

const PAGE: &str = include_str!("../../../docs/pipelines.md");

/// The code of this language in a section, the first.
fn example(section: &str, language: &str) -> &'static str {
    let (_, section) = PAGE.split_once(&format!("\n## {section}\n")).expect(section);
    let section = section.split("\n## ").next().unwrap();
    let (_, code) = section.split_once(&format!("```{language}\n")).expect(language);
    code.split("```").next().unwrap()
}

fn yaml(section: &str) -> Value {
    serde_saphyr::from_str(example(section, "yaml")).unwrap()
}

/// A folder with the programs that the examples call.
fn programs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_portmaster"), folder.path().join("portmaster")).unwrap();
    for name in ["npm", "docker"] {
        let says = format!("#!/bin/sh\necho {name} \"$@\" PORT=$PORT HTTP=$PORT_HTTP GRPC=$PORT_GRPC\n");
        let program = folder.path().join(name);
        std::fs::write(&program, says).unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Runs a script as a CI system does.
async fn step(ground: &Ground, programs: &Path, script: &str, variables: &[(&str, &str)]) -> End {
    let mut shell = Command::new("setsid");
    shell.args(["bash", "-eo", "pipefail", "-c", script]).current_dir(programs);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let variables: Vec<_> = variables.iter().copied().chain([("PATH", path.as_str())]).collect();
    Job::start_in(shell, &ground.world.api.url, &variables).end().await
}

/// The owner and the name that a job's port had, as the program said in a line of its own.
fn said(end: &End) -> &str {
    end.err.lines().find_map(|line| line.split_once(" for ")).expect(&end.err).1
}

#[tokio::test(flavor = "multi_thread")]
async fn on_github_each_leg_of_a_matrix_is_another_holder() {
    let (ground, programs) = (Ground::new().await, programs());
    let workflow = yaml("GitHub Actions, by the command");
    assert_eq!(workflow["permissions"]["id-token"], "write");
    let env = workflow["env"].as_object().unwrap();
    assert!(env["PORTMASTER_URL"].is_string() && env["PORTMASTER_ROLE_ARN"].is_string());
    let step_of_it = workflow["jobs"]["test"]["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(step_of_it["env"]["PORTMASTER_JOB_INDEX"], "${{ strategy.job-index }}");
    let script = step_of_it["run"].as_str().unwrap();
    let mut names = Vec::new();
    for (index, attempt) in [("0", "1"), ("1", "1"), ("0", "2")] {
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "our-org/shop"),
            ("GITHUB_RUN_ID", "17000000001"),
            ("GITHUB_RUN_ATTEMPT", attempt),
            ("GITHUB_JOB", "test"),
            ("PORTMASTER_JOB_INDEX", index),
        ];
        let end = step(&ground, programs.path(), script, &variables).await;
        assert_eq!(
            (end.code, end.out.as_str()),
            (0, format!("npm test PORT={} HTTP= GRPC=\n", ground.start).as_str()),
            "{}",
            end.err
        );
        names.push(said(&end).to_owned());
    }
    assert!(names[0] != names[1] && names[0] == names[2], "{names:?}");
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_gitlab_a_job_has_its_token_and_its_port() {
    let (ground, programs) = (Ground::new().await, programs());
    let file = yaml("GitLab CI, by the command");
    let job = &file["test"];
    // The audience that the stack's role wants, here and on the page of the command line.
    let template = include_str!("../../../template.yaml");
    let (_, audience) = template.split_once("\"gitlab.com:aud\": ").unwrap();
    let audience = audience.split('}').next().unwrap();
    assert_eq!(job["id_tokens"]["PORTMASTER_ID_TOKEN"]["aud"], audience);
    let page = include_str!("../../../docs/cli.md");
    assert!(page.contains(&format!("`PORTMASTER_ID_TOKEN` whose audience is\n`{audience}`")));
    assert!(job["variables"]["PORTMASTER_URL"].is_string() && job["variables"]["PORTMASTER_ROLE_ARN"].is_string());
    let script = job["script"][0].as_str().unwrap();
    let variables = [
        ("GITLAB_CI", "true"),
        ("CI_PROJECT_PATH", "our-org/shop"),
        ("CI_PIPELINE_ID", "4711"),
        ("CI_JOB_NAME", "test"),
        ("CI_JOB_ID", "1001"),
        ("PORTMASTER_ID_TOKEN", "a.secret.token"),
    ];
    let end = step(&ground, programs.path(), script, &variables).await;
    assert_eq!((end.code, end.out), (0, format!("npm test PORT={} HTTP= GRPC=\n", ground.start)), "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_jenkins_and_in_a_shell_it_is_the_same_line() {
    let (ground, programs) = (Ground::new().await, programs());
    let jenkins = example("Jenkins", "groovy");
    let (_, step_of_it) = jenkins.split_once("sh '").unwrap();
    let script = step_of_it.split('\'').next().unwrap();
    let variables = [
        ("JENKINS_URL", "https://ci.example.com/"),
        ("JOB_NAME", "shop/main"),
        ("BUILD_NUMBER", "17"),
        ("STAGE_NAME", "Test"),
        ("NODE_NAME", "agent-1"),
        ("EXECUTOR_NUMBER", "3"),
    ];
    let end = step(&ground, programs.path(), script, &variables).await;
    assert_eq!((end.code, end.out), (0, format!("npm test PORT={} HTTP= GRPC=\n", ground.start)), "{}", end.err);

    let end = step(&ground, programs.path(), example("A shell", "sh"), &[("CI", "")]).await;
    assert_eq!((end.code, end.out), (0, format!("npm start PORT={} HTTP= GRPC=\n", ground.start)), "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_commands_of_a_job_have_names_of_their_own() {
    let (ground, programs) = (Ground::new().await, programs());
    let variables = [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "17000000001"), ("GITHUB_JOB", "test")];
    let end = step(&ground, programs.path(), example("Matrices", "sh"), &variables).await;
    let mut lines: Vec<_> = end.out.lines().map(|line| line.split_once(" PORT=").unwrap().0).collect();
    lines.sort_unstable();
    assert_eq!((end.code, lines), (0, vec!["npm run api", "npm run ui"]), "{}", end.err);
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_finds_the_ports_that_its_file_names() {
    let (ground, programs) = (Ground::new().await, programs());
    let start = ground.another("shop").await;
    let section = "Several ports, and Compose";
    let file = yaml(section);
    assert_eq!(file["services"]["shop"]["ports"], serde_json::json!(["${PORT_HTTP}:8080", "${PORT_GRPC}:9090"]));
    let variables = [("GITLAB_CI", "true"), ("CI_JOB_ID", "1001"), ("CI_JOB_NAME", "test")];
    let end = step(&ground, programs.path(), example(section, "sh"), &variables).await;
    let expected = format!(
        "docker compose --project-name shop-1001 up --abort-on-container-exit PORT={start} HTTP={start} GRPC={}\n",
        start + 1
    );
    assert_eq!((end.code, end.out), (0, expected), "{}", end.err);
}

/// The step that gets the command, from a release's files, which here are on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_is_got_only_if_its_sum_is_right() {
    let (ground, folder) = (Ground::new().await, tempfile::tempdir().unwrap());
    let script = example("Getting the command", "sh");
    let (first, rest) = script.split_once('\n').unwrap();
    assert!(first.starts_with("base=https://"), "{first}");
    let release = folder.path().join("release");
    let pack = "name=portmaster-0.1.0-$(uname -m)-linux && mkdir -p release/$name && cd release && \
                printf '#!/bin/sh\\necho got\\n' > $name/portmaster && tar -czf $name.tar.gz $name && rm -r $name && \
                echo another > other.zip && sha256sum -- * > ../sums && mv ../sums SHA256SUMS && rm other.zip";
    let packed = step(&ground, folder.path(), pack, &[]).await;
    assert_eq!(packed.code, 0, "{}", packed.err);
    let home = folder.path().join("home");
    let script = format!("base=file://{}\n{rest}", release.display());
    let path = folder.path().join("path");
    let variables = [("HOME", home.to_str().unwrap()), ("GITHUB_PATH", path.to_str().unwrap())];
    let got = step(&ground, folder.path(), &format!("{script}\n\"$HOME/.local/bin/portmaster\""), &variables).await;
    assert!(got.code == 0 && got.out.ends_with("OK\ngot\n"), "{got:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), home.join(".local/bin").to_str().unwrap());

    let archive = format!("portmaster-0.1.0-{}-linux.tar.gz", std::env::consts::ARCH);
    std::fs::write(release.join(archive), "something else").unwrap();
    std::fs::remove_dir_all(&home).unwrap();
    let wrong = step(&ground, folder.path(), &script, &variables).await;
    assert!(wrong.code != 0 && !home.exists(), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_several_steps_is_given_back_whatever_happened() {
    let (ground, programs) = (Ground::new().await, programs());
    let workflow = yaml("Several steps");
    let steps = workflow["jobs"]["test"]["steps"].as_array().unwrap();
    let run = |index: usize| steps[index]["run"].as_str().unwrap();
    assert_eq!((steps[0]["id"].as_str(), steps[2]["if"].as_str()), (Some("port"), Some("always()")));
    let output = programs.path().join("output");
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "our-org/shop"),
        ("GITHUB_RUN_ID", "17000000001"),
        ("GITHUB_JOB", "test"),
        ("GITHUB_OUTPUT", output.to_str().unwrap()),
    ];
    assert_eq!(step(&ground, programs.path(), run(0), &variables).await.code, 0);
    assert!(std::fs::read_to_string(&output).unwrap().contains(&format!("port={}\n", ground.start)));
    assert_eq!(steps[1]["env"]["PORT"], "${{ steps.port.outputs.port }}");
    for _ in 0..2 {
        let end = step(&ground, programs.path(), run(2), &variables).await;
        assert_eq!(end.code, 0, "the second time there is nothing: {}", end.err);
        assert_eq!(ground.held().await, []);
    }
}
