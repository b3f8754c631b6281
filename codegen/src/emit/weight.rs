//! What a node costs the verifier and the reach of jumps.

use std::ops::Add;

use super::test::branch;
use crate::asm::{Code, Op};
use crate::plan::{Node, NodeKind};
use crate::semantic::{FamilyFilter, Step};

/// Instructions that count, leave and go on, at most.
const TAIL: usize = 32;

/// The call of a routine, with what the verifier walks through in a static function.
const CALLED: Weight = Weight {
    branches: 32,
    instructions: 16,
};

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
    let mut calls = 0;
    match node.kind {
        NodeKind::Rule(chain, rule) => {
            let target = code.label();
            let rule = &filter.chain(chain).rules[rule];
            calls += rule.effects.len();
            for step in &rule.steps {
                match step {
                    Step::Check { test, .. } => branch(&mut code, test, false, target),
                    Step::Ask(_) => calls += 1,
                }
            }
        }
        NodeKind::Policy(_) => {
            calls += filter
                .chains
                .iter()
                .map(|chain| chain.effects.len())
                .max()
                .unwrap_or(0);
        }
    }
    let called = Weight {
        branches: calls * CALLED.branches,
        instructions: calls * CALLED.instructions,
    };
    let branches = code
        .ops()
        .iter()
        .filter(|op| matches!(op, Op::Branch(..)))
        .count();
    let own = Weight {
        branches: branches + 1,
        instructions: code.ops().len() + TAIL,
    };
    own + called
}
