//! Sets of numbers as ranges.

use smallvec::{SmallVec, smallvec};

/// A set of numbers: disjoint inclusive ranges that do not touch, in rising order. Most are a single range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges(SmallVec<[(u128, u128); 1]>);

impl Ranges {
    /// The numbers from `low` to `high`; none when `low > high`.
    pub fn between(low: u128, high: u128) -> Self {
        Ranges(match low <= high {
            true => smallvec![(low, high)],
            false => SmallVec::new(),
        })
    }

    /// The numbers of any of some ranges, in any order.
    pub fn of(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut joined: SmallVec<[(u128, u128); 1]> = SmallVec::new();
        for (low, high) in ranges {
            match joined.last_mut() {
                Some(last) if low == 0 || low - 1 <= last.1 => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        Ranges(joined)
    }

    /// The numbers up to `max` for which `number & mask == value`; none when those are more than `limit`
    /// ranges.
    pub fn masked(mask: u128, value: u128, max: u128, limit: usize) -> Option<Self> {
        let mask = mask & max;
        if value & !mask != 0 {
            return Some(Ranges(SmallVec::new()));
        }
        // The bits below the lowest one that counts make a range; each free bit above doubles them.
        let low = match mask {
            0 => max,
            _ => (1u128 << mask.trailing_zeros()) - 1,
        };
        let free = max & !mask & !low;
        if free.count_ones() >= usize::BITS - 1 || 1usize << free.count_ones() > limit {
            return None;
        }
        if free == 0 {
            return Some(Ranges::between(value, value | low));
        }
        let mut ranges = Vec::with_capacity(1 << free.count_ones());
        let mut part = 0;
        loop {
            ranges.push((value | part, value | part | low));
            // The next number made of the free bits alone.
            part = (part | !free).wrapping_add(1) & free;
            if part == 0 {
                return Some(Ranges::of(ranges));
            }
        }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|&(low, _)| low <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// Whether it holds all numbers up to `max`.
    pub fn is_all(&self, max: u128) -> bool {
        matches!(self.0.as_slice(), [(0, high)] if *high >= max)
    }

    /// The numbers up to `max` that are not in it.
    pub fn complement(&self, max: u128) -> Self {
        let mut ranges = SmallVec::new();
        let mut next = Some(0);
        for &(low, high) in &self.0 {
            if let Some(next) = next.filter(|&next| next < low) {
                ranges.push((next, (low - 1).min(max)));
            }
            next = high.checked_add(1);
        }
        if let Some(next) = next.filter(|&next| next <= max) {
            ranges.push((next, max));
        }
        Ranges(ranges)
    }

    /// The numbers in both.
    pub fn intersection(&self, other: &Ranges) -> Self {
        let mut ranges = SmallVec::new();
        let (mut left, mut right) = (0, 0);
        while let (Some(&a), Some(&b)) = (self.0.get(left), other.0.get(right)) {
            let (low, high) = (a.0.max(b.0), a.1.min(b.1));
            if low <= high {
                ranges.push((low, high));
            }
            match a.1 < b.1 {
                true => left += 1,
                false => right += 1,
            }
        }
        Ranges(ranges)
    }

    /// The numbers in either.
    pub fn union(&self, other: &Ranges) -> Self {
        Ranges::of([self.0.as_slice(), other.0.as_slice()].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Ranges;

    const MAX: u128 = 63;

    fn ranges() -> impl Strategy<Value = Ranges> {
        proptest::collection::vec((0..=MAX, 0..=MAX), 0..5).prop_map(Ranges::of)
    }

    proptest! {
        #[test]
        fn operations_are_those_of_sets(a in ranges(), b in ranges(), mask in 0..=MAX, value in 0..=MAX) {
            let masked = Ranges::masked(mask, value, MAX, 64).expect("there are but 64 numbers");
            for number in 0..=MAX {
                let (in_a, in_b) = (a.contains(number), b.contains(number));
                prop_assert_eq!(a.complement(MAX).contains(number), !in_a);
                prop_assert_eq!(a.intersection(&b).contains(number), in_a && in_b);
                prop_assert_eq!(a.union(&b).contains(number), in_a || in_b);
                prop_assert_eq!(masked.contains(number), number & mask == value);
            }
            prop_assert_eq!(a.complement(MAX).complement(MAX), a);
        }
    }

    #[test]
    fn masks_that_make_too_many_ranges_are_left_alone() {
        assert_eq!(Ranges::masked(1, 0, u128::MAX, 256), None);
        let halves = Ranges::masked(0xff0f, 0x1203, 0xffff, 256).expect("16 ranges");
        assert_eq!(halves.ranges().len(), 16);
        let all = Ranges::masked(0, 0, u128::MAX, 1).expect("one range");
        assert!(all.is_all(u128::MAX));
    }
}
