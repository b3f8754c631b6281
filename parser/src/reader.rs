//! A whole text: lines to tables, tables to rulesets, as the loop of iptables-restore goes over them
//! (iptables-restore.c).

use bstr::ByteSlice;

use crate::command::{self, Place, Speaker};
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, Severity, code};
use crate::family::Families;
use crate::names;
use crate::ruleset::{Counters, Family, Ruleset, Table, TableKind};
use crate::span::{SourceId, Sources, Span};
use crate::table::{OpenTable, Restore};
use crate::value;
use crate::words;

/// What the caller knows about the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// The family of every table. Without it each save tells its own.
    pub family: Option<Family>,
    /// Names of protocols, services, users and groups beside the built-in ones.
    pub names: Names,
}

/// What a text says, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// At most one per family. Lines with errors are left out, so with an error among the
    /// diagnostics these are only good for looking at.
    pub rulesets: Vec<Ruleset>,
    /// In the order of the text, behind those about the texts before it.
    pub diagnostics: Vec<Diagnostic>,
}

/// `fgets` of iptables-restore reads 10,240 bytes with the newline and a NUL.
const LINE_LIMIT: usize = 10_238;

/// Reading stops after so many errors: nobody reads more, and hostile texts cost no more than others.
const ERROR_LIMIT: usize = 100;

/// The most rules and matches that the lists of addresses of one text may stand for, so that a short
/// text takes no more than some hundred megabytes.
const EXPANSION_LIMIT: usize = 1 << 18;

/// Reads one source. Every text has a result; errors are among its diagnostics.
///
/// Several saves may stand one behind the other, of both families. A second table of the same
/// family and name replaces the first and takes over its policies, as restoring both would do.
pub fn parse(sources: &Sources, id: SourceId, options: &ParseOptions) -> Parsed {
    read(
        sources,
        id,
        options,
        Restore::Flush,
        Before::with_counters(Vec::new()),
    )
}

/// Reads one source onto rulesets that are there, as `iptables-restore --noflush` does. The result
/// has all of them, changed.
///
/// A table that the text does not name stays as it is. In one that it names, rules and policies stay
/// until a command changes them; a `:` line of a user chain that is there empties it. A table of a
/// text that has nothing of its family about it is of the family of the rulesets, when they are one.
///
/// The rulesets are those of error-free texts, at most one per family.
pub fn parse_onto(
    rulesets: Vec<Ruleset>,
    sources: &Sources,
    id: SourceId,
    options: &ParseOptions,
) -> Parsed {
    read(
        sources,
        id,
        options,
        Restore::NoFlush,
        Before::with_counters(rulesets),
    )
}

fn read(
    sources: &Sources,
    id: SourceId,
    options: &ParseOptions,
    restore: Restore,
    Before { rulesets, how }: Before,
) -> Parsed {
    let text = &sources.get(id).text;
    if u32::try_from(text.len()).is_err() {
        let span = Span {
            source: id,
            start: 0,
            end: 0,
        };
        return Parsed {
            rulesets,
            diagnostics: vec![Diagnostic::error(
                code::TOO_LONG,
                span,
                "the text is larger than 4 GiB",
            )],
        };
    }
    let usual = match rulesets.as_slice() {
        [only] => only.family,
        _ => Family::V4,
    };
    let mut reader = Reader {
        source: id,
        families: Families::new(text, options.family, usual),
        names: &options.names,
        restore,
        how,
        rulesets,
        open: None,
        skipping: false,
        diagnostics: Vec::new(),
        counted: 0,
        errors: 0,
        expanded: 0,
    };
    let mut start = 0;
    for line in text.lines_with_terminator() {
        if reader.has_too_many_errors(start as u32) {
            break;
        }
        reader.line(line, start as u32);
        start += line.len();
    }
    reader.end()
}

/// How [`restore`] puts a text onto rulesets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Keep the rules of a table that the text names: `--noflush`.
    pub noflush: bool,
    /// Take the counters of the text for those of what it sets: `--counters`. Without it these are zero.
    pub counters: bool,
    /// Look at this table only: `--table`.
    pub table: Option<TableKind>,
}

/// Reads one source onto rulesets that are there, as `iptables-restore` does. The result has all of them,
/// changed; a table that the text does not name stays as it is.
///
/// The rulesets are those of error-free texts, at most one per family.
pub fn restore(
    rulesets: Vec<Ruleset>,
    sources: &Sources,
    id: SourceId,
    options: &ParseOptions,
    how: RestoreOptions,
) -> Parsed {
    let restore = match how.noflush {
        true => Restore::NoFlush,
        false => Restore::Flush,
    };
    read(sources, id, options, restore, Before { rulesets, how })
}

/// What a text is put onto, and what of it counts.
struct Before {
    rulesets: Vec<Ruleset>,
    how: RestoreOptions,
}

struct Reader<'a> {
    source: SourceId,
    families: Families,
    names: &'a Names,
    restore: Restore,
    how: RestoreOptions,
    rulesets: Vec<Ruleset>,
    /// Whether the lines are of a table that is not looked at.
    skipping: bool,
    open: Option<OpenTable>,
    diagnostics: Vec<Diagnostic>,
    /// How many of the diagnostics have been looked at, and how many of those are errors.
    counted: usize,
    errors: usize,
    /// How many rules and matches lists of addresses have stood for.
    expanded: usize,
}

impl Reader<'_> {
    /// Takes one line with its newline.
    fn line(&mut self, line: &[u8], start: u32) {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let span = self.span(start, body);
        if body.len() > LINE_LIMIT {
            let message = format!("a line of {} bytes is too long", body.len());
            return self.error(Diagnostic::error(code::TOO_LONG, span, message).with_help(
                format!("iptables-restore cuts lines after {LINE_LIMIT} bytes"),
            ));
        }
        // The C string ends at a NUL.
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        match line {
            b"" | b"\n" | [b'#', ..] => {}
            b"COMMIT\n" if self.skipping => self.skipping = false,
            _ if self.skipping => {}
            b"COMMIT\n" if self.open.is_some() => self.commit(),
            [b'*', name @ ..] if self.open.is_none() => self.open_table(name, start + 1, span),
            [b':', declaration @ ..] if self.open.is_some() => {
                self.chain(declaration, start + 1, span)
            }
            _ if self.open.is_some() => self.command(line, start, span),
            _ => self.error(
                Diagnostic::error(code::STRUCTURE, span, "this line stands outside a table")
                    .with_help("a table starts with *filter or another name and ends with COMMIT")
                    .refusal("Invalid argument."),
            ),
        }
    }

    /// Says so, too, when there are.
    fn has_too_many_errors(&mut self, start: u32) -> bool {
        let known = self.diagnostics.len();
        let new = self.diagnostics[self.counted..]
            .iter()
            .filter(|it| it.severity == Severity::Error);
        self.errors += new.count();
        self.counted = known;
        if self.errors < ERROR_LIMIT {
            return false;
        }
        let span = self.span(start, b"");
        let message = format!("reading stops here, after {} errors", self.errors);
        self.error(Diagnostic::error(code::TOO_MANY_ERRORS, span, message));
        self.open = None;
        true
    }

    fn span(&self, start: u32, text: &[u8]) -> Span {
        Span {
            source: self.source,
            start,
            end: start + text.len() as u32,
        }
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn open_table(&mut self, name: &[u8], start: u32, span: Span) {
        let family = self.families.of_table(start - 1);
        let words = words::fields(name, self.source, start);
        let kind = words.first().and_then(|word| {
            let kinds = TableKind::ALL.into_iter();
            kinds
                .into_iter()
                .find(|kind| kind.to_string().as_bytes() == word.as_bytes())
        });
        if kind.is_none() {
            let shown = words
                .first()
                .map(|word| word.show().to_string())
                .unwrap_or_default();
            let names: Vec<String> = TableKind::ALL.iter().map(TableKind::to_string).collect();
            let help = match names::closest(shown.as_bytes(), names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean {name}?"),
                None if shown.ends_with('\r') => {
                    "the lines end with a carriage return: remove it".to_owned()
                }
                None => format!("the tables are {}", names.join(", ")),
            };
            let message = format!("{shown:?} is no table");
            self.error(Diagnostic::error(code::UNKNOWN_TABLE, span, message).with_help(help));
        }
        // An unknown table is read like filter, so that errors in it are told, too.
        let kind = kind.unwrap_or(TableKind::Filter);
        if self.how.table.is_some_and(|only| only != kind) {
            self.skipping = true;
            return;
        }
        let before = self.rulesets.iter().find(|it| it.family == family);
        let before = before.and_then(|it| it.tables.iter().find(|it| it.kind == kind));
        let is_of_text = |table: &Table| {
            let mut spans = table.chains.iter().map(|chain| chain.span.source);
            spans.all(|source| source == self.source)
        };
        if before.is_some_and(is_of_text) && self.restore == Restore::Flush {
            let message = format!("this {family} {kind} table replaces the one above");
            self.diagnostics.push(
                Diagnostic::warning(code::REPLACED_TABLE, span, message)
                    .with_help("if it is of the other family, say so with its # Generated by line or with -4 or -6"),
            );
        }
        let open = OpenTable::new(family, kind, self.restore, before, span);
        self.open = Some(open);
    }

    /// `:name policy [packets:bytes]`
    fn chain(&mut self, declaration: &[u8], start: u32, span: Span) {
        let words = words::fields(declaration, self.source, start);
        let Some(open) = &mut self.open else { return };
        let (name, policy) = match words.as_slice() {
            [name, policy, ..] => (name, policy),
            _ => {
                return self.error(
                    Diagnostic::error(code::BAD_CHAIN, span, "a chain needs a name and a policy")
                        .with_help("write :NAME - [0:0] for a chain of your own"),
                );
            }
        };
        if let Err(diagnostic) = open.declare(name, span) {
            return self.error(diagnostic);
        }
        if policy.as_bytes() == b"-" {
            return;
        }
        let counters = match words.get(2) {
            None => Ok(Counters::default()),
            Some(word) => bracketed(word.as_bytes()).ok_or_else(|| {
                Diagnostic::error(
                    code::BAD_COUNTERS,
                    word.span,
                    format!("{:?} is no pair of counters", word.show()),
                )
                .with_help("write [packets:bytes]")
            }),
        };
        let counters = counters.map(|counters| match self.how.counters {
            true => counters,
            false => Counters::default(),
        });
        let result = counters.and_then(|counters| open.set_policy(name, policy, counters));
        self.diagnostics.extend(result.err());
    }

    /// A rule or another command, perhaps behind `[packets:bytes]`.
    fn command(&mut self, line: &[u8], start: u32, span: Span) {
        let Some(open) = &mut self.open else { return };
        let (counters, skipped) = match leading_counters(line) {
            Ok((_, skipped)) if !self.how.counters => (Counters::default(), skipped),
            Ok(found) => found,
            Err(message) => {
                return self.error(
                    Diagnostic::error(code::BAD_COUNTERS, span, message)
                        .with_help("write [packets:bytes] -A CHAIN ..."),
                );
            }
        };
        let words = match words::split(&line[skipped..], self.source, start + skipped as u32) {
            Ok(words) => words,
            Err(diagnostic) => return self.error(diagnostic),
        };
        if let [only] = words.as_slice()
            && only.as_bytes().eq_ignore_ascii_case(b"COMMIT")
        {
            let message =
                "COMMIT must stand alone in its line, in capitals, and end with a newline";
            return self.error(Diagnostic::error(code::BAD_ARGUMENT, span, message));
        }
        if let Some(first) = words
            .first()
            .filter(|word| word.as_bytes().starts_with(b"*"))
        {
            let message = "a table starts before the one above has its COMMIT";
            return self.error(Diagnostic::error(code::STRUCTURE, first.span, message));
        }
        let whole = match (words.first(), words.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => span,
        };
        let place = Place {
            family: open.family,
            table: open.table.kind,
            names: self.names,
            speaker: Speaker::File,
            chain: &|name| open.chain_kind(name),
            chain_names: &|| open.chain_names(),
        };
        let read = command::read(&words, whole, counters, &place, &mut self.diagnostics);
        let Some(line) = read else { return };
        if let [rule, _, ..] = line.rules.as_slice() {
            self.expanded += line.rules.len() * (1 + rule.matches.len());
            if self.expanded > EXPANSION_LIMIT {
                let message = "the address lists of this text stand for too many rules";
                return self.error(Diagnostic::error(code::TOO_LONG, whole, message).with_help(
                    format!(
                        "a text may stand for {EXPANSION_LIMIT} with their matches; use ipsets"
                    ),
                ));
            }
        }
        let result = open.carry_out(line, span);
        self.diagnostics.extend(result.err());
    }

    /// Ends the open table: checks it, sorts it, and puts it into its ruleset.
    fn commit(&mut self) {
        let Some(open) = self.open.take() else { return };
        let family = open.family;
        let table = open.close(&mut self.diagnostics);
        let at = self
            .rulesets
            .iter()
            .position(|it| it.family == family)
            .unwrap_or_else(|| {
                self.rulesets.push(Ruleset {
                    family,
                    tables: Vec::new(),
                });
                self.rulesets.len() - 1
            });
        let tables = &mut self.rulesets[at].tables;
        match tables.iter_mut().find(|it| it.kind == table.kind) {
            Some(old) => *old = table,
            None => tables.push(table),
        }
    }

    fn end(mut self) -> Parsed {
        if let Some(open) = &self.open {
            let message = format!("the {} table has no COMMIT", open.table.kind);
            self.error(
                Diagnostic::error(code::NO_COMMIT, open.span, message)
                    .with_help("end it with the line COMMIT; its newline must not be missing"),
            );
            self.commit();
        }
        let mut diagnostics = self.diagnostics;
        diagnostics.sort_by_key(|it| (it.span.source, it.span.start));
        Parsed {
            rulesets: self.rulesets,
            diagnostics,
        }
    }
}

impl Before {
    fn with_counters(rulesets: Vec<Ruleset>) -> Self {
        let how = RestoreOptions {
            counters: true,
            ..RestoreOptions::default()
        };
        Self { rulesets, how }
    }
}

/// `[packets:bytes]` as a whole word.
fn bracketed(word: &[u8]) -> Option<Counters> {
    let inner = word.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (packets, bytes) = inner.split_once_str(":")?;
    Some(Counters {
        packets: value::counter(packets)?,
        bytes: value::counter(bytes)?,
    })
}

/// The counters at the very start of a line, and how many bytes they take.
fn leading_counters(line: &[u8]) -> Result<(Counters, usize), &'static str> {
    if !line.starts_with(b"[") {
        return Ok((Counters::default(), 0));
    }
    let end = line.find_byte(b']').ok_or("the counters have no ]")?;
    let counters = bracketed(&line[..=end]).ok_or("these are no counters")?;
    Ok((counters, end + 1))
}
