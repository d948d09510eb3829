//! A claim that was not made: first what its reasons say, which is a table without I/O, then what follows.

use super::super::{Error, reads};
use super::{Attempt, Found};
use crate::store::{Instance, Losses, NameRule, Reason, Replay};
use portmaster_domain::allocator::Holder;
use portmaster_domain::{Holding, Port, PortRange, Secret};

/// What was known when the claim was sent.
struct Tried<'a> {
    port: Port,
    rule: NameRule,
    affinity: Option<Instance>,
    /// The secrets of this call's own claims.
    own: &'a [Secret],
    /// The range that is on offer, as far as is known.
    range: Option<PortRange>,
}

/// What the reasons say, in the order in which it is acted upon. Each may end the attempt, or change what is tried next.
#[derive(Debug, PartialEq)]
struct Lesson {
    /// The key was used before, and made this.
    key: Option<Replay>,
    /// The claim that was to be removed as dead is not; this is where it was.
    not_dead: Option<Instance>,
    /// Somebody is writing to the name, to the key or to the dead claim at this moment.
    pause: bool,
    name: NameLesson,
    port: PortLesson,
}

/// What is said of the name.
#[derive(Debug, PartialEq)]
enum NameLesson {
    /// Nothing.
    Nothing,
    /// It has no Instance.
    Free,
    /// It points to a claim of this very call.
    Own(Instance),
    /// It had a port that it may have again, if nobody else has it.
    Return(Instance),
    /// Its last claim is to be judged.
    Judge(Instance),
}

/// What is said of the port.
#[derive(Debug, PartialEq)]
enum PortLesson {
    /// Nothing.
    Nothing,
    /// Somebody is writing to it; whether to wait before the next try.
    Contended { pause: bool },
    /// Somebody may hold it, but the item cannot be read; the name's last claim, if it was there.
    Unreadable { judge: Option<Instance> },
    /// The name itself holds it.
    Own(Holding),
    /// Another holder has the port that the name had: this is where the name's last claim was.
    Moved(Holding, Instance),
    /// Another holder has it.
    Taken(Holding),
}

impl Lesson {
    fn of(losses: Losses, tried: &Tried<'_>) -> Self {
        let Losses { port, instance, request, dead } = losses;
        let contended = instance == Reason::Contended || request == Reason::Contended || dead == Reason::Contended;
        let not_dead = match (&dead, tried.rule) {
            // It was removed, overwritten or accepted meanwhile; look again what holds now.
            (Reason::Failed(_), NameRule::Dead(port, secret)) => Some(Instance { port, secret, gone_since: None }),
            _ => None,
        };
        let name_failed = instance.is_failed();
        let name = NameLesson::of(instance, tried);
        // What is judged is not tried again for its port.
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
    fn of(reason: Reason<Holding>, port: Port, affinity: Option<Instance>, name_failed: bool) -> Self {
        let here = affinity.filter(|instance| instance.port == port);
        match reason {
            Reason::None | Reason::Throttled => Self::Nothing,
            Reason::Contended => Self::Contended { pause: affinity.is_some() },
            Reason::Failed(None) => Self::Unreadable { judge: here },
            Reason::Failed(Some(holding)) => match here.filter(|_| !name_failed) {
                Some(instance) if instance.secret == holding.secret => Self::Own(holding),
                Some(instance) => Self::Moved(holding, instance),
                None => Self::Taken(holding),
            },
        }
    }
}

impl Attempt<'_> {
    /// Acts upon the reasons for which a claim on `port` was not made. None where it is to be tried again.
    pub(super) async fn learn(&mut self, port: Port, losses: Losses) -> Result<Option<Found>, Error> {
        let own: Vec<_> = self.made.iter().map(|made| made.secret).collect();
        let (rule, affinity, range) = (self.rule, self.affinity, self.place.range());
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
            self.pause().await;
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
        let now = self.registry.clock.now();
        match lesson {
            PortLesson::Nothing => Ok(None),
            PortLesson::Contended { pause } => {
                self.lost(|knowledge| knowledge.observe_contention(port, now));
                if pause {
                    self.pause().await;
                }
                Ok(None)
            }
            PortLesson::Unreadable { judge } => {
                self.lost(|knowledge| knowledge.observe_holder(reads::unknown(port), now));
                match judge {
                    Some(instance) => self.judge_old_claim(instance).await,
                    None => Ok(None),
                }
            }
            PortLesson::Own(holding) => self.name_taken(holding).await.map(Some),
            PortLesson::Moved(holding, instance) => {
                // That tells nothing of a crowd.
                self.place.learn(|knowledge| knowledge.observe_holder(Holder::from(&holding.claim), now));
                self.judge_old_claim(instance).await
            }
            PortLesson::Taken(holding) => {
                self.lost(|knowledge| knowledge.observe_holder(Holder::from(&holding.claim), now));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
