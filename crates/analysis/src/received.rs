//! Which of a room's messages one receiver has: a watermark, a window of bits and the intervals that are missing.
//!
//! Its size follows what is missing, not what came.

use std::ops::Range;

/// The indices seen so far.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Received {
    /// Every index below is seen, or in `holes`.
    base: u32,
    /// Bit i: `base + i` is seen. Bit 0 is never set at rest.
    window: u64,
    /// Missing below `base`: ascending, disjoint.
    holes: Vec<Range<u32>>,
}

/// What an index was to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// New, and no higher one was there.
    Ahead,
    /// New, but a higher one came before it.
    Behind,
    /// Seen before.
    Duplicate,
}

impl Received {
    /// Notes that `index` arrived.
    pub fn insert(&mut self, index: u32) -> Insert {
        if index < self.base {
            return self.fill_hole(index);
        }
        let ahead = index >= self.end();
        if index - self.base >= u64::BITS {
            self.advance(index - (u64::BITS - 1));
        }
        let bit = 1 << (index - self.base);
        if self.window & bit != 0 {
            return Insert::Duplicate;
        }
        self.window |= bit;
        let run = self.window.trailing_ones();
        self.window = self.window.checked_shr(run).unwrap_or(0);
        self.base += run;
        if ahead { Insert::Ahead } else { Insert::Behind }
    }

    /// Whether `index` has arrived.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        match index.checked_sub(self.base) {
            Some(bit) => bit < u64::BITS && self.window >> bit & 1 == 1,
            None => self.hole_of(index).is_none(),
        }
    }

    /// The indices below `len` that have not arrived, ascending.
    pub fn missing(&self, len: u32) -> impl Iterator<Item = u32> + '_ {
        let below = self.holes.iter().flat_map(Clone::clone).take_while(move |&index| index < len);
        let above = (self.base..len).filter(|&index| !self.contains(index));
        below.chain(above)
    }

    /// One past the highest index that has arrived.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.base + (u64::BITS - self.window.leading_zeros())
    }

    /// Moves the window up; what leaves it unseen becomes a hole.
    fn advance(&mut self, base: u32) {
        let inside = (base - self.base).min(u64::BITS);
        for bit in 0..inside {
            if self.window >> bit & 1 == 0 {
                self.push_hole(self.base + bit..self.base + bit + 1);
            }
        }
        self.push_hole(self.base + inside..base);
        self.window = self.window.checked_shr(base - self.base).unwrap_or(0);
        self.base = base;
    }

    fn push_hole(&mut self, hole: Range<u32>) {
        match self.holes.last_mut() {
            _ if hole.is_empty() => {}
            Some(last) if last.end == hole.start => last.end = hole.end,
            _ => self.holes.push(hole),
        }
    }

    fn hole_of(&self, index: u32) -> Option<usize> {
        let at = self.holes.partition_point(|hole| hole.end <= index);
        self.holes.get(at).is_some_and(|hole| hole.contains(&index)).then_some(at)
    }

    fn fill_hole(&mut self, index: u32) -> Insert {
        let Some(at) = self.hole_of(index) else { return Insert::Duplicate };
        let Range { start, end } = self.holes[at];
        let rest = [start..index, index + 1..end].into_iter().filter(|hole| !hole.is_empty());
        self.holes.splice(at..=at, rest);
        Insert::Behind
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A set of integers is the oracle.
        #[test]
        fn it_is_a_set(indices in prop::collection::vec(prop_oneof![0..40_u32, 0..300_u32], 0..200)) {
            let mut received = Received::default();
            let mut oracle = BTreeSet::new();
            for index in indices {
                let highest = oracle.last().copied();
                let expected = match oracle.insert(index) {
                    false => Insert::Duplicate,
                    true if highest.is_none_or(|highest| index > highest) => Insert::Ahead,
                    true => Insert::Behind,
                };
                prop_assert_eq!(received.insert(index), expected);
                prop_assert_eq!(received.end(), oracle.last().map_or(0, |highest| highest + 1));
            }
            let missing: Vec<_> = (0..310).filter(|index| !oracle.contains(index)).collect();
            prop_assert_eq!(received.missing(310).collect::<Vec<_>>(), missing);
            prop_assert!((0..310).all(|index| received.contains(index) == oracle.contains(&index)));
        }
    }

    #[test]
    fn an_outage_is_one_hole_however_long() {
        let mut received = Received::default();
        for index in (0..10).chain(1_000_000..2_000_000) {
            received.insert(index);
        }
        assert_eq!((received.holes.len(), &received.holes[0]), (1, &(10..1_000_000)));
    }
}
