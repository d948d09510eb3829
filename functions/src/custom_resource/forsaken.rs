//! What was made for a stack that never heard of it: a creation whose deletion has a physical id that no answer ever had, and
//! an update that was undone without its answer.

use std::time::Duration;

use portmaster_registry::Call;
use tokio::time::{Instant, sleep};

use super::identity::{self, Identity};
use super::request::Maker;
use super::stacks::Stacks;

/// How long a creation is waited for that may still be running: CloudFormation deletes without waiting for it.
const RUNNING: Duration = Duration::from_secs(5);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// What it is that a stack never heard of.
#[derive(Debug)]
pub(super) enum Forsaken {
    /// Nothing: nothing was made under that id, or what the properties say is a resource of the stack by now.
    Nothing,
    /// What the properties say, if it is there: no answer was heard of its making, and nothing has made it again since.
    It(Identity),
    /// It cannot be told which of the two.
    Unclear(String),
}

impl Forsaken {
    /// Judges a deletion under this id. `named` is what the properties say.
    pub(super) async fn judge(stacks: &Stacks, maker: &Maker, physical_id: &str, named: Option<Identity>) -> Self {
        match named.filter(|_| identity::is_foreign(physical_id)) {
            Some(named) => Self::ask(stacks, maker, named).await,
            None => Self::Nothing,
        }
    }

    /// Judges what may have been made for a stack of which the stack has heard nothing.
    pub(super) async fn ask(stacks: &Stacks, maker: &Maker, named: Identity) -> Self {
        // Terraform says itself what it has replaced, and nobody else deletes it.
        let Maker::Stack { id, logical_id, .. } = maker else { return Self::It(named) };
        match stacks.have(id, logical_id, &named).await {
            Ok(true) => Self::Nothing,
            Ok(false) => Self::It(named),
            Err(why) => Self::Unclear(format!(
                "CloudFormation heard nothing of {named}, and did not say whether another attempt has made it ({why}), so \
                 nothing was freed; if its stack does not have it, it may still be held"
            )),
        }
    }
}

/// The times at which to look for what a creation makes that may be running at this moment.
pub(super) struct Looks {
    until: Instant,
}

impl Looks {
    pub(super) fn within(call: &Call) -> Self {
        Self { until: call.deadline().min(Instant::now() + RUNNING) }
    }

    /// Waits for the next one; returns false if there is none.
    pub(super) async fn next(&self) -> bool {
        if Instant::now() + PAUSE >= self.until {
            return false;
        }
        sleep(PAUSE).await;
        true
    }
}
