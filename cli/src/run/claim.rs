//! Taking the ports, renewing them and giving them back.
//!
//! **A port is taken by `PUT` with a lease, and only then tried.** The API's other way is an offer, which is accepted
//! after the trial. It costs a second call each time, and an offer whose secret died with its job blocks the name for half
//! an hour. A `PUT` that nobody follows up lapses with its lease, the same owner's next one finds the same port, and a set
//! is all or none. Only a port that turns out to be in use, which is rare, takes the way of an offer, because only an offer
//! can be rejected as in use: the port is released, offered to the same name, rejected into quarantine, and the next one is
//! taken. If somebody else gets it in between, they will find out for themselves.

mod used;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use portmaster_client::domain::{InstanceName, Labels, Owner, Port as Number, ServiceName};
use portmaster_client::wire::{Kind, LeaseSeconds, NewPort, NewSet, Port, Renewal as LongerLease};
use portmaster_client::{Client, Error, Holder, Precondition};

use super::clock::{self, Moment, now};
use super::lease::{Lease, Renewal};
use super::names::{Names, Origin};
use super::{Voice, probe};
use crate::Failure;
use crate::args::values::show;

/// The longest pause between two attempts while a range is full. Ports come back earlier than `Retry-After` says, whenever
/// a job ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause where the answer names none.
const PAUSE: Duration = Duration::from_secs(2);
/// How long giving the ports back may take. What does not succeed by then is left to the lease.
pub(super) const RELEASE: Duration = Duration::from_secs(2);

/// How long giving the ports back may take after a command that ended by itself. Nobody is waiting to kill this program
/// then, and a port that is not given back is missing for the rest of its lease.
pub(super) const RELEASE_AT_LEISURE: Duration = Duration::from_secs(10);
/// The shortest deadline of a call under `--wait`: a registry that has to start first needs some time.
const SHORTEST_CALL: Duration = Duration::from_secs(5);
/// After how long without an answer the user hears that there is none yet.
const SILENCE: Duration = Duration::from_secs(3);

/// What is to be taken.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of which service.
    pub service: ServiceName,
    /// For whom: one name for each port. The first port is the command's `PORT`.
    pub names: Names,
    /// Who holds them.
    pub owner: Owner,
    /// For how long at a time.
    pub lease: LeaseSeconds,
    /// Notes.
    pub labels: Option<Labels>,
    /// The very port, where there is one name.
    pub port: Option<Number>,
    /// Whether the ports of several names are neighbours.
    pub contiguous: bool,
    /// How long to wait for ports that others have.
    pub wait: Duration,
    /// Whether the ports are tried on this host.
    pub probe: bool,
}

/// Ports that were taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// With their names, in the order of the parts.
    pub ports: Vec<(InstanceName, Number)>,
    /// Their lease; none if they are permanent, as an owner's earlier ports may be.
    pub lease: Option<Lease>,
}

/// The registry, as far as one command's ports are concerned.
pub(super) struct Claim<'a> {
    client: &'a Client,
    wanted: Wanted,
    /// For which names the ports are taken now.
    names: RefCell<Names>,
    /// The names whose ports are given back at the end: those of which the registry may believe that they are this
    /// command's, and nobody else's. A name is there before the first call for it is sent.
    ours: RefCell<BTreeSet<InstanceName>>,
    /// How long a lease is that was asked for: what the registry made of the wish, where it has said so.
    length: Cell<Duration>,
    /// Names whose ports this command has made, and did not find.
    made: RefCell<BTreeSet<InstanceName>>,
    /// Whether a call is under way whose answer alone says whose the port is.
    asking: Cell<bool>,
}

impl<'a> Claim<'a> {
    /// Nothing is taken yet.
    pub(super) fn new(client: &'a Client, wanted: Wanted) -> Self {
        let length = Cell::new(Duration::from_secs(wanted.lease.get().into()));
        let names = RefCell::new(wanted.names.clone());
        let (ours, made) = (RefCell::default(), RefCell::default());
        Self { client, wanted, names, ours, length, made, asking: Cell::new(false) }
    }

    /// Takes the ports: all or none. If this is dropped before it is done, [`Self::release`] gives back what it may have
    /// taken. The voice tells the user why it takes long.
    ///
    /// # Errors
    ///
    /// Why there is no port.
    pub(super) async fn take(&self, voice: &Voice<'_>) -> Result<Taken, Failure> {
        let until = now().saturating_add(self.wanted.wait);
        let mut tries = 0;
        loop {
            let (ports, lease) = self.put_until(until, voice).await?;
            let used = match self.wanted.probe {
                true => ports.iter().filter_map(|port| Some((port, probe::in_use(port.port.get())?))).collect(),
                false => Vec::new(),
            };
            if used.is_empty() {
                self.say_what_was_found(&ports, voice);
                return Ok(Taken { ports: ports.into_iter().map(|port| (port.name, port.port)).collect(), lease });
            }
            tries += 1;
            self.give_up_used(&used, tries, voice).await?;
        }
    }

    /// A port that a chosen name had already may be one that somebody has put there to stay.
    fn say_what_was_found(&self, ports: &[Port], voice: &Voice<'_>) {
        if self.names.borrow().origin() != Origin::Chosen {
            return;
        }
        for port in ports.iter().filter(|port| !self.made.borrow().contains(&port.name)) {
            (voice.warn)(&format!("{} had port {} already, which is given back at the end", port.name, port.port));
        }
    }

    /// Asks for the ports until there are some, or until then.
    async fn put_until(&self, until: Moment, voice: &Voice<'_>) -> Result<(Vec<Port>, Option<Lease>), Failure> {
        let mut said = false;
        let mut say = |why: &str| {
            if !std::mem::replace(&mut said, true) {
                (voice.note)(&format!("waiting for a port, for {} at most: {why}", show(self.wanted.wait)));
            }
        };
        loop {
            let left = until.saturating_sub(now());
            // Without `--wait` a call takes as long as any other.
            let client = match self.wanted.wait.is_zero() {
                true => self.client.clone(),
                false => self.client.with_deadline(left.max(SHORTEST_CALL)),
            };
            let error = match self.put_or_say(&client, &mut say).await {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {
                    self.use_other_names(voice, "another command's port has the same name")?;
                    continue;
                }
                Err(Failure::Call(error)) => error,
                Err(failure) => return Err(failure),
            };
            if self.names.borrow().origin() == Origin::Job {
                if matches!(error.kind(), Some(Kind::PreconditionFailed | Kind::NameTaken)) {
                    self.use_other_names(voice, "another command's port has the same name")?;
                    continue;
                }
                if error.is_ambiguous() {
                    // If there is a port now, nobody can tell whose it is. The lease gives it back.
                    self.use_other_names(voice, "no answer says whether the name has a port of this command")?;
                    continue;
                }
            }
            let passes = matches!(error.kind(), Some(Kind::RangeExhausted | Kind::PortTaken | Kind::NameTaken));
            let left = until.saturating_sub(now());
            if left.is_zero() || !(passes || error.is_temporary()) {
                return Err(error.into());
            }
            say(&error.to_string());
            // Those who wait together should not come together. The last attempt is at the very end.
            let pause = error.retry_after().unwrap_or(PAUSE).clamp(Duration::from_millis(200), LONGEST_PAUSE);
            clock::sleep_until(now() + pause.mul_f64(1.0 + 0.5 * fastrand::f64()).min(left)).await;
        }
    }

    /// Goes on with names that nobody else has. What the present ones have is left alone.
    fn use_other_names(&self, voice: &Voice<'_>, why: &str) -> Result<(), Failure> {
        let other = self.names.borrow().other();
        let names = other.all().map_err(|invalid| Failure::Usage(invalid.to_string()))?;
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        (voice.note)(&format!("{why}, so this one is for {names}"));
        *self.names.borrow_mut() = other;
        Ok(())
    }

    /// Asks for the ports once, and says so if nothing answers for a while and there is something to wait for. None if
    /// the names have ports that this command has not made, and must not have.
    async fn put_or_say(
        &self,
        client: &Client,
        say: &mut impl FnMut(&str),
    ) -> Result<Option<(Vec<Port>, Option<Lease>)>, Failure> {
        let mut put = Box::pin(self.put(client));
        if !self.wanted.wait.is_zero() {
            tokio::select! {
                answer = &mut put => return answer,
                () = tokio::time::sleep(SILENCE) => say("the registry has not answered yet"),
            }
        }
        put.await
    }

    /// Asks for the ports once.
    async fn put(&self, client: &Client) -> Result<Option<(Vec<Port>, Option<Lease>)>, Failure> {
        let (origin, names) = {
            let names = self.names.borrow();
            (names.origin(), names.all().map_err(|invalid| Failure::Usage(invalid.to_string()))?)
        };
        let before = self.ours.borrow().clone();
        if origin != Origin::Job {
            self.ours.borrow_mut().extend(names.iter().cloned());
        }
        let since = now();
        self.asking.set(origin == Origin::Job);
        let answer = self.send(client, origin, &names).await;
        self.asking.set(false);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // A problem means that the call changed nothing; otherwise nobody knows.
                if error.problem().is_some() && !error.is_temporary() {
                    *self.ours.borrow_mut() = before;
                }
                return Err(error.into());
            }
        };
        let new: Vec<_> = answer.ports.iter().filter(|port| answer.is_new(port)).map(|port| &port.name).collect();
        self.made.borrow_mut().extend(new.iter().copied().cloned());
        self.ours.borrow_mut().extend(new.iter().copied().cloned());
        if origin == Origin::Unique {
            // An answer may have been lost, and the call repeated, which found what it had made.
            self.made.borrow_mut().extend(names.iter().cloned());
        }
        if origin == Origin::Job && !names.iter().all(|name| self.made.borrow().contains(name)) {
            for name in new {
                self.give_back(name).await?;
            }
            return Ok(None);
        }
        let lengths = answer.ports.iter().filter_map(|port| self.length(port, answer.date, answer.is_new(port)));
        let shortest = lengths.min();
        if let Some(shortest) = shortest {
            self.length.set(shortest);
        }
        Ok(Some((answer.ports, shortest.map(|length| Lease { since, length }))))
    }

    /// Sends the call. With a name that others may have, a port is only made, and none is found. (A set has no such
    /// condition; its answer says what it has found.)
    async fn send(&self, client: &Client, origin: Origin, names: &[InstanceName]) -> Result<Put, Error> {
        let Wanted { service, owner, lease, labels, port, contiguous, .. } = &self.wanted;
        let (owner, lease_seconds, labels) = (Some(owner.clone()), Some(*lease), labels.clone());
        match names {
            [name] => {
                let wanted = NewPort { owner, lease_seconds, port: *port, labels };
                let precondition = if origin == Origin::Job { Precondition::Absent } else { Precondition::None };
                let answer = client.put_port(service, name, &wanted, precondition).await?;
                let created = answer.created();
                Ok(Put { created, date: answer.date.map(|date| date.millis()), ports: vec![answer.value] })
            }
            _ => {
                let contiguous = contiguous.then_some(true);
                let wanted = NewSet { names: names.to_vec(), owner, lease_seconds, contiguous, labels };
                let answer = client.put_set(service, &wanted).await?;
                let created = answer.created();
                Ok(Put { created, date: answer.date.map(|date| date.millis()), ports: answer.value.ports })
            }
        }
    }

    /// How long a port's lease is from when it was asked for; none if it is permanent.
    ///
    /// For a new port that is its `expires_at` less its `created`, both by the registry's own clock. For an older one it
    /// is counted from the `Date` of the answer. If that makes no sense, because the two come from clocks that differ, or
    /// is more than was asked for, the lease is what was asked for, or what the registry made of it the last time.
    fn length(&self, port: &Port, date: Option<i64>, is_new: bool) -> Option<Duration> {
        let ends = port.expires_at?.instant().millis();
        let from = if is_new { Some(port.created.millis()) } else { date };
        let length = from.and_then(|from| u64::try_from(ends - from).ok()).filter(|length| *length > 0);
        Some(length.map_or(self.length.get(), Duration::from_millis).min(self.length.get()))
    }

    /// Renews all ports once. One that is lost is enough: the command was promised all of them.
    pub(super) async fn renew(&self) -> Renewal {
        let Wanted { service, owner, lease, .. } = &self.wanted;
        // They have been names before, or there would be nothing to renew.
        let names = self.names.borrow().all().unwrap_or_default();
        let longer = LongerLease { owner: Some(owner.clone()), lease_seconds: Some(*lease) };
        let mut shortest = None;
        let calls = names.iter().map(|name| {
            let (longer, name) = (longer.clone(), name.clone().into());
            async move { self.client.renew(service, &name, &longer).await }
        });
        let mut unanswered = None;
        for answer in futures::future::join_all(calls).await {
            match answer {
                Ok(answer) => {
                    let date = answer.date.map(|date| date.millis());
                    shortest = shortest.into_iter().chain(self.length(&answer.value, date, false)).min();
                }
                Err(error) if is_lost(&error) => return Renewal::Lost(error.to_string()),
                Err(error) => unanswered = Some(Renewal::Unanswered(error.to_string(), error.retry_after())),
            }
        }
        unanswered.unwrap_or_else(|| Renewal::Extended(shortest.unwrap_or(self.length.get())))
    }

    /// Gives the ports back, if the registry may believe that this command has any: one call for each, by name and owner.
    /// What belongs to somebody else by now stays theirs.
    ///
    /// # Errors
    ///
    /// Why a port could not be given back, in words for the user. It comes back when its lease is over.
    pub(super) async fn release(&self, patience: impl Future<Output = Duration>) -> Result<(), String> {
        let ours: Vec<_> = self.ours.borrow().iter().cloned().collect();
        let all = futures::future::join_all(ours.iter().map(|name| self.give_back(name)));
        tokio::select! {
            answers = all => match answers.into_iter().find_map(|answer| answer.err()) {
                None => Ok(()),
                Some(error) => Err(error.to_string()),
            },
            waited = patience => Err(format!("no answer within {waited:?}")),
        }
    }

    /// Whether [`Self::take`] should hear an answer before it is dropped, since [`Self::release`] gives back no port of
    /// which it is not known that this command has made it.
    pub(super) fn has_to_hear(&self) -> bool {
        self.asking.get()
    }

    /// Leaves a port to its lease: [`Self::release`] does not give it back.
    pub(super) fn leave(&self, name: &InstanceName) {
        self.ours.borrow_mut().remove(name);
    }

    /// Releases one port. That there is nothing to release is no error: it may never have been taken, or be lost.
    async fn give_back(&self, name: &InstanceName) -> Result<(), Error> {
        let holder = Holder::Owner(self.wanted.owner.clone());
        match self.client.release(&self.wanted.service, &name.clone().into(), &holder).await {
            Err(error) if !is_lost(&error) => Err(error),
            _ => {
                self.ours.borrow_mut().remove(name);
                self.made.borrow_mut().remove(name);
                Ok(())
            }
        }
    }
}

/// The answer to a `PUT`.
struct Put {
    created: bool,
    date: Option<i64>,
    ports: Vec<Port>,
}

impl Put {
    /// Whether a port is new. The new ports of a set were made at one moment, the last of all.
    fn is_new(&self, port: &Port) -> bool {
        let last = self.ports.iter().map(|port| port.created).max();
        self.created && last == Some(port.created)
    }
}

/// Whether the registry says that the port belongs to nobody or to somebody else.
fn is_lost(error: &Error) -> bool {
    error.problem().is_some_and(|problem| [404, 409, 410].contains(&problem.status.as_u16()))
}
