//! Port sets: several names of one service, whose ports are claimed in one transaction.

use super::{Error, Registry};
use crate::Call;
use portmaster_domain::{Claim, InstanceName, Labels, Owner, ServiceId};

/// A set that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSet {
    /// The names, 2 to 32, all different.
    pub names: Vec<InstanceName>,
    /// In whose name it is asked for.
    pub owner: Option<Owner>,
    /// For how many seconds, if the caller says so.
    pub lease: Option<u32>,
    /// Whether the ports are to be neighbours, in the order of the names.
    pub contiguous: bool,
    /// What is to be noted beside each claim.
    pub labels: Option<Labels>,
}

/// A set that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The ports, in the order of the names.
    pub claims: Vec<Claim>,
    /// Whether this call made any of them.
    pub made: bool,
}

impl Registry {
    /// Makes sure that every one of several names has a port.
    ///
    /// # Errors
    /// Those of [`Registry::put_port`], and [`Error::SetDoesNotFit`].
    pub async fn put_set(&self, _call: &Call, service: &ServiceId, _set: &NewSet) -> Result<Set, Error> {
        Err(Error::ServiceNotFound { service: service.clone() })
    }
}
