//! From which hooks the entries of a table are reached: the `comefrom` marks of the kernel
//! (ip_tables.c, `mark_source_chains`).

use crate::placement::{hooks_of_chains, is_final, reachable};
use crate::ruleset::Table;

/// For each chain how it is reached.
pub(super) struct Origins(Vec<Origin>);

struct Origin {
    /// A bit for each hook that leads to the chain.
    hooks: u32,
    /// How many entries are reached, the chain's end counted: those up to the first that decides
    /// about every packet.
    reached: usize,
}

impl Origins {
    pub fn new(table: &Table) -> Self {
        let hooks = hooks_of_chains(table);
        let origins = table.chains.iter().zip(hooks).map(|(chain, hooks)| {
            let rules = reachable(chain).count();
            let has_end = !reachable(chain).any(is_final);
            Origin {
                hooks: hooks.iter().map(|&hook| 1 << hook as u32).sum(),
                reached: rules + usize::from(has_end),
            }
        });
        Self(origins.collect())
    }

    /// The marks of a chain's rule. The number behind the last rule is that of the chain's end.
    pub fn of_rule(&self, chain: usize, rule: usize) -> u32 {
        match self.0.get(chain) {
            Some(origin) if rule < origin.reached => origin.hooks,
            _ => 0,
        }
    }
}
