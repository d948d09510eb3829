//! What is printed, and what is done if it cannot be.

use serde_json::Value;

use crate::world;

/// A port whose number nobody hears would be nobody's, and stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_printed_is_given_back() {
    let (_world, place) = world().await;
    let take = ["take", "web", "job", "-o", "github"];
    let (code, _, stderr) = place.says(&take).await;
    assert!(code == 2 && stderr.contains("GITHUB_OUTPUT"), "{stderr}");
    let place = place.with("GITHUB_OUTPUT", "/nonexistent/output");
    let (code, _, stderr) = place.says(&take).await;
    assert!(code == 1 && stderr.contains("/nonexistent/output"), "{stderr}");
    assert_eq!(place.done(&["list", "web"]).await, "none\n", "nothing was sent");
    // It can be opened, and not be written.
    let place = place.with("GITHUB_OUTPUT", "/dev/full");
    let (code, _, stderr) = place.says(&take).await;
    assert!(code == 1 && stderr.contains("port 5000 for job could not be printed, and is given back"), "{stderr}");
    assert_eq!(place.done(&["list", "web"]).await, "none\n");
    // One that the name had already stays.
    place.done(&["take", "web", "job"]).await;
    assert_eq!(place.says(&take).await.0, 1);
    assert!(place.done(&["list", "web"]).await.contains("5000"));
}

/// A description is anybody's text, and a line of a job's log may be a command to the runner.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_written_does_nothing_but_be_read() {
    let (_world, place) = world().await;
    let evil = "a\n::error::b\tc";
    place.done(&["service", "put", "db", "--start", "6000", "--end", "6009", "--description", evil]).await;
    for line in [&["service", "list"][..], &["service", "show", "db"]] {
        let stdout = place.done(line).await;
        assert!(stdout.contains("a\\n::error::b\\tc"), "{stdout}");
        assert!(!stdout.lines().any(|line| line.starts_with("::")), "{stdout}");
    }
    let json: Value = serde_json::from_str(&place.done(&["service", "show", "db", "-o", "json"]).await).unwrap();
    assert_eq!(json["description"], evil);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_port_without_a_lease_is_warned_of() {
    let (world, place) = world().await;
    let warning = "warning: this port has no lease";
    assert!(!place.says(&["take", "web", "by-hand"]).await.2.contains(warning));
    let place = place.with("CI", "true");
    let (code, _, stderr) = place.says(&["take", "web", "job", "-q"]).await;
    assert!(code == 0 && stderr.starts_with(warning) && stderr.contains("--lease"), "{stderr}");
    assert!(!place.says(&["take", "web", "job"]).await.2.contains(warning), "it was there already");
    assert_eq!(place.says(&["take", "web", "other", "-q", "--lease", "15m"]).await.2, "");
    let body = serde_json::json!({ "start": 6000, "end": 6009, "lease_seconds": 900 });
    world.api.put("/v1/services/leased", body).await;
    assert_eq!(place.says(&["take", "leased", "job", "-q"]).await.2, "", "the service gives it one");
}
