//! `check`: how much of a ruleset can be translated.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::check::{HookReport, Report, check};
use ipt2bpf_codegen::messages::{Message, enumerate};
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::span::Sources;

use crate::cli::{Deciding, Hooks, MessageFormat, Rules, Sets, Tracking};
use crate::failure::Told;
use crate::input;
use crate::messages::Reporter;
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
    tracking: Tracking,
    #[command(flatten)]
    deciding: Deciding,
    /// Also tell how the rules of each table are decided, and at what cost
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let input = input::read_all(&arguments.rules, &arguments.sets)?;
    if input.has_errors() {
        return reporter.conclude(input.diagnostics, &input.sources, false);
    }
    let options = Options {
        sets: codegen::Sets::new(&input.sets),
        ..arguments.hooks.options()
    };
    let mut said = input.diagnostics;
    if arguments.sets.are_given() {
        said.extend(sets::check(&input.rulesets, &input.sets));
    }
    let options = arguments.tracking.apply(options);
    let options = arguments.deciding.apply(options);
    let mut report = check(&input.rulesets, &options, said);
    if !arguments.verbose {
        report.stages.clear();
    }
    match reporter.format {
        MessageFormat::Human => output::print(text(&report, &input.sources).as_bytes())?,
        MessageFormat::Json => {
            let json = serde_json::to_string(&report.json(&input.sources))?;
            output::print((json + "\n").as_bytes())?;
        }
    }
    match report.exact {
        true => Ok(()),
        false => Err(Told.into()),
    }
}

/// The answer for people.
fn text(report: &Report, sources: &Sources) -> String {
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
    for Message { diagnostic, .. } in &report.messages {
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
