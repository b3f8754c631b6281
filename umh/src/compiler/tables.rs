//! Tables as iptables reads and replaces them, out of the text of the rulesets in force.
//!
//! What the kernel does is in net/ipv4/netfilter/ip_tables.c (`do_replace`, `__do_replace`) and
//! net/netfilter/x_tables.c (`xt_replace_table`); the order of the checks is theirs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipt2bpf_codegen::before::Before;
use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::emit::states::States;
use ipt2bpf_codegen::needs::{Filled, warnings};
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::blob::{BlobError, Flaw, SetNames, decode_replace, encode_entries};
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::ruleset::{Chain, Counters, Family, Ruleset, Table, TableKind};
use ipt2bpf_parser::span::{SourceId, Sources};
use ipt2bpf_parser::{Counts, Names, ParseOptions, Style, heading, parse, render};
use ipt2bpf_runtime::{Counter, counters};

use super::Host;
use super::answers::for_this_kernel;
use super::job::{Answer, Change, Changed, List, Listing};
use crate::failure::Failure;

/// A table as the kernel would list it.
pub fn list(request: List, text: &[u8]) -> Result<Answer, Failure> {
    let mut rulesets = read(text);
    let layout = CounterLayout::of_text(&rulesets, text);
    let counted: Vec<Counter> = request.counters.into_iter().map(counter).collect();
    counters::into_text(&mut rulesets, &layout, &counted);
    let (family, kind) = (request.family, request.table);
    let sets = request.sets.into_iter().collect();
    let table = find(&rulesets, family, kind);
    let (table, counters) = match table {
        Some(table) => (table, entry_counters(family, table, &layout)),
        None => (
            &initial(kind),
            entry_counters(family, &initial(kind), &CounterLayout::default()),
        ),
    };
    let listing = encode_entries(family, table, &sets).map_err(Failure::kernel)?;
    let value = Listing {
        info: listing.info.len(),
        counters,
    };
    Ok(Answer::new(value, [listing.info, listing.entries].concat()))
}

/// The rulesets with another table, compiled.
pub fn change(host: &Host, request: Change, bytes: &[u8]) -> Result<Answer, Failure> {
    let invalid = || Failure::invalid_parameter("text");
    let (text, blob) = bytes.split_at_checked(request.text).ok_or_else(invalid)?;
    let old = read(text);
    let family = request.family;
    let names: SetNames = request.sets.into_iter().collect();
    let replace = match decode_replace(family, blob, &names) {
        Ok(replace) => replace,
        Err(error) => return Ok(Answer::new(Changed::Errno(errno(&error)), Vec::new())),
    };
    let kind = replace.table.kind;
    let old_layout = CounterLayout::of_text(&old, text);
    let leaving = match find(&old, family, kind) {
        Some(table) => entry_counters(family, table, &old_layout),
        None => entry_counters(family, &initial(kind), &CounterLayout::default()),
    };
    if leaving.len() != replace.old_counters.number as usize {
        return Ok(Answer::new(Changed::Errno(libc::EAGAIN), Vec::new()));
    }
    let mut input = input_of(with_table(old.clone(), family, replace.table));
    if !request.set_text.is_empty() {
        let text = ("<ipset save>".to_owned(), request.set_text.into_bytes());
        input.add_sets([text], &host.names);
    }
    let before = Before {
        layout: CounterLayout::new(&input.rulesets),
        states: States::of_text(text).renumbered(&staying(&old, &old_layout, &input.rulesets)),
        ..Before::default()
    };
    let options = Options {
        sets: Sets::new(&input.sets),
        lasts: true,
        before: Some(Arc::new(before)),
        ..for_this_kernel(host, request.hooks.clone(), choices::of_text(text))
    };
    let options = Options {
        hooks: request.hooks,
        ..request
            .choices
            .apply(options)
            .map_err(Failure::invalid_parameter)?
    };
    let mut said = input.diagnostics.clone();
    let compiled = match input.has_errors() {
        true => None,
        false => compile(&input.rulesets, &options)
            .map_err(|errors| said.extend(errors))
            .ok(),
    };
    let Some(compiled) = compiled else {
        let said = render(&said, &input.sources, Style::Plain);
        return Ok(Answer::new(Changed::Refused(said), Vec::new()));
    };
    said.extend(compiled.diagnostics.clone());
    said.extend(warnings(&compiled, &options, Filled::Now, &input.sources));
    let value = Changed::Done {
        said: render(&said, &input.sources, Style::Plain),
        carried: carried(
            &input.rulesets,
            &compiled.counters,
            &old_layout,
            (family, kind),
        ),
        old: leaving,
        fresh: compiled
            .states
            .fresh()
            .map(|(map, index)| (map.to_owned(), index))
            .collect(),
        address: replace.old_counters.address,
    };
    Ok(Answer::new(value, compiled.object))
}

/// The rulesets that an object keeps the text of.
fn read(text: &[u8]) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("rules", text);
    parse(&sources, id, &ParseOptions::default()).rulesets
}

/// The rulesets with their places in a text that can be shown.
fn input_of(rulesets: Vec<Ruleset>) -> Input {
    let mut text = Vec::new();
    for ruleset in &rulesets {
        text.extend_from_slice(heading(ruleset.family).as_bytes());
        text.extend_from_slice(&ruleset.print(Counts::Chains));
    }
    let mut sources = Sources::default();
    let id: SourceId = sources.add("<iptables>", text);
    let options = ParseOptions {
        family: None,
        names: Names::default(),
    };
    let parsed = parse(&sources, id, &options);
    Input {
        sources,
        rulesets: parsed.rulesets,
        sets: Vec::new(),
        diagnostics: parsed.diagnostics,
    }
}

fn find(rulesets: &[Ruleset], family: Family, kind: TableKind) -> Option<&Table> {
    let ruleset = rulesets.iter().find(|it| it.family == family)?;
    ruleset.tables.iter().find(|it| it.kind == kind)
}

/// A table that nobody has changed: built-in chains that accept.
fn initial(kind: TableKind) -> Table {
    let text = format!("*{kind}\nCOMMIT\n");
    let tables = read(text.as_bytes()).into_iter().flat_map(|it| it.tables);
    tables.last().unwrap_or(Table {
        kind,
        chains: Vec::new(),
    })
}

/// The rulesets with a table in the place of that of its kind. A table that is new comes first, as in the
/// kernel's list of tables (x_tables.c, `xt_register_table`). It has counted nothing.
fn with_table(mut rulesets: Vec<Ruleset>, family: Family, mut table: Table) -> Vec<Ruleset> {
    for chain in &mut table.chains {
        chain.counters = Counters::default();
        for rule in &mut chain.rules {
            rule.counters = Counters::default();
        }
    }
    let known = rulesets.iter_mut().find(|it| it.family == family);
    let Some(ruleset) = known else {
        let tables = vec![table];
        rulesets.push(Ruleset { family, tables });
        return rulesets;
    };
    let known = ruleset.tables.iter_mut().find(|it| it.kind == table.kind);
    match known {
        Some(known) => *known = table,
        None => ruleset.tables.insert(0, table),
    }
    rulesets
}

/// For each entry of a table, as the binary form has them, the counter of its rule or policy.
fn entry_counters(family: Family, table: &Table, layout: &CounterLayout) -> Vec<Option<u32>> {
    let mut entries = Vec::new();
    for chain in &table.chains {
        let numbers = numbers(family, table.kind, chain, layout);
        if chain.builtin.is_none() {
            entries.push(None);
        }
        entries.extend(numbers.rules);
        entries.push(numbers.policy);
    }
    // The end of the table.
    entries.push(None);
    entries
}

/// The counters of a chain.
struct Numbers<R> {
    policy: Option<u32>,
    rules: R,
}

fn numbers(
    family: Family,
    kind: TableKind,
    chain: &Chain,
    layout: &CounterLayout,
) -> Numbers<impl Iterator<Item = Option<u32>>> {
    let policy = layout.policy(family, kind, &chain.name);
    Numbers {
        policy: policy.map(|it| it.0),
        rules: layout.rules(family, kind, &chain.name).map(Some),
    }
}

/// For each counter of the new rulesets the one of the old that it goes on from: all but those of one table
/// stay.
fn carried(
    rulesets: &[Ruleset],
    new: &CounterLayout,
    old: &CounterLayout,
    replaced: (Family, TableKind),
) -> Vec<Option<u32>> {
    let mut by_number = BTreeMap::new();
    for ruleset in rulesets {
        let kept = |table: &&Table| (ruleset.family, table.kind) != replaced;
        for table in ruleset.tables.iter().filter(kept) {
            for chain in &table.chains {
                let after = numbers(ruleset.family, table.kind, chain, new);
                let before = numbers(ruleset.family, table.kind, chain, old);
                by_number.insert(after.policy, before.policy);
                by_number.extend(after.rules.zip(before.rules));
            }
        }
    }
    let number = |index| by_number.get(&Some(index)).copied().flatten();
    (0..new.len()).map(number).collect()
}

/// The rules and policies that stay, worded as they were: their numbers by those that they had.
fn staying(old: &[Ruleset], layout: &CounterLayout, new: &[Ruleset]) -> HashMap<u32, u32> {
    let numbers: Vec<u32> = layout.numbers().collect();
    let places = counters::unchanged(old, new).into_iter();
    places
        .filter_map(|(old, new)| Some((*numbers.get(old as usize)?, new)))
        .collect()
}

fn counter((packets, bytes): (u64, u64)) -> Counter {
    Counter { packets, bytes }
}

/// What the kernel answers to a blob with such a flaw.
fn errno(error: &BlobError) -> i32 {
    match error.flaw {
        Flaw::TableName => libc::ENOENT,
        Flaw::Loop(_) => libc::ELOOP,
        Flaw::TooLarge(_) => libc::ENOMEM,
        Flaw::CounterNumber(1..) => libc::ENOMEM,
        _ => libc::EINVAL,
    }
}
