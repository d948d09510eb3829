//! The creation and the deletion of a namespace (`store/namespaces.rs`).

use super::Reply;
use crate::conditions::Condition;
use crate::properties::Property;
use crate::steps::Step;
use crate::table::Key;

impl Step<'_> {
    pub(super) fn create_namespace(&mut self, by: u8) -> Option<Reply> {
        self.free(Key::Namespace)?;
        let found = self.state.table.namespace;
        if let Some(creator) = found.filter(|_| !self.holds(Condition::NamespaceNew, found.is_none())) {
            return Some(Reply::NamespaceExists(creator));
        }
        // The answer will say that this call created it.
        self.state.history.flag(Property::Answers, found.is_some_and(|creator| creator != by));
        self.state.table.namespace = Some(by);
        Some(Reply::Done)
    }

    pub(super) fn delete_namespace(&mut self, version: u8) -> Option<Reply> {
        let found = self.state.table.namespace;
        if !self.is_contended(Key::Namespace) && !self.holds(Condition::NamespaceExists, found.is_some()) {
            return Some(Reply::NamespaceAbsent);
        }
        let now = self.state.table.ranges.version;
        if !self.is_contended(Key::Ranges) && !self.holds(Condition::NamespaceRanges, now == version) {
            return Some(Reply::RangesChanged);
        }
        self.free(Key::Namespace)?;
        self.free(Key::Ranges)?;
        self.state.table.namespace = None;
        self.state.calls[self.call].released |= found.is_some();
        Some(Reply::Done)
    }
}
