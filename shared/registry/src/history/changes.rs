//! The pure function from the images of an item before and after a write to what has changed.

use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Subject};
use super::image::{Image, PortImage};
use portmaster_domain::{ClaimState, End, Expiry, Service, Tenure, Timestamp};

/// The place of a change among those of the same item: a decimal number, with zeros before it so that the order of the
/// text is that of the numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(String);

impl Sequence {
    /// How many digits DynamoDB's numbers have at most (*DynamoDB API Reference*, `StreamRecord`).
    const DIGITS: usize = 40;

    /// Reads DynamoDB's number; none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_number =
            !text.is_empty() && text.len() <= Self::DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self(format!("{text:0>width$}", width = Self::DIGITS)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u64> for Sequence {
    fn from(number: u64) -> Self {
        Self(format!("{number:0>width$}", width = Self::DIGITS))
    }
}

/// When and how an item changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When the write was done, by the clock of whoever did it.
    pub at: Timestamp,
    /// Whether DynamoDB removed the item because its time was over.
    pub by_ttl: bool,
    /// From how many percent on a range is nearly full.
    pub nearly_full: u32,
}

/// What a write has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Tenures as they are from now on, each of them whole: at most the one that ended and the one that began.
    pub tenures: Vec<Tenure>,
    /// What has happened, in its order.
    pub events: Vec<Event>,
}

/// What has changed between two images of the same item. None stands for an item that is not there.
#[must_use]
pub fn changes(before: Option<&Image>, after: Option<&Image>, moment: &Moment) -> Changes {
    match (before, after) {
        (None, None) => Changes::default(),
        (None | Some(Image::Port(_)), None | Some(Image::Port(_))) => {
            of_port(before.and_then(Image::as_port), after.and_then(Image::as_port), moment)
        }
        (None | Some(Image::Service(_)), None | Some(Image::Service(_))) => {
            of_service(before.and_then(Image::as_service), after.and_then(Image::as_service), moment)
        }
        (before, Some(Image::Usage(service, usage))) => {
            let earlier = match before {
                // A later service of the same name has another history.
                Some(Image::Usage(_, earlier)) if earlier.created == usage.created => earlier.counts.per_mille(),
                _ => 0,
            };
            let bar = moment.nearly_full as usize * 10;
            let crossed = earlier < bar && usage.counts.per_mille() >= bar;
            let event =
                Event::new(EventKind::RangeNearlyFull, usage.as_of, Subject::Usage(service.clone(), usage.clone()));
            Changes { tenures: Vec::new(), events: if crossed { vec![event] } else { Vec::new() } }
        }
        // An item keeps its kind, and a Usage item that TTL removes says nothing.
        _ => Changes::default(),
    }
}

fn of_port(before: Option<&PortImage>, after: Option<&PortImage>, moment: &Moment) -> Changes {
    let (mut was, is) = (before.and_then(PortImage::tenure), after.and_then(PortImage::tenure));
    let mut changes = Changes::default();
    let same = was.as_ref().map(|tenure| &tenure.id) == is.as_ref().map(|tenure| &tenure.id);
    if !same && let (Some(before), Some(was)) = (before, was.take()) {
        let (end, at) = end_of(before, after, moment);
        // A stream's clock has seconds, and another one may be behind.
        let at = at.max(was.allocated.unwrap_or(was.offered));
        let ended = Tenure { end: Some(end), ended: Some(at), ..was };
        changes.events.push(Event::new(EventKind::of_end(end), at, Subject::Tenure(Box::new(ended.clone()))));
        changes.tenures.push(ended);
    }
    let Some(is) = is else { return changes };
    if was.as_ref() == Some(&is) {
        // A renewal: what is shown of a tenure is as before.
        return changes;
    }
    let began = match (was.as_ref().map(|was| was.allocated), is.allocated) {
        (None | Some(None), Some(allocated)) => Some((EventKind::PortAllocated, allocated)),
        (None, None) => Some((EventKind::PortOffered, is.offered)),
        // Its labels are others.
        (Some(_), _) => None,
    };
    if let Some((kind, at)) = began {
        changes.events.push(Event::new(kind, at, Subject::Tenure(Box::new(is.clone()))));
    }
    changes.tenures.push(is);
    changes
}

/// How and when the tenure on an item ended, given the image that followed: absent, another tenure, or a port that
/// nobody holds.
///
/// Where the item's own times decide, they are the answer, however much later something removed it: an offer that was
/// not accepted ended at its expiry, and a lease that was not renewed at the time that its holder was told. So a claim
/// that is deleted after its time has expired, whoever deleted it. The documents say which reasons look the same.
fn end_of(before: &PortImage, after: Option<&PortImage>, moment: &Moment) -> (End, Timestamp) {
    let claim = before.claim();
    let Some((by_itself, until)) = by_itself(claim.state) else {
        // An allocation without a lease.
        return match after.map(|after| after.claim().state) {
            None => (before.ending().unwrap_or(End::Released), moment.at),
            Some(ClaimState::Cooling { lease_until: None, .. }) => (End::Released, moment.at),
            // Nothing overwrites one, or lapses it.
            Some(_) => (End::Unknown, moment.at),
        };
    };
    let expired = (by_itself, until.instant());
    match after.map(|after| after.claim().state) {
        Some(ClaimState::Quarantined { .. }) => (End::Quarantined, moment.at),
        // Only a claim whose time is over is overwritten by the next one.
        Some(ClaimState::Offered { .. } | ClaimState::Allocated { .. }) => expired,
        // A lapse keeps the time that the holder was told. A withdrawal writes that of the claim's beginning.
        Some(ClaimState::Cooling { lease_until: Some(told), .. }) => {
            if told == until {
                expired
            } else {
                (End::Withdrawn, moment.at)
            }
        }
        _ if moment.by_ttl || until.has_passed(moment.at) => expired,
        Some(ClaimState::Cooling { lease_until: None, .. }) => (End::Released, moment.at),
        None => (before.ending().unwrap_or_else(|| deleted(before, by_itself == End::OfferExpired)), moment.at),
    }
}

/// How a live claim ended that was deleted.
fn deleted(before: &PortImage, is_offer: bool) -> End {
    let claim = before.claim();
    match is_offer {
        // No caller has the secret of an offer that a PUT made, so none rejects it.
        true if claim.by_put => End::Withdrawn,
        true => End::Rejected,
        // A release would have left a port that is cooling.
        false if !claim.confirmed && claim.terms.cooldown > 0 => End::Withdrawn,
        false => End::Released,
    }
}

fn of_service(before: Option<&Service>, after: Option<&Service>, moment: &Moment) -> Changes {
    let event = match (before, after) {
        (None, Some(after)) => Some((EventKind::ServiceCreated, after)),
        (Some(before), None) => Some((EventKind::ServiceDeleted, before)),
        // A mark changes the revision only.
        (Some(before), Some(after)) if before.version != after.version => Some((EventKind::ServiceChanged, after)),
        _ => None,
    };
    let event = event.map(|(kind, service)| {
        let at = if kind == EventKind::ServiceCreated { service.created } else { moment.at };
        Event::new(kind, at, Subject::Service(Box::new(service.clone())))
    });
    Changes { tenures: Vec::new(), events: event.into_iter().collect() }
}

/// When somebody reads that a tenure is over by its own time, though nothing has removed it yet.
pub(crate) fn over_by_itself(state: ClaimState, now: Timestamp) -> Option<(End, Timestamp)> {
    by_itself(state).filter(|(_, until)| until.has_passed(now)).map(|(end, until)| (end, until.instant()))
}

/// How and when the tenure of a claim in this state ends by itself, if it does.
fn by_itself(state: ClaimState) -> Option<(End, Expiry)> {
    let end = if matches!(state, ClaimState::Offered { .. }) { End::OfferExpired } else { End::LeaseLapsed };
    Some((end, state.told_until()?))
}

#[cfg(test)]
mod tests;
