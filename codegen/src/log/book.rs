//! Whose a record is: rules, policies and chains by the numbers in records.

use std::collections::HashMap;

use ipt2bpf_parser::ruleset::{Action, Chain, Family, Rule, Ruleset, Table, Verdict};
use ipt2bpf_parser::targets::Target;

use super::audit;
use super::line::Details;
use super::record::{Occasion, Record};
use crate::counters::CounterLayout;

/// The level of `LOGLEVEL_WARNING`, which traces have.
const TRACE_LEVEL: u8 = 4;
/// The level of what NFLOG tells, which has none of its own: `LOGLEVEL_INFO`.
const NFLOG_LEVEL: u8 = 6;

/// What the rulesets say of records.
#[derive(Clone, Debug)]
pub struct Book {
    /// By counter.
    counted: HashMap<u32, Entry>,
    /// What is told at the end of user chains, by the number of the chain.
    returns: Vec<String>,
}

/// What may be told by a counter's number.
#[derive(Clone, Debug)]
struct Entry {
    target: Option<Told>,
    /// The beginning of the line that a traced packet gives.
    trace: String,
}

/// How a record is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the line begins with.
    pub prefix: Vec<u8>,
    /// The level of syslog(3).
    pub level: u8,
    /// What the line tells.
    pub details: Details,
    /// The group of NFLOG, none for lines of the kernel log.
    pub group: Option<u16>,
}

impl Book {
    /// Reads rulesets and the numbers of their counters; they must be those that the programs were made from.
    pub fn new(rulesets: &[Ruleset], layout: &CounterLayout) -> Self {
        let mut book = Book {
            counted: HashMap::new(),
            returns: Vec::new(),
        };
        for ruleset in rulesets {
            for table in &ruleset.tables {
                for chain in &table.chains {
                    book.chain(ruleset.family, table, chain, layout);
                }
            }
        }
        book
    }

    fn chain(&mut self, family: Family, table: &Table, chain: &Chain, layout: &CounterLayout) {
        let trace = |word: &str, number: usize| {
            format!("TRACE: {}:{}:{word}:{number} ", table.kind, chain.name)
        };
        let end = match chain.builtin {
            Some(_) => "policy",
            None => "return",
        };
        let last = trace(end, chain.rules.len() + 1);
        if let Some(policy) = layout.policy(family, table.kind, &chain.name) {
            let entry = Entry {
                target: None,
                trace: last.clone(),
            };
            self.counted.insert(policy.0, entry);
        }
        self.returns.push(last);
        let numbers = layout.rules(family, table.kind, &chain.name);
        for ((index, rule), number) in chain.rules.iter().enumerate().zip(numbers) {
            // The kernel takes any rule without a condition for the chain's last
            // (`get_chainname_rulenum`, net/ipv4/netfilter/ip_tables.c).
            let word = match is_bare_verdict(rule) {
                true => end,
                false => "rule",
            };
            let entry = Entry {
                target: told(rule),
                trace: trace(word, index + 1),
            };
            self.counted.insert(number, entry);
        }
    }

    /// How a record is to be told; none when the rulesets have no such rule.
    pub fn told(&self, record: &Record) -> Option<Told> {
        let trace = match record.occasion {
            Occasion::Target => return self.counted.get(&record.number)?.target.clone(),
            Occasion::TracedRule | Occasion::TracedPolicy => {
                &self.counted.get(&record.number)?.trace
            }
            Occasion::TracedReturn => self.returns.get(record.number as usize)?,
        };
        Some(Told {
            prefix: trace.clone().into_bytes(),
            level: TRACE_LEVEL,
            details: Details::TRACE,
            group: None,
        })
    }
}

fn told(rule: &Rule) -> Option<Told> {
    let Action::Target(target) = &rule.action else {
        return None;
    };
    match &target.value {
        Target::Log(log) => Some(Told {
            prefix: log.prefix.to_vec(),
            level: log.level,
            details: Details::from(log),
            group: None,
        }),
        Target::Audit(_) => Some(Told {
            prefix: audit::PREFIX.to_vec(),
            level: audit::LEVEL,
            details: Details {
                audit: true,
                ..Details::default()
            },
            group: None,
        }),
        Target::Nflog(nflog) => Some(Told {
            prefix: nflog.prefix.to_vec(),
            level: NFLOG_LEVEL,
            details: Details::default(),
            group: Some(nflog.group),
        }),
        _ => None,
    }
}

/// Whether a rule is nothing but a verdict, as the kernel's own last rule of a chain is.
fn is_bare_verdict(rule: &Rule) -> bool {
    let base = &rule.base;
    matches!(
        rule.action,
        Action::Verdict(Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Queue)
    ) && rule.matches.is_empty()
        && base.source.is_none()
        && base.destination.is_none()
        && base.in_interface.is_none()
        && base.out_interface.is_none()
        && base.protocol.is_none()
        && base.fragment.is_none()
}
