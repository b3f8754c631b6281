//! Reading rules and sets: files or standard input to rulesets, at most one per family, and the sets
//! that they ask for.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result};
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity, code};
use ipt2bpf_parser::ipset::{self, Set};
use ipt2bpf_parser::ruleset::{Ruleset, Table};
use ipt2bpf_parser::span::{SourceId, Sources, Span};
use ipt2bpf_parser::{Names, ParseOptions, parse, parse_onto};

use crate::cli::{Rules, Sets};
use crate::failure::Usage;
use crate::sets;

/// How many files of rules there may be, and how many of sets; both together can be told apart (the
/// range of [`SourceId`]).
const MAX_FILES: usize = 1 << 15;

/// What was read.
pub struct Input {
    /// The texts.
    pub sources: Sources,
    /// What they say. Rules with errors are missing.
    pub rulesets: Vec<Ruleset>,
    /// The sets. Entries with errors are missing.
    pub sets: Vec<Set>,
    /// What is wrong with all of it.
    pub diagnostics: Vec<Diagnostic>,
}

impl Input {
    /// Reads all files, or standard input.
    ///
    /// # Errors
    /// When a file cannot be read, and [`Usage`] when nobody gives rules.
    pub fn read(rules: &Rules) -> Result<Input> {
        let mut input = Input {
            sources: Sources::default(),
            rulesets: Vec::new(),
            sets: Vec::new(),
            diagnostics: Vec::new(),
        };
        if rules.files.len() > MAX_FILES {
            return Err(Usage(format!("more than {MAX_FILES} files")).into());
        }
        if let Some(name) = rules.late_subcommand() {
            let message = format!("the subcommand `{name}` must come before all options");
            return Err(Usage(message).into());
        }
        let options = ParseOptions {
            family: rules.family(),
            names: system_names(),
        };
        if rules.files.is_empty() {
            if io::stdin().is_terminal() {
                let message = "no RULES are given and standard input is a terminal";
                return Err(Usage(message.into()).into());
            }
            input.add("<stdin>".into(), standard_input()?, rules, &options);
        }
        for file in &rules.files {
            if file == Path::new("-") {
                input.add("<stdin>".into(), standard_input()?, rules, &options);
            } else {
                let name = file.display().to_string();
                let text = fs::read(file).with_context(|| name.clone())?;
                input.add(name, text, rules, &options);
            }
        }
        input.warn_of_nothing();
        Ok(input)
    }

    /// Reads the files of sets, too, as if they were restored one after the other.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn with_sets(mut self, sets: &Sets) -> Result<Input> {
        if sets.ipset.len() > MAX_FILES {
            return Err(Usage(format!("more than {MAX_FILES} files of sets")).into());
        }
        let mut ids = Vec::new();
        for file in &sets.ipset {
            let name = file.display().to_string();
            let text = fs::read(file).with_context(|| name.clone())?;
            ids.push(self.sources.add(name, text));
        }
        let parsed = ipset::parse(&self.sources, &ids, &system_names());
        self.sets = parsed.sets;
        self.diagnostics.extend(parsed.diagnostics);
        Ok(self)
    }

    /// Takes sets that programs have, and for others those of the running kernel, as `ipset save` prints them
    /// for the network namespace of the calling thread.
    ///
    /// # Errors
    /// When a set is among neither because the tool is not there or fails.
    pub fn with_running_sets(mut self, running: Vec<Set>) -> Result<Input> {
        let is_running = |name: &str| running.iter().any(|set| set.name.value == name);
        if !sets::names(&self.rulesets)
            .iter()
            .all(|name| is_running(name))
        {
            let text = sets::of_kernel()?;
            let id = self.sources.add("<ipset save>".to_owned(), text);
            let parsed = ipset::parse(&self.sources, &[id], &system_names());
            self.sets = parsed.sets;
            self.diagnostics.extend(parsed.diagnostics);
            self.sets.retain(|set| !is_running(&set.name.value));
        }
        // Lists stand behind their members.
        self.sets.splice(..0, running);
        Ok(self)
    }

    /// The sets as the compiler wants them.
    pub fn known_sets(&self) -> codegen::Sets {
        codegen::Sets::new(&self.sets)
    }

    /// Whether something is wrong that forbids a translation.
    pub fn has_errors(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    fn add(&mut self, name: String, text: Vec<u8>, rules: &Rules, options: &ParseOptions) {
        let id = self.sources.add(name, text);
        match rules.noflush {
            false => self.add_beside(id, options),
            true => self.add_onto(id, options),
        }
    }

    /// Each table is of one file.
    fn add_beside(&mut self, id: SourceId, options: &ParseOptions) {
        let parsed = parse(&self.sources, id, options);
        self.diagnostics.extend(parsed.diagnostics);
        for ruleset in parsed.rulesets {
            match self
                .rulesets
                .iter()
                .position(|known| known.family == ruleset.family)
            {
                None => self.rulesets.push(ruleset),
                Some(known) => {
                    for table in ruleset.tables {
                        self.add_table(known, table);
                    }
                }
            }
        }
    }

    /// A later file changes what the earlier ones say. What is wrong with those has been said.
    fn add_onto(&mut self, id: SourceId, options: &ParseOptions) {
        let before = std::mem::take(&mut self.rulesets);
        let parsed = parse_onto(before, &self.sources, id, options);
        self.rulesets = parsed.rulesets;
        for diagnostic in parsed.diagnostics {
            if diagnostic.span.source == id || !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// Within one text a second table of the same name replaces the first, as iptables-restore does.
    /// Two files with the same table are more likely a mistake about a family.
    fn add_table(&mut self, ruleset: usize, table: Table) {
        let Ruleset { family, tables } = &mut self.rulesets[ruleset];
        let Some(known) = tables.iter().find(|known| known.kind == table.kind) else {
            tables.push(table);
            return;
        };
        let before =
            first_span(known).map_or("another file", |span| &self.sources.get(span.source).name);
        let message = format!("{before} has the {family} {} table already", table.kind);
        let help = "if this file adds to the other, give --noflush; if it is of the other family, give \
                    it the comment line `# Generated by ip6tables-save` (or iptables-save) at its top";
        let span = first_span(&table).unwrap_or_default();
        self.diagnostics
            .push(Diagnostic::error(code::REPLACED_TABLE, span, message).with_help(help));
    }

    /// An input without a table is most likely an iptables-save that failed, and a program made from it
    /// would pass everything.
    fn warn_of_nothing(&mut self) {
        if self.rulesets.is_empty() && !self.has_errors() {
            let span = Span {
                source: SourceId::default(),
                start: 0,
                end: 0,
            };
            self.diagnostics.push(
                Diagnostic::error("empty", span, "the input holds no table").with_help(
                    "iptables-save prints nothing without root, or when no table is in use",
                ),
            );
        }
    }
}

/// Whether one of these is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

fn standard_input() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .context("standard input")?;
    Ok(text)
}

/// The names of protocols, services, users and groups that this machine adds to those everyone knows. A
/// file that is not there adds none.
pub fn system_names() -> Names {
    let mut names = Names::default();
    let text = |file: &str| fs::read(file).unwrap_or_default();
    names.add_protocols(&text("/etc/protocols"));
    names.add_services(&text("/etc/services"));
    names.add_users(&text("/etc/passwd"));
    names.add_groups(&text("/etc/group"));
    names
}

fn first_span(table: &Table) -> Option<Span> {
    table.chains.iter().map(|chain| chain.span).min()
}
