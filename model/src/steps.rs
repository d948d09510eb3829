//! Calls in progress: the next request of each one, and the effect of its response.
//!
//! One step is one request to DynamoDB, with everything that follows from its response up to the next one. Wherever a
//! function decides by its memory or by chance (a candidate, whether a remembered range covers a port), the model
//! allows any choice.

mod holder;
mod lease;
mod namespace;
mod offer;
mod reconciler;
mod service;
mod set;

pub(crate) use lease::Goal;
pub(crate) use namespace::Search;
pub(crate) use offer::After;
pub(crate) use reconciler::Comparison;
pub(crate) use service::Change;

use crate::conditions::Condition;
use crate::model::{Offering, Protocol, State};
use crate::table::{Instance, Key, Port, PortItem, Ranges, Request, Secret, Service, ServiceId, Tick};
use crate::world::{Of, Script};
use crate::writes::{Common, Kind, Losses, Removal, Renewal, Reply, Write};

/// The position of a call: the next request that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    /// It has not begun.
    Idle,
    /// It was answered, or its function stopped.
    Done,
    /// A write in flight.
    Send {
        write: Write,
        /// An earlier send may have taken effect.
        doubt: bool,
        /// It has been performed, and only the response is outstanding.
        committed: bool,
        then: Then,
    },
    /// An offer chooses a candidate.
    Choose,
    /// Its name was used before.
    NameUsed(Instance, Losses),
    /// It reads the claim that the key points to, settled.
    JudgeKey(Request, After),
    /// It reads whether a claim of its own stands, settled.
    JudgeOwn(Instance, Losses),
    /// It reads the name's last claim, settled.
    JudgeOld(Instance, After),
    /// It reads the Request of its key.
    ReadKey(After),
    /// It reads its name's Instance, because the range is full.
    ReadInstance,
    /// A release by name has read its name's Instance.
    Release(Instance),
    /// It reads its service before it returns an offer.
    Look { secret: Secret, port: Port, expires: Tick, how: Found },
    /// A set has a claim for each of its names, and reads its service.
    LookSet,
    /// A change reads its service.
    ReadService,
    /// It looks for claims, port by port.
    Query(Change),
    /// It reads Ranges.
    ReadRanges(Change),
    /// The reconciler checks whether an allocation has a service.
    LookForService(PortItem, Port),
    /// It reads the Port item to which an Instance points, settled.
    SweepJudge(Instance),
    /// It returns to the Instance.
    SweepAgain,
    /// It compares Ranges with the services.
    Compare(Comparison),
    /// The deletion of the namespace looks for services.
    Search(Search),
}

/// How a claim was found that is to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Found {
    /// This call made it, with these terms.
    Made { cools: bool },
    /// This request's key made it.
    Replayed,
    /// A PUT of the same owner made it. With its terms.
    Offer { cools: bool },
    /// The same, and it is an allocation.
    Allocation { cools: bool },
    /// A renewal found that nobody has confirmed it.
    Unconfirmed { cools: bool },
}

/// The purpose of a write, where the write itself does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The call ends with the response.
    End,
    /// A withdrawn claim; after the last one the call ends, otherwise it makes another.
    Withdraw { last: bool },
    /// A claim whose lease is over is made gone, and then:
    Lapsed(Goal),
    /// A PUT accepts the offer of a PUT.
    Adopt,
    /// A set accepts or renews what it has.
    Gather,
    /// A set that is refused withdraws what it has made.
    Refuse,
    /// A step of a change of a service.
    Change(Change),
}

/// A call in a state that is about to change.
pub(crate) struct Step<'a> {
    pub(crate) protocol: &'a Protocol,
    pub(crate) state: &'a mut State,
    pub(crate) call: usize,
}

impl Step<'_> {
    /// The number of ways to continue.
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
                let guesses = match order.script {
                    Script::Offer { .. }
                    | Script::Accept { .. }
                    | Script::Put { .. }
                    | Script::Set { .. }
                    | Script::RenewName { .. }
                    | Script::RenewPort { .. }
                    | Script::ReleaseName { .. }
                    | Script::ReleasePort { .. } => protocol.guesses(),
                    _ => 1,
                };
                u8::from(told) * guesses
            }
            Pc::Choose if matches!(protocol.world.calls[call].script, Script::Set { .. }) => {
                2 * protocol.world.ports * protocol.world.ports + 2
            }
            Pc::Choose if protocol.world.has_returns() => 2 * protocol.world.ports + 1,
            Pc::Choose => protocol.world.ports + 1,
            Pc::NameUsed(..) => 2,
            Pc::Look { .. } => stale(Condition::LookConsistent),
            Pc::Query(_) => stale(Condition::QueryConsistent),
            _ => 1,
        }
    }

    /// Continues; returns false if it cannot, or if that changes nothing.
    pub(crate) fn go(&mut self, choice: u8) -> bool {
        match self.state.calls[self.call].pc {
            Pc::Done => false,
            Pc::Idle => {
                self.state.calls[self.call].guess = choice == 1;
                self.begin()
            }
            Pc::Send { write, doubt, committed, then } => self.send_on(write, doubt, committed, then),
            Pc::Choose if matches!(self.script(), Script::Set { .. }) => self.choose_set(choice),
            Pc::Choose => self.choose(choice),
            Pc::NameUsed(instance, losses) => self.name_used(instance, losses, choice),
            Pc::JudgeKey(request, after) => self.judge_key(request, after),
            Pc::JudgeOwn(instance, losses) => self.judge_own(instance, losses),
            Pc::JudgeOld(instance, after) => self.judge_old(instance, after),
            Pc::ReadKey(after) => self.read_key(after),
            Pc::ReadInstance => self.read_instance(),
            Pc::Release(instance) => self.release(instance),
            Pc::Look { secret, port, expires, how } => self.look(secret, port, expires, how, choice),
            Pc::LookSet => self.look_set(),
            Pc::ReadService => self.read_service(),
            Pc::Query(change) => self.query(change, choice),
            Pc::ReadRanges(change) => self.read_ranges(change),
            Pc::LookForService(item, port) => self.look_for_service(item, port),
            Pc::SweepJudge(instance) => self.sweep_judge(instance),
            Pc::SweepAgain => self.scan(),
            Pc::Compare(comparison) => self.compare(comparison),
            Pc::Search(search) => self.search(search),
        }
    }

    fn begin(&mut self) -> bool {
        match self.script() {
            Script::Offer { .. } | Script::Put { .. } | Script::Set { .. } => {
                self.goto(Pc::Choose);
                true
            }
            Script::Accept { of, service, lease } => self.begin_accept(of, service, lease),
            Script::Reject { of, service } => self.begin_reject(of, service),
            Script::RenewName { service, name, owner, lease } => self.begin_renew_name(service, name, owner, lease),
            Script::RenewPort { service, port, owner, lease } => self.begin_renew_port(service, port, owner, lease),
            Script::ReleaseName { service, name, .. } => self.begin_release_name(service, name),
            Script::ReleasePort { service, port, by } => self.begin_release_port(service, port, by),
            Script::Create { range, .. } => self.begin_create(range),
            Script::Delete { .. } | Script::Change { .. } => self.read_service(),
            Script::CreateNamespace => self.begin_create_namespace(),
            Script::DeleteNamespace => self.search(Search::default()),
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
            // The response arrives once the whole transaction is visible.
            if self.state.veil.is_some_and(|veil| veil.owner == call) {
                return false;
            }
            self.replied(write, Reply::Done, doubt, then);
            return true;
        }
        let write = if doubt { self.again(write) } else { self.sending(write) };
        let Some(reply) = self.apply(&write, Some(call)) else { return false };
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

    /// DynamoDB performs a transaction once for each token.
    fn forget_copies(&mut self, write: &Write) {
        if self.protocol.has(Condition::StableToken) {
            let call = self.call as u8;
            self.state.flight.retain(|(owner, copy)| *owner != call || copy != write);
        }
    }

    /// The request is performed and its response is lost; it will be sent again.
    pub(crate) fn lose(&mut self) -> bool {
        let Pc::Send { write, doubt, committed, then } = self.state.calls[self.call].pc else { return false };
        let call = self.call as u8;
        let sent = if doubt || committed { self.again(write) } else { self.sending(write) };
        if committed {
            if self.state.veil.is_some_and(|veil| veil.owner == call) || self.protocol.world.tokens {
                return false;
            }
        } else {
            // A failed condition has no effect, and the retry evaluates it again, so losing its response makes no
            // difference.
            if !matches!(self.apply(&sent, None), Some(Reply::Done | Reply::Renewed(_))) {
                return false;
            }
            if write.has_token() {
                self.forget_copies(&sent);
            }
        }
        self.state.lost -= 1;
        let committed = self.protocol.world.tokens && write.has_token() && self.protocol.has(Condition::StableToken);
        self.sent_in_doubt(if write.has_token() { sent } else { write }, committed, then);
        true
    }

    /// The request is in flight, and arrives at any later time or never; it will be sent again.
    pub(crate) fn late(&mut self) -> bool {
        let Pc::Send { write, doubt, committed: false, then } = self.state.calls[self.call].pc else { return false };
        self.state.late -= 1;
        let sent = if doubt { self.again(write) } else { self.sending(write) };
        self.state.flight.push((self.call as u8, sent));
        self.sent_in_doubt(if write.has_token() { sent } else { write }, false, then);
        true
    }

    fn sent_in_doubt(&mut self, write: Write, committed: bool, then: Then) {
        if matches!(write, Write::ReleasePort { .. }) && self.protocol.has(Condition::ReleasePortOnce) {
            // It is not sent again; a read determines the result.
            self.done();
        } else {
            self.goto(Pc::Send { write, doubt: true, committed, then });
        }
    }

    /// The call's time is over.
    pub(crate) fn give_up(&mut self) -> bool {
        match self.state.calls[self.call].pc {
            Pc::Look { secret, port, how, .. } => self.give_up_look(secret, port, how),
            Pc::Send { write: Write::Claim { part, common, key, .. }, .. } => {
                // The claim may stand all the same. With a key, or by a PUT, it will be found again.
                if key.is_none() && common.kind == Kind::Offer {
                    self.withdraw(part.secret, part.port, Removal::NotConfirmed, true);
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
            Then::Lapsed(goal) => self.lapsed(write, reply, goal),
            Then::Adopt => self.adopted(write, reply),
            Then::Gather => self.gathered(write, reply),
            Then::Refuse => self.refuse_set(),
            Then::End => match write {
                Write::Claim { .. } => self.claimed(write, reply),
                Write::Accept { secret, service, .. } => self.accepted(write, secret, service, reply),
                Write::Renew(renewal) => self.renewed(renewal, reply),
                Write::Reject { secret, .. } => self.rejected(secret, reply, doubt),
                Write::ReleasePort { port, service, .. } => self.released(port, service, None, reply),
                Write::ReleaseClaim { port, service, secret, .. } => self.released(port, service, Some(secret), reply),
                Write::Resize { .. } => self.created(write, reply),
                Write::NoteGone { .. } => self.goto(Pc::SweepAgain),
                Write::NoteOrphan { port, secret, service } => {
                    self.send(Write::RemoveOrphan { port, secret, service }, Then::End);
                }
                Write::CreateNamespace { by } => self.namespace_created(by, reply),
                Write::DeleteNamespace { .. } => self.namespace_deleted(reply, doubt),
                _ => self.done(),
            },
        }
    }

    fn send(&mut self, write: Write, then: Then) {
        self.goto(Pc::Send { write, doubt: false, committed: false, then });
    }

    /// Sends a write that carries the clock's time. Throttled or refused, it may wait for any time before it is sent:
    /// so a mutant reads the clock here, when the call begins.
    fn send_by_clock(&mut self, write: Write) {
        let write = if self.has(Condition::ClockAtSend) { write } else { self.by_clock(write) };
        self.send(write, Then::End);
    }

    /// A write that is sent again although an earlier send may take effect: a transaction keeps its content.
    fn again(&mut self, write: Write) -> Write {
        if write.has_token() { write } else { self.sending(write) }
    }

    /// A write with the values of this particular send.
    pub(crate) fn sending(&mut self, write: Write) -> Write {
        let condition = match write {
            Write::Claim { .. } | Write::AcceptSet { .. } => Condition::StampAtSend,
            _ => Condition::ClockAtSend,
        };
        if self.has(condition) { self.by_clock(write) } else { write }
    }

    /// Sets the time that the function's clock shows now. A claim, a removal of a dead claim and the reconciler's
    /// writes carry the time of their decision in every send.
    fn by_clock(&mut self, mut write: Write) -> Write {
        let clock = self.now();
        match &mut write {
            Write::Accept { now, stamp, ahead, .. } => {
                // A release that is sent from here on may mean this allocation; one that was sent before may not.
                self.state.moment += 1;
                (*stamp, *ahead, *now) = (self.state.moment, clock > self.state.clock, clock);
            }
            Write::AcceptSet { now, stamp, ahead, .. } => {
                self.state.moment += 1;
                (*stamp, *ahead, *now) = (self.state.moment, clock > self.state.clock, clock);
            }
            // A lease, and the time at which a port is found free, are those of the decision.
            Write::Claim { common: common @ Common { kind: Kind::Lease(_), .. }, .. } => {
                self.state.moment += 1;
                (common.stamp, common.ahead) = (self.state.moment, clock > self.state.clock);
            }
            Write::Reject { now, .. } | Write::Lapse { now, .. } => *now = clock,
            Write::ReleaseClaim { seen: true, now, .. } => *now = clock,
            Write::ReleaseClaim { sent, now, .. }
            | Write::ReleasePort { sent, now, .. }
            | Write::Renew(Renewal { sent, now, .. }) => {
                (*sent, *now) = (self.state.moment, clock);
            }
            _ => {}
        }
        write
    }

    fn goto(&mut self, pc: Pc) {
        self.state.calls[self.call].pc = pc;
    }

    /// Ends the call and clears its state, which no longer matters.
    pub(crate) fn done(&mut self) {
        let moment = self.state.moment;
        let script = self.script();
        let process = &mut self.state.calls[self.call];
        process.pc = Pc::Done;
        process.offer = Offering::default();
        process.fresh = 0;
        process.guess = false;
        if matches!(
            script,
            Script::ReleaseName { .. }
                | Script::ReleasePort { .. }
                | Script::RenewName { .. }
                | Script::RenewPort { .. }
        ) {
            process.closed = Some(moment);
        }
    }

    pub(crate) fn script(&self) -> Script {
        self.protocol.world.calls[self.call].script
    }

    pub(crate) fn has(&self, condition: Condition) -> bool {
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

    /// A single read, which may see the old image of an item while a transaction is partly visible.
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

    /// A read in a transaction: it waits (returns none) while another transaction on the item is partly visible. A
    /// mutant without the condition reads singly.
    fn settled(&self, port: Port, condition: Condition) -> Option<Option<PortItem>> {
        if !self.has(condition) {
            return Some(self.port(port));
        }
        (!self.is_contended(Key::Port(port))).then(|| self.state.table.port(port))
    }
}
