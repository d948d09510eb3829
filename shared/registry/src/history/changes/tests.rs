//! What the images say, operation by operation: the table of `docs/history.md`.

use portmaster_domain::{
    Claim, Counts, InstanceName, Lease, Namespace, Port, Secret, ServiceId, ServiceName, TenureId, Terms, Usage,
};

use super::*;

const CREATED: i64 = 1_800_000_000_500;
const NOW: i64 = CREATED + 60_000;

/// A second of the clock, counted from the one in which the claim was made.
fn second(number: i64) -> Expiry {
    Expiry::after(Timestamp::from_millis((CREATED.div_euclid(1000) + number) * 1000), 0)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn moment(now: i64) -> Moment {
    Moment { at: at(now), by_ttl: false, nearly_full: 90 }
}

fn offered(until: i64) -> ClaimState {
    ClaimState::Offered { expires_at: second(until) }
}

fn leased(until: i64) -> ClaimState {
    let lease = Lease { until: second(until), expires_at: second(until + 10), seconds: 1 };
    ClaimState::Allocated { accepted: at(CREATED + 100), lease: Some(lease) }
}

const ALLOCATED: ClaimState = ClaimState::Allocated { accepted: Timestamp::from_millis(CREATED + 100), lease: None };

fn claim(state: ClaimState) -> Claim {
    Claim {
        service: ServiceName::try_from("django").unwrap(),
        name: InstanceName::try_from("web-01").unwrap(),
        port: Port::new(5000).unwrap(),
        created: at(CREATED),
        state,
        owner: Some("me".try_into().unwrap()),
        labels: Default::default(),
        principal: None,
        terms: Terms::default(),
        confirmed: true,
        by_put: false,
    }
}

fn secret(number: u8) -> Secret {
    Secret::parse(&format!("13880000-0000-8000-8000-0000000000{number:02x}")).unwrap()
}

/// The image of a claim, held under the secret of this number, or by nobody.
fn image(claim: Claim, held: Option<u8>) -> Image {
    let namespace = Namespace::default();
    let tenure = held.map(|number| TenureId::of(&namespace, claim.port, secret(number)));
    Image::of_port(namespace, claim, tenure, None)
}

fn held(state: ClaimState) -> Image {
    image(claim(state), Some(1))
}

/// How a tenure ended that had this image, and when; the image that followed, and the time.
fn end(before: &Image, after: Option<&Image>, now: i64) -> (End, i64, EventKind) {
    let found = changes(Some(before), after, &moment(now));
    let ended = &found.tenures[0];
    assert_eq!(found.events[0].subject, Subject::Tenure(Box::new(ended.clone())));
    (ended.end.unwrap(), ended.ended.unwrap().millis(), found.events[0].kind)
}

#[test]
fn a_beginning_is_told_once() {
    let offer = changes(None, Some(&held(offered(1800))), &moment(CREATED + 5));
    assert_eq!(
        offer.events.iter().map(|event| (event.kind, event.at)).collect::<Vec<_>>(),
        [(EventKind::PortOffered, at(CREATED))]
    );
    assert_eq!((offer.tenures[0].allocated, offer.tenures[0].ended), (None, None));
    let accepted = changes(Some(&held(offered(1800))), Some(&held(ALLOCATED)), &moment(CREATED + 105));
    assert_eq!(accepted.events[0].kind, EventKind::PortAllocated);
    assert_eq!(accepted.tenures[0].allocated, Some(at(CREATED + 100)));
    assert_eq!(accepted.tenures[0].id, offer.tenures[0].id);
    // A PUT with a lease makes an allocation at once.
    let put = changes(None, Some(&held(leased(60))), &moment(CREATED + 5));
    assert_eq!(put.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::PortAllocated]);
    // A renewal and a confirmation change nothing that is shown.
    assert_eq!(changes(Some(&held(leased(60))), Some(&held(leased(90))), &moment(NOW)), Changes::default());
    let untold = image(Claim { confirmed: false, ..claim(leased(60)) }, Some(1));
    assert_eq!(changes(Some(&untold), Some(&held(leased(60))), &moment(NOW)), Changes::default());
    // Other labels are noted, and no event.
    let labels = std::collections::BTreeMap::from([("run".to_owned(), "17".to_owned())]);
    let labelled = image(Claim { labels: labels.try_into().unwrap(), ..claim(leased(60)) }, Some(1));
    let relabelled = changes(Some(&held(leased(60))), Some(&labelled), &moment(NOW));
    assert_eq!((relabelled.tenures.len(), relabelled.events.len()), (1, 0));
    assert_eq!(relabelled.tenures[0].labels.iter().next(), Some(("run", "17")));
}

#[test]
fn an_end_is_what_the_images_say() {
    let cooling = |lease_until| {
        let state = ClaimState::Cooling { until: second(600), lease_until };
        image(Claim { owner: None, ..claim(state) }, None)
    };
    let quarantined = image(claim(ClaimState::Quarantined { until: second(3600) }), None);
    let next = image(claim(offered(3600)), Some(2));
    let (live, over) = (NOW, CREATED + 4_000_000);
    let until = |seconds: i64| second(seconds).instant().millis();
    use EventKind::{LeaseLapsed, OfferExpired, PortQuarantined, PortReleased};

    let offer = held(offered(1800));
    assert_eq!(end(&offer, None, live), (End::Rejected, live, PortReleased));
    assert_eq!(end(&offer, None, over), (End::OfferExpired, until(1800), OfferExpired), "however late it is removed");
    assert_eq!(end(&offer, Some(&next), over), (End::OfferExpired, until(1800), OfferExpired));
    assert_eq!(end(&offer, Some(&next), live), (End::OfferExpired, until(1800), OfferExpired), "by a faster clock");
    assert_eq!(end(&offer, Some(&quarantined), live), (End::Quarantined, live, PortQuarantined));
    let by_put = image(Claim { by_put: true, ..claim(offered(1800)) }, Some(1));
    assert_eq!(end(&by_put, None, live), (End::Withdrawn, live, PortReleased), "no caller has its secret");

    let forever = held(ALLOCATED);
    assert_eq!(end(&forever, None, over), (End::Released, over, PortReleased));
    assert_eq!(end(&forever, Some(&cooling(None)), over), (End::Released, over, PortReleased));
    assert_eq!(end(&forever, Some(&next), over), (End::Unknown, over, PortReleased), "nothing does this");
    let orphan = Image::of_port(
        Namespace::default(),
        claim(ALLOCATED),
        Some(TenureId::of(&Namespace::default(), Port::new(5000).unwrap(), secret(1))),
        Some(End::Removed),
    );
    assert_eq!(end(&orphan, None, live), (End::Removed, live, PortReleased), "the item itself says so");

    let lease = held(leased(1800));
    let lapsed = (End::LeaseLapsed, until(1800), LeaseLapsed);
    assert_eq!(end(&lease, None, live), (End::Released, live, PortReleased));
    assert_eq!(end(&lease, Some(&cooling(None)), live), (End::Released, live, PortReleased));
    assert_eq!(end(&lease, None, over), lapsed, "removed, or released when it was over already");
    assert_eq!(end(&lease, Some(&cooling(None)), over), lapsed);
    assert_eq!(end(&lease, Some(&cooling(Some(second(1800)))), over), lapsed);
    assert_eq!(end(&lease, Some(&cooling(Some(second(1800)))), live), lapsed, "by a faster clock");
    assert_eq!(end(&lease, Some(&next), over), lapsed);
    let withdrawn = cooling(Some(second(0)));
    assert_eq!(end(&lease, Some(&withdrawn), live), (End::Withdrawn, live, PortReleased));
    let terms = Terms { cooldown: 60, ..Terms::default() };
    let untold = image(Claim { confirmed: false, terms, ..claim(leased(1800)) }, Some(1));
    assert_eq!(end(&untold, None, live), (End::Withdrawn, live, PortReleased), "a release would have left it cooling");
    // TTL removes only what is over, whatever the stream's clock says.
    let by_ttl = Moment { by_ttl: true, ..moment(live) };
    assert_eq!(changes(Some(&lease), None, &by_ttl).tenures[0].end, Some(End::LeaseLapsed));
    // What nobody holds ends no tenure.
    for (before, after) in [(&quarantined, None), (&cooling(None), None), (&withdrawn, Some(&cooling(None)))] {
        assert_eq!(changes(Some(before), after, &moment(over)), Changes::default());
    }
}

#[test]
fn an_end_and_a_beginning_may_be_one_write() {
    let next = image(Claim { created: at(CREATED + 4_000_000), ..claim(offered(9000)) }, Some(2));
    let found = changes(Some(&held(leased(1800))), Some(&next), &moment(CREATED + 4_000_005));
    let ends: Vec<_> = found.tenures.iter().map(|tenure| tenure.end).collect();
    assert_eq!(ends, [Some(End::LeaseLapsed), None]);
    let kinds: Vec<_> = found.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::LeaseLapsed, EventKind::PortOffered]);
}

#[test]
fn nothing_ends_before_it_began() {
    // The stream's clock has seconds.
    let found = changes(Some(&held(ALLOCATED)), None, &moment(CREATED - 500));
    assert_eq!(found.tenures[0].ended, found.tenures[0].allocated);
}

#[test]
fn an_event_that_is_told_twice_has_one_name() {
    let offer = |number| changes(None, Some(&image(claim(offered(1800)), Some(number))), &moment(NOW)).events[0].id();
    assert_eq!(offer(1), offer(1));
    assert_ne!(offer(1), offer(2));
    let other = changes(None, Some(&held(leased(60))), &moment(NOW)).events[0].id();
    assert_ne!(offer(1), other);
    assert!(EventKind::ALL.iter().all(|kind| !kind.slug().contains(' ')));
}

#[test]
fn a_range_is_nearly_full_when_it_becomes_so() {
    let service = ServiceId::from(ServiceName::try_from("django").unwrap());
    let usage = |created: i64, taken: usize| {
        let counts = Counts { free: 100 - taken, allocated: taken, ..Counts::default() };
        let usage = Usage { created: at(created), as_of: at(NOW), counts, largest_free_run: 1, peaks: Vec::new() };
        Image::Usage(service.clone(), Box::new(usage))
    };
    let told = |before: Option<&Image>, after: &Image| {
        changes(before, Some(after), &moment(NOW)).events.iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let yes = vec![EventKind::RangeNearlyFull];
    assert_eq!(told(None, &usage(0, 90)), yes);
    assert_eq!(told(Some(&usage(0, 89)), &usage(0, 90)), yes);
    assert_eq!(told(Some(&usage(0, 90)), &usage(0, 95)), []);
    assert_eq!(told(Some(&usage(0, 95)), &usage(0, 20)), []);
    assert_eq!(told(Some(&usage(1, 95)), &usage(0, 95)), yes, "of an earlier service of the name");
    assert_eq!(changes(Some(&usage(0, 95)), None, &moment(NOW)), Changes::default());
}

#[test]
fn sequences_are_compared_as_numbers() {
    let parse = |text: &str| Sequence::parse(text).unwrap();
    assert!(parse("9") < parse("10"));
    assert!(parse("100000000003498069978") > parse("99999999999999999999"));
    assert_eq!(Sequence::from(17), parse("0017"));
    for bad in ["", "-1", "1.5", "x", &"1".repeat(41)] {
        assert_eq!(Sequence::parse(bad), None, "{bad}");
    }
}
