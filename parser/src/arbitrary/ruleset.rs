//! Rulesets: tables, their chains and their counters.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::arbitrary::rule::rule;
use crate::ruleset::{Builtin, Chain, Counters, Family, NfHook, Policy, Ruleset, Table, TableKind};
use crate::span::Span;

/// A ruleset of either family with one to five tables.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    prop_oneof![ruleset_of(Family::V4), ruleset_of(Family::V6)]
}

/// A ruleset of one family with one to five tables.
pub fn ruleset_of(family: Family) -> impl Strategy<Value = Ruleset> {
    subsequence(TableKind::ALL.to_vec(), 1..=TableKind::ALL.len())
        .prop_flat_map(move |kinds| {
            kinds
                .into_iter()
                .map(|kind| table(family, kind))
                .collect::<Vec<_>>()
        })
        .prop_map(move |tables| Ruleset { family, tables })
}

/// A table with up to four user chains. A user chain leads only to chains behind it, so there are no
/// loops.
pub fn table(family: Family, kind: TableKind) -> impl Strategy<Value = Table> {
    // Lower case, so that no name is that of a built-in chain, verdict or target.
    btree_set("[a-z0-9][a-z0-9_.-]{0,27}", 0..4).prop_flat_map(move |names| {
        let names: Vec<String> = names.into_iter().collect();
        let builtin = kind
            .hooks()
            .iter()
            .map(|&hook| chain(family, kind, Some(hook), hook.to_string(), names.clone()));
        let user = (0..names.len()).map(|at| {
            chain(
                family,
                kind,
                None,
                names[at].clone(),
                names[at + 1..].to_vec(),
            )
        });
        let chains: Vec<_> = builtin.chain(user).collect();
        chains.prop_map(move |chains| Table { kind, chains })
    })
}

pub(super) fn chain(
    family: Family,
    kind: TableKind,
    hook: Option<NfHook>,
    name: String,
    targets: Vec<String>,
) -> BoxedStrategy<Chain> {
    let policy = select(vec![Policy::Accept, Policy::Drop]);
    let rules = vec(rule(family, kind, hook, targets), 0..5);
    (policy, counters(), rules)
        .prop_map(move |(policy, counters, rules)| Chain {
            name: name.clone(),
            builtin: hook.map(|hook| Builtin { hook, policy }),
            counters: if hook.is_some() {
                counters
            } else {
                Counters::default()
            },
            rules,
            span: Span::default(),
        })
        .boxed()
}

pub(super) fn counters() -> impl Strategy<Value = Counters> {
    let count = || prop_oneof![Just(0), 0..1_000_000_u64, any::<u64>()];
    (count(), count()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}
