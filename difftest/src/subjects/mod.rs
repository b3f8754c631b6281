//! What is held against netfilter: the [`mod@reference`] evaluator and the compiled [`program`].

pub mod program;
pub mod reference;

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail};
use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::ruleset::{Counters, Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::kernel;

use crate::compare::Subject;
use crate::netfilter::CounterKey;

/// Reads a save text of a family.
///
/// # Errors
/// When it has errors, or no tables.
pub fn ruleset(family: Family, text: &str) -> Result<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("", text);
    let options = ParseOptions {
        family: Some(family),
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
    refuse(&parsed.diagnostics)?;
    parsed.rulesets.into_iter().next().context("no tables")
}

/// A save text without the rules that iptables would not take where they stand, or that have no exact
/// meaning at these hooks.
///
/// # Errors
/// When something else than a rule has an error.
pub fn without_refused(family: Family, text: &str, hooks: &[Hook]) -> Result<String> {
    let mut text = text.to_owned();
    loop {
        let mut sources = Sources::default();
        let id = sources.add("", text.as_str());
        let options = ParseOptions {
            family: Some(family),
            ..ParseOptions::default()
        };
        let parsed = parse(&sources, id, &options);
        let mut said = parsed.diagnostics;
        for &hook in hooks {
            said.extend(translate(&parsed.rulesets, &self::options(hook, &Sets::default())).2);
        }
        let errors = said.iter().filter(|it| it.severity == Severity::Error);
        let refused: HashSet<usize> = errors.map(|it| sources.slice(it.span).1).collect();
        if refused.is_empty() {
            return Ok(text);
        }
        let numbered = (1..).zip(text.lines());
        let (rules, others): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, line)| line.starts_with("-A"));
        if others.iter().any(|(number, _)| refused.contains(number)) {
            refuse(&said)?;
        }
        let kept = rules
            .into_iter()
            .filter(|(number, _)| !refused.contains(number));
        let mut lines: Vec<(usize, &str)> = kept.chain(others).collect();
        lines.sort_unstable();
        text = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    }
}

/// The reference and the programs for each of the hooks: one for each way of deciding the rules.
///
/// # Errors
/// When the ruleset cannot be translated there, or the kernel refuses the program.
pub fn all(ruleset: &Ruleset, hooks: &[Hook]) -> Result<Vec<Box<dyn Subject>>> {
    with_sets(ruleset, hooks, &Sets::default())
}

/// The same for rules that ask for sets.
///
/// # Errors
/// As [`all`].
pub fn with_sets(ruleset: &Ruleset, hooks: &[Hook], sets: &Sets) -> Result<Vec<Box<dyn Subject>>> {
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for &hook in hooks {
        subjects.push(Box::new(reference::Reference::new(ruleset, hook, sets)?));
        for program in program::Program::of_every_strategy(ruleset, hook, sets)? {
            subjects.push(Box::new(program));
        }
    }
    Ok(subjects)
}

fn options(hook: Hook, sets: &Sets) -> Options {
    Options {
        hooks: vec![hook],
        sets: sets.clone(),
        companion: true,
        tick_rate: kernel::tick_rate(),
        ..Options::default()
    }
}

/// Turns the first error among diagnostics into one.
fn refuse(diagnostics: &[Diagnostic]) -> Result<()> {
    match diagnostics
        .iter()
        .find(|diagnostic| diagnostic.severity == Severity::Error)
    {
        Some(error) => bail!("{}: {}", error.code, error.message),
        None => Ok(()),
    }
}

/// Whose counter each number is: the order of `ipt2bpf_codegen::counters`.
pub fn counter_keys(ruleset: &Ruleset) -> Vec<CounterKey> {
    let mut keys = Vec::new();
    for table in &ruleset.tables {
        for chain in &table.chains {
            let policy = chain.builtin.is_some().then_some(None);
            let rules = (1..=chain.rules.len()).map(Some);
            keys.extend(policy.into_iter().chain(rules).map(|rule| CounterKey {
                table: table.kind,
                chain: chain.name.clone(),
                rule,
            }));
        }
    }
    keys
}

/// Numbered counters under their keys.
fn keyed(
    keys: &[CounterKey],
    counters: impl IntoIterator<Item = Counters>,
) -> BTreeMap<CounterKey, Counters> {
    keys.iter().cloned().zip(counters).collect()
}
