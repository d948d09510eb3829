//! Why an operation was not done.

use crate::store::StoreError;
use portmaster_domain::{Claim, Expiry, InvalidRange, Port, PortRange, ServiceId, ServiceName};

/// Why an operation was not done. None of them changed anything, as far as anybody was told; where a reply was lost for
/// good ([`StoreError::Unavailable`], [`StoreError::Unknown`]), a write may have taken effect all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No service of this name.
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
    /// The range, after a change, would not be one.
    #[error(transparent)]
    InvalidRange(#[from] InvalidRange),
    /// The range meets those of other services.
    #[error("the range {range} overlaps another service's")]
    RangeOverlap {
        /// The range asked for.
        range: PortRange,
        /// The services it meets, by name.
        conflicts: Vec<(ServiceName, PortRange)>,
    },
    /// Live claims lie outside the new range.
    #[error("{} live claims lie outside {range}", claims.len())]
    RangeInUse {
        /// The range asked for.
        range: PortRange,
        /// All of them.
        claims: Vec<Claim>,
    },
    /// A service with live claims is not deleted.
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
    /// Somebody is deleting or shrinking the service at this moment, or died at it.
    #[error("the service {service} is being changed")]
    ServiceClosing {
        /// Its name.
        service: ServiceId,
    },
    /// The service is not the one the caller meant.
    #[error("the service is not the version that If-Match names")]
    PreconditionFailed,
    /// The name has a live claim.
    #[error("the name has port {}", claim.port)]
    NameTaken {
        /// The service.
        service: ServiceId,
        /// That claim.
        claim: Box<Claim>,
    },
    /// Every port of the range has a live claim.
    #[error("every port of {service} is taken")]
    RangeExhausted {
        /// The service.
        service: ServiceId,
        /// Who has them.
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
        /// The port it became, where it was accepted.
        accepted: Option<Port>,
    },
    /// The offer's time is over.
    #[error("the offer of port {port} has expired")]
    OfferExpired {
        /// Its port.
        port: Port,
    },
    /// The offer was accepted.
    #[error("the offer of port {port} was accepted")]
    OfferAccepted {
        /// Its port.
        port: Port,
    },
    /// No such allocation.
    #[error("no such port")]
    PortNotFound {
        /// The service asked, if one was.
        service: Option<ServiceId>,
        /// What was looked for.
        wanted: String,
        /// The live offer of it, where that is what there is.
        offered: Option<Box<Claim>>,
    },
    /// The table could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who has the ports of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// How many ports there are.
    pub size: usize,
    /// How many are offered.
    pub offered: usize,
    /// How many are allocated.
    pub allocated: usize,
    /// How many are held by what is not the service's own: a claim about to be withdrawn, or about to expire.
    pub foreign: usize,
    /// Seconds until the first claim ends by itself, if any does.
    pub seconds_to_next_expiry: Option<u64>,
    /// Whether this process had read it a moment before, and did not read it again.
    pub remembered: bool,
}
