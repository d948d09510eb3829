//! What CI systems say about the job that runs.

use super::System;
use super::parts::Parts;

type Labels = Vec<(String, String)>;

/// How many characters of a value are kept, so that all labels of a job and some of the user's fit into 256.
const KEPT: usize = 40;

/// Finds out which system runs this, and as what. A system that does not say which of its jobs this is counts for
/// nothing: all of its jobs would be one holder.
pub(super) fn detect(variable: &impl Fn(&str) -> Option<String>, index: Option<&str>) -> (System, Parts, Labels) {
    let index = index.filter(|index| !index.is_empty()).map(str::to_owned);
    let all = |names: [&str; 3]| names.into_iter().all(|name| variable(name).is_some());
    if all(["GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"]) {
        github(variable, index)
    } else if all(["GITLAB_CI", "CI_PROJECT_PATH", "CI_PIPELINE_ID"]) {
        gitlab(variable, index)
    } else if all(["JENKINS_URL", "JOB_NAME", "BUILD_NUMBER"]) {
        jenkins(variable, index)
    } else {
        plain(variable)
    }
}

/// GitHub: a run keeps its number when it is run again, so that attempt is only in the labels.
///
/// All jobs of a matrix have the same `GITHUB_JOB`, and no variable tells them apart. Without an index the runner does:
/// it runs one job at a time, and its name differs from every other runner's.
fn github(variable: &impl Fn(&str) -> Option<String>, index: Option<String>) -> (System, Parts, Labels) {
    let of = |name: &str| variable(name).unwrap_or_default();
    let leg = index.clone().or_else(|| variable("RUNNER_NAME")).unwrap_or_else(|| "0".to_owned());
    let parts = [of("GITHUB_REPOSITORY"), of("GITHUB_RUN_ID"), of("GITHUB_JOB"), leg];
    let labels = [
        ("run", variable("GITHUB_RUN_ID")),
        ("job", variable("GITHUB_JOB")),
        ("index", index),
        ("attempt", variable("GITHUB_RUN_ATTEMPT")),
        ("repository", variable("GITHUB_REPOSITORY")),
        ("ci", Some("github".to_owned())),
    ];
    (System::GitHub, Parts::new("gh", parts), given(labels))
}

/// GitLab: a job that is retried gets another id and keeps its name, which for a matrix has its values in it.
fn gitlab(variable: &impl Fn(&str) -> Option<String>, index: Option<String>) -> (System, Parts, Labels) {
    let of = |name: &str| variable(name).unwrap_or_default();
    let leg = index.clone().or_else(|| variable("CI_NODE_INDEX")).unwrap_or_else(|| "0".to_owned());
    let parts = [of("CI_PROJECT_PATH"), of("CI_PIPELINE_ID"), of("CI_JOB_NAME"), leg];
    let labels = [
        ("run", variable("CI_PIPELINE_ID")),
        ("job", variable("CI_JOB_NAME")),
        ("index", index.or_else(|| variable("CI_NODE_INDEX"))),
        ("attempt", variable("CI_JOB_ID")),
        ("repository", variable("CI_PROJECT_PATH")),
        ("ci", Some("gitlab".to_owned())),
    ];
    (System::GitLab, Parts::new("gl", parts), given(labels))
}

/// Jenkins: the stages of a build run at the same time, and so do the cells of a matrix, whose stages have the same
/// names. Without an index the executor tells those apart.
fn jenkins(variable: &impl Fn(&str) -> Option<String>, index: Option<String>) -> (System, Parts, Labels) {
    let of = |name: &str| variable(name).unwrap_or_default();
    let stage = variable("STAGE_NAME").unwrap_or_else(|| "build".to_owned());
    let executor = || Some(format!("{}-{}", variable("NODE_NAME")?, variable("EXECUTOR_NUMBER")?));
    let leg = index.clone().or_else(executor).unwrap_or_else(|| "0".to_owned());
    let parts = [of("JOB_NAME"), of("BUILD_NUMBER"), stage, leg];
    let labels = [
        ("run", variable("BUILD_NUMBER")),
        ("job", variable("JOB_NAME")),
        ("index", index),
        ("stage", variable("STAGE_NAME")),
        ("ci", Some("jenkins".to_owned())),
    ];
    (System::Jenkins, Parts::new("jk", parts), given(labels))
}

/// A shell: whoever is logged in, on this host. So what one command takes the next one releases.
fn plain(variable: &impl Fn(&str) -> Option<String>) -> (System, Parts, Labels) {
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let labels = [("host", Some(host())), ("user", Some(user.clone()))];
    (System::Plain, Parts::new("sh", [host(), user]), given(labels))
}

/// This machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Those that have a value, as far as it can be a label's.
fn given<const N: usize>(labels: [(&str, Option<String>); N]) -> Labels {
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '-' };
    let kept = |value: String| value.chars().map(printable).take(KEPT).collect();
    labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), kept(value?)))).collect()
}

#[cfg(test)]
mod tests {
    use crate::identity::{Identity, System};

    fn of(pairs: &[(&str, &str)], index: Option<&str>) -> Identity {
        let variable =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Identity::of(&variable, index)
    }

    fn label<'a>(identity: &'a Identity, key: &str) -> Option<&'a str> {
        identity.labels().iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    const GITHUB: [(&str, &str); 6] = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "our-org/shop"),
        ("GITHUB_RUN_ID", "1234567"),
        ("GITHUB_JOB", "deploy"),
        ("GITHUB_RUN_ATTEMPT", "2"),
        ("RUNNER_NAME", "GitHub Actions 12"),
    ];

    #[test]
    fn on_github() {
        let job = of(&GITHUB, Some("0"));
        assert_eq!(job.system(), System::GitHub);
        assert_eq!(job.owner().as_str(), "gh/our-org/shop/1234567/deploy/0");
        assert_eq!(job.name().unwrap().as_str(), "our-org-shop-1234567-deploy-0");
        assert_eq!((label(&job, "attempt"), label(&job, "run")), (Some("2"), Some("1234567")));
        let mut third = GITHUB;
        (third[4].1, third[5].1) = ("3", "GitHub Actions 40");
        let again = of(&third, Some("0"));
        assert_eq!((again.owner(), again.name()), (job.owner(), job.name()), "run again, it is the same job");
        assert_ne!(of(&GITHUB, Some("1")).owner(), job.owner());
        // Without an index, two jobs of a matrix are on two runners.
        assert_ne!(of(&GITHUB, None).owner(), of(&third, None).owner());
        assert_eq!(of(&GITHUB, None).owner().as_str(), "gh/our-org/shop/1234567/deploy/GitHub Actions 12");
    }

    #[test]
    fn on_gitlab() {
        let mut pairs = [
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "group/sub/shop"),
            ("CI_PIPELINE_ID", "99"),
            ("CI_JOB_NAME", "deploy: [eu, blue]"),
            ("CI_JOB_ID", "1001"),
        ];
        let job = of(&pairs, None);
        assert_eq!(job.owner().as_str(), "gl/group/sub/shop/99/deploy: [eu, blue]/0");
        assert!(job.name().unwrap().as_str().starts_with("group-sub-shop-99-deploy---eu--blue-"), "{job:?}");
        pairs[4].1 = "1002";
        let again = of(&pairs, None);
        assert_eq!((again.owner(), label(&again, "attempt")), (job.owner(), Some("1002")));
        pairs[3].1 = "deploy: [eu, green]";
        assert_ne!(of(&pairs, None).owner(), job.owner());
    }

    #[test]
    fn on_jenkins() {
        let mut pairs = [
            ("JENKINS_URL", "https://ci.example.com/"),
            ("JOB_NAME", "shop/main"),
            ("BUILD_NUMBER", "17"),
            ("STAGE_NAME", "Deploy"),
            ("NODE_NAME", "agent-1"),
            ("EXECUTOR_NUMBER", "3"),
        ];
        let job = of(&pairs, None);
        assert_eq!(job.owner().as_str(), "jk/shop/main/17/Deploy/agent-1-3");
        assert_eq!(job.name().unwrap().as_str(), "shop-main-17-Deploy-agent-1-3");
        pairs[5].1 = "4";
        assert_ne!(of(&pairs, None).owner(), job.owner(), "a cell of the same matrix");
        assert_eq!(of(&pairs, Some("0")).owner().as_str(), "jk/shop/main/17/Deploy/0");
    }

    #[test]
    fn a_system_that_names_no_job_is_none() {
        for pairs in [
            &[("GITHUB_ACTIONS", "true"), ("GITHUB_JOB", "deploy"), ("GITHUB_REPOSITORY", "our-org/shop")][..],
            &[("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "17")],
            &[("GITLAB_CI", "true"), ("CI_JOB_NAME", "test"), ("CI_PIPELINE_ID", "99")],
            &[("JENKINS_URL", "https://ci.example.com/"), ("JOB_NAME", "shop")],
        ] {
            let job = of(pairs, None);
            assert_eq!((job.system(), job.name()), (System::Plain, None), "{pairs:?}");
        }
        assert_eq!(of(&GITHUB, Some("")), of(&GITHUB, None), "an empty index is none");
    }

    #[test]
    fn in_a_shell() {
        let shell = of(&[("USER", "ada"), ("GITHUB_ACTIONS", "")], None);
        assert_eq!(shell.system(), System::Plain);
        assert!(shell.owner().as_str().starts_with("sh/") && shell.owner().as_str().ends_with("/ada"), "{shell:?}");
        assert_eq!(shell.name(), None);
        let (one, other) = (shell.name_of_process(), shell.name_of_process());
        assert!(one.as_str().contains(&std::process::id().to_string()), "{one}");
        assert_ne!(one, other, "nor has a process of another container the same name");
    }
}
