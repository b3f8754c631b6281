//! Tables of equivalence classes ("recursive flow classification", Gupta and McKeown, SIGCOMM 1999).
//!
//! Values of a dimension that are in the same patterns are one class. Two dimensions with their classes make
//! one with the classes of their pairs, found in a table by both numbers; so on until one is left, whose
//! classes tell the marks of a packet and with them its outcome. A look-up takes as many steps for any
//! number of rules. The tables grow with the product of the classes, so this pays as long as they fit.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use foldhash::HashSet;

use super::data::{Array, Data, Place};
use super::outcome::{Outcomes, Walk};
use super::problem::{Dimension, Problem};
use super::search::{Interval, Search, access};
use super::{Classifier, Limits};
use crate::asm::{Alu, Code, Reg};

/// Where numbers of classes are kept during a look-up.
const KEPT: [Reg; 3] = [Reg::R8, Reg::R7, Reg::R0];
/// Steps of building that take about a millisecond.
const WORK_PER_MILLISECOND: usize = 400_000;

/// Tables that give the outcome of a packet.
#[derive(Clone, Debug)]
pub struct Tables {
    data: Data,
    tree: Tree,
    /// The outcomes of the last classes, unless the last table holds them.
    words: Option<Array>,
}

/// How a class is found.
#[derive(Clone, Debug)]
enum Tree {
    /// From the coordinate in a dimension.
    Leaf(usize, Search),
    /// From two classes: the table's row and column.
    Cross {
        left: Box<Tree>,
        right: Box<Tree>,
        columns: u32,
        table: Array,
    },
}

/// Builds the tables of a problem, within limits of time and memory.
pub fn build(problem: &Problem, outcomes: &mut Outcomes, limits: &Limits) -> Option<Tables> {
    if least_cells(problem) > limits.memory {
        return None;
    }
    let leaves = leaves(usize::MAX, problem, limits)?;
    let in_order = |order: Order| build_of(leaves.clone(), order, problem, outcomes, limits);
    [Order::AddressesFirst, Order::SmallestFirst]
        .into_iter()
        .find_map(in_order)
}

/// About how many cells some table has at least: one that tells apart the two dimensions with the most
/// different sets. It takes no time to see that many rules are too many.
fn least_cells(problem: &Problem) -> usize {
    let mut sets = vec![HashSet::default(); problem.dimensions.len()];
    for (dimension, set) in problem.patterns.iter().flat_map(|pattern| &pattern.sets) {
        sets[*dimension].insert(set.ranges());
    }
    let mut sizes: Vec<usize> = sets.iter().map(HashSet::len).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.iter().take(2).product()
}

/// In which order dimensions are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Addresses, and what is as wide, with each other, and the others with each other, before both.
    ///
    /// Rules that are specific about the one address are so about the other, too, and few pairs of addresses
    /// have rules in common: their product has few classes, that of an address with anything else has many.
    AddressesFirst,
    /// The fewest classes first: better where many rules name one address only.
    SmallestFirst,
}

/// The dimensions that tell anything, each with its classes.
#[derive(Clone)]
pub(super) struct Leaves {
    parts: Vec<Part>,
    /// What may still be spent.
    work: usize,
}

/// The leaves of a problem. None when they are more than so many, or take too long.
pub(super) fn leaves(dimensions: usize, problem: &Problem, limits: &Limits) -> Option<Leaves> {
    let work = limits.milliseconds * WORK_PER_MILLISECOND;
    let mut builder = Builder::new(problem, work, limits);
    let mut parts = Vec::new();
    for dimension in 0..problem.dimensions.len() {
        let part = builder.leaf(dimension)?;
        // A single class tells nothing: what asks for this dimension stands behind what takes all.
        if part.classes.len() > 1 {
            parts.push(part);
        }
        if parts.len() > dimensions {
            return None;
        }
    }
    let work = builder.work;
    Some(Leaves { parts, work })
}

/// Puts the leaves of a problem together in an order.
pub(super) fn build_of(
    leaves: Leaves,
    order: Order,
    problem: &Problem,
    outcomes: &mut Outcomes,
    limits: &Limits,
) -> Option<Tables> {
    let walk = Walk::new(problem);
    let Leaves { mut parts, work } = leaves;
    let mut builder = Builder::new(problem, work, limits);
    while parts.len() > 1 {
        let (left, right) = next_pair(&parts, order, problem);
        let right = parts.swap_remove(right);
        let left = parts.swap_remove(left);
        parts.push(builder.cross(left, right)?);
    }
    let mut word = |class: &Class| {
        let mut marks: Vec<usize> = class
            .patterns()
            .map(|it| problem.patterns[it].mark)
            .collect();
        marks.dedup();
        let outcome = walk.outcome(&marks);
        outcomes.word(&outcome.counters, outcome.leave)
    };
    let Some(last) = parts.pop() else {
        // Nothing is asked of any packet.
        let all = Class::of(0..problem.patterns.len());
        let always = Interval {
            start: 0,
            number: word(&all)?,
        };
        return Some(Tables {
            tree: Tree::Leaf(0, Search::Constant(always.number)),
            data: builder.data,
            words: None,
        });
    };
    let words = last
        .classes
        .iter()
        .map(&mut word)
        .collect::<Option<Vec<u32>>>()?;
    let (tree, words) = builder.finish(last.draft, &words)?;
    (tree.registers() <= KEPT.len() && builder.data.len() <= limits.memory).then_some(Tables {
        data: builder.data,
        tree,
        words,
    })
}

impl Classifier for Tables {
    fn data(&self) -> &Data {
        &self.data
    }

    fn find(&self, point: &[u128]) -> u32 {
        let class = self.tree.find(point, &self.data);
        self.words
            .map_or(class, |words| words.get(&self.data, class))
    }

    fn emit(&self, code: &mut Code, place: Place) {
        self.tree.emit(code, &KEPT, place);
        if let Some(words) = self.words {
            words.emit(code, KEPT[0], place);
        }
    }

    fn nanoseconds(&self) -> f64 {
        self.tree.nanoseconds() + self.words.map_or(0.0, |words| access(words.size()))
    }
}

impl Tree {
    fn find(&self, point: &[u128], data: &Data) -> u32 {
        match self {
            Tree::Leaf(dimension, search) => {
                search.find(point.get(*dimension).copied().unwrap_or(0), data)
            }
            Tree::Cross {
                left,
                right,
                columns,
                table,
            } => {
                let row = left.find(point, data);
                table.get(data, row * columns + right.find(point, data))
            }
        }
    }

    /// How many registers hold classes at once.
    fn registers(&self) -> usize {
        match self {
            Tree::Leaf(..) => 1,
            Tree::Cross { left, right, .. } => match (left.registers(), right.registers()) {
                (left, right) if left == right => left + 1,
                (left, right) => left.max(right),
            },
        }
    }

    /// Writes `kept[0]` = the class.
    fn emit(&self, code: &mut Code, kept: &[Reg], place: Place) {
        match self {
            Tree::Leaf(_, search) => search.emit(code, kept[0], place),
            Tree::Cross {
                left,
                right,
                columns,
                table,
            } => {
                let (row, column) = match left.registers() >= right.registers() {
                    true => {
                        left.emit(code, kept, place);
                        right.emit(code, &kept[1..], place);
                        (kept[0], kept[1])
                    }
                    false => {
                        right.emit(code, kept, place);
                        left.emit(code, &kept[1..], place);
                        (kept[1], kept[0])
                    }
                };
                code.alu(Alu::Mul, row, *columns as i32);
                code.alu(Alu::Add, row, column);
                if row != kept[0] {
                    code.mov(kept[0], row);
                }
                table.emit(code, kept[0], place);
            }
        }
    }

    fn nanoseconds(&self) -> f64 {
        match self {
            Tree::Leaf(_, search) => search.nanoseconds(),
            Tree::Cross {
                left, right, table, ..
            } => left.nanoseconds() + right.nanoseconds() + 1.0 + access(table.size()),
        }
    }
}

/// A set of patterns: its words that are not zero, with their indices, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Class(Vec<(u32, u64)>);

impl Class {
    fn of(patterns: impl Iterator<Item = usize>) -> Self {
        let mut words: Vec<(u32, u64)> = Vec::new();
        for pattern in patterns {
            let (index, bit) = ((pattern / 64) as u32, 1 << (pattern % 64));
            match words.last_mut() {
                Some(last) if last.0 == index => last.1 |= bit,
                _ => words.push((index, bit)),
            }
        }
        Class(words)
    }

    fn patterns(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(|&(index, word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| index as usize * 64 + bit)
        })
    }

    fn hash(&self) -> u64 {
        let mix = |hash: u64, word: u64| {
            (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        let words = self.0.iter();
        words.fold(0, |hash, &(index, word)| mix(mix(hash, index.into()), word))
    }
}

/// Takes a number that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, &byte| hash << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Numbers classes in the order in which they come.
#[derive(Default)]
struct Numbers {
    classes: Vec<Class>,
    known: HashMap<u64, Vec<u32>, BuildHasherDefault<Hashed>>,
}

impl Numbers {
    fn number(&mut self, class: &Class) -> u32 {
        let same = self.known.entry(class.hash()).or_default();
        let known = same.iter().find(|&&it| self.classes[it as usize] == *class);
        if let Some(&known) = known {
            return known;
        }
        let number = self.classes.len() as u32;
        same.push(number);
        self.classes.push(class.clone());
        number
    }
}

/// A tree whose last numbers are still to be written.
#[derive(Clone)]
enum Draft {
    Leaf {
        dimension: usize,
        intervals: Vec<Interval>,
    },
    Cross {
        left: Box<Tree>,
        right: Box<Tree>,
        columns: u32,
        table: Vec<u32>,
    },
}

/// Some dimensions with their classes.
#[derive(Clone)]
struct Part {
    draft: Draft,
    classes: Rc<[Class]>,
    dimensions: Vec<usize>,
}

impl Part {
    /// Words of a class, on average.
    fn words(&self) -> usize {
        let words: usize = self.classes.iter().map(|class| class.0.len()).sum();
        words / self.classes.len().max(1)
    }
}

/// The parts to put together next.
fn next_pair(parts: &[Part], order: Order, problem: &Problem) -> (usize, usize) {
    let is_wide = |part: &Part| {
        let mut dimensions = part.dimensions.iter();
        dimensions.any(|&it| problem.dimensions[it].max() > u128::from(u16::MAX))
    };
    let pairs =
        (0..parts.len()).flat_map(|left| (left + 1..parts.len()).map(move |right| (left, right)));
    let cost = |&(left, right): &(usize, usize)| {
        let (left, right) = (&parts[left], &parts[right]);
        let mixed = order == Order::AddressesFirst && is_wide(left) != is_wide(right);
        (mixed, left.classes.len() * right.classes.len())
    };
    pairs.min_by_key(cost).unwrap_or((0, 0))
}

struct Builder<'a> {
    problem: &'a Problem,
    /// Which marks are the end of whoever gets there.
    ends: Vec<bool>,
    /// What may still be spent.
    work: usize,
    data: Data,
    memory: usize,
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem, work: usize, limits: &Limits) -> Self {
        Builder {
            problem,
            ends: Walk::new(problem).ends(),
            work,
            data: Data::default(),
            memory: limits.memory,
        }
    }

    fn spend(&mut self, work: usize) -> Option<()> {
        self.work = self.work.checked_sub(work)?;
        Some(())
    }

    /// The patterns that nothing but some dimensions is asked of, and behind which nothing counts.
    fn final_patterns(&self, dimensions: &[usize]) -> Vec<u64> {
        let patterns = &self.problem.patterns;
        let mut words = vec![0; patterns.len().div_ceil(64)];
        for (index, pattern) in patterns.iter().enumerate() {
            let mut sets = pattern.sets.iter();
            if self.ends[pattern.mark] && sets.all(|(dimension, _)| dimensions.contains(dimension))
            {
                words[index / 64] |= 1 << (index % 64);
            }
        }
        words
    }

    /// The classes of a dimension.
    fn leaf(&mut self, dimension: usize) -> Option<Part> {
        let patterns = &self.problem.patterns;
        let mut current = BTreeMap::<u32, u64>::new();
        let mut turns: Vec<(u128, usize)> = Vec::new();
        let toggle = |current: &mut BTreeMap<u32, u64>, pattern: usize| {
            let word = current.entry((pattern / 64) as u32).or_default();
            *word ^= 1 << (pattern % 64);
            if *word == 0 {
                current.remove(&((pattern / 64) as u32));
            }
        };
        for (index, pattern) in patterns.iter().enumerate() {
            match pattern.sets.iter().find(|(it, _)| *it == dimension) {
                None => toggle(&mut current, index),
                Some((_, set)) => {
                    for &(low, high) in set.ranges() {
                        turns.push((low, index));
                        turns.extend(high.checked_add(1).map(|after| (after, index)));
                    }
                }
            }
        }
        turns.sort_unstable();
        let max = self.problem.dimensions[dimension].max();
        let last = self.final_patterns(&[dimension]);
        let mut numbers = Numbers::default();
        let mut intervals: Vec<Interval> = Vec::new();
        let mut add = |start: u128, class: &Class| {
            let number = numbers.number(class);
            if intervals
                .last()
                .is_none_or(|before| before.number != number)
            {
                intervals.push(Interval { start, number });
            }
        };
        let impossible = match &self.problem.dimensions[dimension] {
            Dimension::Bits { possible, .. } => possible.as_slice(),
            Dimension::Field(_) => &[],
        };
        let mut rest = turns.as_slice();
        let mut start = 0;
        let mut work = 0;
        loop {
            while let [(at, pattern), others @ ..] = rest
                && *at == start
            {
                toggle(&mut current, *pattern);
                rest = others;
            }
            let next = rest.first().map(|(at, _)| *at).filter(|&at| at <= max);
            // What cannot come about may have any class: that of the values before.
            let end = next.unwrap_or(max.saturating_add(1));
            let happens =
                impossible.is_empty() || (start..end).any(|value| impossible[value as usize]);
            if happens {
                let class = cut(&current, &last);
                work += 8 + 2 * class.0.len();
                if work > self.work {
                    return None;
                }
                add(start, &class);
            }
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        self.spend(work)?;
        if let Some(first) = intervals.first_mut() {
            first.start = 0;
        }
        Some(Part {
            draft: Draft::Leaf {
                dimension,
                intervals,
            },
            classes: numbers.classes.into(),
            dimensions: vec![dimension],
        })
    }

    /// The classes of two parts together.
    fn cross(&mut self, one: Part, other: Part) -> Option<Part> {
        // Each class of the left is spread out once; those of the right are gone through for each of them.
        let (left, right) = match one.words() >= other.words() {
            true => (one, other),
            false => (other, one),
        };
        let cells = left.classes.len() * right.classes.len();
        // Each entry takes a byte at least.
        if self.data.len() + cells > self.memory {
            return None;
        }
        let dimensions = [left.dimensions, right.dimensions].concat();
        let last = self.final_patterns(&dimensions);
        let mut numbers = Numbers::default();
        let mut table = Vec::with_capacity(cells);
        let mut row = vec![0u64; last.len()];
        let mut class = Class::default();
        for one in left.classes.iter() {
            for &(index, word) in &one.0 {
                row[index as usize] = word;
            }
            for other in right.classes.iter() {
                class.0.clear();
                self.spend(2 + other.0.len())?;
                for &(index, word) in &other.0 {
                    let both = word & row[index as usize];
                    if both == 0 {
                        continue;
                    }
                    let end = both & last[index as usize];
                    if end != 0 {
                        class.0.push((index, both & (end ^ (end - 1))));
                        break;
                    }
                    class.0.push((index, both));
                }
                table.push(numbers.number(&class));
            }
            for &(index, _) in &one.0 {
                row[index as usize] = 0;
            }
        }
        let columns = right.classes.len() as u32;
        let left = Box::new(self.tree(left.draft)?);
        let right = Box::new(self.tree(right.draft)?);
        Some(Part {
            draft: Draft::Cross {
                left,
                right,
                columns,
                table,
            },
            classes: numbers.classes.into(),
            dimensions,
        })
    }

    /// Writes the numbers of a draft.
    fn tree(&mut self, draft: Draft) -> Option<Tree> {
        match draft {
            Draft::Leaf {
                dimension,
                intervals,
            } => {
                let kind = &self.problem.dimensions[dimension];
                let search = Search::new(kind, &intervals, &mut self.data)?;
                Some(Tree::Leaf(dimension, search))
            }
            Draft::Cross {
                left,
                right,
                columns,
                table,
            } => {
                let table = self.data.array(&table);
                Some(Tree::Cross {
                    left,
                    right,
                    columns,
                    table,
                })
            }
        }
    }

    /// Writes the last numbers: those of the outcomes, or of the classes where that takes less memory.
    fn finish(&mut self, draft: Draft, words: &[u32]) -> Option<(Tree, Option<Array>)> {
        /// Entries of a table up to which the outcomes stand in it.
        const FEW: usize = 4096;
        let draft = match draft {
            Draft::Leaf {
                dimension,
                intervals,
            } => {
                let intervals = intervals.into_iter().map(|it| Interval {
                    start: it.start,
                    number: words[it.number as usize],
                });
                Draft::Leaf {
                    dimension,
                    intervals: intervals.collect(),
                }
            }
            Draft::Cross {
                left,
                right,
                columns,
                mut table,
            } if table.len() <= FEW => {
                table
                    .iter_mut()
                    .for_each(|class| *class = words[*class as usize]);
                Draft::Cross {
                    left,
                    right,
                    columns,
                    table,
                }
            }
            cross => {
                let tree = self.tree(cross)?;
                return Some((tree, Some(self.data.array(words))));
            }
        };
        Some((self.tree(draft)?, None))
    }
}

/// The patterns in some words up to the first of `last`.
fn cut(words: &BTreeMap<u32, u64>, last: &[u64]) -> Class {
    let mut kept = Vec::new();
    for (&index, &word) in words {
        let end = word & last[index as usize];
        if end != 0 {
            kept.push((index, word & (end ^ (end - 1))));
            break;
        }
        kept.push((index, word));
    }
    Class(kept)
}
