//! The source of randomness for drawing a candidate and for jitter in pauses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::{SmallRng, ThreadRng};
use rand::{RngExt as _, SeedableRng as _};

/// The thread's generator, or one from a seed for tests that must be repeatable.
#[derive(Clone, Debug, Default)]
pub(super) struct Chance(Option<Arc<Mutex<SmallRng>>>);

/// Either generator.
pub(super) enum Source<'a> {
    Thread(ThreadRng),
    Seeded(&'a mut SmallRng),
}

impl Chance {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)))))
    }

    /// Draws a value.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Source<'_>) -> T) -> T {
        match &self.0 {
            None => draw(&mut Source::Thread(rand::rng())),
            Some(seeded) => draw(&mut Source::Seeded(&mut seeded.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    /// A random pause from this range of milliseconds.
    pub(super) fn pause(&self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.draw(|source| source.random_range(millis)))
    }
}

impl rand::TryRng for Source<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        match self {
            Self::Thread(source) => source.try_next_u32(),
            Self::Seeded(source) => source.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        match self {
            Self::Thread(source) => source.try_next_u64(),
            Self::Seeded(source) => source.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        match self {
            Self::Thread(source) => source.try_fill_bytes(bytes),
            Self::Seeded(source) => source.try_fill_bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let draws = |chance: Chance| (0..20).map(|_| chance.pause(0..1000)).collect::<Vec<_>>();
        assert_eq!(draws(Chance::seeded(7)), draws(Chance::seeded(7)));
        assert_ne!(draws(Chance::seeded(7)), draws(Chance::seeded(8)));
        assert_ne!(draws(Chance::default()), draws(Chance::default()));
    }
}
