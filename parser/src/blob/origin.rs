//! From which hooks the rules of a table are reached: the `comefrom` marks of the kernel
//! (ip_tables.c, `mark_source_chains`).

use std::collections::HashMap;

use crate::ruleset::{Action, BaseMatch, Chain, Rule, Table, Verdict};

/// For each chain the hooks from which it is entered, and how far a walk through it gets.
pub(super) struct Origins {
    chains: Vec<Origin>,
}

/// How a chain is reached.
pub(super) struct Origin {
    /// A bit for each hook.
    pub hooks: u32,
    /// How many rules come until one decides about every packet, with it. What lies behind is
    /// reached from nowhere.
    pub reached: usize,
}

impl Origins {
    /// Walks from every hook along all jumps and gotos.
    pub fn new(table: &Table) -> Self {
        let index: HashMap<&str, usize> = (0..)
            .zip(&table.chains)
            .map(|(at, chain)| (chain.name.as_str(), at))
            .collect();
        let mut chains: Vec<Origin> = table
            .chains
            .iter()
            .map(|chain| Origin {
                hooks: 0,
                reached: reached(chain),
            })
            .collect();
        for (at, chain) in table.chains.iter().enumerate() {
            let Some(builtin) = chain.builtin else {
                continue;
            };
            let hook = 1 << builtin.hook as u32;
            let mut pending = vec![at];
            while let Some(at) = pending.pop() {
                let Some(origin) = chains.get_mut(at).filter(|it| it.hooks & hook == 0) else {
                    continue;
                };
                origin.hooks |= hook;
                let rules = table.chains.get(at).map_or(&[][..], |chain| &chain.rules);
                let jumps = rules.iter().take(origin.reached).filter_map(|rule| {
                    match &rule.action {
                        Action::Jump(to) | Action::Goto(to) => index.get(to.value.as_str()).copied(),
                        Action::Continue | Action::Verdict(_) | Action::Target(_) => None,
                    }
                });
                pending.extend(jumps);
            }
        }
        Self { chains }
    }

    /// The marks of a chain's rule; that behind the last one is of the chain's end.
    pub fn of_rule(&self, chain: usize, rule: usize) -> u32 {
        match self.chains.get(chain) {
            Some(origin) if rule < origin.reached => origin.hooks,
            _ => 0,
        }
    }
}

/// How many entries of a chain a walk meets, its end counted, too.
fn reached(chain: &Chain) -> usize {
    let decides = |rule: &Rule| {
        let is_verdict = match rule.action {
            Action::Verdict(
                Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Queue,
            ) => true,
            Action::Continue | Action::Jump(_) | Action::Goto(_) | Action::Target(_) => false,
        };
        is_verdict && rule.matches.is_empty() && tests_nothing(&rule.base)
    };
    1 + chain
        .rules
        .iter()
        .position(decides)
        .unwrap_or(chain.rules.len())
}

/// Whether the binary form of a base match is all zeros.
fn tests_nothing(base: &BaseMatch) -> bool {
    let networks = [&base.source, &base.destination];
    let is_open = networks
        .into_iter()
        .flatten()
        .all(|it| !it.negated && it.value.value.is_everything());
    let rest = BaseMatch {
        source: None,
        destination: None,
        ..base.clone()
    };
    is_open && rest == BaseMatch::default()
}
