//! Trees and lists of rules, and the walk through them.
//!
//! A *reference* is a number of 32 bits: in its high 27 bits where something begins, in units of 8 bytes, in
//! its low 5 bits how many rules a list has, or 0 for a node of a tree. The reference 0 is nothing.
//!
//! ```text
//! node:  u32 threshold, u8 left, u8 right, u16, u32 reference if at least, u32 reference if less
//! rule:  u64 lower ends, u64 upper ends, u64 answer, u64 groups
//! ```
//! A node compares one field of the [`key`](super::key): what is left of the key shifted left and right. An
//! *answer* has the number of a decision in its high half, so that the least is that of the first, and
//! the word of its outcome in the low half.

use foldhash::HashMap;

use super::By;
use super::key::{
    DESTINATION_PORT, Ends, FIRST_GUARD, GROUP, GUARDS, Key, OTHER, PARTS, SOURCE_PORT,
};
use super::sides::{Box, Lists};
use super::{FIRST, KEY, START};
use crate::asm::{Alu, Code, Cond, Imm64, Label, Operand, Reg, Size};
use crate::classify::data::{Data, Place};

/// Bits of a reference that hold the number of rules.
const COUNT_BITS: u32 = 5;
/// Rules of a list, at most.
const MAX_RULES: usize = (1 << COUNT_BITS) - 1;
/// Rules of a list that is not worth cutting.
const FEW: usize = 4;
/// Nodes on the way to a list, at most.
const MAX_DEPTH: u32 = 16;
/// Bytes of a rule.
pub const RULE: usize = 32;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Thresholds that are tried for each field.
const CHOICES: usize = 8;
/// Rules up to which a list is searched for those that never come first.
const SHADOWS: usize = 64;

/// Where things lie in the parts of a node and a rule.
const SHIFTS: i16 = 4;
const BRANCHES: i16 = 8;
const UPPER: i16 = 8;
const ANSWER: i16 = 16;
const GROUPS: i16 = 24;

/// The bytes of all trees and lists, in a classifier's data.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    /// The first byte.
    offset: u32,
    /// How many there are, in units of 8 bytes.
    units: u32,
    /// Whether there are several groups.
    grouped: bool,
}

impl Arena {
    /// Bytes.
    pub fn size(&self) -> usize {
        8 * self.units as usize
    }

    /// The answer of the first rule that a key meets from a reference on.
    pub fn find(&self, mut reference: u32, key: Key, data: &Data) -> Option<u64> {
        loop {
            if reference == 0 {
                return None;
            }
            let begin = self.offset as usize + 8 * (reference >> COUNT_BITS) as usize;
            let count = reference as usize & MAX_RULES;
            if count > 0 {
                let rules = (0..count).map(|rule| begin + RULE * rule);
                let mut met = rules.filter(|&rule| {
                    let ends = Ends {
                        low: data.long(rule),
                        high: data.long(rule + UPPER as usize),
                    };
                    let groups = data.long(rule + GROUPS as usize);
                    ends.contain(key) && groups >> key.get(GROUP) & 1 == 1
                });
                return met.next().map(|rule| data.long(rule + ANSWER as usize));
            }
            let shifts = data.word(begin + SHIFTS as usize);
            let value = key.0 << (shifts & 0xff) >> (shifts >> 8 & 0xff);
            let less = value < u64::from(data.word(begin));
            reference = data.word(begin + BRANCHES as usize + 4 * usize::from(less));
        }
    }

    /// Writes R0 = the answer of the first rule that the key in R5 meets from the reference in R3 on, if
    /// that is less than what R0 holds; goes to `done` then. R1 to R4 are lost.
    pub fn emit(&self, code: &mut Code, depth: u32, place: Place, done: Label) {
        let list = code.label();
        let (place_in, left) = (Reg::R2, Reg::R4);
        if depth > 0 {
            let node = code.label();
            code.mov(left, depth as i32 + 1);
            code.bind(node);
            code.mov(Reg::R1, START);
            code.alu(Alu::And, Reg::R1, MAX_RULES as i32);
            code.branch(Cond::Ne, Reg::R1, 0, list);
            self.emit_address(code, place_in, place);
            code.mov(START, KEY);
            for (offset, shift) in [(SHIFTS, Alu::Lsh), (SHIFTS + 1, Alu::Rsh)] {
                code.load(Size::B, Reg::R1, place_in, offset);
                code.alu(shift, START, Reg::R1);
            }
            code.load(Size::W, Reg::R1, place_in, 0);
            code.alu(Alu::Sub, START, Reg::R1);
            code.alu(Alu::Rsh, START, 63);
            code.alu(Alu::Lsh, START, 2);
            code.alu(Alu::Add, place_in, START);
            code.load(Size::W, START, place_in, BRANCHES);
            code.branch(Cond::Eq, START, 0, done);
            code.alu(Alu::Sub, left, 1);
            code.branch(Cond::Ne, left, 0, node);
            code.jump(place.escape);
        } else {
            code.mov(Reg::R1, START);
            code.alu(Alu::And, Reg::R1, MAX_RULES as i32);
            code.branch(Cond::Eq, Reg::R1, 0, place.escape);
        }
        code.bind(list);
        code.mov(left, Reg::R1);
        self.emit_address(code, place_in, place);
        code.mov(START, place_in);
        let (rule, next) = (code.label(), code.label());
        code.bind(rule);
        code.mov(Reg::R1, KEY);
        code.load(Size::D, Reg::R2, START, 0);
        code.alu(Alu::Sub, Reg::R1, Reg::R2);
        code.load(Size::D, Reg::R2, START, UPPER);
        code.alu(Alu::Sub, Reg::R2, KEY);
        code.alu(Alu::And, Reg::R1, Reg::R2);
        code.alu(Alu::Rsh, Reg::R1, FIRST_GUARD as i32);
        if self.grouped {
            // The groups' bit is moved to where the first guard is now. With a branch for each, the verifier
            // would follow both at each rule of a list.
            code.load(Size::D, Reg::R2, START, GROUPS);
            code.alu(Alu::Rsh, Reg::R2, KEY);
            code.alu(Alu::Or, Reg::R2, !1);
            code.alu(Alu::And, Reg::R1, Reg::R2);
        }
        code.load_imm64(Reg::R2, Imm64::Number(GUARDS >> FIRST_GUARD));
        code.alu(Alu::And, Reg::R1, Reg::R2);
        code.branch(Cond::Ne, Reg::R1, Reg::R2, next);
        code.load(Size::D, Reg::R1, START, ANSWER);
        code.branch(Cond::Ge, Reg::R1, FIRST, done);
        code.mov(FIRST, Reg::R1);
        code.jump(done);
        code.bind(next);
        code.alu(Alu::Add, START, RULE as i32);
        code.alu(Alu::Sub, left, 1);
        code.branch(Cond::Ne, left, 0, rule);
    }

    /// `dst` = the address of what the reference in R3 says; R3 is lost.
    fn emit_address(&self, code: &mut Code, dst: Reg, place: Place) {
        code.alu(Alu::Rsh, START, COUNT_BITS as i32);
        let units = Operand::Imm(self.units as i32);
        code.branch(Cond::Ge, START, units, place.escape);
        code.alu(Alu::Lsh, START, 3);
        code.load_imm64(dst, Imm64::MapValue(place.map, place.start + self.offset));
        code.alu(Alu::Add, dst, START);
    }
}

/// Where the look-ups of a side begin, with figures about them.
pub struct Draft {
    /// References: for each column one for each number of the side's address.
    pub starts: Vec<Vec<u32>>,
    /// Nodes on the way to a list, at most.
    pub depth: u32,
    /// Nodes on the way, on average.
    pub steps: f64,
    /// Rules of a list, on average.
    pub rules: f64,
}

/// An arena in the making.
pub struct Builder {
    bytes: Vec<u8>,
    /// Whether there are several groups.
    grouped: bool,
    memory: usize,
}

/// What is known of the packets at a place of a tree: a range for each field of the key, and the groups.
#[derive(Clone, Copy, Debug)]
struct Cell {
    ranges: [(u32, u32); 3],
    groups: u64,
}

/// A tree that was written.
#[derive(Clone, Copy, Debug)]
struct Written {
    reference: u32,
    depth: u32,
    /// Lists, and the nodes and rules on the ways to them together.
    leaves: u64,
    steps: u64,
    rules: u64,
}

impl Builder {
    /// Of one group or several, within so many bytes.
    pub fn new(grouped: bool, memory: usize) -> Self {
        Builder {
            // Reference 0 is nothing.
            bytes: vec![0; 8],
            grouped,
            memory,
        }
    }

    /// Writes the trees of a side, those of the first column before those of the next. None when lists cannot
    /// be cut, or memory is short.
    pub fn side(
        &mut self,
        lists: &Lists,
        boxes: &[Box],
        side: By,
        columns: &[u64],
    ) -> Option<Draft> {
        let mut draft = Draft {
            starts: Vec::new(),
            depth: 0,
            steps: 0.0,
            rules: 0.0,
        };
        let (mut leaves, mut steps, mut rules) = (0, 0, 0);
        for (column, &groups) in columns.iter().enumerate() {
            let parts = [DESTINATION_PORT, SOURCE_PORT, OTHER];
            let cell = Cell {
                ranges: parts.map(|part| (0, PARTS[part].max())),
                groups,
            };
            let mut known: HashMap<&[u32], Written> = HashMap::default();
            let mut starts = Vec::new();
            for list in lists.column(column) {
                let written = match known.get(list) {
                    Some(written) => *written,
                    None => {
                        let boxes = list.iter().map(|&index| &boxes[index as usize]);
                        let members: Vec<Member> = boxes.map(|it| Member::of(it, side)).collect();
                        let written = self.tree(&members, &cell, 0)?;
                        known.insert(list, written);
                        leaves += written.leaves;
                        steps += written.steps;
                        rules += written.rules;
                        written
                    }
                };
                starts.push(written.reference);
                draft.depth = draft.depth.max(written.depth);
            }
            draft.starts.push(starts);
        }
        draft.steps = steps as f64 / leaves.max(1) as f64;
        draft.rules = rules as f64 / leaves.max(1) as f64;
        Some(draft)
    }

    fn tree(&mut self, members: &[Member], cell: &Cell, above: u32) -> Option<Written> {
        let members = cell.relevant(members);
        if members.is_empty() {
            return Some(Written {
                reference: 0,
                depth: 0,
                leaves: 0,
                steps: 0,
                rules: 0,
            });
        }
        let cut = match members.len() > FEW && above < MAX_DEPTH {
            true => cell.best_cut(&members),
            false => None,
        };
        let Some(cut) = cut else {
            return self.list(&members, above);
        };
        let less = self.tree(&members, &cell.below(cut), above + 1)?;
        let rest = self.tree(&members, &cell.from(cut), above + 1)?;
        let (left, right) = PARTS[cut.part].shifts();
        let begin = self.begin(16)?;
        self.bytes.extend(cut.threshold.to_le_bytes());
        self.bytes.extend([left as u8, right as u8, 0, 0]);
        self.bytes.extend(rest.reference.to_le_bytes());
        self.bytes.extend(less.reference.to_le_bytes());
        Some(Written {
            reference: begin << COUNT_BITS,
            depth: 1 + less.depth.max(rest.depth),
            leaves: less.leaves + rest.leaves,
            steps: less.steps + rest.steps,
            rules: less.rules + rest.rules,
        })
    }

    fn list(&mut self, members: &[Member], above: u32) -> Option<Written> {
        if members.len() > MAX_RULES {
            return None;
        }
        let begin = self.begin(RULE * members.len())?;
        for member in members {
            let ends = Ends::new(&member.ranges);
            self.bytes.extend(ends.low.to_le_bytes());
            self.bytes.extend(ends.high.to_le_bytes());
            self.bytes.extend(member.answer.to_le_bytes());
            self.bytes.extend(member.groups.to_le_bytes());
        }
        Some(Written {
            reference: begin << COUNT_BITS | members.len() as u32,
            depth: 0,
            leaves: 1,
            steps: above.into(),
            rules: members.len() as u64,
        })
    }

    /// Where something of so many bytes begins, in units: within one cache line if it fits.
    fn begin(&mut self, size: usize) -> Option<u32> {
        let left = LINE - self.bytes.len() % LINE;
        if size <= LINE && left < size {
            self.bytes.resize(self.bytes.len() + left, 0);
        }
        let begin = self.bytes.len() / 8;
        (self.bytes.len() + size <= self.memory).then_some(begin as u32)
    }

    /// Puts everything into the data of a classifier.
    pub fn finish(mut self, data: &mut Data) -> Arena {
        let units = (self.bytes.len() / 8) as u32;
        // The verifier believes that the last list may be as long as any.
        self.bytes
            .resize(self.bytes.len() + RULE * (MAX_RULES + 1), 0);
        let (words, _) = self.bytes.as_chunks();
        let offset = data.words(words.iter().map(|word| u32::from_le_bytes(*word)));
        Arena {
            offset,
            units,
            grouped: self.grouped,
        }
    }
}

/// A box as a side's lists have it.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Of destination port, source port and the other address.
    ranges: [(u32, u32); 3],
    groups: u64,
    answer: u64,
}

impl Member {
    fn of(it: &Box, side: By) -> Self {
        let other = match side {
            By::Source => it.addresses[1],
            By::Destination => it.addresses[0],
            By::Nothing => (0, PARTS[OTHER].max()),
        };
        let [source_port, destination_port] = it.ports;
        Member {
            ranges: [destination_port, source_port, other],
            groups: it.groups,
            answer: it.answer,
        }
    }

    /// Whether it has all packets of a cell that another has.
    fn covers(&self, other: &Member, cell: &Cell) -> bool {
        let mut ranges = self.ranges.iter().zip(&other.ranges).zip(&cell.ranges);
        ranges.all(|((own, other), cell)| {
            own.0 <= other.0.max(cell.0) && own.1 >= other.1.min(cell.1)
        }) && other.groups & cell.groups & !self.groups == 0
    }
}

/// A field and a value: packets with less go one way, others the other.
#[derive(Clone, Copy, Debug)]
struct Cut {
    part: usize,
    threshold: u32,
}

impl Cell {
    /// Those that some packet of the cell may meet first.
    fn relevant(&self, members: &[Member]) -> Vec<Member> {
        let mut kept: Vec<Member> = Vec::with_capacity(members.len().min(64));
        for member in members {
            let mut ranges = member.ranges.iter().zip(&self.ranges);
            let meets = ranges.all(|(own, cell)| own.0 <= cell.1 && own.1 >= cell.0);
            if !meets || member.groups & self.groups == 0 {
                continue;
            }
            let shadows = kept.iter().take(SHADOWS);
            if shadows.into_iter().any(|it| it.covers(member, self)) {
                continue;
            }
            kept.push(*member);
        }
        kept
    }

    fn below(&self, cut: Cut) -> Cell {
        let mut cell = *self;
        match cut.part {
            GROUP => cell.groups &= (1 << cut.threshold) - 1,
            part => cell.ranges[part].1 = cut.threshold - 1,
        }
        cell
    }

    fn from(&self, cut: Cut) -> Cell {
        let mut cell = *self;
        match cut.part {
            GROUP => cell.groups &= !((1 << cut.threshold) - 1),
            part => cell.ranges[part].0 = cut.threshold,
        }
        cell
    }

    /// The cut that leaves the fewest rules on both sides; none when every cut leaves all on one.
    fn best_cut(&self, members: &[Member]) -> Option<Cut> {
        let mut best = None;
        for part in 0..PARTS.len() {
            for threshold in self.thresholds(members, part) {
                let cut = Cut { part, threshold };
                let (mut less, mut rest) = (0, 0);
                for member in members {
                    let (low, high) = match part {
                        GROUP => {
                            let groups = member.groups & self.groups;
                            (groups.trailing_zeros(), 63 - groups.leading_zeros())
                        }
                        part => member.ranges[part],
                    };
                    less += usize::from(low < threshold);
                    rest += usize::from(high >= threshold);
                }
                let cost = less * less + rest * rest;
                if less.max(rest) < members.len() && best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, cut));
                }
            }
        }
        best.map(|(_, cut)| cut)
    }

    /// Values at which rules begin or end within the cell, evenly among all.
    fn thresholds(&self, members: &[Member], part: usize) -> Vec<u32> {
        let mut found: Vec<u32> = match part {
            GROUP => (1..u64::BITS)
                .filter(|bit| {
                    let below = (1u64 << bit) - 1;
                    self.groups & below != 0 && self.groups & !below != 0
                })
                .collect(),
            part => {
                let (low, high) = self.ranges[part];
                let ranges = members.iter().map(|member| member.ranges[part]);
                let edges = ranges.flat_map(|(low, high)| [low, high.saturating_add(1)]);
                edges.filter(|&it| low < it && it <= high).collect()
            }
        };
        found.sort_unstable();
        let step = found.len().div_ceil(CHOICES).max(1);
        let mut chosen: Vec<u32> = found.into_iter().skip(step / 2).step_by(step).collect();
        chosen.dedup();
        chosen
    }
}
