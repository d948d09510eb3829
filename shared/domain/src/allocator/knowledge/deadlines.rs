//! When the claims that are remembered end by themselves.

use std::collections::{BTreeSet, HashMap};

use crate::{Expiry, Port, Timestamp};

/// When the claims that are believed to stand end: in order of time, and by port. Both hold the same pairs, at most one
/// for each port: an offer may live for 30 days, and most are accepted or rejected within seconds.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pub(super) by_time: BTreeSet<(Expiry, Port)>,
    pub(super) by_port: HashMap<Port, Expiry>,
}

impl Deadlines {
    /// Records when the claim on the port ends by itself, or that it never does.
    pub(super) fn set(&mut self, port: Port, expiry: Option<Expiry>) {
        let old = match expiry {
            Some(expiry) => self.by_port.insert(port, expiry),
            None => self.by_port.remove(&port),
        };
        if old != expiry {
            if let Some(old) = old {
                self.by_time.remove(&(old, port));
            }
            self.by_time.extend(expiry.map(|expiry| (expiry, port)));
        }
    }

    /// Forgets every port except those that stay.
    pub(super) fn retain(&mut self, stays: impl Fn(Port) -> bool) {
        self.by_port.retain(|port, expiry| {
            let stays = stays(*port);
            if !stays {
                self.by_time.remove(&(*expiry, *port));
            }
            stays
        });
    }

    /// The port whose claim ended first, if one has ended.
    pub(super) fn first_passed(&self, now: Timestamp) -> Option<Port> {
        self.by_time.first().filter(|(expiry, _)| expiry.has_passed(now)).map(|(_, port)| *port)
    }
}
