//! Where the tests of the API run.

use std::ops::Deref;

use super::{Caller, World};

/// A registry without services, and its caller: one of the test's own, or the deployment that `PORTMASTER_TEST_URL` names.
///
/// A deployment is emptied before each test by a POST to `PORTMASTER_TEST_RESET_URL`, which is whoever deployed it. It
/// must also see to it that `create-offer` starts anew: what a process remembers of a service does not end with the table.
pub struct Stage {
    api: Caller,
    _world: Option<World>,
}

impl Stage {
    pub async fn new() -> Self {
        let Ok(url) = std::env::var("PORTMASTER_TEST_URL") else {
            let world = World::new().await;
            return Self { api: world.api.clone(), _world: Some(world) };
        };
        let reset =
            std::env::var("PORTMASTER_TEST_RESET_URL").expect("PORTMASTER_TEST_RESET_URL empties the deployment");
        let answer = reqwest::Client::new().post(reset).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        Self { api: Caller::signing(url), _world: None }
    }
}

impl Deref for Stage {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.api
    }
}
