//! The hybrid: for many rules that name addresses, among them some that do not.
//!
//! Equivalence classes of both addresses together are too many where rules are, so no table is made of them.
//! Instead each rule belongs to one *side*:
//! - the **source** side has the rules whose source is the more specific address: the source of a packet
//!   leads to a short list of rules that it is right for;
//! - the **destination** side likewise;
//! - the **open** side has the rules that ask for no address.
//!
//! A packet is looked up at all sides, and the first of the rules found wins. A list of more than a few
//! rules is cut by a small decision tree over the fields that the side has not looked at yet: the other
//! address, the ports, and the [`groups`] of all other dimensions together (protocols, fragments, lengths,
//! flags). Trees and lists of all sides lie in one [`arena`].
//!
//! It takes some 5 ns for each side and whatever the caches miss. Memory grows with the rules, and with how
//! often a rule stands in several lists; a ruleset for which that is too much is left to other strategies.

mod arena;
mod groups;
mod key;
mod sides;

use super::data::{Array, Data, Place};
use super::decisions::decisions;
use super::outcome::Outcomes;
use super::problem::Problem;
use super::search::{Interval, Search, access};
use super::{Classifier, Limits};
use crate::asm::{Alu, Code, Cond, Imm64, Reg, Size};
use crate::emit::test::PACKET;
use arena::Arena;
use groups::Groups;
use key::Key;
use sides::{Space, answer};

/// The groups, then the ports with them.
const COMMON: Reg = Reg::R8;
/// The numbers of the source, in the low half, and of the destination.
const ADDRESSES: Reg = Reg::R7;
/// The answer of the first rule found; until then, the destination's number.
const FIRST: Reg = Reg::R0;
/// Where a side's tree begins, and what is looked up there.
const START: Reg = Reg::R3;
const KEY: Reg = Reg::R5;

/// Look-ups at all sides.
#[derive(Clone, Debug)]
pub struct Hybrid {
    data: Data,
    groups: Groups,
    /// From addresses to their numbers.
    addresses: [Option<Address>; 2],
    /// Dimensions of the ports, source first.
    ports: [Option<usize>; 2],
    sides: Vec<Side>,
    arena: Arena,
    /// The answer for packets that no rule is for.
    last: u64,
}

/// How an address becomes a number.
#[derive(Clone, Debug)]
struct Address {
    dimension: usize,
    search: Search,
}

/// Where the look-up of a side begins.
#[derive(Clone, Debug)]
struct Side {
    by: By,
    /// The trees for usual groups, for each number of the address, and behind them those for odd groups,
    /// where there are any.
    starts: Array,
    /// How many numbers there are.
    numbers: u32,
    /// Nodes on the way to a list, at most and on average.
    depth: u32,
    steps: f64,
    /// Rules of a list on average.
    rules: f64,
}

/// What leads to a list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Source,
    Destination,
    Nothing,
}

/// What of the look-ups is the same whatever memory they may take.
pub struct Outline<'p> {
    problem: &'p Problem,
    outcomes: Outcomes,
    space: Space,
    data: Data,
    groups: Groups,
    boxes: Vec<sides::Box>,
    /// The answer for packets that no rule is for.
    last: u64,
}

impl<'p> Outline<'p> {
    /// Of a problem. None when its rules are too complex.
    pub fn new(problem: &'p Problem) -> Option<Self> {
        let mut outcomes = Outcomes::default();
        let decisions = decisions(problem, &mut outcomes)?;
        let space = Space::new(problem, &decisions)?;
        let mut data = Data::default();
        let groups = Groups::new(problem, &decisions, &space, &mut data)?;
        let boxes = space.boxes(&decisions, &groups)?;
        let last = answer(decisions.len() - 1, decisions.last()?.word);
        Some(Outline {
            problem,
            outcomes,
            space,
            data,
            groups,
            boxes,
            last,
        })
    }

    /// What the words of the look-ups mean.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Builds the look-ups within limits of memory.
    pub fn build(&self, limits: &Limits) -> Option<Hybrid> {
        let Outline {
            problem,
            space,
            groups,
            boxes,
            ..
        } = self;
        let mut data = self.data.clone();
        let mut arena = arena::Builder::new(groups.count() > 1, limits.memory);
        let columns = groups.columns();
        let mut drafts = Vec::new();
        for by in [By::Source, By::Destination, By::Nothing] {
            if let Some(lists) = space.lists(by, boxes, &columns, limits.memory)? {
                let draft = arena.side(&lists, boxes, by, &columns)?;
                drafts.push((by, draft));
            }
        }
        let addresses = [0, 1].map(|which| {
            let axis = space.addresses[which].as_ref()?;
            let starts = axis.starts.iter().enumerate();
            let intervals: Vec<Interval> = starts
                .map(|(number, &start)| Interval {
                    start,
                    number: number as u32,
                })
                .collect();
            let dimension = &problem.dimensions[axis.dimension];
            let search = Search::new(dimension, &intervals, &mut data);
            Some(search.map(|search| Address {
                dimension: axis.dimension,
                search,
            }))
        });
        if addresses.iter().any(|it| matches!(it, Some(None))) {
            return None;
        }
        let sides = drafts.into_iter().map(|(by, draft)| Side {
            by,
            numbers: (draft.starts.len() / columns.len()) as u32,
            starts: data.array(&draft.starts),
            depth: draft.depth,
            steps: draft.steps,
            rules: draft.rules,
        });
        let sides = sides.collect();
        let arena = arena.finish(&mut data);
        (data.len() <= limits.memory).then(|| Hybrid {
            data,
            groups: groups.clone(),
            addresses: addresses.map(Option::flatten),
            ports: space.ports,
            sides,
            arena,
            last: self.last,
        })
    }
}

impl Classifier for Hybrid {
    fn data(&self) -> &Data {
        &self.data
    }

    fn find(&self, point: &[u128]) -> u32 {
        let at = |dimension: Option<usize>| dimension.map_or(0, |it| point[it]);
        let group = self.groups.find(point, &self.data);
        let numbers = self.addresses.each_ref().map(|address| match address {
            Some(it) => it.search.find(point[it.dimension], &self.data),
            None => 0,
        });
        let [source_port, destination_port] = self.ports.map(|port| at(port) as u16);
        let mut first = self.last;
        for side in &self.sides {
            let (number, other) = match side.by {
                By::Source => (numbers[0], numbers[1]),
                By::Destination => (numbers[1], numbers[0]),
                By::Nothing => (0, 0),
            };
            let column = u32::from(self.groups.is_odd(group));
            let start = side.starts.get(&self.data, column * side.numbers + number);
            let key = Key::new(group, other, source_port, destination_port);
            first = first.min(self.arena.find(start, key, &self.data).unwrap_or(first));
        }
        first as u32
    }

    fn emit(&self, code: &mut Code, place: Place) {
        self.groups.emit(code, COMMON, ADDRESSES, place);
        let [source, destination] = &self.addresses;
        for (address, dst) in [(source, ADDRESSES), (destination, FIRST)] {
            match address {
                Some(it) => it.search.emit(code, dst, place),
                None => code.mov(dst, 0),
            }
        }
        code.alu(Alu::Lsh, FIRST, 32);
        code.alu(Alu::Or, ADDRESSES, FIRST);
        key::emit_common(code, COMMON, self.ports.map(|port| port.is_some()));
        code.load_imm64(FIRST, Imm64::Number(self.last));
        for side in &self.sides {
            let done = code.label();
            self.emit_start(code, side, place);
            code.branch(Cond::Eq, START, 0, done);
            key::emit_other(code, KEY, side.by, ADDRESSES, COMMON);
            self.arena.emit(code, side.depth, place, done);
            code.bind(done);
        }
        code.alu32(Alu::Mov, Reg::R8, FIRST);
    }

    fn nanoseconds(&self) -> f64 {
        let addresses = self.addresses.iter().flatten();
        let searches: f64 = addresses.map(|it| it.search.nanoseconds()).sum();
        let arena = access(self.arena.size());
        let sides = self.sides.iter().map(|side| {
            let walk = 2.5 * side.steps + 3.0 * side.rules;
            3.0 + access(side.starts.size()) + arena + walk
        });
        self.groups.nanoseconds() + searches + sides.sum::<f64>()
    }
}

impl Hybrid {
    /// R3 = where the tree of a side begins for the packet; R1 and R2 are lost.
    fn emit_start(&self, code: &mut Code, side: &Side, place: Place) {
        match side.by {
            By::Source => code.alu32(Alu::Mov, START, ADDRESSES),
            By::Destination => {
                code.mov(START, ADDRESSES);
                code.alu(Alu::Rsh, START, 32);
            }
            By::Nothing => code.mov(START, 0),
        }
        if self.groups.has_odd() {
            self.groups.emit_is_odd(code, COMMON);
            code.alu(Alu::Mul, Reg::R2, side.numbers as i32);
            code.alu(Alu::Add, START, Reg::R2);
        }
        side.starts.emit(code, START, place);
    }
}

/// Writes `dst` = a port; another header's bytes where the packet has no ports, which no rule asks for.
fn emit_port(code: &mut Code, dst: Reg, field: crate::field::Field) {
    code.load(Size::H, dst, PACKET, field.place().offset);
    code.to_big_endian(dst, 16);
}
