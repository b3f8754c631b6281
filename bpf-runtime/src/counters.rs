//! Counters between rulesets and the kernel: which value belongs to which rule or policy.

use std::collections::{HashMap, VecDeque};

use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_parser::ruleset::{Counters, Family, Ruleset, TableKind};

use crate::maps::Counter;

/// The counters of the text, in the order of the map.
pub fn of_text(rulesets: &[Ruleset], layout: &CounterLayout) -> Vec<Counter> {
    let mut values = vec![Counter::default(); layout.room() as usize];
    let tables = rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let counters = tables.flat_map(|table| &table.chains).flat_map(|chain| {
        let policy = chain.builtin.is_some().then_some(&chain.counters);
        let rules = chain.rules.iter().map(|rule| &rule.counters);
        policy.into_iter().chain(rules)
    });
    for (counters, number) in counters.zip(layout.numbers()) {
        if let Some(value) = values.get_mut(number as usize) {
            *value = Counter {
                packets: counters.packets,
                bytes: counters.bytes,
            };
        }
    }
    values
}

/// Puts the values of the map into the rulesets.
pub fn into_text(rulesets: &mut [Ruleset], layout: &CounterLayout, values: &[Counter]) {
    let tables = rulesets.iter_mut().flat_map(|ruleset| &mut ruleset.tables);
    let counters = tables
        .flat_map(|table| &mut table.chains)
        .flat_map(|chain| {
            let policy = chain.builtin.is_some().then_some(&mut chain.counters);
            let rules = chain.rules.iter_mut().map(|rule| &mut rule.counters);
            policy.into_iter().chain(rules)
        });
    for (counters, number) in counters.zip(layout.numbers()) {
        if let Some(value) = values.get(number as usize) {
            *counters = Counters {
                packets: value.packets,
                bytes: value.bytes,
            };
        }
    }
}

/// The rules and policies that stand in both of two texts, by their places in the order of each: in the same
/// chain, and worded alike. Of rules that stand there several times, the first is the first.
pub fn unchanged(old: &[Ruleset], new: &[Ruleset]) -> Vec<(u32, u32)> {
    let mut known: HashMap<Identity, VecDeque<u32>> = HashMap::new();
    for (identity, index) in identities(old).into_iter().zip(0..) {
        known.entry(identity).or_default().push_back(index);
    }
    let pairs = identities(new).into_iter().zip(0..);
    pairs
        .filter_map(|(identity, index)| Some((known.get_mut(&identity)?.pop_front()?, index)))
        .collect()
}

/// What tells a rule or policy from others.
type Identity = (Family, TableKind, String, Vec<u8>);

/// Those of all rules and policies in the order of the text.
fn identities(rulesets: &[Ruleset]) -> Vec<Identity> {
    let mut identities = Vec::new();
    for ruleset in rulesets {
        for table in &ruleset.tables {
            for chain in &table.chains {
                let identity = |text| (ruleset.family, table.kind, chain.name.clone(), text);
                if let Some(builtin) = &chain.builtin {
                    identities.push(identity(builtin.policy.to_string().into_bytes()));
                }
                identities.extend(chain.rules.iter().map(|rule| identity(rule.print(chain))));
            }
        }
    }
    identities
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{Counts, ParseOptions, parse};

    use super::*;

    #[test]
    fn counters_go_to_the_map_and_back() {
        const TEXT: &str = "*filter\n:INPUT DROP [1:10]\n:FORWARD ACCEPT [2:20]\n:OUTPUT ACCEPT [3:30]\n:own - [0:0]\n\
                            [4:40] -A INPUT -j own\n[5:50] -A own -p tcp -j ACCEPT\n[6:60] -A own -j RETURN\nCOMMIT\n";
        let mut sources = Sources::default();
        let id = sources.add("rules", TEXT);
        let mut rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        let layout = CounterLayout::new(&rulesets);
        let mut values = of_text(&rulesets, &layout);
        let packets: Vec<u64> = values.iter().map(|value| value.packets).collect();
        assert_eq!(packets, [1, 4, 2, 3, 5, 6]);
        for value in &mut values {
            value.packets += 100;
        }
        into_text(&mut rulesets, &layout, &values);
        let text = String::from_utf8(rulesets[0].print(Counts::All)).unwrap();
        assert_eq!(
            text,
            "*filter\n:INPUT DROP [101:10]\n:FORWARD ACCEPT [102:20]\n:OUTPUT ACCEPT [103:30]\n:own - [0:0]\n\
             [104:40] -A INPUT -j own\n[105:50] -A own -p tcp -j ACCEPT\n[106:60] -A own -j RETURN\nCOMMIT\n"
        );
    }

    #[test]
    fn what_stands_in_both_texts_keeps_its_counter() {
        let rulesets = |rules: &str| {
            let mut sources = Sources::default();
            let text = format!(
                "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}COMMIT\n"
            );
            let id = sources.add("rules", text);
            parse(&sources, id, &ParseOptions::default()).rulesets
        };
        let old =
            rulesets("-A INPUT -p tcp -j DROP\n-A INPUT -p udp -j DROP\n-A INPUT -p tcp -j DROP\n");
        let new = rulesets(
            "-A INPUT -p udp -j DROP\n-A INPUT -p udp -j ACCEPT\n-A INPUT -p tcp -j DROP\n\
             -A INPUT -p tcp -j DROP\n-A INPUT -p tcp -j DROP\n-A OUTPUT -p udp -j DROP\n",
        );
        // Policies of INPUT, FORWARD and OUTPUT stand in both, and the third rule for tcp in one.
        assert_eq!(
            unchanged(&old, &new),
            [(0, 0), (2, 1), (1, 3), (3, 4), (4, 6), (5, 7)]
        );
    }
}
