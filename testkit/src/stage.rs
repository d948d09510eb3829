//! Where the tests of the API run.

use std::ops::Deref;
use std::time::Duration;

use crate::{Caller, World};

/// A registry without services, and its caller: one of the test's own, or the deployment that `PORTMASTER_TEST_URL`
/// names.
///
/// A deployment is emptied before each test by a POST to `PORTMASTER_TEST_RESET_URL`, which the deployer serves. It
/// must also restart the functions that choose ports (`create-offer`, `put-port`, `put-set` and `import-ports`): what a
/// process remembers of a service outlives the table.
pub struct Stage {
    api: Caller,
    world: Option<World>,
}

impl Stage {
    /// Returns an empty stage.
    pub async fn new() -> Self {
        let Ok(url) = std::env::var("PORTMASTER_TEST_URL") else {
            let world = World::new().await;
            return Self { api: world.api.clone(), world: Some(world) };
        };
        let reset =
            std::env::var("PORTMASTER_TEST_RESET_URL").expect("PORTMASTER_TEST_RESET_URL empties the deployment");
        let answer = crate::http(&reset).build().unwrap().post(reset).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        Self { api: Caller::signing(url), world: None }
    }
}

impl Stage {
    /// Whether there is an intermediary that may change a request before it passes it on (API Gateway).
    pub fn is_deployed(&self) -> bool {
        self.world.is_none()
    }

    /// Waits until the history has what has happened. In a deployment it comes by the table's stream.
    pub async fn history_settles(&self) {
        if self.is_deployed() {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        }
    }

    /// Waits until every process knows which ports others have freed. In a deployment, rejecting and offering are two
    /// functions, and the one that offers reads the table again after five seconds.
    pub async fn settle(&self) {
        if self.is_deployed() {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
    }
}

impl Deref for Stage {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.api
    }
}
