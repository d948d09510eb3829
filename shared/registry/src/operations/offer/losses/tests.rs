use portmaster_domain::{ClaimState, Expiry, Fingerprint, Labels, Terms, Timestamp};

use super::*;

const TRIED: u16 = 5000;
const FORMER: u16 = 5001;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn secret(number: u16) -> Secret {
    Secret::generate(port(number))
}

fn instance(number: u16, secret: Secret) -> Instance {
    Instance { port: port(number), secret, gone_since: None }
}

fn occupant(number: u16, secret: Secret) -> Occupant {
    Occupant { claim: claim(number), secret: Some(secret) }
}

fn claim(number: u16) -> Claim {
    let created = Timestamp::from_millis(0);
    Claim {
        service: "django".try_into().unwrap(),
        name: "web-01".try_into().unwrap(),
        port: port(number),
        created,
        state: ClaimState::Offered { expires_at: Expiry::after(created, 60) },
        owner: None,
        labels: Labels::default(),
        principal: None,
        terms: Terms::default(),
        confirmed: false,
        by_put: false,
    }
}

fn replay(secret: Secret) -> Replay {
    let expires_at = Expiry::after(Timestamp::from_millis(0), 60);
    let fingerprint = Fingerprint::of(&["web-01"]);
    Replay { port: port(TRIED), secret, fingerprint, offered_until: None, expires_at }
}

/// No condition failed, and only the range is known.
fn nothing() -> (Losses, Tried<'static>) {
    let losses = Losses { port: Reason::None, instance: Reason::None, request: Reason::None, dead: Reason::None };
    let range = PortRange::new(port(5000), port(5009)).unwrap();
    (losses, Tried { port: port(TRIED), rule: NameRule::Free, affinity: None, own: &[], range: Some(range) })
}

#[test]
fn what_is_said_of_the_name() {
    let (own, other) = (secret(TRIED), secret(FORMER));
    for (reason, range, expected) in [
        (Reason::None, true, NameLesson::Nothing),
        (Reason::Throttled, true, NameLesson::Nothing),
        (Reason::Contended, true, NameLesson::Nothing),
        (Reason::Failed(None), true, NameLesson::Free),
        (Reason::Failed(Some(instance(FORMER, own))), true, NameLesson::Own(instance(FORMER, own))),
        // Another port of the range: the name may have it again.
        (Reason::Failed(Some(instance(FORMER, other))), true, NameLesson::Return(instance(FORMER, other))),
        // This port; a port outside the range; an unknown range.
        (Reason::Failed(Some(instance(TRIED, other))), true, NameLesson::Judge(instance(TRIED, other))),
        (Reason::Failed(Some(instance(6000, other))), true, NameLesson::Judge(instance(6000, other))),
        (Reason::Failed(Some(instance(FORMER, other))), false, NameLesson::Judge(instance(FORMER, other))),
    ] {
        let (losses, tried) = nothing();
        let tried = Tried { own: &[own], range: tried.range.filter(|_| range), ..tried };
        let contended = reason == Reason::Contended;
        let lesson = Lesson::of(Losses { instance: reason, ..losses }, &tried);
        assert_eq!((lesson.name, lesson.pause, lesson.port), (expected, contended, PortLesson::Nothing));
        assert_eq!((lesson.key, lesson.not_dead), (None, None));
    }
}

#[test]
fn what_is_said_of_the_port() {
    let (mine, theirs) = (secret(TRIED), secret(TRIED));
    let here = Some(instance(TRIED, mine));
    let elsewhere = Some(instance(FORMER, mine));
    for (reason, affinity, expected) in [
        (Reason::None, here, PortLesson::Nothing),
        (Reason::Throttled, here, PortLesson::Nothing),
        (Reason::Contended, None, PortLesson::Contended { pause: false }),
        // The name may still get its port back, so a wait is worth it.
        (Reason::Contended, here, PortLesson::Contended { pause: true }),
        (Reason::Contended, elsewhere, PortLesson::Contended { pause: true }),
        (Reason::Failed(None), None, PortLesson::Unreadable { judge: None }),
        (Reason::Failed(None), elsewhere, PortLesson::Unreadable { judge: None }),
        (Reason::Failed(None), here, PortLesson::Unreadable { judge: here }),
        (Reason::Failed(Some(occupant(TRIED, mine))), here, PortLesson::Own(claim(TRIED), mine)),
        (Reason::Failed(Some(occupant(TRIED, theirs))), here, PortLesson::Moved(claim(TRIED), instance(TRIED, mine))),
        (Reason::Failed(Some(occupant(TRIED, theirs))), None, PortLesson::Taken(occupant(TRIED, theirs))),
        (Reason::Failed(Some(occupant(TRIED, theirs))), elsewhere, PortLesson::Taken(occupant(TRIED, theirs))),
    ] {
        let (losses, tried) = nothing();
        let lesson = Lesson::of(Losses { port: reason, ..losses }, &Tried { affinity, ..tried });
        assert_eq!((lesson.port, lesson.name, lesson.pause), (expected, NameLesson::Nothing, false));
    }
}

/// The lesson about the name decides whether the port is still the one to return to.
#[test]
fn the_name_comes_before_the_port() {
    let (mine, theirs) = (secret(TRIED), secret(FORMER));
    let affinity = Some(instance(TRIED, mine));
    let (losses, tried) = nothing();
    let failed = Reason::Failed(Some(occupant(TRIED, mine)));
    let moved_on = Reason::Failed(Some(instance(FORMER, theirs)));
    let both = Losses { port: failed, instance: moved_on, ..losses };
    let lesson = Lesson::of(both, &Tried { affinity, ..tried });
    assert_eq!(lesson.name, NameLesson::Return(instance(FORMER, theirs)));
    // The name has moved on, so the holder of this port is a stranger.
    assert_eq!(lesson.port, PortLesson::Taken(occupant(TRIED, mine)));

    let (losses, tried) = nothing();
    let out_of_range = Reason::Failed(Some(instance(6000, theirs)));
    let both = Losses { port: Reason::Contended, instance: out_of_range, ..losses };
    let lesson = Lesson::of(both, &Tried { affinity, ..tried });
    assert_eq!(lesson.port, PortLesson::Contended { pause: false });
}

#[test]
fn what_is_said_of_the_key_and_of_the_dead_claim() {
    let was = secret(FORMER);
    let (losses, tried) = nothing();
    let lesson = Lesson::of(Losses { request: Reason::Failed(Some(replay(was))), ..losses }, &tried);
    assert_eq!((lesson.key, lesson.pause), (Some(replay(was)), false));
    let (losses, tried) = nothing();
    let lesson = Lesson::of(Losses { request: Reason::Contended, ..losses }, &tried);
    assert_eq!((lesson.key, lesson.pause), (None, true));

    let rule = NameRule::Dead(port(FORMER), was);
    for dead in [Reason::Failed(None), Reason::Failed(Some(occupant(FORMER, was)))] {
        let (losses, tried) = nothing();
        let affinity = Some(instance(TRIED, was));
        let losses = Losses { dead, port: Reason::Failed(Some(occupant(TRIED, was))), ..losses };
        let lesson = Lesson::of(losses, &Tried { rule, affinity, ..tried });
        assert_eq!(lesson.not_dead, Some(instance(FORMER, was)));
        // The dead claim is judged first, and after that the name has no port to return to.
        assert_eq!(lesson.port, PortLesson::Taken(occupant(TRIED, was)));
    }
    let (losses, tried) = nothing();
    let lesson = Lesson::of(Losses { dead: Reason::Contended, ..losses }, &Tried { rule, ..tried });
    assert_eq!((lesson.not_dead, lesson.pause), (None, true));
}
