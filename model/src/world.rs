//! A world: its ports and names, its calls, the possible faults, and its duration.

use crate::table::{Name, Owner, Port, Ports, Secret, ServiceId, Tick};

/// The offer that is accepted or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The offer that this call returned.
    Call(usize),
    /// This claim, which exists from the beginning.
    Claim(usize),
}

/// On whose behalf a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    /// Whoever the owner is.
    Anybody,
    /// This owner; or none, where the item must have none.
    Owner(Option<Owner>),
}

impl By {
    pub(crate) fn may(self, owner: Option<Owner>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Owner(by) => by == owner,
        }
    }
}

/// The action of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Asks for an offer, perhaps with the key.
    Offer { service: ServiceId, name: Name, key: bool },
    /// Accepts an offer, under this service, perhaps with a lease.
    Accept { of: Of, service: ServiceId, lease: Option<Tick> },
    /// Rejects an offer, under this service.
    Reject { of: Of, service: ServiceId },
    /// Releases a name's allocation.
    ReleaseName { service: ServiceId, name: Name, by: By },
    /// Releases a port of a service.
    ReleasePort { service: ServiceId, port: Port, by: By },
    /// Makes sure that a name has a port, perhaps with a lease.
    Put { service: ServiceId, name: Name, owner: Option<Owner>, lease: Option<Tick> },
    /// Makes sure that two names have ports, both or none.
    Set { service: ServiceId, owner: Option<Owner>, lease: Option<Tick> },
    /// Renews the lease of a name.
    RenewName { service: ServiceId, name: Name, owner: Option<Owner>, lease: Tick },
    /// Renews the lease of a port of a service.
    RenewPort { service: ServiceId, port: Port, owner: Option<Owner>, lease: Tick },
    /// Creates a service.
    Create { service: ServiceId, range: Ports },
    /// Deletes a service.
    Delete { service: ServiceId },
    /// Creates the namespace.
    CreateNamespace,
    /// Deletes the namespace.
    DeleteNamespace,
    /// Changes a service's range to this one: grows, shrinks or moves it; the same range is another description.
    Change { service: ServiceId, to: Ports },
    /// The reconciler at a Port item.
    SweepPort { port: Port },
    /// The reconciler at an Instance item, twice.
    SweepName { service: ServiceId, name: Name },
    /// The reconciler at the Request item.
    SweepRequest,
    /// The reconciler at a Service item with a mark.
    SweepMark { service: ServiceId },
    /// The reconciler at the Ranges item.
    SweepRanges,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) script: Script,
    /// The offsets of its clock: each of these is tried.
    pub(crate) skews: &'static [Tick],
}

/// A claim that exists from the beginning, and that a caller was shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) port: Port,
    pub(crate) service: ServiceId,
    pub(crate) name: Name,
    pub(crate) secret: Secret,
    /// None for an allocation.
    pub(crate) expires: Option<Tick>,
    /// Until when an allocation is leased.
    pub(crate) lease: Option<Tick>,
    pub(crate) owner: Option<Owner>,
    /// Whether a key made it.
    pub(crate) key: bool,
}

/// A small world.
#[derive(Clone, Debug)]
pub struct World {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub about: &'static str,
    pub(crate) ports: u8,
    pub(crate) services: [Option<Ports>; 2],
    /// Ranges, if it differs from the services' ranges.
    pub(crate) bits: Option<Ports>,
    /// Whether the namespace exists at the beginning.
    pub(crate) namespace: bool,
    /// Whether it starts with damage: then property 4 and the completeness of Ranges are not required.
    pub(crate) damaged: bool,
    pub(crate) claims: Vec<Claim>,
    pub(crate) calls: Vec<Call>,
    /// How far the true clock goes, how long offers live, and how long keys are remembered.
    pub(crate) ticks: Tick,
    pub(crate) life: Tick,
    pub(crate) key_life: Tick,
    /// Whether the ports of a service cool down.
    pub(crate) cools: [bool; 2],
    /// The maximum number of tries of a call.
    pub(crate) tries: u8,
    /// The maximum numbers of responses lost, copies arriving late, and functions stopped.
    pub(crate) lost: u8,
    pub(crate) late: u8,
    pub(crate) stops: u8,
    /// Whether TTL deletes expired items, at any later time.
    pub(crate) ttl: bool,
    /// Whether the table supports tokens (DynamoDB) or not (embedded).
    pub(crate) tokens: bool,
    /// Whether a transaction may be partly visible.
    pub(crate) halves: bool,
}

impl World {
    pub(crate) fn new(name: &'static str, about: &'static str, services: [Option<Ports>; 2]) -> Self {
        Self {
            name,
            about,
            ports: 2,
            services,
            bits: None,
            namespace: true,
            damaged: false,
            claims: Vec::new(),
            calls: Vec::new(),
            ticks: 0,
            life: 1,
            key_life: 9,
            cools: [false; 2],
            tries: 2,
            lost: 0,
            late: 0,
            stops: 0,
            ttl: false,
            tokens: true,
            halves: false,
        }
    }

    /// Adds a call; returns the world.
    pub(crate) fn with(self, script: Script) -> Self {
        self.with_clocks(script, &[0])
    }

    pub(crate) fn with_clocks(mut self, script: Script, skews: &'static [Tick]) -> Self {
        self.calls.push(Call { script, skews });
        self
    }

    /// Whether a name may come back to a port that is not free: after a lease, or during a cool-down.
    pub(crate) fn has_returns(&self) -> bool {
        let leases = |call: &Call| {
            matches!(
                call.script,
                Script::Put { lease: Some(_), .. }
                    | Script::Set { lease: Some(_), .. }
                    | Script::Accept { lease: Some(_), .. }
                    | Script::RenewName { .. }
                    | Script::RenewPort { .. }
            )
        };
        self.cools.contains(&true)
            || self.claims.iter().any(|claim| claim.lease.is_some())
            || self.calls.iter().any(leases)
    }

    pub(crate) fn skews(&self) -> impl Iterator<Item = Tick> {
        self.calls.iter().flat_map(|call| call.skews.iter().copied())
    }
}
