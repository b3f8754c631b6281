//! A look-up of the only coordinate that rules ask for, such as the address of a blocklist.
//!
//! The outcomes stand beside the bounds of the bisection (see [`search`](super::search)): one table of
//! classes, without a second step. The kernel's own structures for this cost 5 to 10 times as much: a trie of
//! type LPM_TRIE goes from bit to bit through memory, a hash must be asked once for each length of prefix.

use super::Limits;
use super::outcome::Outcomes;
use super::problem::Problem;
use super::tables::{self, Order, Tables};

/// Builds the look-up of a problem, if only one dimension tells anything.
pub fn build(problem: &Problem, outcomes: &mut Outcomes, limits: &Limits) -> Option<Tables> {
    tables::build_of(1, Order::SmallestFirst, problem, outcomes, limits)
}
