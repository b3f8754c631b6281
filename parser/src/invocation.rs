//! One call of iptables: the words of a command line, and what they do to the table they are for
//! (iptables.c, `do_command4`; ip6tables.c, `do_command6`).

use std::net::IpAddr;

use bstr::{BStr, BString, ByteSlice};

use crate::command::{self, About, Call, ChainKind, Command, Line, Listed, Place, Speaker, Zeroed};
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, InTool, Severity, code};
use crate::listing::ListStyle;
use crate::ruleset::{Chain, Counters, Family, Rule, Ruleset, Table, TableKind};
use crate::span::{Sources, Span};
use crate::table::{OpenTable, flushed};
use crate::words::Word;

/// A command line that is right in itself. Whether the table allows it, [`Invocation::carry_out`] says.
pub struct Invocation<'a> {
    family: Family,
    table: TableKind,
    names: &'a Names,
    words: Vec<Word>,
    span: Span,
    call: Call,
    about: Option<About>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What iptables prints.
    pub output: Vec<u8>,
    /// What the ruleset has undergone, or why it cannot: errors as those of [`Invocation::read`], after
    /// which the ruleset is of no more use.
    pub change: std::result::Result<Change, Vec<Diagnostic>>,
}

/// What a ruleset has undergone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// It is as it was.
    #[default]
    Nothing,
    /// Counters were set to zero.
    Counters,
    /// Chains, rules or policies are others.
    Rules,
}

/// What a command says: the errors, with warnings among them, or the result.
type Result<T> = std::result::Result<T, Vec<Diagnostic>>;

impl<'a> Invocation<'a> {
    /// Reads the words behind the program's name. They become a source of their own, for messages.
    ///
    /// # Errors
    /// What is wrong with the words, each where possible with the words of iptables
    /// ([`Diagnostic::in_tool`]). No diagnostic at all stands for a line of the other family (`-4`, `-6`).
    pub fn read(
        words: &[BString],
        family: Family,
        names: &'a Names,
        sources: &mut Sources,
    ) -> Result<Self> {
        let text: BString = bstr::join(" ", words).into();
        let source = sources.add("command line", text.as_slice());
        let mut start = 0;
        let words: Vec<Word> = words
            .iter()
            .map(|word| {
                let end = start + word.len() as u32;
                let span = Span { source, start, end };
                start = end + 1;
                Word {
                    text: word.as_slice().into(),
                    span,
                    quoted: false,
                }
            })
            .collect();
        let span = Span {
            source,
            start: 0,
            end: text.len() as u32,
        };
        // Until the table is looked at, every chain may be there.
        let mut place = Place {
            family,
            table: TableKind::Filter,
            names,
            speaker: Speaker::Shell,
            chain: &|_| ChainKind::User,
            chain_names: &Vec::new,
        };
        let named = command::table_of(&words, span, &place);
        let table = named.map_or(Ok(TableKind::Filter), |name| table_named(&name, family));
        place.table = table.as_ref().copied().unwrap_or(TableKind::Filter);
        let mut diagnostics = Vec::new();
        let line = command::read(&words, span, Counters::default(), &place, &mut diagnostics);
        let Some(Line { call, command, .. }) = line else {
            return Err(errors(diagnostics));
        };
        let about = match command {
            Command::About(about) => Some(about),
            _ => None,
        };
        let table = match about {
            None => table?,
            Some(_) => TableKind::Filter,
        };
        Ok(Self {
            family,
            table,
            names,
            words,
            span,
            call,
            about,
        })
    }

    /// Whether it asks iptables about itself, in which case there is nothing to carry out.
    pub fn about(&self) -> Option<About> {
        self.about
    }

    /// How long to wait for others: not at all, or so many seconds, or as long as it takes.
    pub fn wait(&self) -> Option<Option<u32>> {
        self.call.wait
    }

    /// Whether `-W` is given, which iptables ignores with a warning.
    pub fn has_wait_interval(&self) -> bool {
        self.call.wait_interval
    }

    /// Does what the words ask for. `host_name` gives the names of hosts for `-L` without `-n`.
    pub fn carry_out(
        &self,
        ruleset: &mut Ruleset,
        host_name: &dyn Fn(IpAddr) -> Option<String>,
    ) -> Outcome {
        let mut output = Vec::new();
        let change = self.change(ruleset, host_name, &mut output);
        Outcome { output, change }
    }

    fn change(
        &self,
        ruleset: &mut Ruleset,
        host_name: &dyn Fn(IpAddr) -> Option<String>,
        output: &mut Vec<u8>,
    ) -> Result<Change> {
        let at = ruleset.tables.iter().position(|it| it.kind == self.table);
        let table = match at {
            Some(at) => ruleset.tables.remove(at),
            None => flushed(self.table, None, self.span),
        };
        let mut open = OpenTable::resume(self.family, table, self.span);
        let mut diagnostics = Vec::new();
        let place = Place {
            family: self.family,
            table: self.table,
            names: self.names,
            speaker: Speaker::Shell,
            chain: &|name| open.chain_kind(name),
            chain_names: &|| open.chain_names(),
        };
        let nothing = Counters::default();
        let line = command::read(&self.words, self.span, nothing, &place, &mut diagnostics);
        let Some(line) = line else {
            return Err(errors(diagnostics));
        };
        let change = change_of(&line.command);
        *output = self.output(&line, &open.table, host_name);
        if let Err(diagnostic) = open.carry_out(line, self.span) {
            diagnostics.push(diagnostic);
            return Err(errors(diagnostics));
        }
        let table = match change {
            Change::Rules => open.close(&mut diagnostics),
            Change::Counters | Change::Nothing => open.table,
        };
        if has_errors(&diagnostics) {
            return Err(errors(diagnostics));
        }
        match at {
            Some(at) => ruleset.tables.insert(at, table),
            None if change == Change::Rules => ruleset.tables.push(table),
            None => {}
        }
        Ok(change)
    }

    /// What the tool prints, which it does before the table is changed.
    fn output(
        &self,
        line: &Line,
        table: &Table,
        host_name: &dyn Fn(IpAddr) -> Option<String>,
    ) -> Vec<u8> {
        let verbose = self.call.verbose > 0;
        let chains = |chain: &Option<Word>, wanted: &dyn Fn(&Chain) -> bool, doing: &str| {
            let all = table.chains.iter().filter(|it| wanted(it));
            let names: Vec<&BStr> = match chain {
                None => all.map(|it| it.name.as_bytes().as_bstr()).collect(),
                Some(only) => vec![only.show()],
            };
            let lines = names.iter().map(|name| format!("{doing} chain `{name}'\n"));
            match verbose {
                true => lines.collect::<String>().into_bytes(),
                false => Vec::new(),
            }
        };
        let all = |_: &Chain| true;
        match &line.command {
            Command::List(listed) => {
                let style = ListStyle {
                    verbose,
                    numeric: self.call.numeric,
                    exact: self.call.exact,
                    line_numbers: self.call.line_numbers,
                    names: self.names,
                    host_name,
                };
                let mut out = table.list(self.family, listed.chain_name(), listed.rule, &style);
                if listed.zero == Some(Zeroed::Chains) {
                    out.extend(chains(&listed.chain, &all, "Zeroing"));
                }
                out
            }
            Command::ListRules(listed) => {
                let mut out = table.list_rules(listed.chain_name(), listed.rule, verbose);
                if listed.zero == Some(Zeroed::Chains) {
                    out.extend(chains(&listed.chain, &all, "Zeroing"));
                }
                out
            }
            Command::Zero(chain) => chains(chain, &all, "Zeroing"),
            Command::Flush(chain) => chains(chain, &all, "Flushing"),
            Command::DeleteChain(chain) => chains(chain, &|it| it.builtin.is_none(), "Deleting"),
            _ if verbose => {
                let described = |rule: &Rule| rule.describe(self.family, self.names);
                line.rules.iter().flat_map(described).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Listed {
    fn chain_name(&self) -> Option<&str> {
        let name = self.chain.as_ref()?;
        // A name that is no text is none of a chain, nor is an empty one.
        Some(std::str::from_utf8(name.as_bytes()).unwrap_or_default())
    }
}

fn change_of(command: &Command) -> Change {
    match command {
        Command::Check(_) | Command::About(_) => Change::Nothing,
        Command::List(Listed { zero: None, .. })
        | Command::ListRules(Listed { zero: None, .. }) => Change::Nothing,
        Command::List(_) | Command::ListRules(_) | Command::Zero(_) | Command::ZeroAt(..) => {
            Change::Counters
        }
        Command::Append(_)
        | Command::Insert(..)
        | Command::Replace(..)
        | Command::DeleteAt(..)
        | Command::Delete(_)
        | Command::Flush(_)
        | Command::NewChain(_)
        | Command::DeleteChain(_)
        | Command::Rename(..)
        | Command::Policy(..) => Change::Rules,
    }
}

fn table_named(name: &Word, family: Family) -> Result<TableKind> {
    let mut kinds = TableKind::ALL.into_iter();
    let found = kinds.find(|kind| kind.to_string().as_bytes() == name.as_bytes());
    found.ok_or_else(|| {
        let shown = name.show();
        let tool = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let message = format!("{shown:?} is no table");
        let mut diagnostic = Diagnostic::error(code::UNKNOWN_TABLE, name.span, message);
        diagnostic.in_tool = Some(Box::new(InTool::Unsupported(format!(
            "can't initialize {tool} table `{shown}': Table does not exist (do you need to insmod?)"
        ))));
        vec![diagnostic]
    })
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    let mut severities = diagnostics.iter().map(|it| it.severity);
    severities.any(|severity| severity == Severity::Error)
}

/// The errors before the warnings.
fn errors(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|it| it.severity);
    diagnostics
}
