//! Which counter belongs to which rule and policy.
//!
//! Counters are numbered in the order in which iptables-save prints what they count: rulesets, tables,
//! chains; in a built-in chain the policy comes before the rules. Whoever has the text has the numbers.

use std::collections::HashMap;

use ipt2bpf_parser::ruleset::{Chain, Family, Ruleset, TableKind};

use crate::semantic::CounterId;

/// The numbers of all counters of some rulesets.
#[derive(Clone, Debug, Default)]
pub struct CounterLayout {
    chains: HashMap<(Family, TableKind, String), ChainCounters>,
    total: u32,
}

#[derive(Clone, Copy, Debug)]
struct ChainCounters {
    first: u32,
    builtin: bool,
    /// How many chains stand before it.
    number: u32,
}

impl CounterLayout {
    /// Numbers the counters of rulesets in their order.
    pub fn new(rulesets: &[Ruleset]) -> Self {
        let mut layout = CounterLayout::default();
        for ruleset in rulesets {
            for table in &ruleset.tables {
                for chain in &table.chains {
                    layout.push(ruleset.family, table.kind, chain);
                }
            }
        }
        layout
    }

    fn push(&mut self, family: Family, table: TableKind, chain: &Chain) {
        let builtin = chain.builtin.is_some();
        let numbers = ChainCounters {
            first: self.total,
            builtin,
            number: self.chains.len() as u32,
        };
        self.chains
            .insert((family, table, chain.name.clone()), numbers);
        self.total += chain.rules.len() as u32 + u32::from(builtin);
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The counter of a built-in chain's policy; none for a user chain.
    pub fn policy(&self, family: Family, table: TableKind, chain: &str) -> Option<CounterId> {
        let found = self.find(family, table, chain)?;
        found.builtin.then_some(CounterId(found.first))
    }

    /// The counter of a chain's first rule; the others follow it.
    pub fn first_rule(&self, family: Family, table: TableKind, chain: &str) -> u32 {
        self.find(family, table, chain)
            .map_or(0, |found| found.first + u32::from(found.builtin))
    }

    /// How many chains of all rulesets stand before a chain.
    pub fn chain_number(&self, family: Family, table: TableKind, chain: &str) -> u32 {
        self.find(family, table, chain)
            .map_or(0, |found| found.number)
    }

    fn find(&self, family: Family, table: TableKind, chain: &str) -> Option<ChainCounters> {
        self.chains.get(&(family, table, chain.to_owned())).copied()
    }
}
