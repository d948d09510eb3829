//! Why an operation failed.

use crate::store::StoreError;
use portmaster_domain::{Claim, Expiry, InvalidRange, Port, PortRange, ServiceId, ServiceName};

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
    /// The name has a live claim.
    #[error("the name has port {}", claim.port)]
    NameTaken {
        /// The service.
        service: ServiceId,
        /// The live claim of the name.
        claim: Box<Claim>,
    },
    /// Every port of the range has a live claim.
    #[error("every port of {service} is taken")]
    RangeExhausted {
        /// The service.
        service: ServiceId,
        /// How the ports are taken.
        occupancy: Occupancy,
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
        /// The live offer of it, if there is one.
        offered: Option<Box<Claim>>,
    },
    /// The table could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// How many are held otherwise: by another service's claim, about to be withdrawn or to expire, or by an unreadable
    /// item.
    pub foreign: usize,
    /// Seconds until the first claim ends by itself, if any does.
    pub seconds_to_next_expiry: Option<u64>,
    /// Whether this comes from a read that this process made a moment earlier and did not repeat.
    pub remembered: bool,
}
