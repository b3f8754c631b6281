//! What a classifier has to decide: the rules of a segment as boxes in a space of dimensions.
//!
//! Each coordinate of a packet is the value of a field, or a few bits that tell which tests hold. A rule is a
//! list of boxes ([`Pattern`]): in each dimension that it looks at, a set of values. What can happen to a
//! packet at a node is a [`Mark`]: it matches, or it is dropped hot. A mark's boxes together are exactly the
//! packets whose steps lead there, whatever happened at the nodes before.

use foldhash::HashMap;

use super::bits;
use super::outcome::{Goal, Way};
use super::ranges::Ranges;
use crate::evaluate::holds;
use crate::field::Field;
use crate::packet::Packet;
use crate::plan::{Node, NodeKind};
use crate::semantic::{FamilyFilter, Otherwise, Rule, Step, Test};

/// Boxes that one condition may become; beyond, tests over several fields count as bits.
const MAX_BOXES: usize = 16;
/// Ranges that one masked test may become; beyond, it counts as a bit.
const MAX_RANGES: usize = 64;
/// Bits of a dimension of tests.
const BITS: usize = 8;
/// Tests evaluated one by one, at most: each costs a few instructions for every packet.
const MAX_TESTS: usize = 40;
/// Different tests of an interface's name up to which each is a bit.
const FEW_NAMES: usize = 6;

/// One coordinate of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The value of a field.
    Field(Field),
    /// Bit n is 1 when test n holds.
    Bits {
        /// The tests; at most 8.
        tests: Vec<Test>,
        /// Which numbers can come about: tests of one field may exclude or imply each other.
        possible: Vec<bool>,
    },
}

impl Dimension {
    /// The greatest coordinate.
    pub fn max(&self) -> u128 {
        match self {
            Dimension::Field(field) => Field::max(*field),
            Dimension::Bits { tests, .. } => (1 << tests.len()) - 1,
        }
    }

    /// The coordinate of a packet.
    pub fn value(&self, packet: &Packet<'_>) -> u128 {
        match self {
            Dimension::Field(field) => packet.get(*field),
            Dimension::Bits { tests, .. } => tests
                .iter()
                .enumerate()
                .filter(|(_, test)| holds(test, packet))
                .fold(0, |bits, (bit, _)| bits | 1 << bit),
        }
    }
}

/// A box: the packets whose coordinates are in each of these sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Dimensions with the values wanted there, in rising order; any value is right elsewhere. No set is
    /// empty, or all.
    pub sets: Vec<(usize, Ranges)>,
    /// Index into [`Problem::marks`].
    pub mark: usize,
}

impl Pattern {
    /// Whether a packet of these coordinates is in the box.
    pub fn contains(&self, point: &[u128]) -> bool {
        let mut sets = self.sets.iter();
        sets.all(|(dimension, set)| set.contains(point[*dimension]))
    }
}

/// Something that can happen to a packet at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The node, from the first of the segment.
    pub node: usize,
    /// What counts, and where the packet goes.
    pub way: Way,
}

/// A segment, ready to be classified.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The coordinates that matter.
    pub dimensions: Vec<Dimension>,
    /// The boxes, in the order of their marks.
    pub patterns: Vec<Pattern>,
    /// What can happen, in the order of the nodes; of the marks of one node that a packet is in, the first
    /// happens.
    pub marks: Vec<Mark>,
    /// Where a packet goes from each node that it has no mark of.
    pub misses: Vec<Way>,
}

/// For each node, the last node whose match all packets have behind them that get there, if there is one.
fn guards(hits: &[Way], misses: &[Way]) -> Vec<Option<usize>> {
    // What is common to all ways to a node, as they are found; none for a node that none leads to yet.
    let mut common: Vec<Option<Option<usize>>> = vec![None; hits.len()];
    let mut guards: Vec<Option<usize>> = Vec::with_capacity(hits.len());
    for node in 0..hits.len() {
        let own = common[node].flatten();
        guards.push(own);
        for (way, guard) in [(hits[node], Some(node)), (misses[node], own)] {
            let Goal::Node(to) = way.to else {
                continue;
            };
            common[to] = Some(match common[to] {
                None => guard,
                Some(known) => nearest_common(known, guard, &guards),
            });
        }
    }
    guards
}

/// The last node that both have behind them. Each node's guard comes before it.
fn nearest_common(
    mut one: Option<usize>,
    mut other: Option<usize>,
    guards: &[Option<usize>],
) -> Option<usize> {
    while one != other {
        match one > other {
            true => one = one.and_then(|node| guards[node]),
            false => other = other.and_then(|node| guards[node]),
        }
    }
    one
}

/// Whether a classifier may cover a node: nothing happens there but a decision and a count.
pub fn is_pure(filter: &FamilyFilter, node: &Node) -> bool {
    match node.kind {
        NodeKind::Rule(chain, rule) => {
            let rule = &filter.chain(chain).rules[rule];
            let mut steps = rule.steps.iter();
            rule.effects.is_empty() && steps.all(|step| matches!(step, Step::Check { .. }))
        }
        NodeKind::Policy(_) => filter.chains.iter().all(|chain| chain.effects.is_empty()),
    }
}

impl Problem {
    /// What pure nodes have to decide; `hit` and `miss` tell what a match of each does, and what else. None
    /// when too many of their tests are no ranges of fields.
    pub fn new(
        filter: &FamilyFilter,
        nodes: &[Node],
        hit: impl Fn(&Node) -> Way,
        miss: impl Fn(&Node) -> Way,
    ) -> Option<Self> {
        let mut space = Space::of(filter, nodes);
        let hits: Vec<Way> = nodes.iter().map(hit).collect();
        let misses: Vec<Way> = nodes.iter().map(miss).collect();
        let guards = guards(&hits, &misses);
        let mut guarding = vec![false; nodes.len()];
        guards
            .iter()
            .flatten()
            .for_each(|&guard| guarding[guard] = true);
        // The boxes of those who have the match of a node behind them, for the nodes that guard others.
        let mut behind: Vec<Vec<Draft>> = vec![Vec::new(); nodes.len()];
        let mut drafts = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let ways = match node.kind {
                NodeKind::Rule(chain, rule) => space.rule(&filter.chain(chain).rules[rule])?,
                NodeKind::Policy(_) => vec![(false, whole())],
            };
            let context = guards[index].map(|guard| behind[guard].clone());
            for (hot, boxes) in ways {
                // Who cannot get there has no mark there: what is too complex may be left out.
                let (boxes, instead) = match &context {
                    Some(context) if are_few(context, &boxes) => {
                        (product(context.clone(), &boxes), None)
                    }
                    Some(context) => (boxes, Some(context)),
                    None => (boxes, None),
                };
                if guarding[index] && !hot {
                    behind[index].clone_from(instead.unwrap_or(&boxes));
                }
                drafts.push((index, hot, boxes));
            }
        }
        let (dimensions, first_bits) = space.dimensions();
        let mut marks = Vec::with_capacity(drafts.len());
        let mut patterns = Vec::with_capacity(drafts.len());
        for (node, hot, boxes) in drafts {
            let mark = marks.len();
            patterns.extend(boxes.into_iter().filter_map(|draft| {
                let sets = draft.sets(&dimensions, first_bits)?;
                Some(Pattern { sets, mark })
            }));
            let way = match hot {
                true => Way::DROP,
                false => hits[node],
            };
            marks.push(Mark { node, way });
        }
        Some(Problem {
            dimensions,
            patterns,
            marks,
            misses,
        })
    }

    /// The coordinates of a packet.
    pub fn point(&self, packet: &Packet<'_>) -> Vec<u128> {
        let dimensions = self.dimensions.iter();
        dimensions
            .map(|dimension| dimension.value(packet))
            .collect()
    }

    /// The marks that a point is in, in order.
    pub fn marks_at(&self, point: &[u128]) -> Vec<usize> {
        let inside = self.patterns.iter().filter(|it| it.contains(point));
        let mut marks: Vec<usize> = inside.map(|pattern| pattern.mark).collect();
        marks.dedup();
        marks
    }
}

/// A coordinate before all are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coordinate {
    /// By index into [`Space::fields`].
    Field(usize),
    /// By index into [`Space::tests`].
    Test(usize),
}

/// A condition on packets.
#[derive(Clone, Debug)]
enum Condition {
    Set(Coordinate, Ranges),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// A box before all dimensions are known, in rising order of coordinates.
#[derive(Clone, Debug, Default)]
struct Draft(Vec<(Coordinate, Ranges)>);

impl Draft {
    /// Leaves what is in a set, too; false when that is no packet.
    fn narrow(&mut self, coordinate: Coordinate, set: &Ranges) -> bool {
        match self.0.binary_search_by_key(&coordinate, |known| known.0) {
            Ok(at) => {
                let known = &mut self.0[at].1;
                *known = known.intersection(set);
                !known.is_empty()
            }
            Err(at) => {
                self.0.insert(at, (coordinate, set.clone()));
                !set.is_empty()
            }
        }
    }

    /// Leaves what is in both; false when that is no packet.
    fn narrow_to(&mut self, other: &Draft) -> bool {
        let mut sets = other.0.iter();
        sets.all(|(coordinate, set)| self.narrow(*coordinate, set))
    }

    /// Its sets in final dimensions; nothing when no packet is inside. `first_bits` is the dimension of the
    /// first tests; the next [`BITS`] have the next.
    fn sets(self, dimensions: &[Dimension], first_bits: usize) -> Option<Vec<(usize, Ranges)>> {
        let mut sets: Vec<(usize, Ranges)> = Vec::with_capacity(self.0.len());
        for (coordinate, set) in self.0 {
            let (dimension, set) = match coordinate {
                Coordinate::Field(field) => (field, set),
                Coordinate::Test(test) => {
                    let dimension = first_bits + test / BITS;
                    let max = dimensions[dimension].max();
                    (dimension, with_bit(test % BITS, &set, max))
                }
            };
            match sets.iter_mut().find(|known| known.0 == dimension) {
                Some(known) => known.1 = known.1.intersection(&set),
                None => sets.push((dimension, set)),
            }
        }
        sets.retain(|(dimension, set)| !set.is_all(dimensions[*dimension].max()));
        sets.sort_unstable_by_key(|(dimension, _)| *dimension);
        let empty = sets.iter().any(|(_, set)| set.is_empty());
        (!empty).then_some(sets)
    }
}

/// The numbers up to `max` of which a bit is in a set.
fn with_bit(bit: usize, set: &Ranges, max: u128) -> Ranges {
    let wanted = (0..=max).filter(|value| set.contains(value >> bit & 1));
    Ranges::of(wanted.map(|value| (value, value)).collect())
}

/// The box of all packets.
fn whole() -> Vec<Draft> {
    vec![Draft::default()]
}

/// Whether the [`product`] of two lists is no longer than a list may be.
fn are_few(left: &[Draft], right: &[Draft]) -> bool {
    left.len() * right.len() <= MAX_BOXES
}

/// Boxes that together hold what is in both lists.
fn product(mut left: Vec<Draft>, right: &[Draft]) -> Vec<Draft> {
    if let [only] = right {
        left.retain_mut(|draft| draft.narrow_to(only));
        return left;
    }
    let pairs = left
        .iter()
        .flat_map(|left| right.iter().map(move |right| (left, right)));
    let both = pairs.filter_map(|(left, right)| {
        let mut both = left.clone();
        both.narrow_to(right).then_some(both)
    });
    both.collect()
}

/// Collects the coordinates that conditions ask for.
struct Space {
    fields: Vec<Field>,
    tests: Vec<Test>,
    numbers: HashMap<Test, usize>,
    /// Fields whose tests are bits.
    by_bits: Vec<Field>,
}

impl Space {
    fn of(filter: &FamilyFilter, nodes: &[Node]) -> Self {
        let by_bits = [Field::InDevice, Field::OutDevice]
            .into_iter()
            .filter(|&field| few_tests(filter, nodes, field));
        Space {
            fields: Vec::new(),
            tests: Vec::new(),
            numbers: HashMap::default(),
            by_bits: by_bits.collect(),
        }
    }

    /// What can happen at a rule: for each way a hot drop can come about its boxes, and at last those of a
    /// match. None when there are too many tests.
    fn rule(&mut self, rule: &Rule) -> Option<Vec<(bool, Vec<Draft>)>> {
        let mut outcomes = Vec::new();
        let mut reached = whole();
        for step in &rule.steps {
            let Step::Check { test, otherwise } = step else {
                return None;
            };
            if *otherwise == Otherwise::HotDrop {
                let hot = self.narrowed(reached.clone(), test, false)?;
                if !hot.is_empty() {
                    outcomes.push((true, hot));
                }
            }
            reached = self.narrowed(reached, test, true)?;
        }
        outcomes.push((false, reached));
        Some(outcomes)
    }

    /// What is in boxes and a test, or its opposite, holds of.
    fn narrowed(&mut self, mut boxes: Vec<Draft>, test: &Test, sense: bool) -> Option<Vec<Draft>> {
        let condition = self.condition(test, sense)?;
        if let Condition::Set(coordinate, set) = &condition {
            boxes.retain_mut(|draft| draft.narrow(*coordinate, set));
            return Some(boxes);
        }
        if let Some(wanted) = drafts(&condition)
            && are_few(&boxes, &wanted)
        {
            return Some(product(boxes, &wanted));
        }
        let bit = self.bit(test, sense)?;
        Some(product(boxes, &[bit]))
    }

    /// The box of a test that is a coordinate of its own.
    fn bit(&mut self, test: &Test, sense: bool) -> Option<Draft> {
        let number = self.test(test)?;
        let value = u128::from(sense);
        let set = Ranges::between(value, value);
        Some(Draft(vec![(Coordinate::Test(number), set)]))
    }

    fn test(&mut self, test: &Test) -> Option<usize> {
        if let Some(&number) = self.numbers.get(test) {
            return Some(number);
        }
        if self.tests.len() == MAX_TESTS || !bits::can_emit(test) {
            return None;
        }
        let number = self.tests.len();
        self.tests.push(test.clone());
        self.numbers.insert(test.clone(), number);
        Some(number)
    }

    fn field(&mut self, field: Field) -> Coordinate {
        let known = self.fields.iter().position(|&it| it == field);
        Coordinate::Field(known.unwrap_or_else(|| {
            self.fields.push(field);
            self.fields.len() - 1
        }))
    }

    fn condition(&mut self, test: &Test, sense: bool) -> Option<Condition> {
        let parts = |space: &mut Self, parts: &[Test]| {
            let parts = parts.iter();
            parts
                .map(|part| space.condition(part, sense))
                .collect::<Option<Vec<Condition>>>()
        };
        match test {
            Test::Not(inner) => self.condition(inner, !sense),
            Test::All(tests) if sense => Some(all(parts(self, tests)?)),
            Test::All(tests) => Some(any(parts(self, tests)?)),
            Test::Any(tests) if sense => Some(any(parts(self, tests)?)),
            Test::Any(tests) => Some(all(parts(self, tests)?)),
            leaf => {
                let ranges = ranges(leaf).filter(|(field, _)| !self.by_bits.contains(field));
                let Some((field, set)) = ranges else {
                    let value = u128::from(sense);
                    let set = Ranges::between(value, value);
                    let number = self.test(leaf)?;
                    return Some(Condition::Set(Coordinate::Test(number), set));
                };
                let set = match sense {
                    true => set,
                    false => set.complement(field.max()),
                };
                Some(Condition::Set(self.field(field), set))
            }
        }
    }

    /// All dimensions, and which is that of the first tests.
    fn dimensions(self) -> (Vec<Dimension>, usize) {
        let first_bits = self.fields.len();
        let fields = self.fields.into_iter().map(Dimension::Field);
        let bits = self.tests.chunks(BITS).map(|tests| Dimension::Bits {
            tests: tests.to_vec(),
            possible: possible(tests),
        });
        (fields.chain(bits).collect(), first_bits)
    }
}

/// The values of the field that a leaf test asks for; none when it asks for something else, or they are too
/// many ranges.
fn ranges(leaf: &Test) -> Option<(Field, Ranges)> {
    match *leaf {
        Test::Masked { field, mask, value } => {
            let set = Ranges::masked(mask, value, field.max(), MAX_RANGES)?;
            Some((field, set))
        }
        Test::Range { field, low, high } => {
            Some((field, Ranges::between(low, high.min(field.max()))))
        }
        _ => None,
    }
}

/// Whether nodes have no more than a few different tests of a field.
fn few_tests(filter: &FamilyFilter, nodes: &[Node], field: Field) -> bool {
    let mut seen: Vec<&Test> = Vec::new();
    let rules = nodes.iter().filter_map(|node| match node.kind {
        NodeKind::Rule(chain, rule) => Some(&filter.chain(chain).rules[rule]),
        NodeKind::Policy(_) => None,
    });
    for step in rules.flat_map(|rule| &rule.steps) {
        if let Step::Check { test, .. } = step {
            note_leaves(test, field, &mut seen);
            if seen.len() > FEW_NAMES {
                return false;
            }
        }
    }
    true
}

fn note_leaves<'a>(test: &'a Test, wanted: Field, seen: &mut Vec<&'a Test>) {
    match test {
        Test::Not(inner) => note_leaves(inner, wanted, seen),
        Test::All(parts) | Test::Any(parts) => parts
            .iter()
            .for_each(|part| note_leaves(part, wanted, seen)),
        Test::Masked { field, .. } | Test::Range { field, .. } => {
            if *field == wanted && !seen.contains(&test) {
                seen.push(test);
            }
        }
        Test::TcpOption(_) => {}
    }
}

/// Which combinations of tests can hold at once, as far as those of one field tell.
fn possible(tests: &[Test]) -> Vec<bool> {
    let mut possible = vec![true; 1 << tests.len()];
    let by_field: Vec<(usize, Field, Ranges)> = tests
        .iter()
        .enumerate()
        .filter_map(|(bit, test)| ranges(test).map(|(field, set)| (bit, field, set)))
        .collect();
    for &(first, field, _) in &by_field {
        let same: Vec<&(usize, Field, Ranges)> =
            by_field.iter().filter(|it| it.1 == field).collect();
        if same[0].0 != first || same.len() < 2 {
            continue;
        }
        let group = same.iter().fold(0usize, |bits, it| bits | 1 << it.0);
        let edges = same.iter().flat_map(|it| it.2.ranges());
        let starts = edges.flat_map(|&(low, high)| [Some(low), high.checked_add(1)]);
        let mut seen: Vec<usize> = starts
            .flatten()
            .chain([0])
            .filter(|&value| value <= field.max())
            .map(|value| {
                let holding = same.iter().filter(|it| it.2.contains(value));
                holding.fold(0, |bits, it| bits | 1 << it.0)
            })
            .collect();
        seen.sort_unstable();
        for (bits, possible) in possible.iter_mut().enumerate() {
            *possible &= seen.binary_search(&(bits & group)).is_ok();
        }
    }
    possible
}

fn all(parts: Vec<Condition>) -> Condition {
    let mut kept: Vec<Condition> = Vec::new();
    for part in parts {
        let known = kept.iter_mut().find_map(|known| match (known, &part) {
            (Condition::Set(known, set), Condition::Set(coordinate, other))
                if known == coordinate =>
            {
                Some((set, other))
            }
            _ => None,
        });
        match known {
            Some((set, other)) => *set = set.intersection(other),
            None => kept.push(part),
        }
    }
    match kept.len() {
        1 => kept.remove(0),
        _ => Condition::All(kept),
    }
}

fn any(parts: Vec<Condition>) -> Condition {
    let mut sets: Vec<(Coordinate, Vec<(u128, u128)>)> = Vec::new();
    let mut kept = Vec::new();
    for part in parts {
        match part {
            Condition::Set(coordinate, set) => {
                match sets.iter_mut().find(|known| known.0 == coordinate) {
                    Some(known) => known.1.extend(set.ranges()),
                    None => sets.push((coordinate, set.ranges().to_vec())),
                }
            }
            other => kept.push(other),
        }
    }
    let sets = sets.into_iter();
    kept.extend(sets.map(|(coordinate, set)| Condition::Set(coordinate, Ranges::of(set))));
    match kept.len() {
        1 => kept.remove(0),
        _ => Condition::Any(kept),
    }
}

/// Boxes that together hold what a condition holds; none when they are too many.
fn drafts(condition: &Condition) -> Option<Vec<Draft>> {
    match condition {
        Condition::Set(_, set) if set.is_empty() => Some(Vec::new()),
        Condition::Set(coordinate, set) => Some(vec![Draft(vec![(*coordinate, set.clone())])]),
        Condition::All(parts) => parts.iter().try_fold(whole(), |boxes, part| {
            let part = drafts(part)?;
            are_few(&boxes, &part).then(|| product(boxes, &part))
        }),
        Condition::Any(parts) => {
            let mut boxes = Vec::new();
            for part in parts {
                boxes.extend(drafts(part)?);
            }
            (boxes.len() <= MAX_BOXES).then_some(boxes)
        }
    }
}
