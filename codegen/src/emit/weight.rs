//! What a node costs the verifier and the reach of jumps.

use std::ops::Add;

use super::test::branch;
use crate::asm::{Code, Op};
use crate::plan::{Node, NodeKind};
use crate::routine::Routine;
use crate::semantic::{FamilyFilter, Step};

/// Instructions that count, leave and go on, at most.
const TAIL: usize = 32;

/// Instructions that call a routine, at most.
const CALL: usize = 16;

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
    let mut called = Weight::default();
    if let NodeKind::Rule(chain, rule) = node.kind {
        let target = code.label();
        let rule = &filter.chain(chain).rules[rule];
        let mut call = |routine: &Routine| {
            let branches = routine.work().branches();
            let instructions = CALL;
            called = called
                + Weight {
                    branches,
                    instructions,
                };
        };
        rule.effects.iter().for_each(&mut call);
        for step in &rule.steps {
            match step {
                Step::Check { test, .. } => branch(&mut code, test, false, target),
                Step::Ask(routine) => call(routine),
                // What follows it is written twice.
                Step::Doom(test) => {
                    branch(&mut code, test, true, target);
                    for step in &rule.steps {
                        if let Step::Check { test, .. } = step {
                            branch(&mut code, test, false, target);
                        }
                    }
                }
            }
        }
    }
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
