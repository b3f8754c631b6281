//! `iptables-restore`: many rules at once.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ipt2bpf_parser::diagnostic::{Severity, code};
use ipt2bpf_parser::ruleset::TableKind;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, RestoreOptions, restore};
use ipt2bpf_runtime::system_names;

use super::failure::Failure;
use super::filter::{Filter, For};
use super::{Program, save};
use crate::messages::Reporter;
use crate::show::Selection;

/// Changes the rules of an attached filter as iptables-restore does
///
/// Tables that the text names get its rules in the place of theirs. All of it is done, or, after an
/// error, nothing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Restore the counters of the text, too
    #[arg(short, long)]
    counters: bool,
    /// Keep the rules of the tables, and add to them
    #[arg(short, long)]
    noflush: bool,
    /// Only look whether the text is right
    #[arg(short, long)]
    test: bool,
    /// Restore this table only
    #[arg(short = 'T', long, value_parser = save::table)]
    table: Option<TableKind>,
    /// Wait for others who change rules, so many seconds or as long as it takes
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1)]
    wait: Option<Option<u32>>,
    /// The text, as iptables-save prints it; standard input when none is given
    file: Option<PathBuf>,
}

/// Puts the text onto what is in force.
///
/// # Errors
/// [`Failure`].
pub fn run(program: Program, arguments: &Arguments, reporter: &Reporter) -> Result<(), Failure> {
    let text = match &arguments.file {
        Some(file) => fs::read(file).with_context(|| file.display().to_string())?,
        None => {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .context("standard input")?;
            text
        }
    };
    let mut sources = Sources::default();
    let purpose = For::Changing(arguments.wait);
    let mut filter = Filter::open(&arguments.selection, &purpose, &mut sources)?;
    let id = sources.add("the text", text);
    let options = ParseOptions {
        family: Some(program.family),
        names: system_names(),
    };
    let how = RestoreOptions {
        noflush: arguments.noflush,
        counters: arguments.counters,
        table: arguments.table,
    };
    let before = std::mem::take(&mut filter.rulesets);
    let parsed = restore(before, &sources, id, &options, how);
    let mut said = parsed.diagnostics.into_iter();
    if let Some(error) = said.find(|it| it.severity == Severity::Error) {
        if error.code == code::NO_COMMIT {
            let lines = sources.get(id).text.iter().filter(|&&byte| byte == b'\n');
            return Err(Failure::NoCommit(lines.count() + 1));
        }
        let line = sources.slice(error.span).1;
        return Err(Failure::Line(line, Box::new(error)));
    }
    filter.rulesets = parsed.rulesets;
    match arguments.test {
        true => Ok(()),
        false => filter.keep_rules(sources, reporter),
    }
}
