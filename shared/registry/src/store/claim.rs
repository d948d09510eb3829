//! The claim: the one transaction that makes an offer.

use super::condition::{Clause, Condition};
use super::holders::{owner_rule, owner_value};
use super::instances::{self, Instance};
use super::item::{Key, encode, number, text};
use super::requests::{self, Replay, RequestWrite};
use super::transact::{Cancelled, OnContention, Reason, Transacted, Transaction};
use super::{StoreError, Table, port_item, rules};
use crate::Call;
use portmaster_domain::{Clock, Holding, Occupant, Port, Secret, ServiceId, StateKind, Timestamp};

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
    /// Earlier than `now` by the margin: a lease that was over then is over by every clock.
    pub(crate) past: Timestamp,
    /// Whether the name may come back to the port although it is not free: where its last claim may have been there. It
    /// makes the condition five times as long.
    pub(crate) returns: bool,
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
    pub(crate) port: Reason<Occupant>,
    /// The name's last claim.
    pub(crate) instance: Reason<Instance>,
    /// The claim that the key made before.
    pub(crate) request: Reason<Replay>,
    /// The dead claim that was to be removed: it is not dead, or it is gone.
    pub(crate) dead: Reason<Occupant>,
}

impl Losses {
    /// When the claim with this secret began, if the port has that very claim.
    fn own(&self, secret: Secret) -> Option<Timestamp> {
        match &self.port {
            Reason::Failed(Some(occupant)) if occupant.has(secret) => Some(occupant.claim.allocated_at()),
            _ => None,
        }
    }
}

/// The outcome of a claim, or of the claims of a set.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// All of them stand; those that are allocations began at this time.
    Made(Option<Timestamp>),
    /// None of them stands, for these reasons, claim by claim.
    Lost(Vec<Losses>),
}

impl Table {
    /// Claims ports for names of one service, all of them or none. Each takes two items, a third if there is a key, and a
    /// fourth if a dead claim is in the way. Names and ports are all different: DynamoDB refuses two parts on one item.
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
    ///
    /// An allocation that a PUT claims is stamped at each send, like an accept (see [`Transaction::stamped_by`]).
    pub(crate) async fn claim(
        &self,
        call: &Call,
        writes: &[ClaimWrite<'_>],
        clock: &Clock,
    ) -> Result<Claimed, StoreError> {
        let mut transaction = Transaction::new().stamped_by(clock);
        for (member, write) in writes.iter().enumerate() {
            transaction = self.claim_parts(transaction, member, write)?;
        }
        let mut reasons = match self.transact(call, transaction, OnContention::Report).await? {
            Transacted::Done(began) => return Ok(Claimed::Made(began)),
            Transacted::Cancelled(reasons) => reasons,
        };
        let mut losses = Vec::with_capacity(writes.len());
        for (member, write) in writes.iter().enumerate() {
            let lost = losses_of(&mut reasons, member)?;
            // Our own item, from an earlier send of this very transaction, of which all stands or nothing. Without this
            // the offer would be the same: the next candidate's claim would fail on the name or the key, or no candidate
            // would be left, and each of these recognizes a claim of its own call. So this saves requests, and only
            // their number shows it. (The model's `OwnClaim`.)
            if let Some(began) = lost.own(write.holding.secret) {
                return Ok(Claimed::Made(Some(began)));
            }
            losses.push(lost);
        }
        Ok(Claimed::Lost(losses))
    }

    fn claim_parts(
        &self,
        transaction: Transaction<(usize, Part)>,
        member: usize,
        write: &ClaimWrite<'_>,
    ) -> Result<Transaction<(usize, Part)>, StoreError> {
        let ClaimWrite { service, holding, .. } = write;
        let Holding { claim, secret } = holding;
        let now = || (":now", number(write.now.seconds()));

        let key = Key::port(&service.namespace, claim.port);
        let port = encode(&key, port_item::attributes(holding))?;
        let transaction = transaction.put(self, (member, Part::Port), port, port_is_to_be_had(write))?;

        let key = Key::instance(service, &claim.name);
        let instance = Instance { port: claim.port, secret: *secret, gone_since: None };
        let free = match write.name {
            NameRule::Free => {
                let port = (":port", number(claim.port.get().into()));
                match claim.state.kind() {
                    StateKind::Allocated => {
                        Condition::all(&[rules::NAME_FREE, rules::NAME_NEW], [port, (":secret", text(secret.expose()))])
                    }
                    _ => Condition::all(&[rules::NAME_FREE], [port]),
                }
            }
            NameRule::Gone(was) | NameRule::Dead(_, was) => {
                Condition::all(&[rules::NAME_AS_JUDGED], [(":was", text(was.expose()))])
            }
        };
        let mut transaction = transaction.put(self, (member, Part::Instance), encode(&key, instance)?, free)?;

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
            transaction = transaction.put(self, (member, Part::Request), encode(&key, replay)?, unused)?;
        }

        if let NameRule::Dead(dead, _) = write.name {
            let still = Condition::all(&[rules::DEAD_STILL], [now()]);
            transaction =
                transaction.delete(self, (member, Part::Dead), &Key::port(&service.namespace, dead), still)?;
        }
        Ok(transaction)
    }
}

/// The condition that this claim may have its port: nobody has it, or it comes back to it.
///
/// Why coming back breaks neither invariant: it takes the same name of the same service, and the Instance part of the
/// transaction demands that the name's last claim was on this port or is gone, so the name has one port (2). The item is
/// overwritten with its secret, so whoever had it is gone. And whoever may still use the port by what it was told, by
/// any clock within the margin, has the same owner, and is thus the same holder (1). A port in quarantine is no port to
/// come back to: its state is none of these.
///
/// Within the margin only a claim with a lease comes back: it keeps strangers out for the margin after its own end, which
/// is later than the end of the old lease, and so does what is left of it if it is withdrawn. An offer may be rejected,
/// withdrawn or expire before the margin of the old lease is over.
fn port_is_to_be_had(write: &ClaimWrite<'_>) -> Condition {
    let Holding { claim, .. } = write.holding;
    if !write.returns {
        return Condition::all(&[rules::PORT_IF_DEAD], [(":now", number(write.now.seconds()))]);
    }
    let owner = claim.owner.as_ref();
    let mut ways = vec![rules::RETURN_COOLED.into(), rules::RETURN_LAPSED.into()];
    let is_leased = claim.state.kind() == StateKind::Allocated;
    if is_leased {
        ways.push(owner_rule(owner, rules::RETURN_OWNER, rules::RETURN_UNOWNED).into());
    }
    let comes_back = Clause::any(ways);
    let clause = Clause::any([rules::PORT_IF_DEAD.into(), Clause::all([rules::RETURN_NAME.into(), comes_back])]);
    let values = [
        (":now", number(write.now.seconds())),
        (":past", number(write.past.seconds())),
        (":service", text(claim.service.as_str())),
        (":name", text(claim.name.as_str())),
        (":cooling", text(StateKind::Cooling.as_str())),
    ];
    Condition::of(clause, values.into_iter().chain(owner_value(owner).filter(|_| is_leased)))
}

/// The reasons that concern one claim.
fn losses_of(reasons: &mut Cancelled<(usize, Part)>, member: usize) -> Result<Losses, StoreError> {
    let port = match reasons.take((member, Part::Port)).try_map(port_item::occupant) {
        // The port has some holder, and it is not this claim.
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "an unreadable item");
            Reason::Failed(None)
        }
        port => port?,
    };
    Ok(Losses {
        port,
        instance: reasons.take((member, Part::Instance)).try_map(instances::instance)?,
        request: reasons.take((member, Part::Request)).try_map(requests::replay)?,
        dead: reasons.take((member, Part::Dead)).try_map(port_item::occupant)?,
    })
}
