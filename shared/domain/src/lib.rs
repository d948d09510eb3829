//! The domain types of the registry, which can only exist valid.
//!
//! Nothing here does I/O, and nothing here knows of HTTP or DynamoDB: a [`Port`] that exists is one the registry may
//! hand out, a [`ServiceName`] that exists may be used in a key and in a URL, and a [`Secret`] does not print itself.

pub mod allocator;
mod claim;
mod idempotency;
mod name;
mod namespace;
mod owner;
mod port;
mod reserved;
mod secret;
mod service;
mod tenure;
mod terms;
mod time;
mod usage;

pub use claim::{Claim, ClaimState, Holding, Occupant, StateKind};
pub use idempotency::{Fingerprint, IdempotencyKey, InvalidIdempotencyKey};
pub use name::{Description, InstanceName, InvalidDescription, InvalidName, Namespace, ServiceId, ServiceName};
pub use namespace::NamespaceInfo;
pub use owner::{InvalidLabels, InvalidOwner, Labels, Owner, Principal};
pub use port::{InvalidPort, InvalidRange, Port, PortRange};
pub use reserved::{Reserved, TooManyReserved};
pub use secret::exposed;
pub use secret::{InvalidSecret, Secret};
pub use service::{Change, Mark, Service, Strategy, Version};
pub use tenure::{End, InvalidTenureId, Tenure, TenureId, digest};
pub use terms::{InvalidTerms, Lease, MAX_HOLD_SECONDS, MAX_LEASE_SECONDS, Terms};
pub use time::{Clock, Expiry, Given, InvalidTimestamp, Timestamp};
pub use usage::{Counts, Peak, Usage};
