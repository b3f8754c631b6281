//! From one coordinate to a number: the class of a value, or the outcome itself.
//!
//! The values of a dimension fall into intervals that all rules treat alike. Which interval a value is in is
//! found in one of these ways:
//! - **Comparing** with each bound, where there are a few: no memory at all.
//! - A **direct** array by the value, for fields of up to 16 bits and for bits.
//! - **Bisection** of the sorted bounds for wider fields. An array by the value's first bits gives where to
//!   begin, so that few steps are left. While the bounds lie in the caches all values take the same number of
//!   steps, without a branch; where they do not, each takes as many as the bounds near it need, because a
//!   wrong guess of the processor costs less than what another step reads.
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
/// Nanoseconds of not knowing how many steps there are.
const UNKNOWN: f64 = 6.0;
/// Steps within a cache line, or nearly.
const NEAR: f64 = 3.0;
/// Bits of an index that hold a number of steps, where that is not always the same.
const STEP_BITS: u32 = 5;
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
    Narrow(Narrow),
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

/// Bounds of 32 bits, with a number beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// The field, of 4 bytes.
    field: Field,
    bounds: Bounds,
}

/// Sorted bounds, each with what belongs to the values from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// By the value's first bits: the last bound that these alone reach, and behind it in the lowest bits,
    /// where it varies, how many steps are left.
    index: Array,
    /// How far the value is shifted to be that index.
    shift: u32,
    /// The first bound.
    offset: u32,
    /// How often the first is there once more, where there are fewer than the steps can pass.
    front: u32,
    /// How many there are.
    length: u32,
    steps: Steps,
}

/// How often a bisection halves what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steps {
    most: u32,
    /// For the values near most bounds.
    usual: u32,
    /// Whether each value takes only as many as it needs.
    vary: bool,
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
                let beside = |at: usize| intervals[at].number;
                Some(Search::Narrow(Narrow::new(field, &keys, beside, data)))
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
            Search::Narrow(narrow) => narrow.find(value, data).1,
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
            Search::Narrow(narrow) => {
                narrow.emit_bisection(code, dst, false, place);
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
                bounds.emit_steps(code, |code, step| {
                    emit_wide_step(code, dst, (1 << step) * WIDE);
                });
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
            Search::Narrow(narrow) => narrow.nanoseconds(),
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

impl Narrow {
    /// Sorted bounds, the first of which is 0, and what `beside` says for the index of each.
    pub fn new(
        field: Field,
        bounds: &[u64],
        beside: impl Fn(usize) -> u32,
        data: &mut Data,
    ) -> Self {
        let record = |at: usize| [bounds[at] as u32, beside(at)];
        let bounds = Bounds::new(bounds, 32, data, record);
        Narrow { field, bounds }
    }

    /// The index of a value's interval, and what stands beside it.
    pub fn find(&self, value: u128, data: &Data) -> (u32, u32) {
        let record = |at: u32| self.bounds.record(at, NARROW);
        let key = |at: u32| u64::from(data.word(record(at)));
        let at = self.bounds.find(value as u64, data, key);
        (at - self.bounds.front, data.word(record(at) + 4))
    }

    /// Writes `dst` = the index of the interval of the packet's value, and `beside` on the stack = what stands
    /// beside it, 4 bytes; R1 to R5 are lost.
    pub fn emit(&self, code: &mut Code, dst: Reg, beside: i16, place: Place) {
        self.emit_bisection(code, dst, true, place);
        code.load(Size::W, Reg::R1, Reg::R3, 4);
        code.store(Size::W, Reg::R10, beside, Reg::R1);
        code.alu(Alu::Rsh, dst, NARROW.trailing_zeros() as i32);
        if self.bounds.front > 0 {
            code.alu(Alu::Sub, dst, self.bounds.front as i32);
        }
    }

    /// R3 = the record of the packet's value; how many bytes that is behind the first is in `dst`, if it counts.
    fn emit_bisection(&self, code: &mut Code, dst: Reg, counts: bool, place: Place) {
        load(code, self.field, dst);
        self.bounds.emit_begin(code, dst, NARROW, place);
        load(code, self.field, Reg::R1);
        code.alu(Alu::Add, Reg::R1, 1);
        self.bounds.emit_steps(code, |code, step| {
            emit_key(code, Size::W, (1 << step) * NARROW);
            code.alu(Alu::Sub, Reg::R5, Reg::R1);
            code.alu(Alu::Rsh, Reg::R5, 63);
            emit_step(code, (1 << step) * NARROW);
            if counts {
                code.alu(Alu::Add, dst, Reg::R5);
            }
        });
    }

    /// About how long it takes.
    pub fn nanoseconds(&self) -> f64 {
        self.bounds.nanoseconds(NARROW, STEP)
    }
}

impl Steps {
    /// Of a bisection of sorted keys, the first of which is 0, behind an index by all but so many bits.
    fn of(keys: &[u64], shift: u32) -> Self {
        let (mut most, mut all) = (0, 0);
        for (count, steps) in runs(keys, shift) {
            most = most.max(steps);
            all += count * steps;
        }
        Steps {
            most,
            usual: all.div_ceil(keys.len() as u32),
            vary: false,
        }
    }

    /// How long they take, in a table of so many bytes.
    fn nanoseconds(self, size: usize, step: f64) -> f64 {
        let (steps, guess) = match self.vary {
            true => (f64::from(self.usual), UNKNOWN),
            false => (f64::from(self.most), 0.0),
        };
        let lines = 1.0 + (steps - NEAR).max(0.0);
        guess + step * steps + access(size) * lines
    }
}

/// How many sorted keys have the same first bits, and how often their run must be halved, for each run.
fn runs(keys: &[u64], shift: u32) -> impl Iterator<Item = (u32, u32)> {
    keys.chunk_by(move |a, b| a >> shift == b >> shift)
        .map(move |run| {
            // A value of nothing but these first bits finds its bound without a step.
            let own = run[0].trailing_zeros() >= shift;
            (run.len() as u32, halvings(run.len() - usize::from(own)))
        })
}

/// How often a bisection halves that has so many bounds behind the one where it begins.
fn halvings(behind: usize) -> u32 {
    usize::BITS - behind.leading_zeros()
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
        let table = 4 * WORDS * keys.len();
        let candidates = (MIN_INDEX_BITS..=MAX_INDEX_BITS).flat_map(|index_bits| {
            let fixed = Steps::of(keys, bits - index_bits);
            let vary = Steps {
                vary: true,
                ..fixed
            };
            [fixed, vary].map(|steps| {
                let index = access(size_of::<u32>() << index_bits);
                (index_bits, steps, index + steps.nanoseconds(table, STEP))
            })
        });
        let best = candidates.min_by(|a, b| a.2.total_cmp(&b.2));
        let (index_bits, steps) = best.map_or_else(
            || (MIN_INDEX_BITS, Steps::of(keys, bits - MIN_INDEX_BITS)),
            |(index_bits, steps, _)| (index_bits, steps),
        );
        let shift = bits - index_bits;
        let front = (1usize << steps.most).saturating_sub(keys.len());
        let length = front + keys.len();
        let (mut at, mut end) = (0, 0);
        let begins = (0..1u64 << index_bits).map(|begin| {
            let value = begin << shift;
            while keys.get(at + 1).is_some_and(|&key| key <= value) {
                at += 1;
            }
            while keys.get(end).is_some_and(|&key| key >> shift <= begin) {
                end += 1;
            }
            let own = match steps.vary {
                true => halvings(end - 1 - at),
                false => steps.most,
            };
            // Further in front where the steps would lead behind the end.
            let at = (front + at).min(length - (1 << own)) as u32;
            match steps.vary {
                true => at << STEP_BITS | own,
                false => at,
            }
        });
        let begins: Vec<u32> = begins.collect();
        let index = data.array(&begins);
        let last = keys.len() - 1;
        // The verifier believes that all steps may be taken from everywhere.
        let places = 0..length + (1 << steps.most);
        let records = places.flat_map(|at| record(at.saturating_sub(front).min(last)));
        let offset = data.words(records);
        Bounds {
            index,
            shift,
            offset,
            front: front as u32,
            length: length as u32,
            steps,
        }
    }

    /// The first byte of a bound.
    fn record(&self, at: u32, size: u32) -> usize {
        self.offset as usize + (at * size) as usize
    }

    /// The bound that a value reaches last; `key` reads one.
    fn find(&self, value: u64, data: &Data, key: impl Fn(u32) -> u64) -> u32 {
        let begin = self.index.get(data, (value >> self.shift) as u32);
        let (mut at, steps) = match self.steps.vary {
            true => (begin >> STEP_BITS, begin & ((1 << STEP_BITS) - 1)),
            false => (begin, self.steps.most),
        };
        for step in (0..steps).rev() {
            let half = 1 << step;
            if key(at + half) <= value {
                at += half;
            }
        }
        at
    }

    /// R3 = the bound where the bisection for the value in `dst` begins, which is so many bytes behind the first
    /// as `dst` says then, and R4 = the number of its steps, if that varies; R1 is lost.
    fn emit_begin(&self, code: &mut Code, dst: Reg, size: u32, place: Place) {
        code.alu(Alu::Rsh, dst, self.shift as i32);
        self.index.emit(code, dst, place);
        if self.steps.vary {
            code.mov(Reg::R4, dst);
            code.alu(Alu::And, Reg::R4, (1 << STEP_BITS) - 1);
            code.alu(Alu::Rsh, dst, STEP_BITS as i32);
        }
        let length = Operand::Imm(self.length as i32);
        code.branch(Cond::Ge, dst, length, place.escape);
        code.alu(Alu::Lsh, dst, size.trailing_zeros() as i32);
        let first = Imm64::MapValue(place.map, place.start + self.offset);
        code.load_imm64(Reg::R3, first);
        code.alu(Alu::Add, Reg::R3, dst);
    }

    /// The steps, each with its power of two.
    fn emit_steps(&self, code: &mut Code, mut step: impl FnMut(&mut Code, u32)) {
        for power in (0..self.steps.most).rev() {
            if self.steps.vary {
                let next = code.label();
                code.branch(Cond::Le, Reg::R4, power as i32, next);
                step(code, power);
                code.bind(next);
            } else {
                step(code, power);
            }
        }
    }

    fn nanoseconds(&self, size: u32, step: f64) -> f64 {
        let table = (self.length * size) as usize;
        1.5 + access(self.index.size()) + self.steps.nanoseconds(table, step)
    }
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
            values.push(field.max());
            let keys: Vec<u64> = starts.iter().map(|&start| start as u64).collect();
            let narrow = (field.place().size == 4).then(|| Narrow::new(field, &keys, |at| at as u32 + 7, &mut data));
            for value in values {
                let at = starts.partition_point(|&start| start <= value) - 1;
                prop_assert_eq!(search.find(value, &data), intervals[at].number, "value {:x}", value);
                if let Some(narrow) = narrow {
                    let at = at as u32;
                    prop_assert_eq!(narrow.find(value, &data), (at, at + 7), "value {:x}", value);
                }
            }
        }
    }

    #[test]
    fn where_addresses_are_crowded_only_their_neighbours_take_many_steps() {
        let crowded = (0..1000).map(|at| 0x0a00_0000 + 3 * at);
        let scattered = (1..=2000).map(|at: u32| at.wrapping_mul(0x9e37_79b1));
        let mut keys: Vec<u64> = crowded.chain(scattered).map(u64::from).collect();
        keys.push(0);
        keys.sort_unstable();
        keys.dedup();
        let mut data = Data::default();
        let narrow = Narrow::new(Field::Source4, &keys, |at| at as u32 ^ 0x55, &mut data);
        let steps = narrow.bounds.steps;
        assert!(steps.vary && steps.usual < steps.most, "{steps:?}");
        for &key in &keys {
            for value in [key.saturating_sub(1), key, key + 1] {
                let at = keys.partition_point(|&key| key <= value) as u32 - 1;
                let found = narrow.find(value.into(), &data);
                assert_eq!(found, (at, at ^ 0x55), "value {value:x}");
            }
        }
    }
}
