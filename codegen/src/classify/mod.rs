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
pub mod outcome;
pub mod problem;
pub mod ranges;
pub mod search;
pub mod tables;

use std::fmt;

use crate::asm::Code;
use data::{Data, Place};
use outcome::Outcomes;
use problem::Problem;

/// How the rules of a segment are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// One after the other.
    Straight,
    /// By tables of equivalence classes.
    Tables,
    /// By lists of rules at the address that is the more specific.
    Hybrid,
}

impl Strategy {
    /// Those that are no straight code, in the order in which they are tried.
    pub const CLASSIFIERS: [Strategy; 2] = [Strategy::Tables, Strategy::Hybrid];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::Straight => "straight",
            Strategy::Tables => "tables",
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

impl Classified {
    /// Builds the classifier of a strategy; none when it cannot be made of the problem within the limits.
    pub fn build(strategy: Strategy, problem: &Problem, limits: &Limits) -> Option<Self> {
        let mut outcomes = Outcomes::default();
        let classifier: Box<dyn Classifier> = match strategy {
            Strategy::Straight => return None,
            Strategy::Tables => Box::new(tables::build(problem, &mut outcomes, limits)?),
            Strategy::Hybrid => Box::new(hybrid::build(problem, &mut outcomes, limits)?),
        };
        Some(Classified {
            strategy,
            classifier,
            outcomes,
        })
    }
}
