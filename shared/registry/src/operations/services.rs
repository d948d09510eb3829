//! Services: create, read, change, delete.
//!
//! Deleting and shrinking give up ports while an offer of one of them may be in flight. Both first set a mark, then
//! read the live claims, and give up the ports last. The module `offer` describes the other half of that handshake.

use std::time::Duration;

use backon::ExponentialBackoff;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::{Error, Listed, Registry};
use crate::Call;
use crate::store::{Lapse, Marked, Ranges, Removed, Rewriting, Rewritten, StoreError, backoff, wait};
use portmaster_domain::{
    Change, Claim, Description, Holding, Mark, Namespace, Occupant, PortRange, Reserved, Service, ServiceId,
    ServiceName, StateKind, Strategy, Terms, Version,
};

/// How long the mark of another call is left alone. Its deletion takes a few round trips, unless the call died.
const FOREIGN_MARK: Duration = Duration::from_secs(1);

/// How many dead claims are removed at the same time.
const REMOVALS: usize = 16;

/// A service to be created.
#[derive(Clone, Debug)]
pub struct NewService {
    /// Its namespace, and its name in it.
    pub id: ServiceId,
    /// Its content.
    pub content: Content,
}

/// The part of a service that callers choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its description.
    pub description: Description,
    /// Its range of ports.
    pub range: PortRange,
    /// How it chooses ports.
    pub strategy: Strategy,
    /// Its leases, its cool-down and its quarantine.
    pub terms: Terms,
    /// The ports that it only gives to those who ask for them by number.
    pub reserved: Reserved,
}

impl Content {
    /// A content with the terms that every service has by default, and no reserved ports.
    #[must_use]
    pub fn new(description: Description, range: PortRange, strategy: Strategy) -> Self {
        Self { description, range, strategy, terms: Terms::default(), reserved: Reserved::default() }
    }

    /// The current content of a service.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let Service { description, range, strategy, terms, reserved, .. } = service.clone();
        Self { description, range, strategy, terms, reserved }
    }

    fn put_into(self, old: &Service) -> Service {
        // If the content is unchanged and only a mark is overtaken, the version stays the same.
        let version = if self == Self::of(old) { old.version } else { Version::unique() };
        let Self { description, range, strategy, terms, reserved } = self;
        let revision = Version::unique();
        Service { description, range, strategy, terms, reserved, version, revision, mark: None, ..old.clone() }
    }
}

/// The outcome of a PUT.
#[derive(Clone, Debug)]
pub enum Written {
    /// There was no such service; it was created.
    Created(Service),
    /// The service existed and has the new content.
    Replaced(Service),
}

/// The precondition of `If-Match` (RFC 9110, section 13.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// None was given.
    #[default]
    Always,
    /// `*`: the service exists.
    Exists,
    /// Its version is one of these.
    OneOf(Vec<String>),
}

impl IfMatch {
    fn check(&self, service: Option<&Service>) -> Result<(), Error> {
        let holds = match (self, service) {
            (Self::Always, _) | (Self::Exists, Some(_)) => true,
            (Self::OneOf(versions), Some(service)) => versions.contains(&service.version.to_string()),
            (Self::Exists | Self::OneOf(_), None) => false,
        };
        if holds { Ok(()) } else { Err(Error::PreconditionFailed) }
    }
}

/// Retry state while other calls change the same service.
struct Contest<'a> {
    call: &'a Call,
    service: &'a ServiceId,
    backoff: ExponentialBackoff,
    /// The revision of a service that carries another call's mark, and since when this call has seen it. No clocks are
    /// compared.
    foreign: Option<(Version, Instant)>,
}

impl<'a> Contest<'a> {
    fn new(call: &'a Call, service: &'a ServiceId) -> Self {
        Self { call, service, backoff: backoff(), foreign: None }
    }

    /// Waits a little before the service is read again.
    async fn pause(&mut self) -> Result<(), Error> {
        wait(self.call, &mut self.backoff, "another change of the service")
            .await
            .map_err(|_| Error::ServiceClosing { service: self.service.clone() })
    }

    /// Whether the service may be changed now. Another call's mark is overtaken only after it has stood for a while.
    /// The attempt that set it then ends without effect, since its last step is conditional on the mark being its own.
    async fn may_go_on(&mut self, service: &Service) -> Result<bool, Error> {
        if service.mark.is_none() {
            return Ok(true);
        }
        match self.foreign {
            Some((revision, since)) if revision == service.revision => {
                if since.elapsed() >= FOREIGN_MARK {
                    return Ok(true);
                }
            }
            _ => {
                self.foreign = Some((service.revision, Instant::now()));
                self.backoff = backoff();
            }
        }
        self.pause().await?;
        Ok(false)
    }
}

impl Registry {
    /// Creates a service.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceExists`], [`Error::RangeOverlap`], [`Error::Store`].
    pub async fn create_service(&self, call: &Call, new: NewService) -> Result<Service, Error> {
        let NewService { id, content } = new;
        let service = Service {
            id,
            description: content.description,
            range: content.range,
            strategy: content.strategy,
            terms: content.terms,
            reserved: content.reserved,
            created: self.clock.now(),
            version: Version::unique(),
            revision: Version::unique(),
            mark: None,
        };
        let mut waits = backoff();
        let mut doubts = 0;
        loop {
            let ranges = self.table.ranges(call, &service.id.namespace).await?;
            if ranges.claimed.intersects(service.range) {
                let services = self.table.all_services(call, &service.id.namespace).await?;
                if services.iter().any(|other| other.id == service.id) {
                    return Err(Error::ServiceExists { service: service.id });
                }
                let conflicts = conflicts(services, &service);
                // No service has these ports, so one had them a moment ago. If that is wrong, the reconciler will find
                // out.
                if conflicts.is_empty() && doubts < 3 {
                    doubts += 1;
                    wait(call, &mut waits, "another service's change of range").await?;
                    continue;
                }
                return Err(Error::RangeOverlap { range: service.range, conflicts });
            }
            match self.table.create_service(call, &service, &ranges).await? {
                Rewritten::Done => {
                    self.memory.place(&service.id).remember(&service);
                    return Ok(service);
                }
                Rewritten::ServiceChanged(_) => return Err(Error::ServiceExists { service: service.id }),
                Rewritten::NamespaceAbsent => {
                    return Err(Error::NamespaceNotFound { namespace: service.id.namespace });
                }
                Rewritten::RangesChanged => wait(call, &mut waits, "another service's change of range").await?,
            }
        }
    }

    /// Returns a service.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::Store`].
    pub async fn get_service(&self, call: &Call, service: &ServiceId) -> Result<Service, Error> {
        match self.table.service(call, service).await? {
            Some(found) => Ok(found),
            None => Err(self.no_service(call, service).await),
        }
    }

    /// Lists services by name, starting after the one given.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::Store`].
    pub async fn list_services(
        &self,
        call: &Call,
        namespace: &Namespace,
        after: Option<&ServiceName>,
        limit: usize,
    ) -> Result<Listed<Service, ServiceName>, Error> {
        let (items, more) = self.table.services(call, namespace, after, limit).await?;
        if items.is_empty() {
            self.has_namespace(call, namespace).await?;
        }
        let next = items.last().filter(|_| more).map(|last| last.id.name.clone());
        Ok(Listed { items, next })
    }

    /// Creates a service, or replaces its content if it exists.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::RangeOverlap`], [`Error::RangeInUse`], [`Error::PreconditionFailed`],
    /// [`Error::ServiceClosing`], [`Error::Store`].
    pub async fn put_service(&self, call: &Call, new: NewService, if_match: &IfMatch) -> Result<Written, Error> {
        loop {
            let replaced = self.change_existing(call, &new.id, if_match, |_| Ok(new.content.clone())).await?;
            match replaced {
                Some(replaced) => return Ok(Written::Replaced(replaced)),
                None => if_match.check(None)?,
            }
            match self.create_service(call, new.clone()).await {
                // Another call created it first, so it is to be replaced.
                Err(Error::ServiceExists { .. }) if !call.is_over() => {}
                other => return other.map(Written::Created),
            }
        }
    }

    /// Changes the content of a service, based on its current content. If nothing changes, nothing is written.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::RangeOverlap`], [`Error::RangeInUse`],
    /// [`Error::PreconditionFailed`], [`Error::ServiceClosing`], [`Error::Store`], and the errors of `change`.
    pub async fn change_service(
        &self,
        call: &Call,
        service: &ServiceId,
        if_match: &IfMatch,
        change: impl Fn(&Service) -> Result<Content, Error>,
    ) -> Result<Service, Error> {
        match self.change_existing(call, service, if_match, change).await? {
            Some(changed) => Ok(changed),
            None => Err(self.no_service(call, service).await),
        }
    }

    /// Changes the content of a service. Returns none if there is no such service.
    async fn change_existing(
        &self,
        call: &Call,
        service: &ServiceId,
        if_match: &IfMatch,
        change: impl Fn(&Service) -> Result<Content, Error>,
    ) -> Result<Option<Service>, Error> {
        let mut contest = Contest::new(call, service);
        loop {
            let Some(old) = self.table.service(call, service).await? else { return Ok(None) };
            if_match.check(Some(&old))?;
            if !contest.may_go_on(&old).await? {
                continue;
            }
            let content = change(&old)?;
            if content == Content::of(&old) && old.mark.is_none() {
                return Ok(Some(old));
            }
            let new = content.put_into(&old);
            let done = if new.range == old.range {
                self.table.rewrite_service(call, Rewriting::Content, &old, &new).await? == Marked::Done
            } else if new.range.covers(old.range) {
                self.resize(call, &old, &new).await?
            } else {
                self.shrink(call, &old, &new).await?
            };
            if done {
                self.memory.place(service).remember(&new);
                return Ok(Some(new));
            }
            contest.pause().await?;
        }
    }

    /// Replaces a service and its range in one transaction, once the ports it gives up are clear. Returns false if the
    /// service has changed.
    async fn resize(&self, call: &Call, old: &Service, new: &Service) -> Result<bool, Error> {
        let mut waits = backoff();
        loop {
            let ranges = self.table.ranges(call, &new.id.namespace).await?;
            if !self.is_free(call, &ranges, old, new).await? {
                return Ok(false);
            }
            match self.table.resize_service(call, old, new, &ranges).await? {
                Rewritten::Done => return Ok(true),
                // Only a creation asks for the namespace.
                Rewritten::ServiceChanged(_) | Rewritten::NamespaceAbsent => return Ok(false),
                Rewritten::RangesChanged => wait(call, &mut waits, "another service's change of range").await?,
            }
        }
    }

    /// Whether nobody has the ports that the service would gain. Returns false if they are claimed but no other service
    /// has them: then this service has them by now, and was changed since it was read.
    async fn is_free(&self, call: &Call, ranges: &Ranges, old: &Service, new: &Service) -> Result<bool, Error> {
        if !new.range.without(old.range).into_iter().any(|part| ranges.claimed.intersects(part)) {
            return Ok(true);
        }
        let conflicts = conflicts(self.table.all_services(call, &new.id.namespace).await?, new);
        if conflicts.is_empty() { Ok(false) } else { Err(Error::RangeOverlap { range: new.range, conflicts }) }
    }

    /// Gives up part of a range: sets the mark, reads the claims, removes the dead ones, and resizes.
    async fn shrink(&self, call: &Call, old: &Service, new: &Service) -> Result<bool, Error> {
        // An overlap is reported before anything is marked. The last step checks again.
        let ranges = self.table.ranges(call, &new.id.namespace).await?;
        if !self.is_free(call, &ranges, old, new).await? {
            return Ok(false);
        }
        let marked = self.marked(old, Change::Shrink, old.range.intersection(new.range));
        if !self.mark(call, old, &marked).await? {
            return Ok(false);
        }
        let outcome = async {
            let in_use = self.clear(call, &old.id, &old.range.without(new.range)).await?;
            if in_use.is_empty() {
                self.resize(call, &marked, new).await
            } else {
                Err(Error::RangeInUse { range: new.range, claims: in_use })
            }
        }
        .await;
        // The mark may also still stand if the range was not resized. If the mark was overtaken, this does nothing.
        if !matches!(outcome, Ok(true)) {
            self.unmark(call, &marked).await;
        }
        outcome
    }

    /// Deletes a service that has no live claims.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::ServiceNotFound`], [`Error::ServiceInUse`],
    /// [`Error::PreconditionFailed`], [`Error::ServiceClosing`], [`Error::Store`].
    pub async fn delete_service(&self, call: &Call, service: &ServiceId, if_match: &IfMatch) -> Result<(), Error> {
        let mut contest = Contest::new(call, service);
        loop {
            let old = self.get_service(call, service).await?;
            if_match.check(Some(&old))?;
            if !contest.may_go_on(&old).await? {
                continue;
            }
            let marked = self.marked(&old, Change::Delete, None);
            if !self.mark(call, &old, &marked).await? {
                contest.pause().await?;
                continue;
            }
            match self.delete_marked(call, &marked).await {
                Ok(true) => {
                    self.memory.place(service).forget();
                    return Ok(());
                }
                Ok(false) => contest.pause().await?,
                Err(error) => {
                    self.unmark(call, &marked).await;
                    return Err(error);
                }
            }
        }
    }

    /// Deletes a marked service. Returns false if another attempt has overtaken this one.
    async fn delete_marked(&self, call: &Call, marked: &Service) -> Result<bool, Error> {
        let in_use = self.clear(call, &marked.id, &[marked.range]).await?;
        if !in_use.is_empty() {
            let offers = || in_use.iter().filter(|claim| claim.state.kind() == StateKind::Offered);
            let until = offers().filter_map(Claim::expires_at).max();
            let offers = offers().count();
            let ports = in_use.len() - offers;
            return Err(Error::ServiceInUse { service: marked.id.clone(), offers, ports, until });
        }
        let mut waits = backoff();
        loop {
            let ranges = self.table.ranges(call, &marked.id.namespace).await?;
            match self.table.delete_service(call, marked, &ranges).await? {
                // The service may also be gone because an earlier send deleted it, or another deletion that overtook
                // this one.
                Rewritten::Done | Rewritten::ServiceChanged(None) => return Ok(true),
                Rewritten::ServiceChanged(Some(_)) | Rewritten::NamespaceAbsent => return Ok(false),
                Rewritten::RangesChanged => wait(call, &mut waits, "another service's change of range").await?,
            }
        }
    }

    fn marked(&self, service: &Service, change: Change, keep: Option<PortRange>) -> Service {
        let mark = Mark { change, since: self.clock.now(), keep };
        Service { mark: Some(mark), revision: Version::unique(), ..service.clone() }
    }

    /// Sets a mark. Returns false if the service has changed. If it is in doubt whether the mark stands, it is taken
    /// off.
    async fn mark(&self, call: &Call, old: &Service, marked: &Service) -> Result<bool, Error> {
        match self.table.rewrite_service(call, Rewriting::Mark, old, marked).await {
            Ok(set) => Ok(set == Marked::Done),
            Err(error) => {
                self.unmark(call, marked).await;
                Err(error.into())
            }
        }
    }

    /// Takes a mark off if it is still this one, and returns whether it was. If that fails, the next change of the
    /// service or the reconciler takes it off.
    pub(super) async fn unmark(&self, call: &Call, marked: &Service) -> bool {
        let plain = Service { mark: None, revision: Version::unique(), ..marked.clone() };
        match self.table.rewrite_service(&call.extended(), Rewriting::Unmark, marked, &plain).await {
            Ok(taken_off) => taken_off == Marked::Done,
            Err(error) => {
                tracing::warn!(service = %marked.id, %error, "a mark was left behind");
                false
            }
        }
    }

    /// Reads the claims of the service on these ports, under a mark that keeps new offers out, and returns all live
    /// ones. If there are none, it removes the dead ones, each on condition that it is still that claim and still dead,
    /// so that no caller with a slow clock can accept one once the service is gone. A lease that is over by more than
    /// clocks differ is made gone as well, for the same reason, and its port goes on cooling; until then it counts as
    /// live. So does a claim that was accepted or renewed meanwhile. Ports that are cooling or in quarantine are nobody's
    /// and stay as they are.
    async fn clear(&self, call: &Call, service: &ServiceId, parts: &[PortRange]) -> Result<Vec<Claim>, Error> {
        let mut found = Vec::new();
        for part in parts {
            let mut rest = Some(*part);
            while let Some(part) = rest {
                let page = self.table.holdings(call, &service.namespace, part, None).await?;
                if let Some(port) = page.unreadable.first() {
                    // It may be a live claim, perhaps of this service.
                    let reason = "whose it is cannot be told, so its range is not given up".to_owned();
                    return Err(StoreError::Damaged { key: format!("of port {port}"), reason }.into());
                }
                found.extend(page.items.into_iter().filter(|found| found.claim.service == service.name));
                rest = page.next.and_then(|next| part.starting_at(next));
            }
        }
        let found: Vec<_> = found.into_iter().filter_map(Occupant::holding).collect();
        let (now, past) = (self.now(), self.past());
        let is_over = |claim: &Claim| claim.lease().is_some_and(|lease| lease.until.has_passed(past));
        let is_live = |claim: &Claim| claim.state.occupies_port(now) && !is_over(claim);
        let live: Vec<_> = found.iter().map(|holding| &holding.claim).filter(|claim| is_live(claim)).cloned().collect();
        if !live.is_empty() {
            return Ok(live);
        }
        let removals = found.into_iter().map(|Holding { claim, secret }| async move {
            let removed = if claim.state.occupies_port(now) {
                let (place, over) = ((claim.port, secret), Lapse::Over(past));
                self.table.lapse(call, &service.namespace, place, over).await?
            } else {
                self.table.remove_dead(call, &service.namespace, claim.port, now).await?
            };
            Ok::<_, StoreError>(match removed {
                Removed::Not(Some(found)) if found.has(secret) => Some(found.claim),
                Removed::Now | Removed::Not(..) => None,
            })
        });
        let revived: Vec<_> = stream::iter(removals).buffer_unordered(REMOVALS).try_collect().await?;
        Ok(revived.into_iter().flatten().collect())
    }
}

/// The other services whose ranges overlap a service's range.
fn conflicts(services: Vec<Service>, wanted: &Service) -> Vec<(ServiceName, PortRange)> {
    services
        .into_iter()
        .filter(|other| other.id != wanted.id && other.range.intersection(wanted.range).is_some())
        .map(|other| (other.id.name, other.range))
        .collect()
}
