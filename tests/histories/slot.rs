//! The reference: the answers of a registry that does one thing at a time.
//!
//! A *slot* is a thing that at most one live claim can have: a port, an instance's name, or an idempotency key. It is
//! free, or a claim has it, offered or accepted. Every operation of a history is projected on the slots that it is
//! about, and the answers of each slot must be linearizable. (Linearizability is local: what holds for each object
//! holds for all of them together. The operations that look at many ports, lists and `range-exhausted`, promise nothing
//! of one moment for all, so they are one look at each port.)
//!
//! The reference leaves open whatever the registry leaves open:
//! - An offer that is past its expiry by *some* clock may be gone; by the clock of the caller, it must look so.
//! - An operation without an answer, or one that was refused after an ambiguous write, may have had its effect. An
//!   offer without an answer may have made a claim that was not returned to any caller (a *ghost*), which may be in the
//!   way, but no longer than an offer lives.

use super::linearize::{Entry, Object, Window};

/// A claim whose secret was returned to a caller.
#[derive(Clone, Debug)]
pub struct Claim {
    pub secret: String,
    pub service: &'static str,
    pub name: String,
    pub port: u16,
    /// In seconds.
    pub expires_at: i64,
    /// When the first accept was sent that may have done it: the milliseconds, and the time of its clock.
    pub accepted_from: Option<(i64, i64)>,
}

/// An offer that may have made a claim that was not returned to any caller.
#[derive(Clone, Debug)]
pub struct Ghost {
    /// The operation's number.
    pub of: usize,
    pub service: &'static str,
    pub name: String,
    pub from: i64,
    /// Until when the claim may exist, by its clock's time: the expiry of the last claim that the offer may have made.
    pub until_clock: i64,
    /// When it is certainly over, whatever its clock: if the operation's answer implies that nothing is left.
    pub until: Option<i64>,
}

/// An operation on a slot, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A claim was made.
    Claim(usize),
    /// A claim was returned to a request with its key.
    Shown(usize),
    Accept(usize, Accepted),
    Reject(usize, Rejected),
    /// By port or by name: of this service, and if it goes by name, of this instance.
    Release(&'static str, Option<String>, Released),
    /// Of this service if one was asked for: the name that has it, as an allocation.
    Allocation(Option<&'static str>, Option<(String, u16)>),
    /// In a list of the service's offers: the name, if there is one.
    Offer(&'static str, Option<String>),
    /// The offer of this secret exists, or does not.
    Read(usize, bool),
    /// It has no room: `range-exhausted`, as far as this port is concerned.
    Taken(&'static str),
    /// `name-taken`: by a claim on that port.
    NameTaken(u16),
    /// `idempotency-key-reused`, for a request for this name.
    KeyReused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    First,
    Again,
    NotFound,
    Expired,
    /// Not an answer: the possible effect of an accept that was not answered, or whose outcome was ambiguous.
    Perhaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    Done,
    NotFound,
    WasAccepted,
    Perhaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    Done,
    NotFound,
    /// When it was sent last, and its clock's time then.
    Perhaps(i64, i64),
}

/// The projected operation, its number, and whether the outcome of one of its writes was ambiguous.
#[derive(Clone, Debug)]
pub struct Asked {
    pub of: usize,
    pub op: Op,
    /// How far ahead its clock is.
    pub skew: i64,
    pub doubt: bool,
    /// When the first of its writes was sent that may have been done.
    pub sent: Option<i64>,
}

/// A port, a name, or a key.
pub struct Slot<'a> {
    pub claims: &'a [Claim],
    /// The ghosts that can be here.
    pub ghosts: Vec<&'a Ghost>,
    /// How far ahead the fastest clock is.
    pub fastest: i64,
}

/// Free, or the claim that has it and whether that was accepted.
type State = Option<(usize, bool)>;

impl Slot<'_> {
    fn expired(&self, claim: usize, clock: i64) -> bool {
        self.claims[claim].expires_at <= clock.div_euclid(1000)
    }

    /// Whether a claim that was not returned to any caller may be here, by the clock of the request: of this service
    /// and name, if they are known, and not of the operation that asks.
    fn haunted(&self, asked: &Asked, service: Option<&str>, name: Option<&str>, window: Window) -> bool {
        self.ghosts.iter().any(|ghost| {
            ghost.of != asked.of
                && service.is_none_or(|service| service == ghost.service)
                && name.is_none_or(|name| name == ghost.name)
                && ghost.from <= window.latest
                && ghost.until.is_none_or(|until| until >= window.earliest)
                && ghost.until_clock > window.earliest + asked.skew
        })
    }

    fn follows(&self, state: State, entry: &Entry<Asked>, window: Window) -> Vec<State> {
        let asked = &entry.op;
        let same = |holds: bool| if holds { vec![state] } else { vec![] };
        // Its clock is read whenever it is sent, so it shows one of these times, or a later one.
        let in_time = |claim| asked.sent.is_some_and(|sent| !self.expired(claim, sent + asked.skew));
        // By the request's own clock a claim has certainly expired, or may have.
        let surely = |claim| self.expired(claim, window.earliest + asked.skew);
        let perhaps = |claim| self.expired(claim, window.latest + asked.skew);
        match &asked.op {
            Op::Claim(claim) => match state {
                None => vec![Some((*claim, false))],
                Some(_) => vec![],
            },
            Op::Shown(claim) => match state {
                Some((held, accepted)) => same(held == *claim && (accepted || !surely(held))),
                None => vec![],
            },
            Op::Accept(claim, answer) => {
                let is = |accepted| state == Some((*claim, accepted));
                let can = is(false) && in_time(*claim);
                match answer {
                    Accepted::First | Accepted::Perhaps if can => vec![Some((*claim, true))],
                    // It has been sent before, and finds the claim accepted: by itself, in all likelihood.
                    Accepted::First => same(asked.doubt && is(true)),
                    Accepted::Perhaps => vec![],
                    Accepted::Again => same(is(true)),
                    Accepted::Expired => same(is(false) && perhaps(*claim)),
                    Accepted::NotFound => same(!is(true) && !is(false)),
                }
            }
            Op::Reject(claim, answer) => {
                let is = |accepted| state == Some((*claim, accepted));
                let can = is(false) && in_time(*claim);
                match answer {
                    Rejected::Done | Rejected::Perhaps if can => vec![None],
                    Rejected::Done => same(asked.doubt && !is(true) && !is(false)),
                    Rejected::Perhaps => vec![],
                    Rejected::WasAccepted => same(is(true)),
                    Rejected::NotFound => same(!is(true) && (!is(false) || perhaps(*claim))),
                }
            }
            Op::Release(service, name, answer) => {
                let held = match state {
                    Some((claim, true)) => {
                        let Claim { service: its, name: whose, .. } = &self.claims[claim];
                        (its == service && name.as_ref().is_none_or(|name| name == whose)).then_some(claim)
                    }
                    _ => None,
                };
                match (answer, held) {
                    (Released::Done, Some(_)) => vec![None],
                    (Released::Done, None) => same(asked.doubt),
                    (Released::NotFound, held) => same(held.is_none()),
                    // One that arrives late must not affect an allocation whose accept was sent after it.
                    (Released::Perhaps(sent_until, clock), Some(claim)) => {
                        let from = self.claims[claim].accepted_from;
                        let meant = from.is_some_and(|(millis, shown)| millis <= *sent_until || shown <= *clock);
                        if meant { vec![None] } else { vec![] }
                    }
                    (Released::Perhaps(..), None) => vec![],
                }
            }
            Op::Allocation(service, found) => {
                let held = match state {
                    Some((claim, true)) => {
                        let claim = &self.claims[claim];
                        let asked_for = service.is_none_or(|service| service == claim.service);
                        asked_for.then(|| (claim.name.clone(), claim.port))
                    }
                    _ => None,
                };
                same(held == *found)
            }
            Op::Offer(service, found) => match (state, found) {
                (Some((claim, false)), found) if self.claims[claim].service == *service => match found {
                    Some(name) => same(self.claims[claim].name == *name && !surely(claim)),
                    None => same(perhaps(claim)),
                },
                (None, Some(name)) => same(self.haunted(asked, Some(service), Some(name), window)),
                (_, found) => same(found.is_none()),
            },
            Op::Read(claim, found) => {
                let is = state == Some((*claim, false));
                same(if *found { is && !surely(*claim) } else { !is || perhaps(*claim) })
            }
            Op::Taken(service) => match state {
                Some((claim, accepted)) => same(accepted || !surely(claim)),
                None => same(self.haunted(asked, Some(service), None, window)),
            },
            Op::NameTaken(port) => match state {
                Some((claim, accepted)) => same(self.claims[claim].port == *port && (accepted || !surely(claim))),
                None => same(self.haunted(asked, None, None, window)),
            },
            Op::KeyReused(name) => match state {
                Some((claim, accepted)) => same(self.claims[claim].name != *name && (accepted || !surely(claim))),
                None => same(self.haunted(asked, None, None, window)),
            },
        }
    }
}

impl Object for Slot<'_> {
    type State = State;
    type Op = Asked;

    fn initial(&self) -> State {
        None
    }

    fn after(&self, state: &State, entry: &Entry<Asked>, window: Window) -> Vec<State> {
        let mut next = self.follows(*state, entry, window);
        // An offer that is over by some clock may have been removed, or overwritten, before this.
        if let Some((claim, false)) = state
            && self.expired(*claim, window.latest + self.fastest)
        {
            next.extend(self.follows(None, entry, window));
        }
        next
    }
}
