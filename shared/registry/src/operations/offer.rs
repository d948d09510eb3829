//! Making an offer.
//!
//! An offer acts on the memory and confirms at the source. The claim comes first, on a port that the memory believes
//! free; then the Service is read consistently. If it is gone, closing, or no longer covers the port, the claim is
//! withdrawn. A deletion does the mirror image: it marks the service, *then* reads the live claims. The second of the
//! two sees the first, so no offer that was returned to a caller outlives its service, and no lock has to be shared by
//! all offers.
//!
//! | step | file |
//! |---|---|
//! | choose a port: ask the allocator, read what it asks for | `choose` |
//! | find out that the range is full | `exhaustion` |
//! | claim the port | here |
//! | interpret the reasons for a cancelled claim and act on them | `losses` |
//! | judge the earlier claims of the name and the key | `earlier` |
//! | read the service after the claim; withdraw | `confirm` |
//! | for a PUT: accept what was claimed, or renew what the name has | `finish` |
//!
//! A PUT of a port takes the same steps. With a lease it claims an allocation; without one it claims an offer and
//! accepts it. Where an offer would be refused because the name is taken, a PUT of the same owner *adopts* what the name
//! has, and that is why its claim is treated like one with a key: the owner's retry will find it.

mod choose;
mod confirm;
mod earlier;
mod exhaustion;
mod finish;
mod losses;

use std::time::Duration;

use futures::future::join;
use tokio::time::{Instant, timeout};

use super::memory::Reservation;
use super::scene::{Goal, Scene, begin};
use super::{Error, Registry};
use crate::Call;
use crate::store::{ClaimWrite, Claimed, Instance, NameRule, RequestKey, RequestWrite};
use portmaster_domain::allocator::{Hint, Holder, Knowledge, Search};
use portmaster_domain::{
    Claim, ClaimState, Expiry, Fingerprint, Holding, IdempotencyKey, InstanceName, Labels, Owner, Port, PortRange,
    Secret, ServiceId, Terms,
};

/// How long a claim waits for its hint to be written: roughly as long as the claim itself takes.
const HINTING: Duration = Duration::from_millis(100);

/// What an instance asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The instance's name.
    pub name: InstanceName,
    /// The very port that it wants, if it wants one in particular.
    pub port: Option<Port>,
    /// In whose name it asks.
    pub owner: Option<Owner>,
    /// What is to be noted beside the claim. A PUT that gives none leaves those of an existing port alone.
    pub labels: Option<Labels>,
}

impl From<&InstanceName> for Asked {
    /// A port for this name, any port.
    fn from(name: &InstanceName) -> Self {
        Self { name: name.clone(), port: None, owner: None, labels: None }
    }
}

impl From<InstanceName> for Asked {
    fn from(name: InstanceName) -> Self {
        Self { name, port: None, owner: None, labels: None }
    }
}

/// What the caller of a PUT takes for granted (RFC 9110, section 13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    #[default]
    Anything,
    /// `If-None-Match: *`: that the name has no port.
    Nothing,
    /// `If-Match: *`: that the name has a port.
    Something,
}

/// The outcome of a PUT of a port.
#[derive(Clone, Debug)]
pub enum Put {
    /// The name has a port now.
    Made(Claim),
    /// The name had a port, and has it still.
    Kept(Claim),
}

impl Put {
    /// The port.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        match self {
            Self::Made(claim) | Self::Kept(claim) => claim,
        }
    }
}

/// An offer, and whether an earlier request already made it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The offer, as it was made.
    pub holding: Holding,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// One offer or port in the making.
struct Attempt<'a> {
    scene: Scene<'a>,
    asked: &'a Asked,
    goal: Goal,
    /// What a PUT takes for granted.
    expected: Expected,
    search: Option<Search>,
    /// The rule under which the name may be written, as far as is known.
    rule: NameRule,
    /// The name's last claim, while its port is tried again.
    affinity: Option<Instance>,
    request: Option<RequestWrite>,
    /// This call's view of the whole range, which other processes do not have yet.
    hint: Option<Hint>,
    /// Claims of this call whose outcome is not certain. A transaction that was given up as lost may still arrive; the
    /// name then points to its claim, which is this call's own.
    made: Vec<Secret>,
    /// The terms of the service when a claim was last confirmed.
    agreed: Option<Terms>,
    /// Whether the name's last claim was found to be one whose port only this name may have again.
    may_return: bool,
    /// Whether the name's old port was tried although the range is full.
    came_back: bool,
}

/// How a claim that answers the request came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// This call made it.
    Made,
    /// Another request with this key made it.
    Replayed,
    /// A PUT of the same owner finds that the name has it.
    Adopted,
}

/// A claim that answers the request, if it is [confirmed](Attempt::confirm).
struct Found {
    holding: Box<Holding>,
    origin: Origin,
    /// The original expiry of the offer, known if the claim was found by its key: it may have been accepted since.
    offered_until: Option<Expiry>,
}

impl Found {
    /// A claim that this call made.
    fn ours(holding: Holding) -> Self {
        Self { holding: Box::new(holding), origin: Origin::Made, offered_until: None }
    }

    /// The response: the offer as it was made, even if it has been accepted since.
    fn offered(self) -> Offered {
        let mut holding = *self.holding;
        if let Some(expires_at) = self.offered_until {
            holding.claim.state = ClaimState::Offered { expires_at };
        }
        Offered { holding, replayed: self.origin == Origin::Replayed }
    }
}

/// The outcome of the search for a port.
enum Choice {
    /// A port to claim.
    Port(Reservation),
    /// No port is free, but the request's offer exists already: another request with its key made it, or this call did.
    Found(Found),
}

impl Registry {
    /// Offers a port to an instance.
    ///
    /// With a new name and a warm process this takes one transaction of two items and one consistent read, whatever the
    /// size of the range and however full it is.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::NameTaken`], [`Error::RangeExhausted`],
    /// [`Error::PortTaken`], [`Error::PortNotInRange`], [`Error::IdempotencyKeyReused`], [`Error::ServiceClosing`], and
    /// [`Error::Store`].
    pub async fn offer(
        &self,
        call: &Call,
        service: &ServiceId,
        asked: impl Into<Asked>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Offered, Error> {
        let asked = asked.into();
        let request = key.map(|key| RequestWrite {
            key: RequestKey { digest: key.digest(), fingerprint: asked.fingerprint() },
            replaces: None,
        });
        let mut attempt = Attempt::new(self, call, service, &asked, Goal::Offer);
        attempt.request = request;
        loop {
            if let Some(found) = attempt.next().await? {
                return Ok(found.offered());
            }
        }
    }

    /// Makes sure that a name has a port: gives it one, or renews the one that it has, if that is the same owner's.
    ///
    /// With a lease, a new name and a warm process this takes one transaction of two items and one consistent read, like
    /// an offer. Without a lease it takes one more write. A retry gets the same port.
    ///
    /// # Errors
    /// Those of [`Registry::offer`] except [`Error::IdempotencyKeyReused`], and [`Error::HasPort`] and
    /// [`Error::HasNoPort`], if the caller expected otherwise.
    pub async fn put_port(
        &self,
        call: &Call,
        service: &ServiceId,
        asked: &Asked,
        lease: Option<u32>,
        expected: Expected,
    ) -> Result<Put, Error> {
        let mut attempt = Attempt::new(self, call, service, asked, Goal::Port { lease });
        attempt.expected = expected;
        if expected == Expected::Something {
            return attempt.keep().await;
        }
        loop {
            if let Some(found) = attempt.next().await?
                && let Some(put) = attempt.finish(found, lease).await?
            {
                return Ok(put);
            }
        }
    }
}

impl<'a> Attempt<'a> {
    fn new(registry: &'a Registry, call: &'a Call, service: &'a ServiceId, asked: &'a Asked, goal: Goal) -> Self {
        Self {
            scene: Scene::new(registry, call, service),
            asked,
            goal,
            expected: Expected::Anything,
            search: None,
            rule: NameRule::Free,
            affinity: None,
            request: None,
            hint: None,
            made: Vec::new(),
            agreed: None,
            may_return: false,
            came_back: false,
        }
    }
}

impl Asked {
    /// The fingerprint of a request with an idempotency key. One that asks for nothing but a name has the fingerprint
    /// that older versions computed.
    fn fingerprint(&self) -> Fingerprint {
        let Self { name, port, owner, labels } = self;
        let mut fields = vec![name.to_string()];
        if port.is_some() || owner.is_some() || labels.is_some() {
            fields.push(port.map(|port| port.to_string()).unwrap_or_default());
            fields.push(owner.as_ref().map(ToString::to_string).unwrap_or_default());
            let labels = labels.iter().flat_map(Labels::iter);
            fields.extend(labels.flat_map(|(key, value)| [key.to_owned(), value.to_owned()]));
        }
        Fingerprint::of(&fields.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Attempt<'_> {
    /// One try. Returns a claim that answers the request and that is confirmed, or none if another try is to follow.
    async fn next(&mut self) -> Result<Option<Found>, Error> {
        let found = match self.candidate().await? {
            Choice::Port(candidate) => self.claim(candidate).await?,
            Choice::Found(found) => Some(found),
        };
        match found {
            Some(found) if self.confirm(&found).await? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// Whether a retry of this request will find the claim that it made: by its key, or by its name and owner.
    fn is_found_again(&self) -> bool {
        self.request.is_some() || matches!(self.goal, Goal::Port { .. })
    }

    /// The port to try next: the one that the name had, or one that the allocator chooses.
    async fn candidate(&mut self) -> Result<Choice, Error> {
        let range = match self.scene.place.range() {
            Some(range) => range,
            None => self.scene.read_service().await?,
        };
        if let Some(port) = self.asked.port {
            return self.given(port, range).await;
        }
        match self.affinity {
            Some(last) if range.contains(last.port) => Ok(Choice::Port(self.scene.place.reservation(last.port))),
            _ => self.choose().await,
        }
    }

    /// The very port that was asked for.
    async fn given(&self, port: Port, range: PortRange) -> Result<Choice, Error> {
        // What is remembered may be old.
        if !range.contains(port) {
            let service = self.scene.current_service().await?;
            if !service.range.contains(port) {
                return Err(Error::PortNotInRange { service: self.scene.service.clone(), port, range: service.range });
            }
        }
        Ok(Choice::Port(self.scene.place.reservation(port)))
    }

    /// Claims a port. Returns none if the claim was not made and another try may follow.
    async fn claim(&mut self, candidate: Reservation) -> Result<Option<Found>, Error> {
        // Otherwise the name has no business on the port unless it is free.
        let returns = self.asked.port.is_some() || self.affinity.is_some_and(|last| last.port == candidate.port);
        self.scene.follows |= returns;
        let mut holding = self.scene.new_claim(self.asked, self.goal, candidate.port);
        self.made.push(holding.secret);
        self.scene.call.count(|meter| meter.tries += 1);
        let sent = Instant::now();
        let write = ClaimWrite {
            service: self.scene.service,
            holding: &holding,
            name: match self.rule {
                // The dead claim is on this port and is overwritten.
                NameRule::Dead(at, _) if at == candidate.port => NameRule::Free,
                rule => rule,
            },
            request: self.request.as_ref(),
            now: self.scene.now(),
            past: self.scene.past(),
            returns,
        };
        // The hint is written while the claim is in flight, so nobody waits for it.
        let claimed = match join(
            self.scene.registry.table.claim(self.scene.call, &[write], &self.scene.registry.clock),
            self.leave_hint(),
        )
        .await
        .0
        {
            Ok(claimed) => claimed,
            Err(error) => {
                // The claim may stand all the same. A retry may find it; otherwise, nobody can.
                if !self.is_found_again() {
                    let _ = self.withdraw(&holding).await;
                }
                return Err(error.into());
            }
        };
        let found = match claimed {
            Claimed::Made(began) => {
                begin(&mut holding, began);
                let (holder, now) = (Holder::from(&holding.claim), self.scene.registry.clock.now());
                let round_trip = sent.elapsed().as_secs_f64() * 1000.0;
                self.scene.place.learn(|knowledge| knowledge.record_claim(holder, round_trip, now));
                Some(Found::ours(holding))
            }
            Claimed::Lost(losses) => match losses.into_iter().next() {
                Some(losses) => self.learn(candidate.port, losses).await?,
                None => None,
            },
        };
        self.hint = None;
        Ok(found)
    }

    /// Writes what this call read of the whole range for other processes. It does not matter whether that succeeds.
    async fn leave_hint(&self) {
        let Some(hint) = &self.hint else { return };
        let put = self.scene.registry.table.put_hint(self.scene.call, self.scene.service, hint);
        let _ = timeout(HINTING, put).await;
    }

    /// Whether this call made the claim with this secret.
    fn is_own(&self, secret: Secret) -> bool {
        self.made.contains(&secret)
    }

    /// Records that another caller had the port.
    fn lost(&mut self, learn: impl FnOnce(&mut Knowledge)) {
        self.scene.call.count(|meter| meter.lost_races += 1);
        self.scene.place.learn(learn);
        if let Some(search) = &mut self.search {
            search.record_lost_race();
        }
    }
}
