//! The namespace: creation and deletion (`operations/namespaces.rs`).

use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::table::{Ranges, SERVICES, ServiceId};
use crate::writes::{Reply, Write};

/// A search for services in the namespace, in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Search {
    /// Ranges as it was read.
    seen: Option<Ranges>,
    /// The next service to be read. A query reads one item after the other.
    next: ServiceId,
}

impl Step<'_> {
    pub(super) fn begin_create_namespace(&mut self) -> bool {
        self.send(Write::CreateNamespace { by: self.call as u8 }, Then::End);
        true
    }

    pub(super) fn namespace_created(&mut self, by: u8, reply: Reply) {
        if let Reply::NamespaceExists(creator) = reply {
            // Without the condition, the answer says that the namespace existed before.
            self.state.history.flag(Property::Answers, creator == by && !self.has(Condition::OwnNamespace));
        }
        self.done();
    }

    /// Reads Ranges first, then the services, one after the other.
    pub(super) fn search(&mut self, mut search: Search) -> bool {
        let ranges_first = self.has(Condition::ReadRangesFirst);
        let services_left = usize::from(search.next) < SERVICES;
        if search.seen.is_none() && (ranges_first || !services_left) {
            search.seen = Some(self.ranges());
        } else if services_left {
            if self.service(search.next).is_some() && self.has(Condition::ServiceRefuses) {
                self.done();
                return true;
            }
            search.next += 1;
        }
        let Some(seen) = search.seen.filter(|_| usize::from(search.next) == SERVICES) else {
            self.goto(Pc::Search(search));
            return true;
        };
        if seen.bits != 0 && self.has(Condition::RangesEmpty) {
            // A service was created or deleted between the reads, or is only partly visible.
            self.goto(Pc::Idle);
        } else {
            self.send(Write::DeleteNamespace { version: seen.version }, Then::End);
        }
        true
    }

    pub(super) fn namespace_deleted(&mut self, reply: Reply, doubt: bool) {
        let deleted = self.state.calls[self.call].released;
        match reply {
            Reply::RangesChanged => return self.goto(Pc::Idle),
            // An earlier send may have deleted it: then the answer is that it is deleted.
            Reply::NamespaceAbsent if doubt && self.has(Condition::AbsentInDoubt) => {}
            // The answer says that there was no such namespace.
            Reply::NamespaceAbsent => self.state.history.flag(Property::Answers, deleted),
            _ => self.state.history.flag(Property::Answers, !deleted),
        }
        self.done();
    }
}
