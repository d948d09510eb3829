//! The seven invariants of `docs/protocol.md`, and some more, as properties of a state.
//!
//! Some are visible in the state: who holds which port, and what callers were shown. Violations that only a step shows
//! (an accept of another's offer) are flagged when they happen.

use stateright::Property as Checked;

use crate::history::Told;
use crate::model::{Protocol, State};
use crate::table::{PORTS, Phase, SERVICES, contains};

/// The properties that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// 1: at most one live holder per port.
    Ports,
    /// 2: at most one live holder per name of a service.
    Names,
    /// 3: ranges never overlap, and Ranges has all of them.
    Ranges,
    /// 4: an offer that a caller was shown is in the range of its service.
    Services,
    /// 5: only its secret accepts or rejects an offer, and only while it is live; accepting twice returns the same
    /// response; of accept and reject one wins.
    Secrets,
    /// 6: a returned claim stands until it is rejected, released, or expired; and a claim that no caller was shown
    /// expires.
    Survival,
    /// 7: the reconciler removes nothing live.
    Reconciler,
    /// P8: while its claim is live, a key returns it.
    Keys,
    /// A refusal is true: `name-taken` is about another's claim, `service-exists` about another's service.
    Answers,
    /// What the holder of a lease was told, it has.
    Leases,
    /// What was told as lost stays lost.
    Lost,
    /// A cool-down is kept.
    Cooldown,
    /// A call ends or extends nothing that it does not mean.
    Owners,
    /// A set has all its names or none.
    Sets,
    /// A service is in a namespace that exists.
    Namespaces,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Ports,
        Self::Names,
        Self::Ranges,
        Self::Services,
        Self::Secrets,
        Self::Survival,
        Self::Reconciler,
        Self::Keys,
        Self::Answers,
        Self::Leases,
        Self::Lost,
        Self::Cooldown,
        Self::Owners,
        Self::Sets,
        Self::Namespaces,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ports => "1: one holder per port",
            Self::Names => "2: one holder per name",
            Self::Ranges => "3: ranges do not overlap",
            Self::Services => "4: offers are in their service",
            Self::Secrets => "5: only the secret, only while live",
            Self::Survival => "6: what was returned stands",
            Self::Reconciler => "7: nothing live is swept",
            Self::Keys => "P8: a key stands for its claim",
            Self::Answers => "answers are true",
            Self::Leases => "leases last as told",
            Self::Lost => "what is lost stays lost",
            Self::Cooldown => "cool-downs are kept",
            Self::Owners => "only the owner's call",
            Self::Sets => "sets are whole",
            Self::Namespaces => "services are in a namespace",
        }
    }

    /// Its text.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ports => {
                "At most one holder per port. A holder has an item that is live by the slowest clock, or was \
                            returned an offer that no clock can consider dead, or an allocation whose lease, if it \
                            has one, some clock finds live. Tenures of one owner under one name are one holder's: \
                            the later one takes the place of the earlier, once a caller was shown it. Until \
                            then nobody else has what the earlier one was told."
            }
            Self::Names => "At most one such holder per name of a service.",
            Self::Ranges => {
                "Ranges do not overlap, and the Ranges item agrees with the services (not asked where it \
                             starts damaged)."
            }
            Self::Services => {
                "A claim that was returned to a caller, and that is accepted or that no clock can consider \
                               dead, belongs to a service that exists and lies inside its range."
            }
            Self::Secrets => {
                "Only its secret, under its service, accepts or rejects an offer, and only while it is live \
                              by the caller's clock. An offer that was answered as accepted is not denied while it \
                              lasts, and one that was answered as rejected is not accepted."
            }
            Self::Survival => {
                "A claim that was returned to a caller stands in the table under its secret, until it is \
                               rejected, released, or some clock can consider it expired. A claim that was returned \
                               to no caller has an expiry within an offer's life, or within a lease and what a \
                               stranger waits for after it."
            }
            Self::Reconciler => {
                "No removal by the reconciler hits a claim that every clock finds live, an Instance whose \
                                 claim some clock finds live, or an allocation whose service exists."
            }
            Self::Keys => {
                "A key stands for at most one claim at a time, until that claim has expired by some clock or \
                           the key's time is over; and it returns a claim only to a request for the same name."
            }
            Self::Answers => {
                "`name-taken` is about the name's own claim and not this call's, `service-exists` about a \
                              service that this call did not make, and no offer is returned that its call found dead. \
                              Of a namespace, one call is answered that it created it, namely the one that did; one that \
                              was answered that it deleted it did, or may have; and one that did is not answered that \
                              there was none."
            }
            Self::Leases => {
                "As long as some clock finds the lease live that a holder was told, its port is in the table under \
                 its secret with a lease that is no shorter; once some clock finds it over, the port may also be \
                 cooling, kept for its owner. Nobody but its own holder ends a lease earlier."
            }
            Self::Lost => {
                "Once a holder was answered that its allocation is lost (404 or 410 to a renewal), or has released \
                 it, no renewal extends that allocation, and none is answered that it stands."
            }
            Self::Cooldown => {
                "Until every clock finds the cool-down over, after a release or a lease, where the service has one, \
                 no other name gets the port, unless its own name has claimed it since."
            }
            Self::Owners => {
                "A release that names an owner ends no other's allocation. A renewal extends none of another owner, \
                 service or name, and none that began after it was answered."
            }
            Self::Sets => {
                "Whoever claims a set and has a port for neither name has both or none after each step. A set that is \
                 refused leaves no claim that it has made, unless a call of the same owner confirmed it, or a late copy of \
                 its request made it."
            }
            Self::Namespaces => {
                "A service is in a namespace that exists. So a service that was created is there until it is deleted, and a \
                 namespace that was deleted has no service until it is created again."
            }
        }
    }

    pub(crate) fn bit(self) -> u16 {
        1 << self as u8
    }

    pub(crate) fn holds(self, protocol: &Protocol, state: &State) -> bool {
        !state.history.is_broken(self)
            && match self {
                Self::Ports => one_holder_per_port(protocol, state),
                Self::Names => one_holder_per_name(protocol, state),
                Self::Ranges => ranges(protocol, state),
                Self::Services => shown_in_service(protocol, state),
                Self::Survival => shown_stands(protocol, state),
                Self::Keys => one_claim_per_key(protocol, state),
                Self::Leases => leases_last(protocol, state),
                Self::Namespaces => state.table.namespace.is_some() || state.table.services.iter().all(Option::is_none),
                Self::Secrets
                | Self::Reconciler
                | Self::Answers
                | Self::Lost
                | Self::Cooldown
                | Self::Owners
                | Self::Sets => true,
            }
    }

    pub(crate) fn checked(self) -> Checked<Protocol> {
        macro_rules! always {
            ($($name:ident),+) => {
                match self {
                    $(Self::$name => Checked::always(self.name(), |protocol, state| Self::$name.holds(protocol, state)),)+
                }
            };
        }
        always!(
            Ports, Names, Ranges, Services, Secrets, Survival, Reconciler, Keys, Answers, Leases, Lost, Cooldown,
            Owners, Sets, Namespaces
        )
    }
}

/// A holder has an item that is live by the slowest clock, or was shown a claim that no clock considers dead. Secrets
/// are below 64, so a set of them is a number.
fn one_holder_per_port(protocol: &Protocol, state: &State) -> bool {
    let mut holders = [0_u64; PORTS];
    for (port, item) in state.table.ports.iter().enumerate() {
        let held = item.filter(|item| item.is_held(protocol.slowest(state)));
        if let Some(secret) = held.and_then(|item| item.secret) {
            holders[port] |= 1 << secret;
        }
    }
    for told in state.history.told.iter().filter(|told| told.stands(protocol.clocks(state))) {
        holders[usize::from(told.port)] |= 1 << told.secret;
    }
    holders.iter().all(|holders| holders.count_ones() <= 1) && nobody_else(protocol, state, |a, b| a.port == b.port)
}

/// Nobody else has what a holder may still rely on that claimed anew and was told nothing of it.
fn nobody_else(protocol: &Protocol, state: &State, same: impl Fn(&Told, &Told) -> bool) -> bool {
    let clocks = protocol.clocks(state);
    let told = &state.history.told;
    told.iter().filter(|old| old.lingers(clocks)).all(|old| {
        let others = told.iter().filter(|other| !other.is_of(old.service, old.name, old.owner));
        others.filter(|other| same(old, other)).all(|other| !other.stands(clocks) && !other.lingers(clocks))
    })
}

fn one_holder_per_name(protocol: &Protocol, state: &State) -> bool {
    let mut holders = [[0_u64; 2]; SERVICES];
    for item in state.table.ports.iter().flatten().filter(|item| item.is_held(protocol.slowest(state))) {
        let holder = item.secret.map_or(0, |secret| 1 << secret);
        holders[usize::from(item.service)][usize::from(item.name)] |= holder;
    }
    for told in state.history.told.iter().filter(|told| told.stands(protocol.clocks(state))) {
        holders[usize::from(told.service)][usize::from(told.name)] |= 1 << told.secret;
    }
    let same = |a: &Told, b: &Told| (a.service, a.name) == (b.service, b.name);
    holders.iter().flatten().all(|holders| holders.count_ones() <= 1) && nobody_else(protocol, state, same)
}

fn ranges(protocol: &Protocol, state: &State) -> bool {
    let mut all = 0;
    for service in state.table.services.iter().flatten() {
        if all & service.range != 0 {
            return false;
        }
        all |= service.range;
    }
    protocol.world.damaged || all == state.table.ranges.bits
}

fn shown_in_service(protocol: &Protocol, state: &State) -> bool {
    state.history.told.iter().filter(|told| told.stands(protocol.clocks(state))).all(|told| {
        state.table.service(told.service).is_some_and(|service| contains(service.range, told.port))
            || protocol.world.damaged
    })
}

fn shown_stands(protocol: &Protocol, state: &State) -> bool {
    let told = &state.history.told;
    let kept = told
        .iter()
        .filter(|told| told.stands(protocol.clocks(state)) && told.lease.is_none())
        .all(|told| state.table.port(told.port).is_some_and(|item| item.has(told.secret)));
    let offered = protocol.fastest(state) + protocol.world.life;
    let leased = protocol.fastest(state) + protocol.longest_lease();
    let ends = state.table.ports.iter().flatten().all(|item| {
        let shown = told.iter().any(|told| told.shown && item.has(told.secret));
        let longest = if item.phase == Phase::Offered { offered } else { leased };
        shown || item.expires.is_some_and(|expires| expires <= longest)
    });
    kept && ends
}

fn leases_last(protocol: &Protocol, state: &State) -> bool {
    let clocks = protocol.clocks(state);
    state.history.told.iter().filter(|told| told.stands(clocks)).all(|told| {
        let Some(until) = told.lease else { return true };
        state.table.port(told.port).is_some_and(|item| {
            let lasts = item.lease_until.is_none_or(|lease| lease >= until);
            let cooling = item.phase == Phase::Cooling
                && item.is_of(told.service, told.name)
                && item.owner == told.owner
                && until <= clocks.fastest;
            lasts && (item.has(told.secret) || cooling)
        })
    })
}

fn one_claim_per_key(protocol: &Protocol, state: &State) -> bool {
    let clocks = protocol.clocks(state);
    let keyed = |until: Option<i8>| until.is_some_and(|until| until > clocks.fastest);
    state.history.told.iter().filter(|told| told.stands(clocks) && keyed(told.key_until)).count() <= 1
}
