//! `check`: how much of a ruleset can be translated.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::compile::{StageStats, compile, translate};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::semantic::FamilyFilter;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::{Sources, Span};
use serde::Serialize;

use crate::cli::{Deciding, Hooks, MessageFormat, Rules, Sets};
use crate::failure::Told;
use crate::input::Input;
use crate::messages::{JsonMessage, Message, Reporter, by_place, enumerate};
use crate::output;
use crate::sets;

/// Says which rules can be translated exactly at each hook
///
/// Counts the rules that each hook runs: those translated exactly, those that --approximate would
/// translate so that they err towards dropping, and those that are refused. Below stands one line
/// per problem. With --ipset, a rule whose set is in none of the files or of the other family is a
/// problem, too. The exit status is 0 only if all rules are exact at all hooks.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sets: Sets,
    #[command(flatten)]
    hooks: Hooks,
    #[command(flatten)]
    deciding: Deciding,
    /// Also tell how the rules of each table are decided, and at what cost
    #[arg(short, long)]
    verbose: bool,
}

/// The whole answer.
#[derive(Serialize)]
struct Report<'a> {
    exact: bool,
    hooks: Vec<HookReport>,
    /// Families without a ruleset, whose packets pass.
    unfiltered: Vec<Family>,
    /// How each table is decided, where that is asked for and there is a program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<StageStats>,
    messages: Vec<JsonMessage<'a>>,
}

/// What became of the rules that a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct HookReport {
    hook: Hook,
    family: Family,
    exact: usize,
    approximated: usize,
    refused: usize,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let input = Input::read(&arguments.rules)?.with_sets(&arguments.sets)?;
    if input.has_errors() {
        return reporter.conclude(input.diagnostics, &input.sources, false);
    }
    let rules = RuleSpans::of(&input.rulesets);
    let known_sets = input.known_sets();
    let mut said = input.diagnostics;
    if arguments.sets.are_given() {
        said.extend(sets::check(&input.rulesets, &input.sets));
    }
    let mut hooks = Vec::new();
    for hook in Hook::ALL {
        let named = arguments.hooks.named();
        if !named.is_empty() && !named.contains(&hook) {
            continue;
        }
        let strict = Options {
            hooks: vec![hook],
            sets: known_sets.clone(),
            ..arguments.hooks.options()
        };
        let lenient = Options {
            approximate: true,
            ..strict.clone()
        };
        let (exact, _, _) = translate(&input.rulesets, &strict);
        let (known, _, more) = translate(&input.rulesets, &lenient);
        let exact = exact.iter().flat_map(|filter| &filter.families);
        let known = known.iter().flat_map(|filter| &filter.families);
        hooks.extend(exact.zip(known).map(|(exact, known)| HookReport {
            hook,
            family: exact.family,
            exact: number_of_rules(exact),
            approximated: number_of_rules(known).saturating_sub(number_of_rules(exact)),
            refused: rules.with_errors(exact.family, &more),
        }));
        said.extend(more);
    }
    let mut stages = Vec::new();
    if hooks.iter().all(|hook| hook.refused == 0) {
        // What is left that can fail is the size of the programs.
        let options = arguments.deciding.apply(Options {
            approximate: true,
            sets: known_sets,
            ..arguments.hooks.options()
        });
        match compile(&input.rulesets, &options) {
            Ok(compiled) if arguments.verbose => stages = compiled.stats().stages,
            Ok(_) => {}
            Err(errors) => said.extend(errors),
        }
    }
    let messages = by_place(said);
    let is_error = |message: &Message| message.diagnostic.severity == Severity::Error;
    let exact = hooks
        .iter()
        .all(|hook| hook.approximated == 0 && hook.refused == 0)
        && !messages.iter().any(is_error);
    let report = Report {
        exact,
        hooks,
        stages,
        unfiltered: [Family::V4, Family::V6]
            .into_iter()
            .filter(|&family| {
                input
                    .rulesets
                    .iter()
                    .all(|ruleset| ruleset.family != family)
            })
            .collect(),
        messages: messages
            .iter()
            .map(|message| JsonMessage::new(message, &input.sources))
            .collect(),
    };
    match reporter.format {
        MessageFormat::Human => output::print(text(&report, &messages, &input.sources).as_bytes())?,
        MessageFormat::Json => output::print((serde_json::to_string(&report)? + "\n").as_bytes())?,
    }
    match exact {
        true => Ok(()),
        false => Err(Told.into()),
    }
}

fn number_of_rules(filter: &FamilyFilter) -> usize {
    filter.chains.iter().map(|chain| chain.rules.len()).sum()
}

/// Where the rules of each family stand in the text. A rule that lists several addresses is several
/// rules at one place.
struct RuleSpans(Vec<(Family, Span)>);

impl RuleSpans {
    fn of(rulesets: &[Ruleset]) -> Self {
        let mut spans = Vec::new();
        for ruleset in rulesets {
            let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
            let rules = chains.flat_map(|chain| &chain.rules);
            spans.extend(rules.map(|rule| (ruleset.family, rule.span.0)));
        }
        spans.sort_by_key(|&(_, span)| span);
        RuleSpans(spans)
    }

    /// How many rules of a family have an error.
    fn with_errors(&self, family: Family, diagnostics: &[Diagnostic]) -> usize {
        let errors = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error);
        let mut found: Vec<Span> = errors
            .filter_map(|error| self.around(error.span))
            .filter(|&(known, _)| known == family)
            .map(|(_, span)| span)
            .collect();
        found.sort();
        found.dedup();
        found.into_iter().map(|span| self.at(span)).sum()
    }

    /// How many rules stand at a place.
    fn at(&self, span: Span) -> usize {
        let RuleSpans(rules) = self;
        rules.partition_point(|&(_, other)| other <= span)
            - rules.partition_point(|&(_, other)| other < span)
    }

    /// The last rule that begins before a piece of text.
    fn around(&self, words: Span) -> Option<(Family, Span)> {
        let begins_before =
            |&(_, span): &(Family, Span)| (span.source, span.start) <= (words.source, words.start);
        let behind = self.0.partition_point(begins_before);
        self.0.get(behind.checked_sub(1)?).copied()
    }
}

/// The answer for people.
fn text(report: &Report<'_>, messages: &[Message], sources: &Sources) -> String {
    let mut out = format!(
        "{:18}  {:6}  {:>6}  {:>12}  {:>7}\n",
        "HOOK", "FAMILY", "EXACT", "APPROXIMATED", "REFUSED"
    );
    for hook in &report.hooks {
        let HookReport {
            hook,
            family,
            exact,
            approximated,
            refused,
        } = hook;
        let (hook, family) = (hook.section(), family.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{hook:18}  {family:6}  {exact:>6}  {approximated:>12}  {refused:>7}"
        );
    }
    for stage in &report.stages {
        let _ = write!(out, "{stage}");
    }
    for Message { diagnostic, .. } in messages {
        let Diagnostic {
            severity,
            message,
            span,
            help,
            ..
        } = diagnostic;
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (file, line) = (&sources.get(span.source).name, sources.slice(*span).1);
        let help = help
            .as_ref()
            .map_or(String::new(), |help| format!(" ({help})"));
        let _ = writeln!(out, "{file}:{line}: {severity}: {message}{help}");
    }
    if !report.unfiltered.is_empty() {
        let families: Vec<String> = report.unfiltered.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            out,
            "{} packets pass: there is no ruleset for them",
            enumerate(&families)
        );
    }
    let refused = report.hooks.iter().any(|hook| hook.refused > 0);
    out + match (report.exact, refused) {
        (true, _) => "all rules are exact\n",
        (false, false) => "not all rules are exact: only --approximate translates them\n",
        (false, true) => "not all rules can be translated\n",
    }
}
