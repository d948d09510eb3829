//! A set of ports as a bitmap.

use std::fmt;

use crate::{Port, PortRange};

const WORDS: usize = Port::COUNT / 64;
const _: () = assert!(Port::COUNT.is_multiple_of(64), "the ports fill whole words");

/// A set of ports: one bit each, 6,016 bytes for all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; WORDS]>);

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({} ports)", self.count(PortRange::ALL))
    }
}

impl PortSet {
    /// The length of [`PortSet::to_bytes`] in bytes.
    pub const BYTES: usize = WORDS * 8;

    /// Whether the port is in the set.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        let (word, bit) = place(port);
        self.0[word] & bit != 0
    }

    /// Adds a port.
    pub fn insert(&mut self, port: Port) {
        let (word, bit) = place(port);
        self.0[word] |= bit;
    }

    /// Removes a port.
    pub fn remove(&mut self, port: Port) {
        let (word, bit) = place(port);
        self.0[word] &= !bit;
    }

    /// Adds every port of a range.
    pub fn insert_range(&mut self, range: PortRange) {
        for (word, mask) in masks(range) {
            self.0[word] |= mask;
        }
    }

    /// Removes every port of a range.
    pub fn remove_range(&mut self, range: PortRange) {
        for (word, mask) in masks(range) {
            self.0[word] &= !mask;
        }
    }

    /// Adds every port of another set.
    pub fn insert_all(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0.iter()) {
            *word |= more;
        }
    }

    /// Removes every port of another set.
    pub fn remove_all(&mut self, other: &Self) {
        for (word, less) in self.0.iter_mut().zip(other.0.iter()) {
            *word &= !less;
        }
    }

    /// Removes every port that is not in another set.
    pub fn retain_all(&mut self, other: &Self) {
        for (word, kept) in self.0.iter_mut().zip(other.0.iter()) {
            *word &= kept;
        }
    }

    /// Whether any port of the range is in the set.
    #[must_use]
    pub fn intersects(&self, range: PortRange) -> bool {
        masks(range).any(|(word, mask)| self.0[word] & mask != 0)
    }

    /// How many ports of the range are in the set.
    #[must_use]
    pub fn count(&self, range: PortRange) -> usize {
        masks(range).map(|(word, mask)| (self.0[word] & mask).count_ones() as usize).sum()
    }

    /// Returns the `skip`-th port, from 0, of those in the range that are in none of the sets.
    ///
    /// It reads at most 752 words of each, whatever the size of the range and however full it is.
    #[must_use]
    pub fn nth_in_none<const N: usize>(sets: [&Self; N], range: PortRange, mut skip: usize) -> Option<Port> {
        for (word, mut free) in words_in_none(sets, range) {
            let here = free.count_ones() as usize;
            if skip >= here {
                skip -= here;
                continue;
            }
            for _ in 0..skip {
                free &= free - 1;
            }
            return Port::at(word * 64 + free.trailing_zeros() as usize);
        }
        None
    }

    /// How many ports of the range are in none of the sets.
    #[must_use]
    pub fn count_in_none<const N: usize>(sets: [&Self; N], range: PortRange) -> usize {
        words_in_none(sets, range).map(|(_, free)| free.count_ones() as usize).sum()
    }

    /// The ports of the range that are in none of the sets.
    #[must_use]
    pub fn in_none<const N: usize>(sets: [&Self; N], range: PortRange) -> Self {
        let mut set = Self::default();
        for (word, free) in words_in_none(sets, range) {
            set.0[word] = free;
        }
        set
    }

    /// The ports of the range that are in the set, in ascending order.
    pub fn ports(&self, range: PortRange) -> impl Iterator<Item = Port> {
        masks(range).flat_map(|(word, mask)| {
            let mut left = self.0[word] & mask;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Port::at(word * 64 + bit)
            })
        })
    }

    /// Keeps the ports at which a run of `length` ports of the set begins, and removes all others.
    pub fn retain_runs(&mut self, length: usize) {
        // Each pass joins runs of `known` ports with those that begin `step` ports later; they overlap or touch.
        let mut known = 1;
        while known < length {
            let step = known.min(length - known).min(63);
            for word in 0..WORDS {
                let next = self.0.get(word + 1).map_or(0, |next| next << (64 - step));
                self.0[word] &= self.0[word] >> step | next;
            }
            known += step;
        }
    }

    /// The set as bytes: port 1024 is the lowest bit of the first byte.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The set that [`PortSet::to_bytes`] encoded; none if the length is wrong.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let mut set = Self::default();
        for (word, chunk) in set.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Some(set)
    }
}

fn place(port: Port) -> (usize, u64) {
    (port.index() / 64, 1 << (port.index() % 64))
}

/// The words that a range touches, each with the range's bits in it.
fn masks(range: PortRange) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (range.start().index(), range.end().index());
    (first / 64..=last / 64).map(move |word| {
        let low = if word == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
        let high = if word == last / 64 { u64::MAX >> (63 - last % 64) } else { u64::MAX };
        (word, low & high)
    })
}

/// The words that a range touches, each with the range's ports that are in none of the sets.
fn words_in_none<const N: usize>(sets: [&PortSet; N], range: PortRange) -> impl Iterator<Item = (usize, u64)> {
    masks(range).map(move |(word, mask)| (word, sets.iter().fold(mask, |free, set| free & !set.0[word])))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn port() -> impl Strategy<Value = Port> {
        // Half of the ports are close together, so that shared words and their edges are common.
        prop_oneof![1024u16..=1300, 1024u16..=49151].prop_map(|number| Port::new(number).unwrap())
    }

    fn range() -> impl Strategy<Value = PortRange> {
        (port(), port()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Port),
        Remove(Port),
        InsertRange(PortRange),
        RemoveRange(PortRange),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            port().prop_map(Step::Insert),
            port().prop_map(Step::Remove),
            range().prop_map(Step::InsertRange),
            range().prop_map(Step::RemoveRange),
        ]
    }

    fn members(range: PortRange) -> impl Iterator<Item = Port> {
        (range.start().index()..=range.end().index()).map(|index| Port::at(index).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The bitmap behaves like a `BTreeSet`.
        #[test]
        fn agrees_with_a_plain_set(
            steps in prop::collection::vec(step(), 1..12),
            others in prop::collection::vec(port(), 0..50),
            within in range(),
            away in range(),
            nth in 0usize..300,
            length in 1usize..150,
        ) {
            let (mut set, mut plain) = (PortSet::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(p) => { set.insert(p); plain.insert(p); }
                    Step::Remove(p) => { set.remove(p); plain.remove(&p); }
                    Step::InsertRange(r) => { set.insert_range(r); plain.extend(members(r)); }
                    Step::RemoveRange(r) => { set.remove_range(r); plain.retain(|p| !r.contains(*p)); }
                }
            }
            let mut other = PortSet::default();
            others.iter().for_each(|p| other.insert(*p));

            let inside = plain.iter().filter(|p| within.contains(**p)).count();
            prop_assert_eq!(set.count(within), inside);
            prop_assert_eq!(set.intersects(within), inside > 0);
            let mut third = PortSet::default();
            third.insert_range(away);
            let free: Vec<_> = members(within)
                .filter(|p| !plain.contains(p) && !others.contains(p) && !away.contains(*p))
                .collect();
            let sets = [&set, &other, &third];
            prop_assert_eq!(PortSet::count_in_none(sets, within), free.len());
            prop_assert_eq!(PortSet::nth_in_none(sets, within, nth), free.get(nth).copied());
            prop_assert_eq!(PortSet::nth_in_none(sets, within, free.len()), None);
            let outside = PortSet::in_none(sets, within);
            prop_assert_eq!(outside.ports(PortRange::ALL).collect::<Vec<_>>(), free);
            prop_assert_eq!(set.ports(within).collect::<Vec<_>>(), plain.iter().copied().filter(|p| within.contains(*p)).collect::<Vec<_>>());
            let mut runs = set.clone();
            runs.retain_runs(length);
            let is_run = |p: &Port| (p.index()..p.index() + length).all(|i| Port::at(i).is_some_and(|p| plain.contains(&p)));
            prop_assert_eq!(runs.ports(PortRange::ALL).collect::<Vec<_>>(), plain.iter().copied().filter(is_run).collect::<Vec<_>>());
            prop_assert!(members(within).all(|p| set.contains(p) == plain.contains(&p)));
            let both = |act: fn(&mut PortSet, &PortSet)| {
                let mut both = set.clone();
                act(&mut both, &other);
                both
            };
            let (more, less, kept) =
                (both(PortSet::insert_all), both(PortSet::remove_all), both(PortSet::retain_all));
            for p in members(within) {
                let (a, b) = (plain.contains(&p), others.contains(&p));
                prop_assert_eq!((more.contains(p), less.contains(p), kept.contains(p)), (a || b, a && !b, a && b));
            }
            let bytes = set.to_bytes();
            prop_assert_eq!(bytes.len(), 6016);
            prop_assert_eq!(PortSet::from_bytes(&bytes), Some(set));
        }

        #[test]
        fn only_a_whole_bitmap_is_one(bytes in prop::collection::vec(any::<u8>(), 0..6100)) {
            prop_assert_eq!(PortSet::from_bytes(&bytes).is_some(), bytes.len() == 6016);
        }
    }

    #[test]
    fn the_first_bit_is_port_1024() {
        let mut set = PortSet::default();
        set.insert(Port::MIN);
        set.insert(Port::MAX);
        let bytes = set.to_bytes();
        assert_eq!((bytes[0], bytes[6015]), (0b1, 0b1000_0000));
    }
}
