//! Taking the ports, renewing them and giving them back.
//!
//! **A port is taken by `PUT` with a lease, and only then tried.** The API's other way is an offer, which is accepted
//! after the trial. It costs a second call each time, and an offer whose secret died with its job blocks the name for half
//! an hour. A `PUT` that nobody follows up lapses with its lease, the same owner's next one finds the same port, and a set
//! is all or none. Only a port that turns out to be in use, which is rare, takes the way of an offer, because only an offer
//! can be rejected as in use: the port is released, offered to the same name, rejected into quarantine, and the next one is
//! taken. If somebody else gets it in between, they will find out for themselves.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use portmaster_client::domain::{InstanceName, Labels, Owner, Port as Number, ServiceName};
use portmaster_client::wire::{
    Kind, LeaseSeconds, NewOffer, NewPort, NewSet, Port, Reason, Rejection, Renewal as LongerLease,
};
use portmaster_client::{Client, Error, Holder, Precondition};

use super::clock::{self, Moment, now};
use super::lease::{Lease, Renewal};
use super::probe;

/// How often another port is taken because the last one was in use. A host where so many ports in a row are in use is not
/// one that this registry knows about, and each of them has gone into quarantine.
const TRIES: usize = 16;
/// The longest pause between two attempts while a range is full. Ports come back earlier than `Retry-After` says, whenever
/// a job ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause where the answer names none.
const PAUSE: Duration = Duration::from_secs(2);
/// How long giving the ports back may take. What does not succeed by then is left to the lease.
pub(super) const RELEASE: Duration = Duration::from_secs(2);

/// What is to be taken.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of which service.
    pub service: ServiceName,
    /// For whom: one name for each port. The first port is the command's `PORT`.
    pub names: Vec<InstanceName>,
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
    /// In the order of the names.
    pub ports: Vec<Number>,
    /// Their lease; none if they are permanent, as an owner's earlier ports may be.
    pub lease: Option<Lease>,
}

/// The registry, as far as one command's ports are concerned.
pub(super) struct Claim<'a> {
    client: &'a Client,
    wanted: Wanted,
    /// Whether the registry may believe that this command has ports. It is set before the first call is sent.
    held: Cell<bool>,
    /// How long a lease is that was asked for: what the registry made of the wish, where it has said so.
    length: Cell<Duration>,
    /// Names whose ports this command has made, and did not find.
    made: RefCell<Vec<InstanceName>>,
}

impl<'a> Claim<'a> {
    /// Nothing is taken yet.
    pub(super) fn new(client: &'a Client, wanted: Wanted) -> Self {
        let length = Duration::from_secs(wanted.lease.get().into());
        Self { client, wanted, held: Cell::new(false), length: Cell::new(length), made: RefCell::default() }
    }

    /// Takes the ports: all or none. If this is dropped before it is done, [`Self::release`] gives back what it may have
    /// taken. `say` tells the user why it takes long.
    ///
    /// # Errors
    ///
    /// Why there is no port, in words for the user.
    pub(super) async fn take(&self, say: impl Fn(&str)) -> Result<Taken, String> {
        let until = now().saturating_add(self.wanted.wait);
        let mut tries = 0;
        loop {
            let (ports, lease) = self.put_until(until, &say).await?;
            let used = match self.wanted.probe {
                true => ports.iter().filter_map(|port| Some((port, probe::in_use(port.port.get())?))).collect(),
                false => Vec::new(),
            };
            if used.is_empty() {
                return Ok(Taken { ports: ports.iter().map(|port| port.port).collect(), lease });
            }
            tries += 1;
            self.give_up_used(&used, tries, &say).await?;
        }
    }

    /// Sees to it that the ports that are in use on this host are not given to anybody for a while.
    async fn give_up_used(&self, used: &[(&Port, &str)], tries: usize, say: &impl Fn(&str)) -> Result<(), String> {
        for (port, how) in used {
            let Port { name, port: number, .. } = port;
            let found = format!("port {number} is in use on this host ({how})");
            if !self.made.borrow().contains(name) {
                // What listens there may well be the command of the earlier run, and the port is rightly its own: to
                // release it would give it to somebody else. What this command has made is given back all the same.
                let made = self.made.borrow().clone();
                self.held.set(false);
                for name in &made {
                    self.give_back(name).await.map_err(|error| error.to_string())?;
                }
                return Err(format!(
                    "{found}, and {name} had it already as this owner. Perhaps an earlier run's command is still \
                     running: end it, or use another NAME"
                ));
            }
            // The caller wants this port and no other, so to keep it from everybody for an hour would be no service.
            if self.wanted.port.is_some() {
                return Err(format!("{found}. End what uses it, or leave out --port"));
            }
            if tries >= TRIES {
                return Err(format!("{found}, and so were those before it: {tries} attempts in all"));
            }
            say(&format!("{found}, so nobody gets it for a while; taking another one"));
        }
        // Neighbours need other neighbours, unless none of them stays.
        let used: Vec<_> = used.iter().map(|(port, _)| (&port.name, port.port)).collect();
        if self.wanted.contiguous {
            let others = self.wanted.names.iter().filter(|name| !used.iter().any(|(used, _)| used == name));
            for name in others {
                self.give_back(name).await.map_err(|error| error.to_string())?;
            }
        }
        for (name, number) in used {
            self.quarantine(name, number).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Releases a port and has it quarantined.
    async fn quarantine(&self, name: &InstanceName, number: Number) -> Result<(), Error> {
        self.give_back(name).await?;
        let Wanted { service, owner, .. } = &self.wanted;
        let offer = NewOffer { name: name.clone(), port: Some(number), owner: Some(owner.clone()), labels: None };
        match self.client.create_offer(service, &offer).await {
            Ok(offer) => {
                let in_use = Rejection { reason: Some(Reason::InUse), quarantine_seconds: None };
                self.client.reject(service, offer.secret, &in_use).await
            }
            // Somebody else was faster, or this role may not ask for offers. The next `PUT` says what the name gets, and
            // if it is this port again, the attempts are counted.
            Err(error) if !error.is_temporary() => {
                tracing::debug!(%error, "the port could not be put into quarantine");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for the ports until there are some, or until then.
    async fn put_until(&self, until: Moment, say: &impl Fn(&str)) -> Result<(Vec<Port>, Option<Lease>), String> {
        let mut said = false;
        loop {
            let held = self.held.replace(true);
            let error = match self.put().await {
                Ok(taken) => return Ok(taken),
                Err(error) => error,
            };
            // A problem means that the call changed nothing; otherwise nobody knows.
            self.held.set(held || error.problem().is_none() || error.is_temporary());
            let passes = matches!(error.kind(), Some(Kind::RangeExhausted | Kind::PortTaken | Kind::NameTaken));
            let left = until.saturating_sub(now());
            if left.is_zero() || !(passes || error.is_temporary()) {
                return Err(error.to_string());
            }
            if !said {
                say(&format!("waiting for a port, for {:?} at most: {error}", self.wanted.wait));
                said = true;
            }
            // Those who wait together should not come together. The last attempt is at the very end.
            let pause = error.retry_after().unwrap_or(PAUSE).clamp(Duration::from_millis(200), LONGEST_PAUSE);
            clock::sleep_until(now() + pause.mul_f64(1.0 + 0.5 * fastrand::f64()).min(left)).await;
        }
    }

    /// Asks for the ports once.
    async fn put(&self) -> Result<(Vec<Port>, Option<Lease>), Error> {
        let Wanted { service, names, owner, lease, labels, port, contiguous, .. } = &self.wanted;
        let since = now();
        let (owner, lease_seconds, labels) = (Some(owner.clone()), Some(*lease), labels.clone());
        let answer = match names.as_slice() {
            [name] => {
                let wanted = NewPort { owner, lease_seconds, port: *port, labels };
                let answer = self.client.put_port(service, name, &wanted, Precondition::None).await?;
                let created = answer.created();
                Put { created, date: answer.date.map(|date| date.millis()), ports: vec![answer.value] }
            }
            _ => {
                let contiguous = contiguous.then_some(true);
                let wanted = NewSet { names: names.clone(), owner, lease_seconds, contiguous, labels };
                let answer = self.client.put_set(service, &wanted).await?;
                let created = answer.created();
                Put { created, date: answer.date.map(|date| date.millis()), ports: answer.value.ports }
            }
        };
        self.note_made(&answer);
        let lengths = answer.ports.iter().filter_map(|port| self.length(port, answer.date, answer.is_new(port)));
        let shortest = lengths.min();
        if let Some(shortest) = shortest {
            self.length.set(shortest);
        }
        Ok((answer.ports, shortest.map(|length| Lease { since, length })))
    }

    /// Remembers which ports did not exist before this command asked.
    fn note_made(&self, answer: &Put) {
        let new = answer.ports.iter().filter(|port| answer.is_new(port)).map(|port| port.name.clone());
        self.made.borrow_mut().extend(new);
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
        let Wanted { service, names, owner, lease, .. } = &self.wanted;
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
    /// What belongs to somebody else by now stays theirs. `warn` tells the user of a port that could not be given back.
    pub(super) async fn release(&self, warn: impl Fn(&str)) {
        if !self.held.get() {
            return;
        }
        let all = futures::future::join_all(self.wanted.names.iter().map(|name| self.give_back(name)));
        let why = match tokio::time::timeout(RELEASE, all).await {
            Ok(answers) => answers.into_iter().find_map(|answer| answer.err()).map(|error| error.to_string()),
            Err(_) => Some(format!("no answer within {RELEASE:?}")),
        };
        if let Some(why) = why {
            warn(&format!("the port could not be given back, and comes back when its lease is over: {why}"));
        }
    }

    /// Releases one port. That there is nothing to release is no error: it may never have been taken, or be lost.
    async fn give_back(&self, name: &InstanceName) -> Result<(), Error> {
        let holder = Holder::Owner(self.wanted.owner.clone());
        match self.client.release(&self.wanted.service, &name.clone().into(), &holder).await {
            Err(error) if is_lost(&error) => Ok(()),
            other => other,
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
