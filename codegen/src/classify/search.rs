//! From one coordinate to a number: the class of a value, or the outcome itself.
//!
//! The values of a dimension fall into intervals that all rules treat alike. Which interval a value is in is
//! found in one of these ways:
//! - **Comparing** with each bound, where there are a few: no memory at all.
//! - A **direct** array by the value, for fields of up to 16 bits and for bits.
//! - **Bisection** of the sorted bounds for wider fields. An array by the value's first bits gives where to
//!   begin, so that few steps are left; all values take the same number of steps, without a branch.
//! - For IPv6 addresses and names, bisection of the first 64 bits, and of the last 64 in those few intervals
//!   that they divide.
//!
//! A trie of nodes by 8 bits takes fewer look-ups than the bisection has steps, but 16 to 50 times the
//! memory where prefixes are long, and then each look-up leaves the cache.

use super::bits;
use super::data::{Array, Data, Place};
use super::problem::Dimension;
use crate::asm::{Alu, Code, Cond, Imm64, Operand, Reg, Size};
use crate::emit::test::{PACKET, words};
use crate::field::Field;
use crate::semantic::Test;

/// Bounds up to which a value is compared with each.
const FEW: usize = 5;
/// Bits of a value that choose where a bisection begins, at least and at most.
const MIN_INDEX_BITS: u32 = 6;
const MAX_INDEX_BITS: u32 = 17;
/// Nanoseconds of a step of a bisection by 32 bits.
const STEP: f64 = 1.5;
/// Bytes of a bound with its number.
const NARROW: u32 = 8;
/// Bytes of a bound of 64 bits with its number.
const WIDE: u32 = 16;

/// The values from `start` to the next interval have this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first value.
    pub start: u128,
    /// Their number.
    pub number: u32,
}

/// How a number is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// It is always the same.
    Constant(u32),
    /// How many bounds the field reaches is the number or its index.
    Compare {
        /// The field, of up to 4 bytes.
        field: Field,
        /// The bounds.
        bounds: Vec<u32>,
        /// The numbers, where they are not the index.
        numbers: Option<Array>,
    },
    /// The field is the index.
    Direct {
        /// The field, of 1 or 2 bytes.
        field: Field,
        /// The numbers.
        numbers: Array,
    },
    /// The truth of tests is the number or its index.
    Bits {
        /// The tests.
        tests: Vec<Test>,
        /// The numbers, where they are not the index.
        numbers: Option<Array>,
    },
    /// Bisection of bounds of 32 bits.
    Narrow {
        /// The field, of 4 bytes.
        field: Field,
        /// The bounds.
        bounds: Bounds,
    },
    /// Bisection of bounds of 64 bits, and within some intervals another of as many again.
    Wide {
        /// The field, of 16 bytes.
        field: Field,
        /// The bounds of its first 64 bits.
        bounds: Bounds,
        /// The second bounds.
        inner: Option<Inner>,
    },
}

/// Sorted bounds, each with what belongs to the values from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// By the value's first bits: the last bound that these alone reach.
    index: Array,
    /// How far the value is shifted to be that index.
    shift: u32,
    /// The first bound.
    offset: u32,
    /// How many there are, without those behind the end that let all values take the same steps.
    length: u32,
    /// Steps of the bisection.
    steps: u32,
}

impl Search {
    /// Writes the arrays that find the number of each value of a dimension; the first interval starts at
    /// 0. None for fields that nothing here finds a value of.
    pub fn new(dimension: &Dimension, intervals: &[Interval], data: &mut Data) -> Option<Self> {
        if let [only] = intervals {
            return Some(Search::Constant(only.number));
        }
        let field = match dimension {
            Dimension::Bits { tests, .. } => {
                let numbers = by_value(intervals, 1 << tests.len());
                let tests = tests.clone();
                let numbers = unless_identity(&numbers, data);
                return Some(Search::Bits { tests, numbers });
            }
            Dimension::Field(field) => *field,
        };
        let size = field.place().size;
        if intervals.len() <= FEW + 1 && size <= 4 {
            let starts = intervals[1..].iter().map(|interval| interval.start as u32);
            let numbers: Vec<u32> = intervals.iter().map(|interval| interval.number).collect();
            return Some(Search::Compare {
                field,
                bounds: starts.collect(),
                numbers: unless_identity(&numbers, data),
            });
        }
        match size {
            1 | 2 => {
                let numbers = data.array(&by_value(intervals, 1 << (8 * size)));
                Some(Search::Direct { field, numbers })
            }
            4 => {
                let keys: Vec<u64> = intervals.iter().map(|it| it.start as u64).collect();
                let record = |at: usize| [keys[at] as u32, intervals[at].number];
                let bounds = Bounds::new(&keys, 32, data, record);
                Some(Search::Narrow { field, bounds })
            }
            16 => Some(wide(field, intervals, data)),
            _ => None,
        }
    }

    /// The number of a value.
    pub fn find(&self, value: u128, data: &Data) -> u32 {
        let among = |index: u32, numbers: &Option<Array>| match numbers {
            Some(numbers) => numbers.get(data, index),
            None => index,
        };
        match self {
            Search::Constant(number) => *number,
            Search::Compare {
                bounds, numbers, ..
            } => {
                let reached = bounds.iter().filter(|&&bound| u128::from(bound) <= value);
                among(reached.count() as u32, numbers)
            }
            Search::Direct { numbers, .. } => numbers.get(data, value as u32),
            Search::Bits { numbers, .. } => among(value as u32, numbers),
            Search::Narrow { bounds, .. } => {
                let key = |at: u32| bounds.record(at, NARROW);
                let at = bounds.find(value as u64, data, |at| u64::from(data.word(key(at))));
                data.word(bounds.record(at, NARROW) + 4)
            }
            Search::Wide { bounds, inner, .. } => {
                let key = |at: u32| data.long(bounds.record(at, WIDE));
                let at = bounds.find((value >> 64) as u64, data, key);
                let record = bounds.record(at, WIDE);
                let (number, steps) = (data.word(record + 8), data.word(record + 12));
                match inner {
                    Some(inner) if steps > 0 => {
                        let place = |at: u32| inner.offset as usize + (at * WIDE) as usize;
                        let mut at = number;
                        for step in (0..steps).rev() {
                            if data.long(place(at + (1 << step))) <= value as u64 {
                                at += 1 << step;
                            }
                        }
                        data.word(place(at) + 8)
                    }
                    _ => number,
                }
            }
        }
    }

    /// Writes `dst` = the number of the packet's value; R1 to R5 are lost.
    pub fn emit(&self, code: &mut Code, dst: Reg, place: Place) {
        match self {
            Search::Constant(number) => code.alu32(Alu::Mov, dst, *number as i32),
            Search::Compare {
                field,
                bounds,
                numbers,
            } => {
                load(code, *field, Reg::R1);
                code.alu(Alu::Add, Reg::R1, 1);
                code.mov(dst, 0);
                for &bound in bounds {
                    code.alu32(Alu::Mov, Reg::R2, bound as i32);
                    code.alu(Alu::Sub, Reg::R2, Reg::R1);
                    code.alu(Alu::Rsh, Reg::R2, 63);
                    code.alu(Alu::Add, dst, Reg::R2);
                }
                if let Some(numbers) = numbers {
                    numbers.emit(code, dst, place);
                }
            }
            Search::Direct { field, numbers } => {
                load(code, *field, dst);
                numbers.emit(code, dst, place);
            }
            Search::Bits { tests, numbers } => {
                bits::emit(code, tests, dst);
                if let Some(numbers) = numbers {
                    numbers.emit(code, dst, place);
                }
            }
            Search::Narrow { field, bounds } => {
                load(code, *field, dst);
                bounds.emit_begin(code, dst, NARROW, place);
                load(code, *field, Reg::R1);
                code.alu(Alu::Add, Reg::R1, 1);
                for step in (0..bounds.steps).rev() {
                    emit_key(code, Size::W, (1 << step) * NARROW);
                    code.alu(Alu::Sub, Reg::R5, Reg::R1);
                    code.alu(Alu::Rsh, Reg::R5, 63);
                    emit_step(code, (1 << step) * NARROW);
                }
                code.load(Size::W, dst, Reg::R3, 4);
            }
            Search::Wide {
                field,
                bounds,
                inner,
            } => {
                let offset = field.place().offset;
                code.load(Size::D, dst, PACKET, offset);
                code.to_big_endian(dst, 64);
                bounds.emit_begin(code, dst, WIDE, place);
                emit_wide_value(code, offset);
                for step in (0..bounds.steps).rev() {
                    emit_wide_step(code, dst, (1 << step) * WIDE);
                }
                code.load(Size::W, dst, Reg::R3, 8);
                if let Some(inner) = inner {
                    inner.emit(code, dst, offset + 8, place);
                }
            }
        }
    }

    /// About how long it takes.
    pub fn nanoseconds(&self) -> f64 {
        let among = |numbers: &Option<Array>| numbers.map_or(0.0, |it| access(it.size()));
        match self {
            Search::Constant(_) => 0.3,
            Search::Compare {
                bounds, numbers, ..
            } => 1.0 + 0.6 * bounds.len() as f64 + among(numbers),
            Search::Direct { numbers, .. } => 1.0 + access(numbers.size()),
            Search::Bits { tests, numbers } => 0.5 + 1.5 * tests.len() as f64 + among(numbers),
            Search::Narrow { bounds, .. } => bounds.nanoseconds(NARROW, STEP),
            Search::Wide { bounds, inner, .. } => {
                let steps = inner.map_or(0, |inner| inner.most_steps);
                bounds.nanoseconds(WIDE, 3.0) + 3.0 * f64::from(steps)
            }
        }
    }
}

/// How long it takes to read from an array of so many bytes: most of it lies in the cache that it fits.
pub fn access(size: usize) -> f64 {
    match size {
        0..=0x4000 => 1.5,
        0x4001..=0x8_0000 => 4.0,
        0x8_0001..=0x100_0000 => 12.0,
        _ => 50.0,
    }
}

/// Bounds of 64 bits within intervals of the first 64: a list each, of two to the power of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    offset: u32,
    length: u32,
    most_steps: u32,
}

impl Inner {
    /// `dst` = the number found in the list that begins at `dst`, of as many steps as the bound at R3 says,
    /// or `dst` itself when that is none.
    fn emit(&self, code: &mut Code, dst: Reg, offset: i16, place: Place) {
        let done = code.label();
        code.load(Size::W, Reg::R4, Reg::R3, 12);
        code.branch(Cond::Eq, Reg::R4, 0, done);
        let length = Operand::Imm(self.length as i32);
        code.branch(Cond::Ge, dst, length, place.escape);
        code.alu(Alu::Lsh, dst, WIDE.trailing_zeros() as i32);
        let first = Imm64::MapValue(place.map, place.start + self.offset);
        code.load_imm64(Reg::R3, first);
        code.alu(Alu::Add, Reg::R3, dst);
        emit_wide_value(code, offset);
        for step in (0..self.most_steps).rev() {
            let next = code.label();
            code.branch(Cond::Le, Reg::R4, step as i32, next);
            emit_wide_step(code, dst, (1 << step) * WIDE);
            code.bind(next);
        }
        code.load(Size::W, dst, Reg::R3, 8);
        code.bind(done);
    }
}

impl Bounds {
    /// Sorted keys of so many bits, the first of which is 0; `record` writes the bound at an index.
    fn new<const WORDS: usize>(
        keys: &[u64],
        bits: u32,
        data: &mut Data,
        record: impl Fn(usize) -> [u32; WORDS],
    ) -> Self {
        // A larger index saves steps, but is slower itself.
        let index_bits = (MIN_INDEX_BITS..=MAX_INDEX_BITS)
            .map(|index_bits| {
                let size = size_of::<u32>() << index_bits;
                let cost = access(size) + STEP * f64::from(steps(keys, bits - index_bits));
                (index_bits, cost)
            })
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map_or(MIN_INDEX_BITS, |(index_bits, _)| index_bits);
        let shift = bits - index_bits;
        let mut at = 0;
        let begins = (0..1u64 << index_bits).map(|begin| {
            let value = begin << shift;
            while keys.get(at + 1).is_some_and(|&key| key <= value) {
                at += 1;
            }
            at as u32
        });
        let begins: Vec<u32> = begins.collect();
        let index = data.array(&begins);
        let steps = steps(keys, shift);
        let last = keys.len() - 1;
        // A step may look behind the end; what is there is the last again.
        let padded = (0..keys.len() + (1 << steps)).flat_map(|at| record(at.min(last)));
        let offset = data.words(padded);
        Bounds {
            index,
            shift,
            offset,
            length: keys.len() as u32,
            steps,
        }
    }

    /// The first byte of a bound.
    fn record(&self, at: u32, size: u32) -> usize {
        self.offset as usize + (at * size) as usize
    }

    /// The bound that a value reaches last; `key` reads one.
    fn find(&self, value: u64, data: &Data, key: impl Fn(u32) -> u64) -> u32 {
        let mut at = self.index.get(data, (value >> self.shift) as u32);
        for step in (0..self.steps).rev() {
            let half = 1 << step;
            if key(at + half) <= value {
                at += half;
            }
        }
        at
    }

    /// R3 = the bound where the bisection for the value in `dst` begins; R1 is lost.
    fn emit_begin(&self, code: &mut Code, dst: Reg, size: u32, place: Place) {
        code.alu(Alu::Rsh, dst, self.shift as i32);
        self.index.emit(code, dst, place);
        let length = Operand::Imm(self.length as i32);
        code.branch(Cond::Ge, dst, length, place.escape);
        code.alu(Alu::Lsh, dst, size.trailing_zeros() as i32);
        let first = Imm64::MapValue(place.map, place.start + self.offset);
        code.load_imm64(Reg::R3, first);
        code.alu(Alu::Add, Reg::R3, dst);
    }

    fn nanoseconds(&self, size: u32, step: f64) -> f64 {
        let table = access((self.length * size) as usize);
        1.5 + access(self.index.size()) + table + step * f64::from(self.steps)
    }
}

/// How often the longest run of keys that differ in their last bits only must be halved.
fn steps(keys: &[u64], shift: u32) -> u32 {
    let mut most = 0;
    let mut rest = &keys[1..];
    while let Some(&first) = rest.first() {
        let begin = first >> shift;
        let run = rest.partition_point(|&key| key >> shift == begin);
        // A value of nothing but these first bits finds its bound without a step.
        let own = usize::from(first == begin << shift);
        most = most.max(run - own);
        rest = &rest[run..];
    }
    usize::BITS - most.leading_zeros()
}

/// R5 = the key so many bytes behind R3.
fn emit_key(code: &mut Code, size: Size, distance: u32) {
    match i16::try_from(distance) {
        Ok(distance) => code.load(size, Reg::R5, Reg::R3, distance),
        Err(_) => {
            code.mov(Reg::R5, Reg::R3);
            code.alu(Alu::Add, Reg::R5, distance as i32);
            code.load(size, Reg::R5, Reg::R5, 0);
        }
    }
}

/// R3 += R5 ? distance : 0
fn emit_step(code: &mut Code, distance: u32) {
    code.alu(Alu::Lsh, Reg::R5, distance.trailing_zeros() as i32);
    code.alu(Alu::Add, Reg::R3, Reg::R5);
}

/// R1 = the 64 bits of the packet at an offset, R2 = their opposite.
fn emit_wide_value(code: &mut Code, offset: i16) {
    code.load(Size::D, Reg::R1, PACKET, offset);
    code.to_big_endian(Reg::R1, 64);
    code.mov(Reg::R2, Reg::R1);
    code.alu(Alu::Xor, Reg::R2, -1);
}

/// Moves R3 forward when the key there is not above R1; R5 and `free` are lost.
///
/// The borrow of `value - key` is the majority of the opposite of `value`, `key`, and the difference.
fn emit_wide_step(code: &mut Code, free: Reg, distance: u32) {
    emit_key(code, Size::D, distance);
    code.mov(free, Reg::R1);
    code.alu(Alu::Sub, free, Reg::R5);
    code.alu(Alu::Xor, free, Reg::R2);
    code.alu(Alu::Xor, Reg::R5, Reg::R2);
    code.alu(Alu::And, Reg::R5, free);
    code.alu(Alu::Xor, Reg::R5, Reg::R2);
    code.alu(Alu::Rsh, Reg::R5, 63);
    code.alu(Alu::Xor, Reg::R5, 1);
    emit_step(code, distance);
}

/// `dst` = a field of one word.
fn load(code: &mut Code, field: Field, dst: Reg) {
    for word in words(field) {
        word.load_number(code, dst);
    }
}

/// The number of each value up to `count`.
fn by_value(intervals: &[Interval], count: usize) -> Vec<u32> {
    let mut numbers = vec![0; count];
    for interval in intervals {
        numbers[interval.start as usize..].fill(interval.number);
    }
    numbers
}

/// An array, unless it holds but its own indices.
fn unless_identity(numbers: &[u32], data: &mut Data) -> Option<Array> {
    let identity = numbers
        .iter()
        .enumerate()
        .all(|(index, &it)| index == it as usize);
    (!identity).then(|| data.array(numbers))
}

/// A bisection of the first 64 bits, and lists by the last 64 for those first bits that have several
/// numbers.
fn wide(field: Field, intervals: &[Interval], data: &mut Data) -> Search {
    let high = |interval: &Interval| (interval.start >> 64) as u64;
    let mut keys = Vec::new();
    let mut cells: Vec<(u32, u32)> = Vec::new();
    let mut lists: Vec<[u32; 4]> = Vec::new();
    let mut most_steps = 0;
    let mut rest = intervals;
    let mut before = intervals[0].number;
    while let Some(first) = rest.first() {
        let key = high(first);
        let run = rest.partition_point(|interval| high(interval) == key);
        let (own, behind) = rest.split_at(run);
        let last = own[run - 1].number;
        keys.push(key);
        if own.iter().all(|interval| interval.start as u64 == 0) {
            cells.push((last, 0));
        } else {
            let begins = match first.start as u64 {
                0 => None,
                _ => Some((0, before)),
            };
            let own = own.iter().map(|it| (it.start as u64, it.number));
            let mut list: Vec<(u64, u32)> = begins.into_iter().chain(own).collect();
            let steps = usize::BITS - (list.len() - 1).leading_zeros();
            list.resize(1 << steps, (u64::MAX, last));
            most_steps = most_steps.max(steps);
            cells.push((lists.len() as u32, steps));
            lists.extend(
                list.iter()
                    .map(|&(key, number)| [key as u32, (key >> 32) as u32, number, 0]),
            );
            // Behind these 64 bits the number is one again.
            let next = behind.first().map(high);
            if let Some(after) = key.checked_add(1).filter(|&after| next != Some(after)) {
                keys.push(after);
                cells.push((last, 0));
            }
        }
        before = last;
        rest = behind;
    }
    let record = |at: usize| {
        let (number, steps) = cells[at];
        [keys[at] as u32, (keys[at] >> 32) as u32, number, steps]
    };
    let bounds = Bounds::new(&keys, 64, data, record);
    let inner = (most_steps > 0).then(|| {
        let length = lists.len() as u32;
        // The verifier believes that the last list may be as long as the longest.
        lists.resize(lists.len() + (1 << most_steps), [0; 4]);
        Inner {
            offset: data.words(lists.into_iter().flatten()),
            length,
            most_steps,
        }
    });
    Search::Wide {
        field,
        bounds,
        inner,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values near each other, in any of the widths.
    fn value(bits: u32) -> impl Strategy<Value = u128> {
        let max = u128::MAX >> (128 - bits);
        prop_oneof![
            any::<u128>().prop_map(move |value| value & max),
            (0..4u128, 0..bits, -2..3i128).prop_map(move |(top, shift, near)| {
                (top << shift).wrapping_add_signed(near) & max
            }),
        ]
    }

    fn holds_for(field: Field) -> impl Strategy<Value = (Field, Vec<u128>, Vec<u128>)> {
        let bits = 8 * u32::from(field.place().size);
        let starts = proptest::collection::vec(value(bits), 0..60);
        (
            Just(field),
            starts,
            proptest::collection::vec(value(bits), 20),
        )
    }

    fn any_case() -> impl Strategy<Value = (Field, Vec<u128>, Vec<u128>)> {
        prop_oneof![
            holds_for(Field::Protocol),
            holds_for(Field::SourcePort),
            holds_for(Field::Source4),
            holds_for(Field::Mark),
            holds_for(Field::Source6),
        ]
    }

    proptest! {
        #[test]
        fn every_value_has_the_number_of_its_interval((field, mut starts, mut values) in any_case()) {
            starts.push(0);
            starts.sort_unstable();
            starts.dedup();
            let numbered = starts.iter().enumerate();
            let intervals: Vec<Interval> = numbered
                .map(|(index, &start)| Interval { start, number: index as u32 * 7 % 11 })
                .collect();
            let mut data = Data::default();
            let search = Search::new(&Dimension::Field(field), &intervals, &mut data).expect("a width we know");
            for &start in &starts {
                values.extend([start, start.saturating_sub(1), (start + u128::from(start < field.max()))]);
            }
            for value in values {
                let at = starts.partition_point(|&start| start <= value) - 1;
                prop_assert_eq!(search.find(value, &data), intervals[at].number, "value {:x}", value);
            }
        }
    }
}
