//! Reading Port items: the truth about the holders of ports.
//!
//! Their key is the port itself, so a port cannot have two holders in the table.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::condition::names;
use super::item::{Item, Key, number, port_partition, port_sort, text};
use super::port_item::{SIGHTING, Sighting, claim, occupant, port_of, sighting};
use super::send::send;
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{Claim, Namespace, Occupant, Port, PortRange, ServiceName, StateKind, Timestamp};

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
    ) -> Result<Option<Occupant>, StoreError> {
        self.get(call, &Key::port(namespace, port)).await?.map(occupant).transpose()
    }

    /// Reads a Port item as it is, eventually consistently: half a read unit.
    pub(crate) async fn port_image(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
    ) -> Result<Option<Item>, StoreError> {
        self.get_as(call, &Key::port(namespace, port), Freshness::Eventual).await
    }

    /// Reads the claim on a port that an Instance or a Request points to, or pointed to. They were written in one
    /// transaction; see [`Table::get_settled`].
    pub(crate) async fn settled_port(
        &self,
        call: &Call,
        namespace: &Namespace,
        port: Port,
    ) -> Result<Option<Occupant>, StoreError> {
        self.get_settled(call, &Key::port(namespace, port)).await?.map(occupant).transpose()
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
        limit: Option<usize>,
    ) -> Result<Page<Occupant>, StoreError> {
        self.query_ports(call, namespace, part, limit, Freshness::Consistent, Shape::Whole, occupant).await
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
            Self::Sighting => (Some(SIGHTING), None),
            Self::Filtered(_) => (
                Some(
                    "#pk, #sk, #service, #name, #state, #created, #accepted, #expires_at, #lease_until, #lease, #owner, \
                     #labels, #principal, #terms, #confirmed, #put",
                ),
                Some(
                    "#service = :service AND #state = :state \
                     AND (attribute_not_exists(#expires_at) OR #expires_at > :now) \
                     AND (attribute_not_exists(#lease_until) OR #lease_until > :now)",
                ),
            ),
        }
    }
}
