//! The domain types of the registry, which can only exist valid.
//!
//! Nothing here does I/O, and nothing here knows of HTTP or DynamoDB: a [`Port`] that exists is one the registry may
//! hand out, a [`ServiceName`] that exists may be used in a key and in a URL, and a [`Secret`] does not print itself.

pub mod allocator;
mod claim;
mod idempotency;
mod name;
mod port;
mod secret;
mod service;
mod time;

pub use claim::{Claim, ClaimState, Holding, StateKind};
pub use idempotency::{Fingerprint, IdempotencyKey, InvalidIdempotencyKey};
pub use name::{Description, InstanceName, InvalidDescription, InvalidName, Namespace, ServiceId, ServiceName};
pub use port::{InvalidPort, InvalidRange, Port, PortRange};
pub use secret::exposed;
pub use secret::{InvalidSecret, Secret};
pub use service::{Change, Mark, Service, Strategy, Version};
pub use time::{Clock, Expiry, Given, InvalidTimestamp, Timestamp};
