//! Why an operation failed.

use crate::store::StoreError;
use portmaster_domain::{
    Claim, Expiry, InstanceName, InvalidRange, Namespace, Port, PortRange, ServiceId, ServiceName,
};

/// Why an operation failed. None of these changed anything as far as any caller was told, except that when a response
/// was lost for good ([`StoreError::Unavailable`], [`StoreError::Unknown`]), a write may have taken effect all the
/// same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no service of this name.
    #[error("there is no service {service}")]
    ServiceNotFound {
        /// The name asked for.
        service: ServiceId,
    },
    /// There is no namespace of this name.
    #[error("there is no namespace {namespace}")]
    NamespaceNotFound {
        /// The name asked for.
        namespace: Namespace,
    },
    /// A namespace with services cannot be deleted, and `default` never.
    #[error("the namespace {namespace} is in use")]
    NamespaceInUse {
        /// Its name.
        namespace: Namespace,
        /// Its first services, by name; none if it is `default`, or if one is in the making.
        services: Vec<ServiceName>,
        /// Whether it has more.
        more: bool,
    },
    /// A service of this name exists.
    #[error("the service {service} exists already")]
    ServiceExists {
        /// Its name.
        service: ServiceId,
    },
    /// The change would leave a range that is not valid.
    #[error(transparent)]
    InvalidRange(#[from] InvalidRange),
    /// The range overlaps those of other services.
    #[error("the range {range} overlaps another service's")]
    RangeOverlap {
        /// The range asked for.
        range: PortRange,
        /// The services it overlaps, by name.
        conflicts: Vec<(ServiceName, PortRange)>,
    },
    /// Live claims lie outside the new range.
    #[error("{} live claims lie outside {range}", claims.len())]
    RangeInUse {
        /// The range asked for.
        range: PortRange,
        /// All of these claims.
        claims: Vec<Claim>,
    },
    /// A service with live claims cannot be deleted.
    #[error("the service {service} is in use: {offers} offers, {ports} ports")]
    ServiceInUse {
        /// Its name.
        service: ServiceId,
        /// Live offers.
        offers: usize,
        /// Allocations.
        ports: usize,
        /// When the last of the offers expires.
        until: Option<Expiry>,
    },
    /// Another call is deleting or shrinking the service at this moment, or died doing so.
    #[error("the service {service} is being changed")]
    ServiceClosing {
        /// Its name.
        service: ServiceId,
    },
    /// The service is not the version that the caller expected.
    #[error("the service is not the version that If-Match names")]
    PreconditionFailed,
    /// The name has a claim, or its lease is over and the margin is not.
    #[error("the name has port {}", claim.port)]
    NameTaken {
        /// The service.
        service: ServiceId,
        /// What the name has, or had before the margin began.
        claim: Box<Claim>,
        /// When the name will be free, if the claim's lease is over and only the margin is not.
        free_at: Option<Expiry>,
    },
    /// The port that was asked for is not to be had.
    #[error("port {port} is taken")]
    PortTaken {
        /// The service.
        service: ServiceId,
        /// The port.
        port: Port,
        /// What has it, as far as the item can be read.
        claim: Option<Box<Claim>>,
    },
    /// The port that was asked for is not in the service's range.
    #[error("port {port} is not in the range {range}")]
    PortNotInRange {
        /// The service.
        service: ServiceId,
        /// The port.
        port: Port,
        /// The range.
        range: PortRange,
    },
    /// The name has a port, and the caller wanted it only if it had none.
    #[error("the name has port {}", claim.port)]
    HasPort {
        /// The service.
        service: ServiceId,
        /// The live claim of the name.
        claim: Box<Claim>,
    },
    /// The name has no port, and the caller wanted one only if it had one.
    #[error("the name has no port")]
    HasNoPort {
        /// The service.
        service: ServiceId,
        /// The name.
        name: InstanceName,
    },
    /// The port is another owner's.
    #[error("port {} is another owner's", claim.port)]
    NotTheOwner {
        /// The service.
        service: ServiceId,
        /// The allocation.
        claim: Box<Claim>,
    },
    /// The lease was over before it was renewed, and the port is lost.
    #[error("the lease of port {port} is over")]
    LeaseExpired {
        /// The service.
        service: ServiceId,
        /// The port.
        port: Port,
        /// The name that had it.
        name: InstanceName,
    },
    /// Nothing keeps the port from others that an operator could end.
    #[error("port {port} is neither cooling nor in quarantine")]
    NotHeld {
        /// The service.
        service: ServiceId,
        /// The port.
        port: Port,
        /// The claim that it has instead, if there is one.
        claim: Option<Box<Claim>>,
        /// When the cool-down after its lease can be ended, if only the margin keeps it.
        free_at: Option<Expiry>,
    },
    /// Every port of the range has a live claim.
    #[error("every port of {service} is taken")]
    RangeExhausted {
        /// The service.
        service: ServiceId,
        /// How the ports are taken.
        occupancy: Box<Occupancy>,
    },
    /// There is no room for so many ports, or not next to each other.
    #[error("a set of {wanted} ports does not fit into {service}")]
    SetDoesNotFit {
        /// The service.
        service: ServiceId,
        /// How many ports were still wanted.
        wanted: usize,
        /// Whether they were to be neighbours.
        contiguous: bool,
        /// How the ports are taken.
        occupancy: Box<Occupancy>,
    },
    /// Some names of a contiguous set have ports already, and those are not neighbours in the order of the names.
    #[error("the ports of the set are not neighbours")]
    SetIsScattered {
        /// The service.
        service: ServiceId,
        /// What the names have.
        claims: Vec<Claim>,
    },
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// No live offer of the service has this secret.
    #[error("no live offer of {service} has this secret")]
    OfferNotFound {
        /// The service.
        service: ServiceId,
        /// The port that the offer became, if it was accepted.
        accepted: Option<Port>,
    },
    /// The offer has expired.
    #[error("the offer of port {port} has expired")]
    OfferExpired {
        /// Its port.
        port: Port,
    },
    /// The offer has been accepted.
    #[error("the offer of port {port} was accepted")]
    OfferAccepted {
        /// Its port.
        port: Port,
    },
    /// There is no such allocation.
    #[error("no such port")]
    PortNotFound {
        /// The service asked, if there was one.
        service: Option<ServiceId>,
        /// The port or name that was looked for.
        wanted: String,
        /// What has the port instead: a live offer, a cool-down or a quarantine.
        offered: Option<Box<Claim>>,
    },
    /// No history is kept, or this process does not know where.
    #[error("no history is kept")]
    HistoryOff,
    /// The table could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether there is no such service, perhaps because there is no such namespace.
    #[must_use]
    pub fn is_of_no_service(&self) -> bool {
        matches!(self, Self::ServiceNotFound { .. } | Self::NamespaceNotFound { .. })
    }
}

/// How the ports of a range are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// How many ports the range has.
    pub size: usize,
    /// How many of them the service has offered.
    pub offered: usize,
    /// How many of them the service has allocated.
    pub allocated: usize,
    /// How many are cooling after a release or a lapsed lease, whichever service they were in.
    pub cooling: usize,
    /// How many are in quarantine.
    pub quarantined: usize,
    /// How many are free, but only given to those who ask for them by number.
    pub reserved: usize,
    /// How many are held otherwise: by another service's claim, about to be withdrawn or to expire, or by an unreadable
    /// item.
    pub foreign: usize,
    /// Seconds until the first claim ends by itself, if any does.
    pub seconds_to_next_expiry: Option<u64>,
    /// Whether this comes from a read that this process made a moment earlier and did not repeat.
    pub remembered: bool,
}
