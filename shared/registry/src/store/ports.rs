//! Port items: the truth about the holders of ports.
//!
//! Their key is the port itself, so a port cannot have two holders in the table.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValue};
use serde::{Deserialize, Serialize};

use super::condition::{Condition, Value, names, update_only_if};
use super::item::{Item, Key, damaged, decode_at, number, port_partition, port_sort, text, without_key};
use super::send::{Doubt, send, send_once};
use super::{StoreError, Table, rules};
use crate::Call;
use portmaster_domain::{
    Claim, ClaimState, Clock, Expiry, Holding, InstanceName, Namespace, Port, PortRange, Secret, ServiceId,
    ServiceName, StateKind, Timestamp, exposed,
};

/// A Port item without its secret.
#[derive(Serialize, Deserialize)]
struct ClaimItem {
    service: ServiceName,
    name: InstanceName,
    state: StateKind,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Expiry>,
}

#[derive(Serialize, Deserialize)]
struct HoldingItem {
    #[serde(flatten)]
    claim: ClaimItem,
    #[serde(with = "exposed")]
    secret: Secret,
}

/// The attributes of a Port item, to be written.
pub(crate) fn attributes(holding: &Holding) -> impl Serialize {
    let Claim { service, name, state, created, .. } = holding.claim.clone();
    let accepted = match state {
        ClaimState::Offered { .. } => None,
        ClaimState::Allocated { accepted, .. } => Some(accepted),
    };
    let (state, expires_at) = (state.kind(), state.expires_at());
    HoldingItem { claim: ClaimItem { service, name, state, created, accepted, expires_at }, secret: holding.secret }
}

/// A Port item as it was read.
pub(crate) fn holding(item: Item) -> Result<Holding, StoreError> {
    let (key, port) = place_of(&item)?;
    let HoldingItem { claim, secret } = decode_at(&key, item)?;
    Ok(Holding { claim: claim.at(&key, port)?, secret })
}

fn claim(item: Item) -> Result<Claim, StoreError> {
    let (key, port) = place_of(&item)?;
    decode_at::<ClaimItem>(&key, item)?.at(&key, port)
}

impl ClaimItem {
    fn at(self, key: &Key, port: Port) -> Result<Claim, StoreError> {
        let Self { service, name, state, created, accepted, expires_at } = self;
        let state = state_of(key, state, accepted.unwrap_or(created), expires_at)?;
        Ok(Claim { service, name, port, created, state })
    }
}

fn state_of(
    key: &Key,
    kind: StateKind,
    accepted: Timestamp,
    expires_at: Option<Expiry>,
) -> Result<ClaimState, StoreError> {
    match (kind, expires_at) {
        (StateKind::Offered, Some(expires_at)) => Ok(ClaimState::Offered { expires_at }),
        (StateKind::Offered, None) => Err(damaged(key, &"it is an offer that never expires")),
        (StateKind::Allocated, expires_at) => Ok(ClaimState::Allocated { accepted, expires_at }),
    }
}

/// The key of a Port item, and the port that it stands for. Read once for each item: a cold offer reads thousands.
fn place_of(item: &Item) -> Result<(Key, Port), StoreError> {
    let key = Key::of(item).ok_or_else(without_key)?;
    match key.sk.parse().ok().and_then(|number| Port::new(number).ok()) {
        Some(port) => Ok((key, port)),
        None => Err(damaged(&key, &"its sort key is no port")),
    }
}

fn port_of(item: &Item) -> Result<Port, StoreError> {
    place_of(item).map(|(_, port)| port)
}

/// A Port item reduced to what the choice of a port needs: less than half of its bytes cross the wire. (Its read units
/// are the same.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) port: Port,
    pub(crate) service: ServiceName,
    pub(crate) created: Timestamp,
    /// The state as far as it was read: an allocation's beginning was not, so the time of its offer stands in for it.
    pub(crate) state: ClaimState,
}

#[derive(Deserialize)]
struct SightingItem {
    service: ServiceName,
    state: StateKind,
    created: Timestamp,
    expires_at: Option<Expiry>,
}

fn sighting(item: Item) -> Result<Sighting, StoreError> {
    let (key, port) = place_of(&item)?;
    let SightingItem { service, state, created, expires_at } = decode_at(&key, item)?;
    Ok(Sighting { port, service, created, state: state_of(&key, state, created, expires_at)? })
}

/// The outcome of an accept.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// The offer is an allocation from now on.
    Now(Claim),
    /// The offer was accepted before, with this secret.
    Before(Claim),
    /// The condition failed; the item as it is, if there is one.
    Not(Option<Holding>),
}

/// The outcome of a removal.
#[derive(Debug)]
pub(crate) enum Removed {
    /// The claim is gone.
    Now,
    /// The condition failed; the item as it is, if there is one, and whether an earlier send may have removed the
    /// claim.
    Not(Option<Holding>, Doubt),
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// In the order of their ports.
    pub(crate) items: Vec<T>,
    /// The ports that were read: from the first asked for to the end of the page.
    pub(crate) covered: PortRange,
    /// The start of the next page.
    pub(crate) next: Option<Port>,
    /// Ports whose items this version cannot read. They may be held.
    pub(crate) unreadable: Vec<Port>,
}

/// The latest time at which an allocation that is to be released may have begun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BeganBy<'a> {
    /// The time of sending, read again for each send.
    Sending(&'a Clock),
    /// The beginning that was read.
    Seen(Timestamp),
}

impl BeganBy<'_> {
    fn read(self) -> Timestamp {
        match self {
            Self::Sending(clock) => clock.now(),
            Self::Seen(moment) => moment,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Every write that was answered before is visible. Every read that a decision rests on is consistent.
    Consistent,
    /// Half the price, for reads that are only a hint.
    Eventual,
}

impl Table {
    /// Reads the claim on a port, dead or alive, consistently.
    pub(crate) async fn port(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
    ) -> Result<Option<Holding>, StoreError> {
        self.get(call, &Key::port(namespace, port)).await?.map(holding).transpose()
    }

    /// Reads the claim on a port that an Instance or a Request points to, or pointed to. They were written in one
    /// transaction; see [`Table::get_settled`].
    pub(crate) async fn settled_port(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
    ) -> Result<Option<Holding>, StoreError> {
        self.get_settled(call, &Key::port(namespace, port)).await?.map(holding).transpose()
    }

    /// Reads the claims on a stretch of ports, dead or alive, as far as the choice of a port needs them: one Query, at
    /// most 1 MB of items.
    pub(crate) async fn sightings(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
        limit: Option<usize>,
        freshness: Freshness,
    ) -> Result<Page<Sighting>, StoreError> {
        self.query_ports(call, namespace, part, limit, freshness, Shape::Sighting, sighting).await
    }

    /// Reads the live claims of a service in one state, without their secrets.
    ///
    /// DynamoDB does the filtering, so a page may be short, and it costs as much as was read.
    pub(crate) async fn live_claims(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
        limit: usize,
        filter: &Filter<'_>,
    ) -> Result<Page<Claim>, StoreError> {
        let shape = Shape::Filtered(filter);
        self.query_ports(call, namespace, part, Some(limit), Freshness::Consistent, shape, claim).await
    }

    /// Reads the claims on a stretch of ports with their secrets, consistently: for conditions, never for a response.
    pub(crate) async fn holdings(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
    ) -> Result<Page<Holding>, StoreError> {
        self.query_ports(call, namespace, part, None, Freshness::Consistent, Shape::Whole, holding).await
    }

    #[allow(clippy::too_many_arguments, reason = "one private function behind three plain ones")]
    async fn query_ports<T>(
        &self,
        call: &Call,
        namespace: &Namespace,
        part: PortRange,
        limit: Option<usize>,
        freshness: Freshness,
        shape: Shape<'_>,
        read: fn(Item) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        const STRETCH: &str = "#pk = :pk AND #sk BETWEEN :first AND :last";
        let (result, _) = send(call, &self.name, || {
            let query = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression(STRETCH)
                .expression_attribute_values(":pk", text(port_partition(namespace)))
                .expression_attribute_values(":first", text(port_sort(part.start())))
                .expression_attribute_values(":last", text(port_sort(part.end())))
                .consistent_read(freshness == Freshness::Consistent)
                .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let (shown, filter) = shape.expressions();
            let all = [STRETCH, shown.unwrap_or_default(), filter.unwrap_or_default()].concat();
            let query = query
                .set_expression_attribute_names(Some(names(&all)))
                .set_projection_expression(shown.map(str::to_owned))
                .set_filter_expression(filter.map(str::to_owned));
            match shape {
                Shape::Whole | Shape::Sighting => query,
                Shape::Filtered(filter) => query
                    .expression_attribute_values(":service", text(filter.service.as_str()))
                    .expression_attribute_values(":state", text(filter.state.as_str()))
                    .expression_attribute_values(":now", number(filter.now.seconds())),
            }
            .send()
        })
        .await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        let last = output.last_evaluated_key.as_ref().map(port_of).transpose()?;
        let covered = last.and_then(|last| PortRange::new(part.start(), last).ok()).unwrap_or(part);
        let next = last.and_then(Port::next).filter(|next| part.contains(*next));
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for item in output.items.unwrap_or_default() {
            let port = port_of(&item)?;
            match read(item) {
                Ok(item) => items.push(item),
                Err(error) => {
                    tracing::warn!(%error, "an unreadable item");
                    unreadable.push(port);
                }
            }
        }
        Ok(Page { items, covered, next, unreadable })
    }

    /// Turns an offer into an allocation: one conditional write.
    ///
    /// No other request can interfere: only the holder of the secret passes, and nobody else ever has that secret (5).
    /// A claim that was taken over, rejected or removed is absent, or carries another secret. A dead claim does not
    /// pass, even before TTL has removed it. If this clock is late and finds it alive, the item is still there under
    /// the same secret, so nobody else holds the port (1), and the Instance still points to it (2). The condition also
    /// requires that it is an offer: an allocation with a lease will have an `expires_at` too.
    ///
    /// The clock is read at each send. The write may be throttled for seconds before it is done. An `accepted` from
    /// before that would let a release that had already ended, and whose copy arrives later, hit this allocation. And
    /// an offer that expires meanwhile is no longer accepted.
    pub(crate) async fn accept(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        secret: Secret,
        clock: &Clock,
    ) -> Result<Accepted, StoreError> {
        const ALLOCATE: &str = "SET #state = :allocated, #accepted = :accepted REMOVE #expires_at";
        let (result, doubt) = send(call, &self.name, || {
            let now = clock.now();
            let key = Key::port(&service.namespace, port);
            let request = self.client.update_item().table_name(&self.name).set_key(Some(key.attributes()));
            let values = [(":allocated", text(StateKind::Allocated.as_str())), (":accepted", number(now.millis()))];
            let condition = Condition::all(
                &[rules::ACCEPT_SECRET, rules::ACCEPT_SERVICE, rules::ACCEPT_OFFERED, rules::ACCEPT_LIVE],
                live_offer(service, secret, now),
            );
            update_only_if(request, ALLOCATE, values, condition)
                .return_values(ReturnValue::AllNew)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        })
        .await?;
        let item = match result {
            Ok(output) => {
                let item = output.attributes.unwrap_or_default();
                return holding(item).map(|holding| Accepted::Now(holding.claim));
            }
            Err(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.item,
            Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
        };
        let found = item.map(holding).transpose()?;
        Ok(match found {
            Some(Holding { claim, secret: its })
                if its == secret && claim.service == service.name && claim.state.kind() == StateKind::Allocated =>
            {
                match doubt {
                    // Accepted by this call's own first send, in all likelihood.
                    Doubt::Earlier => Accepted::Now(claim),
                    Doubt::None => Accepted::Before(claim),
                }
            }
            other => Accepted::Not(other),
        })
    }

    /// Removes an offer: one conditional write. Only its secret passes, and only while it is a live offer: an
    /// allocation that a faster accept made of it stays. The clock is read at each send: *live* refers to the time of
    /// the write, not to the time at which the call began.
    pub(crate) async fn reject(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        secret: Secret,
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let live = || {
            let rules = [rules::REJECT_SECRET, rules::REJECT_SERVICE, rules::REJECT_OFFERED, rules::REJECT_LIVE];
            Condition::all(&rules, live_offer(service, secret, clock.now()))
        };
        self.remove(call, &Key::port(&service.namespace, port), live).await
    }

    /// Removes a dead claim on a port: one conditional write, so that a claim that a slower clock accepted meanwhile,
    /// or that was made since, stays. The owner of the dead one does not matter: a new claim would overwrite it as
    /// well.
    ///
    /// `now` is the time at which the claim was judged, in every send: whatever was dead then is dead for ever, and a
    /// later time would remove more than the read before it found dead.
    pub(crate) async fn remove_dead(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
        let still = || Condition::all(&[rules::REMOVE_STILL], [(":now", number(now.seconds()))]);
        self.remove(call, &Key::port(namespace, port), still).await
    }

    /// Releases the allocation that an Instance points to. The secret is unique and identifies the allocation, so the
    /// release is idempotent.
    ///
    /// `began_by` is the latest time at which the allocation may have begun. Otherwise a copy of the request that
    /// arrives late would hit a claim that was an offer when the call was answered ("no such port") and that was
    /// accepted since. Only allocations have an `accepted`.
    pub(crate) async fn release_claim(
        &self,
        call: &Call,
        namespace: &Namespace,
        (port, secret): (Port, Secret),
        began_by: BeganBy<'_>,
    ) -> Result<Removed, StoreError> {
        let same = || {
            let values = [(":secret", text(secret.expose())), (":sent", number(began_by.read().millis()))];
            Condition::all(&[rules::RELEASE_SECRET, rules::RELEASE_SENT], values)
        };
        self.remove(call, &Key::port(namespace, port), same).await
    }

    /// Releases whatever allocation of the service is on the port: one conditional write, which names nothing unique.
    ///
    /// A retry after a lost response could release the *next* holder's allocation, so it is not retried. And should it
    /// arrive late, long after the call gave up, the condition that the allocation began before it was sent protects
    /// the next holder's. (If an acceptor's clock was ahead, that condition fails although it should not; the caller
    /// then knows the secret.) The clock is read at each send: a throttled request is sent again, and releases whatever
    /// is allocated then.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the response was lost.
    pub(crate) async fn release_port(
        &self,
        call: &Call,
        service: &ServiceId,
        port: Port,
        clock: &Clock,
    ) -> Result<Removed, StoreError> {
        let result = send_once(call, &self.name, || {
            let values = [(":service", text(service.name.as_str())), (":sent", number(clock.now().millis()))];
            let condition = Condition::all(&[rules::RELEASE_PORT_SERVICE, rules::RELEASE_PORT_SENT], values);
            self.deletion(&Key::port(&service.namespace, port), condition).send()
        })
        .await?;
        removed(result.map(drop), Doubt::None)
    }

    /// A conditional DeleteItem of a Port item that may be retried.
    async fn remove(&self, call: &Call, key: &Key, condition: impl Fn() -> Condition) -> Result<Removed, StoreError> {
        let (result, doubt) = self.delete_if(call, key, condition).await?;
        removed(result, doubt)
    }
}

/// The claims that a list includes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) service: &'a ServiceName,
    pub(crate) state: StateKind,
    pub(crate) now: Timestamp,
}

/// The items and attributes that a Query returns.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Whole,
    Sighting,
    Filtered(&'a Filter<'a>),
}

impl Shape<'_> {
    /// The projection, unless all attributes are wanted, and the filter, unless all items are.
    fn expressions(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Whole => (None, None),
            Self::Sighting => (Some("#pk, #sk, #service, #state, #created, #expires_at"), None),
            Self::Filtered(_) => (
                Some("#pk, #sk, #service, #name, #state, #created, #accepted, #expires_at"),
                Some(
                    "#service = :service AND #state = :state AND (attribute_not_exists(#expires_at) OR #expires_at > :now)",
                ),
            ),
        }
    }
}

/// The values by which its holder identifies a live offer.
fn live_offer(service: &ServiceId, secret: Secret, now: Timestamp) -> [Value; 4] {
    [
        (":secret", text(secret.expose())),
        (":service", text(service.name.as_str())),
        (":offered", text(StateKind::Offered.as_str())),
        (":now", number(now.seconds())),
    ]
}

fn removed(result: Result<(), DeleteItemError>, doubt: Doubt) -> Result<Removed, StoreError> {
    match result {
        Ok(()) => Ok(Removed::Now),
        Err(DeleteItemError::ConditionalCheckFailedException(failed)) => {
            Ok(Removed::Not(failed.item.filter(|item| !item.is_empty()).map(holding).transpose()?, doubt))
        }
        Err(other) => Err(StoreError::Refused { reason: other.to_string() }),
    }
}
