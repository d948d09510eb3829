//! Learning: from reads of the table, from claims of this process and of others, and with time.

use super::{FORGET_MILLIS, Hint, Holder, Knowledge, REFRESH_MILLIS};
use crate::allocator::PortSet;
use crate::{Expiry, Port, PortRange, Timestamp};

impl Knowledge {
    /// Records a read of the table by a request sent at `asked`: in `covered`, exactly these ports were taken. A claim
    /// of this process that was answered since then may be younger than the read, so it stays.
    pub fn observe(&mut self, covered: PortRange, holders: &[Holder], asked: Timestamp, now: Timestamp) {
        let Some(covered) = covered.intersection(self.range) else { return };
        self.seen.insert_range(covered);
        self.hinted.remove_range(covered);
        self.taken.remove_range(covered);
        for (port, (_, answered)) in &self.own {
            if covered.contains(*port) && *answered >= asked {
                self.taken.insert(*port);
            }
        }
        let horizon = self.horizon();
        for (port, at) in &self.contended {
            if covered.contains(*port) && now.millis() - at.millis() <= horizon {
                self.taken.insert(*port);
            }
        }
        for holder in holders.iter().filter(|holder| covered.contains(holder.port)) {
            // A port that this process is trying at this moment is its own, even before the response arrives.
            self.mark_taken(*holder, self.reserved.contains(holder.port), now);
        }
        self.deadlines.retain(|port| !covered.contains(port) || self.taken.contains(port));
        self.used = Some(now);
        self.record_read(covered, asked, now);
    }

    /// Remembers what the last read covered, and where the next window starts.
    fn record_read(&mut self, covered: PortRange, asked: Timestamp, now: Timestamp) {
        if covered == self.range {
            self.reads.whole = Some(asked);
        }
        self.reads.last = Some(now);
        self.reads.covered = covered;
        let lowest_free = match self.from_the_bottom {
            None => None,
            Some(1) => self.free_now().nth(self.range, 0),
            Some(size) => self.free_now().run(self.range, size),
        };
        let last = lowest_free.unwrap_or(self.range.end());
        self.reads.cursor = covered.end().next().filter(|next| *next <= last).unwrap_or(self.range.start());
    }

    /// Applies what another process saw. It is believed if this process has seen nothing itself, or found a port free
    /// longer ago; unless it is too old, or by a clock that disagrees by as much.
    pub fn apply_hint(&mut self, hint: &Hint, now: Timestamp) {
        let old = (now.millis() - hint.seen.millis()).abs() >= FORGET_MILLIS;
        if hint.range != self.range || old || self.reads.whole.is_some_and(|whole| whole >= hint.seen) {
            return;
        }
        self.reads.whole = Some(hint.seen);
        let mut unseen = PortSet::default();
        unseen.insert_range(self.range);
        unseen.remove_all(&self.seen);
        self.hinted.insert_all(&unseen);
        self.seen.insert_range(self.range);
        self.taken.remove_all(&self.hinted);
        self.taken.insert_all(&hint.taken);
    }

    /// Records that a claim stands on the port.
    pub fn observe_holder(&mut self, holder: Holder, now: Timestamp) {
        if self.range.contains(holder.port) {
            self.seen.insert(holder.port);
            self.hinted.remove(holder.port);
            self.mark_taken(holder, false, now);
        }
    }

    /// Records that another caller is writing to the port at this moment.
    pub fn observe_contention(&mut self, port: Port, now: Timestamp) {
        self.contended.insert(port, now);
        self.observe_holder(Holder { port, created: now, expires_at: Some(Expiry::after(now, 1)) }, now);
    }

    /// Records that this process has claimed the port.
    pub fn record_claim(&mut self, holder: Holder, round_trip_millis: f64, now: Timestamp) {
        self.record_claims(&[holder], round_trip_millis, now);
    }

    /// Records that this process has claimed the ports of a set, in one round trip.
    pub fn record_claims(&mut self, holders: &[Holder], round_trip_millis: f64, now: Timestamp) {
        for holder in holders {
            self.own.insert(holder.port, (holder.created, now));
            self.observe_holder(*holder, now);
        }
        self.round_trip += (round_trip_millis - self.round_trip) / 8.0;
    }

    /// Records that the claim on the port has become an allocation, which ends by itself then, or never.
    pub fn record_acceptance(&mut self, port: Port, expires_at: Option<Expiry>) {
        self.deadlines.set(port, expires_at);
    }

    /// Records that this process has ended the claim on the port, and that nobody else may have it until then. Whoever
    /// reads the port will see the claim that it was; if it was this process's own, it still is no sign of a crowd.
    pub fn record_hold(&mut self, port: Port, until: Expiry) {
        if self.range.contains(port) {
            self.seen.insert(port);
            self.hinted.remove(port);
            self.taken.insert(port);
            self.deadlines.set(port, Some(until));
        }
    }

    /// Records that nobody holds the port any more.
    pub fn record_free(&mut self, port: Port) {
        self.frees += 1;
        self.taken.remove(port);
        self.deadlines.set(port, None);
        self.own.remove(&port);
    }

    /// Marks the port taken from now on, unless this claim has ended already.
    fn mark_taken(&mut self, holder: Holder, is_own: bool, now: Timestamp) {
        match holder.expires_at {
            Some(expiry) if expiry.has_passed(now) => return self.record_free(holder.port),
            expiry => self.deadlines.set(holder.port, expiry),
        }
        self.taken.insert(holder.port);
        let is_own = is_own || self.own.get(&holder.port).is_some_and(|(created, _)| *created == holder.created);
        if !is_own && self.is_recent(holder.created, now) {
            self.recent.insert(holder.port, holder.created);
        }
    }

    /// Advances the time: claims end, crowds disperse, and memory that has not been used for long is forgotten.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if self.used.is_some_and(|used| now.millis() - used.millis() >= FORGET_MILLIS) {
            let (reserved, barred) = (std::mem::take(&mut self.reserved), std::mem::take(&mut self.barred));
            *self = Self { reserved, barred, round_trip: self.round_trip, ..Self::new(self.range) };
        }
        self.used = Some(now);
        while let Some(port) = self.deadlines.first_passed(now) {
            self.record_free(port);
        }
        let horizon = self.horizon();
        self.recent.retain(|_, created| (now.millis() - created.millis()).abs() <= horizon);
        self.contended.retain(|_, at| now.millis() - at.millis() <= horizon);
        // A busy process has thousands of these and does not walk them for every offer.
        if (now.millis() - self.pruned.millis()).abs() >= REFRESH_MILLIS {
            self.pruned = now;
            self.own.retain(|_, (created, _)| now.millis() - created.millis() <= horizon.max(REFRESH_MILLIS));
        }
    }

    /// How far back a claim counts as part of a crowd: four round trips.
    fn horizon(&self) -> i64 {
        // Between 8 and 400 milliseconds, so that the conversion is exact enough.
        (self.round_trip * 4.0).clamp(8.0, 400.0) as i64
    }

    fn is_recent(&self, created: Timestamp, now: Timestamp) -> bool {
        // In either direction: a clock that is ahead must not look like a crowd for as long as it is ahead.
        (now.millis() - created.millis()).abs() <= self.horizon()
    }
}
