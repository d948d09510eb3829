//! Events in the words of the wire.

use portmaster_registry::history::{Event, Subject};
use portmaster_wire as wire;

/// The event as it is told.
#[must_use]
pub fn told(event: &Event) -> wire::Event {
    let service = event.service();
    let plain = wire::Event {
        version: wire::Event::VERSION,
        id: event.id(),
        kind: event.kind.title().to_owned(),
        time: event.at,
        namespace: service.namespace.clone(),
        service: service.name.clone(),
        name: None,
        port: None,
        owner: None,
        labels: Default::default(),
        principal: None,
        offered: None,
        allocated: None,
        reason: None,
        tenure: None,
        start: None,
        end: None,
        usage: None,
    };
    match &event.subject {
        Subject::Tenure(tenure) => wire::Event {
            name: Some(tenure.name.clone()),
            port: Some(tenure.port),
            owner: tenure.owner.clone(),
            labels: tenure.labels.clone(),
            principal: tenure.principal.clone(),
            offered: Some(tenure.offered),
            allocated: tenure.allocated,
            reason: tenure.end,
            tenure: Some(tenure.id.clone()),
            ..plain
        },
        Subject::Service(service) => {
            wire::Event { start: Some(service.range.start()), end: Some(service.range.end()), ..plain }
        }
        Subject::Usage(_, usage) => {
            let counts = usage.counts;
            let usage = wire::EventUsage {
                percent: counts.per_mille() as f64 / 10.0,
                taken: counts.taken(),
                free: counts.free,
            };
            wire::Event { usage: Some(usage), ..plain }
        }
    }
}
