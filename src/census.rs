//! Everything that is attached, object by object, with its rules and what they have counted.

use anyhow::Result;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::ruleset::{Chain, Family, Rule, Ruleset, TableKind};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::{Attachment, Counter, Maps, counters};

/// The maps of one object, and where its programs run.
pub struct Running {
    /// The places, each once.
    pub places: Vec<String>,
    /// The hooks, each once.
    pub hooks: Vec<Hook>,
    /// The maps.
    pub maps: Maps,
}

/// The objects of some attachments. Programs of one object are one.
///
/// # Errors
/// What the kernel says.
pub fn objects(attachments: &[Attachment]) -> Result<Vec<Running>> {
    let mut objects: Vec<Running> = Vec::new();
    for attachment in attachments {
        let maps = attachment.maps()?;
        let place = attachment.site.to_string();
        let position = objects.iter().position(|known| known.maps.same_as(&maps));
        match position.and_then(|position| objects.get_mut(position)) {
            Some(known) => {
                if !known.places.contains(&place) {
                    known.places.push(place);
                }
                if !known.hooks.contains(&attachment.hook) {
                    known.hooks.push(attachment.hook);
                }
            }
            None => objects.push(Running {
                places: vec![place],
                hooks: vec![attachment.hook],
                maps,
            }),
        }
    }
    Ok(objects)
}

/// The rulesets that travel with an object, and the numbers of their counters.
///
/// # Errors
/// What the kernel says.
pub fn rulesets(maps: &Maps) -> Result<(Vec<Ruleset>, CounterLayout), ipt2bpf_runtime::Error> {
    let text = maps.rules_text()?;
    let mut sources = Sources::default();
    let id = sources.add("rules", text.clone());
    let rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
    let layout = CounterLayout::of_text(&rulesets, &text);
    Ok((rulesets, layout))
}

/// The rules and policies of an object that stand in other rulesets, too: the numbers of their counters, and
/// their places there in the order of the text.
pub fn staying(old: &(Vec<Ruleset>, CounterLayout), new: &[Ruleset]) -> Vec<(u32, u32)> {
    let (rulesets, layout) = old;
    let numbers: Vec<u32> = layout.numbers().collect();
    let places = counters::unchanged(rulesets, new).into_iter();
    places
        .filter_map(|(old, new)| Some((*numbers.get(old as usize)?, new)))
        .collect()
}

/// A rule or the policy of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The family.
    pub family: Family,
    /// The table.
    pub table: TableKind,
    /// The chain.
    pub chain: String,
    /// The rule's number from 1, as iptables counts; none for the policy.
    pub number: Option<usize>,
    /// The rule as iptables-save prints it, bytes that are no UTF-8 replaced; `-P` and the policy for a
    /// policy.
    pub text: String,
    /// The protocol that the rule names, if it names one.
    pub protocol: Option<u8>,
    /// The source that the rule names, as iptables-save prints it, if it names one.
    pub source: Option<String>,
    /// What becomes of packets that meet it: a verdict or a target; empty where the rule has none.
    pub action: String,
}

/// Every rule and policy, in the order of the text.
pub fn entries(rulesets: &[Ruleset]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for ruleset in rulesets {
        for table in &ruleset.tables {
            for chain in &table.chains {
                let entry = |number, text, protocol, source, action| Entry {
                    family: ruleset.family,
                    table: table.kind,
                    chain: chain.name.clone(),
                    number,
                    text,
                    protocol,
                    source,
                    action,
                };
                if let Some(builtin) = &chain.builtin {
                    let policy = builtin.policy.to_string();
                    let text = format!("-P {} {policy}", chain.name);
                    entries.push(entry(None, text, None, None, policy));
                }
                for (number, rule) in (1..).zip(&chain.rules) {
                    let text = rule.print(chain);
                    let text = String::from_utf8_lossy(&text).into_owned();
                    entries.push(entry(
                        Some(number),
                        text,
                        protocol(rule),
                        source(rule),
                        action(rule, chain),
                    ));
                }
            }
        }
    }
    entries
}

/// What a rule's packets meet, as its last words say it.
fn action(rule: &Rule, chain: &Chain) -> String {
    let bare = Rule {
        base: Default::default(),
        matches: Vec::new(),
        ..rule.clone()
    };
    let text = bare.print(chain);
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split(' ').skip(3);
    words.next().unwrap_or_default().to_owned()
}

fn source(rule: &Rule) -> Option<String> {
    let source = rule.base.source.as_ref()?;
    let named = !source.negated && !source.value.value.is_everything();
    named.then(|| source.value.value.to_string())
}

fn protocol(rule: &Rule) -> Option<u8> {
    let protocol = rule.base.protocol.as_ref()?;
    (!protocol.negated && protocol.value.value != 0).then_some(protocol.value.value)
}

/// The counters of an object's rules and policies, in the order of [`entries`].
///
/// # Errors
/// What the kernel says.
pub fn counters(
    maps: &Maps,
    layout: &CounterLayout,
) -> Result<Vec<Counter>, ipt2bpf_runtime::Error> {
    let counters = maps.counters()?;
    let value = |number: u32| counters.get(number as usize).copied();
    Ok(layout
        .numbers()
        .map(|number| value(number).unwrap_or_default())
        .collect())
}
