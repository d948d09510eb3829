//! The claim: the one transaction that makes an offer.

use super::condition::Condition;
use super::instances::{self, Instance};
use super::item::{Key, encode, number, text};
use super::requests::{self, Replay, RequestWrite};
use super::transact::{OnContention, Reason, Transacted, Transaction};
use super::{StoreError, Table, ports, rules};
use crate::Call;
use portmaster_domain::{Holding, Port, Secret, ServiceId, Timestamp};

/// The rule under which the name may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// The name was never used, or its last claim was on this port, which the Port item's condition proves dead.
    Free,
    /// Its last claim carried this secret and is gone, which is for ever.
    Gone(Secret),
    /// Its last claim carried this secret, lies on that other port, and is dead; the transaction removes it.
    Dead(Port, Secret),
}

/// A claim to be made.
#[derive(Clone, Debug)]
pub(crate) struct ClaimWrite<'a> {
    pub(crate) service: &'a ServiceId,
    /// The offer as it is to stand.
    pub(crate) holding: &'a Holding,
    pub(crate) name: NameRule,
    pub(crate) request: Option<&'a RequestWrite>,
    /// The time of this try, in every send of it: DynamoDB refuses other content under the same token, and the token is
    /// what joins the sends. Whatever was dead then is dead for ever, so the condition's age only makes it stricter.
    pub(crate) now: Timestamp,
}

/// The parts of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The port's item, as it is to stand.
    Port,
    /// The Instance, which will point to this claim.
    Instance,
    /// The Request, which will record this claim.
    Request,
    /// The name's last claim, which is dead and is removed.
    Dead,
}

/// Why a claim was not made, part by part.
#[derive(Debug)]
pub(crate) struct Losses {
    /// The port's holder; `Failed(None)` if the item cannot be read.
    pub(crate) port: Reason<Holding>,
    /// The name's last claim.
    pub(crate) instance: Reason<Instance>,
    /// The claim that the key made before.
    pub(crate) request: Reason<Replay>,
    /// The dead claim that was to be removed: it is not dead, or it is gone.
    pub(crate) dead: Reason<Holding>,
}

/// The outcome of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It stands.
    Made,
    /// It does not stand, for these reasons.
    Lost(Box<Losses>),
}

impl Table {
    /// Claims a port for a name: two items, a third if there is a key, and a fourth if a dead claim is in the way.
    ///
    /// Why no other write can break the invariants here:
    /// - *Port, if dead.* Two live holders of one port (1) would need two transactions that both found it dead; the
    ///   second sees the item that the first wrote. A claim that this clock finds dead and a slower one alive is
    ///   overwritten together with its secret: the slower one's accept then finds another secret and fails.
    /// - *Instance.* Two live holders of one name (2) would need a second claim while the first is live. `Free` passes
    ///   only if no claim was made, or on the port of the last one, which the Port condition proves dead in the same
    ///   transaction. `Gone` passes only while the Instance still carries a secret whose claim no longer exists
    ///   anywhere and never will. `Dead` removes the last claim in this transaction, if it is still dead: merely
    ///   ignoring it would let a slower clock accept it afterwards. The dead claim on that port may be another's by
    ///   now, which anybody may remove; then the last claim is gone.
    /// - *Sent twice.* The token belongs to the claim, so DynamoDB applies it once; and if it no longer remembers the
    ///   token, the Port condition fails on our own item, which its secret shows.
    pub(crate) async fn claim(&self, call: &Call, write: &ClaimWrite<'_>) -> Result<Claimed, StoreError> {
        let transaction = self.claim_parts(write)?;
        let mut reasons = match self.transact(call, transaction, OnContention::Report).await? {
            Transacted::Done => return Ok(Claimed::Made),
            Transacted::Cancelled(reasons) => reasons,
        };
        let port = match reasons.take(Part::Port).try_map(ports::holding) {
            // The port has some holder, and it is not this claim.
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "an unreadable item");
                Reason::Failed(None)
            }
            port => port?,
        };
        // Our own item, from an earlier send. Without this the offer would be the same: the next candidate's claim
        // would fail on the name or the key, or no candidate would be left, and each of these recognizes a claim of its
        // own call. So this saves requests, and only their number shows it. (The model's `OwnClaim`.)
        if matches!(&port, Reason::Failed(Some(holding)) if holding.secret == write.holding.secret) {
            return Ok(Claimed::Made);
        }
        Ok(Claimed::Lost(Box::new(Losses {
            port,
            instance: reasons.take(Part::Instance).try_map(instances::instance)?,
            request: reasons.take(Part::Request).try_map(requests::replay)?,
            dead: reasons.take(Part::Dead).try_map(ports::holding)?,
        })))
    }

    fn claim_parts(&self, write: &ClaimWrite<'_>) -> Result<Transaction<Part>, StoreError> {
        let ClaimWrite { service, holding, .. } = write;
        let Holding { claim, secret } = holding;
        let now = || (":now", number(write.now.seconds()));

        let key = Key::port(&service.namespace, claim.port);
        let nobodys = Condition::all(&[rules::PORT_IF_DEAD], [now()]);
        let transaction =
            Transaction::new().put(self, Part::Port, encode(&key, ports::attributes(holding))?, nobodys)?;

        let key = Key::instance(service, &claim.name);
        let instance = Instance { port: claim.port, secret: *secret, gone_since: None };
        let free = match write.name {
            NameRule::Free => Condition::all(&[rules::NAME_FREE], [(":port", number(claim.port.get().into()))]),
            NameRule::Gone(was) | NameRule::Dead(_, was) => {
                Condition::all(&[rules::NAME_AS_JUDGED], [(":was", text(was.expose()))])
            }
        };
        let mut transaction = transaction.put(self, Part::Instance, encode(&key, instance)?, free)?;

        if let Some(request) = write.request {
            let key = Key::request(service, &request.key.digest);
            let unused = match request.replaces {
                None => Condition::all(&[rules::KEY_NEW], [now()]),
                Some(was) => Condition::all(&[rules::KEY_AS_JUDGED], [now(), (":was", text(was.expose()))]),
            };
            let replay = Replay {
                port: claim.port,
                secret: *secret,
                fingerprint: request.key.fingerprint.clone(),
                offered_until: claim.expires_at(),
                expires_at: requests::remembered_until(write.now, claim.expires_at()),
            };
            transaction = transaction.put(self, Part::Request, encode(&key, replay)?, unused)?;
        }

        if let NameRule::Dead(dead, _) = write.name {
            let still = Condition::all(&[rules::DEAD_STILL], [now()]);
            transaction = transaction.delete(self, Part::Dead, &Key::port(&service.namespace, dead), still)?;
        }
        Ok(transaction)
    }
}
