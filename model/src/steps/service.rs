//! Services: creation, change, deletion (`operations/services.rs`).

use super::{Pc, Step, Then};
use crate::conditions::Condition;
use crate::properties::Property;
use crate::table::{PORTS, Phase, Port, PortItem, Ports, Service, members};
use crate::world::Script;
use crate::writes::{Reply, Resize, Why, Write, with};

/// A change of a service in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// The service as it was read, or marked: the last step is conditional on its revision.
    base: Service,
    /// Whether the mark is set.
    marked: bool,
    /// Its new range; none for a deletion.
    to: Option<Ports>,
    /// The next port to check, and the claims found so far.
    next: Port,
    found: [Option<PortItem>; PORTS],
    /// Whether a dead claim was accepted before it could be removed.
    revived: bool,
    looked: bool,
    /// Whether it starts from scratch once its mark is off.
    again: bool,
}

impl Change {
    fn new(base: Service, to: Option<Ports>) -> Self {
        let found = [None; PORTS];
        Self { base, marked: false, to, next: 0, found, revived: false, looked: false, again: false }
    }

    fn gives(&self) -> Ports {
        self.base.range & !self.to.unwrap_or(0)
    }
}

impl Step<'_> {
    fn changed_service(&self) -> (u8, Option<Ports>) {
        match self.script() {
            Script::Delete { service } => (service, None),
            Script::Change { service, to } => (service, Some(to)),
            Script::Create { service, range } => (service, Some(range)),
            _ => (0, None),
        }
    }

    pub(super) fn begin_create(&mut self, range: Ports) -> bool {
        let (service, _) = self.changed_service();
        let seen = self.ranges();
        if seen.bits & range != 0 && self.has(Condition::RangesFree) {
            self.done();
            return true;
        }
        let fresh = self.fresh();
        let revision = self.protocol.revision(self.call, fresh, None);
        let resize = Resize::Create(Service { range, revision, keep: None });
        self.send(Write::Resize { service, resize, ranges: with(seen, 0, range) }, Then::End);
        true
    }

    pub(super) fn created(&mut self, write: Write, reply: Reply) {
        let Write::Resize { resize: Resize::Create(new), .. } = write else { return };
        match reply {
            Reply::RangesChanged => self.goto(Pc::Idle),
            Reply::Changed(found) => {
                // The response says that another's service is in the way.
                self.state.history.flag(Property::Answers, found == Some(new));
                self.done();
            }
            _ => self.done(),
        }
    }

    /// Reads the service. It waits for another's mark, and may overtake it at any later time.
    pub(super) fn read_service(&mut self) -> bool {
        let (service, to) = self.changed_service();
        let Some(base) = self.service(service) else {
            self.done();
            return true;
        };
        let change = Change::new(base, to);
        match to {
            // The same range, with another description.
            Some(to) if to == base.range => {
                let new = Service { keep: None, ..self.revised(base) };
                let write = Write::Rewrite { service, revision: base.revision, new, why: Why::Content };
                self.send(write, Then::Change(change));
            }
            Some(to) if base.range & !to == 0 => self.goto(Pc::ReadRanges(change)),
            _ if self.has(Condition::MarkFirst) => self.mark(change),
            _ => self.goto(Pc::Query(change)),
        }
        true
    }

    fn revised(&mut self, service: Service) -> Service {
        let fresh = self.fresh();
        Service { revision: self.protocol.revision(self.call, fresh, Some(service.revision)), ..service }
    }

    fn mark(&mut self, change: Change) {
        let (service, _) = self.changed_service();
        let base = change.base;
        let revised = if self.has(Condition::MarkRevises) { self.revised(base) } else { base };
        let new = Service { keep: Some(base.range & change.to.unwrap_or(0)), ..revised };
        let write = Write::Rewrite { service, revision: base.revision, new, why: Why::Mark };
        self.send(write, Then::Change(change));
    }

    /// Takes the mark off.
    pub(super) fn unmark(&mut self, marked: Service, then: Then) {
        let (Script::SweepMark { service }
        | Script::Delete { service }
        | Script::Change { service, .. }
        | Script::Create { service, .. }) = self.script()
        else {
            return;
        };
        let revised = if self.has(Condition::UnmarkRevises) { self.revised(marked) } else { marked };
        let new = Service { keep: None, ..revised };
        self.send(Write::Rewrite { service, revision: marked.revision, new, why: Why::Unmark }, then);
    }

    fn refuse(&mut self, change: Change) {
        if change.marked {
            self.unmark(change.base, Then::Change(Change { again: false, ..change }));
        } else {
            self.done();
        }
    }

    fn start_over(&mut self) {
        let offering = &mut self.state.calls[self.call].offer;
        offering.tries += 1;
        if offering.tries >= self.protocol.world.tries {
            self.done();
        } else {
            self.goto(Pc::ReadService);
        }
    }

    /// Checks one more of the ports that are given up.
    pub(super) fn query(&mut self, mut change: Change, choice: u8) -> bool {
        let (service, _) = self.changed_service();
        let gives = change.gives();
        let rest = |next| members(gives).find(|port| *port >= next);
        if let Some(port) = rest(change.next) {
            let item = match self.state.stale {
                Some(stale) if choice == 1 => stale.port(port),
                _ => self.port(port),
            };
            // A cooling port is not in the way, and stays.
            change.found[usize::from(port)] =
                item.filter(|item| item.service == service && item.phase != Phase::Cooling);
            change.next = port + 1;
            if rest(change.next).is_some() {
                self.goto(Pc::Query(change));
                return true;
            }
        }
        let now = self.now();
        let past = self.past();
        let live = |item: &PortItem| item.is_live(now) && !item.is_lapsed(past);
        if change.found.iter().flatten().any(live) && self.has(Condition::LiveRefuses) {
            self.refuse(change);
        } else {
            self.remove_next(change);
        }
        true
    }

    /// Removes the claims found dead, one by one; then comes the last step.
    fn remove_next(&mut self, mut change: Change) {
        let now = self.now();
        while let Some(place) = change.found.iter().position(Option::is_some)
            && let Some(item) = change.found[place].take()
        {
            let (port, lapses) = (place as u8, item.phase == Phase::Allocated && item.is_live(now));
            if lapses && self.has(Condition::LapsedFirst) {
                return self.make_gone(item, port, false, Then::Change(change));
            } else if !lapses && self.has(Condition::DeadFirst) {
                return self.send(Write::RemoveDead { port, secret: item.secret, now }, Then::Change(change));
            }
        }
        change.found = [None; PORTS];
        change.looked = true;
        if change.revived {
            self.refuse(change);
        } else if change.marked {
            self.goto(Pc::ReadRanges(change));
        } else {
            self.mark(change);
        }
    }

    /// The last step but one: reads Ranges, and checks that the ports to be gained are free.
    pub(super) fn read_ranges(&mut self, change: Change) -> bool {
        let (service, _) = self.changed_service();
        let seen = self.ranges();
        let Change { base, to, .. } = change;
        if to.unwrap_or(0) & !base.range & seen.bits != 0 && self.has(Condition::RangesFree) {
            self.refuse(change);
            return true;
        }
        let revision = base.revision;
        let resize = match to {
            None => Resize::Delete { revision },
            Some(range) => Resize::Change { revision, new: Service { range, keep: None, ..self.revised(base) } },
        };
        let ranges = with(seen, base.range, to.unwrap_or(0));
        self.send(Write::Resize { service, resize, ranges }, Then::Change(change));
        true
    }

    pub(super) fn changed(&mut self, write: Write, reply: Reply, mut change: Change) {
        match (write, reply) {
            (Write::Rewrite { why: Why::Unmark, .. }, _) if change.again => self.start_over(),
            (Write::Rewrite { why: Why::Mark, new, .. }, Reply::Done) => {
                change.base = new;
                change.marked = true;
                self.goto(if change.looked { Pc::ReadRanges(change) } else { Pc::Query(change) });
            }
            (Write::Rewrite { why: Why::Mark | Why::Content, .. }, Reply::Changed(_)) => self.start_over(),
            (Write::RemoveDead { secret, .. }, reply) => {
                change.revived |= matches!(reply, Reply::Not(Some(item)) if item.secret == secret)
                    && self.has(Condition::RevivedRefuses);
                self.remove_next(change);
            }
            (Write::Lapse { secret, .. }, reply) => {
                change.revived |=
                    matches!(reply, Reply::Not(Some(item)) if item.has(secret)) && self.has(Condition::RenewedRefuses);
                self.remove_next(change);
            }
            (Write::Resize { .. }, Reply::RangesChanged) => self.goto(Pc::ReadRanges(change)),
            // A deletion that finds the service gone is done, by an earlier send or by another call.
            (Write::Resize { resize: Resize::Change { .. }, .. }, Reply::Changed(_)) if change.marked => {
                change.again = true;
                self.unmark(change.base, Then::Change(change));
            }
            (Write::Resize { resize: Resize::Change { .. }, .. }, Reply::Changed(_))
            | (Write::Resize { .. }, Reply::Changed(Some(_))) => self.start_over(),
            _ => self.done(),
        }
    }

    /// The call's time is over: its mark is taken off, even if it is uncertain whether the mark stands.
    pub(super) fn give_up_change(&mut self, write: Write, change: Change) {
        match write {
            Write::Rewrite { why: Why::Mark, new, .. } => {
                self.unmark(new, Then::Change(Change { again: false, ..change }));
            }
            Write::Rewrite { .. } => self.done(),
            _ => self.refuse(change),
        }
    }
}
