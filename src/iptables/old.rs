//! The rules that a filter had before a command: where each stands in the text, and which are gone.

use std::collections::{HashMap, HashSet};

use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_parser::ruleset::{Family, Ruleset, TableKind};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, heading, parse};

/// Where rules stand in the text of the rules in force.
#[derive(Debug, Default)]
pub struct OldRules {
    tables: Vec<OldTable>,
    /// The counters of rules by where the rules begin.
    numbers: HashMap<u32, u32>,
}

#[derive(Debug)]
struct OldTable {
    family: Family,
    kind: TableKind,
    chains: Vec<OldChain>,
}

#[derive(Debug)]
struct OldChain {
    name: String,
    /// The counter of its policy.
    policy: Option<u32>,
    /// Of each rule the number of its counter, its first byte, and the byte behind its last.
    rules: Vec<(u32, u32, u32)>,
}

impl OldRules {
    /// The rules of a text.
    pub fn new(rulesets: &[Ruleset], layout: &CounterLayout) -> Self {
        let mut old = OldRules::default();
        for ruleset in rulesets {
            for table in &ruleset.tables {
                let (family, kind) = (ruleset.family, table.kind);
                let chains = table.chains.iter().map(|chain| {
                    let numbers = layout.rules(family, kind, &chain.name);
                    let rules = numbers.zip(&chain.rules).map(|(number, rule)| {
                        let span = rule.span.0;
                        (number, span.start, span.end)
                    });
                    OldChain {
                        name: chain.name.clone(),
                        policy: layout.policy(family, kind, &chain.name).map(|it| it.0),
                        rules: rules.collect(),
                    }
                });
                let chains: Vec<OldChain> = chains.collect();
                let rules = chains.iter().flat_map(|chain| &chain.rules);
                let starts = rules.map(|&(number, start, _)| (start, number));
                old.numbers.extend(starts);
                old.tables.push(OldTable {
                    family,
                    kind,
                    chains,
                });
            }
        }
        old
    }

    /// The counter of the rule that begins at a byte of the text.
    pub fn number(&self, start: u32) -> Option<u32> {
        self.numbers.get(&start).copied()
    }

    /// The rulesets without the rules that stay, which are named by their counters, and the numbers of the
    /// counters of what is left.
    pub fn gone(&self, same: &[(u32, u32)], text: &[u8]) -> (Vec<Ruleset>, CounterLayout) {
        let stays: HashSet<u32> = same.iter().map(|&(number, _)| number).collect();
        let mut gone = Vec::new();
        let mut numbers = Vec::new();
        for table in &self.tables {
            gone.extend(heading(table.family).as_bytes());
            gone.extend(format!("*{}\n", table.kind).into_bytes());
            for chain in &table.chains {
                let policy = match chain.policy {
                    Some(_) => "ACCEPT",
                    None => "-",
                };
                gone.extend(format!(":{} {policy} [0:0]\n", chain.name).into_bytes());
            }
            for chain in &table.chains {
                numbers.extend(chain.policy);
                let rules = chain.rules.iter().filter(|it| !stays.contains(&it.0));
                for &(number, start, end) in rules {
                    numbers.push(number);
                    gone.extend(text.get(start as usize..end as usize).unwrap_or_default());
                    gone.push(b'\n');
                }
            }
            gone.extend(b"COMMIT\n");
        }
        let mut sources = Sources::default();
        let id = sources.add("rules that are gone", gone);
        let rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        let layout = CounterLayout::new(&rulesets).numbered(numbers);
        (rulesets, layout)
    }
}
