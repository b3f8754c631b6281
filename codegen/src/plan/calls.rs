//! Who calls whom, and which chains are copied into their callers.

use super::{COPY_ALL, COPY_SMALL};
use crate::semantic::{Action, ChainId, FamilyFilter};

/// Who calls whom among the chains that a stage reaches.
pub struct CallGraph<'a> {
    filter: &'a FamilyFilter,
    /// The chains, callers before callees.
    pub order: Vec<ChainId>,
    /// Chains that are copied into their callers.
    copied: Vec<bool>,
}

impl<'a> CallGraph<'a> {
    pub fn new(filter: &'a FamilyFilter, root: ChainId) -> Self {
        let order = topological(filter, root);
        let mut callers = vec![0u32; filter.chains.len()];
        for &chain in &order {
            for callee in callees(filter, chain) {
                callers[callee.0 as usize] += 1;
            }
        }
        let size = |limit: u64| {
            let mut sizes = vec![0u64; filter.chains.len()];
            let mut copied = vec![false; filter.chains.len()];
            for &chain in order.iter().rev() {
                let inner = callees(filter, chain)
                    .filter(|callee| copied[callee.0 as usize])
                    .fold(0u64, |sum, callee| {
                        sum.saturating_add(sizes[callee.0 as usize])
                    });
                let size = inner.saturating_add(filter.chain(chain).rules.len() as u64);
                sizes[chain.0 as usize] = size;
                copied[chain.0 as usize] = size <= limit || callers[chain.0 as usize] == 1;
            }
            (sizes[root.0 as usize], copied)
        };
        let (whole, mut copied) = size(u64::MAX);
        if whole > COPY_ALL {
            copied = size(COPY_SMALL).1;
        }
        CallGraph {
            filter,
            order,
            copied,
        }
    }

    pub fn is_copied(&self, chain: ChainId) -> bool {
        self.copied[chain.0 as usize]
    }

    /// The greatest number of chains, not copied, that one packet can be in at once.
    pub fn depth(&self, root: ChainId) -> usize {
        let mut depths = vec![0usize; self.filter.chains.len()];
        for &chain in self.order.iter().rev() {
            let inner = callees(self.filter, chain)
                .map(|callee| depths[callee.0 as usize] + usize::from(!self.is_copied(callee)));
            depths[chain.0 as usize] = inner.max().unwrap_or(0);
        }
        depths[root.0 as usize]
    }

    /// The greatest number of returns one packet can make, and one more.
    pub fn turns(&self, root: ChainId) -> u64 {
        let mut turns = vec![0u64; self.filter.chains.len()];
        for &chain in self.order.iter().rev() {
            turns[chain.0 as usize] = callees(self.filter, chain).fold(0u64, |sum, callee| {
                let own = u64::from(!self.is_copied(callee));
                sum.saturating_add(turns[callee.0 as usize])
                    .saturating_add(own)
            });
        }
        turns[root.0 as usize].saturating_add(1)
    }
}

fn callees(filter: &FamilyFilter, chain: ChainId) -> impl Iterator<Item = ChainId> {
    let rules = filter.chain(chain).rules.iter();
    rules.filter_map(|rule| match rule.action {
        Action::Jump(target) | Action::Goto(target) => Some(target),
        Action::Continue | Action::Verdict(_) | Action::Return => None,
    })
}

/// The chains that a chain reaches and itself, callers first. Jumps form no cycle.
fn topological(filter: &FamilyFilter, root: ChainId) -> Vec<ChainId> {
    let mut seen = vec![false; filter.chains.len()];
    let mut order = Vec::new();
    seen[root.0 as usize] = true;
    let mut open = vec![(root, callees(filter, root))];
    while let Some((chain, rest)) = open.last_mut() {
        match rest.find(|callee| !seen[callee.0 as usize]) {
            Some(callee) => {
                seen[callee.0 as usize] = true;
                open.push((callee, callees(filter, callee)));
            }
            None => {
                order.push(*chain);
                open.pop();
            }
        }
    }
    order.reverse();
    order
}
