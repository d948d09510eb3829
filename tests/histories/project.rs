//! Projects a history on every port, name and key: for each there must be an order that explains its answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portmaster_registry::Error;

use super::event::{Act, Answer, Event};
use super::linearize::{Entry, linearize};
use super::plan::{Plan, STILL};
use super::says::{About, Place, Says, Wanted, says};
use super::slot::{Asked, Claim, Ghost, Op, Slot};

type Slots = BTreeMap<Place, Vec<Entry<Asked>>>;

/// The history, and its claims with the time from which each may have been accepted.
pub struct Projection<'a> {
    plan: &'a Plan,
    events: &'a [Event],
    claims: Vec<Claim>,
}

impl<'a> Projection<'a> {
    pub fn new(plan: &'a Plan, events: &'a [Event], claims: &[Claim]) -> Self {
        let mut claims = claims.to_vec();
        for event in events {
            let may_have_accepted =
                matches!(event.answer, Answer::Accepted { first: true }) || event.is_open() || event.doubt;
            if let (Act::Accept(claim), true, Some((from, _))) = (&event.act, may_have_accepted, event.sent) {
                let shown = from + plan.processes[event.process];
                let (old, old_shown) = claims[*claim].accepted_from.unwrap_or((i64::MAX, i64::MAX));
                claims[*claim].accepted_from = Some((from.min(old), shown.min(old_shown)));
            }
        }
        Self { plan, events, claims }
    }

    /// Looks for an order for each place; returns how many places there are.
    pub fn orders(&self) -> Result<usize, String> {
        let (ghosts, slots) = (self.ghosts(), self.slots());
        for (place, entries) in &slots {
            let here = |ghost: &&(Ghost, Option<String>)| match place {
                Place::Port(port) => (ghost.0.service == STILL) == (*port < 6000),
                Place::Name(service, name) => ghost.0.service == *service && ghost.0.name == *name,
                Place::Key(key) => ghost.1.as_ref() == Some(key),
            };
            let ghosts = ghosts.iter().filter(here).map(|(ghost, _)| ghost).collect();
            let slot = Slot { claims: &self.claims, ghosts, fastest: self.plan.fastest() };
            if let Err((order, state)) = linearize(&slot, entries) {
                let mut text = format!("{place:?} has no order that explains it; the longest begins\n");
                for i in &order {
                    writeln!(text, "  {}", show(&entries[*i])).unwrap();
                }
                writeln!(text, "then it is {state:?}, and left are").unwrap();
                for (i, entry) in entries.iter().enumerate().filter(|(i, _)| !order.contains(i)) {
                    writeln!(
                        text,
                        "  {}",
                        if entry.certain { show(&entries[i]) } else { format!("({})", show(entry)) }
                    )
                    .unwrap();
                }
                return Err(text);
            }
        }
        Ok(slots.len())
    }

    /// Returns what was asked of every place, and answered.
    fn slots(&self) -> Slots {
        let mut slots = Slots::new();
        for (of, event) in self.events.iter().enumerate() {
            let skew = self.plan.processes[event.process];
            for Says { about, op, certain } in says(event, skew, self.plan.still()) {
                let op = Asked { of, op, skew, doubt: event.doubt, sent: event.sent.map(|(first, _)| first) };
                // An operation that need not have happened, and was never answered, may happen at any time afterwards.
                let ended = (certain || !event.is_open()).then_some(event.ended);
                let entry = Entry { began: event.began, ended, certain, op };
                for place in self.about(about) {
                    slots.entry(place).or_default().push(entry.clone());
                }
            }
        }
        self.project_claims(&mut slots);
        slots
    }

    fn about(&self, about: About) -> Vec<Place> {
        match about {
            About::Place(place) => vec![place],
            About::Claim(claim) => self.places(claim),
            About::Released(service, wanted) => self.others(service, &wanted),
        }
    }

    /// A claim is in three places at once. Its key is that of the request that it was returned to.
    fn places(&self, claim: usize) -> Vec<Place> {
        let Claim { service, name, port, .. } = &self.claims[claim];
        let key = self.key_of(claim).map(Place::Key);
        [Place::Port(*port), Place::Name(service, name.clone())].into_iter().chain(key).collect()
    }

    /// Returns all places of the claims that a release may have ended, except the one that it asked for.
    fn others(&self, service: &'static str, wanted: &Wanted) -> Vec<Place> {
        let is_meant = |claim: &Claim| match wanted {
            Wanted::Port(port) => claim.port == *port,
            Wanted::Name(name) => claim.name == *name,
        };
        let claims = self.claims.iter().enumerate().filter(|(_, claim)| claim.service == service && is_meant(claim));
        let mut places: BTreeSet<_> = claims.flat_map(|(number, _)| self.places(number)).collect();
        places.remove(&wanted.place(service));
        places.into_iter().collect()
    }

    /// Returns the offers that may have made a claim that was not returned to any caller.
    fn ghosts(&self) -> Vec<(Ghost, Option<String>)> {
        let offers = self.events.iter().enumerate().filter_map(|(of, event)| match &event.act {
            Act::Offer { service, name, key } => Some((of, event, *service, name, key)),
            _ => None,
        });
        offers
            .map(|(of, event, service, name, key)| {
                // If it was answered, nothing of it is left, unless a copy of its claim is still in flight. But where a
                // range changes, a claim may be made and withdrawn on the way to any answer, and an answer of 404 does
                // not wait for the withdrawal.
                let leaves = event.is_open()
                    || event.doubt
                    || (service != STILL && matches!(event.answer, Answer::Refused(Error::ServiceNotFound { .. })));
                let clock = event.ended.millis + self.plan.processes[event.process];
                let ghost = Ghost {
                    of,
                    service,
                    name: name.clone(),
                    from: event.began.millis,
                    until_clock: clock + 1000 * (i64::from(self.plan.offer_seconds) + 1),
                    until: (!leaves).then_some(event.ended.millis),
                };
                (ghost, key.clone())
            })
            .filter(|(ghost, _)| ghost.until.is_none() || ghost.service != STILL)
            .collect()
    }

    /// Returns the key of a request that a claim was returned to.
    fn key_of(&self, claim: usize) -> Option<String> {
        self.events.iter().find_map(|event| match (&event.act, &event.answer) {
            (Act::Offer { key, .. }, Answer::Offered { claim: shown, .. }) if *shown == claim => key.clone(),
            _ => None,
        })
    }

    /// Each claim was made once: by the request whose first-hand answer it was, or, if that one was never answered, by
    /// any that was sent with its key; and before any request was answered with it.
    fn project_claims(&self, slots: &mut Slots) {
        let events = self.events;
        for (number, claim) in self.claims.iter().enumerate() {
            let shown = |event: &&Event| matches!(event.answer, Answer::Offered { claim, .. } if claim == number);
            let first = events.iter().filter(shown).min_by_key(|event| event.ended).unwrap();
            let key = self.key_of(number);
            let may_have_made = |event: &&Event| match &event.act {
                Act::Offer { service, name, key: its } => {
                    *service == claim.service && *name == claim.name && key.is_some() && *its == key
                }
                _ => false,
            };
            let made = |event: &&Event| matches!(event.answer, Answer::Offered { replayed: false, .. });
            let maker = events.iter().find(|event| shown(event) && made(event));
            let began = match maker {
                Some(maker) => maker.began,
                None => events.iter().filter(may_have_made).map(|event| event.began).min().unwrap_or(first.began),
            };
            let of = events.iter().position(|event| event.began == first.began).unwrap();
            let op =
                Asked { of, op: Op::Claim(number), skew: self.plan.processes[first.process], doubt: false, sent: None };
            let entry = Entry { began, ended: Some(first.ended), certain: true, op };
            for place in self.places(number) {
                slots.entry(place).or_default().push(entry.clone());
            }
        }
    }
}

fn show(entry: &Entry<Asked>) -> String {
    let end = entry.ended.map_or("-".to_owned(), |end| end.order.to_string());
    format!("{}-{end} {:?}{}", entry.began.order, entry.op.op, if entry.op.doubt { ", in doubt" } else { "" })
}
