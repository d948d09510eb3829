//! Nothing that the command has started is left when its port is given back.

use rustix::process::Signal;

use super::ground::Ground;
use super::job::until_ended;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_leaves_behind_is_ended() {
    let ground = Ground::new().await;
    // The shell ends as soon as both have spoken; its child and its grandchild would go on for ten minutes.
    let script = "sleep 600 & echo $!; (sh -c 'echo $$; exec sleep 600' &); read line; exit 4";
    let mut job = ground.script("job", &[], script);
    let left = [job.line().await, job.line().await];
    let end = job.end().await;
    assert_eq!(end.code, 4, "{}", end.err);
    for pid in left {
        until_ended(&pid).await;
    }
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_and_ignores_term_is_killed() {
    let ground = Ground::new().await;
    let mut job =
        ground.script("job", &["--grace", "1s"], "(trap '' TERM; sh -c 'echo $$; exec sleep 600') & wait 0; read line");
    let left = job.line().await;
    let end = job.end().await;
    assert_eq!(end.code, 1, "{}", end.err);
    until_ended(&left).await;
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_what_a_shell_runs_although_the_shell_does_not_pass_it_on() {
    let ground = Ground::new().await;
    // A shell waits for its command before it looks at TERM. `npm` and `make` are no different.
    let mut job = ground.script("job", &["--grace", "1h"], "sh -c 'echo $$; exec sleep 600'; exit 9");
    let inner = job.line().await;
    job.signal(Signal::TERM);
    let end = job.end().await;
    assert_eq!(end.code, 143, "{}", end.err);
    until_ended(&inner).await;
    assert_eq!(ground.held().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_takes_its_children_along() {
    let ground = Ground::new().await;
    let script = "trap '' TERM; (trap '' TERM; sh -c 'echo $$; exec sleep 600') & wait; while :; do sleep 600; done";
    let mut job = ground.script("job", &["--grace", "1s"], script);
    let inner = job.line().await;
    job.signal(Signal::TERM);
    let end = job.end().await;
    assert_eq!(end.code, 137, "{}", end.err);
    until_ended(&inner).await;
    assert_eq!(ground.held().await, []);
}
