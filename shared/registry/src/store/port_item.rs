//! Port items as they are written and read.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::item::{Item, Key, damaged, decode_at, without_key};
use portmaster_domain::{
    Claim, ClaimState, Expiry, Holding, InstanceName, Labels, Lease, Occupant, Owner, Port, Principal, Secret,
    ServiceName, StateKind, Terms, Timestamp, exposed,
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
    /// When a stranger may have the port: the TTL attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Expiry>,
    /// What the holder of a lease was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<Expiry>,
    /// For how many seconds the lease was granted the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    /// Absent for the terms that every service has by default, as in items of older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Terms>,
    #[serde(default, skip_serializing_if = "is_false")]
    confirmed: bool,
    #[serde(default, skip_serializing_if = "is_false", rename = "put")]
    by_put: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Serialize)]
struct HoldingItem {
    #[serde(flatten)]
    claim: ClaimItem,
    #[serde(with = "exposed")]
    secret: Secret,
}

/// The attributes of a Port item, to be written.
pub(crate) fn attributes(holding: &Holding) -> impl Serialize {
    let Claim { service, name, state, created, owner, labels, principal, terms, confirmed, by_put, .. } =
        holding.claim.clone();
    let (accepted, lease) = match state {
        ClaimState::Allocated { accepted, lease } => (Some(accepted), lease),
        _ => (None, None),
    };
    let claim = ClaimItem {
        service,
        name,
        state: state.kind(),
        created,
        accepted,
        expires_at: state.expires_at(),
        lease_until: lease.map(|lease| lease.until),
        lease: lease.map(|lease| lease.seconds),
        owner,
        labels,
        principal,
        terms: stored(terms),
        confirmed,
        by_put,
    };
    HoldingItem { claim, secret: holding.secret }
}

/// Terms as an item has them: none for those that every service has by default.
pub(crate) fn stored(terms: Terms) -> Option<Terms> {
    (terms != Terms::default()).then_some(terms)
}

/// A Port item as it was read.
pub(crate) fn occupant(item: Item) -> Result<Occupant, StoreError> {
    let (key, port) = place_of(&item)?;
    let secret = match item.get("secret") {
        None => None,
        Some(secret) => {
            let secret = secret.as_s().ok().and_then(|secret| Secret::parse(secret).ok());
            Some(secret.ok_or_else(|| damaged(&key, &"its secret is none"))?)
        }
    };
    let claim = decode_at::<ClaimItem>(&key, item)?.at(&key, port)?;
    let held = matches!(claim.state, ClaimState::Offered { .. } | ClaimState::Allocated { .. });
    if held != secret.is_some() {
        return Err(damaged(&key, &"a claim has a secret, and what is left of one has none"));
    }
    Ok(Occupant { claim, secret })
}

/// The same, without its secret, which was not asked for.
pub(crate) fn claim(item: Item) -> Result<Claim, StoreError> {
    let (key, port) = place_of(&item)?;
    decode_at::<ClaimItem>(&key, item)?.at(&key, port)
}

impl ClaimItem {
    fn at(self, key: &Key, port: Port) -> Result<Claim, StoreError> {
        let times = Times {
            accepted: self.accepted.unwrap_or(self.created),
            expires_at: self.expires_at,
            lease_until: self.lease_until,
            seconds: self.lease,
        };
        let state = times.state(key, self.state)?;
        let Self { service, name, created, owner, labels, principal, terms, confirmed, by_put, .. } = self;
        let terms = terms.unwrap_or_default();
        // Without a lease, it was accepted: perhaps by a version that did not write the attribute.
        let confirmed = confirmed || matches!(state, ClaimState::Allocated { lease: None, .. });
        Ok(Claim { service, name, port, created, state, owner, labels, principal, terms, confirmed, by_put })
    }
}

/// The times on a Port item.
struct Times {
    accepted: Timestamp,
    expires_at: Option<Expiry>,
    lease_until: Option<Expiry>,
    seconds: Option<u32>,
}

impl Times {
    fn state(self, key: &Key, kind: StateKind) -> Result<ClaimState, StoreError> {
        let Self { accepted, expires_at, lease_until, seconds } = self;
        match (kind, expires_at) {
            (StateKind::Offered, Some(expires_at)) => Ok(ClaimState::Offered { expires_at }),
            (StateKind::Allocated, None) if lease_until.is_none() => {
                Ok(ClaimState::Allocated { accepted, lease: None })
            }
            (StateKind::Allocated, Some(expires_at)) => {
                let until = lease_until.unwrap_or(expires_at);
                let lease = Lease { until, expires_at, seconds: seconds.unwrap_or_default() };
                Ok(ClaimState::Allocated { accepted, lease: Some(lease) })
            }
            (StateKind::Cooling, Some(until)) => Ok(ClaimState::Cooling { until, lease_until }),
            (StateKind::Quarantined, Some(until)) => Ok(ClaimState::Quarantined { until }),
            (_, None) => Err(damaged(key, &"it must expire, and does not")),
        }
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

pub(super) fn port_of(item: &Item) -> Result<Port, StoreError> {
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

/// The attributes of a [`Sighting`].
pub(super) const SIGHTING: &str = "#pk, #sk, #service, #state, #created, #expires_at, #lease_until";

#[derive(Deserialize)]
struct SightingItem {
    service: ServiceName,
    state: StateKind,
    created: Timestamp,
    expires_at: Option<Expiry>,
    lease_until: Option<Expiry>,
}

pub(super) fn sighting(item: Item) -> Result<Sighting, StoreError> {
    let (key, port) = place_of(&item)?;
    let SightingItem { service, state, created, expires_at, lease_until } = decode_at(&key, item)?;
    let times = Times { accepted: created, expires_at, lease_until, seconds: None };
    Ok(Sighting { port, service, created, state: times.state(&key, state)? })
}
