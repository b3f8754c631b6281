//! What a node costs the verifier and the reach of jumps.

use std::ops::Add;

use super::test::branch;
use crate::asm::{Code, Op};
use crate::plan::{Node, NodeKind};
use crate::semantic::FamilyFilter;

/// Instructions that count, leave and go on, at most.
const TAIL: usize = 32;

/// The size of some code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Conditional branches.
    pub branches: usize,
    /// All instructions.
    pub instructions: usize,
}

impl Add for Weight {
    type Output = Weight;

    fn add(self, other: Weight) -> Weight {
        Weight {
            branches: self.branches + other.branches,
            instructions: self.instructions + other.instructions,
        }
    }
}

/// The size of a node's code, or a little more.
pub fn of(filter: &FamilyFilter, node: &Node) -> Weight {
    let mut code = Code::default();
    if let NodeKind::Rule(chain, rule) = node.kind {
        let target = code.label();
        for step in &filter.chain(chain).rules[rule].steps {
            branch(&mut code, &step.test, false, target);
        }
    }
    let branches = code
        .ops()
        .iter()
        .filter(|op| matches!(op, Op::Branch(..)))
        .count();
    Weight {
        branches: branches + 1,
        instructions: code.ops().len() + TAIL,
    }
}
