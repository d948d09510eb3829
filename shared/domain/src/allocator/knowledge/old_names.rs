//! The verbs' former names, until every caller has the new ones.

#![allow(missing_docs)]

use super::{Hint, Holder, Knowledge, Search};
use crate::{Port, PortRange, Timestamp};

impl Knowledge {
    pub fn saw(&mut self, covered: PortRange, holders: &[Holder], asked: Timestamp, now: Timestamp) {
        self.observe(covered, holders, asked, now);
    }

    pub fn told(&mut self, hint: &Hint, now: Timestamp) {
        self.apply_hint(hint, now);
    }

    pub fn learn(&mut self, holder: Holder, now: Timestamp) {
        self.observe_holder(holder, now);
    }

    pub fn contended(&mut self, port: Port, now: Timestamp) {
        self.observe_contention(port, now);
    }

    pub fn claimed(&mut self, holder: Holder, round_trip_millis: f64, now: Timestamp) {
        self.record_claim(holder, round_trip_millis, now);
    }

    pub fn accepted(&mut self, port: Port) {
        self.record_acceptance(port);
    }

    pub fn freed(&mut self, port: Port) {
        self.record_free(port);
    }

    pub fn release(&mut self, port: Port) {
        self.unreserve(port);
    }
}

impl Search {
    pub fn lost(&mut self) {
        self.record_lost_race();
    }

    pub fn insist(&mut self) {
        self.ignore_reservations();
    }
}
