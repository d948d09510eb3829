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
    /// The image of a Port item has a `secret`, or in its place [`Image::TENURE`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is an item that this version cannot read.
    pub fn read(attributes: Attributes) -> Result<Option<Self>, StoreError> {
        store::image(attributes)
    }

    /// The attribute that stands in the image of a Port item in place of its secret, so that the image may be kept: the
    /// name of its tenure.
    pub const TENURE: &'static str = store::TENURE;

    /// The name of the tenure of a Port item with this key and this secret.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if these are none of a Port item.
    pub fn tenure_of(pk: &str, sk: &str, secret: &str) -> Result<TenureId, StoreError> {
        store::tenure_of(pk, sk, secret)
    }

    /// Whether an item with this key is one that history or events are about.
    #[must_use]
    pub fn is_of(pk: &str, sk: &str) -> bool {
        store::is_watched(pk, sk)
    }

    /// What it says of a port, if it is of one.
    pub(crate) fn as_port(&self) -> Option<&PortImage> {
        if let Self::Port(port) = self { Some(port) } else { None }
    }

    /// What it says of a service, if it is of one.
    pub(crate) fn as_service(&self) -> Option<&Service> {
        if let Self::Service(service) = self { Some(service) } else { None }
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
