//! The claim: the one transaction that makes an offer.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::item::{Key, encode, number, text};
use super::names::{self, Pointer};
use super::ports;
use super::requests::{self, Replay, RequestWrite};
use super::transact::{OnContention, Reason, Transacted};
use super::{Call, StoreError, Table};
use crate::domain::{Holding, Namespace, Port, Secret, Timestamp};

/// On what grounds the name may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// It was never used, or its last claim was on this very port, which the Port item's condition proves dead.
    Free,
    /// Its last claim carried this secret and is gone, which is for ever.
    Gone(Secret),
    /// Its last claim carried this secret, lies on that other port, and is dead; the transaction removes it.
    Dead(Port, Secret),
}

/// A claim to be made.
#[derive(Clone, Debug)]
pub(crate) struct ClaimWrite<'a> {
    pub(crate) namespace: &'a Namespace,
    /// The offer as it shall stand.
    pub(crate) holding: &'a Holding,
    pub(crate) name: NameRule,
    pub(crate) request: Option<&'a RequestWrite>,
    /// The moment of this try, in every send of it: DynamoDB refuses another content under the same token, and the token
    /// is what joins the sends. What was dead then is dead for ever, so the condition is only the stricter for its age.
    pub(crate) now: Timestamp,
}

/// Why a claim was not made, item by item.
#[derive(Debug)]
pub(crate) struct Losses {
    /// The port: who holds it; nobody knows, if the item cannot be read.
    pub(crate) port: Reason<Holding>,
    /// The name: where it points to.
    pub(crate) name: Reason<Pointer>,
    /// The key: what it made before.
    pub(crate) request: Reason<Replay>,
    /// The dead claim that was to be removed: it is not dead, or gone.
    pub(crate) dead: Reason<Holding>,
}

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It stands.
    Made,
    /// It does not.
    Lost(Box<Losses>),
}

impl Table {
    /// Claims a port for a name: two items, a third where a key was sent, a fourth where a dead claim is in the way.
    ///
    /// Why no other write can break the invariants here:
    /// - *Port, if dead.* Two live holders of one port (1) would need two transactions that both found it dead; the
    ///   second sees what the first put. A claim that this clock finds dead and a slower one alive is overwritten, and
    ///   with it its secret: the slower one's accept then finds another secret and fails.
    /// - *Instance.* Two live holders of one name (2) would need a second claim while the first is live. `Free` passes
    ///   only where no claim was made, or on the port of the last one, which the Port condition proves dead in the same
    ///   transaction. `Gone` passes only while the pointer still carries a secret whose claim no longer exists anywhere
    ///   and never will. `Dead` removes the last claim in this transaction, if it is dead still: merely ignoring it
    ///   would let a slower clock accept it afterwards. What is dead on that port may be another's by now, which
    ///   anybody may remove; then the last claim is gone.
    /// - *Sent twice.* The token is the claim's, so DynamoDB does it once; and where it no longer remembers the token,
    ///   the Port condition fails on our own item, which the secret shows.
    pub(crate) async fn claim(&self, call: &Call, write: &ClaimWrite<'_>) -> Result<Claimed, StoreError> {
        let Holding { claim, secret } = write.holding;
        let port = Key::port(write.namespace, claim.port);
        let name = Key::instance(write.namespace, &claim.service, &claim.name);
        let now = number(write.now.seconds());
        let pointer = Pointer { port: claim.port, secret: *secret, gone_since: None };

        let mut items = vec![put(Put::builder()
            .table_name(&self.name)
            .set_item(Some(encode(&port, ports::attributes(write.holding))?))
            .condition_expression("attribute_not_exists(#pk) OR #expires_at <= :now")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":now", now.clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build())?];

        let put_name = Put::builder()
            .table_name(&self.name)
            .set_item(Some(encode(&name, pointer)?))
            .expression_attribute_names("#pk", "pk")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        items.push(put(match write.name {
            NameRule::Free => put_name
                .condition_expression("attribute_not_exists(#pk) OR #port = :port")
                .expression_attribute_names("#port", "port")
                .expression_attribute_values(":port", number(claim.port.get().into()))
                .build(),
            NameRule::Gone(was) | NameRule::Dead(_, was) => put_name
                .condition_expression("attribute_not_exists(#pk) OR #secret = :was")
                .expression_attribute_names("#secret", "secret")
                .expression_attribute_values(":was", text(was.expose()))
                .build(),
        })?);

        if let Some(request) = write.request {
            let key = Key::request(write.namespace, &claim.service, &request.key.digest);
            let replay = Replay {
                port: claim.port,
                secret: *secret,
                fingerprint: request.key.fingerprint.clone(),
                offered_until: claim.expires_at,
                expires_at: requests::remembered_until(write.now, claim.expires_at),
            };
            let put_request = Put::builder()
                .table_name(&self.name)
                .set_item(Some(encode(&key, replay)?))
                .expression_attribute_names("#pk", "pk")
                .expression_attribute_names("#expires_at", "expires_at")
                .expression_attribute_values(":now", now.clone())
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            items.push(put(match request.replaces {
                None => put_request.condition_expression("attribute_not_exists(#pk) OR #expires_at <= :now").build(),
                Some(was) => put_request
                    .condition_expression("attribute_not_exists(#pk) OR #expires_at <= :now OR #secret = :was")
                    .expression_attribute_names("#secret", "secret")
                    .expression_attribute_values(":was", text(was.expose()))
                    .build(),
            })?);
        }

        if let NameRule::Dead(dead, _) = write.name {
            let delete = Delete::builder()
                .table_name(&self.name)
                .set_key(Some(Key::port(write.namespace, dead).attributes()))
                .condition_expression("#expires_at <= :now")
                .expression_attribute_names("#expires_at", "expires_at")
                .expression_attribute_values(":now", now)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build();
            items.push(TransactWriteItem::builder().delete(delete.map_err(StoreError::from)?).build());
        }

        let mut reasons = match self.transact(call, items, OnContention::Tell).await? {
            Transacted::Done => return Ok(Claimed::Made),
            Transacted::Cancelled(reasons) => reasons.into_iter(),
        };
        let mut next = || reasons.next().unwrap_or(Reason::None);
        let port = match next().try_map(ports::holding) {
            // Whoever it is that holds the port, it is not this claim.
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "an unreadable item");
                Reason::Failed(None)
            }
            port => port?,
        };
        // Our own item, from an earlier send. Without this the offer would be the same: the next candidate's claim
        // would fail on the name or the key, or no candidate would be left, and each of these recognizes a claim of
        // its own call. So this saves requests, and only their number shows it. (The model's `OwnClaim`.)
        if matches!(&port, Reason::Failed(Some(holding)) if holding.secret == *secret) {
            return Ok(Claimed::Made);
        }
        let name = next().try_map(names::pointer)?;
        let request = match write.request {
            Some(_) => next().try_map(requests::replay)?,
            None => Reason::None,
        };
        let dead = next().try_map(ports::holding)?;
        Ok(Claimed::Lost(Box::new(Losses { port, name, request, dead })))
    }
}

fn put(put: Result<Put, BuildError>) -> Result<TransactWriteItem, StoreError> {
    Ok(TransactWriteItem::builder().put(put.map_err(StoreError::from)?).build())
}
