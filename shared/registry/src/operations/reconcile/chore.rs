//! The writes of the reconciler.

use super::Findings;
use crate::Call;
use crate::store::{Key, Lapse, Removed, StoreError, Table};
use portmaster_domain::{Holding, Namespace, Port, Secret, ServiceId, StateKind, Timestamp, Usage};

/// A write to be done, on a condition of its own.
pub(super) enum Chore {
    RemoveDead(Namespace, Port, StateKind, Timestamp),
    Lapse(Namespace, Port, Secret, Timestamp),
    RemoveOrphan(Namespace, Box<Holding>),
    RemoveRequest(Key, Timestamp),
    NoteGone(Key, Secret, Timestamp),
    RemoveInstance(Key, Secret),
    /// On no condition: no decision rests on it.
    WriteUsage(ServiceId, Box<Usage>),
}

impl Chore {
    /// Performs the chore and returns what it counts as.
    pub(super) async fn perform(self, table: &Table, call: &Call) -> Result<Findings, StoreError> {
        let nothing = Findings::default();
        Ok(match self {
            Self::RemoveDead(namespace, port, kind, now) => {
                let removed = table.remove_dead(call, &namespace, port, now).await?;
                let one = u64::from(matches!(removed, Removed::Now));
                match kind {
                    StateKind::Offered => Findings { expired_offers: one, ..nothing },
                    StateKind::Allocated => Findings { lapsed_leases: one, ..nothing },
                    StateKind::Cooling | StateKind::Quarantined => Findings { ended_holds: one, ..nothing },
                }
            }
            Self::Lapse(namespace, port, secret, past) => {
                let lapsed = table.lapse(call, &namespace, (port, secret), Lapse::Over(past)).await?;
                Findings { lapsed_leases: u64::from(matches!(lapsed, Removed::Now)), ..nothing }
            }
            Self::RemoveOrphan(namespace, holding) => {
                let removed = table.remove_orphan(call, &namespace, &holding).await?;
                Findings { orphaned_allocations: u64::from(removed), ..nothing }
            }
            Self::RemoveRequest(key, now) => {
                let removed = table.remove_request(call, &key, now).await?;
                Findings { expired_requests: u64::from(removed), ..nothing }
            }
            Self::NoteGone(key, secret, now) => {
                table.note_gone(call, &key, secret, now).await?;
                nothing
            }
            Self::RemoveInstance(key, secret) => {
                let removed = table.remove_instance(call, &key, secret).await?;
                Findings { stale_pointers: u64::from(removed), ..nothing }
            }
            Self::WriteUsage(service, usage) => {
                table.put_usage(call, &service, &usage).await?;
                nothing
            }
        })
    }
}
