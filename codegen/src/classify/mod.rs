//! Classifiers: the rules of a segment decided together, not one after the other.
//!
//! A *segment* is a run of the plan's nodes where nothing happens but tests of fields and counting, entered
//! at its first node. It is described as a [`Problem`]: boxes in a space of dimensions. A classifier finds the
//! *outcome* of a packet's coordinates (see [`outcome`]) in arrays that lie in the object as constant
//! bytes, so that neither the program nor the verifier's work grows with the rules.
//!
//! # The strategies
//! - **Straight** code tries the rules one after the other, at 0.7 to 1 ns each. It wins for a few rules:
//!   nothing has to be fetched from memory.
//! - **Tables** ([`tables`]): equivalence classes of each dimension, combined pair by pair. Some 5 ns a
//!   dimension for any number of rules, as long as the tables stay small: they grow with the product of
//!   the classes of the dimensions.
//! - A **look-up** ([`lookup`]) where the rules ask for one dimension only, such as a blocklist: one
//!   bisection with an index, linear in memory, for 100,000 rules and more.
//!
//! What a strategy costs for each packet is estimated from its steps and the sizes of its arrays
//! ([`Classifier::nanoseconds`]); of those that can be built within the [`Limits`] the cheapest is taken.
//!
//! # Exactness
//! Table bytes are read in two ways: by [`Classifier::find`] and by the code of [`Classifier::emit`]. Tests
//! hold the first against the boxes tried in order, and the second against the reference evaluator.

pub mod bits;
pub mod data;
pub mod decisions;
pub mod hybrid;
pub mod lookup;
pub mod outcome;
pub mod problem;
pub mod ranges;
pub mod search;
pub mod tables;

use std::cell::OnceCell;
use std::fmt;

use crate::asm::Code;
use data::{Data, Place};
use outcome::Outcomes;
use problem::Problem;
use serde::{Deserialize, Serialize};

/// How the rules of a segment are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One after the other.
    Straight,
    /// By tables of equivalence classes.
    Tables,
    /// By a look-up of the only coordinate that they ask for.
    Lookup,
    /// By lists of rules at the address that is the more specific.
    Hybrid,
}

impl Strategy {
    /// Those that are no straight code, in the order in which they are tried.
    pub const CLASSIFIERS: [Strategy; 3] = [Strategy::Lookup, Strategy::Tables, Strategy::Hybrid];
}

impl Strategy {
    /// The strategy that prints as this name.
    pub fn from_name(name: &str) -> Option<Strategy> {
        let all = [Strategy::Straight]
            .into_iter()
            .chain(Strategy::CLASSIFIERS);
        all.into_iter().find(|it| it.to_string() == name)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::Straight => "straight",
            Strategy::Tables => "tables",
            Strategy::Lookup => "lookup",
            Strategy::Hybrid => "hybrid",
        })
    }
}

/// What building a classifier may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its arrays.
    pub memory: usize,
    /// About how long it may take.
    pub milliseconds: usize,
}

/// Arrays that tell the outcome of a packet, and the code that reads them.
pub trait Classifier: fmt::Debug + Send + Sync {
    /// The arrays.
    fn data(&self) -> &Data;

    /// The word of the outcome of a packet with these coordinates, as the code finds it.
    fn find(&self, point: &[u128]) -> u32;

    /// Writes code that leaves the word of the packet's outcome in R8, zero-extended. R6 points to the packet,
    /// R9 holds the context; the other registers are free. The code must not branch on what it reads, but
    /// for bounds that the verifier asks for, and must not call.
    fn emit(&self, code: &mut Code, place: Place);

    /// About how long a look-up takes when packets are random: the sum of its steps, with what each array
    /// costs that does not stay in the fastest cache.
    fn nanoseconds(&self) -> f64;
}

/// A classifier and the outcomes that it tells.
#[derive(Debug)]
pub struct Classified {
    /// How it was made.
    pub strategy: Strategy,
    /// The look-up.
    pub classifier: Box<dyn Classifier>,
    /// What its words mean.
    pub outcomes: Outcomes,
}

/// Builds classifiers of a problem. What does not depend on the limits is worked out once.
pub struct Builder<'p> {
    problem: &'p Problem,
    hybrid: OnceCell<Option<hybrid::Outline<'p>>>,
}

impl<'p> Builder<'p> {
    /// Of a problem.
    pub fn new(problem: &'p Problem) -> Self {
        Builder {
            problem,
            hybrid: OnceCell::new(),
        }
    }

    /// Builds the classifier of a strategy; none when it cannot be made of the problem within the limits.
    pub fn build(&self, strategy: Strategy, limits: &Limits) -> Option<Classified> {
        let problem = self.problem;
        let mut outcomes = Outcomes::default();
        let classifier: Box<dyn Classifier> = match strategy {
            Strategy::Straight => return None,
            Strategy::Tables => Box::new(tables::build(problem, &mut outcomes, limits)?),
            Strategy::Lookup => Box::new(lookup::build(problem, &mut outcomes, limits)?),
            Strategy::Hybrid => {
                let outline = self.hybrid.get_or_init(|| hybrid::Outline::new(problem));
                let outline = outline.as_ref()?;
                let hybrid = outline.build(limits)?;
                outcomes = outline.outcomes().clone();
                Box::new(hybrid)
            }
        };
        Some(Classified {
            strategy,
            classifier,
            outcomes,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::Strategy as Drawn;

    use super::data::Data;
    use super::outcome::{Goal, Leave, Walk, Way};
    use super::problem::{Dimension, Mark, Pattern, Problem};
    use super::ranges::Ranges;
    use super::{Builder, Limits, Strategy, outcome};
    use crate::field::Field;
    use crate::semantic::{CounterId, Verdict};

    const FIELDS: [Field; 4] = [
        Field::Source4,
        Field::Source6,
        Field::DestinationPort,
        Field::Protocol,
    ];
    const GENEROUS: Limits = Limits {
        memory: 1 << 20,
        milliseconds: 1000,
    };

    /// A value near the ends of a field, or near a few others.
    fn value(field: Field) -> impl Drawn<Value = u128> {
        let bits = 8 * u32::from(field.place().size);
        let max = Field::max(field);
        (0..4u128, 0..bits, -2..3i128)
            .prop_map(move |(top, shift, near)| (top << shift).wrapping_add_signed(near) & max)
    }

    fn sets() -> impl Drawn<Value = Vec<(usize, Ranges)>> {
        let set = |dimension: usize| {
            let ends = (value(FIELDS[dimension]), value(FIELDS[dimension]));
            let range = ends.prop_map(|(a, b)| (a.min(b), a.max(b)));
            let ranges = proptest::collection::vec(range, 1..3).prop_map(Ranges::of);
            proptest::option::weighted(0.4, ranges.prop_map(move |set| (dimension, set)))
        };
        (set(0), set(1), set(2), set(3)).prop_map(|sets| {
            let sets = [sets.0, sets.1, sets.2, sets.3].into_iter().flatten();
            let some = |(at, set): &(usize, Ranges)| !set.is_all(Field::max(FIELDS[*at]));
            sets.filter(some).collect()
        })
    }

    /// Nodes of one mark or two, whose hits and misses lead forward or out.
    fn problem() -> impl Drawn<Value = Problem> {
        let leave = prop_oneof![
            Just(Leave::Verdict(Verdict::Accept)),
            Just(Leave::Verdict(Verdict::Drop)),
            (100..104usize).prop_map(|node| Leave::To { node, back: None }),
            (100..104usize).prop_map(|node| Leave::To {
                node,
                back: Some(200)
            }),
            Just(Leave::Return),
        ];
        let node = (
            proptest::collection::vec(sets(), 1..3),
            proptest::option::weighted(0.3, sets()),
            proptest::option::weighted(0.3, 1..4usize),
            proptest::option::weighted(0.1, 2..4usize),
            leave,
        );
        proptest::collection::vec(node, 1..24).prop_map(|nodes| {
            let count = nodes.len();
            let mut problem = Problem {
                dimensions: FIELDS.map(Dimension::Field).to_vec(),
                patterns: Vec::new(),
                marks: Vec::new(),
                misses: Vec::new(),
            };
            for (node, (boxes, hot, hit, miss, leave)) in nodes.into_iter().enumerate() {
                let goal = |step: Option<usize>| match step.map(|step| node + step) {
                    Some(to) if to < count => Goal::Node(to),
                    _ => Goal::Leave(leave),
                };
                let mut mark = |boxes: Vec<Vec<(usize, Ranges)>>, way: Way| {
                    let mark = problem.marks.len();
                    let patterns = boxes.into_iter().map(|sets| Pattern { sets, mark });
                    problem.patterns.extend(patterns);
                    problem.marks.push(Mark { node, way });
                };
                if let Some(hot) = hot {
                    mark(vec![hot], Way::DROP);
                }
                let counter = CounterId(node as u32);
                let to = goal(hit);
                mark(boxes, Way { counter, to });
                let to = goal(Some(miss.unwrap_or(1)));
                let counter = CounterId::NONE;
                problem.misses.push(Way { counter, to });
            }
            problem
        })
    }

    fn points() -> impl Drawn<Value = Vec<Vec<u128>>> {
        let point = FIELDS.map(|field| value(field).boxed());
        proptest::collection::vec(Vec::from(point), 40)
    }

    /// One node after the other.
    fn linear(problem: &Problem, point: &[u128]) -> outcome::Outcome {
        let mut counters = Vec::new();
        let mut node = 0;
        loop {
            let inside = |mark: usize| {
                let mut patterns = problem.patterns.iter();
                patterns.any(|it| it.mark == mark && it.contains(point))
            };
            let marks = problem.marks.iter().enumerate();
            let mut own = marks.filter(|(_, mark)| mark.node == node);
            let hit = own.find(|&(mark, _)| inside(mark));
            let way = hit.map_or(problem.misses[node], |(_, mark)| mark.way);
            counters.extend(Some(way.counter).filter(|&it| it != CounterId::NONE));
            match way.to {
                Goal::Node(to) => node = to,
                Goal::Leave(leave) => return outcome::Outcome { counters, leave },
            }
        }
    }

    proptest! {
        #[test]
        fn every_strategy_finds_what_trying_one_by_one_finds(
            problem in problem(),
            points in points(),
        ) {
            let builder = Builder::new(&problem);
            for strategy in Strategy::CLASSIFIERS {
                let Some(made) = builder.build(strategy, &GENEROUS) else {
                    prop_assert!(strategy != Strategy::Tables, "tables of a small problem fit");
                    continue;
                };
                for point in &points {
                    let found = made.outcomes.read(made.classifier.find(point));
                    prop_assert_eq!(found, linear(&problem, point), "{} at {:x?}", strategy, point);
                }
            }
        }

        #[test]
        fn the_walk_over_marks_is_the_walk_over_nodes(problem in problem(), points in points()) {
            let walk = Walk::new(&problem);
            for point in &points {
                let outcome = walk.outcome(&problem.marks_at(point));
                prop_assert_eq!(outcome, linear(&problem, point));
            }
        }
    }

    #[test]
    fn an_address_may_be_a_dimension_that_no_rule_asks_for_in_the_end() {
        let leave = |verdict| Goal::Leave(Leave::Verdict(verdict));
        let way = |counter: CounterId, to: Goal| Way { counter, to };
        for address in [Field::Source4, Field::Source6] {
            let problem = Problem {
                dimensions: [address, Field::DestinationPort]
                    .map(Dimension::Field)
                    .to_vec(),
                patterns: vec![Pattern {
                    sets: vec![(1, Ranges::between(22, 22))],
                    mark: 0,
                }],
                marks: vec![Mark {
                    node: 0,
                    way: way(CounterId(0), leave(Verdict::Drop)),
                }],
                misses: vec![way(CounterId::NONE, leave(Verdict::Accept))],
            };
            let made = Builder::new(&problem).build(Strategy::Hybrid, &GENEROUS);
            let made = made.expect("one rule");
            for port in [0, 22, 23] {
                let point = [address.max(), port];
                let found = made.outcomes.read(made.classifier.find(&point));
                assert_eq!(found, linear(&problem, &point), "{address:?} {port}");
            }
        }
    }

    #[test]
    fn limits_are_kept() {
        let set = |dimension: usize, at: u128| (dimension, Ranges::between(at, at));
        let leave = Goal::Leave(Leave::Verdict(Verdict::Drop));
        let way = |counter: u32| Way {
            counter: CounterId(counter),
            to: leave,
        };
        let mut problem = Problem {
            dimensions: FIELDS.map(Dimension::Field).to_vec(),
            patterns: Vec::new(),
            marks: Vec::new(),
            misses: Vec::new(),
        };
        for node in 0..300 {
            let sets = vec![set(0, 7 * node as u128), set(2, 3 * node as u128)];
            problem.patterns.push(Pattern { sets, mark: node });
            problem.marks.push(Mark {
                node,
                way: way(node as u32),
            });
            let to = if node < 299 {
                Goal::Node(node + 1)
            } else {
                leave
            };
            problem.misses.push(Way {
                counter: CounterId::NONE,
                to,
            });
        }
        let built = |memory: usize, milliseconds: usize| {
            let limits = Limits {
                memory,
                milliseconds,
            };
            Builder::new(&problem).build(Strategy::Tables, &limits)
        };
        let made = built(1 << 20, 1000).expect("300 times 300 classes");
        let size = |data: &Data| data.len();
        assert!(size(made.classifier.data()) <= 1 << 20);
        assert!(built(1 << 16, 1000).is_none());
        assert!(built(1 << 20, 0).is_none());
        let lookup = Builder::new(&problem).build(Strategy::Lookup, &GENEROUS);
        assert!(lookup.is_none());
    }
}
