//! Calls in progress: at which request each one is, and what its reply leads to.
//!
//! One step is one request to DynamoDB, with all that follows from its reply up to the next one. What a function decides
//! by its memory or by chance (a candidate, whether a remembered range covers a port) is any choice.

mod holder;
mod offer;
mod reconciler;
mod service;

pub(crate) use offer::After;
pub(crate) use reconciler::Comparison;
pub(crate) use service::Change;

use crate::conditions::Condition;
use crate::model::{Offering, Protocol, State};
use crate::table::{Instance, Key, Port, PortItem, Ranges, Request, Secret, Service, ServiceId, Tick};
use crate::world::{Of, Script};
use crate::writes::{Losses, Removal, Reply, Write};

/// Where a call is: at the next request that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    /// It has not begun.
    Idle,
    /// It was answered, or its function stopped.
    Done,
    /// A write on its way.
    Send {
        write: Write,
        /// An earlier send may have taken effect.
        doubt: bool,
        /// It has been done, and only the reply is to come.
        committed: bool,
        then: Then,
    },
    /// An offer chooses a candidate.
    Choose,
    /// Its name was used before.
    NameUsed(Instance, Losses),
    /// It reads what the key's claim is, settled.
    JudgeKey(Request, After),
    /// It reads whether a claim of its own stands, settled.
    JudgeOwn(Instance, Losses),
    /// It reads what the name's last claim is, settled.
    JudgeOld(Instance, After),
    /// It reads what its key made.
    ReadKey(After),
    /// It reads where its name points to, when the range is full.
    ReadInstance,
    /// A release by name has read where its name points to.
    Release(Instance),
    /// It reads its service, before it tells an offer.
    Look { secret: Secret, port: Port, expires: Tick, replayed: bool },
    /// A change reads its service.
    ReadService,
    /// It looks for claims, port by port.
    Query(Change),
    /// It reads Ranges.
    ReadRanges(Change),
    /// The reconciler looks whether an allocation has a service.
    LookForService(PortItem, Port),
    /// It reads what an Instance points to, settled.
    SweepJudge(Instance),
    /// It comes to the Instance again.
    SweepAgain,
    /// It compares Ranges with the services.
    Compare(Comparison),
}

/// What a write is for, where the write does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The call ends with the reply.
    End,
    /// A withdrawn claim: is it the end, or will another be made?
    Withdraw { last: bool },
    /// A step of a change of a service.
    Change(Change),
}

/// A call at a state that is about to change.
pub(crate) struct Step<'a> {
    pub(crate) protocol: &'a Protocol,
    pub(crate) state: &'a mut State,
    pub(crate) call: usize,
}

impl Step<'_> {
    /// How many ways there are to go on.
    pub(crate) fn choices(protocol: &Protocol, state: &State, call: usize) -> u8 {
        let stale = |condition| if protocol.has(condition) { 1 } else { 2 };
        match state.calls[call].pc {
            Pc::Done => 0,
            Pc::Idle => {
                let order = &protocol.world.calls[call];
                let told = match order.script {
                    Script::Accept { of: Of::Call(of), .. } | Script::Reject { of: Of::Call(of), .. } => {
                        state.calls[of].got.is_some()
                    }
                    _ => true,
                };
                u8::from(told)
            }
            Pc::Choose => protocol.world.ports + 1,
            Pc::NameUsed(..) => 2,
            Pc::Look { .. } => stale(Condition::LookConsistent),
            Pc::Query(_) => stale(Condition::QueryConsistent),
            _ => 1,
        }
    }

    /// Goes on; gives false where it cannot, or where that changes nothing.
    pub(crate) fn go(&mut self, choice: u8) -> bool {
        match self.state.calls[self.call].pc {
            Pc::Done => false,
            Pc::Idle => self.begin(),
            Pc::Send { write, doubt, committed, then } => self.send_on(write, doubt, committed, then),
            Pc::Choose => self.choose(choice),
            Pc::NameUsed(instance, losses) => self.name_used(instance, losses, choice),
            Pc::JudgeKey(request, after) => self.judge_key(request, after),
            Pc::JudgeOwn(instance, losses) => self.judge_own(instance, losses),
            Pc::JudgeOld(instance, after) => self.judge_old(instance, after),
            Pc::ReadKey(after) => self.read_key(after),
            Pc::ReadInstance => self.read_instance(),
            Pc::Release(instance) => self.release(instance),
            Pc::Look { secret, port, expires, replayed } => self.look(secret, port, expires, replayed, choice),
            Pc::ReadService => self.read_service(),
            Pc::Query(change) => self.query(change, choice),
            Pc::ReadRanges(change) => self.read_ranges(change),
            Pc::LookForService(item, port) => self.look_for_service(item, port),
            Pc::SweepJudge(instance) => self.sweep_judge(instance),
            Pc::SweepAgain => self.scan(),
            Pc::Compare(comparison) => self.compare(comparison),
        }
    }

    fn begin(&mut self) -> bool {
        match self.script() {
            Script::Offer { .. } => {
                self.goto(Pc::Choose);
                true
            }
            Script::Accept { of, service } => self.begin_accept(of, service),
            Script::Reject { of, service } => self.begin_reject(of, service),
            Script::ReleaseName { service, name } => self.begin_release_name(service, name),
            Script::ReleasePort { service, port } => self.begin_release_port(service, port),
            Script::Create { range, .. } => self.begin_create(range),
            Script::Delete { .. } | Script::Change { .. } => self.read_service(),
            Script::SweepPort { .. }
            | Script::SweepName { .. }
            | Script::SweepRequest
            | Script::SweepMark { .. }
            | Script::SweepRanges => self.scan(),
        }
    }

    fn send_on(&mut self, write: Write, doubt: bool, committed: bool, then: Then) -> bool {
        let call = self.call as u8;
        if committed {
            // The reply comes when all of it is to be seen.
            if self.state.veil.is_some_and(|veil| veil.owner == call) {
                return false;
            }
            self.replied(write, Reply::Done, doubt, then);
            return true;
        }
        let sent = self.sending(write);
        let Some(reply) = self.apply(&sent, Some(call)) else { return false };
        if reply == Reply::Done && write.has_token() {
            self.forget_copies(&write);
        }
        if self.state.veil.is_some_and(|veil| veil.owner == call) {
            self.goto(Pc::Send { write, doubt, committed: true, then });
            return true;
        }
        self.replied(write, reply, doubt, then);
        true
    }

    /// DynamoDB does a transaction once for each token.
    fn forget_copies(&mut self, write: &Write) {
        if self.protocol.has(Condition::StableToken) {
            let call = self.call as u8;
            self.state.flight.retain(|(owner, copy)| *owner != call || copy != write);
        }
    }

    /// The request is done, and its reply lost; it will be sent again.
    pub(crate) fn lose(&mut self) -> bool {
        let Pc::Send { write, committed, then, .. } = self.state.calls[self.call].pc else { return false };
        let call = self.call as u8;
        if committed {
            if self.state.veil.is_some_and(|veil| veil.owner == call) || self.protocol.world.tokens {
                return false;
            }
        } else {
            // That a condition failed was nothing: sent again, it will be asked again.
            let sent = self.sending(write);
            if self.apply(&sent, None) != Some(Reply::Done) {
                return false;
            }
            if write.has_token() {
                self.forget_copies(&write);
            }
        }
        self.state.lost -= 1;
        let committed = self.protocol.world.tokens && write.has_token() && self.protocol.has(Condition::StableToken);
        self.sent_in_doubt(write, committed, then);
        true
    }

    /// The request is on its way, and arrives some time or never; it will be sent again.
    pub(crate) fn late(&mut self) -> bool {
        let Pc::Send { write, committed: false, then, .. } = self.state.calls[self.call].pc else { return false };
        self.state.late -= 1;
        let sent = self.sending(write);
        self.state.flight.push((self.call as u8, sent));
        self.sent_in_doubt(write, false, then);
        true
    }

    fn sent_in_doubt(&mut self, write: Write, committed: bool, then: Then) {
        if matches!(write, Write::ReleasePort { .. }) && self.protocol.has(Condition::ReleasePortOnce) {
            // Not sent again; a look says what to answer.
            self.done();
        } else {
            self.goto(Pc::Send { write, doubt: true, committed, then });
        }
    }

    /// The call's time is over.
    pub(crate) fn give_up(&mut self) -> bool {
        match self.state.calls[self.call].pc {
            Pc::Look { secret, port, replayed, .. } => self.give_up_look(secret, port, replayed),
            Pc::Send { write: Write::Claim { port, secret, key, .. }, .. } => {
                // It may stand all the same. With a key it will be found again.
                if key.is_none() {
                    self.withdraw(secret, port, Removal::NotConfirmed, true);
                } else {
                    self.done();
                }
            }
            Pc::Send { write, then: Then::Change(change), .. } => self.give_up_change(write, change),
            _ => self.done(),
        }
        true
    }

    fn replied(&mut self, write: Write, reply: Reply, doubt: bool, then: Then) {
        match then {
            Then::Withdraw { last } => self.withdrawn(write, reply, last),
            Then::Change(change) => self.changed(write, reply, change),
            Then::End => match write {
                Write::Claim { .. } => self.claimed(write, reply),
                Write::Accept { secret, service, .. } => self.accepted(secret, service, reply),
                Write::Reject { secret, .. } => self.rejected(secret, reply, doubt),
                Write::ReleasePort { port, service, .. } => self.released(port, service, None, reply),
                Write::ReleaseClaim { port, service, secret, .. } => self.released(port, service, Some(secret), reply),
                Write::Resize { .. } => self.created(write, reply),
                Write::NoteGone { .. } => self.goto(Pc::SweepAgain),
                _ => self.done(),
            },
        }
    }

    /// Sends a write.
    fn send(&mut self, write: Write, then: Then) {
        self.goto(Pc::Send { write, doubt: false, committed: false, then });
    }

    /// Sends a write that says what the clock shows. How long it waits for that, throttled and refused, is any time: so a
    /// mutant reads the clock here, when the call begins.
    fn send_by_clock(&mut self, write: Write) {
        let write = if self.has(Condition::ClockAtSend) { write } else { self.by_clock(write) };
        self.send(write, Then::End);
    }

    /// A write as this very send of it has it.
    pub(crate) fn sending(&mut self, write: Write) -> Write {
        if self.has(Condition::ClockAtSend) { self.by_clock(write) } else { write }
    }

    /// With what the function's clock shows now. A claim, a removal of what is dead and the reconciler's writes say what
    /// it showed when they were decided, in every send.
    fn by_clock(&mut self, mut write: Write) -> Write {
        let clock = self.now();
        match &mut write {
            Write::Accept { now, stamp, ahead, .. } => {
                // A release that is sent from here on may mean this allocation, one that was sent before may not.
                self.state.moment += 1;
                (*stamp, *ahead, *now) = (self.state.moment, clock > self.state.clock, clock);
            }
            Write::Reject { now, .. } => *now = clock,
            Write::ReleaseClaim { sent, seen: false, .. } | Write::ReleasePort { sent, .. } => {
                *sent = self.state.moment;
            }
            _ => {}
        }
        write
    }

    fn goto(&mut self, pc: Pc) {
        self.state.calls[self.call].pc = pc;
    }

    /// The call is over; what it knew does not matter any more.
    pub(crate) fn done(&mut self) {
        let moment = self.state.moment;
        let script = self.script();
        let process = &mut self.state.calls[self.call];
        process.pc = Pc::Done;
        process.offer = Offering::default();
        process.fresh = 0;
        if matches!(script, Script::ReleaseName { .. } | Script::ReleasePort { .. }) {
            process.closed = Some(moment);
        }
    }

    fn script(&self) -> Script {
        self.protocol.world.calls[self.call].script
    }

    fn has(&self, condition: Condition) -> bool {
        self.protocol.has(condition)
    }

    /// The function's clock.
    fn now(&self) -> Tick {
        self.state.clock + self.state.calls[self.call].skew
    }

    fn fresh(&mut self) -> u8 {
        let fresh = &mut self.state.calls[self.call].fresh;
        *fresh += 1;
        *fresh - 1
    }

    /// A single read, which may see the old image of an item while a transaction is half to be seen.
    fn port(&self, port: Port) -> Option<PortItem> {
        match self.state.veil {
            Some(veil) if self.is_contended(Key::Port(port)) => veil.old.port(port),
            _ => self.state.table.port(port),
        }
    }

    fn service(&self, service: ServiceId) -> Option<Service> {
        match self.state.veil {
            Some(veil) if self.is_contended(Key::Service(service)) => veil.old.service(service),
            _ => self.state.table.service(service),
        }
    }

    fn ranges(&self) -> Ranges {
        match self.state.veil {
            Some(veil) if self.is_contended(Key::Ranges) => veil.old.ranges,
            _ => self.state.table.ranges,
        }
    }

    fn instance(&self, service: ServiceId, name: u8) -> Option<Instance> {
        match self.state.veil {
            Some(veil) if self.is_contended(Key::Name(service, name)) => veil.old.name(service, name),
            _ => self.state.table.name(service, name),
        }
    }

    fn request(&self) -> Option<Request> {
        match self.state.veil {
            Some(veil) if self.is_contended(Key::Request) => veil.old.request,
            _ => self.state.table.request,
        }
    }

    /// A read in a transaction: it waits (gives none) while another transaction on the item is half to be seen. A mutant
    /// without the condition reads singly.
    fn settled(&self, port: Port, condition: Condition) -> Option<Option<PortItem>> {
        if !self.has(condition) {
            return Some(self.port(port));
        }
        (!self.is_contended(Key::Port(port))).then(|| self.state.table.port(port))
    }
}
