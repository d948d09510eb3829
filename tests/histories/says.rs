//! The meaning of an answer for a port, a name or a key: a table, independent of the history that the operation is part
//! of. (When an offer made its claim follows from the requests that were answered with it, and is in `project.rs`.)

use std::collections::BTreeSet;
use std::ops::Range;

use portmaster_registry::Error;

use super::event::{Act, Answer, Event};
use super::plan::STILL;
use super::slot::{Accepted, Op, Rejected, Released};

/// A thing that at most one live claim can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Port(u16),
    Name(&'static str, String),
    Key(String),
}

/// The places that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Place(Place),
    /// Its port, its name, and the key of the request that it was returned to.
    Claim(usize),
    /// The other places of the claims that a release may have ended: of this service's claims at a port, or of a name.
    Released(&'static str, Wanted),
}

/// The argument of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Port(u16),
    Name(String),
}

impl Wanted {
    /// The place for which a release is answered.
    pub fn place(&self, service: &'static str) -> Place {
        match self {
            Self::Port(port) => Place::Port(*port),
            Self::Name(name) => Place::Name(service, name.clone()),
        }
    }
}

/// A statement about some places.
#[derive(Clone, Debug, PartialEq)]
pub struct Says {
    pub about: About,
    pub op: Op,
    /// Whether it must have happened. If not, it may have, once.
    pub certain: bool,
}

fn certainly(about: About, op: Op) -> Says {
    Says { about, op, certain: true }
}

fn perhaps(about: About, op: Op) -> Says {
    Says { about, op, certain: false }
}

/// Returns the statements of an operation, by its answer and by which outcomes are ambiguous. `skew` is how far ahead
/// its clock was, `still` the ports of the service that never changes.
pub fn says(event: &Event, skew: i64, still: Range<u16>) -> Vec<Says> {
    match &event.act {
        Act::Accept(claim) => accept(*claim, event),
        Act::Reject(claim) => reject(*claim, event),
        Act::ReleasePort(service, port) => release(service, Wanted::Port(*port), event, skew),
        Act::ReleaseName(service, name) => release(service, Wanted::Name(name.clone()), event, skew),
        Act::ReadOffer(claim) => {
            let found = match &event.answer {
                Answer::Done => Some(true),
                Answer::Refused(Error::OfferNotFound { .. }) => Some(false),
                _ => None,
            };
            found.map(|found| certainly(About::Claim(*claim), Op::Read(*claim, found))).into_iter().collect()
        }
        Act::Find(port) => allocation(Place::Port(*port), None, &event.answer),
        Act::Get(service, name) => allocation(Place::Name(service, name.clone()), Some(service), &event.answer),
        Act::Offers(service) => {
            list(service, still, &event.answer, |_, name| Op::Offer(service, name.map(str::to_owned)))
        }
        Act::Ports(service) => list(service, still, &event.answer, |port, name| {
            Op::Allocation(Some(service), name.map(|name| (name.to_owned(), port)))
        }),
        Act::Offer { service, name, key } => offer(service, name, key.as_deref(), still, &event.answer),
        // The invariants check services.
        Act::Create(..) | Act::Put(..) | Act::Describe(_) | Act::Delete(_) | Act::Look(_) => Vec::new(),
        Act::Reconcile | Act::Expire => Vec::new(),
    }
}

fn accept(claim: usize, event: &Event) -> Vec<Says> {
    let answer = match &event.answer {
        Answer::Accepted { first: true } => Some(Accepted::First),
        Answer::Accepted { first: false } => Some(Accepted::Again),
        Answer::Refused(Error::OfferExpired { .. }) => Some(Accepted::Expired),
        Answer::Refused(Error::OfferNotFound { .. }) => Some(Accepted::NotFound),
        _ => None,
    };
    let about = || About::Claim(claim);
    let mut said: Vec<_> = answer.map(|answer| certainly(about(), Op::Accept(claim, answer))).into_iter().collect();
    if event.is_open() || (event.doubt && answer != Some(Accepted::First)) {
        said.push(perhaps(about(), Op::Accept(claim, Accepted::Perhaps)));
    }
    said
}

fn reject(claim: usize, event: &Event) -> Vec<Says> {
    let answer = match &event.answer {
        Answer::Done => Some(Rejected::Done),
        Answer::Refused(Error::OfferAccepted { .. }) => Some(Rejected::WasAccepted),
        Answer::Refused(Error::OfferNotFound { .. }) => Some(Rejected::NotFound),
        _ => None,
    };
    let about = || About::Claim(claim);
    let mut said: Vec<_> = answer.map(|answer| certainly(about(), Op::Reject(claim, answer))).into_iter().collect();
    if event.is_open() || event.doubt {
        said.push(perhaps(about(), Op::Reject(claim, Rejected::Perhaps)));
    }
    said
}

/// The answer is about the release's own place. On the other places of the claims that it may have released, it may
/// have happened.
fn release(service: &'static str, wanted: Wanted, event: &Event, skew: i64) -> Vec<Says> {
    let answer = match &event.answer {
        Answer::Done => Some(Released::Done),
        Answer::Refused(Error::PortNotFound { .. }) => Some(Released::NotFound),
        _ => None,
    };
    let name = match &wanted {
        Wanted::Port(_) => None,
        Wanted::Name(name) => Some(name.clone()),
    };
    let op = |answer| Op::Release(service, name.clone(), answer);
    let own = || About::Place(wanted.place(service));
    let mut said: Vec<_> = answer.map(|answer| certainly(own(), op(answer))).into_iter().collect();
    // Never sent, it has done nothing.
    let Some((_, last)) = event.sent.or(answer.map(|_| (0, 0))) else { return said };
    let late = op(Released::Perhaps(last, last + skew));
    let unsettled = event.is_open() || event.doubt;
    if unsettled {
        said.push(perhaps(own(), late.clone()));
    }
    if unsettled || answer == Some(Released::Done) {
        said.push(perhaps(About::Released(service, wanted), late));
    }
    said
}

fn allocation(place: Place, service: Option<&'static str>, answer: &Answer) -> Vec<Says> {
    let found = match answer {
        Answer::Allocation { name, port } => Some((name.clone(), *port)),
        Answer::Refused(Error::PortNotFound { .. }) => None,
        _ => return Vec::new(),
    };
    vec![certainly(About::Place(place), Op::Allocation(service, found))]
}

/// A list is a read of each port. If the service's range changes, it states nothing about ports that are not in it.
fn list(service: &str, still: Range<u16>, answer: &Answer, op: impl Fn(u16, Option<&str>) -> Op) -> Vec<Says> {
    let Answer::List(items) = answer else { return Vec::new() };
    let range = if service == STILL { still } else { 0..0 };
    let ports: BTreeSet<_> = range.chain(items.iter().map(|(port, _)| *port)).collect();
    let name = |port| items.iter().find(|(at, _)| *at == port).map(|(_, name)| name.as_str());
    ports.into_iter().map(|port| certainly(About::Place(Place::Port(port)), op(port, name(port)))).collect()
}

fn offer(service: &'static str, name: &str, key: Option<&str>, still: Range<u16>, answer: &Answer) -> Vec<Says> {
    match answer {
        Answer::Refused(Error::NameTaken { claim, .. }) => {
            let place = Place::Name(service, name.to_owned());
            vec![certainly(About::Place(place), Op::NameTaken(claim.port.get()))]
        }
        Answer::Refused(Error::RangeExhausted { .. }) if service == STILL => {
            still.map(|port| certainly(About::Place(Place::Port(port)), Op::Taken(service))).collect()
        }
        Answer::Refused(Error::IdempotencyKeyReused) => {
            let place = Place::Key(key.unwrap().to_owned());
            vec![certainly(About::Place(place), Op::KeyReused(name.to_owned()))]
        }
        Answer::Offered { claim, replayed: true } => vec![certainly(About::Claim(*claim), Op::Shown(*claim))],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use portmaster_domain::{Port, ServiceId, ServiceName};

    use super::super::linearize::Stamp;
    use super::*;

    const AHEAD: i64 = 7;
    const SENT: Option<(i64, i64)> = Some((10, 20));

    fn event(act: Act, answer: Answer, doubt: bool, sent: Option<(i64, i64)>) -> Event {
        Event { act, process: 0, began: Stamp::default(), ended: Stamp::default(), answer, doubt, sent }
    }

    /// The statements of an operation, in short: the places, what happened, and a question mark if it need not have
    /// happened.
    fn said(act: Act, answer: Answer, doubt: bool, sent: Option<(i64, i64)>) -> Vec<String> {
        let said = says(&event(act, answer, doubt, sent), AHEAD, 5000..5002);
        said.iter()
            .map(|Says { about, op, certain }| {
                let about = match about {
                    About::Place(place) => format!("{place:?}"),
                    about => format!("{about:?}"),
                };
                format!("{about}: {op:?}{}", if *certain { "" } else { "?" })
            })
            .collect()
    }

    fn service() -> ServiceId {
        ServiceName::try_from("still").unwrap().into()
    }

    fn unknown() -> Answer {
        Answer::Unknown(String::new())
    }

    fn offer_not_found() -> Answer {
        Answer::Refused(Error::OfferNotFound { service: service(), accepted: None })
    }

    fn port_not_found() -> Answer {
        Answer::Refused(Error::PortNotFound { service: None, wanted: String::new(), offered: None })
    }

    #[test]
    fn an_accept_is_said_of_its_claim() {
        let port = Port::new(5000).unwrap();
        for (answer, doubt, expected) in [
            (Answer::Accepted { first: true }, false, &["Claim(3): Accept(3, First)"][..]),
            // It is done, and once: the write whose outcome was ambiguous was this one.
            (Answer::Accepted { first: true }, true, &["Claim(3): Accept(3, First)"]),
            (Answer::Accepted { first: false }, false, &["Claim(3): Accept(3, Again)"]),
            (Answer::Accepted { first: false }, true, &["Claim(3): Accept(3, Again)", "Claim(3): Accept(3, Perhaps)?"]),
            (Answer::Refused(Error::OfferExpired { port }), false, &["Claim(3): Accept(3, Expired)"]),
            (offer_not_found(), true, &["Claim(3): Accept(3, NotFound)", "Claim(3): Accept(3, Perhaps)?"]),
            (unknown(), false, &["Claim(3): Accept(3, Perhaps)?"]),
            (Answer::Stopped, false, &["Claim(3): Accept(3, Perhaps)?"]),
            (Answer::Refused(Error::ServiceNotFound { service: service() }), false, &[]),
        ] {
            assert_eq!(said(Act::Accept(3), answer, doubt, SENT), expected);
        }
    }

    #[test]
    fn a_reject_is_said_of_its_claim() {
        let port = Port::new(5000).unwrap();
        for (answer, doubt, expected) in [
            (Answer::Done, false, &["Claim(3): Reject(3, Done)"][..]),
            (Answer::Done, true, &["Claim(3): Reject(3, Done)", "Claim(3): Reject(3, Perhaps)?"]),
            (Answer::Refused(Error::OfferAccepted { port }), false, &["Claim(3): Reject(3, WasAccepted)"]),
            (offer_not_found(), false, &["Claim(3): Reject(3, NotFound)"]),
            (unknown(), false, &["Claim(3): Reject(3, Perhaps)?"]),
        ] {
            assert_eq!(said(Act::Reject(3), answer, doubt, SENT), expected);
        }
    }

    #[test]
    fn a_release_is_answered_for_its_own_place_and_may_have_happened_on_others() {
        let by_port = || Act::ReleasePort("still", 5000);
        let done = r#"Port(5000): Release("still", None, Done)"#;
        let not_found = r#"Port(5000): Release("still", None, NotFound)"#;
        let late = r#"Port(5000): Release("still", None, Perhaps(20, 27))?"#;
        let others = r#"Released("still", Port(5000)): Release("still", None, Perhaps(20, 27))?"#;
        for (answer, doubt, sent, expected) in [
            (Answer::Done, false, SENT, &[done, others][..]),
            (Answer::Done, true, SENT, &[done, late, others]),
            (port_not_found(), false, SENT, &[not_found]),
            (port_not_found(), true, SENT, &[not_found, late, others]),
            (unknown(), false, SENT, &[late, others]),
            (unknown(), false, None, &[]),
        ] {
            assert_eq!(said(by_port(), answer, doubt, sent), expected);
        }
        let by_name = said(Act::ReleaseName("still", "web-0".to_owned()), Answer::Done, false, SENT);
        assert_eq!(
            by_name,
            [
                r#"Name("still", "web-0"): Release("still", Some("web-0"), Done)"#,
                r#"Released("still", Name("web-0")): Release("still", Some("web-0"), Perhaps(20, 27))?"#,
            ]
        );
    }

    #[test]
    fn a_read_says_what_it_found_and_nothing_where_it_failed() {
        let web = || Answer::Allocation { name: "web-0".to_owned(), port: 5001 };
        let get = || Act::Get("still", "web-0".to_owned());
        for (act, answer, expected) in [
            (Act::ReadOffer(3), Answer::Done, &["Claim(3): Read(3, true)"][..]),
            (Act::ReadOffer(3), offer_not_found(), &["Claim(3): Read(3, false)"]),
            (Act::ReadOffer(3), unknown(), &[]),
            (Act::Find(5001), web(), &[r#"Port(5001): Allocation(None, Some(("web-0", 5001)))"#]),
            (Act::Find(5001), port_not_found(), &["Port(5001): Allocation(None, None)"]),
            (Act::Find(5001), Answer::Stopped, &[]),
            (get(), web(), &[r#"Name("still", "web-0"): Allocation(Some("still"), Some(("web-0", 5001)))"#]),
            (get(), port_not_found(), &[r#"Name("still", "web-0"): Allocation(Some("still"), None)"#]),
            (get(), unknown(), &[]),
        ] {
            assert_eq!(said(act, answer, false, None), expected);
        }
    }

    #[test]
    fn a_list_is_a_look_at_each_port_of_a_range_that_never_changes() {
        let one = || Answer::List(vec![(5001, "web-0".to_owned())]);
        assert_eq!(
            said(Act::Offers("still"), one(), false, None),
            [r#"Port(5000): Offer("still", None)"#, r#"Port(5001): Offer("still", Some("web-0"))"#]
        );
        assert_eq!(
            said(Act::Ports("still"), one(), false, None),
            [
                r#"Port(5000): Allocation(Some("still"), None)"#,
                r#"Port(5001): Allocation(Some("still"), Some(("web-0", 5001)))"#,
            ]
        );
        let moving = Answer::List(vec![(6003, "web-0".to_owned())]);
        assert_eq!(said(Act::Offers("moving"), moving, false, None), [r#"Port(6003): Offer("moving", Some("web-0"))"#]);
        assert_eq!(said(Act::Offers("still"), unknown(), false, None), [""; 0]);
    }

    #[test]
    fn an_offers_answer_says_whose_a_name_or_a_key_is_and_that_every_port_is_taken() {
        let offer = |service| Act::Offer { service, name: "web-0".to_owned(), key: Some("k".to_owned()) };
        let full = || Answer::Refused(Error::RangeExhausted { service: service(), occupancy: Box::default() });
        for (act, answer, expected) in [
            (offer("still"), Answer::Offered { claim: 3, replayed: true }, &["Claim(3): Shown(3)"][..]),
            // Its claim has a beginning of its own.
            (offer("still"), Answer::Offered { claim: 3, replayed: false }, &[]),
            (offer("still"), full(), &[r#"Port(5000): Taken("still")"#, r#"Port(5001): Taken("still")"#]),
            (offer("moving"), full(), &[]),
            (offer("still"), Answer::Refused(Error::IdempotencyKeyReused), &[r#"Key("k"): KeyReused("web-0")"#]),
            (offer("still"), unknown(), &[]),
        ] {
            assert_eq!(said(act, answer, false, SENT), expected);
        }
    }
}
