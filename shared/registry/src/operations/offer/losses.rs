//! A claim that was not made: first the lesson of its reasons, which is a table without I/O, then the consequences.

use super::super::{Error, reads};
use super::{Attempt, Found};
use crate::store::{Instance, Losses, NameRule, Reason, Replay};
use portmaster_domain::allocator::Holder;
use portmaster_domain::{Claim, Occupant, Port, PortRange, Secret};

/// The state that was known when the claim was sent.
struct Tried<'a> {
    port: Port,
    rule: NameRule,
    affinity: Option<Instance>,
    /// The secrets of this call's own claims.
    own: &'a [Secret],
    /// The range on offer, as far as is known.
    range: Option<PortRange>,
}

/// The lesson of the reasons, in the order in which it is acted upon. Each part may end the attempt, or change what is
/// tried next.
#[derive(Debug, PartialEq)]
struct Lesson {
    /// The key was used before and made this claim.
    key: Option<Replay>,
    /// The claim that was to be removed as dead is not dead. This is its place.
    not_dead: Option<Instance>,
    /// Another request is writing to the name, to the key or to the dead claim at this moment.
    pause: bool,
    name: NameLesson,
    port: PortLesson,
}

/// The lesson about the name.
#[derive(Debug, PartialEq)]
enum NameLesson {
    /// Nothing.
    Nothing,
    /// The name has no Instance.
    Free,
    /// The name points to a claim of this call.
    Own(Instance),
    /// The name had a port that it may have again, if nobody else has it.
    Return(Instance),
    /// The name's last claim is to be judged.
    Judge(Instance),
}

/// The lesson about the port.
#[derive(Debug, PartialEq)]
enum PortLesson {
    /// Nothing.
    Nothing,
    /// Another request is writing to it; `pause` says whether to wait before the next try.
    Contended { pause: bool },
    /// It may be held, but the item cannot be read. `judge` is the name's last claim, if it was on this port.
    Unreadable { judge: Option<Instance> },
    /// The name itself holds it.
    Own(Claim, Secret),
    /// Another holder has the port that the name had. The Instance is the place of the name's last claim.
    Moved(Claim, Instance),
    /// Another holder has it.
    Taken(Occupant),
}

impl Lesson {
    fn of(losses: Losses, tried: &Tried<'_>) -> Self {
        let Losses { port, instance, request, dead } = losses;
        let contended = instance == Reason::Contended || request == Reason::Contended || dead == Reason::Contended;
        let not_dead = match (&dead, tried.rule) {
            // It was removed, overwritten or accepted meanwhile, so its current state is read.
            (Reason::Failed(_), NameRule::Dead(port, secret)) => Some(Instance { port, secret, gone_since: None }),
            _ => None,
        };
        let name_failed = instance.is_failed();
        let name = NameLesson::of(instance, tried);
        // An old claim that is to be judged is not tried again for its port.
        let affinity = match &name {
            NameLesson::Return(instance) => Some(*instance),
            NameLesson::Judge(_) => None,
            _ if not_dead.is_some() => None,
            _ => tried.affinity,
        };
        let key = match request {
            Reason::Failed(replay) => replay,
            _ => None,
        };
        let port = PortLesson::of(port, tried.port, affinity, name_failed);
        Self { key, not_dead, pause: contended, name, port }
    }
}

impl NameLesson {
    fn of(reason: Reason<Instance>, tried: &Tried<'_>) -> Self {
        match reason {
            Reason::None | Reason::Contended | Reason::Throttled => Self::Nothing,
            Reason::Failed(None) => Self::Free,
            Reason::Failed(Some(instance)) if tried.own.contains(&instance.secret) => Self::Own(instance),
            Reason::Failed(Some(instance))
                if instance.port != tried.port && tried.range.is_some_and(|range| range.contains(instance.port)) =>
            {
                Self::Return(instance)
            }
            Reason::Failed(Some(instance)) => Self::Judge(instance),
        }
    }
}

impl PortLesson {
    fn of(reason: Reason<Occupant>, port: Port, affinity: Option<Instance>, name_failed: bool) -> Self {
        let here = affinity.filter(|instance| instance.port == port);
        match reason {
            Reason::None | Reason::Throttled => Self::Nothing,
            Reason::Contended => Self::Contended { pause: affinity.is_some() },
            Reason::Failed(None) => Self::Unreadable { judge: here },
            Reason::Failed(Some(occupant)) => match here.filter(|_| !name_failed) {
                Some(instance) if occupant.has(instance.secret) => Self::Own(occupant.claim, instance.secret),
                Some(instance) => Self::Moved(occupant.claim, instance),
                None => Self::Taken(occupant),
            },
        }
    }
}

impl Attempt<'_> {
    /// Acts upon the reasons for which a claim on `port` was not made. Returns none if another try is to follow.
    pub(super) async fn learn(&mut self, port: Port, losses: Losses) -> Result<Option<Found>, Error> {
        let own = self.made.clone();
        // Who asks for one very port has no use for another that the name had.
        let range = self.scene.place.range().filter(|_| self.asked.port.is_none());
        let (rule, affinity) = (self.rule, self.affinity);
        let lesson = Lesson::of(losses, &Tried { port, rule, affinity, own: &own, range });
        if let Some(replay) = lesson.key
            && let Some(found) = self.judge_replay(replay).await?
        {
            return Ok(Some(found));
        }
        if let Some(instance) = lesson.not_dead
            && let Some(found) = self.judge_old_claim(instance).await?
        {
            return Ok(Some(found));
        }
        if lesson.pause {
            self.scene.pause().await;
        }
        match self.learn_of_name(lesson.name).await? {
            Some(found) => Ok(Some(found)),
            None => self.learn_of_port(port, lesson.port).await,
        }
    }

    async fn learn_of_name(&mut self, lesson: NameLesson) -> Result<Option<Found>, Error> {
        match lesson {
            NameLesson::Nothing => Ok(None),
            NameLesson::Free => {
                self.rule = NameRule::Free;
                Ok(None)
            }
            NameLesson::Own(instance) => self.judge_own_claim(instance).await,
            NameLesson::Return(instance) => {
                self.affinity = Some(instance);
                self.rule = NameRule::Free;
                Ok(None)
            }
            NameLesson::Judge(instance) => self.judge_old_claim(instance).await,
        }
    }

    async fn learn_of_port(&mut self, port: Port, lesson: PortLesson) -> Result<Option<Found>, Error> {
        let now = self.scene.registry.clock.now();
        match lesson {
            PortLesson::Nothing => Ok(None),
            PortLesson::Contended { pause } => {
                self.lost(|knowledge| knowledge.observe_contention(port, now));
                if pause || self.asked.port.is_some() {
                    self.scene.pause().await;
                }
                Ok(None)
            }
            PortLesson::Unreadable { judge } => {
                self.lost(|knowledge| knowledge.observe_holder(reads::unknown(port), now));
                match judge {
                    Some(instance) => self.judge_old_claim(instance).await,
                    None if self.asked.port.is_some() => Err(self.port_taken(port, None)),
                    None => Ok(None),
                }
            }
            PortLesson::Own(claim, secret) => self.name_taken(claim, secret).await,
            PortLesson::Moved(claim, instance) => {
                // This does not indicate a crowd.
                self.scene.place.learn(|knowledge| knowledge.observe_holder(Holder::from(&claim), now));
                self.judge_old_claim(instance).await
            }
            PortLesson::Taken(occupant) => self.learn_of_holder(port, occupant).await,
        }
    }
}

impl Attempt<'_> {
    /// Another caller has the port; or this very name has it, if it was asked for by number.
    async fn learn_of_holder(
        &mut self,
        port: Port,
        Occupant { claim, secret }: Occupant,
    ) -> Result<Option<Found>, Error> {
        let now = self.scene.registry.clock.now();
        self.lost(|knowledge| knowledge.observe_holder(Holder::from(&claim), now));
        if self.asked.port.is_none() {
            return Ok(None);
        }
        let is_own = claim.service == self.scene.service.name && claim.name == self.asked.name;
        match secret {
            Some(secret) if is_own => self.name_taken(claim, secret).await,
            _ => Err(self.port_taken(port, Some(claim))),
        }
    }

    fn port_taken(&self, port: Port, claim: Option<Claim>) -> Error {
        let claim = claim.map(|claim| Box::new(claim.seen_at(self.scene.registry.now())));
        Error::PortTaken { service: self.scene.service.clone(), port, claim }
    }
}

#[cfg(test)]
mod tests;
