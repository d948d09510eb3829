//! Whether a history is linearizable: whether its operations can be put into one order that each caller could have
//! seen, in which the object would have given every answer.
//!
//! This is the search of Wing and Gong (1993) with Lowe's memory (*Testing for linearizability*, 2017): put first any
//! operation that began before every unplaced one ended, see whether the object could have answered so, go on from
//! there; and never go on twice from the same set of placed operations and the same state. With at most 128 operations
//! the set is a number. The search is exact: it gives up only after every order has been tried.
//!
//! The testers that exist (stateright's, todc's) want the object to give *the* answer to an operation. Ours may do one
//! of several things (an expiry, a caller that was never answered), and an operation without an answer may have any
//! effect it could have had, at any time after it began, or none. So here the object returns a list of the states that
//! may follow.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Entry<Op> {
    /// Its place in the order of all beginnings and ends, and the time.
    pub began: Stamp,
    /// The same of its end; none if it was never answered.
    pub ended: Option<Stamp>,
    /// Whether it must have happened. If not, it may have, once, between its beginning and its end.
    pub certain: bool,
    pub op: Op,
}

/// A moment: its place in the order of all moments, and its milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    pub order: u32,
    pub millis: i64,
}

/// The search's knowledge of the moment at which an operation took effect.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub earliest: i64,
    pub latest: i64,
}

/// An object that answers one operation at a time.
pub trait Object {
    type State: Clone + Eq + Hash + Debug;
    type Op: Debug;

    fn initial(&self) -> Self::State;

    /// The states that may follow, if the operation may have had its answer here; none if it may not.
    fn after(&self, state: &Self::State, entry: &Entry<Self::Op>, window: Window) -> Vec<Self::State>;
}

/// If there is no whole order: the longest beginning of one that was found, and the states it could have led to.
pub type Stuck<State> = (Vec<usize>, State);

struct Search<'a, O: Object> {
    object: &'a O,
    entries: &'a [Entry<O::Op>],
    seen: HashSet<(u128, O::State)>,
    path: Vec<usize>,
    longest: Stuck<O::State>,
}

/// Looks for an order.
pub fn linearize<O: Object>(object: &O, entries: &[Entry<O::Op>]) -> Result<(), Stuck<O::State>> {
    assert!(entries.len() <= 128, "{} operations on one object", entries.len());
    let initial = object.initial();
    let longest = (Vec::new(), initial.clone());
    let mut search = Search { object, entries, seen: HashSet::new(), path: Vec::new(), longest };
    if search.go_on(0, &initial, Stamp::default()) { Ok(()) } else { Err(search.longest) }
}

impl<O: Object> Search<'_, O> {
    /// Searches on from these placed operations and this state; `latest` is the latest beginning among the placed.
    fn go_on(&mut self, placed: u128, state: &O::State, latest: Stamp) -> bool {
        let left = || (0..self.entries.len()).filter(|i| placed & (1 << i) == 0);
        let Some(first_end) = left().filter(|i| self.entries[*i].certain).filter_map(|i| self.entries[i].ended).min()
        else {
            return true;
        };
        if self.path.len() > self.longest.0.len() {
            self.longest = (self.path.clone(), state.clone());
        }
        for i in left().collect::<Vec<_>>() {
            let entry = &self.entries[i];
            let end = entry.ended.map_or(first_end, |end| end.min(first_end));
            // Another has ended before it began; or it need not have happened, and it is too late for that.
            if entry.began > first_end || entry.ended.is_some_and(|end| end < latest) {
                continue;
            }
            let began = entry.began.max(latest);
            let window = Window { earliest: began.millis, latest: end.millis };
            for next in self.object.after(state, entry, window) {
                let placed = placed | (1 << i);
                if self.seen.insert((placed, next.clone())) {
                    self.path.push(i);
                    if self.go_on(placed, &next, began) {
                        return true;
                    }
                    self.path.pop();
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register, to try the search on.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Write(u8),
        Read(u8),
    }

    impl Object for Register {
        type State = u8;
        type Op = Op;

        fn initial(&self) -> u8 {
            0
        }

        fn after(&self, state: &u8, entry: &Entry<Op>, _: Window) -> Vec<u8> {
            match entry.op {
                Op::Write(value) => vec![value],
                Op::Read(value) if value == *state => vec![value],
                Op::Read(_) => vec![],
            }
        }
    }

    fn entry(began: u32, ended: Option<u32>, op: Op) -> Entry<Op> {
        let at = |order| Stamp { order, millis: i64::from(order) };
        Entry { began: at(began), ended: ended.map(at), certain: ended.is_some(), op }
    }

    #[test]
    fn what_overlaps_has_any_order_and_what_does_not_has_one() {
        let overlapping = [entry(0, Some(3), Op::Write(1)), entry(1, Some(2), Op::Read(0))];
        assert!(linearize(&Register, &overlapping).is_ok());
        let one_after_the_other = [entry(0, Some(1), Op::Write(1)), entry(2, Some(3), Op::Read(0))];
        assert!(linearize(&Register, &one_after_the_other).is_err());
        // New, then old again.
        let back = [entry(0, Some(9), Op::Write(1)), entry(1, Some(2), Op::Read(1)), entry(3, Some(4), Op::Read(0))];
        assert!(linearize(&Register, &back).is_err());
    }

    #[test]
    fn what_was_never_answered_happened_at_any_time_or_never() {
        let write = entry(0, None, Op::Write(1));
        for value in [0, 1] {
            assert!(linearize(&Register, &[write.clone(), entry(2, Some(3), Op::Read(value))]).is_ok());
        }
        let late = [write.clone(), entry(2, Some(3), Op::Read(0)), entry(4, Some(5), Op::Read(1))];
        assert!(linearize(&Register, &late).is_ok());
        // But not before it began, nor twice.
        let early = [entry(4, None, Op::Write(1)), entry(2, Some(3), Op::Read(1))];
        assert!(linearize(&Register, &early).is_err());
        let twice =
            [write, entry(2, Some(3), Op::Read(1)), entry(4, Some(5), Op::Write(2)), entry(6, Some(7), Op::Read(1))];
        assert!(linearize(&Register, &twice).is_err());
    }
}
