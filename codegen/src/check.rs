//! How much of rulesets can be translated: exactly, approximated, or not, at each hook.

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::{Sources, Span};
use serde::Serialize;

use crate::compile::{StageStats, compile, translate};
use crate::messages::{JsonMessage, Message, by_place};
use crate::module::Hook;
use crate::options::Options;
use crate::semantic::FamilyFilter;

/// The whole answer.
#[derive(Debug)]
pub struct Report {
    /// Whether every rule is translated exactly at every hook.
    pub exact: bool,
    /// What became of the rules, by hook and family.
    pub hooks: Vec<HookReport>,
    /// Families without a ruleset, whose packets pass.
    pub unfiltered: Vec<Family>,
    /// How each table is decided, where there is a program.
    pub stages: Vec<StageStats>,
    /// What is to be said of single rules, by place.
    pub messages: Vec<Message>,
}

/// What became of the rules that a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// The hook.
    pub hook: Hook,
    /// The family of the rules.
    pub family: Family,
    /// How many are translated exactly.
    pub exact: usize,
    /// How many more are translated when they may err towards dropping.
    pub approximated: usize,
    /// How many are not translated.
    pub refused: usize,
}

/// The answer for programs.
#[derive(Serialize)]
pub struct JsonReport<'a> {
    exact: bool,
    hooks: &'a [HookReport],
    unfiltered: &'a [Family],
    #[serde(skip_serializing_if = "<[StageStats]>::is_empty")]
    stages: &'a [StageStats],
    messages: Vec<JsonMessage<'a>>,
}

impl Report {
    /// The same for programs; the sources are those of the rules.
    pub fn json<'a>(&'a self, sources: &'a Sources) -> JsonReport<'a> {
        let messages = self.messages.iter();
        JsonReport {
            exact: self.exact,
            hooks: &self.hooks,
            unfiltered: &self.unfiltered,
            stages: &self.stages,
            messages: messages.map(|it| JsonMessage::new(it, sources)).collect(),
        }
    }
}

/// Translates rulesets for each hook of the options (all when they name none), and says what became of
/// them. `said` is what is known to be wrong with them.
pub fn check(rulesets: &[Ruleset], options: &Options, mut said: Vec<Diagnostic>) -> Report {
    let rules = RuleSpans::of(rulesets);
    let mut hooks = Vec::new();
    for hook in Hook::ALL {
        if !options.hooks.is_empty() && !options.hooks.contains(&hook) {
            continue;
        }
        let strict = Options {
            hooks: vec![hook],
            ..options.clone()
        };
        let lenient = Options {
            approximate: true,
            ..strict.clone()
        };
        let (exact, _, _) = translate(rulesets, &strict);
        let (known, _, more) = translate(rulesets, &lenient);
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
        let options = Options {
            approximate: true,
            ..options.clone()
        };
        match compile(rulesets, &options) {
            Ok(compiled) => stages = compiled.stats().stages,
            Err(errors) => said.extend(errors),
        }
    }
    let messages = by_place(said);
    let is_error = |message: &Message| message.diagnostic.severity == Severity::Error;
    let exact = hooks
        .iter()
        .all(|hook| hook.approximated == 0 && hook.refused == 0)
        && !messages.iter().any(is_error);
    let has_rules = |family| rulesets.iter().any(|ruleset| ruleset.family == family);
    let unfiltered = [Family::V4, Family::V6].into_iter();
    Report {
        exact,
        hooks,
        unfiltered: unfiltered.filter(|&family| !has_rules(family)).collect(),
        stages,
        messages,
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
