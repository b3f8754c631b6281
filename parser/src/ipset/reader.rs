//! Whole texts: lines to commands, commands to sets, as `ipset restore` goes over them (lib/ipset.c,
//! `ipset_parse_stream`).

use std::collections::{HashMap, HashSet};

use bstr::ByteSlice;

use super::add::{self, OpenSet};
use super::code::{DUPLICATE_SET, TOO_MANY_SETS, UNKNOWN_SET};
use super::kind::SetType;
use super::set::Set;
use super::words;
use super::{Parsed, create};
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, Severity, code};
use crate::names::closest;
use crate::span::{SourceId, Sources, Span};
use crate::words::Word;

/// `fgets` of ipset reads 1,024 bytes with the newline and a NUL.
const LINE_LIMIT: usize = 1022;

/// Reading stops after so many errors, as for rulesets.
const ERROR_LIMIT: usize = 100;

/// How many elements ranges may make beyond their first, in all texts together. Every one takes
/// memory, and a line of hostile text could name billions.
const RANGE_LIMIT: u32 = 1 << 18;

/// The kernel numbers sets with 16 bits, of which one value stands for none (`IPSET_INVALID_ID`).
const SETS_LIMIT: usize = 65_535;

/// Reads save files as if they were restored one after the other into an empty kernel. Every text
/// has a result; errors are among its diagnostics. `names` are those of protocols and services beside
/// the built-in ones.
pub fn parse(sources: &Sources, ids: &[SourceId], names: &Names) -> Parsed {
    let mut reader = Reader {
        names,
        source: SourceId::default(),
        sets: Vec::new(),
        by_name: HashMap::new(),
        refused: HashSet::new(),
        exist: false,
        budget: RANGE_LIMIT,
        diagnostics: Vec::new(),
        errors: 0,
    };
    for &id in ids {
        reader.source = id;
        reader.exist = false;
        reader.text(&sources.get(id).text);
    }
    let mut sets: Vec<Set> = reader.sets.into_iter().map(OpenSet::close).collect();
    sets.sort_by_key(|set| set.kind == SetType::ListSet);
    Parsed {
        sets,
        diagnostics: reader.diagnostics,
    }
}

/// The commands that restore a state.
#[derive(Clone, Copy)]
enum Command {
    Create,
    Add,
}

struct Reader<'a> {
    names: &'a Names,
    source: SourceId,
    sets: Vec<OpenSet>,
    by_name: HashMap<String, usize>,
    /// Names of sets that could not be created; what is added to them is not looked at.
    refused: HashSet<Vec<u8>>,
    /// Whether what is there already may be added again.
    exist: bool,
    budget: u32,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl Reader<'_> {
    fn text(&mut self, text: &[u8]) {
        if u32::try_from(text.len()).is_err() {
            let message = "the text is larger than 4 GiB";
            return self.error(Diagnostic::error(
                code::TOO_LONG,
                self.span(0, b""),
                message,
            ));
        }
        let mut start = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            if self.errors >= ERROR_LIMIT {
                let message = format!("reading stops here, after {} errors", self.errors);
                let span = self.span(start, b"");
                self.diagnostics
                    .push(Diagnostic::error(code::TOO_MANY_ERRORS, span, message));
                return;
            }
            if let Err(diagnostic) = self.line(line, start) {
                self.error(diagnostic);
            }
            start += line.len();
        }
    }

    fn span(&self, start: usize, text: &[u8]) -> Span {
        Span {
            source: self.source,
            start: start as u32,
            end: (start + text.len()) as u32,
        }
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.diagnostics.push(diagnostic);
    }

    fn line(&mut self, line: &[u8], start: usize) -> Result<(), Diagnostic> {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        if body.len() > LINE_LIMIT {
            let message = format!("a line of {} bytes is too long", body.len());
            return Err(
                Diagnostic::error(code::TOO_LONG, self.span(start, body), message)
                    .with_help(format!("ipset restore cuts lines after {LINE_LIMIT} bytes")),
            );
        }
        // The C string ends at a NUL.
        let body = body.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = body.trim_start_with(|c| c.is_ascii_whitespace() || c == '\u{b}');
        if matches!(text.first(), None | Some(b'#')) || matches!(text, b"COMMIT" | b"COMMIT\r") {
            return Ok(());
        }
        let skipped = body.len() - text.len();
        let mut words = words::split(text, self.source, (start + skipped) as u32)?;
        let count = words.len();
        words.retain(|word| !matches!(word.as_bytes(), b"-exist" | b"-!" | b"--exist" | b"--!"));
        self.exist |= words.len() < count;
        let Some((first, rest)) = words.split_first() else {
            let message = "this line has no command";
            return Err(Diagnostic::error(
                code::BAD_COMMAND,
                self.span(start, body),
                message,
            ));
        };
        let whole = words
            .last()
            .map_or(first.span, |last| first.span.to(last.span));
        match command(first)? {
            Command::Create => self.create(rest, whole),
            Command::Add => self.add(rest, whole),
        }
    }

    fn create(&mut self, words: &[Word], whole: Span) -> Result<(), Diagnostic> {
        let set =
            create::read(words, whole, self.names, &mut self.diagnostics).inspect_err(|_| {
                if let Some(name) = words.first() {
                    self.refused.insert(name.as_bytes().to_vec());
                }
            })?;
        let name = &set.name;
        if let Some(&at) = self.by_name.get(&name.value) {
            let known = &self.sets[at].set;
            let is_same = (known.kind, &known.options) == (set.kind, &set.options);
            if self.exist && is_same {
                return Ok(());
            }
            let message = format!("there is a set {} already", name.value);
            let help = match is_same {
                true => "leave the line out, or add -exist to it",
                false => "choose another name; the two are of different types or options",
            };
            return Err(Diagnostic::error(DUPLICATE_SET, name.span, message).with_help(help));
        }
        if self.sets.len() == SETS_LIMIT {
            let message = format!("there are more than {SETS_LIMIT} sets");
            return Err(Diagnostic::error(TOO_MANY_SETS, name.span, message));
        }
        self.by_name.insert(name.value.clone(), self.sets.len());
        self.sets.push(OpenSet::new(set));
        Ok(())
    }

    fn add(&mut self, words: &[Word], whole: Span) -> Result<(), Diagnostic> {
        let Some((name, rest)) = words.split_first() else {
            let message = "add needs the name of a set";
            return Err(Diagnostic::error(code::MISSING_OPTION, whole, message));
        };
        let Some(at) = self.find(name.as_bytes()) else {
            return match self.refused.contains(name.as_bytes()) {
                true => Ok(()),
                false => Err(self.no_set(name)),
            };
        };
        let addition = add::read(rest, whole, &self.sets[at].set)?;
        if self.sets[at].set.kind == SetType::ListSet && !self.is_member(rest)? {
            return Ok(());
        }
        self.sets[at].add(&addition, self.exist, &mut self.budget, self.names)
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name.to_str().ok()?).copied()
    }

    /// Whether the member of a list is there. No when it could not be created, which is told already.
    ///
    /// # Errors
    /// When it is no set, or a list.
    fn is_member(&self, words: &[Word]) -> Result<bool, Diagnostic> {
        let Some(word) = words.first() else {
            return Ok(false);
        };
        match self.find(word.as_bytes()) {
            None if self.refused.contains(word.as_bytes()) => Ok(false),
            None => Err(self.no_set(word)),
            Some(at) if self.sets[at].set.kind == SetType::ListSet => {
                let message = format!("{} is a list itself", word.show());
                Err(Diagnostic::error(code::MISPLACED, word.span, message)
                    .with_help("add its members one by one"))
            }
            Some(_) => Ok(true),
        }
    }

    fn no_set(&self, word: &Word) -> Diagnostic {
        let message = format!("there is no set {}", word.show());
        let names = self.sets.iter().map(|open| open.set.name.value.as_str());
        let help = match closest(word.as_bytes(), names) {
            Some(name) => format!("did you mean {name}?"),
            None => "create it before this line".to_owned(),
        };
        Diagnostic::error(UNKNOWN_SET, word.span, message).with_help(help)
    }
}

/// The command of a line: its name, any leading part of it, or a short form.
fn command(word: &Word) -> Result<Command, Diagnostic> {
    const OTHERS: [&str; 8] = [
        "del", "destroy", "flush", "list", "rename", "save", "swap", "test",
    ];
    let text = word.as_bytes();
    let text = text.strip_prefix(b"--").unwrap_or(text);
    let begins = |name: &str| !text.is_empty() && name.as_bytes().starts_with(text);
    if begins("create") || begins("new") || text == b"-N" {
        return Ok(Command::Create);
    }
    if begins("add") || text == b"-A" {
        return Ok(Command::Add);
    }
    let message = format!("{:?} is no command of a save file", word.show());
    let help = match closest(text, ["create", "add"].into_iter()) {
        _ if OTHERS.iter().any(|name| begins(name)) => {
            "sets are read as ipset save prints them: create and add".to_owned()
        }
        Some(name) => format!("did you mean {name}?"),
        None => "a line begins with create or add".to_owned(),
    };
    Err(Diagnostic::error(code::BAD_COMMAND, word.span, message).with_help(help))
}
