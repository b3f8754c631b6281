//! A look-up of the only coordinate that rules ask for, such as the address of a blocklist.
//!
//! The outcomes stand beside the bounds of the bisection (see [`search`](super::search)): one table of
//! classes, without a second step. The kernel's own structures for this cost 5 to 10 times as much: a trie of
//! type LPM_TRIE goes from bit to bit through memory, a hash must be asked once for each length of prefix.

use super::Limits;
use super::outcome::Outcomes;
use super::problem::{Dimension, Problem};
use super::tables::{self, Order, Tables};

/// Builds the look-up of a problem, if only one dimension tells anything.
pub fn build(problem: &Problem, outcomes: &mut Outcomes, limits: &Limits) -> Option<Tables> {
    if asks_two_fields(problem) {
        return None;
    }
    let leaves = tables::leaves(1, problem, limits)?;
    tables::build_of(leaves, Order::SmallestFirst, problem, outcomes, limits)
}

/// Whether two fields tell something for sure, which takes no time to see: the first pattern that asks for a
/// field can be told from the others, unless one that takes every packet stands before it.
fn asks_two_fields(problem: &Problem) -> bool {
    let asking = problem
        .patterns
        .iter()
        .take_while(|pattern| !pattern.sets.is_empty());
    let dimensions =
        asking.flat_map(|pattern| pattern.sets.iter().map(|(dimension, _)| *dimension));
    let mut fields = dimensions.filter(|&it| matches!(problem.dimensions[it], Dimension::Field(_)));
    let first = fields.next();
    fields.any(|it| Some(it) != first)
}
