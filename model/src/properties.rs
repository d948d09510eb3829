//! The seven invariants of `docs/protocol.md`, and two more, as properties of a state.
//!
//! Some are visible in the state: who holds which port, and what callers were shown. Violations that only a step shows
//! (an accept of another's offer) are flagged when they happen.

use stateright::Property as Checked;

use crate::model::{Protocol, State};
use crate::table::{PORTS, SERVICES, contains};

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
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ports,
        Self::Names,
        Self::Ranges,
        Self::Services,
        Self::Secrets,
        Self::Survival,
        Self::Reconciler,
        Self::Keys,
        Self::Answers,
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
        }
    }

    /// Its text.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ports => {
                "At most one holder per port. A holder has an item that is live by the slowest clock, or was \
                            returned a claim that no clock can consider dead."
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
                               to no caller has an expiry within an offer's life."
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
                              service that this call did not make, and no offer is returned that its call found dead."
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
                Self::Secrets | Self::Reconciler | Self::Answers => true,
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
        always!(Ports, Names, Ranges, Services, Secrets, Survival, Reconciler, Keys, Answers)
    }
}

/// A holder has an item that is live by the slowest clock, or was shown a claim that no clock considers dead. Secrets
/// are below 64, so a set of them is a number.
fn one_holder_per_port(protocol: &Protocol, state: &State) -> bool {
    let mut holders = [0_u64; PORTS];
    for (port, item) in state.table.ports.iter().enumerate() {
        if let Some(item) = item.filter(|item| item.is_live(protocol.slowest(state))) {
            holders[port] |= 1 << item.secret;
        }
    }
    for told in state.history.told.iter().filter(|told| told.stands(protocol.fastest(state))) {
        holders[usize::from(told.port)] |= 1 << told.secret;
    }
    holders.iter().all(|holders| holders.count_ones() <= 1)
}

fn one_holder_per_name(protocol: &Protocol, state: &State) -> bool {
    let mut holders = [[0_u64; 2]; SERVICES];
    for item in state.table.ports.iter().flatten().filter(|item| item.is_live(protocol.slowest(state))) {
        holders[usize::from(item.service)][usize::from(item.name)] |= 1 << item.secret;
    }
    for told in state.history.told.iter().filter(|told| told.stands(protocol.fastest(state))) {
        holders[usize::from(told.service)][usize::from(told.name)] |= 1 << told.secret;
    }
    holders.iter().flatten().all(|holders| holders.count_ones() <= 1)
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
    state.history.told.iter().filter(|told| told.stands(protocol.fastest(state))).all(|told| {
        state.table.service(told.service).is_some_and(|service| contains(service.range, told.port))
            || protocol.world.damaged
    })
}

fn shown_stands(protocol: &Protocol, state: &State) -> bool {
    let told = &state.history.told;
    let kept = told
        .iter()
        .filter(|told| told.stands(protocol.fastest(state)))
        .all(|told| state.table.port(told.port).is_some_and(|item| item.secret == told.secret));
    let longest = protocol.fastest(state) + protocol.world.life;
    let ends = state.table.ports.iter().flatten().all(|item| {
        told.iter().any(|told| told.secret == item.secret) || item.expires.is_some_and(|expires| expires <= longest)
    });
    kept && ends
}

fn one_claim_per_key(protocol: &Protocol, state: &State) -> bool {
    let now = protocol.fastest(state);
    let keyed = |until: Option<i8>| until.is_some_and(|until| until > now);
    state.history.told.iter().filter(|told| told.stands(now) && keyed(told.key_until)).count() <= 1
}
