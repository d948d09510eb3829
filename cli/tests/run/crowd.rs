//! Many at once.

use std::collections::BTreeSet;

use super::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_have_sixty_four_ports() {
    let ground = Ground::of(64).await;
    // They come together, so some are told that the service is busy; none may be told that there is no port.
    let mut jobs: Vec<_> =
        (0..64).map(|job| ground.script(&format!("job-{job}"), &[], "echo $PORT; read line; exit 0")).collect();
    let mut ports = BTreeSet::new();
    for job in &mut jobs {
        ports.insert(job.line().await.parse::<u16>().unwrap());
    }
    assert_eq!(ports, (ground.start..ground.start + 64).collect(), "every port of the range, each once");
    assert_eq!(ground.held().await.len(), 64);
    for job in &mut jobs {
        job.close();
    }
    for job in jobs {
        let end = job.end().await;
        assert_eq!(end.code, 0, "{}", end.err);
    }
    assert_eq!(ground.held().await, []);
}
