//! The table: its items, and the image that single reads see while a transaction is partly visible.
//!
//! Ports, services, names and secrets are small numbers, ranges are sets of ports as bits, and time is a few ticks. A
//! secret belongs to one attempt of one call, a revision to one write by one call, so none occurs twice.

/// A port, as a number from 0.
pub(crate) type Port = u8;
/// A service, as a number from 0.
pub(crate) type ServiceId = u8;
/// An instance name, as a number from 0.
pub(crate) type Name = u8;
/// The secret of a claim.
pub(crate) type Secret = u8;
/// A set of ports.
pub(crate) type Ports = u8;
/// A time of some clock, in whole ticks, as `expires_at` has whole seconds.
pub(crate) type Tick = i8;
/// A time of the one fine clock that `accepted` and `:sent` are read from: the number of accepts so far.
pub(crate) type Moment = u8;

/// The number of ports in the largest world.
pub(crate) const PORTS: usize = 3;
/// The number of services.
pub(crate) const SERVICES: usize = 2;
/// The number of names in each service.
pub(crate) const NAMES: usize = 2;

/// A holder's own name for itself, as a number.
pub(crate) type Owner = u8;

/// The state of a Port item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Offered,
    Allocated,
    Cooling,
}

/// A Port item: its attributes, as DynamoDB has them, since conditions look at attributes. What belongs to which state:
///
/// - offered: `secret`, `expires`, `put`
/// - allocated: `secret`, `accepted`, `confirmed`, and with a lease `lease_until` and `expires`
/// - cooling: `expires`; after a lapse also `owner` and `lease_until`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortItem {
    pub(crate) service: ServiceId,
    pub(crate) name: Name,
    pub(crate) owner: Option<Owner>,
    pub(crate) secret: Option<Secret>,
    pub(crate) phase: Phase,
    pub(crate) accepted: Option<Moment>,
    /// Until when its holder was told that it has it.
    pub(crate) lease_until: Option<Tick>,
    /// From when on a stranger may have the port.
    pub(crate) expires: Option<Tick>,
    /// Whether the offer was made by a PUT.
    pub(crate) put: bool,
    /// Whether somebody saw the service offer this port after the claim was made.
    pub(crate) confirmed: bool,
    /// The service's terms: whether a port cools down.
    pub(crate) cools: bool,
}

impl PortItem {
    /// Whether the port is held for a stranger.
    pub(crate) fn is_live(&self, now: Tick) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    pub(crate) fn has(&self, secret: Secret) -> bool {
        self.secret == Some(secret)
    }

    pub(crate) fn is_of(&self, service: ServiceId, name: Name) -> bool {
        (self.service, self.name) == (service, name)
    }

    /// Whether it is an allocation whose lease is over by this time.
    pub(crate) fn is_lapsed(&self, now: Tick) -> bool {
        self.phase == Phase::Allocated && self.lease_until.is_some_and(|until| until <= now)
    }

    /// Whether its holder has it at this time.
    pub(crate) fn is_held(&self, now: Tick) -> bool {
        match self.phase {
            Phase::Offered => self.is_live(now),
            Phase::Allocated => self.lease_until.is_none_or(|until| until > now),
            Phase::Cooling => false,
        }
    }

    /// What a release or a lapse leaves of it.
    pub(crate) fn cooling(self) -> Self {
        Self { phase: Phase::Cooling, secret: None, accepted: None, put: false, confirmed: false, ..self }
    }
}

/// An Instance item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) port: Port,
    pub(crate) secret: Secret,
    pub(crate) gone_since: Option<Tick>,
}

/// A Request item. There is one key in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) port: Port,
    pub(crate) secret: Secret,
    /// The fingerprint of the body: the name that was asked for.
    pub(crate) body: Name,
    pub(crate) expires: Tick,
}

/// A Service item. Its content is its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    pub(crate) range: Ports,
    pub(crate) revision: u8,
    /// The ports that stay on offer while others are given up.
    pub(crate) keep: Option<Ports>,
}

/// The Ranges item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ranges {
    pub(crate) bits: Ports,
    pub(crate) version: u8,
}

/// Every item. They are in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    pub(crate) ports: [Option<PortItem>; PORTS],
    pub(crate) names: [[Option<Instance>; NAMES]; SERVICES],
    pub(crate) request: Option<Request>,
    pub(crate) services: [Option<Service>; SERVICES],
    pub(crate) ranges: Ranges,
    /// The Namespace item: the call that created it. The namespace `default`, which needs none, is one that always exists.
    pub(crate) namespace: Option<u8>,
}

/// The creator of a namespace that exists from the beginning.
pub(crate) const NOBODY: u8 = u8::MAX;

/// The key of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Port(Port),
    Name(ServiceId, Name),
    Request,
    Service(ServiceId),
    Ranges,
    Namespace,
}

impl Key {
    /// Every key, in the order of [`Key::bit`].
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let ports = (0..PORTS as u8).map(Self::Port);
        let names = (0..SERVICES as u8).flat_map(|service| (0..NAMES as u8).map(move |name| Self::Name(service, name)));
        let services = (0..SERVICES as u8).map(Self::Service);
        ports.chain(names).chain(services).chain([Self::Request, Self::Ranges, Self::Namespace])
    }

    /// Its position in a set of keys.
    pub(crate) fn bit(self) -> u16 {
        let place = match self {
            Self::Port(port) => port,
            Self::Name(service, name) => PORTS as u8 + service * NAMES as u8 + name,
            Self::Service(service) => (PORTS + SERVICES * NAMES) as u8 + service,
            Self::Request => (PORTS + SERVICES * NAMES + SERVICES) as u8,
            Self::Ranges => (PORTS + SERVICES * NAMES + SERVICES) as u8 + 1,
            Self::Namespace => (PORTS + SERVICES * NAMES + SERVICES) as u8 + 2,
        };
        1 << place
    }
}

impl Table {
    pub(crate) fn port(&self, port: Port) -> Option<PortItem> {
        self.ports[usize::from(port)]
    }

    pub(crate) fn name(&self, service: ServiceId, name: Name) -> Option<Instance> {
        self.names[usize::from(service)][usize::from(name)]
    }

    pub(crate) fn service(&self, service: ServiceId) -> Option<Service> {
        self.services[usize::from(service)]
    }

    /// The items in which two images differ.
    pub(crate) fn differences(&self, other: &Self) -> u16 {
        Key::all().filter(|key| !self.same(other, *key)).fold(0, |keys, key| keys | key.bit())
    }

    fn same(&self, other: &Self, key: Key) -> bool {
        match key {
            Key::Port(port) => self.port(port) == other.port(port),
            Key::Name(service, name) => self.name(service, name) == other.name(service, name),
            Key::Request => self.request == other.request,
            Key::Service(service) => self.service(service) == other.service(service),
            Key::Ranges => self.ranges == other.ranges,
            Key::Namespace => self.namespace == other.namespace,
        }
    }

    /// Copies these items from another image.
    pub(crate) fn take(&mut self, other: &Self, keys: u16) {
        for key in Key::all().filter(|key| keys & key.bit() != 0) {
            match key {
                Key::Port(port) => self.ports[usize::from(port)] = other.port(port),
                Key::Name(service, name) => {
                    self.names[usize::from(service)][usize::from(name)] = other.name(service, name);
                }
                Key::Request => self.request = other.request,
                Key::Service(service) => self.services[usize::from(service)] = other.service(service),
                Key::Ranges => self.ranges = other.ranges,
                Key::Namespace => self.namespace = other.namespace,
            }
        }
    }
}

/// A transaction that is committed and partly visible: single reads still see the old image of these items, while
/// writes to them and settled reads wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Veil {
    pub(crate) old: Table,
    pub(crate) keys: u16,
    /// The call that gets its response once everything is visible.
    pub(crate) owner: u8,
}

/// The ports of a set.
pub(crate) fn members(ports: Ports) -> impl Iterator<Item = Port> {
    (0..PORTS as u8).filter(move |port| contains(ports, *port))
}

/// Whether a port is in a set.
pub(crate) fn contains(ports: Ports, port: Port) -> bool {
    ports & (1 << port) != 0
}
