//! What the image of an item says, without its secret.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::store::{self, StoreError};
use portmaster_domain::{Claim, ClaimState, End, Namespace, Service, ServiceId, Tenure, TenureId, Usage};

/// The attributes of an item, by name.
pub type Attributes = HashMap<String, AttributeValue>;

/// An item before or after a write, as far as history and events are about it. It has no secret.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are ports")]
pub enum Image {
    /// A Port item.
    Port(PortImage),
    /// A Service item.
    Service(Box<Service>),
    /// A Usage item.
    Usage(ServiceId, Box<Usage>),
}

/// A Port item.
#[derive(Clone, Debug, PartialEq)]
pub struct PortImage {
    namespace: Namespace,
    claim: Claim,
    /// The name of its tenure, if somebody holds it.
    tenure: Option<TenureId>,
    /// How the tenure is about to end, if the item itself says so.
    ending: Option<End>,
}

impl Image {
    /// Reads an image. None: it is of no item that history or events are about.
    ///
    /// The image of a Port item has a `secret`, or in its place what [`Image::without_secret`] has put there.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is an item that this version cannot read.
    pub fn read(attributes: Attributes) -> Result<Option<Self>, StoreError> {
        store::image(attributes)
    }

    /// Replaces the secret in the image of a Port item by the name of its tenure, so that the image may be kept.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is an item that this version cannot read.
    pub fn without_secret(attributes: &mut Attributes) -> Result<(), StoreError> {
        store::without_secret(attributes)
    }

    /// Whether an item with this key is one that history or events are about.
    #[must_use]
    pub fn is_of(pk: &str, sk: &str) -> bool {
        store::is_watched(pk, sk)
    }

    /// The image of a Port item.
    pub(crate) fn of_port(namespace: Namespace, claim: Claim, tenure: Option<TenureId>, ending: Option<End>) -> Self {
        Self::Port(PortImage { namespace, claim, tenure, ending })
    }
}

impl PortImage {
    /// The tenure that it has, as far as it has gone; none if nobody holds the port.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        let Claim { service, name, port, created, state, owner, labels, principal, .. } = self.claim.clone();
        Some(Tenure {
            id: self.tenure.clone()?,
            service: ServiceId::new(self.namespace.clone(), service),
            name,
            port,
            owner,
            labels,
            principal,
            offered: created,
            allocated: match state {
                ClaimState::Allocated { accepted, .. } => Some(accepted),
                _ => None,
            },
            ended: None,
            end: None,
        })
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn ending(&self) -> Option<End> {
        self.ending
    }
}
