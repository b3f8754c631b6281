//! A problem as a list of boxes of which the first that a packet is in tells its outcome.
//!
//! Jumps are followed when the list is made: the rules of a chain stand in it once for each jump there,
//! narrowed to the packets of the jump, and with its counters before theirs.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::outcome::{Goal, Outcomes, Way};
use super::problem::Problem;
use super::ranges::Ranges;
use crate::semantic::CounterId;

/// How many conditional jumps may be nested.
const MAX_DEPTH: usize = 48;
/// How many boxes are looked at for each pattern of the problem, on average.
const LOOKS: usize = 16;

/// Dimensions with the values wanted there, in rising order; any value is right elsewhere.
pub type Sets<'p> = Cow<'p, [(usize, Ranges)]>;

/// One box and what it says.
#[derive(Clone, Debug)]
pub struct Decision<'p> {
    /// The box.
    pub sets: Sets<'p>,
    /// The word of the outcome.
    pub word: u32,
}

/// The list; the last box takes every packet. None when the jumps make it too long.
pub fn decisions<'p>(problem: &'p Problem, outcomes: &mut Outcomes) -> Option<Vec<Decision<'p>>> {
    let mut follower = Follower {
        problem,
        outcomes,
        decisions: Vec::with_capacity(problem.patterns.len()),
        first_mark: first_by(problem.misses.len(), problem.marks.iter().map(|it| it.node)),
        first_pattern: first_by(
            problem.marks.len(),
            problem.patterns.iter().map(|it| it.mark),
        ),
        looks: LOOKS * (problem.patterns.len() + problem.misses.len()) + 1024,
        depth: 0,
    };
    follower.follow(0, &Cow::Borrowed(&[]), Vec::new())?;
    Some(follower.decisions)
}

/// Where each of `count` keys begins among rising keys; one more entry holds their number.
fn first_by(count: usize, keys: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut first = vec![0; count + 1];
    for key in keys {
        first[key + 1] += 1;
    }
    for key in 0..count {
        first[key + 1] += first[key];
    }
    first
}

struct Follower<'p, 'o> {
    problem: &'p Problem,
    outcomes: &'o mut Outcomes,
    decisions: Vec<Decision<'p>>,
    first_mark: Vec<usize>,
    first_pattern: Vec<usize>,
    looks: usize,
    depth: usize,
}

impl<'p> Follower<'p, '_> {
    /// Appends what decides the packets of a box from a node on.
    fn follow(
        &mut self,
        mut node: usize,
        under: &Sets<'p>,
        mut counters: Vec<CounterId>,
    ) -> Option<()> {
        let problem = self.problem;
        'nodes: loop {
            for mark in self.first_mark[node]..self.first_mark[node + 1] {
                let way = problem.marks[mark].way;
                for pattern in self.first_pattern[mark]..self.first_pattern[mark + 1] {
                    self.looks = self.looks.checked_sub(1)?;
                    let Some(both) = intersection(under, &problem.patterns[pattern].sets) else {
                        continue;
                    };
                    let whole = both == *under;
                    match way.to {
                        Goal::Leave(_) => self.decide(both, &counters, way)?,
                        Goal::Node(next) if whole => {
                            counted(&mut counters, way);
                            node = next;
                            continue 'nodes;
                        }
                        Goal::Node(next) => {
                            let mut counters = counters.clone();
                            counted(&mut counters, way);
                            self.depth += 1;
                            if self.depth > MAX_DEPTH {
                                return None;
                            }
                            self.follow(next, &both, counters)?;
                            self.depth -= 1;
                        }
                    }
                    if whole {
                        return Some(());
                    }
                }
            }
            let way = problem.misses[node];
            match way.to {
                Goal::Leave(_) => return self.decide(under.clone(), &counters, way),
                Goal::Node(next) => {
                    counted(&mut counters, way);
                    node = next;
                }
            }
        }
    }

    fn decide(&mut self, sets: Sets<'p>, counters: &[CounterId], way: Way) -> Option<()> {
        let Goal::Leave(leave) = way.to else {
            return None;
        };
        let mut counters: SmallVec<[CounterId; 4]> = SmallVec::from_slice(counters);
        counted(&mut counters, way);
        let word = self.outcomes.word(&counters, leave)?;
        self.decisions.push(Decision { sets, word });
        Some(())
    }
}

fn counted(counters: &mut impl Extend<CounterId>, way: Way) {
    counters.extend(Some(way.counter).filter(|&it| it != CounterId::NONE));
}

/// What is in both boxes; nothing when that is no packet.
fn intersection<'p>(under: &Sets<'p>, sets: &'p [(usize, Ranges)]) -> Option<Sets<'p>> {
    if under.is_empty() {
        return Some(Cow::Borrowed(sets));
    }
    let mut joined = under.to_vec();
    for (dimension, set) in sets {
        match joined.binary_search_by_key(dimension, |known| known.0) {
            Ok(at) => {
                let both = joined[at].1.intersection(set);
                if both.is_empty() {
                    return None;
                }
                joined[at].1 = both;
            }
            Err(at) => joined.insert(at, (*dimension, set.clone())),
        }
    }
    Some(Cow::Owned(joined))
}
