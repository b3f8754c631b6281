//! Everything but addresses and ports as one small number.
//!
//! The values of each other dimension fall into classes. For all combinations of classes a table tells the
//! *group*: combinations that the same rules are for are one group. Groups are *odd* when packets of a kind
//! that is rare only are in them, such as later fragments and headers that are cut off. Their rules stand
//! in lists of their own: for most rules with ports such packets are dropped or passed over before the ports
//! are looked at, which would make every list twice as long.

use foldhash::HashMap;

use super::key::{GROUP, PARTS};
use super::sides::Space;
use crate::asm::{Alu, Code, Cond, Label, Reg};
use crate::classify::data::{Array, Data, Place};
use crate::classify::decisions::Decision;
use crate::classify::problem::{Dimension, Problem};
use crate::classify::ranges::Ranges;
use crate::classify::search::{Interval, Search, access};
use crate::field::Field;

/// Combinations of classes, at most.
const MAX_CELLS: usize = 1 << 16;
/// Combinations of conditions that rules have, at most.
const MAX_CONDITIONS: usize = 1024;
/// As many groups as a bit mask holds.
const MAX_GROUPS: usize = 1 << PARTS[GROUP].bits;

/// How the group of a packet is found.
#[derive(Clone, Debug)]
pub struct Groups {
    /// Dimensions with the look-up of a class, each a multiple of the number of combinations of those before.
    searches: Vec<(usize, Search)>,
    /// The group of each combination.
    table: Option<Array>,
    count: usize,
    /// How many groups are usual: the first.
    usual: usize,
    /// For each decision the groups that it is for.
    of_decisions: Vec<u64>,
}

impl Groups {
    /// Of the dimensions that are not among those of the space. None when there are too many groups.
    pub fn new(
        problem: &Problem,
        decisions: &[Decision<'_>],
        space: &Space,
        data: &mut Data,
    ) -> Option<Self> {
        let dimensions: Vec<usize> = (0..problem.dimensions.len())
            .filter(|&it| !space.has(it))
            .collect();
        let mut conditions = Conditions::default();
        let of_decisions: Vec<usize> = decisions
            .iter()
            .map(|decision| conditions.number(decision, &dimensions))
            .collect();
        if conditions.all.len() > MAX_CONDITIONS {
            return None;
        }
        let mut cells = Cells {
            members: vec![vec![true; conditions.all.len()]],
            usual: vec![true],
        };
        let mut axes = Vec::new();
        for (place, &dimension) in dimensions.iter().enumerate() {
            let kind = &problem.dimensions[dimension];
            let sets = conditions.all.iter().map(|sets| sets[place]);
            let classes = Classes::new(kind, sets);
            if classes.members.len() > 1 {
                axes.push((dimension, cells.members.len(), classes.intervals.clone()));
            }
            if cells.members.len() * classes.members.len() > MAX_CELLS {
                return None;
            }
            cells = cells.with(&classes);
        }
        let (numbers, usual, groups) = cells.groups();
        if groups.len() > MAX_GROUPS {
            return None;
        }
        let mut searches = Vec::with_capacity(axes.len());
        for (dimension, factor, mut intervals) in axes {
            for interval in &mut intervals {
                interval.number *= factor as u32;
            }
            let search = Search::new(&problem.dimensions[dimension], &intervals, data)?;
            searches.push((dimension, search));
        }
        let masks: Vec<u64> = (0..conditions.all.len())
            .map(|condition| {
                let groups = groups.iter().enumerate();
                let inside = groups.filter(|(_, members)| members[condition]);
                inside.fold(0, |mask, (group, _)| mask | 1 << group)
            })
            .collect();
        Some(Groups {
            searches,
            table: (groups.len() > 1).then(|| data.array(&numbers)),
            count: groups.len(),
            usual,
            of_decisions: of_decisions.iter().map(|&it| masks[it]).collect(),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The groups of a decision, as a mask.
    pub fn of_decision(&self, decision: usize) -> u64 {
        self.of_decisions[decision]
    }

    /// Whether a group is odd.
    pub fn is_odd(&self, group: u32) -> bool {
        group >= self.usual as u32
    }

    /// The masks of the groups that have lists of their own.
    pub fn columns(&self) -> Vec<u64> {
        let below = |count: usize| u64::MAX.checked_shr(u64::BITS - count as u32).unwrap_or(0);
        let (all, usual) = (below(self.count), below(self.usual));
        match self.usual < self.count {
            true => vec![usual, all & !usual],
            false => vec![all],
        }
    }

    /// The group of a packet.
    pub fn find(&self, point: &[u128], data: &Data) -> u32 {
        let Some(table) = self.table else {
            return 0;
        };
        let searches = self.searches.iter();
        let cell = searches.map(|(dimension, search)| search.find(point[*dimension], data));
        table.get(data, cell.sum())
    }

    /// Writes `dst` = the group; `spare` and R1 to R5 are lost.
    pub fn emit(&self, code: &mut Code, dst: Reg, spare: Reg, place: Place) {
        let Some(table) = self.table else {
            code.mov(dst, 0);
            return;
        };
        for (number, (_, search)) in self.searches.iter().enumerate() {
            match number {
                0 => search.emit(code, dst, place),
                _ => {
                    search.emit(code, spare, place);
                    code.alu(Alu::Add, dst, spare);
                }
            }
        }
        table.emit(code, dst, place);
    }

    /// Goes to `usual` when the group of the key in a register is that; R1 is lost.
    pub fn branch_usual(&self, code: &mut Code, key: Reg, usual: Label) {
        code.mov(Reg::R1, key);
        code.alu(Alu::And, Reg::R1, PARTS[GROUP].max() as i32);
        code.branch(Cond::Lt, Reg::R1, self.usual as i32, usual);
    }

    /// About how long it takes to find one.
    pub fn nanoseconds(&self) -> f64 {
        let searches = self.searches.iter();
        let searches: f64 = searches.map(|(_, search)| search.nanoseconds()).sum();
        searches + self.table.map_or(0.0, |table| access(table.size()))
    }
}

/// The different conditions that decisions have on some dimensions.
#[derive(Default)]
struct Conditions<'d> {
    /// For each the sets of the dimensions, where there are any.
    all: Vec<Vec<Option<&'d Ranges>>>,
    numbers: HashMap<Vec<Option<&'d Ranges>>, usize>,
    /// The condition that was asked for last.
    last: Vec<Option<&'d Ranges>>,
}

impl<'d> Conditions<'d> {
    fn number(&mut self, decision: &'d Decision<'_>, dimensions: &[usize]) -> usize {
        self.last.clear();
        self.last.resize(dimensions.len(), None);
        for (dimension, set) in decision.sets.iter() {
            if let Ok(place) = dimensions.binary_search(dimension) {
                self.last[place] = Some(set);
            }
        }
        if let Some(&known) = self.numbers.get(&self.last) {
            return known;
        }
        let number = self.all.len();
        self.all.push(self.last.clone());
        self.numbers.insert(self.last.clone(), number);
        number
    }
}

/// The classes of a dimension's values.
struct Classes {
    /// The values of each, by its index.
    intervals: Vec<Interval>,
    /// For each class whether each condition has its values.
    members: Vec<Vec<bool>>,
    /// Whether its values are usual.
    usual: Vec<bool>,
}

impl Classes {
    fn new<'s>(dimension: &Dimension, sets: impl Iterator<Item = Option<&'s Ranges>>) -> Self {
        let sets: Vec<Option<&Ranges>> = sets.collect();
        let max = dimension.max();
        let edges = sets.iter().flatten().flat_map(|set| set.ranges());
        let edges = edges.flat_map(|&(low, high)| [Some(low), high.checked_add(1)]);
        let mut starts: Vec<u128> = edges.flatten().filter(|&it| it <= max).collect();
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        let mut classes = Classes {
            intervals: Vec::new(),
            members: Vec::new(),
            usual: Vec::new(),
        };
        let mut numbers: HashMap<Vec<bool>, usize> = HashMap::default();
        for (place, &start) in starts.iter().enumerate() {
            let next = starts.get(place + 1).copied();
            let end = next.map_or(max, |next| next - 1);
            if let Dimension::Bits { possible, .. } = dimension {
                let mut values = start..=end;
                if values.all(|value| !possible[value as usize]) {
                    continue;
                }
            }
            let members: Vec<bool> = sets
                .iter()
                .map(|set| set.is_none_or(|set| set.contains(start)))
                .collect();
            let class = *numbers.entry(members).or_insert_with_key(|new| {
                classes.members.push(new.clone());
                classes.usual.push(false);
                classes.members.len() - 1
            });
            classes.usual[class] |= is_usual(dimension, start, end);
            let number = class as u32;
            if classes
                .intervals
                .last()
                .is_none_or(|it| it.number != number)
            {
                // What cannot come about before the first may be anything.
                let start = if classes.intervals.is_empty() {
                    0
                } else {
                    start
                };
                classes.intervals.push(Interval { start, number });
            }
        }
        classes
    }
}

/// Whether most packets have one of these values, as far as is known of the dimension.
fn is_usual(dimension: &Dimension, low: u128, high: u128) -> bool {
    /// More than any transport header.
    const WHOLE: u128 = 1000;
    let typical = match dimension {
        Dimension::Field(Field::FragmentOffset | Field::BrokenHeaders) => 0,
        Dimension::Field(Field::TransportLength) => WHOLE,
        Dimension::Field(_) | Dimension::Bits { .. } => return true,
    };
    (low..=high).contains(&typical)
}

/// Combinations of classes.
struct Cells {
    /// For each whether each condition has it.
    members: Vec<Vec<bool>>,
    usual: Vec<bool>,
}

impl Cells {
    /// With the classes of one more dimension, whose number is the most significant.
    fn with(self, classes: &Classes) -> Cells {
        let mut cells = Cells {
            members: Vec::with_capacity(self.members.len() * classes.members.len()),
            usual: Vec::new(),
        };
        for (members, usual) in classes.members.iter().zip(&classes.usual) {
            for (known, known_usual) in self.members.iter().zip(&self.usual) {
                let both = known.iter().zip(members).map(|(&a, &b)| a && b);
                cells.members.push(both.collect());
                cells.usual.push(*known_usual && *usual);
            }
        }
        cells
    }

    /// The group of each combination, how many groups are usual, and the members of each.
    fn groups(self) -> (Vec<u32>, usize, Vec<Vec<bool>>) {
        let mut first: HashMap<&[bool], usize> = HashMap::default();
        let mut groups: Vec<(bool, &[bool])> = Vec::new();
        let mut drafts = Vec::with_capacity(self.members.len());
        for (members, &usual) in self.members.iter().zip(&self.usual) {
            let next = groups.len();
            let group = *first.entry(members).or_insert(next);
            if group == next {
                groups.push((usual, members));
            }
            groups[group].0 |= usual;
            drafts.push(group);
        }
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&group| !groups[group].0);
        let mut numbers = vec![0; groups.len()];
        for (number, &group) in order.iter().enumerate() {
            numbers[group] = number as u32;
        }
        let usual = groups.iter().filter(|(usual, _)| *usual).count();
        (
            drafts.iter().map(|&group| numbers[group]).collect(),
            usual,
            order
                .iter()
                .map(|&group| groups[group].1.to_vec())
                .collect(),
        )
    }
}
