//! Events: what has happened to a port, a service or a range, for automation.

use portmaster_domain::{End, Service, ServiceId, Tenure, Timestamp, Usage, digest};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A port was offered.
    PortOffered,
    /// An offer was accepted, or a PUT gave a port.
    PortAllocated,
    /// A port was given back: released, rejected, withdrawn or removed; the reason says which.
    PortReleased,
    /// An offer was not accepted in time.
    OfferExpired,
    /// A lease was not renewed in time.
    LeaseLapsed,
    /// An offer was rejected because the port is in use on the host.
    PortQuarantined,
    /// A service was created.
    ServiceCreated,
    /// The content of a service has changed.
    ServiceChanged,
    /// A service was deleted.
    ServiceDeleted,
    /// The reconciler found a range nearly full that was not so before.
    RangeNearlyFull,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::PortOffered,
        Self::PortAllocated,
        Self::PortReleased,
        Self::OfferExpired,
        Self::LeaseLapsed,
        Self::PortQuarantined,
        Self::ServiceCreated,
        Self::ServiceChanged,
        Self::ServiceDeleted,
        Self::RangeNearlyFull,
    ];

    /// The type of its events: `detail-type` on an event bus.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::PortOffered => "Port Offered",
            Self::PortAllocated => "Port Allocated",
            Self::PortReleased => "Port Released",
            Self::OfferExpired => "Offer Expired",
            Self::LeaseLapsed => "Lease Lapsed",
            Self::PortQuarantined => "Port Quarantined",
            Self::ServiceCreated => "Service Created",
            Self::ServiceChanged => "Service Changed",
            Self::ServiceDeleted => "Service Deleted",
            Self::RangeNearlyFull => "Range Nearly Full",
        }
    }

    /// The type in the form in which server-sent events, files and anchors have it.
    #[must_use]
    pub fn slug(self) -> String {
        self.title().to_ascii_lowercase().replace(' ', "-")
    }

    /// What the end of a tenure is as an event.
    #[must_use]
    pub const fn of_end(end: End) -> Self {
        match end {
            End::OfferExpired => Self::OfferExpired,
            End::LeaseLapsed => Self::LeaseLapsed,
            End::Quarantined => Self::PortQuarantined,
            End::Released | End::Rejected | End::Withdrawn | End::Removed | End::Unknown => Self::PortReleased,
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A tenure, as it is from now on.
    Tenure(Box<Tenure>),
    /// A service, as it is, or was when it was deleted.
    Service(Box<Service>),
    /// How full a service was.
    Usage(ServiceId, Box<Usage>),
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
}

impl Event {
    pub(super) fn new(kind: EventKind, at: Timestamp, subject: Subject) -> Self {
        Self { kind, at, subject }
    }

    /// The name of the event, by which a duplicate is recognized: an event that is told twice has the same one. A tenure
    /// is offered, allocated and ended at most once each, and every version of a service is unique.
    #[must_use]
    pub fn id(&self) -> String {
        let of_service = |id: &ServiceId, version: &str| {
            digest(&["event", self.kind.title(), id.namespace.as_str(), id.name.as_str(), version])
        };
        match &self.subject {
            Subject::Tenure(tenure) => digest(&["event", self.kind.title(), tenure.id.as_str()]),
            Subject::Service(service) => of_service(&service.id, &service.version.to_string()),
            Subject::Usage(service, usage) => of_service(service, &usage.as_of.millis().to_string()),
        }
    }

    /// The service that it is about.
    #[must_use]
    pub fn service(&self) -> &ServiceId {
        match &self.subject {
            Subject::Tenure(tenure) => &tenure.service,
            Subject::Service(service) => &service.id,
            Subject::Usage(service, _) => service,
        }
    }
}
