//! How full a range is, how that went over the last days, and what may honestly be said of the days to come.

use serde::{Deserialize, Serialize};

use super::Timestamp;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// How many whole days a forecast rests on.
const WEEK: i64 = 7;

/// How far a forecast looks, in days: beyond that, a week says nothing.
const HORIZON: f64 = 365.0;

/// How many ports of a range are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nobody has them.
    pub free: usize,
    /// Offered, and not accepted yet.
    pub offered: usize,
    /// Allocated; also what cannot be read, because it may be.
    pub allocated: usize,
    /// Cooling after a release or a lapsed lease.
    pub cooling: usize,
    /// In quarantine.
    pub quarantined: usize,
    /// Free, but only given to those who ask for them by number.
    pub reserved: usize,
}

impl Counts {
    /// How many ports somebody who asks for any port cannot have, because of what others have or had.
    #[must_use]
    pub const fn taken(self) -> usize {
        self.offered + self.allocated + self.cooling + self.quarantined
    }

    /// How many ports may be given to somebody who asks for any port, in the best case.
    #[must_use]
    pub const fn capacity(self) -> usize {
        self.free + self.taken()
    }

    /// How many ports the range has.
    #[must_use]
    pub const fn size(self) -> usize {
        self.capacity() + self.reserved
    }

    /// How full it is, in tenths of a percent: what is taken, of what may be given to somebody who asks for any port.
    /// A range whose free ports are all reserved is full.
    #[must_use]
    pub const fn per_mille(self) -> usize {
        match self.capacity() {
            0 => 1000,
            capacity => self.taken() * 1000 / capacity,
        }
    }
}

/// The most ports of a range that were seen taken on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// The day, counted from the Unix epoch, in UTC.
    pub day: i64,
    /// How many ports.
    pub taken: usize,
}

/// How full a service was when the reconciler last came by. It is evidence of nothing: no decision rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When the service was created: a later service of the same name has another history.
    pub created: Timestamp,
    /// When its ports were read.
    pub as_of: Timestamp,
    /// How many were in each state.
    pub counts: Counts,
    /// How many free ports stood next to each other at most.
    pub largest_free_run: usize,
    /// The peaks of this day and of the week before it, as far as anybody looked; the oldest first.
    pub peaks: Vec<Peak>,
}

impl Usage {
    /// The same usage, with the peaks of the one before it, if that was of the same service.
    #[must_use]
    pub fn following(mut self, earlier: Option<&Self>) -> Self {
        let today = day(self.as_of);
        let earlier = earlier.filter(|earlier| earlier.created == self.created);
        let known = earlier.map(|earlier| earlier.peaks.as_slice()).unwrap_or_default();
        let of_today = known.iter().filter(|peak| peak.day == today).map(|peak| peak.taken).max();
        let taken = self.counts.taken().max(of_today.unwrap_or_default());
        // What another clock calls tomorrow comes again tomorrow.
        self.peaks = known.iter().filter(|peak| (today - WEEK..today).contains(&peak.day)).copied().collect();
        self.peaks.push(Peak { day: today, taken });
        self
    }

    /// In how many days the range is full, if the daily peaks go on rising as they did over the last seven whole days.
    ///
    /// None where that would be a guess: where one of these days was not seen, where the peaks do not rise, or rise less
    /// clearly than they scatter (less than twice the standard error of the slope, by least squares), and where it would
    /// be more than a year.
    #[must_use]
    pub fn days_until_full(&self) -> Option<f64> {
        let capacity = self.counts.capacity();
        if self.counts.taken() >= capacity {
            return Some(0.0);
        }
        let today = day(self.as_of);
        let taken_on = |day: i64| self.peaks.iter().find(|peak| peak.day == day).map(|peak| peak.taken as f64);
        let week = (today - WEEK..today).map(taken_on).collect::<Option<Vec<_>>>()?;
        let (slope, error) = slope(&week);
        if slope <= 0.0 || slope < 2.0 * error {
            return None;
        }
        let highest = week.last().copied().unwrap_or_default().max(taken_on(today).unwrap_or_default());
        let days = (capacity as f64 - highest).max(0.0) / slope;
        (days <= HORIZON).then_some(days)
    }
}

/// The day of an instant, counted from the Unix epoch, in UTC.
const fn day(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MILLIS)
}

/// By how much these values rise from one to the next, by least squares, and the standard error of that.
fn slope(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let points = || values.iter().enumerate().map(|(place, value)| (place as f64 - middle, value - mean));
    let spread: f64 = points().map(|(x, _)| x * x).sum();
    let slope = points().map(|(x, y)| x * y).sum::<f64>() / spread;
    let scatter: f64 = points().map(|(x, y)| (y - slope * x).powi(2)).sum();
    (slope, (scatter / (count - 2.0) / spread).sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATED: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn seen(day: i64, taken: usize, size: usize) -> Usage {
        let counts = Counts { free: size - taken, allocated: taken, ..Counts::default() };
        let as_of = Timestamp::from_millis(day * DAY_MILLIS + 5);
        Usage { created: CREATED, as_of, counts, largest_free_run: size - taken, peaks: Vec::new() }
    }

    /// What was seen on these days in turn, the first on day 100.
    fn over(days: &[Option<usize>], size: usize) -> Usage {
        let mut usage = None::<Usage>;
        for (day, taken) in days.iter().enumerate() {
            if let Some(taken) = taken {
                usage = Some(seen(100 + day as i64, *taken, size).following(usage.as_ref()));
            }
        }
        usage.unwrap()
    }

    #[test]
    fn a_steady_rise_is_forecast() {
        let days: Vec<_> = (0..8).map(|day| Some(100 + 10 * day)).collect();
        // 170 of 300 today, ten more a day.
        assert_eq!(over(&days, 300).days_until_full(), Some(13.0));
        // One who looks early in the day does not take a quiet morning for a fall.
        let mut early = days.clone();
        early[7] = Some(5);
        assert_eq!(over(&early, 300).days_until_full(), Some(14.0));
    }

    #[test]
    fn what_would_be_a_guess_is_not_said() {
        let forecast = |days: [usize; 8], size| over(&days.map(Some), size).days_until_full();
        assert_eq!(forecast([50; 8], 300), None, "it does not rise");
        assert_eq!(forecast([80, 70, 60, 50, 40, 30, 20, 10], 300), None, "it falls");
        assert_eq!(forecast([10, 90, 20, 80, 15, 95, 30, 60], 300), None, "it scatters");
        assert_eq!(forecast([0, 1, 2, 3, 4, 5, 6, 7], 48_128), None, "it is more than a year");
        let rising = [10, 20, 30, 40, 50, 60, 70].map(Some);
        assert_eq!(over(&rising, 300).days_until_full(), None, "a day is missing at the beginning");
        let mut gap = [10, 20, 30, 40, 50, 60, 70, 80].map(Some);
        assert!(over(&gap, 300).days_until_full().is_some());
        gap[3] = None;
        assert_eq!(over(&gap, 300).days_until_full(), None, "a day is missing");
    }

    #[test]
    fn what_is_full_is_full_today() {
        assert_eq!(seen(100, 300, 300).following(None).days_until_full(), Some(0.0));
        let reserved = Counts { reserved: 5, ..Counts::default() };
        assert_eq!((reserved.per_mille(), reserved.capacity()), (1000, 0));
        let some = Counts { free: 1, allocated: 1, cooling: 1, quarantined: 1, offered: 1, reserved: 95 };
        assert_eq!((some.taken(), some.capacity(), some.per_mille()), (4, 5, 800));
    }

    #[test]
    fn a_later_service_of_the_name_has_no_history() {
        let earlier = over(&[Some(10), Some(20)], 300);
        let later = Usage { created: Timestamp::from_millis(CREATED.millis() + 1), ..seen(102, 1, 300) };
        assert_eq!(later.following(Some(&earlier)).peaks, [Peak { day: 102, taken: 1 }]);
    }

    proptest! {
        /// However often and in whatever order of clocks it is looked at, at most eight days are kept, each once, and each
        /// has the most that was seen.
        #[test]
        fn peaks_are_those_of_the_last_days(looks in prop::collection::vec((0_i64..12, 0_usize..300), 1..60)) {
            let mut looks = looks;
            looks.sort_by_key(|(day, _)| *day);
            let mut usage = None::<Usage>;
            for (day, taken) in &looks {
                usage = Some(seen(*day, *taken, 300).following(usage.as_ref()));
            }
            let (usage, last) = (usage.unwrap(), looks.last().unwrap().0);
            let days: std::collections::BTreeSet<_> =
                looks.iter().map(|(day, _)| *day).filter(|day| *day >= last - WEEK).collect();
            let peak = |day: i64| looks.iter().filter(|(other, _)| *other == day).map(|(_, taken)| *taken).max().unwrap();
            let expected: Vec<_> = days.into_iter().map(|day| Peak { day, taken: peak(day) }).collect();
            prop_assert_eq!(&usage.peaks, &expected);
            let _ = usage.days_until_full();
        }
    }
}
