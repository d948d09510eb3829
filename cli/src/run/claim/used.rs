//! Ports that turn out to be in use on this host.

use portmaster_client::Error;
use portmaster_client::domain::{InstanceName, Port as Number};
use portmaster_client::wire::{NewOffer, Port, Reason, Rejection};

use super::{Claim, Wanted};
use crate::Failure;
use crate::run::Voice;

/// How often another port is taken because the last one was in use. A host where so many ports in a row are in use is not
/// one that this registry knows about, and each of them has gone into quarantine.
const TRIES: usize = 16;

impl Claim<'_> {
    /// Sees to it that the ports that are in use on this host are not given to anybody for a while.
    pub(super) async fn give_up_used(
        &self,
        used: &[(&Port, &str)],
        tries: usize,
        voice: &Voice<'_>,
    ) -> Result<(), Failure> {
        let found = |port: &Port, how: &str| format!("port {} is in use on this host ({how})", port.port);
        for (port, how) in used {
            let found = found(port, how);
            if !self.made.borrow().contains(&port.name) {
                // What listens there may well be the command of the earlier run, and the port is rightly its own: to
                // release it would give it to somebody else. What this command has made is given back all the same.
                self.ours.borrow_mut().clear();
                let made = self.made.borrow().clone();
                for name in &made {
                    self.give_back(name).await?;
                }
                return Err(Failure::Other(format!(
                    "{found}, and {} had it already as this owner. Perhaps an earlier run's command is still running: \
                     end it, or use another NAME",
                    port.name
                )));
            }
            // The caller wants this port and no other, so to keep it from everybody for an hour would be no service.
            if self.wanted.port.is_some() {
                return Err(Failure::Other(format!("{found}. End what uses it, or leave out --port")));
            }
            if tries >= TRIES {
                let reason = format!("{found}, and so were those before it: {tries} attempts in all");
                return Err(Failure::Other(reason));
            }
        }
        // Neighbours need other neighbours, unless none of them stays.
        if self.wanted.contiguous {
            let others: Vec<_> = self.made.borrow().iter().cloned().collect();
            for name in others.iter().filter(|name| !used.iter().any(|(port, _)| port.name == **name)) {
                self.give_back(name).await?;
            }
        }
        for (port, how) in used {
            match self.quarantine(&port.name, port.port).await {
                Ok(true) => {
                    (voice.note)(&format!("{}, so nobody gets it for a while; taking another one", found(port, how)));
                }
                Ok(false) => (voice.note)(&format!("{}; taking another one", found(port, how))),
                Err(error) => {
                    (voice.warn)(&format!("{}, and cannot be put into quarantine", found(port, how)));
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Releases a port and has it quarantined; false if somebody else has it by then, who will find out for themselves.
    ///
    /// # Errors
    ///
    /// Among others, that this role may not ask for offers or reject them. Then the next `PUT` would get the same port.
    async fn quarantine(&self, name: &InstanceName, number: Number) -> Result<bool, Error> {
        self.give_back(name).await?;
        let Wanted { service, owner, .. } = &self.wanted;
        let offer = NewOffer { name: name.clone(), port: Some(number), owner: Some(owner.clone()), labels: None };
        let in_use = Rejection { reason: Some(Reason::InUse), quarantine_seconds: None };
        let rejected = async {
            let offer = self.client.create_offer(service, &offer).await?;
            self.client.reject(service, offer.secret, &in_use).await
        };
        match rejected.await {
            Ok(()) => Ok(true),
            // The next `PUT` says what the name gets, and if it is this port again, the attempts are counted.
            Err(error @ Error::Problem(_)) if !error.is_temporary() => {
                tracing::debug!(%error, "the port could not be put into quarantine");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
