//! The protocol in a world, as `stateright` sees it: states, possible actions, and their results.

use std::hash::Hash;

use stateright::{Model, Property as Checked};

use crate::conditions::Condition;
use crate::history::{Clocks, History, Told};
use crate::properties::Property;
use crate::steps::{Found, Pc, Step};
use crate::table::{
    Instance, Key, Moment, NOBODY, PORTS, Phase, Port, PortItem, Ranges, Request, Secret, Service, ServiceId, Table,
    Tick, Veil,
};
use crate::world::{Script, World};
use crate::writes::{Reply, Rule, Write};

/// How many claims a call makes at most, in any world.
const ATTEMPTS: usize = 4;

/// A world, and perhaps a condition that the protocol lacks in it.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) world: World,
    pub(crate) without: Option<Condition>,
    slowest: Tick,
    fastest: Tick,
}

/// One call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pc: Pc,
    pub(crate) skew: Tick,
    /// How many secrets or revisions it has generated.
    pub(crate) fresh: u8,
    /// The offer that it returned to its caller.
    pub(crate) got: Option<(Secret, Port)>,
    pub(crate) offer: Offering,
    /// A release that has ended an allocation may not end another. For a deletion: that it has deleted the namespace.
    pub(crate) released: bool,
    /// When a release or a renewal ended: it may not touch an allocation that began later.
    pub(crate) closed: Option<Moment>,
    /// What it takes for the service's terms.
    pub(crate) guess: bool,
}

/// The knowledge of an offer in progress (`Attempt` in `operations/offer.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Offering {
    pub(crate) rule: Rule,
    pub(crate) affinity: Option<Instance>,
    /// The secret that the key may replace.
    pub(crate) replaces: Option<Secret>,
    /// The claims of this call with an ambiguous outcome, their expiry, and their terms.
    pub(crate) made: [Option<(Secret, Tick, bool)>; ATTEMPTS],
    pub(crate) tries: u8,
    /// The end of a lease of its owner's that was made gone by a faster clock: it claims as if it were that time.
    pub(crate) not_before: Option<Tick>,
    /// Whether one of its claims may follow a lease that still runs by a slower clock.
    pub(crate) follows: bool,
    pub(crate) set: Gathering,
}

/// The knowledge of a set in progress. While one name is judged, the rule and the old port of that name are the
/// offering's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gathering {
    /// The name that is judged.
    pub(crate) at: u8,
    pub(crate) rules: [Rule; 2],
    pub(crate) have: [Option<Member>; 2],
}

/// A claim that a set has for one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) secret: Secret,
    pub(crate) port: Port,
    pub(crate) ends: Tick,
    pub(crate) how: Found,
    /// Whether nothing is left to be written for it.
    pub(crate) settled: bool,
}

/// A state of a world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) clock: Tick,
    pub(crate) moment: Moment,
    pub(crate) table: Table,
    pub(crate) veil: Option<Veil>,
    /// The table that an eventually consistent read may see; kept only for mutants that read so.
    pub(crate) stale: Option<Table>,
    pub(crate) calls: Vec<Process>,
    /// Copies of requests in flight whose responses nobody waits for.
    pub(crate) flight: Vec<(u8, Write)>,
    pub(crate) lost: u8,
    pub(crate) late: u8,
    pub(crate) stops: u8,
    pub(crate) history: History,
}

/// The possible actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A call sends its next request, or chooses.
    Go(u8, u8),
    /// A call's request is performed, and its response is lost.
    Lose(u8),
    /// A call's request is late; it is sent again, or given up.
    Late(u8),
    /// A call's time is over while its request has an ambiguous outcome, or while it waits.
    GiveUp(u8),
    /// A function stops.
    Stop(u8),
    /// A late request arrives.
    Arrive(u8),
    /// One more item of a partly visible transaction becomes visible.
    Show(Key),
    /// TTL deletes an item.
    Ttl(Key),
    /// Time passes.
    Tick,
}

impl Protocol {
    pub(crate) fn new(world: World, without: Option<Condition>) -> Self {
        let slowest = world.skews().min().unwrap_or(0).min(0);
        let fastest = world.skews().max().unwrap_or(0).max(0);
        Self { world, without, slowest, fastest }
    }

    /// Whether the protocol has a condition; a mutant lacks one.
    pub(crate) fn has(&self, condition: Condition) -> bool {
        self.without != Some(condition)
    }

    pub(crate) fn slowest(&self, state: &State) -> Tick {
        state.clock + self.slowest
    }

    pub(crate) fn fastest(&self, state: &State) -> Tick {
        state.clock + self.fastest
    }

    pub(crate) fn clocks(&self, state: &State) -> Clocks {
        Clocks { slowest: self.slowest(state), fastest: self.fastest(state) }
    }

    /// How much longer everybody else waits than a holder was told: as much as two clocks differ.
    pub(crate) fn margin(&self) -> Tick {
        if self.has(Condition::Margin) { self.fastest - self.slowest } else { 0 }
    }

    /// How long a port cools down, where it does: longer than the margin.
    pub(crate) fn cooldown(&self) -> Tick {
        self.fastest - self.slowest + 1
    }

    /// How long a port is held for strangers after its lease.
    pub(crate) fn hold(&self, cools: bool) -> Tick {
        if cools { self.cooldown() } else { self.margin() }
    }

    /// How long an allocation may stay that nobody was told of.
    pub(crate) fn longest_lease(&self) -> Tick {
        let lease = |script| match script {
            Script::Put { lease, .. } | Script::Set { lease, .. } | Script::Accept { lease, .. } => lease.unwrap_or(0),
            Script::RenewName { lease, .. } | Script::RenewPort { lease, .. } => lease,
            _ => 0,
        };
        let longest = self.world.calls.iter().map(|call| lease(call.script)).max();
        longest.unwrap_or(0) + self.cooldown()
    }

    /// Whether the ports of a service cool down.
    pub(crate) fn cools(&self, service: ServiceId) -> bool {
        self.world.cools[usize::from(service)]
    }

    /// The number of guesses at a service's terms.
    pub(crate) fn guesses(&self) -> u8 {
        if self.world.cools.contains(&true) { 2 } else { 1 }
    }

    /// The revision of a new service, or of one written in place of another. Without randomness it is counted.
    pub(crate) fn revision(&self, call: usize, fresh: u8, old: Option<u8>) -> u8 {
        if self.has(Condition::RevisionRandom) { 16 + call as u8 * 8 + fresh } else { old.map_or(1, |old| old + 1) }
    }

    fn start(&self) -> State {
        let world = &self.world;
        let mut services = [None; 2];
        let mut bits = 0;
        for (place, range) in world.services.iter().enumerate() {
            services[place] = range.map(|range| Service { range, revision: 1 + place as u8, keep: None });
            bits |= range.unwrap_or(0);
        }
        if !self.has(Condition::RevisionRandom) {
            services.iter_mut().flatten().for_each(|service| service.revision = 1);
        }
        let ranges = Ranges { bits: world.bits.unwrap_or(bits), version: 0 };
        let namespace = world.namespace.then_some(NOBODY);
        let mut table =
            Table { ports: [None; PORTS], names: [[None; 2]; 2], request: None, services, ranges, namespace };
        let mut history = History::default();
        for claim in &world.claims {
            let accepted = if claim.expires.is_none() { Some(0) } else { None };
            let (secret, port, cools) = (claim.secret, claim.port, self.cools(claim.service));
            table.ports[usize::from(port)] = Some(PortItem {
                service: claim.service,
                name: claim.name,
                owner: claim.owner,
                secret: Some(secret),
                phase: if accepted.is_some() { Phase::Allocated } else { Phase::Offered },
                accepted,
                lease_until: claim.lease,
                expires: claim.lease.map_or(claim.expires, |until| Some(until + self.hold(cools))),
                put: false,
                confirmed: accepted.is_some(),
                cools,
            });
            table.names[usize::from(claim.service)][usize::from(claim.name)] =
                Some(Instance { port, secret, gone_since: None });
            if claim.key {
                table.request = Some(Request { port, secret, body: claim.name, expires: world.key_life });
            }
            history.show(Told {
                secret,
                port,
                service: claim.service,
                name: claim.name,
                owner: claim.owner,
                shown: true,
                expires: claim.expires.unwrap_or(0),
                key_until: claim.key.then_some(world.key_life),
                accepted,
                lease: claim.lease,
                cools,
                accept_told: accepted.is_some(),
                reject_told: false,
                lost_told: false,
                ended: false,
                superseded: None,
            });
        }
        let stale = [Condition::LookConsistent, Condition::QueryConsistent].into_iter().any(|read| !self.has(read));
        State {
            clock: 0,
            moment: 0,
            table,
            veil: None,
            stale: stale.then_some(table),
            calls: Vec::new(),
            flight: Vec::new(),
            lost: world.lost,
            late: world.late,
            stops: world.stops,
            history,
        }
    }

    fn ttl(&self, state: &State) -> impl Iterator<Item = Key> {
        let over = |expires: Tick| self.world.ttl && expires <= state.clock;
        let veiled = state.veil.map_or(0, |veil| veil.keys);
        let ports = (0..PORTS as u8)
            .filter(move |port| state.table.port(*port).and_then(|item| item.expires).is_some_and(over))
            .map(Key::Port);
        let request = state.table.request.filter(|request| over(request.expires)).map(|_| Key::Request);
        ports.chain(request).filter(move |key| veiled & key.bit() == 0)
    }

    fn arrive(&self, state: &mut State, place: usize) -> bool {
        let (owner, write) = state.flight[place];
        let call = usize::from(owner);
        let Some(reply) = (Step { protocol: self, state, call }).apply(&write, None) else { return false };
        state.flight.remove(place);
        if matches!(reply, Reply::Done) && self.world.tokens && write.has_token() && self.has(Condition::StableToken) {
            // A retry under the token will succeed without effect, and so will its other copies.
            state.flight.retain(|copy| *copy != (owner, write));
            if let Pc::Send { write: sent, committed, .. } = &mut state.calls[call].pc
                && *sent == write
            {
                *committed = true;
            }
        }
        true
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut states = vec![self.start()];
        for call in &self.world.calls {
            // There is one initial state for each combination of skews.
            states = states
                .into_iter()
                .flat_map(|state| {
                    call.skews.iter().map(move |skew| {
                        let mut state = state.clone();
                        state.calls.push(Process {
                            pc: Pc::Idle,
                            skew: *skew,
                            fresh: 0,
                            got: None,
                            offer: Offering::default(),
                            released: false,
                            closed: None,
                            guess: false,
                        });
                        state
                    })
                })
                .collect();
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if Property::ALL.iter().any(|property| !property.holds(self, state)) {
            // The counterexample ends here.
            return;
        }
        for call in 0..state.calls.len() as u8 {
            let process = &state.calls[usize::from(call)];
            let choices = Step::choices(self, state, usize::from(call));
            actions.extend((0..choices).map(|choice| Action::Go(call, choice)));
            if let Pc::Send { write, doubt, .. } = &process.pc {
                if state.lost > 0 {
                    actions.push(Action::Lose(call));
                }
                if state.late > 0 && (self.world.tokens || !write.has_token()) {
                    actions.push(Action::Late(call));
                }
                if *doubt {
                    actions.push(Action::GiveUp(call));
                }
            }
            if matches!(process.pc, Pc::Look { .. } | Pc::LookSet) {
                actions.push(Action::GiveUp(call));
            }
            if state.stops > 0 && !matches!(process.pc, Pc::Idle | Pc::Done) {
                actions.push(Action::Stop(call));
            }
        }
        actions.extend((0..state.flight.len() as u8).map(Action::Arrive));
        if let Some(veil) = state.veil {
            actions.extend(Key::all().filter(|key| veil.keys & key.bit() != 0).map(Action::Show));
        }
        actions.extend(self.ttl(state).map(Action::Ttl));
        if state.clock < self.world.ticks {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let step = |state, call: u8| Step { protocol: self, state, call: usize::from(call) };
        let happens = match action {
            Action::Go(call, choice) => step(&mut state, call).go(choice),
            Action::Lose(call) => step(&mut state, call).lose(),
            Action::Late(call) => step(&mut state, call).late(),
            Action::GiveUp(call) => step(&mut state, call).give_up(),
            Action::Stop(call) => {
                state.stops -= 1;
                step(&mut state, call).done();
                true
            }
            Action::Arrive(place) => self.arrive(&mut state, usize::from(place)),
            Action::Show(key) => {
                state.veil =
                    state.veil.map(|veil| Veil { keys: veil.keys & !key.bit(), ..veil }).filter(|veil| veil.keys != 0);
                true
            }
            Action::Ttl(key) => {
                match key {
                    Key::Port(port) => state.table.ports[usize::from(port)] = None,
                    _ => state.table.request = None,
                }
                true
            }
            Action::Tick => {
                state.clock += 1;
                true
            }
        };
        if let Some(mut stale) = state.stale {
            stale.take(&last.table, last.table.differences(&state.table));
            state.stale = Some(stale);
        }
        happens.then_some(state)
    }

    fn properties(&self) -> Vec<Checked<Self>> {
        Property::ALL.into_iter().map(Property::checked).collect()
    }
}

impl Script {
    /// Whether it is the reconciler's.
    pub(crate) fn sweeps(self) -> bool {
        use Script::{SweepMark, SweepName, SweepPort, SweepRanges, SweepRequest};
        matches!(self, SweepPort { .. } | SweepName { .. } | SweepRequest | SweepMark { .. } | SweepRanges)
    }
}
