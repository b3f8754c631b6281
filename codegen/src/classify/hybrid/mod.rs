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
//! Where a tree begins stands beside the bound that an IPv4 address is found by, so that it costs no look into
//! memory of its own.
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
use super::problem::{Dimension, Problem};
use super::search::{Interval, Narrow, Search, access};
use super::{Classifier, Limits};
use crate::asm::{Alu, Code, Cond, Imm64, Reg, Size};
use crate::emit::test::PACKET;
use crate::field::Field;
use arena::Arena;
use groups::Groups;
use key::Key;
use sides::{Axis, Space, answer};

/// The groups, then the ports with them.
const COMMON: Reg = Reg::R8;
/// The numbers of the source, in the low half, and of the destination.
const ADDRESSES: Reg = Reg::R7;
/// The answer of the first rule found; until then, the destination's number.
const FIRST: Reg = Reg::R0;
/// Where a side's tree begins, and what is looked up there.
const START: Reg = Reg::R3;
const KEY: Reg = Reg::R5;
/// Where the beginnings that stand beside the addresses are kept on the stack, source first.
const BESIDE: [i16; 2] = [-8, -12];

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
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// Alone.
    Number(Search),
    /// With where the tree for usual groups begins on its side.
    WithStart(Narrow),
}

/// Where the look-up of a side begins.
#[derive(Clone, Debug)]
struct Side {
    by: By,
    /// For usual groups.
    usual: Starts,
    /// For odd groups, where there are any.
    odd: Option<Array>,
    /// Nodes on the way to a list, at most and on average.
    depth: u32,
    steps: f64,
    /// Rules of a list on average.
    rules: f64,
}

/// Where the trees of a side begin.
#[derive(Clone, Copy, Debug)]
enum Starts {
    /// By the number of the address.
    Of(Array),
    /// Beside the address.
    Beside,
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
        let ways = [By::Source, By::Destination].map(|by| {
            let axis = space.addresses[by as usize].as_ref()?;
            let draft = drafts.iter().find(|(side, _)| *side == by);
            let starts = draft.map(|(_, draft)| draft.starts[0].as_slice());
            Some(Address::new(axis, problem, starts, &mut data))
        });
        if ways.iter().any(|it| matches!(it, Some(None))) {
            return None;
        }
        let addresses = ways.map(Option::flatten);
        let sides = drafts.into_iter().map(|(by, draft)| {
            let address = addresses.get(by as usize).and_then(Option::as_ref);
            let beside = address.is_some_and(|it| matches!(it.way, Way::WithStart(_)));
            Side {
                by,
                usual: match beside {
                    true => Starts::Beside,
                    false => Starts::Of(data.array(&draft.starts[0])),
                },
                odd: draft.starts.get(1).map(|starts| data.array(starts)),
                depth: draft.depth,
                steps: draft.steps,
                rules: draft.rules,
            }
        });
        let sides = sides.collect();
        let arena = arena.finish(&mut data);
        (data.len() <= limits.memory).then(|| Hybrid {
            data,
            groups: groups.clone(),
            addresses,
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
        let found = self.addresses.each_ref().map(|address| match address {
            Some(it) => it.find(point[it.dimension], &self.data),
            None => (0, 0),
        });
        let [source_port, destination_port] = self.ports.map(|port| at(port) as u16);
        let mut first = self.last;
        for side in &self.sides {
            let ((number, beside), other) = match side.by {
                By::Source => (found[0], found[1].0),
                By::Destination => (found[1], found[0].0),
                By::Nothing => ((0, 0), 0),
            };
            let start = match (side.odd, side.usual) {
                (Some(odd), _) if self.groups.is_odd(group) => odd.get(&self.data, number),
                (_, Starts::Of(usual)) => usual.get(&self.data, number),
                (_, Starts::Beside) => beside,
            };
            let key = Key::new(group, other, source_port, destination_port);
            first = first.min(self.arena.find(start, key, &self.data).unwrap_or(first));
        }
        first as u32
    }

    fn emit(&self, code: &mut Code, place: Place) {
        self.groups.emit(code, COMMON, ADDRESSES, place);
        let [source, destination] = &self.addresses;
        let places = [(source, ADDRESSES), (destination, FIRST)];
        for ((address, dst), beside) in places.into_iter().zip(BESIDE) {
            match address.as_ref().map(|it| &it.way) {
                Some(Way::Number(search)) => search.emit(code, dst, place),
                Some(Way::WithStart(narrow)) => narrow.emit(code, dst, beside, place),
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
        let searches = addresses.map(|it| match &it.way {
            Way::Number(search) => search.nanoseconds(),
            Way::WithStart(narrow) => narrow.nanoseconds(),
        });
        let searches: f64 = searches.sum();
        let arena = access(self.arena.size());
        let sides = self.sides.iter().map(|side| {
            let walk = 2.5 * side.steps + 3.0 * side.rules;
            let start = match side.usual {
                Starts::Of(starts) => access(starts.size()),
                Starts::Beside => 1.0,
            };
            3.0 + start + arena + walk
        });
        self.groups.nanoseconds() + searches + sides.sum::<f64>()
    }
}

impl Hybrid {
    /// R3 = where the tree of a side begins for the packet; R1 and R2 are lost.
    fn emit_start(&self, code: &mut Code, side: &Side, place: Place) {
        let (usual, found) = (code.label(), code.label());
        if let Some(odd) = side.odd {
            self.groups.branch_usual(code, COMMON, usual);
            emit_number(code, side.by);
            odd.emit(code, START, place);
            code.jump(found);
        }
        code.bind(usual);
        match side.usual {
            Starts::Of(starts) => {
                emit_number(code, side.by);
                starts.emit(code, START, place);
            }
            Starts::Beside => code.load(Size::W, START, Reg::R10, BESIDE[side.by as usize]),
        }
        code.bind(found);
    }
}

/// R3 = the number of the address of a side.
fn emit_number(code: &mut Code, side: By) {
    match side {
        By::Source => code.alu32(Alu::Mov, START, ADDRESSES),
        By::Destination => {
            code.mov(START, ADDRESSES);
            code.alu(Alu::Rsh, START, 32);
        }
        By::Nothing => code.mov(START, 0),
    }
}

impl Address {
    /// Of an axis; where the trees of its side begin, by its numbers, if it has any. None for fields that no
    /// search finds a value of.
    fn new(
        axis: &Axis,
        problem: &Problem,
        starts: Option<&[u32]>,
        data: &mut Data,
    ) -> Option<Self> {
        /// Fewer bounds are compared with each.
        const MANY: usize = 16;
        let dimension = &problem.dimensions[axis.dimension];
        let way = match (dimension, starts) {
            (Dimension::Field(field @ (Field::Source4 | Field::Destination4)), Some(starts))
                if axis.starts.len() >= MANY =>
            {
                let bounds: Vec<u64> = axis.starts.iter().map(|&start| start as u64).collect();
                Way::WithStart(Narrow::new(*field, &bounds, |at| starts[at], data))
            }
            _ => {
                let numbered = (0..).zip(&axis.starts);
                let intervals: Vec<Interval> = numbered
                    .map(|(number, &start)| Interval { start, number })
                    .collect();
                Way::Number(Search::new(dimension, &intervals, data)?)
            }
        };
        Some(Address {
            dimension: axis.dimension,
            way,
        })
    }

    /// The number of an address, and where its tree begins, where that stands beside.
    fn find(&self, value: u128, data: &Data) -> (u32, u32) {
        match &self.way {
            Way::Number(search) => (search.find(value, data), 0),
            Way::WithStart(narrow) => narrow.find(value, data),
        }
    }
}

/// Writes `dst` = a port; another header's bytes where the packet has no ports, which no rule asks for.
fn emit_port(code: &mut Code, dst: Reg, field: Field) {
    code.load(Size::H, dst, PACKET, field.place().offset);
    code.to_big_endian(dst, 16);
}
