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

mod choose;
mod confirm;
mod earlier;
mod exhaustion;
mod losses;

use std::time::Duration;

use futures::future::join;
use tokio::time::{Instant, timeout};

use super::memory::{Place, Reservation};
use super::{Error, Registry};
use crate::Call;
use crate::store::{ClaimWrite, Claimed, Instance, NameRule, RequestKey, RequestWrite};
use portmaster_domain::allocator::{Hint, Holder, Knowledge, Search};
use portmaster_domain::{
    Claim, ClaimState, Expiry, Fingerprint, Holding, IdempotencyKey, InstanceName, Port, Secret, ServiceId,
};

/// How long a claim waits for its hint to be written: roughly as long as the claim itself takes.
const HINTING: Duration = Duration::from_millis(100);

/// An offer, and whether an earlier request already made it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The offer, as it was made.
    pub holding: Holding,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// One offer in the making.
struct Attempt<'a> {
    registry: &'a Registry,
    call: &'a Call,
    service: &'a ServiceId,
    name: &'a InstanceName,
    place: Place,
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
    made: Vec<Holding>,
}

/// A claim that answers the request, if it is [confirmed](Attempt::confirm).
struct Found {
    holding: Box<Holding>,
    /// Whether another request with this key made it.
    replayed: bool,
    /// The original expiry of the offer, known if the claim was found by its key: it may have been accepted since.
    offered_until: Option<Expiry>,
}

impl Found {
    /// A claim that this call made.
    fn ours(holding: Holding) -> Self {
        Self { holding: Box::new(holding), replayed: false, offered_until: None }
    }

    /// The response: the offer as it was made, even if it has been accepted since.
    fn offered(self) -> Offered {
        let mut holding = *self.holding;
        if let Some(expires_at) = self.offered_until {
            holding.claim.state = ClaimState::Offered { expires_at };
        }
        Offered { holding, replayed: self.replayed }
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
    /// [`Error::ServiceNotFound`], [`Error::NameTaken`], [`Error::RangeExhausted`], [`Error::IdempotencyKeyReused`],
    /// [`Error::ServiceClosing`], and [`Error::Store`].
    pub async fn offer(
        &self,
        call: &Call,
        service: &ServiceId,
        name: &InstanceName,
        key: Option<&IdempotencyKey>,
    ) -> Result<Offered, Error> {
        let request = key.map(|key| RequestWrite {
            key: RequestKey { digest: key.digest(), fingerprint: Fingerprint::of(&[name.as_str()]) },
            replaces: None,
        });
        let attempt = Attempt {
            registry: self,
            call,
            service,
            name,
            place: self.memory.place(service),
            search: None,
            rule: NameRule::Free,
            affinity: None,
            request,
            hint: None,
            made: Vec::new(),
        };
        attempt.run().await
    }
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Offered, Error> {
        loop {
            let found = match self.candidate().await? {
                Choice::Port(candidate) => self.claim(candidate).await?,
                Choice::Found(found) => Some(found),
            };
            if let Some(found) = found
                && self.confirm(&found).await?
            {
                return Ok(found.offered());
            }
        }
    }

    /// The port to try next: the one that the name had, or one that the allocator chooses.
    async fn candidate(&mut self) -> Result<Choice, Error> {
        let range = match self.place.range() {
            Some(range) => range,
            None => self.read_service().await?,
        };
        match self.affinity {
            Some(last) if range.contains(last.port) => Ok(Choice::Port(self.place.reservation(last.port))),
            _ => self.choose().await,
        }
    }

    /// Claims a port. Returns none if the claim was not made and another try may follow.
    async fn claim(&mut self, candidate: Reservation) -> Result<Option<Found>, Error> {
        let holding = self.new_claim(candidate.port);
        self.made.push(holding.clone());
        self.call.count(|meter| meter.tries += 1);
        let sent = Instant::now();
        let write = ClaimWrite {
            service: self.service,
            holding: &holding,
            name: match self.rule {
                // The dead claim is on this port and is overwritten.
                NameRule::Dead(at, _) if at == candidate.port => NameRule::Free,
                rule => rule,
            },
            request: self.request.as_ref(),
            now: self.registry.clock.now(),
        };
        // The hint is written while the claim is in flight, so nobody waits for it.
        let claimed = match join(self.registry.table.claim(self.call, &write), self.leave_hint()).await.0 {
            Ok(claimed) => claimed,
            Err(error) => {
                // The claim may stand all the same. With a key a retry will find it; without one, nobody can.
                if self.request.is_none() {
                    let _ = self.withdraw(&holding).await;
                }
                return Err(error.into());
            }
        };
        let found = match claimed {
            Claimed::Made => {
                let (holder, now) = (Holder::from(&holding.claim), self.registry.clock.now());
                let round_trip = sent.elapsed().as_secs_f64() * 1000.0;
                self.place.learn(|knowledge| knowledge.record_claim(holder, round_trip, now));
                Some(Found::ours(holding))
            }
            Claimed::Lost(losses) => self.learn(candidate.port, *losses).await?,
        };
        self.hint = None;
        Ok(found)
    }

    /// Writes what this call read of the whole range for other processes. It does not matter whether that succeeds.
    async fn leave_hint(&self) {
        let Some(hint) = &self.hint else { return };
        let put = self.registry.table.put_hint(self.call, self.service, hint);
        let _ = timeout(HINTING, put).await;
    }

    fn new_claim(&self, port: Port) -> Holding {
        let now = self.registry.clock.now();
        let claim = Claim {
            service: self.service.name.clone(),
            name: self.name.clone(),
            port,
            created: now,
            state: ClaimState::Offered { expires_at: Expiry::after(now, self.registry.offer_seconds.into()) },
        };
        Holding { claim, secret: Secret::generate(port) }
    }

    /// This call's own claim with this secret, if there is one.
    fn own(&self, secret: Secret) -> Option<&Holding> {
        self.made.iter().find(|made| made.secret == secret)
    }

    /// Records that another caller had the port.
    fn lost(&mut self, learn: impl FnOnce(&mut Knowledge)) {
        self.call.count(|meter| meter.lost_races += 1);
        self.place.learn(learn);
        if let Some(search) = &mut self.search {
            search.record_lost_race();
        }
    }

    /// The refusal of a name that has this claim.
    fn name_has(&self, claim: Claim) -> Error {
        Error::NameTaken { service: self.service.clone(), claim: Box::new(claim) }
    }

    async fn pause(&self) {
        tokio::time::sleep(self.registry.chance.pause(5..25)).await;
    }
}
