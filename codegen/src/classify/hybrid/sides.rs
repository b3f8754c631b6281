//! Which side a rule belongs to, and the lists of rules at each side.

use smallvec::{SmallVec, smallvec};

use super::By;
use super::arena::RULE;
use super::groups::Groups;
use super::key::{DESTINATION_PORT, OTHER, PARTS, SOURCE_PORT};
use crate::classify::decisions::Decision;
use crate::classify::problem::{Dimension, Problem};
use crate::classify::ranges::Ranges;
use crate::field::Field;

/// Boxes that one decision may become.
const MAX_BOXES: usize = 64;

/// Ranges of numbers, of which there mostly is one.
type Pieces = SmallVec<[(u32, u32); 1]>;

/// The dimensions that sides are about.
#[derive(Clone, Debug)]
pub struct Space {
    /// Source and destination, where rules ask for them.
    pub addresses: [Option<Axis>; 2],
    /// Source and destination port.
    pub ports: [Option<usize>; 2],
}

/// The number of a decision in the high half, the word of its outcome in the low half.
pub fn answer(decision: usize, word: u32) -> u64 {
    (decision as u64) << 32 | u64::from(word)
}

/// An address, cut where rules begin and end.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its dimension.
    pub dimension: usize,
    /// The first values of the intervals; their numbers stand for the values.
    pub starts: Vec<u128>,
    /// By a value's first bits: how many intervals start with less, and at last how many there are.
    index: Vec<u32>,
    /// How far a value is shifted to be such an index.
    shift: u32,
}

/// A part of a decision: one range in each field.
#[derive(Clone, Copy, Debug)]
pub struct Box {
    /// Numbers of addresses, source first, both ends among them.
    pub addresses: [(u32, u32); 2],
    /// Ports, likewise.
    pub ports: [(u32, u32); 2],
    /// The groups, as a mask.
    pub groups: u64,
    /// The index of the decision and its word: see [`answer`].
    pub answer: u64,
    /// Where it is looked up.
    pub side: By,
}

/// The lists of a side: for each column one for each number of its address.
pub struct Lists {
    /// Where each ends in the boxes; the first begins at 0.
    ends: Vec<u32>,
    /// Indices of boxes, in rising order within a list.
    boxes: Vec<u32>,
    /// For each column the lists of all numbers, by their index.
    places: Vec<Vec<u32>>,
}

impl Lists {
    /// The lists of a column, by the numbers of the address.
    pub fn column(&self, column: usize) -> impl Iterator<Item = &[u32]> {
        self.places[column].iter().map(|&list| {
            let begin = match list {
                0 => 0,
                _ => self.ends[list as usize - 1],
            };
            &self.boxes[begin as usize..self.ends[list as usize] as usize]
        })
    }
}

impl Space {
    /// Of a problem. None when there are more addresses than a key can tell apart.
    pub fn new(problem: &Problem, decisions: &[Decision<'_>]) -> Option<Self> {
        let dimension = |fields: &[Field]| {
            let asked = |it: &Dimension| matches!(it, Dimension::Field(it) if fields.contains(it));
            problem.dimensions.iter().position(asked)
        };
        let sources = dimension(&[Field::Source4, Field::Source6]);
        let destinations = dimension(&[Field::Destination4, Field::Destination6]);
        let addresses = [sources, destinations].map(|dimension| {
            let dimension = dimension?;
            Some(Axis::new(dimension, problem, decisions))
        });
        let fits = |axis: &Axis| axis.starts.len() <= PARTS[OTHER].max() as usize;
        addresses.iter().flatten().all(fits).then_some(Space {
            addresses,
            ports: [
                dimension(&[Field::SourcePort]),
                dimension(&[Field::DestinationPort]),
            ],
        })
    }

    /// Whether a dimension is one of these.
    pub fn has(&self, dimension: usize) -> bool {
        let addresses = self.addresses.iter().flatten().map(|axis| axis.dimension);
        let mut all = addresses.chain(self.ports.iter().flatten().copied());
        all.any(|it| it == dimension)
    }

    /// How many numbers the addresses have.
    fn counts(&self) -> [u32; 2] {
        self.addresses
            .each_ref()
            .map(|axis| axis.as_ref().map_or(1, |axis| axis.starts.len() as u32))
    }

    /// The decisions as boxes, in order. None when one is too many.
    pub fn boxes(&self, decisions: &[Decision<'_>], groups: &Groups) -> Option<Vec<Box>> {
        let counts = self.counts();
        // The last takes all packets that are left, and is not looked up.
        let listed = &decisions[..decisions.len().saturating_sub(1)];
        let mut boxes = Vec::with_capacity(listed.len());
        for (index, decision) in listed.iter().enumerate() {
            let mask = groups.of_decision(index);
            if mask == 0 {
                continue;
            }
            let numbers = [0, 1].map(|which| match &self.addresses[which] {
                Some(axis) => axis.numbers(decision, counts[which]),
                None => smallvec![(0, 0)],
            });
            let ports = [(0, SOURCE_PORT), (1, DESTINATION_PORT)]
                .map(|(which, part)| port_ranges(self.ports[which], decision, part));
            let count = numbers
                .iter()
                .chain(&ports)
                .map(|pieces| pieces.len())
                .product::<usize>();
            if count > MAX_BOXES {
                return None;
            }
            for &source in &numbers[0] {
                for &destination in &numbers[1] {
                    let side = side_of([source, destination], counts);
                    for &source_port in &ports[0] {
                        for &destination_port in &ports[1] {
                            boxes.push(Box {
                                addresses: [source, destination],
                                ports: [source_port, destination_port],
                                groups: mask,
                                answer: answer(index, decision.word),
                                side,
                            });
                        }
                    }
                }
            }
        }
        Some(boxes)
    }

    /// The lists of a side with a column for each mask of groups; nothing when it has no rules. None when
    /// they take more memory than allowed.
    pub fn lists(
        &self,
        side: By,
        boxes: &[Box],
        columns: &[u64],
        memory: usize,
    ) -> Option<Option<Lists>> {
        let members = (0u32..).zip(boxes).filter(|(_, it)| it.side == side);
        let members: Vec<u32> = members.map(|(index, _)| index).collect();
        if members.is_empty() {
            return Some(None);
        }
        let which = match side {
            By::Source => Some(0),
            By::Destination => Some(1),
            By::Nothing => None,
        };
        let range = |index: u32| match which {
            Some(which) => boxes[index as usize].addresses[which],
            None => (0, 0),
        };
        let count = which.map_or(1, |which| self.counts()[which]);
        let mut starting: Vec<(u32, u32)> = Vec::with_capacity(members.len());
        let mut ending: Vec<(u32, u32)> = Vec::with_capacity(members.len());
        for &index in &members {
            let (low, high) = range(index);
            starting.push((low, index));
            ending.push((high + 1, index));
        }
        starting.sort_unstable();
        ending.sort_unstable();
        let (mut starting, mut ending) = (starting.as_slice(), ending.as_slice());
        let mut lists = Lists {
            ends: Vec::new(),
            boxes: Vec::new(),
            places: vec![Vec::with_capacity(count as usize); columns.len()],
        };
        // Those that the present number is right for, for each column.
        let mut current: Vec<Vec<u32>> = vec![Vec::new(); columns.len()];
        let mut known: Vec<Option<u32>> = vec![None; columns.len()];
        let change =
            |current: &mut Vec<Vec<u32>>, known: &mut Vec<Option<u32>>, index: u32, add: bool| {
                for (column, mask) in columns.iter().enumerate() {
                    if boxes[index as usize].groups & mask == 0 {
                        continue;
                    }
                    known[column] = None;
                    match (current[column].binary_search(&index), add) {
                        (Err(at), true) => current[column].insert(at, index),
                        (Ok(at), false) => {
                            current[column].remove(at);
                        }
                        _ => {}
                    }
                }
            };
        for number in 0..count {
            while let [(at, index), rest @ ..] = ending
                && *at == number
            {
                change(&mut current, &mut known, *index, false);
                ending = rest;
            }
            while let [(at, index), rest @ ..] = starting
                && *at == number
            {
                change(&mut current, &mut known, *index, true);
                starting = rest;
            }
            let own = current.iter().zip(&mut known).zip(&mut lists.places);
            for ((list, known), places) in own {
                let place = *known.get_or_insert_with(|| {
                    lists.boxes.extend(list);
                    lists.ends.push(lists.boxes.len() as u32);
                    lists.ends.len() as u32 - 1
                });
                places.push(place);
            }
            if lists.boxes.len() > 4 * memory / RULE {
                return None;
            }
        }
        Some(Some(lists))
    }
}

/// The side where a box stands in the fewest lists.
fn side_of(addresses: [(u32, u32); 2], counts: [u32; 2]) -> By {
    let [source, destination] = addresses.map(|(low, high)| high - low + 1);
    match (source == counts[0], destination == counts[1]) {
        (true, true) => By::Nothing,
        (false, true) => By::Source,
        (true, false) => By::Destination,
        (false, false) if source < destination => By::Source,
        (false, false) => By::Destination,
    }
}

impl Axis {
    /// Cuts a dimension where decisions begin and end.
    fn new(dimension: usize, problem: &Problem, decisions: &[Decision<'_>]) -> Self {
        let max = problem.dimensions[dimension].max();
        let mut starts = Vec::with_capacity(2 * decisions.len());
        starts.push(0);
        for decision in decisions {
            for &(low, high) in set_in(dimension, decision).map_or(&[][..], Ranges::ranges) {
                starts.push(low);
                starts.extend(high.checked_add(1).filter(|&after| after <= max));
            }
        }
        starts.sort_unstable();
        starts.dedup();
        // About as many entries as intervals.
        let bits = u128::BITS - max.leading_zeros();
        let shift = bits.saturating_sub(starts.len().ilog2().max(1));
        let mut index = vec![0; (max >> shift) as usize + 2];
        for start in &starts {
            index[(start >> shift) as usize + 1] += 1;
        }
        for at in 1..index.len() {
            index[at] += index[at - 1];
        }
        Axis {
            dimension,
            starts,
            index,
            shift,
        }
    }

    /// The number of a value.
    fn number(&self, value: u128) -> u32 {
        let at = ((value >> self.shift) as usize).min(self.index.len() - 2);
        let (first, end) = (self.index[at] as usize, self.index[at + 1] as usize);
        let reached = self.starts[first..end].partition_point(|&start| start <= value);
        (first + reached - 1) as u32
    }

    /// The numbers of a decision's addresses.
    fn numbers(&self, decision: &Decision<'_>, count: u32) -> Pieces {
        let Some(set) = set_in(self.dimension, decision) else {
            return smallvec![(0, count - 1)];
        };
        let ranges = set.ranges().iter();
        ranges
            .map(|&(low, high)| (self.number(low), self.number(high)))
            .collect()
    }
}

/// What a decision asks of a dimension, if it does.
fn set_in<'d>(dimension: usize, decision: &'d Decision<'_>) -> Option<&'d Ranges> {
    let mut sets = decision.sets.iter();
    sets.find(|(it, _)| *it == dimension).map(|(_, set)| set)
}

/// The ports of a decision.
fn port_ranges(dimension: Option<usize>, decision: &Decision<'_>, part: usize) -> Pieces {
    match dimension.and_then(|dimension| set_in(dimension, decision)) {
        Some(set) => {
            let ranges = set.ranges().iter();
            ranges
                .map(|&(low, high)| (low as u32, high as u32))
                .collect()
        }
        None => smallvec![(0, PARTS[part].max())],
    }
}
